"""Pictures of one's own without labels: any names, in folders nested anyhow."""

from __future__ import annotations

import math
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from adapters.datasets.base import DatasetError, LabelledSample
from adapters.datasets.files import FileDataset, Files, only_images, sample_ids
from adapters.images import MAX_BYTES, OTHER_ENDINGS
from adapters.prediction_folders import below
from crosscity.resizing import resized_image

SPLIT: Final = "train"
MOST_PIXELS: Final = 1 << 22
"""Of a picture: twice the largest size that is ever chosen to be shown to a network. What is stored
is read at every step of a training, and a photograph of 24 million pixels as PNG is 40 MB."""


class ImageFolder(FileDataset):
    """All pictures below a folder, at any depth; there are no labels.

    They are of the split "train", in the order of their ids. Hidden files and folders are left out,
    and what `crosscity predict` has made.

    Attributes:
        left_out: Pictures of types that are not read (TIFF, HEIC, ...), sorted.
        unreadable: Folders that do not admit this user, sorted.
    """

    name = "images"

    def __init__(
        self,
        root: Path | str,
        *,
        images: str = ".",
        most_pixels: int | None = MOST_PIXELS,
        max_bytes: int = MAX_BYTES,
    ) -> None:
        """Lists the pictures.

        Args:
            root: The folder that holds them.
            images: A folder below it, with `*` for any folder.
            most_pixels: Larger pictures are reduced to so many; ``None``: none is.
            max_bytes: Largest file that is read.

        Raises:
            DatasetError: There is no such folder, or no picture in it.
        """
        super().__init__(root, max_bytes=max_bytes)
        self._most_pixels = most_pixels
        if Path(images).is_absolute() or ".." in Path(images).parts:
            raise DatasetError(f"The folder {images!r} must lie below the set's root.")
        files, self.unreadable = _files_below(self._root, images)
        named = _by_path(only_images(files), self._root)
        self.left_out = [path for path in files if path.suffix.lower() in OTHER_ENDINGS]
        if not named:
            raise DatasetError(_no_picture(self._root / images, files, self.left_out))
        ids = sample_ids(named)
        self._add_split(SPLIT, {ids[name]: Files(path, None) for name, path in named.items()})

    def read(self, sample: str) -> LabelledSample:
        """Refuses: there are no labels.

        Raises:
            DatasetError: Always, naming the picture or that there is none.
        """
        raise self._without_labels(self._files_of(sample).image)

    def read_image(self, sample: str) -> npt.NDArray[np.uint8]:
        """Reads a picture, upright; a larger one than `most_pixels` is reduced to that.

        Raises:
            DatasetError: There is no such picture.
            ImageError: It cannot be decoded.
        """
        image = super().read_image(sample)
        return resized_image(image, _reduced(image.shape, self._most_pixels))

    def _train_ids(self, data: bytes, path: Path) -> npt.NDArray[np.uint8]:  # noqa: ARG002
        raise self._without_labels(path)

    def _without_labels(self, path: Path | None) -> DatasetError:
        return DatasetError(
            f"{path} has no label, as none of this set of the kind images has: it can be adapted "
            "to, and neither trained nor scored on."
        )


def _files_below(root: Path, images: str) -> tuple[list[Path], list[Path]]:
    """The files below the folders that a pattern names, without hidden ones; what has none to read.

    Both are sorted.
    """
    try:
        folders = sorted(root.glob(images)) if "*" in images else [root / images]
        walk = below(*(folder for folder in folders if folder.is_dir()))
    except OSError as error:
        raise DatasetError(f"{error.filename} cannot be read: {error.strerror}.") from error
    # A pattern can name a folder of predictions beside what holds it.
    files = [
        path
        for path in walk.files
        if not any(path.is_relative_to(one) for one in walk.predictions)
        and not any(part.startswith(".") for part in path.relative_to(root).parts)
    ]
    return files, list(walk.unreadable)


def _by_path(paths: Iterable[Path], root: Path) -> dict[str, Path]:
    """Pictures by their path below the root; without its type, where that tells them apart.

    Raises:
        DatasetError: Two names are one to the eye.
    """
    # Two ways to write the same letters are one name: file systems differ in which they keep.
    whole: dict[str, Path] = {}
    for path in paths:
        name = unicodedata.normalize("NFC", path.relative_to(root).as_posix())
        if name in whole:
            raise DatasetError(f"{whole[name]} and {path} have the same name: keep one of them.")
        whole[name] = path
    stems = {name: name[: -len(path.suffix)] for name, path in whole.items()}
    shared = Counter(stems.values())
    return {name if shared[stems[name]] > 1 else stems[name]: path for name, path in whole.items()}


def _reduced(shape: Sequence[int], most: int | None) -> tuple[int, int] | None:
    """The size of at most so many pixels and the same proportions; ``None``: it has no more."""
    height, width = shape[0], shape[1]
    if most is None or height * width <= most:
        return None
    side = math.sqrt(most / (height * width))
    return max(1, int(side * height)), max(1, int(side * width))


def _no_picture(folder: Path, files: Sequence[Path], left_out: Sequence[Path]) -> str:
    if left_out:
        types = ", ".join(sorted({path.suffix.lower() for path in left_out}))
        return (
            f"{folder} holds no picture that can be read: {types} is not, so make the "
            f"{len(left_out)} pictures JPEG or PNG."
        )
    there = f"none of its {len(files)} files is one" if files else "it is empty"
    return (
        f"{folder} holds no picture (JPEG, PNG or WebP, at any depth): {there}, so name the "
        "folder that holds yours."
    )
