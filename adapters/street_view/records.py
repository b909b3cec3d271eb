"""Reading what services answer: every field may be missing, of another type, or absurd."""

from __future__ import annotations

import hashlib
import math
import re
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Self

from adapters.street_view.base import Capture, Precision
from crosscity.pairing import haversine_metres

Interval = tuple[datetime, datetime]
"""Times that are asked for: from the first on, and before the second."""
FIRST_PHOTOGRAPH = datetime(1990, 1, 1, tzinfo=UTC)
"""Cameras with an unset clock claim to be older than digital photography."""
NO_PHOTOGRAPH = datetime(2100, 1, 1, tzinfo=UTC)
"""And others to be of a time to come; the clock of this machine may be wrong by a few years."""
WHOLE_CIRCLE = 360.0
SAME_SHAPE: Final = 0.02
"""By how much the ratio of a picture's sides may differ from the reported one."""
NO_COMPASS: Final = -1.0
"""What is reported instead of a heading where there was no compass (mapillary_issues#2466)."""
LONGEST_PHOTOGRAPH: Final = 2.5
"""Ratio of the sides from which on a photograph is stitched: no sensor is so long."""
MOST_METRES_ASIDE: Final = 200.0
"""By how much two positions of one picture may differ: receivers err by less among high houses."""
_LONGEST_DAY: Final = timedelta(days=1)
_MONTH: Final = re.compile(r"[0-9]{4}-[0-9]{2}")
_TIME: Final = re.compile(r"[T ][0-9]{2}")
_LEAP: Final = re.compile(r"(T[0-9]{2}:?[0-9]{2}:?)60")
_MIDNIGHT: Final = re.compile(r"(T)24(:?00(?::?00(?:[.,]0+)?)?)(?![0-9:])")
_MONTH_ALONE: Final[Precision] = "month"
_DAY_ALONE: Final[Precision] = "day"
_TO_THE_SECOND: Final[Precision] = "second"
_TURNS: Final = 720.0
_MOST_DIGITS: Final = 40


class UnusableError(ValueError):
    """A record cannot be used; the message is the reason, without the record's name."""


@dataclass(frozen=True)
class Shot:
    """One picture of a service, as its metadata describe it.

    Attributes:
        source_id: Its name at the service.
        lat: WGS84 degrees.
        lon: WGS84 degrees.
        captured_at: UTC; the start of the month or day where no more is known.
        precision: How exactly.
        heading: Degrees clockwise from north of the picture's middle, in [0, 360).
        pitch: Degrees above the horizon of the picture's middle.
        roll: Degrees clockwise.
        fov: Horizontal field of view in degrees; 360 of a panorama.
        height: Of the whole picture in pixels, 0 if unknown.
        width: Of the whole picture in pixels, 0 if unknown.
        licence: SPDX identifier or name.
        attribution: Whom to credit.
        page_url: Where a person can look at it.
        sequence: What the pictures of one drive share.
        k1: Radial distortion of a photograph (`crosscity.panorama.Perspective`).
        k2: Radial distortion.
        addresses: (name, address) of the sizes in which it can be had.
        hidden: Pixels of the sphere that the picture lacks left of it and above it.
        sphere: (height, width) of the whole sphere, of which the picture is a part; ``None``
            where the picture is all of it.
    """

    source_id: str
    lat: float
    lon: float
    captured_at: datetime
    precision: Precision
    heading: float
    pitch: float
    roll: float
    fov: float
    height: int
    width: int
    licence: str
    attribution: str
    page_url: str
    sequence: str | None = None
    k1: float = 0.0
    k2: float = 0.0
    addresses: tuple[tuple[str, str], ...] = ()
    hidden: tuple[int, int] | None = None
    sphere: tuple[int, int] | None = None

    def to_dict(self) -> dict[str, Any]:
        """As JSON values, without addresses, which expire."""
        values = asdict(replace(self, addresses=()))
        return {**values, "captured_at": self.captured_at.isoformat()}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """From what `to_dict` gave."""

        def two(name: str) -> tuple[int, int] | None:
            value = values[name]
            return None if value is None else (int(value[0]), int(value[1]))

        return cls(
            **{
                **values,
                "captured_at": datetime.fromisoformat(values["captured_at"]),
                "addresses": (),
                "hidden": two("hidden"),
                "sphere": two("sphere"),
            }
        )

    @property
    def panorama(self) -> bool:
        """Whether it shows the whole circle."""
        return self.fov >= WHOLE_CIRCLE

    def capture(self, provider: str, place_id: str) -> Capture:
        """The picture itself as a capture, with its own heading and field of view."""
        return Capture(
            image_id=f"{provider}_{digest_of(self.source_id)}",
            provider=provider,
            place_id=place_id,
            lat=self.lat,
            lon=self.lon,
            heading=self.heading,
            pitch=self.pitch,
            fov=self.fov,
            captured_at=self.captured_at,
            licence=self.licence,
            attribution=self.attribution,
            page_url=self.page_url,
            time_precision=self.precision,
            source_id=self.source_id,
            sequence=self.sequence,
        )


def digest_of(name: str) -> str:
    """Sixteen hexadecimal digits for a name from outside, which may not become a file name."""
    return hashlib.sha256(name.encode()).hexdigest()[:16]


def field(record: object, *path: str | int) -> Any:  # noqa: ANN401
    """What lies at a path of keys and indices, ``None`` where it does not lead on."""
    for step in path:
        if isinstance(step, str) and isinstance(record, dict):
            record = record.get(step)
        elif (
            isinstance(step, int)
            and isinstance(record, list)
            and -len(record) <= step < len(record)
        ):
            record = record[step]
        else:
            return None
    return record


def text(record: object, *path: str | int, most: int = 300) -> str | None:
    """A text at a path, printable and in one line; ``None`` if there is none."""
    value = field(record, *path)
    if not isinstance(value, str):
        return None
    line = " ".join("".join(c if c.isprintable() else " " for c in value).split())
    return line[:most] or None


def number(record: object, *path: str | int) -> float | None:
    """A finite number at a path, ``None`` if there is none."""
    value = field(record, *path)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return _finite(value)


def numeral(record: object, *path: str | int) -> float | None:
    """A finite number at a path of a service that writes numbers as texts, or ``None``."""
    value = field(record, *path)
    if isinstance(value, str) and len(value) <= _MOST_DIGITS and value.isascii():
        try:
            return _finite(float(value.replace("_", "?")))
        except ValueError:
            return None
    return number(record, *path)


def _finite(value: float) -> float | None:
    try:
        real = float(value)
    except OverflowError:  # an integer of hundreds of digits
        return None
    return real if math.isfinite(real) else None


def whole(record: object, *path: str | int, most: int = 1 << 20) -> int:
    """A number of pixels at a path, 0 if there is none that makes sense."""
    value = number(record, *path)
    return int(value) if value is not None and 1 <= value <= most else 0


def identifier(record: object, *path: str | int) -> str:
    """A name of a picture at the service.

    Raises:
        UnusableError: There is none, or it holds more than letters, digits, dashes and such.
    """
    value = field(record, *path)
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 1 << 128:
        value = str(value)
    if (
        not isinstance(value, str)
        or not 1 <= len(value) <= 128
        or not all(c.isascii() and (c.isalnum() or c in "-_.:=~") for c in value)
    ):
        raise UnusableError("its name is missing or has unexpected characters")
    return value


def position(record: object, *path: str | int) -> tuple[float, float]:
    """Latitude and longitude of a GeoJSON point.

    Raises:
        UnusableError: There is none on this earth.
    """
    lon, lat = (number(record, *path, "coordinates", k) for k in (0, 1))
    return on_earth(lat, lon)


def on_earth(lat: float | None, lon: float | None) -> tuple[float, float]:
    """The position, if it is one; `UnusableError` otherwise."""
    if lat is None or lon is None or not (-90 <= lat <= 90 and -180 <= lon <= 180):
        raise UnusableError("it has no position")
    if lat == 0 and lon == 0:  # where a receiver without a fix is
        raise UnusableError("its position is 0, 0, which no receiver measured")
    return lat, lon


def moment(value: datetime | None) -> datetime:
    """A time of capture in UTC; `UnusableError` if it cannot be one."""
    if value is None:
        raise UnusableError("it has no time of capture")
    try:
        value = value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
    except OverflowError:  # the first or last hours that there are, in another zone
        raise UnusableError("its time of capture cannot be read") from None
    if value < FIRST_PHOTOGRAPH:
        raise UnusableError("its time of capture is older than digital cameras")
    if value >= NO_PHOTOGRAPH:
        raise UnusableError("its time of capture lies in a far future")
    return value


def iso_moment(record: object, *path: str | int) -> tuple[datetime, Precision]:
    """An ISO 8601 time at a path in UTC, and how exact it is; `UnusableError` if there is none.

    Letters of either case and leap seconds are those of RFC 3339; a time without a zone is UTC. A
    date alone, or a month, is its start.
    """
    value = field(record, *path)
    if not isinstance(value, str):
        return moment(None), "second"
    written = value.strip().upper()
    if _MONTH.fullmatch(written):
        written, precision = f"{written}-01", _MONTH_ALONE
    else:
        precision = _DAY_ALONE if _TIME.search(written) is None else _TO_THE_SECOND
    at_midnight = _MIDNIGHT.sub(r"\g<1>00\g<2>", written)
    try:
        parsed = datetime.fromisoformat(_LEAP.sub(r"\g<1>59", at_midnight))
        if at_midnight != written:
            parsed += timedelta(days=1)
    except (ValueError, OverflowError):
        raise UnusableError("its time of capture cannot be read") from None
    return moment(parsed), precision


def unix_moment(milliseconds: float | None) -> datetime:
    """A time in milliseconds since 1970; `UnusableError` if it cannot be one."""
    if milliseconds is None:
        return moment(None)
    try:
        parsed = datetime.fromtimestamp(milliseconds / 1000.0, tz=UTC)
    except (ValueError, OverflowError, OSError):  # before the year 1 or after 9999
        raise UnusableError("its time of capture cannot be read") from None
    return moment(parsed)


def heading_of(value: float | None) -> float:
    """A heading in [0, 360); `UnusableError` if there is none."""
    if value is None or value == NO_COMPASS or abs(value) > _TURNS:
        raise UnusableError("it has no heading")
    return value % WHOLE_CIRCLE % WHOLE_CIRCLE  # twice: -1e-20 % 360 is 360


def tilt_of(value: float | None) -> float:
    """A pitch or roll in (-180, 180]; a level camera where none is reported."""
    if value is None:
        return 0.0
    return 180.0 - (180.0 - value) % WHOLE_CIRCLE


def check_shape(shot: Shot, size: tuple[int, int]) -> None:
    """Compares a decoded picture with what its record reports of its shape.

    Args:
        shot: The record. Where it reports no size, a panorama is twice as wide as high.
        size: (height, width) of the picture, which may be a reduced one.

    Raises:
        UnusableError: The ratio of its sides is another: it is turned, cropped, or another one. Or
            it is none that a camera makes at once, or of which the field of view is told.
    """
    height, width = size
    if not shot.panorama:
        check_photograph(height, width)
    if shot.height and shot.width:
        sides = (shot.height, shot.width)
    elif shot.panorama:
        sides = (1, 2)
    elif height > width * (1 + SAME_SHAPE):
        raise UnusableError(
            "it is higher than wide, and its record tells no size: nothing says of which side its "
            "field of view is"
        )
    else:
        return
    if abs(width * sides[0] - height * sides[1]) > SAME_SHAPE * height * sides[1]:
        raise UnusableError(
            f"it is {height}×{width} pixels high and wide, where its record implies a ratio of "
            f"{sides[0]}:{sides[1]}"
        )


def check_uploaded(captured_at: datetime, record: object, *path: str | int) -> None:
    """Holds a time of capture against the time of upload at a path, where there is one.

    Raises:
        UnusableError: It was taken more than a day, which zones may differ by, after its upload: a
            clock was wrong.
    """
    try:
        uploaded, _ = iso_moment(record, *path)
    except UnusableError:
        return
    if captured_at > uploaded + _LONGEST_DAY:
        raise UnusableError("its time of capture lies after that of its upload")


def check_same_place(one: tuple[float, float], other: tuple[float, float], what: str) -> None:
    """Holds two positions of a record against each other, each latitude and longitude.

    Raises:
        UnusableError: They are farther apart than receivers err; `what` names the two.
    """
    if haversine_metres(*one, *other) > MOST_METRES_ASIDE:
        raise UnusableError(f"{what} are more than {MOST_METRES_ASIDE:g} metres apart")


def check_photograph(height: int, width: int) -> None:
    """Refuses what is reported as a photograph and is too long for one.

    Raises:
        UnusableError: It is stitched of several, and its projection is not that of a camera.
    """
    if max(height, width) > LONGEST_PHOTOGRAPH * min(height, width):
        raise UnusableError(
            "it is reported as a photograph and is longer than any: a stitched picture, of which "
            "nothing tells the projection"
        )


def across(fov: float, height: int, width: int) -> float:
    """The field of view across a photograph, from that along its longer side; degrees."""
    if height <= width:
        return fov
    return 2 * math.degrees(math.atan(math.tan(math.radians(fov) / 2) * width / height))


def check_sphere(height: int, width: int) -> None:
    """Refuses what is reported as a whole sphere and is not twice as wide as high.

    Raises:
        UnusableError: It is higher, which no sphere is, or a strip of it, of which nothing tells
            where on the sphere it lies.
    """
    if height * 2 > width * (1 + SAME_SHAPE):
        raise UnusableError("it is reported as a sphere and is higher than half its width")
    if height * 2 < width * (1 - SAME_SHAPE):
        raise UnusableError("it is a strip of a sphere, and its record does not tell which")
