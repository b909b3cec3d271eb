"""Which of a service's records can be used: of the area and time asked for, and with a heading."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Final

import numpy as np

from adapters.street_view.base import Rejected
from adapters.street_view.records import Interval, Shot, UnusableError
from crosscity.areas import METRES_A_DEGREE, Bounds, grown

OUT_OF_TIME: Final = "it was taken at another time than was asked for: the service ignores times"
FAR_AWAY: Final = "its position is far from where it was asked for"
NO_COMPASS: Final = "all pictures of its drive head 0 degrees: it has no heading"
_ASTRAY_METRES: Final = 1000.0
_INEXACT: Final = timedelta(days=1)
_NORTHWARD: Final = 30.0
_CONSTANT: Final = 3
"""Pictures of a drive that all head exactly north are taken for ones without a compass."""


def accept(
    records: Sequence[object],
    read: Callable[[object], Shot],
    name: Callable[[object], str],
    reject: Callable[[Rejected], None],
    interval: Interval,
    *,
    bounds: Bounds | None = None,
    by_time: bool = False,
) -> list[Shot]:
    """Reads records; those that cannot be used are reported with their reason, duplicates are not.

    Args:
        records: As the service gave them.
        read: Makes a picture of one.
        name: What one is called, for people.
        reject: Is called with what cannot be used.
        interval: Pictures of other times are left out.
        bounds: What was asked for; pictures far from it are reported. None where it was not
            asked by bounds.
        by_time: Whether the service was asked for the interval; then pictures of other times are
            reported.
    """
    found: dict[str, Shot] = {}
    around = None if bounds is None else grown(bounds, _ASTRAY_METRES)
    for record in records:
        try:
            shot = read(record)
            _check_asked_for(shot, around, interval if by_time else None)
        except UnusableError as error:
            reject(Rejected(name(record), str(error)))
            continue
        if interval[0] <= shot.captured_at < interval[1]:
            found.setdefault(shot.source_id, shot)
    return _with_compass(list(found.values()), reject)


def _check_asked_for(shot: Shot, bounds: Bounds | None, interval: Interval | None) -> None:
    if bounds is not None and not _lies_in(shot, bounds):
        raise UnusableError(FAR_AWAY)
    if interval is not None and not (
        interval[0] - _INEXACT <= shot.captured_at < interval[1] + _INEXACT
    ):
        raise UnusableError(OUT_OF_TIME)


def _with_compass(shots: list[Shot], reject: Callable[[Rejected], None]) -> list[Shot]:
    """Leaves out drives whose every picture heads exactly north, which nobody measured.

    A drive that really goes north is kept, if other drives around it head elsewhere.
    """
    drives: dict[str | None, list[Shot]] = defaultdict(list)
    for shot in shots:
        drives[shot.sequence].append(shot)
    everywhere = all(shot.heading == 0.0 for shot in shots)
    lost = {
        shot.source_id
        for drive in drives.values()
        if len(drive) >= _CONSTANT
        and all(shot.heading == 0.0 for shot in drive)
        and (everywhere or not _goes_north(drive))
        for shot in drive
    }
    for shot in shots:
        if shot.source_id in lost:
            reject(Rejected(shot.source_id, NO_COMPASS))
    return [shot for shot in shots if shot.source_id not in lost]


def _goes_north(drive: Sequence[Shot]) -> bool:
    """Whether pictures lie along a line that goes north."""
    lat = np.array([shot.lat for shot in drive])
    east = np.array([shot.lon for shot in drive]) * math.cos(math.radians(float(lat.mean())))
    spread = np.cov(np.stack([east, lat]) * METRES_A_DEGREE)
    lengths, axes = np.linalg.eigh(spread)
    along = axes[:, -1]
    turn = math.degrees(math.atan2(abs(float(along[0])), abs(float(along[1]))))
    return bool(lengths[-1] > 1.0 and turn < _NORTHWARD)


def _lies_in(shot: Shot, bounds: Bounds) -> bool:
    west, south, east, north = bounds
    return west <= shot.lon <= east and south <= shot.lat <= north
