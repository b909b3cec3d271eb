"""A service's account as all processes and machines use it: one ledger and one pace.

Both lie in small files of the store that are changed by compare-and-set (`SharedRecord`). What is
used is reserved before it is used, some requests at a time: what a killed process had reserved
counts as used, so a budget is never exceeded. Who asks a service stands in its file, and each asks
at the rate divided by how many there are: no clock of one machine is compared with another's.
"""

from __future__ import annotations

import math
import secrets
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Protocol

from adapters.street_view.web.budget import Budget, Spent
from adapters.street_view.web.errors import AllowanceSpent, BudgetSpent

SYNC_SECONDS: Final = 2.0
"""How old may be what a process knows of the others when it asks the service."""
VALID_SECONDS: Final = 6.0
"""Who did not ask for so long has to come in anew: the others may have forgotten it."""
FORGOTTEN_SECONDS: Final = 20.0
"""Whose mark stood still for so long is forgotten by the others."""
_CAUTION: Final = 8
"""No more than one in so many of what is left is reserved at once."""
_PERIODS_KEPT: Final = 8
"""Of each length: days, and months."""

State = dict[str, Any]


class Record(Protocol):
    """A JSON object that several processes change: `adapters.store.SharedRecord`."""

    def change(self, change: Callable[[State], State | None]) -> State:
        """Replaces it by what `change` makes of it."""


class Living(Protocol):
    """What tells the living from the dead: `adapters.store.Watch`, signs of this machine."""

    def dead(self, marks: Mapping[str, tuple[int, str]]) -> set[str]:
        """Names of the dead, of marks and signs by name."""


@dataclass(frozen=True)
class Limit:
    """What may be used in a period.

    Attributes:
        budget: How much.
        period: Gives the name of the period that it is now, such as "2026-11-28".
        words: What follows the amount in a sentence, such as "a day".
        advice: What to do when it is used up.
        passes: Whether the period ends by itself, as a day does.
    """

    budget: Budget
    period: Callable[[], str]
    words: str
    advice: str
    passes: bool = False


def this_day() -> str:
    """Today in UTC."""
    return datetime.now(UTC).strftime("%Y-%m-%d")


def this_month() -> str:
    """This month in UTC."""
    return datetime.now(UTC).strftime("%Y-%m")


class SharedLedger:
    """What all processes use of some limits, reserved before it is used.

    Args:
        name: Whose it is, for the sentence when it is used up.
        record: Where it stands.
        limits: What may be used; one without a budget is only counted.
        before: What counts as used where the record begins.
        block: Requests that are reserved at once at most.
    """

    def __init__(
        self,
        name: str,
        record: Record,
        limits: tuple[Limit, ...],
        *,
        before: Spent | None = None,
        block: int = 1,
    ) -> None:
        self._name, self._record, self._limits = name, record, limits
        self._before, self._block = before or Spent(), max(1, block)
        self._left = Spent()
        self._left_of: tuple[str, ...] = ()
        self._lock = threading.Lock()

    def spend(self, more: Spent) -> None:
        """Counts what is about to be used.

        Raises:
            BudgetSpent: It would exceed a limit; then nothing is counted.
        """
        with self._lock:
            if self._left_of != self._periods():
                self._give_back()  # what is used from now on is of another day or month
            missing = _missing(more, self._left)
            if missing != Spent():
                self._left += self._reserve(missing)
            self._left = _difference(self._left, more)

    def close(self) -> None:
        """Gives back what was reserved and not used."""
        with self._lock:
            self._give_back()

    def _give_back(self) -> None:
        """To the periods in which it was reserved, one of which may be over."""
        left, self._left = self._left, Spent()
        if left != Spent():
            periods = self._left_of
            self._record.change(lambda state: self._state_with(state, periods, Spent(), left))

    def _periods(self) -> tuple[str, ...]:
        return tuple(limit.period() for limit in self._limits)

    def _reserve(self, missing: Spent) -> Spent:
        given = Spent()
        self._left_of = periods = self._periods()

        def reserved(state: State) -> State:
            nonlocal given
            given = self._block_of(state, periods, missing)
            return self._state_with(state, periods, given, Spent())

        self._record.change(reserved)
        return given

    def _block_of(self, state: State, periods: Sequence[str], missing: Spent) -> Spent:
        """As much as is wise to reserve at once: little, where little is left."""
        times = self._block if missing.requests else 1
        size = 2**20 if missing.bytes else 0
        for limit, period in zip(self._limits, periods, strict=True):
            room = self._room(state, limit, period, missing)
            for wanted, free in (
                (missing.requests, room.requests),
                (missing.usd, room.usd),
            ):
                if wanted > 0 and math.isfinite(free):
                    times = min(times, max(1, int(free / wanted / _CAUTION)))
            if math.isfinite(room.bytes):
                size = min(size, int(room.bytes / _CAUTION))
        return Spent(missing.requests * times, max(missing.bytes, size), missing.usd * times)

    def _room(self, state: State, limit: Limit, period: str, missing: Spent) -> _Room:
        used = self._spent_in(state, period)
        total, budget = used + missing, limit.budget
        for what, wanted, most, shown in (
            ("requests", total.requests, budget.requests, "{:.0f}"),
            ("bytes", total.bytes, budget.bytes, "{:.0f}"),
            ("US dollars", total.usd, budget.usd, "{:.2f}"),
        ):
            # Prices add up in floats; a hundredth of a cent over is not over.
            if most is not None and wanted > most + (1e-4 if what == "US dollars" else 0):
                kind = AllowanceSpent if limit.passes else BudgetSpent
                raise kind(
                    f"The budget of {shown.format(most)} {what} {limit.words} for {self._name} is "
                    f"used up, counting all runs and machines: {limit.advice}; what was fetched "
                    "so far is kept."
                )
        return _Room(
            math.inf if budget.requests is None else budget.requests - used.requests,
            math.inf if budget.bytes is None else budget.bytes - used.bytes,
            math.inf if budget.usd is None else budget.usd - used.usd,
        )

    def _spent_in(self, state: State, period: str) -> Spent:
        spent = state.get("spent", {})
        if period in spent:
            return Spent.from_dict(spent[period])
        # Earlier releases dropped a month before its days.
        days = [one for name, one in spent.items() if name.startswith(f"{period}-")]
        return sum(map(Spent.from_dict, days), self._before)

    def _state_with(self, state: State, periods: Sequence[str], more: Spent, less: Spent) -> State:
        spent = dict(state.get("spent", {}))
        for period in periods:
            spent[period] = _difference(self._spent_in(state, period) + more, less).to_dict()
        # By their lengths: "2026-11" is before all of its days, and would go first.
        kept = [
            name
            for length in {len(name) for name in spent}
            for name in sorted(one for one in spent if len(one) == length)[-_PERIODS_KEPT:]
        ]
        return {**state, "spent": {name: spent[name] for name in sorted(kept)}}


@dataclass(frozen=True)
class _Room:
    requests: float
    bytes: float
    usd: float


class Crowd:
    """Who asks a service, over all processes and machines.

    Args:
        record: Where they stand.
        living: What tells who is dead.
        sign: What shows others of this machine that this process lives.
        clock: Seconds that only grow.
        sleep: Waits for so many seconds.
    """

    def __init__(
        self,
        record: Record,
        living: Living,
        sign: str,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._record, self._living, self._sign = record, living, sign
        self._clock, self._sleep = clock, sleep
        self._me = secrets.token_hex(8)
        self._synced = -math.inf
        self._many = 1
        self._held: set[str] = set()

    def count(self) -> tuple[int, float]:
        """How many ask the service now, and for how many seconds nobody may, as it asked to wait.

        Called before each request; who comes in waits here until the others know of it.
        """
        age = self._clock() - self._synced
        wait = 0.0
        if age > SYNC_SECONDS:
            wait = self._sync()
        if age > VALID_SECONDS and self._many > 1:
            self._sleep(SYNC_SECONDS)
            wait = max(wait, self._sync())
        return self._many, wait

    def hold(self, seconds: float) -> None:
        """Informs the others that the service asks everybody to wait."""
        name = secrets.token_hex(4)
        self._held.add(name)
        hold = {"name": name, "seconds": seconds}
        self._record.change(lambda state: {**state, "hold": hold})

    def close(self) -> None:
        """Leaves; whoever stays is faster from then on."""
        if self._synced == -math.inf:
            return
        self._synced = -math.inf

        def left(state: State) -> State | None:
            users = dict(state.get("users", {}))
            if users.pop(self._me, None) is None:
                return None
            return {**state, "users": users}

        self._record.change(left)

    def _sync(self) -> float:
        def with_me(state: State) -> State:
            users = {name: dict(one) for name, one in state.get("users", {}).items()}
            marks = {n: (int(one["beat"]), str(one.get("sign", ""))) for n, one in users.items()}
            dead = self._living.dead(marks) - {self._me}
            users = {name: one for name, one in users.items() if name not in dead}
            beat = int(users.get(self._me, {}).get("beat", 0)) + 1
            users[self._me] = {"beat": beat, "sign": self._sign}
            return {**state, "users": users}

        state = self._record.change(with_me)
        self._synced = self._clock()
        self._many = len(state["users"])
        return self._new_hold(state.get("hold"))

    def _new_hold(self, hold: object) -> float:
        """Seconds of a hold that this process did not know of."""
        if not isinstance(hold, dict) or str(hold.get("name")) in self._held:
            return 0.0
        self._held.add(str(hold.get("name")))
        return float(hold.get("seconds", 0.0))

    def end_hold(self) -> None:
        """Takes a hold away that has been waited for: who comes later need not."""

        def ended(state: State) -> State | None:
            hold = state.get("hold")
            if not isinstance(hold, dict) or str(hold.get("name")) not in self._held:
                return None
            return {name: value for name, value in state.items() if name != "hold"}

        self._record.change(ended)


def _missing(more: Spent, left: Spent) -> Spent:
    return Spent(
        max(0, more.requests - left.requests),
        max(0, more.bytes - left.bytes),
        max(0.0, more.usd - left.usd),
    )


def _difference(one: Spent, other: Spent) -> Spent:
    return Spent(
        max(0, one.requests - other.requests),
        max(0, one.bytes - other.bytes),
        max(0.0, one.usd - other.usd),
    )
