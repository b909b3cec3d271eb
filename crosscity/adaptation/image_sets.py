"""The images that trainings read: two protocols, their in-memory forms, and what is checked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from crosscity.labels import VOID

_PROBABILITIES: Final = "255 times the probabilities that pixels are static"


class LabelledImages(Protocol):
    """Images with labels; all images that are asked for at once have one size."""

    def __len__(self) -> int:
        """Number of images."""
        ...

    def images(self, indices: Sequence[int]) -> npt.NDArray[np.uint8]:
        """(N, H, W, 3) uint8 RGB."""
        ...

    def labels(self, indices: Sequence[int]) -> npt.NDArray[np.uint8]:
        """(N, H, W) uint8 class indices, 255 where void."""
        ...


class TargetImages(Protocol):
    """Unlabelled images of the target city with their static priors."""

    def __len__(self) -> int:
        """Number of images."""
        ...

    def images(self, indices: Sequence[int]) -> npt.NDArray[np.uint8]:
        """(N, H, W, 3) uint8 RGB."""
        ...

    def priors(self, indices: Sequence[int]) -> npt.NDArray[np.bool_]:
        """(N, H, W): true where the prior says static; all false where a prior is missing."""
        ...


@runtime_checkable
class IgnoresPixels(Protocol):
    """What target images may offer beside: pixels that show no street, and teach nothing."""

    def ignored(self, indices: Sequence[int]) -> npt.NDArray[np.bool_] | None:
        """(N, H, W): true where a pixel is of a watermark or bonnet; ``None`` where none is."""
        ...


@runtime_checkable
class KnowsProbability(Protocol):
    """What target images may offer beside: how probable it is that their pixels are static."""

    def probabilities(self, indices: Sequence[int]) -> npt.NDArray[np.uint8]:
        """(N, H, W): 255 times the probability; all 0 where a prior is missing.

        Raises:
            ValueError: There are priors, and nothing says how probable they are.
        """
        ...


@runtime_checkable
class PairedImages(Protocol):
    """What target images may offer beside: other images of the place of each, with matches."""

    def partners(self, indices: Sequence[int]) -> list[list[int]]:
        """The indices of the other images of each one's place, that of its pair first.

        Those from `len` on are images that are looked at and not learned from: whatever this set
        gives of an image, it gives of these too.
        """
        ...

    def fields(self, indices: Sequence[int], others: Sequence[int]) -> npt.NDArray[np.float32]:
        """(N, H, W, 2): where each image's pixels lie in one of its partners (`correspondence`)."""
        ...


def static_priors(target: TargetImages, indices: Sequence[int]) -> npt.NDArray[np.bool_]:
    """(N, H, W) static priors of target images.

    Raises:
        ValueError: They are not bool.
    """
    found = target.priors(indices)
    _check_type(found, "static priors", np.bool_)
    return found


def ignored_pixels(target: TargetImages, indices: Sequence[int]) -> npt.NDArray[np.bool_] | None:
    """(N, H, W) pixels of target images that teach nothing; ``None`` where the set knows none.

    Raises:
        ValueError: They are not bool, or no map an image.
    """
    found = target.ignored(indices) if isinstance(target, IgnoresPixels) else None
    if found is None:
        return None
    if found.ndim != 3:
        raise ValueError(f"ignored pixels have the shape {found.shape}: (N, H, W) is needed")
    _check_type(found, "ignored pixels", np.bool_)
    return found


def static_probabilities(target: TargetImages, indices: Sequence[int]) -> npt.NDArray[np.float32]:
    """(N, H, W) probabilities in [0, 1] that pixels of target images are static.

    Raises:
        ValueError: The set knows none, or they are not uint8.
    """
    if not isinstance(target, KnowsProbability):
        raise ValueError(  # noqa: TRY004 - one kind of error for whatever a recipe lacks
            "the recipe weighs by the probability that a pixel is static, and the target set "
            "has none"
        )
    found = target.probabilities(indices)
    _check_type(found, _PROBABILITIES, np.uint8)
    return found.astype(np.float32) / np.float32(255)


@dataclass(frozen=True)
class LabelledArrays:
    """Labelled images in memory.

    Attributes:
        all_images: (N, H, W, 3) uint8 RGB.
        all_labels: (N, H, W) uint8 class indices, 255 where void.
    """

    all_images: npt.NDArray[np.uint8]
    all_labels: npt.NDArray[np.uint8]

    def __post_init__(self) -> None:
        if self.all_labels.shape != self.all_images.shape[:-1]:
            raise ValueError(
                f"labels {self.all_labels.shape} do not cover images {self.all_images.shape}: "
                "every image needs a label map of its own size"
            )

    def __len__(self) -> int:
        return len(self.all_images)

    def images(self, indices: Sequence[int]) -> npt.NDArray[np.uint8]:
        """(N, H, W, 3) uint8 RGB."""
        return self.all_images[list(indices)]

    def labels(self, indices: Sequence[int]) -> npt.NDArray[np.uint8]:
        """(N, H, W) uint8 class indices, 255 where void."""
        return self.all_labels[list(indices)]


@dataclass(frozen=True)
class PairedArrays:
    """Pairs of target images in memory, and what a place looks like at further times.

    Attributes:
        target: The 2P images of the pairs, those of a pair one after the other, with priors; and
            then `further` images of each place in turn, which are looked at and not learned from.
        all_fields: (2P, H, W, 2) float32, where each image's pixels lie in the other of its pair;
            with further times (1 + further, 2P, H, W, 2), in that and in each of these.
        further: Images of a place beside its pair.
    """

    target: TargetArrays
    all_fields: npt.NDArray[np.float32]
    further: int = 0

    def __post_init__(self) -> None:
        count, *size = self.target.all_images.shape[:3]
        if self.further < 0 or count % (2 + self.further):
            beside = f" with {self.further} further images each" if self.further else ""
            raise ValueError(f"{count} images are not pairs{beside}")
        looks = (1 + self.further,) if self.further else ()
        if self.all_fields.shape != (*looks, len(self), *size, 2):
            raise ValueError(
                f"fields {self.all_fields.shape} do not fit {len(self)} images of pairs of "
                f"{size[0]}×{size[1]}"
            )

    def __len__(self) -> int:
        return 2 * (len(self.target) // (2 + self.further))

    def images(self, indices: Sequence[int]) -> npt.NDArray[np.uint8]:
        """(N, H, W, 3) uint8 RGB."""
        return self.target.images(indices)

    def priors(self, indices: Sequence[int]) -> npt.NDArray[np.bool_]:
        """(N, H, W): true where the prior says static."""
        return self.target.priors(indices)

    def ignored(self, indices: Sequence[int]) -> npt.NDArray[np.bool_] | None:
        """(N, H, W): true where a pixel teaches nothing."""
        return self.target.ignored(indices)

    def probabilities(self, indices: Sequence[int]) -> npt.NDArray[np.uint8]:
        """(N, H, W): 255 times the probability that a pixel is static."""
        return self.target.probabilities(indices)

    def partners(self, indices: Sequence[int]) -> list[list[int]]:
        """The indices of the other images of each one's place."""
        starts = [len(self) + index // 2 * self.further for index in indices]
        return [
            [index ^ 1, *range(start, start + self.further)]
            for index, start in zip(indices, starts, strict=True)
        ]

    def fields(self, indices: Sequence[int], others: Sequence[int]) -> npt.NDArray[np.float32]:
        """(N, H, W, 2): where each image's pixels lie in one of its partners."""
        if not self.further:
            return self.all_fields[list(indices)]
        known = zip(self.partners(indices), others, strict=True)
        return self.all_fields[[found.index(other) for found, other in known], list(indices)]


@dataclass(frozen=True)
class TargetArrays:
    """Target images in memory.

    Attributes:
        all_images: (N, H, W, 3) uint8 RGB.
        all_priors: (N, H, W) bool, or ``None`` where there are no priors.
        all_ignored: (N, H, W) bool, pixels that teach nothing, or ``None`` where there are none.
        all_probabilities: (N, H, W) uint8, 255 times the probability that a pixel is static, or
            ``None`` where it is not known.
    """

    all_images: npt.NDArray[np.uint8]
    all_priors: npt.NDArray[np.bool_] | None = None
    all_ignored: npt.NDArray[np.bool_] | None = None
    all_probabilities: npt.NDArray[np.uint8] | None = None

    def __post_init__(self) -> None:
        for maps, what, kind in (
            (self.all_priors, "static priors", np.bool_),
            (self.all_ignored, "ignored pixels", np.bool_),
            (self.all_probabilities, _PROBABILITIES, np.uint8),
        ):
            if maps is not None:
                check_priors(self.all_images, maps, range(len(self.all_images)))
                _check_type(maps, what, kind)

    def __len__(self) -> int:
        return len(self.all_images)

    def images(self, indices: Sequence[int]) -> npt.NDArray[np.uint8]:
        """(N, H, W, 3) uint8 RGB."""
        return self.all_images[list(indices)]

    def priors(self, indices: Sequence[int]) -> npt.NDArray[np.bool_]:
        """(N, H, W): true where the prior says static."""
        if self.all_priors is None:
            return np.zeros((len(indices), *self.all_images.shape[1:3]), dtype=np.bool_)
        return self.all_priors[list(indices)]

    def ignored(self, indices: Sequence[int]) -> npt.NDArray[np.bool_] | None:
        """(N, H, W): true where a pixel teaches nothing."""
        return None if self.all_ignored is None else self.all_ignored[list(indices)]

    def probabilities(self, indices: Sequence[int]) -> npt.NDArray[np.uint8]:
        """(N, H, W): 255 times the probability that a pixel is static."""
        if self.all_probabilities is None:
            raise ValueError("nothing says how probable it is that pixels of these are static")
        return self.all_probabilities[list(indices)]


def check_labels(
    images: npt.NDArray[np.uint8],
    labels: npt.NDArray[np.uint8],
    indices: Sequence[int],
    n_classes: int,
) -> None:
    """Raises `ValueError` where labels do not fit their images or the classes, naming the image."""
    if labels.shape != images.shape[:-1]:
        raise ValueError(
            f"the labels of the images {_first(indices)} have size {labels.shape[1:]}, the images "
            f"{images.shape[1:3]}: every image needs a label map of its own size"
        )
    check_label_values(labels, indices, n_classes)


def check_label_values(
    labels: npt.NDArray[np.uint8], indices: Sequence[int], n_classes: int
) -> None:
    """Raises `ValueError` where labels are neither classes nor void, naming image and value."""
    if labels.dtype.kind not in "iu":
        raise ValueError(
            f"the labels of the images {_first(indices)} must be whole numbers, not {labels.dtype}"
        )
    wrong = (labels >= n_classes) & (labels != VOID)
    if labels.dtype.kind == "i":
        wrong |= labels < 0
    if wrong.any():
        first = int(np.argmax(wrong.reshape(len(labels), -1).any(1)))
        value = int(labels[first][wrong[first]][0])
        raise ValueError(
            f"the labels of image {indices[first]} have the value {value}, which is neither void "
            f"({VOID}) nor one of the classes 0 to {n_classes - 1}: map the labels to trainIds "
            "first"
        )


def check_priors(
    images: npt.NDArray[np.uint8], priors: npt.NDArray[Any], indices: Sequence[int]
) -> None:
    """Raises `ValueError` where static priors do not fit their images, naming the images."""
    if priors.shape != images.shape[:-1]:
        raise ValueError(
            f"the static priors of the images {_first(indices)} have size {priors.shape[1:]}, the "
            f"images {images.shape[1:3]}: extract the priors from images of this size"
        )


def _check_type(maps: npt.NDArray[Any], what: str, kind: type[np.generic]) -> None:
    """Raises `ValueError` where maps are of another type, whose values would mean something else.

    A mask of 0 and 255, as image files have it, would say static or ignored nowhere.
    """
    if maps.dtype != kind:
        advice = "give them as `masks > 0`" if kind is np.bool_ else "multiply and round them"
        raise ValueError(f"{what} must be {np.dtype(kind)}, not {maps.dtype}: {advice}")


def _first(indices: Sequence[int]) -> str:
    named = ", ".join(str(index) for index in indices[:3])
    return named + (", …" if len(indices) > 3 else "")
