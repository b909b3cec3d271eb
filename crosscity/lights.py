"""The light in which the two pictures of a pair were taken, by where the sun stood.

A pair of which one look is easier than the other teaches more (docs/method.md): what is seen by day
holds for the same place by night. Which light a picture has is told by place and time alone, so
it costs no picture.
"""

from __future__ import annotations

from typing import Final, Literal, get_args

import numpy as np
import numpy.typing as npt

Light = Literal["day", "twilight", "night"]
Lights = tuple[Light, Light]
"""The light of one picture of a pair and that of the other, whichever was taken first."""
Codes = npt.NDArray[np.int8]
"""Indices into `LIGHTS`, or `UNKNOWN`."""

LIGHTS: Final[tuple[Light, ...]] = get_args(Light)
UNKNOWN: Final = -1
DAY_FROM: Final = 6.0
"""Degrees of the sun's centre above the horizon, above which no street is in twilight."""
NIGHT_BELOW: Final = -6.0
"""The end of civil twilight, below which streets are lit by lamps."""


def light_codes(elevations: npt.ArrayLike) -> Codes:
    """The light at elevations of the sun.

    Args:
        elevations: Degrees of the sun's centre above the horizon; NaN where unknown.

    Returns:
        int8 of the same shape.
    """
    sun = np.asarray(elevations, dtype=np.float64)
    codes = np.full(sun.shape, LIGHTS.index("twilight"), dtype=np.int8)
    codes[sun >= DAY_FROM] = LIGHTS.index("day")
    codes[sun < NIGHT_BELOW] = LIGHTS.index("night")
    codes[np.isnan(sun)] = UNKNOWN
    return codes


def lights_fit(one: Codes, other: Codes, wanted: Lights) -> npt.NDArray[np.bool_]:
    """Which pairs have the two lights that are wanted; what is unknown fits none.

    Args:
        one: The light of one picture of each pair; broadcasts with the other.
        other: That of the other.
        wanted: One of them has the first, the other the second.
    """
    first, second = (LIGHTS.index(light) for light in wanted)
    fits: npt.NDArray[np.bool_] = ((one == first) & (other == second)) | (
        (one == second) & (other == first)
    )
    return fits


def light_is_wanted(codes: Codes, wanted: Lights) -> npt.NDArray[np.bool_]:
    """Which pictures have one of the lights that are wanted of a pair."""
    return np.isin(codes, [LIGHTS.index(light) for light in wanted])


def lights_missing(wanted: Lights) -> str:
    """Why captures are no pair whose light is none that is wanted; the reason in a table."""
    if wanted[0] == wanted[1]:
        return f"no two captures {_BY[wanted[0]]}"
    return f"no two captures of which one is {_BY[wanted[0]]} and one {_BY[wanted[1]]}"


_BY: Final = {"day": "by day", "twilight": "in twilight", "night": "by night"}
