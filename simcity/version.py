"""The version of the pictures."""

from __future__ import annotations

from typing import Final

ALGORITHM_VERSION: Final = "10"
"""Raised by hand whenever pictures change, for whatever reason."""
