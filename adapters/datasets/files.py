"""What data sets on disk have in common: listed once, read with limits, every fault named."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from adapters.datasets.base import DatasetError, LabelledSample
from adapters.images import MAX_BYTES, ImageError, decode_image
from adapters.label_png import Colour, decode_label_values
from adapters.street_view.cross_city_layout import files_digest

IMAGE_ENDINGS: Final = frozenset({".png", ".jpg", ".jpeg", ".webp"})


@dataclass(frozen=True)
class Files:
    """Where a sample lies.

    Attributes:
        image: Its image, or ``None`` where only a label was found.
        label: Its label, or ``None`` where there is none.
        expected: Where the missing one of the two is looked for.
    """

    image: Path | None
    label: Path | None
    expected: str = ""


class FileDataset(ABC):
    """A labelled set in files.

    A subclass lists the files of each split in its constructor (`_add`) and reads a label. A
    sample is listed if its image or its label is there; reading it says which is missing. So a
    lost label is never a silently smaller set.
    """

    name: str

    def __init__(self, root: Path | str, *, max_bytes: int = MAX_BYTES) -> None:
        self._root = Path(root)
        if not self._root.is_dir():
            raise DatasetError(f"There is no folder {self._root}: give the one that holds the set.")
        self._max_bytes = max_bytes
        self._samples: dict[str, tuple[str, ...]] = {}
        self._files: dict[str, Files] = {}
        self._palette: dict[int, tuple[Colour, Path]] = {}

    def samples(self, split: str) -> Sequence[str]:
        """Ids of the samples of a split, sorted.

        Raises:
            DatasetError: There is no such split.
        """
        return self._of(self._samples, split)

    def unlabelled(self, split: str) -> Sequence[str]:
        """The images of a split, whether they have a label or not.

        Raises:
            DatasetError: There is no such split.
        """
        return tuple(s for s in self._of(self._samples, split) if self._files[s].image is not None)

    def read(self, sample: str) -> LabelledSample:
        """Reads an image and its label at their own size.

        Raises:
            DatasetError: There is no such sample, one of its files is missing or unreadable, or
                the label holds a value that is not declared.
            ImageError: A file cannot be decoded, or the label has another size than the image.
        """
        files = self._known(sample)
        if files.label is None:
            raise DatasetError(f"The image {files.image} has no label {files.expected}.")
        if files.image is None:
            raise DatasetError(f"The label {files.label} has no image {files.expected}.")
        image = decode_image(self._bytes(files.image), str(files.image))
        train_ids = self._train_ids(self._bytes(files.label), files.label)
        if train_ids.shape != image.shape[:2]:
            raise ImageError(
                f"{files.label} is {train_ids.shape[0]}×{train_ids.shape[1]} pixels high and wide "
                f"where its image is {image.shape[0]}×{image.shape[1]}."
            )
        return LabelledSample(image=image, train_ids=train_ids)

    def read_image(self, sample: str) -> npt.NDArray[np.uint8]:
        """Reads an image alone.

        Raises:
            DatasetError: There is no such image.
            ImageError: It cannot be decoded.
        """
        path = self._known(sample).image
        if path is None:
            raise DatasetError(f"The sample {sample!r} of the {self.name} set has no image.")
        return decode_image(self._bytes(path), str(path))

    def revision(self, samples: Sequence[str] | None = None) -> str:
        """A digest of the samples' files, by default of all labelled ones; each is read once."""
        wanted = {name: self._known(name) for name in samples or self._files}
        images = {name: files.image for name, files in wanted.items() if files.image}
        labels = {name: files.label for name, files in wanted.items() if files.label}
        return files_digest(images) + files_digest(labels)

    def _values(self, data: bytes, path: Path) -> npt.NDArray[np.uint8]:
        """The values of a label PNG; a palette must say the same as that of the other files.

        Raises:
            DatasetError: Its palette gives a value another colour: a program that makes files
                smaller has put it in another order.
            ImageError: As of `decode_label_values`.
        """
        decoded = decode_label_values(data, str(path), max_bytes=self._max_bytes)
        for value, colour in decoded.colours.items():
            first, where = self._palette.setdefault(value, (colour, path))
            if first != colour:
                raise DatasetError(
                    f"{path} and {where} give the value {value} different colours in their "
                    f"palettes (#{bytes(colour).hex()} and #{bytes(first).hex()}), so one of them "
                    "was stored anew in another order: give colours as '#rrggbb' in a label map, "
                    "or take the original files."
                )
        return decoded.values

    @abstractmethod
    def _train_ids(self, data: bytes, path: Path) -> npt.NDArray[np.uint8]:
        """The trainIds of a label file: (H, W) uint8."""

    def _add(self, split: str, files: dict[str, Files]) -> None:
        twice = sorted(files.keys() & self._files.keys())
        if twice:
            raise DatasetError(
                f"The sample {twice[0]!r} of the {self.name} set is in two splits: {self._root}."
            )
        self._samples[split] = tuple(sorted(files))
        self._files.update(files)

    def _require_labels(self, where: str) -> None:
        if not any(files.label for files in self._files.values()):
            raise DatasetError(f"{self._root} has no label {where}.")

    def _known(self, sample: str) -> Files:
        if sample not in self._files:
            raise DatasetError(f"The {self.name} set has no sample {sample!r}.")
        return self._files[sample]

    def _of(self, splits: dict[str, tuple[str, ...]], split: str) -> tuple[str, ...]:
        if split not in splits:
            known = ", ".join(splits) or "none"
            raise DatasetError(f"The {self.name} set has no split {split!r}; splits: {known}.")
        return splits[split]

    def _bytes(self, path: Path) -> bytes:
        try:
            with path.open("rb") as file:
                data = file.read(self._max_bytes + 1)
        except OSError as error:
            raise DatasetError(f"{path} cannot be read: {error.strerror}.") from error
        if len(data) > self._max_bytes:
            raise DatasetError(f"{path} has more than the {self._max_bytes} bytes allowed.")
        return data


def paired(
    images: dict[str, Path], labels: dict[str, Path], label_of: str, image_of: str
) -> dict[str, Files]:
    """The files of every id that is in either listing.

    Args:
        images: By sample id.
        labels: By sample id.
        label_of: Where an image's label is looked for, with `{sample}`.
        image_of: Where a label's image is looked for, with `{sample}`.
    """
    return {
        sample: Files(
            images.get(sample),
            labels.get(sample),
            (label_of if sample in images else image_of).replace("{sample}", sample),
        )
        for sample in sorted(images.keys() | labels.keys())
    }


def sample_id(path: str) -> str:
    """A sample's id from a file name or path: letters, digits, dashes and underscores only."""
    kept = "".join(c if c.isascii() and (c.isalnum() or c in "_-") else "_" for c in path)
    return kept.lstrip("_-")[:100] or "_"


def only_images(paths: Iterable[Path]) -> list[Path]:
    """The image files among paths, sorted; hidden ones are left out."""
    return sorted(
        path
        for path in paths
        if path.suffix.lower() in IMAGE_ENDINGS and not path.name.startswith(".")
    )
