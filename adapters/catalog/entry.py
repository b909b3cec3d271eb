"""What all entries of the catalog are."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Entry(BaseModel):
    """Base of all entries: unknown keys are errors, so a misspelt setting is never ignored."""

    model_config = ConfigDict(extra="forbid", frozen=True)
