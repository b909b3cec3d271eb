"""Taking turns at something that only so many may do at once, over processes and machines.

Who wants a turn stands in one small file of the store (`SharedRecord`), with a mark that changes
while it lives (`adapters.store.living`). Whoever finds a member dead takes it out. Nothing is lost
where two believe for a moment that it is their turn, as after a process that was halted for minutes
and then goes on: what they make is published whole, and the first counts.
"""

from __future__ import annotations

import logging
import os
import secrets
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

from adapters.store.living import (
    BEAT_SECONDS,
    EXPIRY_SECONDS,
    HEART,
    Census,
    Heart,
    Watch,
    is_known_alive,
    is_known_dead,
    sign_of_life,
)
from adapters.store.parting import parting
from adapters.store.places import Place
from adapters.store.shared import SharedRecord, State

Found = TypeVar("Found")

_LOG = logging.getLogger("crosscity.store")
_MEMBERS: Final = "members"
_NEXT: Final = "next"


@dataclass(frozen=True)
class Timing:
    """How members of a turn show that they live, and how they are waited for, in seconds.

    Attributes:
        beat: Between two changes of a mark.
        expiry: Without a change, after which a member is dead.
        look: Between two looks of whoever waits, at first; it grows to five times as much.
    """

    beat: float = BEAT_SECONDS
    expiry: float = EXPIRY_SECONDS
    look: float = 0.5


class Turns:
    """One thing that `limit` may do at once.

    Args:
        place: The store's place.
        path: Of the file, below the store's root.
        what: What it is, for the log.
        limit: How many at once.
        timing: See `Timing`.
    """

    def __init__(
        self, place: Place, path: str, what: str, limit: int = 1, timing: Timing | None = None
    ) -> None:
        self._place, self._what, self._limit = place, what, limit
        self._timing = timing or Timing()
        self._record = SharedRecord(place, path)
        self._heart = HEART if self._timing.beat == BEAT_SECONDS else Heart(self._timing.beat)

    @contextmanager
    def turn(
        self, found: Callable[[], Found | None] = lambda: None, *, priority: int = 0
    ) -> Iterator[Found | None]:
        """Waits for a turn, and has it for the block; or gives what makes it needless.

        Args:
            found: Called before a turn is taken, and while one waits: what it gives, if
                anything, is given to the block instead of a turn.
            priority: Who waits with a higher one is first; among equals, who came first.

        Raises:
            StoreError: The store cannot be used.
        """
        me = _Member(secrets.token_hex(8), sign_of_life(self._place.on_this_machine), priority)
        with parting(f"{self._what}: the turn could not be given back", lambda: self._leave(me)):
            there = self._wait(me, found)
            if there is None:
                self._heart.add(me.name, lambda: self._beat(me))
                try:
                    yield None
                finally:
                    self._heart.remove(me.name)
        if there is not None:
            yield there

    def _wait(self, me: _Member, found: Callable[[], Found | None]) -> Found | None:
        census = Census(self._place.on_this_machine, Watch(self._timing.expiry))
        wait, announced = self._timing.look, False
        state = self._join(me, {})  # nearly always, nobody else wants it
        joined = time.monotonic()
        while not _has_turn(state, me):
            dead = _marks_of_the_dead(state, census)
            is_due = time.monotonic() - joined >= self._timing.beat
            if is_due or dead or self._is_mine(state, me):
                state = self._join(me, dead)
                joined = time.monotonic()
                if _has_turn(state, me):
                    break
            if not announced:
                announced = True
                _LOG.warning("%s: %s is at it; waiting", self._what, _holders(state))
            time.sleep(wait)
            wait = min(1.2 * wait, 5 * self._timing.look)
            there = found()
            if there is not None:
                return there
            state = self._record.read()
        return found()  # whoever had the turn before may just have made it

    def _join(self, me: _Member, dead: Mapping[str, Any]) -> State:
        return self._record.change(lambda now: self._joined(now, me, dead))

    def _is_mine(self, state: State, me: _Member) -> bool:
        """Whether a turn is free, and nobody is before me who waits for one."""
        living = _members(state)
        has = [name for name, one in living.items() if one.get("has")]
        waiting = [name for name, one in living.items() if not one.get("has")]
        waiting.sort(key=lambda name: _place_in_line(living[name]))
        free = self._limit - len(has)
        if me.name not in living:
            before = [n for n in waiting if int(living[n].get("priority", 0)) >= me.priority]
            return len(before) < free
        return me.name in waiting[: max(0, free)]

    def _joined(self, state: State, me: _Member, dead: Mapping[str, Any]) -> State:
        """The state with me in it, with a new mark, and out of it who is dead still."""
        members = {
            name: one
            for name, one in _members(state).items()
            if name == me.name or name not in dead or one.get("beat") != dead[name]
        }
        number = int(state.get(_NEXT, 0))
        mine = dict(members.get(me.name) or {"number": number, "has": False, **me.facts()})
        members[me.name] = {**mine, "beat": int(mine.get("beat", 0)) + 1}
        new = {_MEMBERS: members, _NEXT: max(number, mine["number"] + 1)}
        if not mine["has"] and self._is_mine(new, me):
            members[me.name]["has"] = True
        return new

    def _beat(self, me: _Member) -> None:
        """Changes the mark, unless somebody thought that this process is dead."""

        def beaten(state: State) -> State | None:
            members = _members(state)
            if me.name not in members:
                return None
            one = members[me.name]
            return {**state, _MEMBERS: {**members, me.name: {**one, "beat": one["beat"] + 1}}}

        if me.name not in _members(self._record.change(beaten)):
            self._heart.remove(me.name)
            _LOG.warning("%s: this process seemed dead and lost its turn; it goes on", self._what)

    def _leave(self, me: _Member) -> None:
        def left(state: State) -> State | None:
            members = _members(state)
            if me.name not in members:
                return None
            del members[me.name]
            return {**state, _MEMBERS: members} if members else {}

        self._record.change(left)


@dataclass(frozen=True)
class _Member:
    """This process, as it stands in the file."""

    name: str
    sign: str
    priority: int

    def facts(self) -> dict[str, Any]:
        who = f"process {os.getpid()} on {socket.gethostname()}"
        return {"sign": self.sign, "priority": self.priority, "who": who, "beat": 0}


def dead_members(state: State, folder: Path, *, is_old: bool) -> dict[str, Any]:
    """The last marks of those in a file of `Turns` who are dead for sure, by their names.

    Args:
        state: What the file says.
        folder: Where the signs of this machine's processes lie.
        is_old: Whether nothing was written to the file for far longer than a mark may stand still.
            Then all are dead, except who is known to live, as a process that is halted does.
    """
    found = {}
    for name, one in _members(state).items():
        sign = str(one.get("sign", ""))
        if is_known_dead(folder, sign) or (is_old and not is_known_alive(folder, sign)):
            found[name] = one.get("beat")
    return found


def without(state: State, dead: Mapping[str, Any]) -> State | None:
    """The state without those whose mark is what it was when they were found dead.

    Empty, which removes the file, where nobody is left; ``None`` where nobody goes.
    """
    members = _members(state)
    left = {
        name: one
        for name, one in members.items()
        if name not in dead or one.get("beat") != dead[name]
    }
    if not left:
        return {}
    return None if len(left) == len(members) else {**state, _MEMBERS: left}


def signs_in(state: State) -> set[str]:
    """The signs of life that a file of `Turns` refers to."""
    return {str(one.get("sign", "")) for one in _members(state).values()}


def _members(state: State) -> dict[str, dict[str, Any]]:
    found = state.get(_MEMBERS)
    if not isinstance(found, dict):
        return {}
    return {name: dict(one) for name, one in found.items() if isinstance(one, dict)}


def _has_turn(state: State, me: _Member) -> bool:
    return bool(_members(state).get(me.name, {}).get("has"))


def _marks_of_the_dead(state: State, census: Census) -> dict[str, Any]:
    """The last marks of the dead, by their names."""
    members = _members(state)
    shown = {n: (one.get("beat"), str(one.get("sign", ""))) for n, one in members.items()}
    return {name: shown[name][0] for name in census.dead(shown)}


def _place_in_line(member: Mapping[str, Any]) -> tuple[int, int]:
    return -int(member.get("priority", 0)), int(member.get("number", 0))


def _holders(state: State) -> str:
    has = [str(one.get("who", "?")) for one in _members(state).values() if one.get("has")]
    return " and ".join(has) or "somebody"
