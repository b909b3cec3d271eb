"""From a drawing to a photograph and its labels."""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from crosscity.labels import TRAIN_ID, VOID
from simcity.camera import OVERSAMPLING
from simcity.compiled import develop, vote
from simcity.draws import key_of
from simcity.light import Light
from simcity.mesh import LABEL, MOVING, Rows
from simcity.style import CityStyle

_NOISE_KEY: Final = 0x2015E
_SKY: Final = TRAIN_ID["sky"]


def labels_of(
    ident: npt.NDArray[np.int32],
    closeness: npt.NDArray[np.float32],
    rows: Rows,
    height: int,
    width: int,
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.bool_]]:
    """TrainIds and static mask of the pixels of an oversampled drawing."""
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
    gain: npt.NDArray[np.float64] = np.multiply(light.exposure, light.gains)
    # A style may hold integers, for which numba would compile a second time.
    tone = float(style.contrast), float(style.saturation), float(style.vignetting)
    develop(radiance, gain, *tone, picture)
    sigma = style.blur * width / 1000.0
    if sigma > 0.15:
        picture = cv2.GaussianBlur(picture, (0, 0), sigma).astype(np.float32, copy=False)
    picture *= 255.0
    if style.noise > 0:
        rng = np.random.default_rng([_NOISE_KEY, key_of(style.name), *key, height, width])
        grain = rng.standard_normal((height, width, 3), dtype=np.float32)
        # Shot noise grows with the square root of the light.
        shot = 0.5 + 0.5 * np.sqrt(np.clip(picture, 0, 255) / 128.0)
        grain *= float(style.noise) * shot
        picture += grain
    return np.clip(np.rint(picture), 0, 255).astype(np.uint8)
