"""Street views of the embedded procedural cities (`simcity`)."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any, Final

import numpy as np

from adapters.images import encode_jpeg
from adapters.street_view.base import (
    Capture,
    StreetViewError,
    captures_near,
    captures_within,
)
from adapters.street_view.sunlight import lights_of
from crosscity.areas import Bounds
from crosscity.lights import LIGHTS, Lights
from crosscity.pairing import EARTH_RADIUS_METRES
from crosscity.panorama import View
from simcity import (
    ALGORITHM_VERSION,
    STYLES,
    CityStyle,
    Rendering,
    capture_pose,
    in_light,
    render,
    render_from,
)

MAX_TIMES: Final = 10
MAX_PLACES: Final = 1_000_000
"""Places 0 to 999 999 of a simulated city are for street views; higher ones for labelled sets."""

_FIRST_DAY: Final = datetime(2010, 1, 1, tzinfo=UTC)
_DAYS_OF_FIRST_CAPTURE: Final = 5 * 365
_DAYS_BEYOND_MINIMUM: Final = 3 * 365
_QUARTERS_OF_A_YEAR: Final = 366 * 96
"""Of an hour."""
_LAYOUT_KEY: Final = 0x57EE7
"""Sets this module's random numbers apart from the renderer's, which have the same seed."""


@dataclass(frozen=True)
class SimulatedCity:
    """What fixes every pixel of a simulated city; views and labelled sets are made from it.

    Attributes:
        style: The look of the city.
        seed: Which city of that look.
        image_size: (height, width) of the views in pixels.
        lights: The light of the views at even times and that of those at odd ones; as the style
            draws it where there are none.
    """

    style: CityStyle
    seed: int
    image_size: tuple[int, int]
    lights: Lights | None = None

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,62}", self.style.name):
            raise ValueError(
                f"The name of style {self.style.name!r} becomes a part of file names: use "
                "lower-case letters, digits, '_' and '-'."
            )
        if self.seed < 0:
            raise ValueError(f"The seed of a simulated city cannot be negative ({self.seed}).")
        if min(self.image_size) < 1:
            height, width = self.image_size
            raise ValueError(
                f"Views of {height}×{width} pixels (height × width) cannot be rendered."
            )

    def place_id(self, place: int) -> str:
        """The id of a place: the same for the same style, seed and number."""
        return f"{self.style.name}_{self.seed}_{place:06d}"

    def image_id(self, place: int, time: int) -> str:
        """The id of one view of a place."""
        return f"{self.place_id(place)}_{time}"

    def place_number(self, place_id: str) -> int:
        """The number of a place of this city.

        Raises:
            ValueError: The id is of another city, or no id.
        """
        number = re.fullmatch(r"[0-9]{6,}", place_id.rpartition("_")[2])
        place = int(number[0]) if number else 0
        if self.place_id(place) != place_id:
            raise ValueError(
                f"{place_id!r} is not a place of the simulated city {self.style.name!r} with seed "
                f"{self.seed}."
            )
        return place

    def style_at(self, time: int) -> CityStyle:
        """The style in the light of a time."""
        return self.style if self.lights is None else in_light(self.style, self.lights[time % 2])

    def render(self, place: int, time: int) -> Rendering:
        """The scene before it is encoded, with its exact labels."""
        return render(
            self.style_at(time),
            seed=self.seed,
            place=place,
            time=time,
            height=self.image_size[0],
            width=self.image_size[1],
        )

    def encode(self, rendering: Rendering) -> bytes:
        """The JPEG that a camera of this city stores."""
        return encode_jpeg(rendering.image, self.style.jpeg_quality)

    def revision(self) -> str:
        """A digest of what fixes the pixels: the renderer's version, the style, seed and size.

        And the light, where it is not the style's own.
        """
        fixed: tuple[Any, ...] = (
            ALGORITHM_VERSION, self.style, self.seed, tuple(self.image_size),
        )  # fmt: skip
        if self.lights is not None:
            fixed += (self.style_at(0), self.style_at(1))
        return hashlib.sha256(repr(fixed).encode()).hexdigest()


class SimulatedStreetView:
    """Captures of each of a number of places at two or more times, spread evenly over an area.

    Every place has its own random numbers: with more places, or more times, the first ones stay as
    they are.
    """

    name = "simulated"

    def __init__(
        self,
        style: CityStyle | str,
        *,
        bbox: tuple[float, float, float, float],
        places: int,
        seed: int,
        image_size: tuple[int, int],
        min_days_apart: float = 30.0,
        times: int = 2,
        lights: Lights | None = None,
    ) -> None:
        """Checks the settings; nothing is laid out or rendered yet.

        Args:
            style: A style, or the name of one in `simcity.STYLES`.
            bbox: (west, south, east, north) in WGS84 degrees.
            places: Number of places.
            seed: Fixes the city and the layout.
            image_size: (height, width) of the views in pixels.
            min_days_apart: Least time between two captures of a place, days.
            times: Captures of a place.
            lights: The light of the first, third, ... capture of a place and that of the others;
                taken at hours at which the sun stands so. As the style draws it by default.

        Raises:
            StreetViewError: An argument is out of range; the sentence says which.
        """
        _check_bbox(bbox)
        if not 1 <= places <= MAX_PLACES:
            raise StreetViewError(
                f"A simulated city has 1 to {MAX_PLACES} places, not {places}: change its places."
            )
        if not (math.isfinite(min_days_apart) and 0 <= min_days_apart <= 100_000):
            raise StreetViewError(
                f"Days apart lie between 0 and 100000, not {min_days_apart}: change min_days_apart."
            )
        if not 2 <= times <= MAX_TIMES:
            raise StreetViewError(
                f"A place of a simulated city is captured 2 to {MAX_TIMES} times, not {times}: "
                "change times."
            )
        try:
            self.city = SimulatedCity(find_style(style), seed, image_size, lights)
        except ValueError as error:
            raise StreetViewError(str(error)) from error
        self._bbox = bbox
        self._min_days_apart = min_days_apart
        self._places = places
        self._times = tuple(range(times))

    def captures(self) -> Sequence[Capture]:
        """The captures of each place, by place number and time."""
        return self._captures

    def near(self, lat: float, lon: float, metres: float) -> Sequence[Capture]:
        """The captures around a point, by distance."""
        return captures_near(self._captures, lat, lon, metres)

    def within(self, bounds: Bounds) -> Sequence[Capture]:
        """The captures in bounds."""
        return captures_within(self._captures, bounds)

    def fetch(self, capture: Capture, view: View | None = None) -> bytes:
        """Renders a capture and encodes it as the JPEG that the city's camera would store.

        Raises:
            StreetViewError: The capture is not of this city.
        """
        place, time = self._numbers(capture)
        if view is None:
            return self.city.encode(self.city.render(place, time))
        city = self.city
        pose = capture_pose(city.style, seed=city.seed, place=place, time=time)
        try:
            rendering = render_from(
                replace(pose, pitch_degrees=view.pitch),
                replace(city.style_at(time), fov_degrees=view.fov),
                seed=city.seed,
                place=place,
                time=time,
                height=view.height,
                width=view.width,
                heading=view.heading - capture.heading,
            )
        except ValueError as error:
            raise StreetViewError(str(error)) from error
        return city.encode(rendering)

    def revision(self) -> str:
        """Changes with the renderer, the style, the seed and the image size."""
        return self.city.revision()

    def ground_truth(self, capture: Capture) -> Rendering:
        """The exact labels and static mask of a capture, for evaluation only.

        No real provider has this, so it is not a part of the `StreetView` protocol, and nothing
        that adapts may call it.

        Raises:
            StreetViewError: The capture is not of this city.
        """
        return self.city.render(*self._numbers(capture))

    def _in_light(self, lat: float, lon: float) -> Callable[[datetime, int], datetime]:
        """Puts the moment of a time off until the sun stands as its light wants it."""
        lights = self.city.lights

        def put_off(moment: datetime, time: int) -> datetime:
            if lights is None:
                return moment
            for _ in range(_QUARTERS_OF_A_YEAR):  # beyond a polar circle, the next half of a year
                (code,) = lights_of([(lat, lon, moment, "second")])
                if code == LIGHTS.index(lights[time % 2]):
                    return moment
                moment += timedelta(minutes=15)
            raise StreetViewError(
                f"At latitude {lat:.1f} it is never {lights[time % 2]}: change lights or the area."
            )

        return put_off

    def _numbers(self, capture: Capture) -> tuple[int, int]:
        """Place and time of a capture of this city."""
        place_id, _, time = capture.image_id.rpartition("_")
        try:
            place = self.city.place_number(place_id)
        except ValueError:
            place = self._places
        if place >= self._places or time not in map(str, self._times):
            raise StreetViewError(
                f"The simulated city {self.city.style.name!r} has no image {capture.image_id!r}."
            )
        return place, int(time)

    @cached_property
    def _captures(self) -> tuple[Capture, ...]:
        """Laid out when first asked for: who only fetches need not wait for it."""
        return tuple(c for place in range(self._places) for c in self._capture_place(place))

    def _capture_place(self, place: int) -> list[Capture]:
        city, style = self.city, self.city.style
        rng = np.random.default_rng([_LAYOUT_KEY, city.seed, place])
        lat, lon = _uniform_position(rng, self._bbox)
        street = float(rng.uniform(0.0, 360.0))
        moments = _moments(rng, self._min_days_apart, len(self._times), self._in_light(lat, lon))
        poses = [
            capture_pose(style, seed=city.seed, place=place, time=time) for time in self._times
        ]
        captures = []
        for time, moment, pose in zip(self._times, moments, poses, strict=True):
            across, along = pose.across - poses[0].across, pose.along - poses[0].along
            there = _displaced(lat, lon, street, across, along)
            captures.append(
                Capture(
                    image_id=city.image_id(place, time),
                    provider=self.name,
                    place_id=city.place_id(place),
                    lat=there[0],
                    lon=there[1],
                    heading=(street + pose.heading_degrees) % 360.0,
                    pitch=pose.pitch_degrees,
                    fov=style.fov_degrees,
                    captured_at=moment,
                    licence="CC0-1.0",
                    attribution=f"Simulated city in the style of {style.name}",
                    time_precision="second",
                )
            )
        return captures


def find_style(style: CityStyle | str) -> CityStyle:
    """The style of a name; a style is returned as it is.

    Raises:
        StreetViewError: There is no style of that name.
    """
    if not isinstance(style, str):
        return style
    if style not in STYLES:
        raise StreetViewError(
            f"There is no simulated style {style!r}; styles: {', '.join(sorted(STYLES))}."
        )
    return STYLES[style]


def _check_bbox(bbox: tuple[float, float, float, float]) -> None:
    west, south, east, north = bbox
    if not (-180 <= west < east <= 180 and -90 <= south < north <= 90):
        raise StreetViewError(
            f"A bbox is west, south, east, north in degrees with west below east and south below "
            f"north, not {west}, {south}, {east}, {north}: swap its corners."
        )


def _uniform_position(
    rng: np.random.Generator, bbox: tuple[float, float, float, float]
) -> tuple[float, float]:
    """A point (lat, lon) uniform over the box's area, which shrinks with cos(latitude)."""
    west, south, east, north = bbox
    sine = rng.uniform(math.sin(math.radians(south)), math.sin(math.radians(north)))
    lat = math.degrees(math.asin(sine))
    return min(max(lat, south), north), float(rng.uniform(west, east))


def _displaced(
    lat: float, lon: float, street: float, across: float, along: float
) -> tuple[float, float]:
    """Moves a point by metres along a street of that bearing and to its right."""
    bearing = math.radians(street)
    north = along * math.cos(bearing) - across * math.sin(bearing)
    east = along * math.sin(bearing) + across * math.cos(bearing)
    moved_lat = lat + math.degrees(north / EARTH_RADIUS_METRES)
    moved_lon = lon + math.degrees(east / (EARTH_RADIUS_METRES * math.cos(math.radians(lat))))
    return moved_lat, (moved_lon + 180.0) % 360.0 - 180.0


def _moments(
    rng: np.random.Generator,
    min_days_apart: float,
    count: int,
    put_off: Callable[[datetime, int], datetime],
) -> list[datetime]:
    """Moments in whole seconds, each at least so many days after the one before."""
    first = _FIRST_DAY + timedelta(seconds=int(rng.integers(_DAYS_OF_FIRST_CAPTURE * 86_400)))
    moments = [put_off(first, 0)]
    while len(moments) < count:
        beyond = int(rng.integers(_DAYS_BEYOND_MINIMUM * 86_400))
        apart = math.ceil(min_days_apart * 86_400) + beyond
        moments.append(put_off(moments[-1] + timedelta(seconds=apart), len(moments)))
    return moments
