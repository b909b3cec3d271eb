"""From the label values of a source to trainIds; a value nobody declared is an error."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
import numpy.typing as npt

from adapters.datasets.base import DatasetError
from crosscity.labels import CLASSES, TRAIN_ID, VOID

Labels = npt.NDArray[np.uint8] | npt.NDArray[np.uint16] | npt.NDArray[np.uint32]


class LabelMap:
    """A table from every value that a label file may hold to a trainId.

    Args:
        what: What the values are called in an error ("Cityscapes labelId").
        train_ids: The trainId of each value, 255 for void. Values that are not here are errors.
    """

    def __init__(self, what: str, train_ids: Mapping[int, int]) -> None:
        self._what = what
        self._values = np.array(sorted(train_ids), dtype=np.int64)
        self._train_ids = np.array([train_ids[v] for v in sorted(train_ids)], dtype=np.uint8)

    def apply(self, labels: Labels, file: str) -> npt.NDArray[np.uint8]:
        """The trainIds of a (H, W) map of label values.

        Args:
            labels: Values as the file holds them.
            file: What an error calls the file.

        Raises:
            DatasetError: The map holds a value that is not declared; file and value are named.
        """
        found, places = np.unique(labels, return_inverse=True)
        positions = np.searchsorted(self._values, found).clip(max=len(self._values) - 1)
        unknown = found[self._values[positions] != found]
        if unknown.size:
            value = self.written(int(unknown[0]))
            raise DatasetError(f"{file} holds the value {value}, which is not a {self._what}.")
        mapped: npt.NDArray[np.uint8] = self._train_ids[positions][places].reshape(labels.shape)
        return mapped

    def written(self, value: int) -> str:
        """A value as the source writes it."""
        return str(value)


class ColourMap(LabelMap):
    """A label map whose values are RGB colours.

    Args:
        what: What the colours are called in an error.
        train_ids: The trainId of each (red, green, blue).
    """

    def __init__(self, what: str, train_ids: Mapping[tuple[int, int, int], int]) -> None:
        super().__init__(what, {_packed(colour): value for colour, value in train_ids.items()})

    def apply_colours(self, colours: npt.NDArray[np.uint8], file: str) -> npt.NDArray[np.uint8]:
        """The trainIds of a (H, W, 3) uint8 RGB picture of labels; errors as in `apply`."""
        red, green, blue = np.moveaxis(colours.astype(np.uint32), -1, 0)
        return self.apply(red << 16 | green << 8 | blue, file)

    def written(self, value: int) -> str:
        """As red-green-blue in hexadecimal."""
        return f"#{value:06x}"


def train_id(name: str) -> int:
    """The trainId of a class name, 255 for "void".

    Raises:
        DatasetError: There is no such class.
    """
    if name == VOID_NAME:
        return VOID
    if name not in TRAIN_ID:
        known = ", ".join(road_class.name for road_class in CLASSES)
        raise DatasetError(f"There is no class {name!r}; classes are {known} and {VOID_NAME}.")
    return TRAIN_ID[name]


VOID_NAME: Final = "void"
_LAST_LABEL_ID: Final = 33
_NO_LABEL: Final = 255
"""Cityscapes labelId -1 (a licence plate), as 8-bit files store it."""

_LABEL_IDS: Final = {
    **dict.fromkeys([*range(_LAST_LABEL_ID + 1), _NO_LABEL], VOID),
    **{road_class.label_id: road_class.train_id for road_class in CLASSES},
}
LABEL_IDS: Final = LabelMap(
    f"Cityscapes labelId (0 to {_LAST_LABEL_ID}, or {_NO_LABEL})", _LABEL_IDS
)
"""Cityscapes labelIds; those that are not evaluated are void."""

_PLATE: Final = _LAST_LABEL_ID + 1
LABEL_IDS_AND_PLATES: Final = LabelMap(
    f"Cityscapes labelId (0 to {_LAST_LABEL_ID}, or {_NO_LABEL}) nor GTA5's {_PLATE}",
    {**_LABEL_IDS, _PLATE: VOID},
)
"""The same of sets that number the licence plate, which is -1 in Cityscapes."""

TRAIN_IDS: Final = LabelMap(
    f"Cityscapes trainId (0 to {len(CLASSES) - 1}, or {VOID})",
    {**{road_class.train_id: road_class.train_id for road_class in CLASSES}, VOID: VOID},
)
"""Cityscapes trainIds, as they are."""


def _packed(colour: tuple[int, int, int]) -> int:
    red, green, blue = colour
    return red << 16 | green << 8 | blue
