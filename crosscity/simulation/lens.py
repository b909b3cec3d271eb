"""From radiance to a photograph: samples to pixels, exposure, tone curve, blur, noise."""

from __future__ import annotations

import math
from typing import Final

import cv2
import numba
import numpy as np
import numpy.typing as npt

from crosscity.labels import TRAIN_ID, VOID
from crosscity.simulation.camera import OVERSAMPLING
from crosscity.simulation.draws import key_of
from crosscity.simulation.light import Light
from crosscity.simulation.mesh import LABEL, MOVING, Rows
from crosscity.simulation.style import CityStyle

_NOISE_KEY: Final = 0x2015E
_SKY: Final = TRAIN_ID["sky"]


@numba.njit(cache=True, nogil=True, error_model="numpy")
def vote(ident, closeness, labels, moving, sky, train_ids, static):  # type: ignore[no-untyped-def]
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


@numba.njit(cache=True, nogil=True, error_model="numpy")
def develop(radiance, gain, contrast, saturation, vignetting, out):  # type: ignore[no-untyped-def]
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
                        # Bright spots saturate the sensor, so one sample cannot own a pixel.
                        total += min(radiance[n * y + j, n * x + i, c], 4.0)
                light = total / (n * n) * gain[c] * fall
                value = (1.0 - math.exp(-1.25 * light)) ** 0.4545
                curved = value * value * (3.0 - 2.0 * value)
                colour[c] = value + contrast * (curved - value)
            grey = 0.3 * colour[0] + 0.59 * colour[1] + 0.11 * colour[2]
            for c in range(3):
                out[y, x, c] = grey + saturation * (colour[c] - grey)


def labels_of(
    ident: npt.NDArray[np.int32],
    closeness: npt.NDArray[np.float32],
    rows: Rows,
    height: int,
    width: int,
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.bool_]]:
    """trainIds and static mask of the pixels of an oversampled drawing."""
    train_ids = np.full((height, width), VOID, dtype=np.uint8)
    static = np.zeros((height, width), dtype=np.bool_)
    labels, moving = rows[:, LABEL].astype(np.int64), rows[:, MOVING] > 0.5
    vote(ident, closeness, labels, moving, _SKY, train_ids, static)
    return train_ids, static


def photograph(
    style: CityStyle,
    light: Light,
    radiance: npt.NDArray[np.float32],
    key: tuple[int, int, int],
) -> npt.NDArray[np.uint8]:
    """The (H, W, 3) uint8 picture of an oversampled radiance; key is (seed, place, time)."""
    height, width = radiance.shape[0] // OVERSAMPLING, radiance.shape[1] // OVERSAMPLING
    picture = np.empty((height, width, 3), dtype=np.float32)
    gain = light.exposure * np.array(light.gains)
    develop(radiance, gain, style.contrast, style.saturation, style.vignetting, picture)
    sigma = style.blur * width / 1000.0
    if sigma > 0.15:
        picture = cv2.GaussianBlur(picture, (0, 0), sigma)
    picture *= 255.0
    if style.noise > 0:
        rng = np.random.default_rng([_NOISE_KEY, key_of(style.name), *key, height, width])
        grain = rng.standard_normal(picture.shape, dtype=np.float32)
        # Shot noise grows with the square root of the light.
        grain *= style.noise * (0.5 + 0.5 * np.sqrt(np.clip(picture, 0, 255) / 128.0))
        picture += grain
    return np.clip(np.rint(picture), 0, 255).astype(np.uint8)
