"""Where the camera stands at a place and a time, and how it projects."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from simcity.draws import Draws, key_of
from simcity.rasteriser import blank_view
from simcity.style import CityStyle

OVERSAMPLING: Final = 2
"""Samples along each side of a pixel."""

MAX_SIDE: Final = 8192
"""Largest side of an image, pixels."""
FARTHEST: Final = 10_000.0
"""Metres from the place's centre, or degrees, beyond which no camera of a street stands."""

_MOST_DEGREES: Final = 1e9
"""Beyond, a float has no room for the degrees."""
_POSE_KEY: Final = 0xCA3
_ACROSS: Final = 0.55
_ALONG: Final = 0.9
_HEADING: Final = 2.5
_PITCH: Final = 0.8


@dataclass(frozen=True)
class Pose:
    """A camera in street coordinates.

    Attributes:
        across: Metres to the right of the street's axis.
        along: Metres along the street, from the place's centre.
        height: Metres above the road.
        heading_degrees: Clockwise from the direction of the street.
        pitch_degrees: Upwards from the horizontal.

    Raises:
        ValueError: One of them is no number, or no camera of a street stands there.
    """

    across: float
    along: float
    height: float
    heading_degrees: float
    pitch_degrees: float

    def __post_init__(self) -> None:
        """Refuses what compiled loops could make no index of."""
        for name, value in asdict(self).items():
            if (
                isinstance(value, bool)
                or not isinstance(value, int | float | np.integer | np.floating)
                or not -FARTHEST <= value <= FARTHEST
            ):
                raise ValueError(
                    f"The {name} of a pose is a number from {-FARTHEST:g} to {FARTHEST:g}, not "
                    f"{value!r:.60}."
                )


def lane_position(style: CityStyle, lane_width: float, lanes: int) -> float:
    """Metres from the axis to the middle of the lane that the camera drives in, to the right."""
    if lanes <= 1:
        return 0.0
    side = 1.0 if style.drives_on == "right" else -1.0
    return side * 0.5 * lane_width


def capture_pose(style: CityStyle, *, seed: int, place: int, time: int) -> Pose:
    """The pose of one capture: the place's own, and a small change that is the time's.

    Two times of a place differ by at most 1.1 m across and 1.8 m along the street, 5 degrees of
    heading and 1.6 degrees of pitch.

    Args:
        style: City.
        seed: Which city of that style; 0 or more.
        place: Number of the place; 0 or more.
        time: Number of the capture; 0 or more.

    Raises:
        ValueError: A number is negative or no integer, or that is no style.
    """
    checked_style(style)
    seed, place, time = whole_numbers(seed=seed, place=place, time=time)
    from simcity.street import lay_street  # noqa: PLC0415

    street = lay_street(style, seed, place)
    fixed = Draws(_POSE_KEY, key_of(style.name), seed, place)
    now = fixed.child(1, time)
    return Pose(
        across=lane_position(style, street.lane_width, street.lanes)
        + street.median / 2 * (1 if style.drives_on == "right" else -1)
        + _ACROSS * (2 * now.unit() - 1),
        along=_ALONG * (2 * now.unit() - 1),
        height=fixed.between(style.camera_height) + 0.06 * (now.unit() - 0.5),
        heading_degrees=3.0 * (fixed.unit() - 0.5) + _HEADING * (2 * now.unit() - 1),
        pitch_degrees=fixed.between(style.camera_pitch) + _PITCH * (2 * now.unit() - 1),
    )


def checked_style(style: CityStyle) -> None:
    """Raises a ValueError unless this is a style: its name alone is none."""
    if not isinstance(style, CityStyle):
        raise ValueError(  # noqa: TRY004 - as whatever else is wrong with an argument
            f"A style is a CityStyle, as simcity.STYLES['rome'] is, not {style!r:.60}."
        )


def turned_by(heading: float) -> float:
    """A heading as Python's float.

    Raises:
        ValueError: It is no number of degrees.
    """
    if (
        isinstance(heading, bool)
        or not isinstance(heading, int | float | np.integer | np.floating)
        or not -_MOST_DEGREES <= heading <= _MOST_DEGREES
    ):
        raise ValueError(f"The heading is a number of degrees, not {heading!r:.60}.")
    return float(heading)


def whole_numbers(**values: int) -> tuple[int, ...]:
    """The values as Python's integers: twice a side of numpy's may be more than eight bits hold.

    Raises:
        ValueError: One is anything but an integer of 0 or more.
    """
    for name, value in values.items():
        if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 0:
            raise ValueError(f"The {name} is an integer of 0 or more, not {value!r}.")
    return tuple(int(value) for value in values.values())


def image_size(what: str, height: int, width: int) -> tuple[int, int]:
    """(height, width) as Python's integers.

    Args:
        what: What the sentence calls it, with its article.
        height: Of the image, pixels.
        width: Of the image, pixels.

    Raises:
        ValueError: A side is no integer from 1 to MAX_SIDE.
    """
    height, width = whole_numbers(height=height, width=width)
    if not (1 <= height <= MAX_SIDE and 1 <= width <= MAX_SIDE):
        raise ValueError(
            f"{what} has sides of 1 to {MAX_SIDE} pixels, not {height}×{width} (height × width)."
        )
    return height, width


def view_of(
    pose: Pose, ground: float, heading: float, fov_degrees: float, height: int, width: int
) -> npt.NDArray[np.float64]:
    """The projection of a pose onto oversampled pixels (layout: `rasteriser.VIEW_SIZE`).

    Args:
        pose: Camera.
        ground: Height of the road under the camera, metres.
        heading: Degrees, clockwise, on top of the pose's heading.
        fov_degrees: Horizontal field of view.
        height: Of the image, pixels.
        width: Of the image, pixels.
    """
    yaw = math.radians(pose.heading_degrees + heading)
    pitch = math.radians(pose.pitch_degrees)
    view = blank_view()
    view[0:3] = pose.across, ground + pose.height, pose.along
    view[3:6] = math.cos(yaw), 0.0, -math.sin(yaw)
    view[6:9] = -math.sin(yaw) * math.sin(pitch), math.cos(pitch), -math.cos(yaw) * math.sin(pitch)
    view[9:12] = math.sin(yaw) * math.cos(pitch), math.sin(pitch), math.cos(yaw) * math.cos(pitch)
    view[12] = OVERSAMPLING * width / 2 / math.tan(math.radians(fov_degrees) / 2)
    view[13] = (OVERSAMPLING * width - 1) / 2
    view[14] = (OVERSAMPLING * height - 1) / 2
    view[15] = 1.0
    return view


def project(
    view: npt.NDArray[np.float64], point: tuple[float, float, float]
) -> tuple[float, float, float]:
    """Pixel x, pixel y (of the image, not oversampled) and depth in metres of a world point."""
    offset = np.array(point) - view[0:3]
    x, y, depth = (float(offset @ view[at : at + 3]) for at in (3, 6, 9))
    sample_x = view[13] + view[12] * x / depth
    sample_y = view[14] - view[12] * y / depth
    shift = (OVERSAMPLING - 1) / 2
    return (sample_x - shift) / OVERSAMPLING, (sample_y - shift) / OVERSAMPLING, depth
