"""The test labels of the public cross-city data set.

Chen, Chen, Chen, Tsai, Wang, Sun: *No More Discrimination: Cross City Adaptation of Road Scene
Segmenters*, ICCV 2017. Imagery © Google; for research only, under the terms on which the authors
hand it out.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from adapters.datasets.base import DatasetError, LabelledSample
from adapters.images import MAX_BYTES, decode_image, decode_label_png
from adapters.street_view.cross_city_layout import (
    city_names,
    files_digest,
    find_city,
    listed,
    parse_image_name,
)
from crosscity.labels import LABEL_ID_TO_TRAIN_ID

_LABEL_ENDING: Final = "_eval.png"
_LAST_LABEL_ID: Final = 33
_LICENCE_PLATE: Final = 255
"""Cityscapes labelId -1, as 8-bit files store it."""


class CrossCityDataset:
    """The labelled test images of one city: one split, "test".

    ``<City>/Images/Test/<id>.{jpg,png}`` with ``<City>/Labels/Test/<id>_eval.png``, whose pixels
    are Cityscapes labelIds. An id is listed if either file is there, and reading it says which is
    missing: a lost label is never a silently smaller test set.
    """

    name = "cross_city"

    def __init__(self, root: Path | str, city: str, *, max_bytes: int = MAX_BYTES) -> None:
        """Lists the city's test files.

        Args:
            root: The folder that holds the cities.
            city: Name of the city; case, accents and known spellings (Roma) do not matter.
            max_bytes: Largest file that is read.

        Raises:
            DatasetError: The folder, the city or its labels are not there.
        """
        folder = _city_folder(Path(root), city)
        self._max_bytes = max_bytes
        self._images: dict[str, Path] = {}
        for name, path in listed(folder / "Images" / "Test").items():
            known = parse_image_name(name)
            if known is not None:
                self._images.setdefault(known.image_id, path)
        self._labels: dict[str, Path] = {}
        for name, path in listed(folder / "Labels" / "Test").items():
            known = parse_image_name(name.removesuffix(_LABEL_ENDING) + ".png")
            if known is not None and name.endswith(_LABEL_ENDING):
                self._labels[known.image_id] = path
        if not self._labels:
            raise DatasetError(
                f"{folder / 'Labels' / 'Test'} has no label named "
                "pano_<place>_<time>_<heading>_eval.png."
            )

    def samples(self, split: str) -> Sequence[str]:
        """Ids of the test images, sorted.

        Raises:
            DatasetError: The split is not "test".
        """
        if split != "test":
            raise DatasetError(f"The cross-city set has no split {split!r}; splits: test.")
        return tuple(sorted(self._images.keys() | self._labels.keys()))

    def read(self, sample: str) -> LabelledSample:
        """Reads an image and its label at their own size.

        Raises:
            DatasetError: There is no such sample, one of its files is missing or unreadable, or
                the label holds a value that is no labelId.
            ImageError: A file cannot be decoded, or the label has another size than the image.
        """
        image_path, label_path = self._images.get(sample), self._labels.get(sample)
        if image_path is None and label_path is None:
            raise DatasetError(f"The cross-city set has no sample {sample!r}.")
        if label_path is None:
            raise DatasetError(
                f"The image {image_path} has no label Labels/Test/{sample}{_LABEL_ENDING}."
            )
        if image_path is None:
            raise DatasetError(f"The label {label_path} has no image Images/Test/{sample}.jpg.")
        image = decode_image(self._bytes(image_path), str(image_path))
        label_ids = decode_label_png(
            self._bytes(label_path), str(label_path), size=(image.shape[0], image.shape[1])
        )
        return LabelledSample(image=image, train_ids=_train_ids(label_ids, label_path))

    def revision(self) -> str:
        """A digest of all the files; every file is read once."""
        return files_digest(self._images) + files_digest(self._labels)

    def _bytes(self, path: Path) -> bytes:
        try:
            with path.open("rb") as file:
                data = file.read(self._max_bytes + 1)
        except OSError as error:
            raise DatasetError(f"{path} cannot be read: {error.strerror}.") from error
        if len(data) > self._max_bytes:
            raise DatasetError(f"{path} has more than the {self._max_bytes} bytes allowed.")
        return data


def _train_ids(label_ids: npt.NDArray[np.uint8], path: Path) -> npt.NDArray[np.uint8]:
    values = np.unique(label_ids)
    unknown = values[(values > _LAST_LABEL_ID) & (values != _LICENCE_PLATE)]
    if unknown.size:
        raise DatasetError(
            f"{path} holds the value {unknown[0]}, which is no Cityscapes labelId "
            f"(0 to {_LAST_LABEL_ID}, or {_LICENCE_PLATE})."
        )
    train_ids: npt.NDArray[np.uint8] = LABEL_ID_TO_TRAIN_ID[label_ids]
    return train_ids


def _city_folder(root: Path, city: str) -> Path:
    if not root.is_dir():
        raise DatasetError(f"There is no folder {root}: give the one that holds the cities.")
    folder = find_city(root, city)
    if folder is None:
        known = ", ".join(city_names(root)) or "none"
        raise DatasetError(f"{root} has no folder for the city {city!r}; cities there: {known}.")
    return folder
