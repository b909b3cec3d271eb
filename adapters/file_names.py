"""Names of files of others as text that can be stored."""

from __future__ import annotations

from typing import Final

_FIRST: Final = 0xDC00
"""Python reads a byte of a name that is none of UTF-8 as this, and the byte on top (PEP 383)."""


def as_text(text: str) -> str:
    """A text that may hold the names of files, with bytes that are no UTF-8 as in an address: %E9.

    Names of old archives are in other encodings. Neither tables nor JSON take them as Python does.
    """
    if text.isascii():
        return text
    return "".join(f"%{ord(c) - _FIRST:02X}" if "\udc80" <= c <= "\udcff" else c for c in text)
