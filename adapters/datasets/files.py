"""What data sets on disk have in common: listed once, read with limits, every fault named."""

from __future__ import annotations

import hashlib
import unicodedata
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from adapters.datasets.base import DatasetError, LabelledSample, UnreadableSampleError
from adapters.file_digests import file_digests
from adapters.file_names import as_text
from adapters.images import MAX_BYTES, ImageError, decode_image, exif_orientation
from adapters.label_png import Colour, check_not_turned, decode_label_values
from adapters.street_view.cross_city_layout import files_digest

IMAGE_ENDINGS: Final = frozenset({".png", ".jpg", ".jpeg", ".webp"})
_LONGEST_ID: Final = 100
_NAMED: Final = 3
"""Files that a message names."""
_PALETTES: Final = 8
"""Labels whose palettes are looked at beside those that are read, spread over all splits."""


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


@dataclass(frozen=True)
class Matching:
    """Which images and labels belong together.

    Attributes:
        pairs: How many do.
        images: Those without a label.
        labels: Those without an image.
    """

    pairs: int
    images: tuple[Path, ...]
    labels: tuple[Path, ...]

    def unmatched(self) -> str:
        """What has no partner, with up to three names on either side; empty: all have one."""
        parts = []
        if self.images:
            parts.append(f"{len(self.images)} images without label ({_first_names(self.images)})")
        if self.labels:
            parts.append(f"{len(self.labels)} labels without image ({_first_names(self.labels)})")
        return ", ".join(parts)


def _check_turn(data: bytes, size: tuple[int, ...], image: Path) -> None:
    """Refuses a turned image where no size tells whether its label is turned as well.

    Images come upright, as programs show them; some that draw labels do not heed the orientation.

    Raises:
        ImageError: It is mirrored or upside down, or square and turned.
    """
    turn = exif_orientation(data)
    if turn in (2, 3, 4) or (turn >= 5 and size[0] == size[1]):
        raise ImageError(
            f"{image} carries the EXIF orientation {turn}, and nothing tells whether its label is "
            "turned too: turn its pixels as the label is, and remove the orientation."
        )


class FileDataset(ABC):
    """A labelled set in files.

    A subclass lists the files of each split in its constructor (`_add_split`) and reads a label. A
    sample is listed if its image or its label is there; reading it says which is missing. So a
    lost label is never a silently smaller set.

    Attributes:
        reads_label_ids: Whether its labels are taken for Cityscapes labelIds, of which trainIds
            cannot be told by their values: 0 to 18 are both.
    """

    name: str
    reads_label_ids: bool = False

    def __init__(self, root: Path | str, *, max_bytes: int = MAX_BYTES) -> None:
        self._root = Path(root)
        if not self._root.is_dir():
            raise DatasetError(f"There is no folder {self._root}: give the one that holds the set.")
        self._max_bytes = max_bytes
        self._samples: dict[str, tuple[str, ...]] = {}
        self._files: dict[str, Files] = {}
        self._palette: dict[int, tuple[Colour, Path]] = {}
        self._looked = False

    def samples(self, split: str) -> Sequence[str]:
        """Ids of the samples of a split, sorted.

        Raises:
            DatasetError: There is no such split.
        """
        return self._samples_of_split(self._samples, split)

    def unlabelled(self, split: str) -> Sequence[str]:
        """The images of a split, whether they have a label or not.

        Raises:
            DatasetError: There is no such split.
        """
        return tuple(
            s
            for s in self._samples_of_split(self._samples, split)
            if self._files[s].image is not None
        )

    def read(self, sample: str) -> LabelledSample:
        """Reads an image and its label at their own size.

        Raises:
            DatasetError: There is no such sample, one of its files is missing or unreadable, or
                the label holds a value that is not declared.
            ImageError: A file cannot be decoded, or the label has another size than the image.
        """
        files = self._files_of(sample)
        if files.label is None:
            raise DatasetError(f"The image {files.image} has no label {files.expected}.")
        if files.image is None:
            raise DatasetError(f"The label {files.label} has no image {files.expected}.")
        data = self._read_bytes(files.image)
        image = decode_image(data, str(files.image))
        _check_turn(data, image.shape[:2], files.image)
        train_ids = self._train_ids(self._read_bytes(files.label), files.label)
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
        path = self._files_of(sample).image
        if path is None:
            raise DatasetError(f"The sample {sample!r} of the {self.name} set has no image.")
        return decode_image(self._read_bytes(path), str(path))

    def file_name(self, sample: str) -> str:
        """What the image of a sample is called: its path below the root; the id, where it has none.

        Raises:
            DatasetError: There is no such sample.
        """
        path = self._files_of(sample).image
        return sample if path is None else as_text(path.relative_to(self._root).as_posix())

    def images_by_content(self, split: str) -> dict[str, str]:
        """The images of a split that can be read: their names by the SHA-256 of their files.

        Raises:
            DatasetError: There is no such split.
        """
        names = self._samples_of_split(self._samples, split)
        paths = {name: path for name in names if (path := self._files[name].image) is not None}
        found = file_digests(paths)
        return {digest: self.file_name(name) for name, digest in found.items() if digest}

    def revision(self, samples: Sequence[str] | None = None) -> str:
        """A digest of the samples' files, by default of all labelled ones; each is read once."""
        wanted = {name: self._files_of(name) for name in samples or self._files}
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
        if decoded.colours:
            self._look_at_palettes()
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

    def _label_colours(self, data: bytes, path: Path) -> npt.NDArray[np.uint8]:
        """The colours of a label picture: (H, W, 3) uint8 RGB.

        Raises:
            ImageError: It cannot be decoded, or says that it is to be turned.
        """
        check_not_turned(data, str(path))
        return decode_image(data, str(path), max_bytes=self._max_bytes)

    def _look_at_palettes(self) -> None:
        """Notes the palettes of some labels of all splits, as a set is opened for a part of it."""
        if self._looked:
            return
        labels = [files.label for files in self._files.values() if files.label is not None]
        for index in np.linspace(0, len(labels) - 1, min(_PALETTES, len(labels))).round():
            path = labels[int(index)]
            try:
                found = decode_label_values(self._read_bytes(path), str(path))
            except (DatasetError, ImageError):
                continue  # it is told where it is read
            for value, colour in found.colours.items():
                self._palette.setdefault(value, (colour, path))
        self._looked = True

    @abstractmethod
    def _train_ids(self, data: bytes, path: Path) -> npt.NDArray[np.uint8]:
        """The trainIds of a label file: (H, W) uint8."""

    def _add_split(self, split: str, files: dict[str, Files]) -> None:
        twice = sorted(files.keys() & self._files.keys())
        if twice:
            raise DatasetError(
                f"The sample {twice[0]!r} of the {self.name} set is in two splits: {self._root}."
            )
        self._samples[split] = tuple(sorted(files))
        self._files.update(files)

    def _require_labels(self, where: str) -> None:
        """Refuses a set without labels, or whose labels are all of other images than it has.

        Raises:
            DatasetError: Of either; up to three files on either side are named.
        """
        matching = self.matching()
        if not matching.pairs and not matching.labels:
            raise DatasetError(f"{self._root} has no label {where}.")
        if not matching.pairs and matching.images:
            raise DatasetError(
                f"none of the {len(matching.images)} images of {self._root} has a label: there are "
                f"images as {_first_names(matching.images)} and labels as "
                f"{_first_names(matching.labels)}; "
                "their names must be the same up to what they end in."
            )

    def pairs(self, split: str) -> list[str]:
        """The samples of a split that have both image and label."""
        files = ((name, self._files[name]) for name in self.samples(split))
        return [name for name, one in files if one.image is not None and one.label is not None]

    def matching(self, split: str | None = None) -> Matching:
        """How many images and labels belong together, in a split or in all."""
        names = self._files if split is None else self.samples(split)
        files = [self._files[name] for name in names]
        return Matching(
            sum(one.image is not None and one.label is not None for one in files),
            tuple(one.image for one in files if one.image is not None and one.label is None),
            tuple(one.label for one in files if one.label is not None and one.image is None),
        )

    def _files_of(self, sample: str) -> Files:
        if sample not in self._files:
            raise DatasetError(f"The {self.name} set has no sample {sample!r}.")
        return self._files[sample]

    def _samples_of_split(self, splits: dict[str, tuple[str, ...]], split: str) -> tuple[str, ...]:
        if split not in splits:
            known = ", ".join(splits) or "none"
            raise DatasetError(f"The {self.name} set has no split {split!r}; splits: {known}.")
        return splits[split]

    def _read_bytes(self, path: Path) -> bytes:
        try:
            with path.open("rb") as file:
                data = file.read(self._max_bytes + 1)
        except OSError as error:
            raise UnreadableSampleError(path, error) from error
        if len(data) > self._max_bytes:
            raise DatasetError(f"{path} has more than the {self._max_bytes} bytes allowed.")
        return data


def paired(
    images: Mapping[str, Path], labels: Mapping[str, Path], label_of: str, image_of: str
) -> dict[str, Files]:
    """The files of every name that is in either listing, by the id that it becomes.

    Args:
        images: By name, as the files have it.
        labels: By name.
        label_of: Where an image's label is looked for, with `{sample}`.
        image_of: Where a label's image is looked for, with `{sample}`.
    """
    names = sample_ids(images.keys() | labels.keys())
    return {
        sample: Files(
            images.get(name),
            labels.get(name),
            (label_of if name in images else image_of).replace("{sample}", name),
        )
        for name, sample in sorted(names.items(), key=lambda item: item[1])
    }


def sample_id(path: str) -> str:
    """A sample's id from a file name or path: letters, digits, dashes and underscores only."""
    kept = "".join(c if c.isascii() and (c.isalnum() or c in "_-") else "_" for c in path)
    return kept.lstrip("_-")[:_LONGEST_ID] or "_"


def sample_ids(names: Iterable[str]) -> dict[str, str]:
    """The ids of names; where several would have the same, each gets a digest of its name."""
    ids = {name: sample_id(name) for name in names}
    shared = Counter(ids.values())
    for name, plain in ids.items():
        if shared[plain] > 1:
            digest = hashlib.sha256(name.encode("utf-8", "surrogateescape")).hexdigest()[:12]
            ids[name] = f"{plain[: _LONGEST_ID - 13]}-{digest}"
    return ids


def by_name(paths: Iterable[Path], folder: Path, ending: str | None = None) -> dict[str, Path]:
    """Image files by what stands before their ending, below a folder.

    Args:
        paths: The files; those with another ending are left out, hidden ones too.
        folder: What they lie below.
        ending: What follows a name, in letters of any case; without a known file type at its end,
            any may follow. ``None``: the file type alone.

    Raises:
        DatasetError: Two files have the same name.
    """
    found: dict[str, Path] = {}
    for path in only_images(paths):
        # Two ways to write the same letters are one name: file systems differ in which they keep.
        relative = unicodedata.normalize("NFC", path.relative_to(folder).as_posix())
        name = _before_ending(relative, path.suffix, ending)
        if name is None:
            continue
        if name in found:
            raise DatasetError(f"{found[name]} and {path} have the same name: keep one of them.")
        found[name] = path
    return found


def _before_ending(relative: str, suffix: str, ending: str | None) -> str | None:
    """What stands before the ending; ``None``: it has another one."""
    ending = (ending or "").lower()
    whole = ending if Path(f"x{ending}").suffix in IMAGE_ENDINGS else ending + suffix.lower()
    return relative[: -len(whole)] if relative.lower().endswith(whole) else None


def only_images(paths: Iterable[Path]) -> list[Path]:
    """The image files among paths, sorted; hidden ones are left out."""
    return sorted(
        path
        for path in paths
        if path.suffix.lower() in IMAGE_ENDINGS and not path.name.startswith(".")
    )


def _first_names(paths: Sequence[Path]) -> str:
    """The names of up to three files."""
    more = f" and {len(paths) - _NAMED} more" if len(paths) > _NAMED else ""
    return ", ".join(str(path) for path in paths[:_NAMED]) + more
