"""What is said of images that go through a network at other proportions than theirs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Final, Protocol

from crosscity.adaptation.spread import spread_indices
from crosscity.proportions import distorted_remark

Size = tuple[int, int]
SIZED_IMAGES: Final = 256
"""Images whose proportions are looked at."""
_FITTING: Final = (
    "image_size: [{height}, {width}] in `trainings` fits those of {size}; keep pictures of several "
    "proportions in sets of their own"
)


class SizedImages(Protocol):
    """Images that know their sizes without being decoded."""

    def __len__(self) -> int:
        """How many."""
        ...

    def sizes(self, indices: Iterable[int] | None = None) -> list[Size]:
        """(height, width) of these images, or of all, as they are stored."""
        ...


def distorted_images(images: SizedImages, shown: Size | None) -> list[str]:
    """A remark, where some of the images are seen distorted; it says the size that fits these.

    Args:
        images: At most `SIZED_IMAGES` of them are looked at, evenly spread.
        shown: (height, width) at which all go through the network; ``None``: each at its own.
    """
    if shown is None:
        return []
    some = spread_indices(len(images), SIZED_IMAGES)
    remarks = distorted_sizes(Counter(images.sizes(some)), shown)
    if len(some) == len(images):
        return remarks
    return [f"of {len(images)} images {len(some)} were looked at: {remark}" for remark in remarks]


def distorted_sizes(sizes: Mapping[Size, int], shown: Size | None) -> list[str]:
    """`distorted_images` of images of which only the sizes are known, and how many have each."""
    remark = distorted_remark(sizes, shown, _FITTING)
    return [remark] if remark else []
