"""A small network with batch norm that has learned colours, in some form of pixels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

COLOURS = ((130, 105, 85), (165, 85, 60), (70, 130, 60), (80, 130, 220))
"""Red, green and blue of road, building, vegetation and sky."""
NAMES = ("road", "building", "vegetation", "sky")
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def network() -> nn.Sequential:
    """Images N×3×H×W, as its program normalises them, to logits of `NAMES`."""
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3, padding=1, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, len(NAMES), 1),
    )


def views(count: int, seed: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """Streets of flat colours in another light each, with noise; and their classes."""
    rng = np.random.default_rng(seed)
    labels = np.empty((count, 32, 48), np.int64)
    for one in labels:
        one[:] = 3
        one[rng.integers(16, 24) :] = 0
        for kind in (1, 2):
            left, top = rng.integers(0, 30), rng.integers(4, 14)
            one[top:24, left : left + rng.integers(8, 18)] = kind
    light = rng.uniform(0.75, 1.2, (count, 1, 1, 1))
    grey = np.asarray(COLOURS)[labels] * light + rng.normal(0, 18, (*labels.shape, 3))
    return np.clip(grey, 0, 255).astype(np.uint8), labels


def learned(mean: Sequence[float], std: Sequence[float], *, bgr: bool = False) -> nn.Sequential:
    """The network after some steps on pixels of 0 to 1, less a mean, by a deviation."""
    torch.manual_seed(0)
    made, (pictures, labels) = network(), views(24, seed=1)
    shown = torch.from_numpy(pictures).permute(0, 3, 1, 2) / 255
    shown = (shown - _channels(mean)) / _channels(std)
    shown = shown.flip(1) if bgr else shown
    optimiser = torch.optim.Adam(made.parameters(), 0.02)
    for step in range(40):
        chosen = torch.arange(4) + 4 * (step % 6)
        loss: Any = functional.cross_entropy(made(shown[chosen]), torch.from_numpy(labels)[chosen])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return made.eval()


def _channels(values: Sequence[float]) -> Tensor:
    return torch.tensor(values).reshape(1, 3, 1, 1)
