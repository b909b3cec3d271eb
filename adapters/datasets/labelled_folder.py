"""Labelled images of the user's own, with a label map in the catalog."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from adapters.datasets.base import DatasetError, UnreadableSampleError
from adapters.datasets.files import IMAGE_ENDINGS, FileDataset, Files, by_name, paired
from adapters.datasets.label_maps import (
    LABEL_IDS_AND_PLATES,
    TRAIN_IDS,
    ColourMap,
    LabelMap,
    train_id,
)
from adapters.images import MAX_BYTES
from adapters.prediction_folders import visible

SPLITS: Final = ("train", "val", "test")
NAMED_MAPS: Final = {"labelIds": LABEL_IDS_AND_PLATES, "labelTrainIds": TRAIN_IDS}
"""Label maps of Cityscapes, which many sets keep to."""
_PLACE: Final = "{split}"
_ANY: Final = "*"


class LabelledFolder(FileDataset):
    """Images and labels in folders of any names, matched by what stands before their endings.

    ``<images>/…/<name><ending>`` with ``<labels>/…/<name><ending>``, folders below them included;
    both may be the same folder. Labels are PNGs of values or of colours.
    """

    name = "folder"

    def __init__(
        self,
        root: Path | str,
        *,
        label_map: Mapping[int | str, str] | str,
        images: str = "images/{split}",
        labels: str = "labels/{split}",
        image_ending: str | None = None,
        label_ending: str = ".png",
        splits: Mapping[str, str] | None = None,
        undivided: str = "train",
        max_bytes: int = MAX_BYTES,
    ) -> None:
        """Lists the files of every split.

        Args:
            root: The folder that the others are in.
            label_map: For every value (0 to 255) or every colour ("#rrggbb") that labels hold, a
                Cityscapes class name or "void"; a value that is not here is an error. Or a name in
                `NAMED_MAPS`.
            images: Folder of the images; `{split}` stands for the name of a split, `*` for any
                folder. Without `{split}`, all images are of one split.
            labels: Folder of the labels, with the same `{split}` and `*`.
            image_ending: What follows a name in its image's, in any case; ``None``: the type of
                file alone.
            label_ending: What follows a name in its label's, in any case.
            splits: The name that `{split}` stands for in each of train, val and test; default:
                these names. Splits that are not here are not looked for.
            undivided: The split that all images are of, without `{split}`.
            max_bytes: Largest file that is read.

        Raises:
            DatasetError: The folders are not there or have no labels, no image has a label, or the
                map is wrong.
        """
        super().__init__(root, max_bytes=max_bytes)
        self._map = _label_map(label_map)
        self.reads_label_ids = self._map is LABEL_IDS_AND_PLATES
        for folder in (images, labels, *(splits or {}).values()):
            if Path(folder).is_absolute() or ".." in Path(folder).parts:
                raise DatasetError(f"The folder {folder!r} must lie below the set's root.")
        divided = _PLACE in images
        if divided != (_PLACE in labels):
            raise DatasetError("images and labels must both have {split} in their folder, or none.")
        if images.count(_ANY) != labels.count(_ANY):
            raise DatasetError("images and labels must have as many * in their folders.")
        named = dict(splits) if splits else {split: split for split in SPLITS}
        for split in named if divided else (undivided,):
            theirs = named.get(split, split)
            files = self._listed(
                images.replace(_PLACE, theirs),
                labels.replace(_PLACE, theirs),
                image_ending,
                label_ending,
            )
            if files:
                self._add_split(split, {f"{split}_{name}": found for name, found in files.items()})
        if not self._samples:
            raise DatasetError(f"{self._root} has no images in {images}.")
        self._require_labels(f"in {labels} that ends in {label_ending}")

    def _listed(
        self, images: str, labels: str, image_ending: str | None, label_ending: str
    ) -> dict[str, Files]:
        found = [_matching_folders(self._root, folder) for folder in (images, labels)]
        in_one = Path(images) == Path(labels)
        ours: list[dict[str, Path]] = [{}, {}]
        endings = (image_ending, label_ending)
        for which, (ending, other) in enumerate((endings, endings[::-1])):
            for prefix, folder, paths in found[which]:
                taken = by_name(paths, folder, ending)
                # In one folder, a file is of the longer of two endings that fit.
                more = by_name(paths, folder, other) if other and _is_longer(other, ending) else {}
                rest = (
                    taken.keys()
                    if not in_one
                    else {name for name, path in taken.items() if path not in set(more.values())}
                )
                ours[which] |= {prefix + name: taken[name] for name in rest}
        if not in_one:  # labels may lie in a folder below that of the images
            labelled = set(ours[1].values())
            ours[0] = {name: path for name, path in ours[0].items() if path not in labelled}
        shown = self._root / labels, self._root / images
        return paired(
            ours[0],
            ours[1],
            f"{shown[0]}/{{sample}}{label_ending}",
            f"{shown[1]}/{{sample}}{image_ending or ''}",
        )

    def _train_ids(self, data: bytes, path: Path) -> npt.NDArray[np.uint8]:
        if isinstance(self._map, ColourMap):
            return self._map.apply_colours(self._label_colours(data, path), str(path))
        return self._map.apply(self._values(data, path), str(path))


def _matching_folders(root: Path, pattern: str) -> list[tuple[str, Path, list[Path]]]:
    """The folders that a pattern names, each with what its `*` stand for, and their files."""
    parts = Path(pattern).parts
    stars = [index for index, part in enumerate(parts) if _ANY in part]
    found = []
    for folder in sorted(root.glob(pattern)) if stars else [root / pattern]:
        if folder.is_dir():
            own = folder.relative_to(root).parts
            prefix = "".join(f"{own[index]}/" for index in stars)
            walk = visible([folder], _refused)
            files = [here / name for here, _, names in walk for name in names]
            found.append((prefix, folder, files))
    return found


def _refused(error: OSError) -> None:
    """A folder that cannot be read is no smaller set; but for that which each disk has."""
    path = Path(error.filename)
    if path.name != "lost+found":
        raise UnreadableSampleError(path, error) from error


def _is_longer(one: str, other: str | None) -> bool:
    """Of two endings, by what stands before the type of file: one without a type fits any."""
    lengths = []
    for ending in (one, other or ""):
        kind = Path(f"x{ending}").suffix
        lengths.append(len(ending) - (len(kind) if kind.lower() in IMAGE_ENDINGS else 0))
    return lengths[0] > lengths[1]


def _label_map(given: Mapping[int | str, str] | str) -> LabelMap:
    if isinstance(given, str):
        if given not in NAMED_MAPS:
            known = ", ".join(NAMED_MAPS)
            raise DatasetError(f"There is no label map {given!r}; there are {known}.")
        return NAMED_MAPS[given]
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
