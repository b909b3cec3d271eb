"""What a segmenter predicts, and its confusion matrix on labelled images."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch

from crosscity.adaptation.image_sets import LabelledImages, check_labels
from crosscity.evaluation.confusion import confusion_matrix
from crosscity.segmenters import Segmenter, evaluating, image_tensor


def predict(segmenter: Segmenter, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """The likeliest class of every pixel.

    Args:
        segmenter: Left in the mode (training or not) that it was in.
        images: (N, H, W, 3) uint8 RGB.

    Returns:
        (N, H, W) uint8 indices into `segmenter.class_names`.
    """
    device = segmenter.input_mean.device
    with evaluating(segmenter), torch.inference_mode():
        logits = segmenter(image_tensor(images, device))
        predicted: npt.NDArray[np.uint8] = logits.argmax(1).to(torch.uint8).cpu().numpy()
    return predicted


def evaluate(
    segmenter: Segmenter,
    images: LabelledImages,
    batch_size: int = 8,
    *,
    on_batch: Callable[[int], None] | None = None,
) -> npt.NDArray[np.int64]:
    """Confusion matrix of a segmenter over labelled images, at the size of the labels.

    Args:
        segmenter: Left in the mode that it was in.
        images: Labels are indices into `segmenter.class_names`, 255 where void.
        batch_size: Images predicted at once; the result does not depend on it but for rounding.
        on_batch: Called after each batch with the number of images in it.

    Returns:
        (C, C) int64, rows truth, columns predictions.

    Raises:
        ValueError: No image, or labels that are none of the segmenter's classes.
    """
    if not len(images):
        raise ValueError("there is no image to evaluate on: check the split that was asked for")
    total = np.zeros((segmenter.n_classes, segmenter.n_classes), dtype=np.int64)
    for start in range(0, len(images), batch_size):
        indices = list(range(start, min(start + batch_size, len(images))))
        pictures, labels = images.images(indices), images.labels(indices)
        check_labels(pictures, labels, indices, segmenter.n_classes)
        total += confusion_matrix(labels, predict(segmenter, pictures), segmenter.n_classes)
        if on_batch is not None:
            on_batch(len(indices))
    return total
