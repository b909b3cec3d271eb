"""What a segmenter predicts, and its confusion matrix on labelled images."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from crosscity.adaptation.image_sets import LabelledImages, check_label_values
from crosscity.adaptation.training import OutOfMemoryError
from crosscity.checks import check_image, whole_number
from crosscity.evaluation.confusion import ConfusionMatrix
from crosscity.resizing import checked_size, resized_image, resized_map
from crosscity.segmenters import Segmenter, evaluating, image_tensor

Size = tuple[int, int]
Pair = tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]
_AT_A_TIME: Final = 8
"""Images that `predict` shows the network together: scores of all classes are of these alone."""


@dataclass(frozen=True)
class Prediction:
    """What a segmenter sees in one image.

    Attributes:
        labels: (H, W) uint8 indices into the segmenter's class names, at the image's own size.
        confidence: (H, W) float32 in [0, 1]: the probability of that class.
    """

    labels: npt.NDArray[np.uint8]
    confidence: npt.NDArray[np.float32]


def predict_each(
    segmenter: Segmenter,
    images: Iterable[npt.NDArray[np.uint8]],
    batch_size: int = 8,
    *,
    image_size: Size | None = None,
) -> Iterator[Prediction]:
    """Predictions of images of any sizes, in their order; the classes are those `evaluate` counts.

    Consecutive images of one size go through the network together, and no more than one batch is
    held. The segmenter predicts (dropout off, statistics fixed) until the iterator ends.

    Args:
        segmenter: Left in the mode that it was in.
        images: (H, W, 3) uint8 RGB each.
        batch_size: Images predicted at once.
        image_size: (height, width) at which images go through the network; default: their own.

    Raises:
        ValueError: An image is of another type or shape, or no such batch or size is possible.
        OutOfMemoryError: The device has too little memory for one image.
    """
    device, fitting = segmenter.input_mean.device, _checked_batch(batch_size)
    with evaluating(segmenter):
        for batch in _of_one_size(images, batch_size):
            done = 0
            while done < len(batch):
                some = batch[done : done + fitting]
                try:
                    found = _predictions(segmenter, some, image_size)
                except torch.OutOfMemoryError as error:
                    lack = str(error).splitlines()[0]
                    fitting = _smaller(
                        [(picture, picture[..., 0]) for picture in some], device, lack
                    )
                    continue
                yield from found
                done += len(some)


def _of_one_size(
    images: Iterable[npt.NDArray[np.uint8]], batch_size: int
) -> Iterator[list[npt.NDArray[np.uint8]]]:
    batch: list[npt.NDArray[np.uint8]] = []
    for image in images:
        check_image(image, grey=False)
        if batch and (len(batch) == batch_size or image.shape != batch[0].shape):
            yield batch
            batch = []
        batch.append(image)
    if batch:
        yield batch


def _predictions(
    segmenter: Segmenter, batch: Sequence[npt.NDArray[np.uint8]], image_size: Size | None
) -> list[Prediction]:
    height, width = batch[0].shape[:2]
    pictures = np.stack([resized_image(image, image_size) for image in batch])
    with torch.inference_mode():
        logits = _logits(segmenter, pictures, (height, width))
        labels = logits.argmax(1)  # as `predict` and `evaluate` do, also where two are equal
        # The softmax of the likeliest class alone, without a second array of all classes.
        confidence = torch.exp(logits.amax(1) - torch.logsumexp(logits, 1))
        labels_there = labels.to(torch.uint8).cpu().numpy()
        confidence_there = confidence.float().cpu().numpy()
    return [Prediction(*each) for each in zip(labels_there, confidence_there, strict=True)]


def predict(
    segmenter: Segmenter,
    images: npt.NDArray[np.uint8],
    *,
    size: Size | None = None,
    image_size: Size | None = None,
) -> npt.NDArray[np.uint8]:
    """The likeliest class of every pixel, as `crosscity predict` finds it.

    A few images go through the network at a time, however many are given.

    Args:
        segmenter: Left in the mode (training or not) that it was in.
        images: (N, H, W, 3) uint8 RGB, or one image (H, W, 3).
        size: (height, width) of the prediction; default: that of the images.
        image_size: (height, width) at which images go through the network; default: what the
            segmenter was trained at (`trained_size`) where that is known, else their own.

    Returns:
        (N, height, width) uint8 indices into `segmenter.class_names`; of one image (height, width).

    Raises:
        ValueError: The array is of another type or shape, or empty, or that is not a size.
    """
    if not isinstance(images, np.ndarray) or images.ndim not in (3, 4):
        raise ValueError("images to predict must be an array of shape (N, H, W, 3) or (H, W, 3)")
    if images.ndim == 3:
        one = predict(segmenter, images[None], size=size, image_size=image_size)
        of_one: npt.NDArray[np.uint8] = one[0]
        return of_one
    size = (images.shape[1], images.shape[2]) if size is None else checked_size(size)
    image_size = segmenter.trained_size if image_size is None else checked_size(image_size)
    found = []
    with evaluating(segmenter), torch.inference_mode():
        for begin in range(0, max(1, len(images)), _AT_A_TIME):
            shown = images[begin : begin + _AT_A_TIME]
            if image_size is not None and len(shown):
                shown = np.stack([resized_image(image, image_size) for image in shown])
            found.append(_predicted(segmenter, shown, size).cpu().numpy())
    labels: npt.NDArray[np.uint8] = np.concatenate(found)
    return labels


@dataclass(frozen=True)
class ImageCounts:
    """What an evaluation counted of one image.

    Attributes:
        confusion: (C, C) int64, rows truth, columns predictions; void is not counted.
        pixels: Of the label map, void or not.
    """

    confusion: npt.NDArray[np.int64]
    pixels: int


def evaluate(
    segmenter: Segmenter,
    images: LabelledImages,
    batch_size: int = 8,
    *,
    image_size: Size | None = None,
    label_size: Size | None = None,
    on_batch: Callable[[int], None] | None = None,
) -> npt.NDArray[np.int64]:
    """Confusion matrix of a segmenter over labelled images: the sum of those of `evaluate_each`.

    Args:
        segmenter: Left in the mode that it was in.
        images: Labels are indices into `segmenter.class_names`, 255 where void.
        batch_size: Images predicted at once; the result does not depend on it but for rounding.
        image_size: (height, width) at which images go through the network; default: their own.
        label_size: (height, width) at which labels are scored, as some papers did it; default:
            their own.
        on_batch: Called after each batch with the number of images in it.

    Returns:
        (C, C) int64, rows truth, columns predictions.

    Raises:
        ValueError: No image, labels that are none of the segmenter's classes, or no such batch or
            size is possible.
        OutOfMemoryError: The device has too little memory for one image; where it is too little for
            a batch, smaller ones are predicted.
    """
    each = evaluate_each(
        segmenter,
        images,
        batch_size,
        image_size=image_size,
        label_size=label_size,
        on_batch=on_batch,
    )
    total = np.zeros((segmenter.n_classes, segmenter.n_classes), dtype=np.int64)
    for counted in each:
        total += counted.confusion
    return total


def evaluate_each(
    segmenter: Segmenter,
    images: LabelledImages,
    batch_size: int = 8,
    *,
    image_size: Size | None = None,
    label_size: Size | None = None,
    on_batch: Callable[[int], None] | None = None,
) -> Iterator[ImageCounts]:
    """What a segmenter gets right and wrong in each labelled image, in their order.

    Logits are upsampled to the labels, which keep their native size unless another is asked for;
    images may go through the network at another size, and sizes may differ between images. Pixels
    are counted on the segmenter's device, and counts are waited for one batch late, so that the
    device has the next batch to work on. The segmenter predicts (dropout off, statistics fixed)
    until the iterator ends. Arguments and errors are those of `evaluate`.
    """
    if not len(images):
        raise ValueError("there is no image to evaluate on: check the split that was asked for")
    device, waiting = segmenter.input_mean.device, list[Callable[[], list[ImageCounts]]]()
    fitting = batch_size = _checked_batch(batch_size)
    with evaluating(segmenter):
        for batch in _batches(images, batch_size, segmenter.n_classes, image_size, label_size):
            done = 0
            while done < len(batch):
                some = batch[done : done + fitting]
                counted = _count(segmenter, some)
                if isinstance(counted, str):
                    fitting = _smaller(some, device, counted)
                    continue
                done += len(some)
                waiting.append(counted)
                if len(waiting) > 1:
                    yield from waiting.pop(0)()
            if on_batch is not None:
                on_batch(len(batch))
        for last in waiting:
            yield from last()


def _count(segmenter: Segmenter, batch: Sequence[Pair]) -> Callable[[], list[ImageCounts]] | str:
    """Counts a batch; gives what waits for the counts, or what lacked where memory did not do."""
    pictures = np.stack([picture for picture, _ in batch])
    matrices = []
    try:
        labels = torch.from_numpy(np.stack([labels for _, labels in batch]))
        labels = labels.to(segmenter.input_mean.device)
        with torch.inference_mode():
            seen = _predicted(segmenter, pictures, (labels.shape[1], labels.shape[2]))
            for truth, prediction in zip(labels, seen, strict=True):
                matrices.append(ConfusionMatrix(segmenter.n_classes, labels.device))
                matrices[-1].add(truth, prediction)
    except torch.OutOfMemoryError as error:
        return str(error).splitlines()[0]
    pixels = labels.shape[1] * labels.shape[2]
    return lambda: [ImageCounts(matrix.counts(), pixels) for matrix in matrices]


def _checked_batch(batch_size: int) -> int:
    return whole_number(batch_size, "the number of images in a batch", 1, 2**20)


def _smaller(batch: Sequence[Pair], device: torch.device, lack: str) -> int:
    """Half a batch that did not fit.

    Raises:
        OutOfMemoryError: It was a single image.
    """
    if len(batch) > 1:
        return len(batch) // 2
    (height, width), (rows, columns) = batch[0][0].shape[:2], batch[0][1].shape
    raise OutOfMemoryError(
        f"{device} ran out of memory with one image of {height}×{width} pixels, scored at "
        f"{rows}×{columns}: let images go through the network at a smaller image_size ({lack})"
    )


def _predicted(segmenter: Segmenter, images: npt.NDArray[np.uint8], size: Size) -> Tensor:
    return _logits(segmenter, images, size).argmax(1).to(torch.uint8)


def _logits(segmenter: Segmenter, images: npt.NDArray[np.uint8], size: Size) -> Tensor:
    pictures = image_tensor(images, segmenter.input_mean.device)
    return segmenter.predicted_logits(pictures, size)


def _batches(
    images: LabelledImages,
    batch_size: int,
    n_classes: int,
    image_size: Size | None,
    label_size: Size | None,
) -> Iterator[list[Pair]]:
    """Up to so many consecutive images of the same sizes."""
    batch: list[Pair] = []
    for index in range(len(images)):
        picture, labels = images.images([index])[0], images.labels([index])[0]
        check_label_values(labels[None], [index], n_classes)
        pair = resized_image(picture, image_size), resized_map(labels, label_size)
        full = len(batch) == batch_size
        if batch and (full or any(a.shape != b.shape for a, b in zip(pair, batch[0], strict=True))):
            yield batch
            batch = []
        batch.append(pair)
    yield batch
