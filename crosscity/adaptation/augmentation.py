"""Seeded flips and crops of image batches."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional


class Augmentation:
    """Mirrors left and right, and cuts a random window that is scaled to one size.

    What happens to a batch depends on the generator only. Images and maps get the same treatment;
    maps (labels, priors) take the nearest pixel, so no new value appears.

    Args:
        flip: Mirror every other image on average.
        smallest_crop: Side of the smallest window, as a fraction of the image's side; 1 cuts
            nothing.
        window: What comes out has sides of this fraction of the image's, and so have the windows
            that are cut: their sides lie between `smallest_crop` · `window` and `window`.
    """

    def __init__(self, *, flip: bool, smallest_crop: float, window: float = 1.0) -> None:
        self._flip = flip
        self._smallest_crop = smallest_crop
        self._window = window

    def __call__(
        self, images: Tensor, maps: Tensor, random: np.random.Generator
    ) -> tuple[Tensor, Tensor]:
        """Augments images (N×3×H×W floats) and maps (N×H×W, any type)."""
        mirrored = random.random(len(images)) < 0.5
        windows = random.random((len(images), 3))
        if self._flip:
            chosen = torch.from_numpy(mirrored).to(images.device)
            images, maps = mirrored_where(images, chosen), mirrored_where(maps, chosen)
        if self._smallest_crop < 1 or self._window < 1:
            pairs = [
                self._crop(image, map_, window)
                for image, map_, window in zip(images, maps, windows, strict=True)
            ]
            images = torch.stack([image for image, _ in pairs])
            maps = torch.stack([map_ for _, map_ in pairs])
        return images, maps

    def mirrored(self, count: int, random: np.random.Generator) -> Tensor:
        """Which of so many images a call with this generator mirrors: (N,) bool."""
        chosen = torch.from_numpy(random.random(count) < 0.5)
        return chosen if self._flip else torch.zeros_like(chosen)

    def _crop(
        self, image: Tensor, map_: Tensor, window: npt.NDArray[np.float64]
    ) -> tuple[Tensor, Tensor]:
        height, width = map_.shape
        side = self._window * (self._smallest_crop + (1 - self._smallest_crop) * window[0])
        rows, columns = max(1, round(side * height)), max(1, round(side * width))
        top = int(window[1] * (height - rows + 1))
        left = int(window[2] * (width - columns + 1))
        cut = image[:, top : top + rows, left : left + columns]
        cut_map = map_[top : top + rows, left : left + columns]
        size = (max(1, round(self._window * height)), max(1, round(self._window * width)))
        scaled = functional.interpolate(cut[None], size=size, mode="bilinear", align_corners=False)[
            0
        ]
        scaled_map = functional.interpolate(
            cut_map[None, None].float(), size=size, mode="nearest-exact"
        )[0, 0]
        return scaled, scaled_map.to(map_.dtype)


def mirrored_where(pictures: Tensor, chosen: Tensor) -> Tensor:
    """N images or maps (N×…×W), those left to right of which (N,) `chosen` is true."""
    each = chosen.reshape(-1, *[1] * (pictures.ndim - 1))
    return torch.where(each, pictures.flip(-1), pictures)
