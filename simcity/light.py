"""Weather, sun, season and camera response at one time of a place."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from simcity.draws import Draws, key_of
from simcity.rasteriser import blank_view
from simcity.style import CityStyle

SUN, SUN_COLOUR, SKY_LIGHT, BOUNCE = 0, 3, 6, 9
ZENITH, HORIZON, HAZE_COLOUR = 12, 15, 18
COVER, HAZE, SHADOWS, CLOUD_X, CLOUD_Y, NIGHT = 21, 22, 23, 24, 25, 26
LEAF_TINT = 27
LIGHT_SIZE: Final = 30

SUNNY, OVERCAST, DUSK = 0, 1, 2

_LIGHT_KEY: Final = 0x11647


@dataclass(frozen=True)
class Light:
    """Light of one time.

    Attributes:
        vector: (LIGHT_SIZE,) numbers for the shading, at the offsets named in this module;
            radiances are linear, a white card in the open is about 1.
        weather: SUNNY, OVERCAST or DUSK.
        leaf_cut: Threshold of foliage, higher is thinner.
        exposure: Factor on radiances.
        gains: White balance, factors on red, green and blue.
    """

    vector: npt.NDArray[np.float64]
    weather: int
    leaf_cut: float
    exposure: float
    gains: tuple[float, float, float]


def light_of(style: CityStyle, seed: int, place: int, time: int) -> Light:
    """Draws the light of a capture."""
    draws = Draws(_LIGHT_KEY, key_of(style.name), seed, place, time)
    weather = draws.weighted(style.weather_weights)
    azimuth = draws.between((0.0, 2 * math.pi))
    elevation = math.radians(draws.between(style.sun_elevation))
    cover = draws.between(style.cloudiness)
    vector = np.zeros(LIGHT_SIZE)
    tint = draws.between((0.9, 1.1))
    if weather == SUNNY:
        low = max(0.0, 1.0 - elevation / math.radians(45.0))
        _set(vector, SUN_COLOUR, (2.5, 2.32 - 0.3 * low, 2.05 - 0.8 * low))
        _set(vector, SKY_LIGHT, (0.50, 0.58, 0.72))
        _set(vector, BOUNCE, (0.42, 0.39, 0.34))
        _set(vector, ZENITH, (0.24 * tint, 0.46, 1.02))
        _set(vector, HORIZON, (1.05, 1.18, 1.34))
        vector[SHADOWS] = 1.0
    elif weather == OVERCAST:
        grey = draws.between((0.75, 1.1))
        _set(vector, SKY_LIGHT, (1.22 * grey, 1.28 * grey, 1.34 * grey))
        _set(vector, BOUNCE, (0.56 * grey, 0.54 * grey, 0.52 * grey))
        _set(vector, ZENITH, (1.25 * grey, 1.32 * grey, 1.42 * grey))
        _set(vector, HORIZON, (2.0 * grey, 2.03 * grey, 2.05 * grey))
        cover = draws.between((0.75, 1.0))
    else:
        elevation = math.radians(draws.between((3.0, 9.0)))
        _set(vector, SUN_COLOUR, (0.55, 0.30, 0.12))
        _set(vector, SKY_LIGHT, (0.34, 0.36, 0.48))
        _set(vector, BOUNCE, (0.13, 0.12, 0.12))
        _set(vector, ZENITH, (0.16, 0.24, 0.48))
        _set(vector, HORIZON, (0.95, 0.66, 0.46))
        vector[SHADOWS] = 1.0
        vector[NIGHT] = 1.0
    _set(
        vector,
        SUN,
        (
            math.sin(azimuth) * math.cos(elevation),
            math.sin(elevation),
            math.cos(azimuth) * math.cos(elevation),
        ),
    )
    visibility = draws.between(style.visibility) * (0.7 if weather == OVERCAST else 1.0)
    vector[HAZE] = 2.3 / visibility
    haze = 0.6 * vector[HORIZON : HORIZON + 3] + 0.1
    vector[HAZE_COLOUR : HAZE_COLOUR + 3] = haze
    vector[COVER] = cover
    vector[CLOUD_X], vector[CLOUD_Y] = draws.unit(), draws.unit()
    # One year goes round; leaves yellow and thin in its last part, are fresh in its first.
    season = draws.unit()
    autumn = style.season_change * max(0.0, season - 0.6) / 0.4
    spring = style.season_change * max(0.0, 0.25 - season) / 0.25
    _set(
        vector,
        LEAF_TINT,
        (1 + 0.75 * autumn + 0.1 * spring, 1 + 0.12 * autumn + 0.15 * spring, 1 - 0.3 * autumn),
    )
    warmth = draws.between(style.warmth)
    exposure = draws.between(style.exposure) * (1.35 if weather == DUSK else 1.0)
    return Light(
        vector=vector,
        weather=weather,
        leaf_cut=0.38 + 0.3 * autumn + 0.1 * spring,
        exposure=exposure,
        gains=(1 + 0.16 * warmth, 1.0, 1 - 0.22 * warmth),
    )


def _set(vector: npt.NDArray[np.float64], at: int, values: tuple[float, float, float]) -> None:
    vector[at : at + 3] = values


def sun_view(
    light: Light, focus: tuple[float, float, float], extent: float, size: int
) -> npt.NDArray[np.float64]:
    """A parallel projection along the sun's rays onto size x size texels around a point.

    Args:
        light: Light.
        focus: Point in the middle.
        extent: Side of the square that is covered, metres.
        size: Texels along a side.
    """
    sun = light.vector[SUN : SUN + 3]
    forward = -sun
    right = np.cross((0.0, 1.0, 0.0), forward)
    right /= np.linalg.norm(right)
    view = blank_view()
    view[0:3] = np.array(focus) - 300.0 * forward
    view[3:6] = right
    view[6:9] = np.cross(forward, right)
    view[9:12] = forward
    view[12] = size / extent
    view[13] = view[14] = (size - 1) / 2
    return view
