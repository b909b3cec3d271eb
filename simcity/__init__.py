"""Simulated cities: procedural street views with exact labels.

`render` draws a place of a city at a time; `CityStyle` says what a city looks like, and `STYLES`
holds the ones that come with the project.
"""

from __future__ import annotations

from simcity.camera import Pose, capture_pose
from simcity.lit import in_light
from simcity.rendering import Rendering, render, render_from
from simcity.style import CityStyle
from simcity.style_files import STYLES, read_style
from simcity.version import ALGORITHM_VERSION

__all__ = [
    "ALGORITHM_VERSION",
    "STYLES",
    "CityStyle",
    "Pose",
    "Rendering",
    "capture_pose",
    "in_light",
    "read_style",
    "render",
    "render_from",
]
