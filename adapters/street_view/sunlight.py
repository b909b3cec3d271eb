"""In which light a picture was taken, by its place and time: no picture is looked at."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

import numpy as np

from crosscity.lights import Codes, light_codes

Taken = tuple[float | None, float | None, datetime | None, str | None]
"""Latitude, longitude, moment in UTC and how exactly it is known (`base.Precision`)."""


def lights_of(pictures: Iterable[Taken]) -> Codes:
    """The light of pictures: unknown where the place or the hour is.

    Args:
        pictures: Where and when each was taken.

    Returns:
        int8 codes of `crosscity.lights`.
    """
    return light_codes(np.array([_elevation(*taken) for taken in pictures], dtype=np.float64))


def _elevation(
    lat: float | None, lon: float | None, moment: datetime | None, precision: str | None
) -> float:
    """Degrees of the sun's centre above the horizon, NaN where unknown."""
    from astral import Observer  # noqa: PLC0415 - only who lists pictures needs it
    from astral.sun import elevation  # noqa: PLC0415

    if lat is None or lon is None or moment is None or precision != "second":
        return float("nan")
    # Refraction lifts the sun by half a degree at the horizon and by nothing at the limits.
    return float(elevation(Observer(lat, lon, 0.0), moment, with_refraction=False))
