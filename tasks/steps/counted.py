"""Numbers of things as people read them."""

from __future__ import annotations


def counted(number: int, one: str, more: str | None = None) -> str:
    """A number with what it counts: "1 pair", "2 pairs", "0 pairs".

    Args:
        number: How many.
        one: What one of them is called.
        more: What several are called; default: with an s.
    """
    return f"{number} {one if number == 1 else more or f'{one}s'}"
