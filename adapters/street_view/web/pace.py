"""How fast a service is asked."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any


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
        self._clock, self._sleep = clock, sleep
        self._next = -float("inf")
        self._lock = threading.Lock()

    def wait(self) -> None:
        """Returns when the next request may start."""
        with self._lock:
            now = self._clock()
            start = max(now, self._next)
            self._next = start + self._gap
        while start > now:
            self._sleep(start - now)
            now = self._clock()

    def hold(self, seconds: float) -> None:
        """Lets no request start for so long."""
        with self._lock:
            self._next = max(self._next, self._clock() + seconds)

    def pause(self, seconds: float) -> None:
        """Lets only the caller wait."""
        if seconds > 0:
            self._sleep(seconds)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_lock": None, "_next": -float("inf")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _lock=threading.Lock())
