"""Keeping pixels that show no street out of matching: watermarks, bonnets, drawn text."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from crosscity.checks import MAX_SIDE, check_image, check_map, check_matches, number, whole_number
from crosscity.matching.matches import Matches, chosen_matches

WHAT = "map of ignored pixels"


def without_pixels(
    image: npt.NDArray[np.uint8], ignored: npt.NDArray[np.bool_], seed: int
) -> npt.NDArray[np.uint8]:
    """The picture with noise where pixels are ignored.

    What is drawn into two pictures matches itself, and pulls the larger patches around it along.
    Noise of another seed in the other picture matches nothing.

    Args:
        image: (H, W, 3) uint8.
        ignored: (H, W) bool.
        seed: Another one for each picture.

    Raises:
        ValueError: This is not a picture with a map of its size, or no seed.
    """
    check_image(image, grey=False)
    check_map(ignored, WHAT, kinds="b", like=image.shape[:2])
    seed = whole_number(seed, "the seed", 0, 2**63 - 1)
    made = image.copy()
    rng = np.random.default_rng(seed)
    made[ignored] = rng.integers(0, 256, (int(ignored.sum()), 3), dtype=np.uint8)
    return made


def matches_outside(matches: Matches, ignored: npt.NDArray[np.bool_], reach: float) -> Matches:
    """Those matches that lie farther than `reach` pixels from every ignored one, in both pictures.

    Args:
        matches: Matches between two pictures of one size.
        ignored: (H, W) bool, of both pictures.
        reach: Half the side of the patches that were compared.

    Raises:
        ValueError: That is not a map, or no distance.
    """
    check_matches(matches)
    check_map(ignored, WHAT, kinds="b")
    reach = number(reach, "the reach", 0, MAX_SIDE, what="a number of pixels")
    away = np.asarray(
        cv2.distanceTransform((~ignored).astype(np.uint8), cv2.DIST_C, 3), dtype=np.float32
    )
    if not ignored.any():
        return matches
    height, width = ignored.shape

    def far(x: npt.NDArray[np.float32], y: npt.NDArray[np.float32]) -> npt.NDArray[np.bool_]:
        column = np.clip(np.rint(x), 0, width - 1).astype(np.int64)
        row = np.clip(np.rint(y), 0, height - 1).astype(np.int64)
        return np.asarray(away[row, column] > reach, dtype=np.bool_)

    kept = far(matches.x_a, matches.y_a) & far(matches.x_b, matches.y_b)
    return chosen_matches(matches, kept)
