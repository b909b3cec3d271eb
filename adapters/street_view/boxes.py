"""Services that are searched by boxes of longitude and latitude, and cut long answers.

No answer says whether it is whole. Some services cut first and then drop what was deleted or is
private, so an answer that is a little shorter than the limit may be a cut one: a box is divided
from three quarters of the limit on. Whether that suffices is tried once a harvest, on the densest
box that was taken to be whole: its four quarters must not hold more than it.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from statistics import median
from typing import Any, Final

from adapters.street_view.base import Rejected
from adapters.street_view.records import Shot, UnusableError
from adapters.street_view.service import (
    Answered,
    HarvestPlan,
    Interval,
    ServiceStreetView,
    accept,
)
from adapters.street_view.web.client import WebClient
from adapters.street_view.web.errors import ServiceError
from crosscity.places import Bounds

WHOLE: Final = 0.75
"""An answer of that share of the limit, or more, is taken for a cut one."""
_METRES_A_DEGREE: Final = 111_195.0
_SMALLEST_BOX: Final = 2.0
_LEAST_LIMIT: Final = 4
_DAY: Final = timedelta(days=1)


class SearchedByBox(ServiceStreetView):
    """A service that gives at most so many pictures of a box, and no further page."""

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

    @abstractmethod
    def _ask(self, box: Bounds, span: Interval) -> list[Any]:
        """The records that one search gives."""

    @abstractmethod
    def _read(self, record: object) -> Shot:
        """The picture of a record; `UnusableError` where it is not one."""

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
        def whole(box: Bounds, span: Interval, records: list[Any]) -> None:
            if answered is not None and records:
                answered(Answered(box, span, frozenset(map(self._record_name, records))))

        return subdivided(
            self._ask,
            bounds,
            interval,
            limit=self._whole_below,
            max_square_degrees=self.max_square_degrees,
            whole=whole,
        )

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
        middle = self._middle(self._ask(densest.box, densest.span))
        parts = quarters(densest.box, middle)
        records = [r for box in parts for r in self._searched(box, densest.span)]
        names = {self._record_name(record) for record in records}
        return {
            "box": [round(value, 6) for value in densest.box],
            "pictures_in_the_box": len(densest.names),
            "pictures_in_its_quarters": len(names),
            "missing": len(names - densest.names),
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
        return all(
            t < late for t in self._moments(self._ask(densest.box, (densest.span[0], middle)))
        )

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


def subdivided(
    ask: Callable[[Bounds, Interval], list[Any]],
    bounds: Bounds,
    interval: Interval,
    *,
    limit: int,
    max_square_degrees: float = math.inf,
    whole: Callable[[Bounds, Interval, list[Any]], None] | None = None,
) -> Iterator[Any]:
    """Everything that a search finds which gives at most `limit` items and no further page.

    A box whose answer may be cut (`WHOLE`) is divided into four, a box of a few metres into two
    spans of time.

    Args:
        ask: The search.
        bounds: Where.
        interval: When.
        limit: Most items of an answer.
        max_square_degrees: A box must be smaller to be asked for.
        whole: Is called with every answer that is taken.

    Raises:
        ServiceError: There is more than that at one spot in one hour.
    """
    pending = [(bounds, interval)]
    while pending:
        box, span = pending.pop()
        west, south, east, north = box
        if (east - west) * (north - south) < max_square_degrees:
            items = ask(box, span)
            if len(items) < WHOLE * limit:
                if whole is not None:
                    whole(box, span, items)
                yield from items
                continue
        if max(north - south, east - west) * _METRES_A_DEGREE > _SMALLEST_BOX:
            pending += [(part, span) for part in quarters(box)]
            continue
        if span[1] - span[0] < timedelta(hours=1):
            raise ServiceError(
                f"More than {math.ceil(WHOLE * limit)} pictures lie at {south:.6f}, {west:.6f} "
                "within an hour, more than the service surely gives in one answer, or it ignores "
                "the times that it is asked for: choose another area."
            )
        middle = span[0] + (span[1] - span[0]) / 2
        pending += [(box, (span[0], middle)), (box, (middle, span[1]))]
