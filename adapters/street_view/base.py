"""What every provider of street imagery offers: captures by place and by position, and views."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal, Protocol, runtime_checkable

import numpy as np

from adapters.file_digests import UnreadableFileError
from adapters.street_view.sunlight import lights_of
from crosscity.areas import Bounds
from crosscity.pairing import CaptureTable, haversine_metres
from crosscity.panorama import View

Split = Literal["train", "test"]
Precision = Literal["second", "day", "month"]


class StreetViewError(Exception):
    """A provider cannot give what was asked; the message is one sentence that says what to do."""


class UnreadableImageError(UnreadableFileError, StreetViewError):
    """The file of an image cannot be read now, by the system's word and not for what is in it."""


@dataclass(frozen=True)
class Capture:
    """One view of one place at one time, as the provider knows it before the image is fetched.

    Attributes:
        image_id: Unique within the city; safe as a file name (letters, digits, ``_``, ``-``).
        provider: Name of the provider.
        place_id: What captures of one place share; safe as a file name.
        lat: Latitude of the camera in WGS84 degrees, ``None`` if unknown.
        lon: Longitude of the camera in WGS84 degrees, ``None`` if unknown.
        heading: Direction of view in degrees clockwise from north, in [0, 360); of a provider
            without positions, whatever angle it states.
        pitch: Degrees above the horizon.
        fov: Horizontal field of view in degrees.
        captured_at: When the picture was taken, in UTC, ``None`` if unknown.
        licence: SPDX identifier or name of the licence.
        attribution: Whom to credit.
        page_url: Where a person can look at the picture, ``None`` if nowhere.
        split: The side on which the provider itself puts the place, ``None`` where it leaves
            that to the pairing.
        time_precision: How exactly `captured_at` is known (of a month or day, its start is
            given), ``None`` if the time is unknown.
        source_id: Its name at the service, for display and for asking again; never a path.
        sequence: What the captures of one drive share at the service, ``None`` if unknown.
        aligned_to: The capture whose picture fixes this one's exact heading: both are to show
            the same, and compasses err by degrees. ``None`` where the heading is taken as it is.
    """

    image_id: str
    provider: str
    place_id: str
    lat: float | None
    lon: float | None
    heading: float
    pitch: float
    fov: float
    captured_at: datetime | None
    licence: str
    attribution: str
    page_url: str | None = None
    split: Split | None = None
    time_precision: Precision | None = None
    source_id: str | None = None
    sequence: str | None = None
    aligned_to: str | None = None


@dataclass(frozen=True)
class Rejected:
    """Something the provider found and cannot use.

    Attributes:
        name: What it is called at the provider (for display only, never a path).
        reason: Why it is left out, one sentence without the name.
    """

    name: str
    reason: str


class StreetView(Protocol):
    """A provider, configured for one city.

    The methods may be called from several threads at once, and an instance survives pickling, so
    that a process pool can fetch. Every provider passes
    ``tests/adapters/street_view/test_street_view_contract.py``.
    """

    @property
    def name(self) -> str:
        """The kind of provider, as the catalog calls it."""

    def captures(self) -> Sequence[Capture]:
        """The views to harvest: of the sampled places, grouped by place, the same every time.

        Raises:
            StreetViewError: The provider cannot be asked, or has nothing for this city.
        """

    def near(self, lat: float, lon: float, metres: float) -> Sequence[Capture]:
        """All captures around a point, by distance; none where positions are unknown.

        Raises:
            StreetViewError: The provider cannot be asked.
        """

    def within(self, bounds: Bounds) -> Sequence[Capture]:
        """All captures in west, south, east, north, by image id; as `near` otherwise."""

    def fetch(self, capture: Capture, view: View | None = None) -> bytes:
        """The encoded image of a capture that this provider listed.

        The bytes are untrusted: `adapters.images.decode_image` is the way to read them.

        Args:
            capture: One of `captures`, `near` or `within`.
            view: Heading, pitch, field of view and size that are wanted; by default the capture's
                own heading, pitch and field of view at the size of the provider.

        Raises:
            StreetViewError: The provider has no such image, it is over a limit, or it does not
                show all of the view.
        """

    def revision(self) -> str:
        """What changes when `fetch` would give other bytes for the same captures.

        A part of the key under which a harvest is kept; empty where the provider cannot tell.
        """


@runtime_checkable
class ReportsRejected(Protocol):
    """A provider that can meet things it cannot use and reports what they were."""

    def rejected(self) -> Sequence[Rejected]:
        """What `StreetView.captures` left out, in the same order every time."""


def captures_near(
    captures: Sequence[Capture], lat: float, lon: float, metres: float
) -> list[Capture]:
    """Those of some captures that lie around a point, by distance and image id."""
    table = capture_table(captures)
    distances = haversine_metres(table.lat, table.lon, lat, lon)
    close = [k for k, distance in enumerate(distances) if distance <= metres]  # NaN is not
    close.sort(key=lambda k: (distances[k], captures[k].image_id))
    return [captures[k] for k in close]


def captures_within(captures: Sequence[Capture], bounds: Bounds) -> list[Capture]:
    """Those of some captures that lie in bounds, by image id."""
    west, south, east, north = bounds
    found = [
        c
        for c in captures
        if c.lat is not None
        and c.lon is not None
        and south <= c.lat <= north
        and west <= c.lon <= east
    ]
    return sorted(found, key=lambda capture: capture.image_id)


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DAY = timedelta(days=1)


def capture_table(captures: Sequence[Capture], *, with_light: bool = False) -> CaptureTable:
    """The columns that pairing needs, row i of which is capture i.

    Args:
        captures: The captures.
        with_light: Whether their light is wanted, which is computed for each.
    """

    def number(value: float | None) -> float:
        return float("nan") if value is None else value

    def days(moment: datetime | None) -> float:
        return number(None if moment is None else (moment - _EPOCH) / _DAY)

    return CaptureTable(
        image_id=tuple(c.image_id for c in captures),
        place_id=tuple(c.place_id for c in captures),
        lat=np.array([number(c.lat) for c in captures], dtype=np.float64),
        lon=np.array([number(c.lon) for c in captures], dtype=np.float64),
        heading=np.array([c.heading for c in captures], dtype=np.float64),
        days=np.array([days(c.captured_at) for c in captures], dtype=np.float64),
        split=tuple(c.split for c in captures),
        light=(
            lights_of((c.lat, c.lon, c.captured_at, c.time_precision) for c in captures)
            if with_light
            else None
        ),
    )
