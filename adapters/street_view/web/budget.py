"""What a harvest may use, and what it has used: requests, bytes, money."""

from __future__ import annotations

import threading
from dataclasses import asdict, dataclass
from typing import Any, Protocol, Self

from adapters.street_view.web.errors import BudgetSpent


@dataclass(frozen=True)
class Spent:
    """What was used.

    Attributes:
        requests: HTTP requests, repeated ones included.
        bytes: Bytes of answers, as they came over the wire or unpacked, whichever is more.
        usd: What billed requests cost at the prices of the settings, US dollars.
    """

    requests: int = 0
    bytes: int = 0
    usd: float = 0.0

    def __add__(self, other: Spent) -> Spent:
        return Spent(self.requests + other.requests, self.bytes + other.bytes, self.usd + other.usd)

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """From what `to_dict` gave."""
        return cls(int(values["requests"]), int(values["bytes"]), float(values["usd"]))


@dataclass(frozen=True)
class Budget:
    """What may be used; ``None`` is without a limit.

    Attributes:
        requests: HTTP requests.
        bytes: Bytes of answers.
        usd: US dollars.
    """

    requests: int | None = None
    bytes: int | None = None
    usd: float | None = None


class Spending(Protocol):
    """What else counts: `adapters.street_view.web.account.SharedLedger`."""

    def spend(self, more: Spent) -> None:
        """Counts what is about to be used; `BudgetSpent` where it may not be."""


class Ledger:
    """Counts against a budget, before anything is spent; for any number of threads."""

    def __init__(self, service: str, budget: Budget, before: Spent | None = None) -> None:
        """Opens the ledger.

        Args:
            service: Name in the messages.
            budget: The limits.
            before: What earlier parts of the same harvest have used.
        """
        self._service, self._budget = service, budget
        self._before, self._now = before or Spent(), Spent()
        self._shared: tuple[Spending, ...] = ()
        self._lock = threading.Lock()

    def share(self, *shared: Spending) -> None:
        """From now on, also counts against what is shared with other processes."""
        self._shared = shared

    @property
    def spent(self) -> Spent:
        """What this ledger has counted itself."""
        with self._lock:
            return self._now

    def before(self, spent: Spent) -> None:
        """Sets what was used before this ledger was opened."""
        with self._lock:
            self._before = spent

    def request(self, usd: float) -> None:
        """Counts a request that is about to be made.

        Raises:
            BudgetSpent: It would exceed the budget; then it is not counted and must not be made.
        """
        self._count(Spent(requests=1, usd=usd))

    def receive(self, count: int) -> None:
        """Counts bytes that are about to be read.

        Raises:
            BudgetSpent: They would exceed the budget.
        """
        self._count(Spent(bytes=count))

    def __getstate__(self) -> dict[str, Any]:
        if self._shared:
            raise TypeError("a shared ledger belongs to its process: open the provider anew there")
        return {**self.__dict__, "_lock": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _lock=threading.Lock())

    def _count(self, more: Spent) -> None:
        with self._lock:
            total = self._before + self._now + more
            limits = (
                ("requests", total.requests, self._budget.requests, "{:.0f}"),
                ("bytes", total.bytes, self._budget.bytes, "{:.0f}"),
                ("US dollars", total.usd, self._budget.usd, "{:.2f}"),
            )
            for what, wanted, limit, shown in limits:
                # Prices add up in floats; a hundredth of a cent over is not over.
                if limit is not None and wanted > limit + (1e-4 if what == "US dollars" else 0):
                    raise BudgetSpent(
                        f"The budget of {shown.format(limit)} {what} for {self._service} is used "
                        "up: raise `budget` in the catalog and run again; what was fetched so "
                        "far is kept."
                    )
            for shared in self._shared:
                shared.spend(more)
            self._now += more
