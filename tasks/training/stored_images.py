"""Images of shards of sets as trainings and evaluations read them: decoded when asked for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from adapters.images import decode_image, decode_label_png, image_size
from adapters.mapped_tables import mapped_table
from adapters.store import ArtifactRef, Store
from crosscity.resizing import resized_image, resized_map
from crosscity.segmenters import class_table
from crosscity.segmenters.base import ROAD_CLASS_NAMES
from tasks.steps.errors import InputError
from tasks.steps.schemas import LABELLED, OK
from tasks.steps.stacking import stacked


class _StoredImages:
    """Images of shards at one size, decoded when asked for."""

    def __init__(self, rows: GoodRows, size: tuple[int, int] | None, absent: str) -> None:
        if not len(rows):
            raise InputError(absent)
        self._rows, self._size = rows, size

    def __len__(self) -> int:
        return len(self._rows)

    def images(self, indices: Sequence[int]) -> npt.NDArray[np.uint8]:
        """(N, H, W, 3) uint8 RGB."""
        read = (decode_image(self._rows.data(i, "image"), self.name(i)) for i in indices)
        shown = [resized_image(image, self._size) for image in read]
        return stacked(shown, [self.name(i) for i in indices])

    def sizes(self, indices: Iterable[int] | None = None) -> list[tuple[int, int]]:
        """(height, width) of these images, or of all, as they are stored, from their headers."""
        wanted = range(len(self)) if indices is None else indices
        return [image_size(self._rows.data(i, "image"), self.name(i)) for i in wanted]

    def name(self, index: int) -> str:
        """The sample's id."""
        return self._rows.name(index)


class StoredLabelled(_StoredImages):
    """The images of labelled shards, decoded when asked for; bad rows are left out.

    Args:
        store: Holds the shards.
        parts: `labelled` artifacts.
        size: (height, width) that images and labels are given at; ``None``: as they are stored.
        chosen: Places in the set that are taken; ``None``: all.
        class_names: Label space that labels are given in; default: trainIds.
    """

    def __init__(
        self,
        store: Store,
        parts: Sequence[ArtifactRef],
        *,
        size: tuple[int, int] | None = None,
        chosen: Sequence[int] | None = None,
        class_names: Sequence[str] = ROAD_CLASS_NAMES,
    ) -> None:
        rows = GoodRows(store, parts, chosen)
        super().__init__(rows, size, "there is no labelled image to work on")
        self._table = class_table(class_names)

    def labels(self, indices: Sequence[int]) -> npt.NDArray[np.uint8]:
        """(N, H, W) uint8 indices of `class_names`, 255 where void or of none of these."""
        stored = (decode_label_png(self._rows.data(i, "labels"), self.name(i)) for i in indices)
        read = (self._table[train_ids] for train_ids in stored)
        shown = [resized_map(labels, self._size) for labels in read]
        return stacked(shown, [self.name(i) for i in indices])


def check_some_label(images: StoredLabelled, what: str) -> None:
    """Warns of a set whose labels are all void, before anything is trained or scored on it.

    Raises:
        InputError: No pixel is of a class of the images' label space.
    """
    void = np.iinfo(np.uint8).max
    if all((images.labels([index]) == void).all() for index in range(len(images))):
        raise InputError(
            f"{what}: all labels of its {len(images)} images are void or of classes that the "
            "segmenter does not have: look at the label map, or take a split whose labels are "
            "public"
        )


class StoredUnlabelled(_StoredImages):
    """The images of `unlabelled` shards as adaptation reads them: without any prior.

    Args:
        store: Holds the shards.
        parts: `unlabelled` artifacts.
        size: (height, width) that images are given at; ``None``: as they are stored.
    """

    def __init__(
        self,
        store: Store,
        parts: Sequence[ArtifactRef],
        *,
        size: tuple[int, int] | None = None,
    ) -> None:
        absent = "the target set is empty: there is no image to adapt to"
        super().__init__(GoodRows(store, parts), size, absent)

    def priors(self, indices: Sequence[int]) -> npt.NDArray[np.bool_]:
        """(N, H, W) bool, all False."""
        sizes = (
            self._size or image_size(self._rows.data(i, "image"), self.name(i)) for i in indices
        )
        shown = [np.zeros(size, dtype=np.bool_) for size in sizes]
        return stacked(shown, [self.name(i) for i in indices])

    def name(self, index: int) -> str:
        """The image's id."""
        return self._rows.name(index)


class GoodRows:
    """The rows of labelled shards that did not fail; images stay on disk until they are asked for.

    Args:
        store: Holds the shards.
        parts: `labelled` or `unlabelled` artifacts.
        chosen: Places among the good rows that are taken; ``None``: all.
    """

    def __init__(
        self, store: Store, parts: Sequence[ArtifactRef], chosen: Sequence[int] | None = None
    ) -> None:
        self._tables: list[pa.Table] = []
        places: list[tuple[int, int]] = []
        for ref in parts:
            for name, entry in sorted(store.manifest(ref).files.items()):
                table = mapped_table(store.path(ref, name), entry.sha256, LABELLED)
                places += [
                    (len(self._tables), row)
                    for row, status in enumerate(table["status"].to_pylist())
                    if status == OK
                ]
                self._tables.append(table)
        self._places = places if chosen is None else [places[place] for place in chosen]

    def __len__(self) -> int:
        return len(self._places)

    def data(self, index: int, column: str) -> bytes:
        """The encoded image or labels of a row."""
        table, row = self._places[index]
        stored: bytes = self._tables[table][column][row].as_py()
        return stored

    def name(self, index: int) -> str:
        """The sample's id."""
        table, row = self._places[index]
        return str(self._tables[table]["sample"][row].as_py())
