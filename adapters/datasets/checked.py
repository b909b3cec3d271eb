"""A data set of the user's own package, whose answers are checked before they are used."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from adapters.datasets.base import DatasetError, LabelledDataset, LabelledSample
from adapters.images import ImageError
from crosscity.labels import CLASSES, VOID
from crosscity.named_function import somebody_elses

_LONGEST_ID: Final = 500
_SPLITS: Final = ("train", "val", "test")


class CheckedDataset:
    """Passes on what a data set answers, or ends with one sentence that names the data set.

    Args:
        dataset: The user's data set.
        python: The function that built it, for errors.
    """

    def __init__(self, dataset: LabelledDataset, python: str) -> None:
        self._dataset = dataset
        self._python = python

    @property
    def name(self) -> str:
        """The data set's own name."""
        return self._dataset.name

    def samples(self, split: str) -> Sequence[str]:
        """The ids of a split.

        Raises:
            DatasetError: Another of the usual splits has one of them: a score would be of what was
                learned, or, where the ids are of other images, of the wrong ones.
        """
        found = self._ids("samples", split, self._asked("samples", split))
        known = set(found)
        for other in _SPLITS:
            if other == split:
                continue
            try:
                theirs = self._ids("samples", other, self._asked("samples", other))
            except DatasetError:
                continue  # there is none, or it is told where it is asked for
            twice = next((sample for sample in theirs if sample in known), None)
            if twice is not None:
                raise self._error(
                    f"samples lists {twice!r} in {split!r} and in {other!r}, so what is learned "
                    "from would be scored on: each image is of one split, and ids tell all apart"
                )
        return found

    def unlabelled(self, split: str) -> Sequence[str]:
        """The ids of a split's images that may be adapted to."""
        return self._ids("unlabelled", split, self._asked("unlabelled", split))

    def read(self, sample: str) -> LabelledSample:
        """An image and its label.

        Raises:
            DatasetError: They are of another shape or type than they must be, or hold a value that
                is not a class.
        """
        found = self._asked("read", sample)
        if not isinstance(found, LabelledSample):
            raise self._error(
                f"read({sample!r}) returned {type(found).__name__}: it must return an "
                "adapters.datasets.base.LabelledSample"
            )
        image = self._image("read", sample, found.image)
        labels = found.train_ids
        described = _shape_and_type(labels)
        if not isinstance(labels, np.ndarray) or labels.dtype != np.uint8:
            raise self._error(f"the labels of {sample!r} are {described} and not uint8")
        if labels.shape != image.shape[:2]:
            raise self._error(
                f"the labels of {sample!r} are {described}, its image is {_shape_and_type(image)}"
            )
        unknown = np.setdiff1d(labels, [*range(len(CLASSES)), VOID])
        if unknown.size:
            raise self._error(
                f"the labels of {sample!r} hold the value {unknown[0]}: they must be Cityscapes "
                f"trainIds (0 to {len(CLASSES) - 1}), or {VOID} where a pixel has no class"
            )
        return found

    def read_image(self, sample: str) -> npt.NDArray[np.uint8]:
        """An image."""
        return self._image("read_image", sample, self._asked("read_image", sample))

    def revision(self, samples: Sequence[str] | None = None) -> str:
        """The data set's revision."""
        revision = self._asked("revision", samples)
        if not isinstance(revision, str):
            raise self._error(f"revision returned {type(revision).__name__}: it must be a string")
        return revision

    def _asked(self, method: str, *arguments: object) -> object:
        """What a method of the data set gives; its failures as one sentence, of whatever type."""
        with somebody_elses(method, self._error, own=(DatasetError, ImageError)):
            found: object = getattr(self._dataset, method)(*arguments)
            return found

    def _ids(self, method: str, split: str, ids: object) -> Sequence[str]:
        if not isinstance(ids, Sequence) or isinstance(ids, str):
            raise self._error(f"{method}({split!r}) returned {type(ids).__name__} and not a list")
        for sample in ids:
            if not isinstance(sample, str) or not 0 < len(sample) <= _LONGEST_ID:
                raise self._error(
                    f"{method}({split!r}) lists {sample!r}, which is not a string of 1 to "
                    f"{_LONGEST_ID} characters"
                )
        if len(set(ids)) < len(ids):
            raise self._error(f"{method}({split!r}) lists a sample twice")
        return ids

    def _image(self, method: str, sample: str, image: object) -> npt.NDArray[np.uint8]:
        right = isinstance(image, np.ndarray) and image.dtype == np.uint8
        if not right or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:  # type: ignore[attr-defined]
            raise self._error(
                f"the image that {method}({sample!r}) gives is {_shape_and_type(image)} and not "
                "height × width × 3 of uint8"
            )
        checked: npt.NDArray[np.uint8] = image  # type: ignore[assignment]
        return checked

    def _error(self, fault: str) -> DatasetError:
        return DatasetError(f"The data set of {self._python} is wrong: {fault}.")


def _shape_and_type(value: object) -> str:
    if not isinstance(value, np.ndarray):
        return type(value).__name__
    return f"{' × '.join(map(str, value.shape))} of {value.dtype}"
