"""Batches of images as tensors, read ahead while the device works."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from crosscity.adaptation.augmentation import Augmentation, mirrored_where
from crosscity.adaptation.correspondence import mirrored_field
from crosscity.adaptation.engine import Stopwatch
from crosscity.adaptation.image_sets import (
    LabelledImages,
    PairedImages,
    TargetImages,
    check_labels,
    check_priors,
    ignored_pixels,
    static_priors,
    static_probabilities,
)
from crosscity.adaptation.objectives.base import Partner
from crosscity.adaptation.sampling import (
    AUGMENTATION_STREAM,
    SOURCE_STREAM,
    TARGET_STREAM,
    PermutationSampler,
)
from crosscity.segmenters import Segmenter, image_tensor

Arrays = tuple[npt.NDArray[Any], npt.NDArray[Any]]
Read = Callable[[Sequence[int]], Arrays]


class Sampler(Protocol):
    """Says which images a batch has."""

    def batch(self, number: int, size: int) -> list[int]:
        """The indices of the batch of that number."""
        ...


class ReadingAhead:
    """Reads the batches of a sampler in threads, some steps before they are needed.

    What a batch holds depends on its number alone, so nothing is gained or lost by reading ahead.

    Args:
        sampler: Says which images a batch has.
        read: Reads images and their maps; called from several threads at once.
        threads: How many; 0 reads when asked.
        ahead: Batches that are read before they are asked for.
        stride: Distance of the numbers that are asked for: one, or the number of processes.
    """

    def __init__(
        self,
        sampler: Sampler,
        read: Read,
        *,
        threads: int,
        ahead: int = 2,
        stride: int = 1,
    ) -> None:
        self._sampler = sampler
        self._read = read
        self._pool = ThreadPoolExecutor(threads, "read-ahead") if threads else None
        self._ahead = ahead
        self._stride = stride
        self._coming: dict[tuple[int, int], list[Future[Arrays]]] = {}
        self.waiting = Stopwatch()

    def batch(self, number: int, size: int) -> tuple[list[int], Arrays]:
        """The indices and arrays of the batch of that number."""
        indices = self._sampler.batch(number, size)
        with self.waiting:
            if self._pool is None:
                return indices, self._read(indices)
            mine = self._coming.pop((number, size), None) or self._start(indices)
            wanted = [(number + step * self._stride, size) for step in range(1, self._ahead + 1)]
            for key in wanted:
                if key not in self._coming:
                    self._coming[key] = self._start(self._sampler.batch(*key))
            for key in [key for key in self._coming if key not in wanted]:
                for future in self._coming.pop(key):
                    future.cancel()
            parts = [future.result() for future in mine]
            return indices, (_joined([p[0] for p in parts]), _joined([p[1] for p in parts]))

    def indices(self, number: int, size: int) -> list[int]:
        """Which images the batch of that number has."""
        return self._sampler.batch(number, size)

    def _start(self, indices: list[int]) -> list[Future[Arrays]]:
        pool = self._pool
        assert pool is not None  # noqa: S101 - asked for only where there are threads
        return [pool.submit(self._read, [index]) for index in indices]


class SourceBatches:
    """Labelled batches as tensors: sampled by number, checked, augmented.

    Args:
        source: The labelled images.
        segmenter: Gives the number of classes.
        seed: Of the training.
        flip: See `Augmentation`.
        smallest_crop: See `Augmentation`.
        device: Where the tensors go; default: the segmenter's.
        threads: See `ReadingAhead`.
        stride: See `ReadingAhead`.
        stream: Tells apart the labelled sets of one training.
        sampler: Default: every image as often.
    """

    def __init__(
        self,
        source: LabelledImages,
        segmenter: Segmenter,
        *,
        seed: int,
        flip: bool,
        smallest_crop: float = 1.0,
        device: torch.device | None = None,
        threads: int = 0,
        stride: int = 1,
        stream: int = SOURCE_STREAM,
        sampler: Sampler | None = None,
    ) -> None:
        self._stream = stream
        self._n_classes = segmenter.n_classes
        self._device = segmenter.input_mean.device if device is None else device
        self._augment = Augmentation(flip=flip, smallest_crop=smallest_crop)
        self._seed = seed
        self.reading = ReadingAhead(
            sampler or PermutationSampler(len(source), seed=seed, stream=stream),
            lambda indices: (source.images(indices), source.labels(indices)),
            threads=threads,
            stride=stride,
        )

    def keys(self, number: int, size: int) -> list[str]:
        """One an image of a batch: equal where its pixels are, if nothing is cropped."""
        random = np.random.default_rng([self._seed, AUGMENTATION_STREAM, self._stream, number])
        return _keys(self.reading.indices(number, size), self._augment.mirrored(size, random))

    def batch(self, number: int, size: int) -> tuple[Tensor, Tensor]:
        """Images (N×3×H×W floats in [0, 1]) and labels (N×H×W int64) of a batch."""
        indices, (pictures, labels) = self.reading.batch(number, size)
        check_labels(pictures, labels, indices, self._n_classes)
        images, maps = _images(pictures, self._device), _on_device(labels, self._device)
        random = np.random.default_rng([self._seed, AUGMENTATION_STREAM, self._stream, number])
        images, maps = self._augment(images, maps, random)
        return images, maps.long()


_STATIC, _IGNORED = 1, 2
"""Bits of the maps of target images that have pixels to ignore."""


def _probability_maps(target: TargetImages, indices: Sequence[int]) -> npt.NDArray[np.float32]:
    """Probabilities that pixels are static; -1 where they are to be ignored."""
    found, ignored = static_probabilities(target, indices), ignored_pixels(target, indices)
    if ignored is None or ignored.shape != found.shape:
        return found if ignored is None else np.zeros(ignored.shape, np.float32)  # as below
    return np.where(ignored, np.float32(-1), found)


def _target_maps(target: TargetImages, indices: Sequence[int]) -> npt.NDArray[Any]:
    """Static priors (bool); with a bit for pixels to ignore (uint8) where the set has such."""
    priors, ignored = static_priors(target, indices), ignored_pixels(target, indices)
    if ignored is None or ignored.shape != priors.shape:
        return priors if ignored is None else ignored  # `check_priors` refuses other sizes
    return np.where(ignored, np.uint8(_IGNORED), priors.astype(np.uint8))


class TargetBatches:
    """Target batches as tensors: sampled by number, checked, augmented.

    Args:
        target: The target images.
        seed: Of the training.
        flip: See `Augmentation`.
        device: Where the tensors go.
        threads: See `ReadingAhead`.
        stride: See `ReadingAhead`.
        probabilities: Whether priors come as probabilities, and not as masks.
        taught: The same images as a teacher is shown them, where that is another size.
    """

    def __init__(
        self,
        target: TargetImages,
        *,
        seed: int,
        flip: bool,
        device: torch.device,
        threads: int = 0,
        stride: int = 1,
        probabilities: bool = False,
        taught: TargetImages | None = None,
    ) -> None:
        self._device = device
        self._seed = seed
        self._target, self._taught = target, taught
        self._augment = Augmentation(flip=flip, smallest_crop=1.0)
        self._maps = maps = _probability_maps if probabilities else _target_maps
        self.reading = ReadingAhead(
            PermutationSampler(len(target), seed=seed, stream=TARGET_STREAM),
            lambda indices: (target.images(indices), maps(target, indices)),
            threads=threads,
            stride=stride,
        )
        self.reading_taught = None
        if taught is not None:
            self.reading_taught = ReadingAhead(
                PermutationSampler(len(target), seed=seed, stream=TARGET_STREAM),
                lambda indices: (taught.images(indices), np.zeros((len(indices), 0))),
                threads=threads,
                stride=stride,
            )

    def batch(self, number: int, size: int) -> tuple[Tensor, Tensor, Tensor | None]:
        """A batch: images (N×3×H×W floats in [0, 1]), priors, pixels to ignore (N×H×W bool).

        Priors are masks, or float32 probabilities where the set was asked for them.
        The last are ``None`` where priors are masks and the set knows none. The prior says static
        nowhere in them.
        """
        indices, (pictures, found) = self.reading.batch(number, size)
        check_priors(pictures, found, indices)
        images, maps = _images(pictures, self._device), _on_device(found, self._device)
        images, maps = self._augment(images, maps, self._random(number))
        return images, *_taken_apart(maps)

    def taught(self, number: int, size: int) -> Tensor | None:
        """The images of a batch as a teacher is shown them, mirrored as the batch is."""
        if self.reading_taught is None:
            return None
        indices, (pictures, _) = self.reading_taught.batch(number, size)
        images = _images(pictures, self._device)
        turned = self._augment.mirrored(len(indices), self._random(number)).to(self._device)
        return mirrored_where(images, turned)

    def keys(self, number: int, size: int) -> list[str]:
        """One an image of a batch: equal where its pixels are."""
        mirrored = self._augment.mirrored(size, self._random(number))
        return _keys(self.reading.indices(number, size), mirrored)

    def partner(self, number: int, size: int) -> Partner:
        """The other images of the batch's places, mirrored as the batch is.

        Raises:
            ValueError: The set has no pairs, an image is the only one of its place, or a field has
                another size than its image.
        """
        if not isinstance(self._target, PairedImages):
            raise ValueError("the target set has no pairs of images")  # noqa: TRY004
        indices = self.reading.indices(number, size)
        of, others = _looks(indices, self._target.partners(indices))
        pictures, found = self._target.images(others), self._maps(self._target, others)
        check_priors(pictures, found, others)
        fields = self._target.fields([indices[place] for place in of], others)
        if fields.shape != (*pictures.shape[:3], 2):
            raise ValueError(
                f"fields {fields.shape} do not fit the partners' images {pictures.shape}"
            )
        images, field = _images(pictures, self._device), _on_device(fields, self._device)
        maps = _on_device(found, self._device)
        mirrored = self._augment.mirrored(len(indices), self._random(number))
        owners = torch.tensor(of)
        turned = mirrored[owners].to(self._device)
        prior, ignored = _taken_apart(mirrored_where(maps, turned))
        taught = None
        if self._taught is not None:
            taught = mirrored_where(_images(self._taught.images(others), self._device), turned)
        return Partner(
            mirrored_where(images, turned),
            torch.where(turned[:, None, None, None], mirrored_field(field), field),
            prior,
            ignored,
            owners.to(self._device),
            taught,
        )

    def _random(self, number: int) -> np.random.Generator:
        return np.random.default_rng([self._seed, AUGMENTATION_STREAM, TARGET_STREAM, number])


def _looks(
    indices: Sequence[int], partners: Sequence[Sequence[int]]
) -> tuple[list[int], list[int]]:
    """Of each other look of a batch the place of its image in the batch, and its own index."""
    for index, found in zip(indices, partners, strict=True):
        if not found:
            raise ValueError(f"image {index} of the target set is the only one of its place")
    of = [place for place, found in enumerate(partners) for _ in found]
    return of, [other for found in partners for other in found]


def _taken_apart(maps: Tensor) -> tuple[Tensor, Tensor | None]:
    """Priors, and the pixels to ignore, of maps that may have both."""
    if maps.dtype == torch.bool:
        return maps, None
    if maps.dtype == torch.float32:
        return maps.clamp(min=0), maps < 0
    return maps == _STATIC, maps == _IGNORED


def _keys(indices: Sequence[int], mirrored: Tensor) -> list[str]:
    return [
        f"{index}{'-mirrored' if turned else ''}"
        for index, turned in zip(indices, mirrored.tolist(), strict=True)
    ]


def _on_device(array: npt.NDArray[Any], device: torch.device) -> Tensor:
    tensor = torch.from_numpy(np.ascontiguousarray(array))
    if device.type != "cuda":
        return tensor.to(device)
    # From pinned memory the copy runs while the device still computes the step before.
    return tensor.pin_memory().to(device, non_blocking=True)


def _images(pictures: npt.NDArray[np.uint8], device: torch.device) -> Tensor:
    if device.type != "cuda":
        return image_tensor(pictures, device)
    # As bytes over the bus, as floats on the device.
    return _on_device(pictures, device).permute(0, 3, 1, 2).float().div_(255.0)


def _joined(arrays: list[npt.NDArray[Any]]) -> npt.NDArray[Any]:
    """Parts of a batch as one array; parts of different sizes are reported by their check."""
    shapes = {array.shape[1:] for array in arrays}
    if len(shapes) > 1:
        raise ValueError(
            f"images of a batch have different sizes ({', '.join(map(str, sorted(shapes)))}): give "
            "them one size, with image_size in the catalog"
        )
    return np.concatenate(arrays)
