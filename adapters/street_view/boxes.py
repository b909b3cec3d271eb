"""Services that are searched by boxes of longitude and latitude, and cut long answers.

Few answers say whether they are whole. Some services cut first and then drop what was deleted or is
private, so an answer that is a little shorter than the limit may be a cut one: a box is divided
from three quarters of the limit on. Where a service counts more pictures than it gives, a box is
divided as long as its quarters hold more than it. Whether all that suffices is tried once a
harvest, on the densest box that was taken to be whole: its four quarters must not hold more than
it.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from statistics import median
from typing import Any, Final

from adapters.street_view.accepting import accept
from adapters.street_view.base import Rejected
from adapters.street_view.listings import Answered
from adapters.street_view.records import Interval, Shot, UnusableError
from adapters.street_view.service import HarvestPlan, ServiceStreetView
from adapters.street_view.web.client import WebClient
from adapters.street_view.web.errors import ServiceError, TooMuchAskedError
from crosscity.areas import METRES_A_DEGREE, Bounds

WHOLE: Final = 0.75
"""An answer of that share of the limit, or more, is taken for a cut one."""
_SMALLEST_BOX: Final = 2.0
_LEAST_LIMIT: Final = 4
_DAY: Final = timedelta(days=1)
_VAIN: Final = 3
"""Boxes that were quartered for nothing, after which a service is known to count what it hides."""


@dataclass(frozen=True)
class Found:
    """What one search gave.

    Attributes:
        records: The records, of all pages that were had.
        matched: How many pictures match as the service counts them; 0 where it does not say.
        more: Whether it says that there are more pages, and they could not be had.
        refused: What the service said instead, where it was asked for too much at once.
    """

    records: list[Any]
    matched: int = 0
    more: bool = False
    refused: TooMuchAskedError | None = None

    @property
    def not_given(self) -> int:
        """How many pictures it speaks of and does not give, at least."""
        return max(self.matched - len(self.records), int(self.more), 0)


Part = tuple[Bounds, Interval, Found | None]
"""A box, a span of time, and what was found there, if that was asked for already."""


class SearchedByBox(ServiceStreetView):
    """A service that gives at most so many pictures of a box."""

    max_square_degrees: float = math.inf
    """A box must be smaller."""
    by_time: bool = True
    """Whether a search takes the times that are wanted."""

    def __init__(self, plan: HarvestPlan, client: WebClient, *, limit: int) -> None:
        """Nothing is asked yet.

        Args:
            plan: What is wanted.
            client: How the service is asked.
            limit: Pictures to ask for in one answer.
        """
        super().__init__(plan, client)
        self._limit = limit
        self._whole_below = limit
        self._quartered_in_vain = 0

    @abstractmethod
    def _ask(self, box: Bounds, span: Interval) -> Found:
        """What a search gives."""

    @abstractmethod
    def _record_name(self, record: object) -> str:
        """What a record is called, for people and for counting."""

    def _list(
        self,
        bounds: Bounds,
        interval: Interval,
        reject: Callable[[Rejected], None],
        answered: Callable[[Answered], None] | None = None,
    ) -> list[Shot]:
        return accept(
            list(self._searched(bounds, interval, answered)),
            self._read,
            self._record_name,
            reject,
            interval,
            bounds=bounds,
            by_time=self.by_time,
        )

    def _searched(
        self,
        bounds: Bounds,
        interval: Interval,
        answered: Callable[[Answered], None] | None = None,
    ) -> Iterator[Any]:
        def whole(box: Bounds, span: Interval, found: Found) -> None:
            if answered is not None and (found.records or found.not_given):
                answered(Answered(box, span, self._names(found.records), found.not_given))

        return subdivided(
            self._ask,
            bounds,
            interval,
            limit=self._whole_below,
            max_square_degrees=self.max_square_degrees,
            whole=whole,
            fuller=self._fuller_parts,
        )

    def _fuller_parts(self, box: Bounds, span: Interval, found: Found) -> list[Part]:
        """The quarters of a box whose answer lacks something, where they hold more than it.

        They meet amid what came: of a quarter that held all of it, the answer could be the same.
        """
        if self._quartered_in_vain >= _VAIN or not _can_be_quartered(box):
            return []
        parts: list[Part] = []
        names = self._names(found.records)
        gained = False
        for quarter in quarters(box, self._middle(found.records)):
            answer = self._ask(quarter, span)
            parts.append((quarter, span, answer))
            gained |= not self._names(answer.records) <= names
        self._quartered_in_vain = 0 if gained else self._quartered_in_vain + 1
        return parts if gained else []

    def _names(self, records: list[Any]) -> frozenset[str]:
        return frozenset(map(self._record_name, records))

    def ask_for_less(self, densest: Answered) -> None:
        """Takes an answer as large as this one for a cut one from now on."""
        self._whole_below = max(_LEAST_LIMIT, min(self._whole_below // 2, len(densest.names)))

    def check(self, densest: Answered) -> dict[str, Any]:
        """Asks for the four quarters of a box, and for the earlier half of its pictures.

        It is quartered at the middle of its pictures: an answer that was cut may hold those of one
        corner alone, and a quarter that they all lie in would be cut to the same answer.

        Returns:
            The box, how many pictures it and its quarters gave, how many of them it lacked, and
            whether the service regards the times it is asked for (None where that is not
            known, as all are of one day).
        """
        again = self._ask(densest.box, densest.span).records
        # What has come since is nothing that the answer lacked: an area is listed for hours.
        held = densest.names | self._names(again)
        parts = quarters(densest.box, self._middle(again))
        records = [r for box in parts for r in self._searched(box, densest.span)]
        names = {self._record_name(record) for record in records}
        return {
            "box": [round(value, 6) for value in densest.box],
            "pictures_in_the_box": len(held),
            "pictures_in_its_quarters": len(names),
            "missing": len(names - held),
            "answers_are_whole_below": math.ceil(WHOLE * self._whole_below),
            "times_are_honoured": self._honours_times(densest, self._moments(records)),
        }

    def _honours_times(self, densest: Answered, moments: list[datetime]) -> bool | None:
        if not self.by_time or not moments:
            return None
        middle = moments[(len(moments) - 1) // 2]
        late = middle + _DAY
        if moments[-1] < late or middle <= densest.span[0]:
            return None
        earlier = self._ask(densest.box, (densest.span[0], middle))
        if earlier.refused is not None:
            return None
        return all(t < late for t in self._moments(earlier.records))

    def _middle(self, records: list[Any]) -> tuple[float, float] | None:
        shots = self._shots(records)
        if not shots:
            return None
        return median(shot.lon for shot in shots), median(shot.lat for shot in shots)

    def _moments(self, records: list[Any]) -> list[datetime]:
        return sorted(shot.captured_at for shot in self._shots(records))

    def _shots(self, records: list[Any]) -> list[Shot]:
        found = []
        for record in records:
            try:
                found.append(self._read(record))
            except UnusableError:
                continue
        return found


def quarters(box: Bounds, middle: tuple[float, float] | None = None) -> list[Bounds]:
    """The four parts of a box that meet at a point inside it, by default its middle."""
    west, south, east, north = box
    x, y = middle or ((west + east) / 2, (south + north) / 2)
    x, y = min(max(x, west), east), min(max(y, south), north)
    parts = [(a, b, c, d) for a, c in ((west, x), (x, east)) for b, d in ((south, y), (y, north))]
    return [part for part in parts if part[0] < part[2] and part[1] < part[3]]


def _can_be_quartered(box: Bounds) -> bool:
    west, south, east, north = box
    return max(north - south, east - west) * METRES_A_DEGREE > _SMALLEST_BOX


def subdivided(
    ask: Callable[[Bounds, Interval], Found],
    bounds: Bounds,
    interval: Interval,
    *,
    limit: int,
    max_square_degrees: float = math.inf,
    whole: Callable[[Bounds, Interval, Found], None] | None = None,
    fuller: Callable[[Bounds, Interval, Found], list[Part]] | None = None,
) -> Iterator[Any]:
    """Everything that a search finds which gives at most `limit` items.

    A box whose answer may be cut (`WHOLE`), or was refused as too much, is divided into four, a box
    of a few metres into two spans of time.

    Args:
        ask: The search.
        bounds: Where.
        interval: When.
        limit: Most items of an answer.
        max_square_degrees: A box must be smaller to be asked for.
        whole: Is called with every answer that is taken.
        fuller: Is called with an answer that says that it lacks something; gives the parts to
            take instead, or none.

    Raises:
        ServiceError: There is more than that at one spot in one hour.
    """
    pending: list[Part] = [(bounds, interval, None)]
    while pending:
        box, span, known = pending.pop()
        west, south, east, north = box
        found = known
        if (east - west) * (north - south) < max_square_degrees:
            found = ask(box, span) if known is None else known
            if len(found.records) < WHOLE * limit and found.refused is None:
                parts = fuller(box, span, found) if fuller and found.not_given else []
                if not parts:
                    if whole is not None:
                        whole(box, span, found)
                    yield from found.records
                pending += parts
                continue
        if _can_be_quartered(box):
            pending += [(part, span, None) for part in quarters(box)]
            continue
        if span[1] - span[0] < timedelta(hours=1):
            if found is not None and found.refused is not None:
                raise found.refused
            raise ServiceError(
                f"More than {math.ceil(WHOLE * limit)} pictures lie at {south:.6f}, {west:.6f} "
                "within an hour, more than the service surely gives in one answer, or it ignores "
                "the times that it is asked for: choose another area."
            )
        middle = span[0] + (span[1] - span[0]) / 2
        pending += [(box, (span[0], middle), None), (box, (middle, span[1]), None)]
