"""Commands as sentences and pages name them."""

from __future__ import annotations


def with_seed(command: str, seed: int) -> str:
    """A command for the trainings of a seed; 0 need not be said."""
    return f"{command} --seed {seed}" if seed else command
