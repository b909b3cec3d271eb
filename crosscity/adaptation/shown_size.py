"""At which size images are shown to a network, chosen without a label.

A network learns how many pixels large a car is. Where images show cars smaller, it fails in a way
that hardly any training on them mends, and that showing them enlarged mends at once, although no
pixel is added; where they show them larger, it does better, and at less cost, on reduced images.
Which size suits is seen without a label, by how sure and how varied predictions are (`sureness`):

    size = argmax J(s)

Entropy alone takes too small sizes, at which what is left is easy. Over a handful of sizes there is
nothing to collapse. A size must raise J by `LEAST_GAIN` against every smaller one, as it costs time
and memory, and a smaller size than the first against the first.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch

from crosscity.adaptation.image_sets import IgnoresPixels, LabelledImages, TargetImages
from crosscity.adaptation.spread import spread_indices
from crosscity.adaptation.sureness import Sureness, sureness
from crosscity.resizing import resized_image
from crosscity.safeguard import SafeguardLimits
from crosscity.segmenters import Segmenter, image_tensor

ALGORITHM_VERSION: Final = "3"
"""Raised by hand whenever the same images and weights could give another size."""
FACTORS: Final = (0.5, 0.75, 1.5, 2.0)
"""Sizes that are tried beside the images' own, against it; where that is beyond `MOST_PIXELS`,
against the largest of its proportions that is not."""
MOST_IMAGES: Final = 16
LEAST_PIXELS: Final = 2**16
"""Of a reduced image."""
MOST_PIXELS: Final = 2**21
"""Of a shown image: 1024×2048, the largest that light networks of streets are trained at."""
LEAST_GAIN: Final = 0.002
"""Nats."""
LIMITS: Final = SafeguardLimits()
"""When a class counts as seen, and as lost: as the safeguard sees it."""

Size = tuple[int, int]
Images = TargetImages | LabelledImages


@dataclass(frozen=True)
class TriedSize:
    """What a network predicts of images that are shown at a size.

    Attributes:
        size: (height, width).
        entropy: H, in nats a pixel.
        diversity: D, in nats.
        shares: (C,) mean probabilities, q; empty where nobody asks for them.
    """

    size: Size
    entropy: float
    diversity: float
    shares: tuple[float, ...] = ()

    @property
    def information(self) -> float:
        """J, in nats."""
        return Sureness(self.entropy, self.diversity).information


@dataclass(frozen=True)
class ShownSize:
    """The size that was chosen.

    Attributes:
        own: (height, width) of the images themselves.
        chosen: At which they are shown.
        tried: All sizes that were tried; the first is what would be shown without a choice.
        images: How many were looked at.
        sizes: How many sizes the images have; of several, `own` is the one that all are taken at.
        class_names: Of the network.
    """

    own: Size
    chosen: Size
    tried: tuple[TriedSize, ...]
    images: int
    sizes: int = 1
    class_names: tuple[str, ...] = ()

    @property
    def enlarged(self) -> float:
        """Side of what is shown against the images' own, at least 1."""
        return max(1.0, math.sqrt(math.prod(self.chosen) / math.prod(self.own)))

    def fields(self) -> dict[str, Any]:
        """For a manifest; JSON-able."""
        return {
            "own": list(self.own),
            "chosen": list(self.chosen),
            "images": self.images,
            **({} if self.sizes == 1 else {"sizes": self.sizes}),
            "tried": [
                {"size": list(one.size), "entropy": one.entropy, "diversity": one.diversity}
                for one in self.tried
            ],
        }

    def remark(self, other: str = "image_size in `trainings`") -> str:
        """One sentence for the user; empty where nothing but the first size could be tried.

        Args:
            other: What sets another size.
        """
        several = (
            f"the images have {self.sizes} sizes, and all are shown at the proportions of "
            f"{_words(self.own)}, the most frequent: pictures of other proportions are distorted, "
            "so keep upright ones in a set of their own"
        )
        if len(self.tried) < 2:
            return several if self.sizes > 1 else ""
        choice = self._choice(other)
        return f"{choice}; {several}" if self.sizes > 1 else choice

    def _choice(self, other: str) -> str:
        signs = ", ".join(f"{_words(one.size)}: {one.information:.3f}" for one in self.tried)
        return (
            f"images are shown at {_words(self.chosen)} pixels (their own: {_words(self.own)}), "
            f"chosen without a label by how sure and how varied predictions are on {self.images} "
            f"of them ({signs}; the highest is taken){self._gone()}; "
            f"{other} sets another"
        )

    def _gone(self) -> str:
        """Names what is hardly predicted any more; J is of all classes, a user may need one."""
        first = self.tried[0]
        chosen = next(one for one in self.tried if one.size == self.chosen)
        gone = [
            f"{name} ({100 * before:.2f} % of what is predicted, {100 * after:.2f} % at this size)"
            for name, before, after in zip(
                self.class_names, first.shares, chosen.shares, strict=False
            )
            if before >= LIMITS.present and after < LIMITS.vanished * before
        ]
        return f"; it has all but lost {', '.join(gone)}" if gone else ""


def choose_size(
    segmenter: Segmenter,
    images: Images,
    *,
    trained: Size | None = None,
    on_tried: Callable[[int], None] = lambda _: None,
) -> ShownSize | None:
    """The size at which a network sees images best, as far as that shows without a label.

    Args:
        segmenter: Is left as it is.
        images: At the size of their own.
        trained: (height, width) that the network was trained at, if that is known: it is the first
            size that is tried, and larger ones are not. Else the images' own size is the first.
        on_tried: Called after each size with how many there are.

    Returns:
        ``None`` where the images have several sizes.
    """
    chosen = spread_indices(len(images), MOST_IMAGES)
    pictures = [images.images([index])[0] for index in chosen]
    if len({picture.shape for picture in pictures}) > 1:
        return None
    own = (pictures[0].shape[0], pictures[0].shape[1])
    seen = [_seen(images, index) for index in chosen]
    tried = []
    sizes = _sizes(own, trained)
    for size in sizes:
        try:
            tried.append(_tried(segmenter, pictures, seen, size))
        except (RuntimeError, ValueError):
            # Memory, or a network that takes no other size; the first has to go.
            if not tried:
                raise
        on_tried(len(sizes))
    return ShownSize(
        own, best_size(tried), tuple(tried), len(chosen), class_names=tuple(segmenter.class_names)
    )


def _sizes(own: Size, trained: Size | None) -> list[Size]:
    """What is tried, the first being what would be shown without a choice."""
    most = min(1.0, math.sqrt(MOST_PIXELS / math.prod(own)))
    first = own if most == 1.0 else (int(most * own[0]), int(most * own[1]))
    others = [(round(factor * first[0]), round(factor * first[1])) for factor in FACTORS]
    least = min(LEAST_PIXELS, math.prod(first))
    others = [size for size in others if least <= math.prod(size) <= MOST_PIXELS]
    if trained is None:
        return [first, *others]
    fitting = [size for size in (first, *others) if size[0] <= trained[0] and size[1] <= trained[1]]
    return [trained, *(size for size in fitting if size != trained)]


def best_size(tried: Sequence[TriedSize]) -> Size:
    """The size of the highest J; the first of `tried` is what would be shown without a choice."""
    best = tried[0]
    for one in sorted(tried[1:], key=lambda each: math.prod(each.size)):
        if one.information > best.information + LEAST_GAIN:
            best = one
    return best.size


def _seen(images: Images, index: int) -> torch.Tensor | None:
    """(H, W) bool, true where a pixel shows the street; ``None``: everywhere."""
    ignored = images.ignored([index]) if isinstance(images, IgnoresPixels) else None
    return None if ignored is None or ignored.all() else torch.from_numpy(~ignored[0])


def _tried(
    segmenter: Segmenter,
    pictures: Sequence[npt.NDArray[np.uint8]],
    seen: Sequence[torch.Tensor | None],
    size: Size,
) -> TriedSize:
    device = segmenter.input_mean.device
    shown = (image_tensor(resized_image(picture, size)[None], device) for picture in pictures)
    found = sureness(segmenter, shown, [picture.shape[:2] for picture in pictures], seen)
    return TriedSize(size, found.entropy, found.diversity, found.shares)


def _words(size: Size) -> str:
    return f"{size[0]}×{size[1]}"


__all__ = ["ALGORITHM_VERSION", "ShownSize", "TriedSize", "best_size", "choose_size"]
