"""L_task: what the segmenter is trained with on source images."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from crosscity.adaptation.image_sets import LabelledImages, check_label_values
from crosscity.labels import VOID

_COUNTED_IMAGES = 256


def task_loss(
    logits: Tensor,
    labels: Tensor,
    class_weights: Tensor | None = None,
    *,
    balanced_predictions: bool = True,
) -> Tensor:
    """Pixel cross entropy on source images (paper, L_task of eq. 1).

    L_task = -Σ_i w_{y_i} log softmax(z_i)_{y_i} / Σ_i w_{y_i}, over the pixels i that are not void,
    with z the logits x, or x + log w. What is smallest for softmax(z) is the distribution
    proportional to w_c p(c | image): with z = x the network itself overrates what weighs much, and
    with z = x + log w its softmax stays p(c | image) (Menon et al., Long-tail learning via logit
    adjustment, ICLR 2021, read backwards).

    Args:
        logits: B×C×H×W, x.
        labels: B×H×W int64 class indices, 255 where void.
        class_weights: C, above 0, or ``None`` for w = 1.
        balanced_predictions: Whether z = x.

    Returns:
        The loss; 0, with gradient 0, if every pixel is void.
    """
    if logits.shape[:1] + logits.shape[2:] != labels.shape:
        raise ValueError(
            f"logits {tuple(logits.shape)} and labels {tuple(labels.shape)} differ in size: "
            "upsample the logits to the labels"
        )
    if class_weights is not None and not balanced_predictions:
        logits = logits + class_weights.log().reshape(1, -1, 1, 1)
    total = functional.cross_entropy(
        logits, labels, weight=class_weights, ignore_index=VOID, reduction="sum"
    )
    # No value is read here, so that a GPU is not waited for.
    known = labels != VOID
    if class_weights is None:
        return total / known.sum().clamp_min(1)
    weights = class_weights[labels.clamp_max(len(class_weights) - 1)] * known
    return total / weights.sum().clamp_min(torch.finfo(weights.dtype).tiny)


def class_pixels(source: LabelledImages, n_classes: int) -> npt.NDArray[np.int64]:
    """Pixels of each class on at most 256 images, spread evenly over the set.

    Args:
        source: The labelled images.
        n_classes: C.

    Returns:
        (C,) counts.

    Raises:
        ValueError: Labels that are not classes.
    """
    counts = np.zeros(n_classes, dtype=np.int64)
    for index in _counted(source):
        counts += _pixels_of(source, index, n_classes)
    return counts


def shown_classes(source: LabelledImages, counts: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Which classes some image of the set shows.

    A rare class may be on none of the images that were counted, so the others are counted too,
    until every class has been found.

    Args:
        source: The labelled images.
        counts: (C,) `class_pixels` of the same set.

    Returns:
        (C,) bool.

    Raises:
        ValueError: Labels that are not classes.
    """
    shown = counts > 0
    counted = set(_counted(source))
    for index in range(len(source)):
        if shown.all():
            break
        if index not in counted:
            shown |= _pixels_of(source, index, len(counts)) > 0
    return shown


def missing_classes(
    shown: npt.NDArray[np.bool_], class_names: Sequence[str], which: str
) -> tuple[str, ...]:
    """A sentence that names the classes without a pixel; none where every class has some."""
    missing = [name for name, some in zip(class_names, shown, strict=True) if not some]
    if not missing:
        return ()
    return (
        f"the {which} set has no pixel of {', '.join(missing)}: nothing is learned of what is not "
        "there",
    )


def class_weights(counts: npt.NDArray[np.int64], balance: float) -> Tensor | None:
    """Weights proportional to frequency ** -balance, whose mean over all labelled pixels is 1.

    A class that hardly occurs is taken to have 1/10000 of the pixels, so that no weight explodes.

    Args:
        counts: (C,) pixels of each class; see `class_pixels`.
        balance: 0 gives ``None``: all pixels weigh the same.
    """
    if balance == 0:
        return None
    frequency = np.maximum(counts / max(1, counts.sum()), 1e-4)
    weights = frequency**-balance
    weights /= (weights * frequency).sum() / frequency.sum()
    return torch.from_numpy(weights).float()


def _counted(source: LabelledImages) -> list[int]:
    """Indices of the images whose pixels are counted."""
    spread = np.linspace(0, len(source) - 1, _COUNTED_IMAGES).round().astype(int)
    counted: list[int] = np.unique(spread).tolist()
    return counted


def _pixels_of(source: LabelledImages, index: int, n_classes: int) -> npt.NDArray[np.int64]:
    """(C,) pixels of each class on one image."""
    labels = source.labels([index])
    check_label_values(labels, [index], n_classes)
    return np.bincount(labels[labels != VOID], minlength=n_classes)
