"""Features of single cells, for looking at how far two domains lie apart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch

from crosscity.resizing import resized_image
from crosscity.segmenters import Segmenter, evaluating, image_tensor


class Pictures(Protocol):
    """Images that can be read one by one."""

    def __len__(self) -> int:
        """Number of images."""
        ...

    def images(self, indices: Sequence[int]) -> npt.NDArray[np.uint8]:
        """(N, H, W, 3) uint8 RGB."""
        ...


def sampled_features(
    segmenter: Segmenter,
    images: Pictures,
    count: int,
    *,
    seed: int,
    image_size: tuple[int, int] | None = None,
) -> npt.NDArray[np.float32]:
    """Features of random cells of images that are spread evenly over a set.

    The same images and (for networks of one stride) the same cells are taken for a seed, so that
    two segmenters are compared on the same places.

    Args:
        segmenter: Left in the mode that it was in.
        images: The set.
        count: How many cells; at most eight of an image.
        seed: Fixes the cells.
        image_size: (height, width) at which images go through the network; default: their own.

    Returns:
        (count, D) float32.

    Raises:
        ValueError: The set is empty.
    """
    if not len(images):
        raise ValueError("there is no image to take features of")
    of_an_image = min(8, count)
    chosen = np.linspace(0, len(images) - 1, -(-count // of_an_image)).round().astype(int)
    random = np.random.default_rng([seed, len(images)])
    found = []
    with evaluating(segmenter), torch.inference_mode():
        for index in chosen.tolist():
            picture = resized_image(images.images([index])[0], image_size)
            features = segmenter.features(image_tensor(picture[None], segmenter.input_mean.device))
            cells = features[0].flatten(1).T.float().cpu().numpy()
            found.append(cells[random.integers(0, len(cells), of_an_image)])
    sampled: npt.NDArray[np.float32] = np.concatenate(found)[:count]
    return sampled
