"""The arms that are compared: rows of the paper's Table 2, and the two cheap baselines."""

from __future__ import annotations

from typing import Final

from tasks.steps.errors import InputError

ARM_NAMES: Final = {
    "pretrained": "Pre-trained",
    "control": "Source training continued",
    "bn": "Batch-norm statistics",
    "ga": "GA",
    "ga_ca": "GA+CA",
    "full": "Full method",
    "self_training": "Full + self-training",
    "fine_tuned": "Fine-tuned",
}
"""Every arm, in the order of a table, under the name that people read."""

DEMO_ARMS: Final = ("pretrained", "ga", "ga_ca", "full", "self_training", "fine_tuned")
"""What the demo compares: Table 2, and what goes beyond it."""

UNLABELLED_ARMS: Final = ("pretrained", "control", "bn", "ga", "ga_ca", "full", "self_training")
"""Arms that saw no label of the target city."""

ADAPTED_ARMS: Final = tuple(arm for arm in ARM_NAMES if arm != "pretrained")
"""What `adapt-city` can run."""


def check_arm(arm: str) -> None:
    """Fails before any work; `InputError` tells the arms that `adapt-city` can run."""
    if arm not in ADAPTED_ARMS:
        raise InputError(f"there is no arm {arm!r} to adapt by; arms are {', '.join(ADAPTED_ARMS)}")
