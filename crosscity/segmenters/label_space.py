"""Segmenters whose classes are not the 19 trainIds: other names, another order, fewer or more.

Labels are kept as trainIds everywhere. A segmenter is trained on them in the order of its own
classes, and scored in one space that knows all 19: a class that it does not know is then one that
it always misses, and not one that the truth lacks.
"""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from crosscity.labels import VOID
from crosscity.segmenters.base import ROAD_CLASS_NAMES, Segmenter

_NEVER = -1e4
"""Logit of a class that a segmenter lacks; finite, as it is interpolated, and within float16."""


def class_table(class_names: Sequence[str]) -> npt.NDArray[np.uint8]:
    """Indices of classes by trainId.

    Args:
        class_names: A segmenter's label space.

    Returns:
        (256,) uint8: at a trainId the index of its class in `class_names`, `VOID` where the
        segmenter does not know that class. Other values stay what they are, for those who check
        labels to report.
    """
    table = np.arange(256, dtype=np.uint8)
    places = {name: index for index, name in enumerate(class_names)}
    table[: len(ROAD_CLASS_NAMES)] = [places.get(name, VOID) for name in ROAD_CLASS_NAMES]
    return table


def train_id_names(class_names: Sequence[str]) -> tuple[str, ...]:
    """The 19 classes in the order of their trainIds, and behind them the others."""
    extra = [name for name in class_names if name not in ROAD_CLASS_NAMES]
    return (*ROAD_CLASS_NAMES, *extra)


def foreign_classes(class_names: Sequence[str]) -> dict[str, str | None]:
    """Classes that are none of the 19, each with the one that its name resembles, if any.

    Classes are known by their names alone, so "Traffic_Light" is a class that no label has.
    """
    near = {name: get_close_matches(_plain(name), ROAD_CLASS_NAMES, 1, 0.8) for name in class_names}
    return {
        name: next(iter(near[name]), None) for name in class_names if name not in ROAD_CLASS_NAMES
    }


def _plain(name: str) -> str:
    return name.replace("_", " ").replace("-", " ").strip().lower()


def in_train_ids(segmenter: Segmenter) -> Segmenter:
    """The same predictions as trainIds: the segmenter itself, if its classes are the 19.

    Returns:
        A segmenter of the 19 classes in the order of their trainIds, and behind them the classes
        that are none of these. It predicts; it is not made to be trained or saved.
    """
    names = train_id_names(segmenter.class_names)
    return segmenter if segmenter.class_names == names else _Renamed(segmenter, names)


class _Renamed(Segmenter):
    """A segmenter with its logits in another order, and some that are never the highest."""

    order: Tensor

    def __init__(self, segmenter: Segmenter, class_names: Sequence[str]) -> None:
        super().__init__(
            class_names=class_names,
            n_features=segmenter.n_features,
            stride=segmenter.stride,
            input_mean=segmenter.input_mean.flatten().tolist(),
            input_std=segmenter.input_std.flatten().tolist(),
        )
        self.architecture = segmenter.architecture
        self.segmenter = segmenter
        places = {name: index for index, name in enumerate(segmenter.class_names)}
        order = [places.get(name, segmenter.n_classes) for name in class_names]
        self.register_buffer("order", torch.tensor(order, device=segmenter.input_mean.device))
        self.to(segmenter.input_mean.device)
        self.trained_size = segmenter.trained_size
        known = [*segmenter.prediction_offsets.tolist(), 0.0]
        self.set_prediction_offsets([known[place] for place in order])

    def extract(self, normalised: Tensor) -> Tensor:
        return self.segmenter.extract(normalised)

    def classify(self, features: Tensor) -> Tensor:
        logits = self.segmenter.classify(features)
        never = torch.full_like(logits[:, :1], _NEVER)
        return torch.cat([logits, never], dim=1)[:, self.order]

    def upsample(self, logits: Tensor, size: tuple[int, int]) -> Tensor:
        return self.segmenter.upsample(logits, size)

    def options(self) -> dict[str, Any]:
        return self.segmenter.options()
