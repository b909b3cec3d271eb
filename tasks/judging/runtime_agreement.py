"""Whether another runtime predicts what a segmenter predicts here, on real images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import torch

from crosscity.segmenters import Segmenter, evaluating, image_tensor
from tasks.steps.errors import InputError

LEAST_SAME: Final = 0.999
"""Share of pixels that must have the same class: two classes may be equal but for rounding."""
MOST_APART: Final = 0.01
"""By which the probability of a class may differ in a pixel."""
MOST_DIFFERING: Final = 0.001
"""Share of pixels that may differ by more: where a network asks which of two equal values is the
larger (pooling that is undone), rounding decides what a few pixels around them become."""

Logits = npt.NDArray[np.float32]
Image = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Agreement:
    """How well two runtimes agree.

    Attributes:
        images: Images that were compared.
        sizes: Their sizes, as "height×width".
        same_class: Share of the pixels with the same likeliest class, in [0, 1].
        largest_difference: Of any class's probability in any pixel.
        differing: Share of the pixels in which a probability differs by more than `MOST_APART`.
    """

    images: int
    sizes: tuple[str, ...]
    same_class: float
    largest_difference: float
    differing: float = 0.0

    def sentence(self) -> str:
        """The agreement in words."""
        few = f" (in {100 * self.differing:.2g} % of them by more than {MOST_APART})"
        return (
            f"on {self.images} images ({', '.join(self.sizes)}) {100 * self.same_class:.3f} % of "
            "the pixels have the same class, and no probability differs by more than "
            f"{self.largest_difference:.1e}{few if self.differing else ''}"
        )


def agreement(
    segmenter: Segmenter,
    other: Callable[[Image], Logits],
    images: Sequence[Image],
    what: str,
    *,
    by_rule: bool = False,
) -> Agreement:
    """Compares a segmenter with another runtime's logits, image by image.

    Args:
        segmenter: On its device; left as it was.
        other: From an (H, W, 3) uint8 image to C×H×W logits.
        images: What they are compared on.
        what: What messages call the other runtime.
        by_rule: Whether the other runtime's logits hold the segmenter's rule of prediction too.

    Raises:
        InputError: They disagree, or the other one fails.
    """
    same, pixels, differing, apart = 0, 0, 0, 0.0
    for image in images:
        with evaluating(segmenter), torch.no_grad():
            pictures = image_tensor(image[None], segmenter.input_mean.device)
            height, width = image.shape[:2]
            shown = segmenter.predicted_logits(pictures, (height, width)) if by_rule else None
            ours = (segmenter(pictures) if shown is None else shown)[0].cpu()
        try:
            theirs = torch.from_numpy(np.array(other(image), dtype=np.float32))
        except Exception as error:
            reason = (str(error).strip() or type(error).__name__).splitlines()[0][:160]
            raise InputError(
                f"{what} does not take an image of {_size(image)}: {reason}"
            ) from error
        if theirs.shape != ours.shape:
            raise InputError(
                f"{what} gives {tuple(theirs.shape)} for an image of {_size(image)}, where "
                f"{tuple(ours.shape)} are expected"
            )
        same += int((ours.argmax(0) == theirs.argmax(0)).sum())
        pixels += ours[0].numel()
        difference = (ours.softmax(0) - theirs.softmax(0)).abs().amax(0)
        differing += int((~(difference <= MOST_APART)).sum())  # NaN differs
        apart = max(apart, float(difference.max()))
    sizes = tuple(dict.fromkeys(_size(image) for image in images))
    found = Agreement(len(images), sizes, same / pixels, apart, differing / pixels)
    if found.same_class < LEAST_SAME or found.differing > MOST_DIFFERING:
        raise InputError(
            f"{what} disagrees with the segmenter, so nothing is written: {found.sentence()}"
        )
    return found


def _size(image: Image) -> str:
    return f"{image.shape[0]}×{image.shape[1]}"
