"""Compiling everything that the pipeline runs, ahead of the first run that needs it."""

from __future__ import annotations

import numpy as np

from adapters.catalog import PriorSettings
from simcity import STYLES, render
from tasks.priors.pair_prior import extract_prior


def warm_up() -> None:
    """Draws and matches small pictures; what was compiled before is taken from the disk."""
    first, second = (
        render(STYLES["tokyo"], seed=0, place=0, time=when, height=96, width=160).image
        for when in (0, 1)
    )
    for settings in (
        PriorSettings(downscale=1, superpixel_downscale=1, search_radius=None, superpixels=20),
        PriorSettings(downscale=1, superpixel_downscale=1, search_radius=16, superpixels=20),
        PriorSettings(
            matcher="deep_matching_refined", downscale=1, superpixel_downscale=1, superpixels=20
        ),
        # As many pieces that no windows are used.
        PriorSettings(downscale=1, superpixel_downscale=1, superpixels=6000),
    ):
        extract_prior(first, second, settings)
    flat = np.full_like(first, 90)
    extract_prior(flat, flat, PriorSettings(downscale=1, superpixel_downscale=1, superpixels=20))
