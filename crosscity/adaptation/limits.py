"""What numbers and words of settings may be; each names the setting that is not so."""

from __future__ import annotations


def positive(name: str, value: float) -> None:
    """Raises ValueError unless a setting is greater than 0."""
    if not value > 0:
        raise ValueError(f"{name} must be greater than 0, not {value}")


def at_least_zero(name: str, value: float) -> None:
    """Raises ValueError unless a setting is at least 0."""
    if not value >= 0:
        raise ValueError(f"{name} must be at least 0, not {value}")


def fraction(name: str, value: float, *, below_one: bool = False) -> None:
    """Raises ValueError unless a setting is in [0, 1], or in [0, 1)."""
    if not (0 <= value < 1 or (value == 1 and not below_one)):
        raise ValueError(f"{name} must be in [0, 1{')' if below_one else ']'}, not {value}")


def share(name: str, value: float) -> None:
    """Raises ValueError unless a setting is in (0, 1]."""
    if not 0 < value <= 1:
        raise ValueError(f"{name} must be in (0, 1], not {value}")


def one_of(name: str, value: str, known: tuple[str, ...]) -> None:
    """Raises ValueError unless a setting is one of some words."""
    if value not in known:
        raise ValueError(f"{name} must be one of {', '.join(known)}, not {value!r}")
