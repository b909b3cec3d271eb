"""Several artifacts that count together, and what is noted about them, in one file.

What belongs together is switched together: a file is replaced whole or not at all, two are not.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final, Self

from pydantic import JsonValue

from adapters.store.errors import NewerReleaseError, StoreError
from adapters.store.records import ArtifactRef, plain_object

SELECTION_FORMAT: Final = 1
"""Raised only when an older release would misread the file; fields it may ignore do not count."""
SINGLE: Final = "artifact"
"""Role of the artifact in a selection that has one alone."""


@dataclass(frozen=True)
class Selection:
    """The content of a pointer of `Store.switch`.

    Attributes:
        refs: The artifacts, by role.
        notes: JSON that belongs to them: what is still to be announced, what was before.
        number: How many states the pointer had; the store counts. 0 where it was not counted yet.
    """

    refs: Mapping[str, ArtifactRef]
    notes: Mapping[str, JsonValue] = field(default_factory=lambda: MappingProxyType({}))
    number: int = field(default=0, compare=False)

    def to_json(self) -> bytes:
        """The bytes of the file."""
        content = {
            "format": SELECTION_FORMAT,
            "number": self.number,
            "refs": {role: ref.to_dict() for role, ref in self.refs.items()},
            "notes": plain_object(self.notes),
        }
        return (json.dumps(content, indent=1, sort_keys=True) + "\n").encode()

    @classmethod
    def from_json(cls, data: bytes) -> Self:
        """Reads what `to_json` wrote, or the pointer to one artifact of an earlier release.

        Raises:
            ValueError: The bytes are cut short, altered or foreign.
            NewerReleaseError: A newer release wrote them.
        """
        try:
            content: Any = json.loads(data)
            if "refs" not in content and "uri" in content:
                content = {"format": 0, "refs": {SINGLE: content}, "notes": {}}
            stated = content["format"]
            refs, notes = content["refs"].items(), dict(content["notes"])
            number = content.get("number", 0)
        except (ValueError, TypeError, KeyError, AttributeError):
            raise ValueError("it is not a selection of artifacts") from None
        if isinstance(stated, int) and stated > SELECTION_FORMAT:
            raise NewerReleaseError("was written by a newer version of this program")
        try:
            found = {role: ArtifactRef.from_dict(values) for role, values in refs}
        except StoreError as error:
            raise ValueError(str(error)) from None
        counted = isinstance(number, int) and not isinstance(number, bool) and number > 0
        return cls(found, notes, number if counted else 0)
