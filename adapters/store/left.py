"""What killed processes leave in a store beside artifacts, and how it goes.

Everything that a process writes under a name that it alone knows, or for the time that it lives:

- trials of writing (`.drafts`, in an object store);
- members of leases and turns (`.leases`, `.shared/turns`), whom whoever comes next takes out;
- signs of life (`.alive`, in a folder): once no lease refers to them;
- parts of a large object, which no listing of an object store shows;
- notes in quarantine of what was not moved there in the end.

Scratch folders (`.drafts`, in a folder) go with the next process that writes, as their lock says
that their owner is dead. What lasts is no such thing: locks (`.locks`, 256 empty files), what
accounts and harvests have spent (`.shared/accounts`, `.shared/harvests`; what a killed process had
reserved counts as spent), and the states of pointers (`.kept`). `adapters.store.upkeep.orphans`
looks at files of artifacts and checkpoints.

All ages are by the clock of the store; what it gives no age of stays. Whoever lives changes its
lease every 15 seconds, so that one which nobody wrote to for `LONG_SECONDS` has no living holder
that reaches the store; a process of this machine that is only halted is known by its lock.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any, Final

from adapters.store.living import EXPIRY_SECONDS, is_known_alive
from adapters.store.names import (
    LEASES_FOLDER,
    QUARANTINE_FOLDER,
    SCRATCH_FOLDER,
    SHARED_FOLDER,
    SIGNS_FOLDER,
)
from adapters.store.places import Place, StoredFile
from adapters.store.shared import DamagedRecordError, SharedRecord, State
from adapters.store.turns import dead_members, signs_in, without

LONG_SECONDS: Final = 40 * EXPIRY_SECONDS
"""An hour: for so long nobody wrote to what is left for good."""
_TURNS: Final = f"{SHARED_FOLDER}/turns"
_ACCOUNTS: Final = f"{SHARED_FOLDER}/accounts"
_OF_A_NOTE: Final = 3
"""Slashes in `quarantine/<kind>/<city>/<key>.<digits>.json`."""
_UPLOAD_SECONDS: Final = 24 * LONG_SECONDS
"""A large object may be under way for hours, and nothing is written to its name meanwhile."""


@dataclass(frozen=True)
class Left:
    """Something in the store that belongs to nothing.

    Attributes:
        place: The folder, which is removed whole, or the one file.
        bytes: What it takes.
        what: What it is, in a few words.
        upload: What the store calls an upload in parts; else empty.
        marks: The last marks of dead members by name, where only they go.
    """

    place: str
    bytes: int
    what: str
    upload: str = ""
    marks: Mapping[str, Any] = field(default_factory=dict)


def left_by_the_dead(place: Place, now: float) -> Iterator[Left]:
    """What processes that died have left; nothing is changed.

    Args:
        place: The store's place.
        now: The moment by the clock of the store, in seconds since 1970.

    Raises:
        StoreError: The store cannot be read.
    """
    oldest = now - LONG_SECONDS
    if place.is_far:
        for file in place.files(SCRATCH_FOLDER):
            if file.is_older(oldest):
                yield Left(file.path, file.bytes, "a trial of writing")
    for file in place.unfinished():
        if file.is_older(now - _UPLOAD_SECONDS):
            yield Left(file.path, file.bytes, "parts of an upload that did not end", file.upload)
    used: set[str] = set()
    for file in _leases(place):
        state = _state_of(place, file)
        if state is None:
            continue
        dead = dead_members(state, place.on_this_machine, is_old=file.is_older(oldest))
        left = without(state, dead)
        used |= signs_in(state if left is None else left)
        if left is not None:
            yield Left(file.path, file.bytes, "a lease of a process that died", marks=dead)
    yield from _signs(place, oldest, used)
    yield from _notes(place, oldest)


def remove_left(place: Place, left: Left) -> None:
    """Removes what was found; of a lease, those of whom nothing was heard since.

    Raises:
        StoreError: The store cannot be written to.
    """
    if left.upload:
        place.abandon(StoredFile(left.place, left.bytes, 0.0, left.upload))
    elif _is_lease(left.place):
        SharedRecord(place, left.place).change(lambda state: without(state, left.marks))
    else:
        place.remove(left.place)


def _is_lease(path: str) -> bool:
    return path.startswith((f"{LEASES_FOLDER}/", f"{_TURNS}/"))


def _leases(place: Place) -> Iterator[StoredFile]:
    for folder in (LEASES_FOLDER, _TURNS):
        for file in place.files(folder):
            if file.path.endswith(".json"):
                yield file


def _state_of(place: Place, file: StoredFile) -> State | None:
    """What a shared file says; None where it is gone, or damaged, which `repair` sees to."""
    try:
        return SharedRecord(place, file.path).read() or None
    except DamagedRecordError:
        return None


def _signs(place: Place, oldest: float, used: set[str]) -> Iterator[Left]:
    """Signs of life of processes that are dead, to which no lease refers."""
    if place.is_far:  # each machine keeps them in its cache folder, and sweeps them
        return
    for file in place.files(_ACCOUNTS):
        state = _state_of(place, file) or {}
        users = state.get("users", {})
        used |= {str(one.get("sign", "")) for one in users.values()}
    for file in place.files(SIGNS_FOLDER):
        sign = PurePosixPath(file.path).name
        is_live = is_known_alive(place.on_this_machine, sign)
        if file.is_older(oldest) and sign not in used and not is_live:
            yield Left(file.path, file.bytes, "a sign of life of a process that died")


def _notes(place: Place, oldest: float) -> Iterator[Left]:
    """What was to be moved to quarantine and never was: its note alone is there."""
    files = list(place.files(QUARANTINE_FOLDER))
    folders = {str(parent) for file in files for parent in PurePosixPath(file.path).parents}
    for file in files:
        moved = file.path.removesuffix(".json")
        is_note = file.path != moved and moved not in folders
        if is_note and file.path.count("/") == _OF_A_NOTE and file.is_older(oldest):
            yield Left(file.path, file.bytes, "a note of what was not moved")
