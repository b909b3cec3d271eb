"""Cityscapes.

Cordts et al.: *The Cityscapes Dataset for Semantic Urban Scene Understanding*, CVPR 2016. For
non-commercial use, under the terms on which its makers hand it out after registration.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

from adapters.datasets.base import DatasetError
from adapters.datasets.files import FileDataset, by_name, paired
from adapters.datasets.label_maps import LABEL_IDS, TRAIN_IDS
from adapters.images import MAX_BYTES

LabelFiles = Literal["labelIds", "labelTrainIds"]

_SPLITS: Final = ("train", "val", "test")
_IMAGE_ENDING: Final = "_leftImg8bit"


class CityscapesDataset(FileDataset):
    """The finely labelled images, at their own 1024×2048 pixels.

    ``leftImg8bit/<split>/<city>/<city>_<sequence>_<frame>_leftImg8bit.png`` with
    ``gtFine/<split>/<city>/…_gtFine_labelIds.png`` or ``…_gtFine_labelTrainIds.png``. The labels of
    "test" that are handed out are empty; "val" is what is evaluated on. Images may be JPEG.
    """

    name = "cityscapes"

    def __init__(
        self,
        root: Path | str,
        *,
        labels: LabelFiles = "labelIds",
        max_bytes: int = MAX_BYTES,
    ) -> None:
        """Lists the files of every split that is there.

        Args:
            root: The folder that holds ``leftImg8bit`` and ``gtFine``.
            labels: Which label files are read.
            max_bytes: Largest file that is read.

        Raises:
            DatasetError: The folder, its images or its labels are not there.
        """
        super().__init__(root, max_bytes=max_bytes)
        self._map = LABEL_IDS if labels == "labelIds" else TRAIN_IDS
        self.reads_label_ids = labels == "labelIds"
        ending = f"_gtFine_{labels}.png"
        for split in _SPLITS:
            images = _listed(self._root / "leftImg8bit" / split, _IMAGE_ENDING)
            found = _listed(self._root / "gtFine" / split, ending)
            if images or found:
                label_of = f"{{sample}}{ending} below {self._root / 'gtFine' / split}"
                image_of = f"{{sample}}{_IMAGE_ENDING} below {self._root / 'leftImg8bit' / split}"
                self._add_split(split, paired(images, found, label_of, image_of))
        if not self._samples:
            raise DatasetError(
                f"{self._root} has no images in leftImg8bit/<split>/<city>: give the folder that "
                "holds leftImg8bit and gtFine."
            )
        self._require_labels(f"gtFine/<split>/<city>/*{ending}")

    def _train_ids(self, data: bytes, path: Path) -> npt.NDArray[np.uint8]:
        return self._map.apply(self._values(data, path), str(path))


def _listed(folder: Path, ending: str) -> dict[str, Path]:
    """Files of the cities by name; images may be PNG or JPEG, in letters of any case."""
    cities = sorted(city for city in folder.glob("*") if city.is_dir())
    found: dict[str, Path] = {}
    for city in cities:
        found |= by_name(city.iterdir(), city, ending)
    return found
