"""A city by day, in twilight and by night: the same streets, in another light."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from simcity.style import CityStyle

LIT: Final[Mapping[str, Mapping[str, Any]]] = {
    "day": {"weather_weights": (0.5, 0.5, 0.0)},
    "twilight": {"weather_weights": (0.0, 0.0, 1.0)},
    # The light of dusk, a fifth to a third of the exposure, and what a sensor makes of so little.
    "night": {
        "weather_weights": (0.0, 0.0, 1.0),
        "exposure": (0.2, 0.35),
        "noise": 10.0,
        "blur": 1.5,
        "saturation": 0.7,
    },
}
"""What a light changes in a style. The night was set by eye: lamps and headlights are not drawn."""


def in_light(style: CityStyle, light: str) -> CityStyle:
    """A style whose every picture is in one light; streets, houses and traffic stay.

    Leaves may be those of another season, which is drawn after the weather.

    Args:
        style: The city.
        light: "day", "twilight" or "night".

    Raises:
        KeyError: It is no such light.
    """
    return replace(style, **LIT[light])
