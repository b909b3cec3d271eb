"""Labelled images of the user's own, with a label map in the catalog."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from adapters.datasets.base import DatasetError
from adapters.datasets.files import FileDataset, only_images, paired, sample_id
from adapters.datasets.label_maps import ColourMap, LabelMap, train_id
from adapters.images import MAX_BYTES, decode_image

SPLITS: Final = ("train", "val", "test")
_PLACE: Final = "{split}"


class LabelledFolder(FileDataset):
    """Images and labels in two folders, matched by name.

    ``<images>/…/<name>.{png,jpg,jpeg,webp}`` with ``<labels>/…/<name><ending>``, folders below
    them included. Labels are 8-bit PNGs of values (grey or with a palette), or PNGs of colours.
    """

    name = "folder"

    def __init__(
        self,
        root: Path | str,
        *,
        label_map: Mapping[int | str, str],
        images: str = "images/{split}",
        labels: str = "labels/{split}",
        label_ending: str = ".png",
        max_bytes: int = MAX_BYTES,
    ) -> None:
        """Lists the files of every split.

        Args:
            root: The folder that the others are in.
            label_map: For every value (0 to 255) or every colour ("#rrggbb") that labels hold, a
                Cityscapes class name or "void". A value that is not here is an error.
            images: Folder of the images; `{split}` stands for train, val or test. Without it, all
                images are "train".
            labels: Folder of the labels, likewise.
            label_ending: What follows an image's name in its label's.
            max_bytes: Largest file that is read.

        Raises:
            DatasetError: The folders are not there or have no labels, or the map is wrong.
        """
        super().__init__(root, max_bytes=max_bytes)
        self._map = _label_map(label_map)
        divided = _PLACE in images
        if divided != (_PLACE in labels):
            raise DatasetError("images and labels must both have {split} in their folder, or none.")
        for folder in (images, labels):
            if Path(folder).is_absolute() or ".." in Path(folder).parts:
                raise DatasetError(f"The folder {folder!r} must lie below the set's root.")
        for split in SPLITS if divided else SPLITS[:1]:
            at = self._root / images.replace(_PLACE, split)
            labels_at = self._root / labels.replace(_PLACE, split)
            files = paired(
                _below(at, None),
                _below(labels_at, label_ending),
                f"{labels_at}/{{sample}}{label_ending}",
                f"{at}/{{sample}}",
            )
            if files:
                self._add(split, {f"{split}_{name}": found for name, found in files.items()})
        if not self._samples:
            raise DatasetError(f"{self._root} has no images in {images}.")
        self._require_labels(f"in {labels} that ends in {label_ending}")

    def _train_ids(self, data: bytes, path: Path) -> npt.NDArray[np.uint8]:
        if isinstance(self._map, ColourMap):
            return self._map.apply_colours(decode_image(data, str(path)), str(path))
        return self._map.apply(self._values(data, path), str(path))


def _below(folder: Path, ending: str | None) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path in only_images(folder.rglob("*")):
        relative = path.relative_to(folder).as_posix()
        if ending is None:
            stem = relative.removesuffix(path.suffix)
        elif relative.endswith(ending):
            stem = relative.removesuffix(ending)
        else:
            continue
        name = sample_id(stem)
        if name in found:
            raise DatasetError(f"{found[name]} and {path} have the same name to this program.")
        found[name] = path
    return found


def _label_map(given: Mapping[int | str, str]) -> LabelMap:
    colours = {key: name for key, name in given.items() if isinstance(key, str)}
    values = {key: name for key, name in given.items() if isinstance(key, int)}
    if bool(colours) == bool(values):
        raise DatasetError("A label map has either values (0 to 255) or colours ('#rrggbb').")
    if values:
        wrong = [value for value in values if not 0 <= value <= 255]
        if wrong:
            raise DatasetError(f"The label map has the value {wrong[0]}; values are 0 to 255.")
        what = "value of the catalog's label map"
        return LabelMap(what, {value: train_id(name) for value, name in values.items()})
    return ColourMap(
        "colour of the catalog's label map",
        {_colour(key): train_id(name) for key, name in colours.items()},
    )


def _colour(text: str) -> tuple[int, int, int]:
    if not re.fullmatch("#[0-9a-fA-F]{6}", text):
        raise DatasetError(f"The label map has the colour {text!r}; write '#rrggbb'.")
    value = int(text[1:], 16)
    return value >> 16, value >> 8 & 255, value & 255
