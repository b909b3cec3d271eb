"""What all entries of the catalog are."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Size = tuple[Annotated[int, Field(ge=32)], Annotated[int, Field(ge=32)]]
"""(height, width) in pixels."""
Auto = Literal["auto"]
"""The program chooses, and says what."""


class Entry(BaseModel):
    """Base of all entries: unknown keys are errors, so a misspelt setting is never ignored."""

    model_config = ConfigDict(extra="forbid", frozen=True)
