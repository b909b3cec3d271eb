"""The public cross-city data set: test labels, and the images that may be adapted to.

Chen, Chen, Chen, Tsai, Wang, Sun: *No More Discrimination: Cross City Adaptation of Road Scene
Segmenters*, ICCV 2017. Imagery © Google; for research only, under the terms on which the authors
hand it out.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final, Literal, get_args

import numpy as np
import numpy.typing as npt

from adapters.datasets.base import DatasetError
from adapters.datasets.files import FileDataset, Files, paired
from adapters.datasets.label_maps import LABEL_IDS
from adapters.images import MAX_BYTES
from adapters.street_view.cross_city_layout import (
    city_folder,
    listed,
    parse_image_name,
)

TargetSplit = Literal["clean", "transductive"]
"""Which images are adapted to. The public lists have 17 to 89 of a city's 100 test images among
its training images as well:

- `clean`: the images of `Images/Train` without any of a place that is tested on.
- `transductive`: all of `Images/Train`, and the test images (never their labels).
"""
_LABEL_ENDING: Final = "_eval.png"


class CrossCityDataset(FileDataset):
    """One city: the labelled split "test", and its images to adapt to (`TargetSplit`).

    ``<City>/Images/{Train,Test}/<id>.{jpg,png}`` with ``<City>/Labels/Test/<id>_eval.png``, whose
    pixels are Cityscapes labelIds. An id is listed if either file is there, and reading it says
    which is missing: a lost label is never a silently smaller test set.
    """

    name = "cross_city"
    reads_label_ids = True

    def __init__(self, root: Path | str, city: str, *, max_bytes: int = MAX_BYTES) -> None:
        """Lists the city's files.

        Args:
            root: The folder that holds the cities.
            city: Name of the city; case, accents and known spellings (Roma) do not matter.
            max_bytes: Largest file that is read.

        Raises:
            DatasetError: The folder, the city or its labels are not there.
        """
        super().__init__(city_folder(Path(root), city, DatasetError), max_bytes=max_bytes)
        images, self._place = _images(self._root / "Images" / "Test")
        labels = {}
        for name, path in listed(self._root / "Labels" / "Test").items():
            known = parse_image_name(name.removesuffix(_LABEL_ENDING) + ".png")
            if known is not None and name.endswith(_LABEL_ENDING):
                labels[known.image_id] = path
                self._place[known.image_id] = known.place_id
        if not labels:
            raise DatasetError(
                f"{self._root / 'Labels' / 'Test'} has no label named "
                "pano_<place>_<time>_<heading>_eval.png."
            )
        label_of = f"Labels/Test/{{sample}}{_LABEL_ENDING}"
        self._add_split("test", paired(images, labels, label_of, "Images/Test/{sample}.jpg"))
        self._training, self._training_place = _images(self._root / "Images" / "Train")

    def unlabelled(self, split: str) -> Sequence[str]:
        """Ids of the images of "clean" or "transductive", or of "test" itself; sorted.

        Raises:
            DatasetError: There is no such split.
        """
        if split == "transductive":
            tested = [name for name, files in self._files.items() if files.image is not None]
            return tuple(sorted({*self._training, *tested}))
        if split == "clean":
            tested_places = set(self._place.values())
            kept = (n for n in self._training if self._training_place[n] not in tested_places)
            return tuple(sorted(kept))
        if split != "test":
            known = ", ".join(("test", *get_args(TargetSplit)))
            raise DatasetError(f"The cross-city set has no split {split!r}; splits: {known}.")
        return super().unlabelled(split)

    def _files_of(self, sample: str) -> Files:
        if sample not in self._files and sample in self._training:
            return Files(self._training[sample], None, f"Labels/Test/{sample}{_LABEL_ENDING}")
        return super()._files_of(sample)

    def _train_ids(self, data: bytes, path: Path) -> npt.NDArray[np.uint8]:
        return LABEL_IDS.apply(self._values(data, path), str(path))


def _images(folder: Path) -> tuple[dict[str, Path], dict[str, str]]:
    """Path and place of each image of the layout, by its id."""
    paths: dict[str, Path] = {}
    places: dict[str, str] = {}
    for name, path in listed(folder).items():
        known = parse_image_name(name)
        if known is not None:
            paths.setdefault(known.image_id, path)
            places[known.image_id] = known.place_id
    return paths, places
