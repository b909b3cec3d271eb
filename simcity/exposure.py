"""From samples to pixels: which label a pixel has, and what a sensor makes of its light."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from simcity.arrays import Floats, Indices, Singles, kernel


@kernel
def vote(
    ident: Indices,
    closeness: Singles,
    labels: npt.NDArray[np.int64],
    moving: npt.NDArray[np.bool_],
    sky: int,
    train_ids: npt.NDArray[np.uint8],
    static: npt.NDArray[np.bool_],
) -> None:
    """Labels of pixels: what most of a pixel's samples show, the closer one of two equals.

    Args:
        ident: (nH, nW) int32 row of each sample; -1 is sky.
        closeness: (nH, nW) float32.
        labels: (rows,) trainId of every row.
        moving: (rows,) whether a row moves.
        sky: trainId of the sky.
        train_ids: (H, W) uint8, filled.
        static: (H, W) bool, filled.
    """
    height, width = train_ids.shape
    n = ident.shape[0] // height
    counts = np.zeros(256, np.int32)
    closest = np.zeros(256, np.float32)
    mover = np.zeros(256, np.bool_)
    for y in range(height):
        for x in range(width):
            for dy in range(n):
                for dx in range(n):
                    i = ident[n * y + dy, n * x + dx]
                    label = sky if i < 0 else labels[i]
                    if counts[label] == 0:
                        closest[label] = -1.0
                    counts[label] += 1
                    key = closeness[n * y + dy, n * x + dx]
                    if key > closest[label]:
                        closest[label] = key
                        mover[label] = i >= 0 and moving[i]
            best = sky
            first = True
            for dy in range(n):
                for dx in range(n):
                    i = ident[n * y + dy, n * x + dx]
                    label = sky if i < 0 else labels[i]
                    if (
                        first
                        or counts[label] > counts[best]
                        or (counts[label] == counts[best] and closest[label] > closest[best])
                    ):
                        best, first = label, False
            train_ids[y, x] = best
            static[y, x] = not mover[best]
            for dy in range(n):
                for dx in range(n):
                    i = ident[n * y + dy, n * x + dx]
                    counts[sky if i < 0 else labels[i]] = 0


@kernel
def develop(
    radiance: Singles,
    gain: Floats,
    contrast: float,
    saturation: float,
    vignetting: float,
    out: Singles,
) -> None:
    """Averages samples to pixels and applies gains, tone curve, saturation and vignetting.

    Args:
        radiance: (nH, nW, 3) float32.
        gain: Three factors, exposure included.
        contrast: Strength of the S-shaped curve.
        saturation: Factor on the distance from grey.
        vignetting: Share of light lost in the corners.
        out: (H, W, 3) float32, filled with display values in 0 to 1.
    """
    height, width = out.shape[:2]
    n = radiance.shape[0] // height
    corner2 = float(width * width + height * height)
    colour = np.empty(3)
    for y in range(height):
        for x in range(width):
            dx, dy = 2 * x - width + 1, 2 * y - height + 1
            fall = 1.0 - vignetting * (dx * dx + dy * dy) / corner2
            for c in range(3):
                total = 0.0
                for j in range(n):
                    for i in range(n):
                        # Bright spots saturate the sensor, so one sample cannot own a pixel; nor
                        # can one that shading took below black, which has no root.
                        total += min(max(radiance[n * y + j, n * x + i, c], 0.0), 4.0)
                light = total / (n * n) * gain[c] * fall
                value = (1.0 - math.exp(-1.25 * light)) ** 0.4545
                curved = value * value * (3.0 - 2.0 * value)
                colour[c] = value + contrast * (curved - value)
            grey = 0.3 * colour[0] + 0.59 * colour[1] + 0.11 * colour[2]
            for c in range(3):
                out[y, x, c] = grey + saturation * (colour[c] - grey)
