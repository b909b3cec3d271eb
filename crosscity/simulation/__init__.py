"""Simulated cities: procedural street views with exact labels.

`render` draws a place of a city at a time; `CityStyle` says what a city looks like, and `STYLES`
holds the ones that come with the project.
"""

from __future__ import annotations

from typing import Final

from crosscity.simulation.camera import Pose, capture_pose
from crosscity.simulation.cities import STYLES
from crosscity.simulation.rendering import Rendering, render
from crosscity.simulation.style import CityStyle

ALGORITHM_VERSION: Final = "2"
"""Raised by hand whenever pictures change."""

__all__ = [
    "ALGORITHM_VERSION",
    "STYLES",
    "CityStyle",
    "Pose",
    "Rendering",
    "capture_pose",
    "render",
]
