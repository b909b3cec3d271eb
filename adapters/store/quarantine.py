"""What lies in quarantine: artifacts and pointers that were found damaged, and why.

`quarantine/<kind>/<city>/<key>.<hexadecimal digits>/` is the artifact as it was found; the file of
that name with `.json` says what is wrong with it. `quarantine/current/<city>/<name>.<digits>/` has
a pointer, `quarantine/shared/<folder>/<name>.<digits>/` a file that processes share. Nothing reads
it again: it is for people.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from adapters.store.errors import StoreError
from adapters.store.names import (
    CURRENT_FOLDER,
    LEASES_FOLDER,
    SHARED_FOLDER,
    check_city,
    check_name,
)
from adapters.store.records import artifact_place

SHARED: Final = "shared"
"""Kind of what was a shared file: a lease, a queue, what an account has spent."""


@dataclass(frozen=True)
class Quarantined:
    """A damaged artifact or pointer that was moved away.

    Attributes:
        kind: kind of artifact; `current` of a pointer, `shared` of a shared file.
        city: the catalog's name of the city, or the folder of a shared file.
        key: key of the artifact, or the name of the file.
        place: where it lies now, relative to the store's root.
        what: what is wrong with it.
        found_at: when it was moved, ISO 8601 in UTC.
    """

    kind: str
    city: str
    key: str
    place: str
    what: str
    found_at: str


def record(folder: str, what: str) -> bytes:
    """The content of the `.json` file beside an artifact in quarantine."""
    content = {"artifact": folder, "what": what, "found_at": datetime.now(UTC).isoformat()}
    return (json.dumps(content, indent=1) + "\n").encode()


def read_record(data: bytes | None, place: str) -> Quarantined | None:
    """What `record` wrote; None for anything else."""
    try:
        content = json.loads(data or b"")
        kind, city, key = _place_of(str(content["artifact"]))
        return Quarantined(kind, city, key, place, str(content["what"]), str(content["found_at"]))
    except (ValueError, TypeError, KeyError, StoreError):
        return None


def _place_of(where: str) -> tuple[str, str, str]:
    folder, _, rest = where.partition("/")
    if folder in (LEASES_FOLDER, SHARED_FOLDER):
        *_, parent, name = where.split("/")
        return SHARED, check_city(parent), check_name(name)
    if folder != CURRENT_FOLDER:
        return artifact_place(where)
    city, _, name = rest.partition("/")
    return CURRENT_FOLDER, check_city(city), check_name(name)
