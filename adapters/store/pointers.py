"""The files that say which artifacts count, and copies of the last states of each.

`current/<city>/<name>.json` is replaced whole or not at all. What it says is nowhere else, such as
the log of promotions, so each state is also kept in one of `COPIES` files of
`.kept/<city>/<name>/`, in turn: a damaged file comes back as it was. The copy is written after the
switch, so that who loses a race leaves none; who dies in between leaves the state before as the
newest copy.
"""

from __future__ import annotations

import hashlib
import json
import random
import secrets
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Final

from adapters.store.errors import NewerReleaseError, StoreError
from adapters.store.names import (
    CURRENT_FOLDER,
    KEPT_FOLDER,
    QUARANTINE_FOLDER,
    check_city,
    check_name,
)
from adapters.store.places import Place
from adapters.store.quarantine import record
from adapters.store.records import ArtifactRef
from adapters.store.selection import Selection

COPIES: Final = 8
"""How many of the last states of a pointer are kept."""
_ENDING: Final = ".json"
_MOST_TRIES: Final = 1000

Change = Callable[[Selection | None], Selection | None]


class DamagedPointerError(StoreError):
    """A pointer is cut short, altered or foreign, or gone although its states are kept.

    Attributes:
        what: What is wrong with it, in a few words.
    """

    def __init__(self, message: str, what: str) -> None:
        super().__init__(message)
        self.what = what

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.args[0], self.what)


@dataclass(frozen=True)
class Repaired:
    """What became of a damaged pointer.

    Attributes:
        pointer: Its place in the store.
        city: The city that it is of.
        name: Of the selection.
        quarantine: Where the damaged file lies now; empty where there was none.
        is_restored: Whether it says again what it said before; otherwise there is none now.
    """

    pointer: str
    city: str
    name: str
    quarantine: str
    is_restored: bool


class Pointers:
    """The pointers of a store.

    Args:
        place: Where the store lies.
    """

    def __init__(self, place: Place) -> None:
        self._place = place

    def read(self, name: str, city: str) -> Selection | None:
        """What a pointer says; None where there is none.

        Raises:
            DamagedPointerError: It is damaged.
            NewerReleaseError: A newer release wrote it.
        """
        path = _path(name, city)
        return self._parsed(path, self._place.read(path))

    def alter(
        self, name: str, city: str, change: Change, check: Callable[[ArtifactRef], object]
    ) -> Selection | None:
        """See `Store.alter`; `check` fails for an artifact that is not there."""
        path = _path(name, city)
        for attempt in range(_MOST_TRIES):
            data = self._place.read(path)
            state = self._parsed(path, data)
            new = change(state)
            if new is None:
                return state
            for ref in new.refs.values():
                check(ref)
            if new == state:  # so that a store may be read-only where all is there
                return state
            number = state.number if state is not None else 0
            new = replace(new, number=1 + (number or self._last_number(name, city)))
            if self._place.swap(path, data, new.to_json()):
                self._keep(name, city, new)
                return new
            time.sleep(random.uniform(0, 0.01 * min(attempt + 1, 20)))  # noqa: S311 - it spreads
        raise StoreError(
            f"{self._place.describe(path)} is changed by others all the time: run again"
        )

    def owners(self) -> list[str]:
        """Cities that have a pointer, sorted."""
        return list(_checked(self._place.children(CURRENT_FOLDER), check_city))

    def all(self) -> list[tuple[str, str]]:
        """City and name of every pointer, and of those of which only copies are left; sorted."""
        found = set()
        for city in self.owners():
            names = self._place.children(f"{CURRENT_FOLDER}/{city}")
            ours = (one.removesuffix(_ENDING) for one in names if one.endswith(_ENDING))
            found |= {(city, name) for name in _checked(ours, check_name)}
        for city in _checked(self._place.children(KEPT_FOLDER), check_city):
            names = self._place.children(f"{KEPT_FOLDER}/{city}")
            found |= {(city, name) for name in _checked(names, check_name)}
        return sorted(found)

    def fault(
        self, name: str, city: str, there: Callable[[ArtifactRef], bool]
    ) -> StoreError | None:
        """What is wrong with a pointer; None where nothing is.

        One that is gone is at fault only while the artifacts of its last state are there: whoever
        removes a city removes both.

        Args:
            name: Of the selection.
            city: The catalog's name of the city.
            there: Whether an artifact is in the store.
        """
        path = _path(name, city)
        try:
            if self.read(name, city) is not None:
                return None
            kept = self._newest_kept(name, city)
        except StoreError as error:
            return error
        if kept is None or not all(map(there, kept.refs.values())):
            return None
        return DamagedPointerError(
            f"{self._place.describe(path)} is gone, and what it said is kept: `crosscity store "
            "repair` restores it",
            "it is gone",
        )

    def repair(self, name: str, city: str) -> Repaired:
        """Moves a damaged pointer to quarantine, and puts its newest sound state in its place.

        One that is sound stays as it is. A crash at any moment leaves the damaged file or the
        restored one.

        Raises:
            StoreError: A newer release wrote it or kept its last state, or the store cannot be
                written to.
        """
        path = _path(name, city)
        damaged = self._place.read(path)
        fault = ""
        try:
            if self._parsed(path, damaged) is not None:
                return Repaired(path, city, name, "", is_restored=True)
        except DamagedPointerError as error:
            fault = error.what
        kept = self._newest_kept(name, city)
        away = ""
        if damaged is not None:
            away = f"{QUARANTINE_FOLDER}/{path.removesuffix(_ENDING)}.{secrets.token_hex(4)}"
            self._place.replace(f"{away}{_ENDING}", record(path, fault))
            self._place.replace(f"{away}/{name}{_ENDING}", damaged)
        after = None if kept is None else kept.to_json()
        if not self._place.swap(path, damaged, after):
            raise StoreError(
                f"{self._place.describe(path)} was changed by another meanwhile: run again"
            )
        return Repaired(path, city, name, away, kept is not None)

    def _parsed(self, path: str, data: bytes | None) -> Selection | None:
        if data is None:
            return None
        try:
            return Selection.from_json(data)
        except NewerReleaseError as error:
            raise NewerReleaseError(
                f"{self._place.describe(path)} {error}: run it with that version, or choose "
                "another store"
            ) from None
        except ValueError as error:
            raise DamagedPointerError(
                f"{self._place.describe(path)} is damaged ({error}): `crosscity store repair` "
                "moves it to quarantine and restores what it said before, as far as that was kept",
                str(error),
            ) from None

    def _keep(self, name: str, city: str, state: Selection) -> None:
        data = state.to_json()
        content = {"sha256": hashlib.sha256(data).hexdigest(), "state": data.decode()}
        slot = state.number % COPIES
        self._place.replace(
            f"{_kept_folder(name, city)}/{slot}{_ENDING}", json.dumps(content).encode()
        )

    def _newest_kept(self, name: str, city: str) -> Selection | None:
        """The newest state of which a whole copy is left.

        Raises:
            NewerReleaseError: A newer release kept one.
        """
        folder = _kept_folder(name, city)
        found = []
        for one in self._place.children(folder):
            state = self._copied(f"{folder}/{one}")
            if state is not None:
                found.append(state)
        return max(found, key=lambda state: state.number, default=None)

    def _copied(self, path: str) -> Selection | None:
        """The state of a copy; None where it is damaged."""
        try:
            content: Any = json.loads(self._place.read(path) or b"")
            data = content["state"].encode()
            if content["sha256"] != hashlib.sha256(data).hexdigest():
                return None
        except (ValueError, TypeError, KeyError, AttributeError):
            return None
        try:
            return Selection.from_json(data)
        except NewerReleaseError as error:
            raise NewerReleaseError(
                f"{self._place.describe(path)} {error}: run it with that version"
            ) from None
        except ValueError:
            return None

    def _last_number(self, name: str, city: str) -> int:
        """Of the copies, where the pointer does not say it: of an earlier release, or none."""
        kept = self._newest_kept(name, city)
        return 0 if kept is None else kept.number


def _checked(names: Iterator[str] | list[str], check: Callable[[str], str]) -> Iterator[str]:
    """Names that the store could have made; others are not its own."""
    for name in names:
        try:
            yield check(name)
        except StoreError:
            continue


def _path(name: str, city: str) -> str:
    return f"{CURRENT_FOLDER}/{check_city(city)}/{check_name(name)}{_ENDING}"


def _kept_folder(name: str, city: str) -> str:
    return f"{KEPT_FOLDER}/{check_city(city)}/{check_name(name)}"
