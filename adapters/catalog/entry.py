"""What all entries of the catalog are."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

MOST_SEED: Final = 2**63 - 1
_Side = Annotated[int, Field(ge=32, le=16_384)]
Size = tuple[_Side, _Side]
"""(height, width) in pixels."""
Auto = Literal["auto"]
"""The program chooses, and says what."""
Seed = Annotated[int, Field(ge=0, le=MOST_SEED)]
"""What fixes a choice or a training, as every generator of random numbers takes it."""

NAME_PATTERN: Final = r"^[a-z0-9][a-z0-9_-]{0,62}$"
Name = Annotated[str, StringConstraints(pattern=NAME_PATTERN)]
"""Names become folder names and deployment names, so they are kept to lower case and digits."""


class Entry(BaseModel):
    """Base of all entries: unknown keys are errors, so a misspelt setting is never ignored."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
