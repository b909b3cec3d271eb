"""How well superpixels respect the regions of a labelled picture: the three usual measures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from crosscity.checks import MAX_SIDE, check_map, whole_number
from crosscity.numbering import renumbered


@dataclass(frozen=True)
class SuperpixelQuality:
    """Shares from 0 to 1, over the pixels with a true label.

    Attributes:
        boundary_recall: Share of the true boundary pixels with a boundary of superpixels within
            the tolerance; 1 if there are none.
        undersegmentation_error: Sum over true regions and the superpixels that reach into them of
            the smaller of the part inside and the part outside, over all pixels (Neubert and
            Protzel, 2012).
        achievable_accuracy: Share of pixels labelled right if every superpixel got the label that
            most of its pixels have (Liu et al., CVPR 2011, Sec. 6).
    """

    boundary_recall: float
    undersegmentation_error: float
    achievable_accuracy: float


def superpixel_quality(
    labels: npt.NDArray[np.integer[Any]],
    truth: npt.NDArray[np.integer[Any]],
    *,
    ignore: int | None = None,
    tolerance: int = 2,
) -> SuperpixelQuality:
    """Compares superpixels with a label map.

    Args:
        labels: (H, W) integer superpixels, zero or more.
        truth: (H, W) integer true labels, zero or more.
        ignore: The true label of pixels that do not count.
        tolerance: How far, in pixels in x and y, a boundary may lie from the true one.

    Raises:
        ValueError: If the maps are not whole numbers of one shape, or no pixel counts.
    """
    check_map(labels, "labels")
    check_map(truth, "truth")
    if labels.shape != truth.shape:
        raise ValueError(f"labels {labels.shape} and truth {truth.shape} must have one shape")
    tolerance = whole_number(tolerance, "tolerance", 0, MAX_SIDE)
    counts = np.ones(truth.shape, bool) if ignore is None else truth != ignore
    n_pixels = int(counts.sum())
    if n_pixels == 0:
        raise ValueError("no pixel has a true label; nothing can be compared")
    ours, theirs = (renumbered(each[counts]).astype(np.int64) for each in (labels, truth))
    overlaps, owner = _overlaps(ours, theirs)
    area = np.bincount(ours)[owner]
    largest = np.zeros(int(ours.max()) + 1, np.int64)
    np.maximum.at(largest, owner, overlaps)
    return SuperpixelQuality(
        boundary_recall=_boundary_recall(labels, truth, counts, tolerance),
        undersegmentation_error=float(np.minimum(overlaps, area - overlaps).sum() / n_pixels),
        achievable_accuracy=float(largest.sum() / n_pixels),
    )


def _overlaps(
    ours: npt.NDArray[np.int64], theirs: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """How many pixels each superpixel has of each region that it reaches into, and which it is.

    Only what overlaps is counted: a table of all by all would be as large as the pixels squared.
    """
    regions = int(theirs.max()) + 1
    cells, pixels = np.unique(ours * regions + theirs, return_counts=True)
    return pixels, cells // regions


def boundaries(labels: npt.NDArray[np.integer[Any]]) -> npt.NDArray[np.bool_]:
    """Pixels whose right or lower neighbour has another label."""
    found = np.zeros(labels.shape, bool)
    found[:, :-1] |= labels[:, :-1] != labels[:, 1:]
    found[:-1] |= labels[:-1] != labels[1:]
    return found


def _boundary_recall(
    labels: npt.NDArray[np.integer[Any]],
    truth: npt.NDArray[np.integer[Any]],
    counts: npt.NDArray[np.bool_],
    tolerance: int,
) -> float:
    # A step to or from a pixel that does not count is not a boundary.
    true = np.zeros(truth.shape, bool)
    true[:, :-1] |= (truth[:, :-1] != truth[:, 1:]) & counts[:, :-1] & counts[:, 1:]
    true[:-1] |= (truth[:-1] != truth[1:]) & counts[:-1] & counts[1:]
    if not true.any():
        return 1.0
    reach = min(tolerance, max(truth.shape))  # no boundary is further away, and it takes memory
    around = np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)
    near = cv2.dilate(boundaries(labels).astype(np.uint8), around)
    return float(near[true].mean())
