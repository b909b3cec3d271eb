"""How fast a service is asked."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, Protocol


class Others(Protocol):
    """Who else asks the service: `adapters.street_view.web.account.Crowd`."""

    def count(self) -> tuple[int, float]:
        """How many ask it now, this one included, and seconds that all have to wait."""

    def hold(self, seconds: float) -> None:
        """Informs them that all have to wait."""

    def end_hold(self) -> None:
        """Informs them that it is over."""


class Pace:
    """Spaces requests evenly over all threads, and holds all of them when a service asks to wait.

    Even spacing rather than bursts: a limit of so many a minute is then never met.
    """

    def __init__(
        self,
        per_second: float,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Sets the pace.

        Args:
            per_second: Requests a second at most, above 0.
            clock: Seconds that only grow.
            sleep: Waits for so many seconds.
        """
        if not per_second > 0:
            raise ValueError(f"The requests a second must be above 0, not {per_second}.")
        self._gap = 1.0 / per_second
        self._others: Others | None = None
        self._holding = False
        self._clock, self._sleep = clock, sleep
        self._next = -float("inf")
        self._lock = threading.Lock()

    def share(self, others: Others, per_second: float | None = None) -> None:
        """From now on, all who ask the service together keep the pace.

        Args:
            others: Who they are.
            per_second: Requests a second of all of them; default: as it was.
        """
        with self._lock:
            self._others = others
            if per_second is not None:
                self._gap = 1.0 / per_second

    def wait(self) -> None:
        """Returns when the next request may start."""
        with self._lock:
            many, held = (1, 0.0) if self._others is None else self._others.count()
            now = self._clock()
            if held > 0:
                self._next, self._holding = max(self._next, now + held), True
            elif self._holding and self._others is not None and now >= self._next:
                self._holding = False
                self._others.end_hold()
            start = max(now, self._next)
            self._next = start + self._gap * many
        while start > now:
            self._sleep(start - now)
            now = self._clock()

    def hold(self, seconds: float) -> None:
        """Lets no request start for so long."""
        with self._lock:
            self._next = max(self._next, self._clock() + seconds)
            if self._others is not None:
                self._holding = True
                self._others.hold(seconds)

    def pause(self, seconds: float) -> None:
        """Lets only the caller wait."""
        if seconds > 0:
            self._sleep(seconds)

    def __getstate__(self) -> dict[str, Any]:
        if self._others is not None:
            raise TypeError("a shared pace belongs to its process: open the provider anew there")
        return {**self.__dict__, "_lock": None, "_next": -float("inf")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _lock=threading.Lock())
