"""Simulated cities: procedural street views with exact labels.

`render` draws a place of a city at a time; `CityStyle` says what a city looks like, and `STYLES`
holds the ones that come with the project.
"""

from __future__ import annotations

from crosscity.simulation.camera import Pose, capture_pose
from crosscity.simulation.cities import STYLES
from crosscity.simulation.rendering import Rendering, render, render_from
from crosscity.simulation.style import CityStyle
from crosscity.simulation.version import ALGORITHM_VERSION

__all__ = [
    "ALGORITHM_VERSION",
    "STYLES",
    "CityStyle",
    "Pose",
    "Rendering",
    "capture_pose",
    "render",
    "render_from",
]
