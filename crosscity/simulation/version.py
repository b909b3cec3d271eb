"""The version of the pictures."""

from __future__ import annotations

from typing import Final

ALGORITHM_VERSION: Final = "8"
"""Raised by hand whenever pictures change, for whatever reason."""
