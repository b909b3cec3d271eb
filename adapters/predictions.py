"""A folder of predictions: label maps, overlays, confidence and one table, written shard by shard.

```
<folder>/prediction.json          by what it was made: segmenter, classes, ids, sizes
         predictions.parquet      one row an image, also where it failed (written last)
         labels/<image>.png       8-bit ids
         overlays/<image>.jpg     classes over the picture (wanted by default)
         images.csv               of a city's pictures, which overlays show: whom to credit
         confidence/<image>.png   8-bit, 255 is certain (when wanted)
```

Nothing half-written stands under a final name. A shard is finished when its table stands in
`.parts`; whoever goes on skips it.
"""

from __future__ import annotations

import io
import json
import tempfile
import time
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import cv2
import numpy as np
import numpy.typing as npt
import pyarrow as pa
from PIL import Image

from adapters.exports.files import UNFINISHED, left_behind, write_bytes
from adapters.images import encode_jpeg, encode_label_png
from adapters.prediction_folders import DESCRIPTION
from adapters.tables import read_table, write_table
from adapters.unwritable import cannot_be_written
from crosscity.labels import CLASSES, VOID, told_apart

Ids = Literal["labelIds", "trainIds", "palette"]
"""labelIds, trainIds: greyscale PNGs of these ids; palette: trainIds with the colours beside them,
which most viewers show in colour and Pillow reads as ids."""
IDS: Final[tuple[Ids, ...]] = ("labelIds", "trainIds", "palette")
TABLE: Final = "predictions.parquet"
_PARTS: Final = ".parts"
_FORMAT: Final = 1
_OVERLAY_QUALITY: Final = 88
_FIRST_FURTHER_LABEL_ID: Final = 34
"""Cityscapes has 0 to 33; classes that it does not know come behind."""


class PredictionsError(ValueError):
    """A folder cannot take these predictions; one sentence that names it and what to do."""


@dataclass(frozen=True)
class Wanted:
    """What is written for every image.

    Attributes:
        ids: Which ids the label maps hold.
        overlays: Whether classes are drawn over the picture.
        confidence: Whether the probability of the predicted class is written.
    """

    ids: Ids = "labelIds"
    overlays: bool = True
    confidence: bool = False


@dataclass(frozen=True)
class ClassRow:
    """A class of the predictions: its name, the id in the label maps, its colour."""

    name: str
    id: int
    colour: tuple[int, int, int]


def class_rows(class_names: Sequence[str], ids: Ids) -> list[ClassRow]:
    """Ids and colours of a segmenter's classes: Cityscapes' own, and further ones behind them."""
    known = {road_class.name: road_class for road_class in CLASSES}
    rows, further = [], 0
    for index, name in enumerate(class_names):
        road_class = known.get(name)
        if road_class is not None:
            number = road_class.label_id if ids == "labelIds" else road_class.train_id
            rows.append(ClassRow(name, number, road_class.colour))
            continue
        first = _FIRST_FURTHER_LABEL_ID if ids == "labelIds" else len(CLASSES)
        rows.append(ClassRow(name, first + further, _further_colour(index)))
        further += 1
    return rows


def table_schema(class_names: Sequence[str]) -> pa.Schema:
    """Columns of `predictions.parquet` for these classes; a failed image has no shares."""
    return pa.schema(
        [
            pa.field("image", pa.string(), nullable=False),
            pa.field("sha256", pa.string()),
            pa.field("width", pa.int32()),
            pa.field("height", pa.int32()),
            pa.field("labels", pa.string()),
            pa.field("mean_confidence", pa.float64()),
            pa.field("status", pa.string(), nullable=False),
            pa.field("reason", pa.string()),
            *(pa.field(name, pa.float64()) for name in share_columns(class_names)),
        ]
    )


def share_columns(class_names: Sequence[str]) -> list[str]:
    """Columns of the classes' shares of the pixels, in [0, 1]; each class has one of its own."""
    return told_apart(class_names, lambda name: f"share_{name.replace(' ', '_')}")


def check_folder(
    folder: Path,
    names: Iterable[str],
    class_names: Sequence[str],
    wanted: Wanted,
    made_by: Mapping[str, Any],
    *,
    undecided: str = "",
    force: bool = False,
) -> None:
    """Refuses before any work what `PredictionFolder` would refuse after it, or write over itself.

    Args:
        folder: As of `PredictionFolder`; made where it is not there.
        names: Of all images, as they are written.
        class_names: As of `PredictionFolder`.
        wanted: As of `PredictionFolder`.
        made_by: As of `PredictionFolder`.
        undecided: What of `made_by` is not known yet.
        force: As of `PredictionFolder`.

    Raises:
        PredictionsError: As of `PredictionFolder`; or the disk takes two of the names for one.
    """
    expected = _description(_written_classes(class_names, wanted.ids), wanted, made_by)
    with _writing_into(folder):
        folder.mkdir(parents=True, exist_ok=True)
        if not force and not _goes_on(folder, json.loads(json.dumps(expected)), undecided):
            raise PredictionsError(_holds_else(folder))
        with tempfile.TemporaryDirectory(prefix=".", suffix=UNFINISHED, dir=folder) as trial:
            alike = _taken_for_one(Path(trial), names)
    if alike is not None:
        raise PredictionsError(
            f"two images are called {alike[0]} and {alike[1]}, which the disk of {folder} takes "
            "for one name: rename one of them, or name a folder on another disk with -o"
        )


class PredictionFolder:
    """Where predictions go.

    Args:
        folder: The folder; made where it is not there.
        class_names: The classes of the predictions, at their indices.
        wanted: What is written for every image.
        made_by: What else the predictions depend on (segmenter, sizes), JSON-able: a folder of
            other predictions is not mixed with these.
        force: Whether a folder that holds something else is written into all the same.

    Raises:
        PredictionsError: The folder holds something else, or cannot be written, or the classes have
            more ids than a label map.
    """

    def __init__(
        self,
        folder: Path,
        class_names: Sequence[str],
        wanted: Wanted,
        made_by: Mapping[str, Any],
        *,
        force: bool = False,
    ) -> None:
        self.folder, self.wanted = folder, wanted
        self.classes = _written_classes(class_names, wanted.ids)
        self.schema = table_schema(class_names)
        self._shares = share_columns(class_names)
        self._ids = np.full(256, VOID, dtype=np.uint8)
        self._colours = np.zeros((256, 3), dtype=np.uint8)
        for index, row in enumerate(self.classes):
            self._ids[index] = row.id
            self._colours[index] = row.colour
        self._opened = time.time()
        self._open(made_by, force=force)

    def has_part(self, part: int) -> bool:
        """Whether an earlier run has written this shard, of whatever images."""
        return self._part(part).is_file()

    def finished(self, part: int, images: Mapping[str, str]) -> list[dict[str, Any]] | None:
        """The rows of a shard that is written already, for these images (name: SHA-256)."""
        path = self._part(part)
        if not path.is_file():
            return None
        try:
            rows: list[dict[str, Any]] = read_table(path, self.schema).to_pylist()
        except ValueError:
            return None  # of a killed machine; the shard is made again
        if {row["image"]: row["sha256"] for row in rows} != dict(images):
            return None
        there = all((self.folder / row["labels"]).is_file() for row in rows if row["labels"])
        return rows if there else None

    def write(
        self,
        name: str,
        picture: npt.NDArray[np.uint8],
        labels: npt.NDArray[np.uint8],
        confidence: npt.NDArray[np.float32],
    ) -> dict[str, Any]:
        """Writes the files of one image, and gives what its row says of them.

        Args:
            name: Relative name of the image without its ending; it becomes the files' name.
            picture: (H, W, 3) uint8 RGB.
            labels: (H, W) uint8 indices of classes.
            confidence: (H, W) float32 in [0, 1].

        Raises:
            PredictionsError: The folder cannot be written.
        """
        file, overlay_file, confidence_file = self._files(name)
        self._publish(file, self._label_png(labels))
        if self.wanted.overlays:
            shown = cv2.addWeighted(picture, 0.5, self._colours[labels], 0.5, 0)
            overlay = encode_jpeg(np.asarray(shown, dtype=np.uint8), _OVERLAY_QUALITY)
            self._publish(overlay_file, overlay)
        else:
            self._remove(overlay_file)  # of an earlier segmenter, beside the map of this one
        if self.wanted.confidence:
            grey = np.round(confidence * 255).astype(np.uint8)
            self._publish(confidence_file, encode_label_png(grey))
        else:
            self._remove(confidence_file)
        counts = np.bincount(labels.ravel(), minlength=len(self.classes))
        shares = counts[: len(self.classes)] / labels.size
        return {
            "width": labels.shape[1],
            "height": labels.shape[0],
            "labels": file,
            "mean_confidence": float(confidence.mean(dtype=np.float64)),
            **dict(zip(self._shares, shares.tolist(), strict=True)),
        }

    def finish_part(self, part: int, rows: Sequence[Mapping[str, Any]]) -> None:
        """Notes that a shard is written; what failed keeps nothing of an earlier run.

        Raises:
            PredictionsError: The folder cannot be written.
        """
        with self._writing():
            for row in rows:
                if not row.get("labels"):
                    for file in self._files(str(row["image"])):
                        (self.folder / file).unlink(missing_ok=True)
            self._part(part).parent.mkdir(exist_ok=True)
            write_table(self._part(part), self._table(rows), self.schema)

    def finish(self, rows: Sequence[Mapping[str, Any]]) -> Path:
        """Writes the table of all images and removes what only going on needed.

        Raises:
            PredictionsError: The folder cannot be written.
        """
        path = self.folder / TABLE
        with self._writing():
            write_table(path, self._table(rows), self.schema)
        parts = self.folder / _PARTS
        for part in parts.glob("part-*.parquet"):
            part.unlink(missing_ok=True)
        with suppress(OSError):
            parts.rmdir()
        for unfinished in left_behind(self.folder, self._opened):
            with suppress(OSError):
                unfinished.unlink()
        return path

    def earlier(self, rows: Sequence[Mapping[str, Any]]) -> list[str]:
        """Label maps in the folder that are of none of these rows, by name, sorted.

        They are of images that an earlier run was given and this one was not. They may be wanted,
        so they stay; the table has no rows of them.
        """
        ours = {str(row["labels"]) for row in rows if row.get("labels")}
        labels = self.folder / "labels"
        there = (f"labels/{file.relative_to(labels).as_posix()}" for file in labels.rglob("*.png"))
        return sorted(file for file in there if file not in ours)

    def _files(self, name: str) -> tuple[str, str, str]:
        """Label map, overlay and confidence of an image."""
        return f"labels/{name}.png", f"overlays/{name}.jpg", f"confidence/{name}.png"

    def _table(self, rows: Sequence[Mapping[str, Any]]) -> pa.Table:
        empty = dict.fromkeys(self.schema.names)
        return pa.Table.from_pylist([{**empty, **row} for row in rows], schema=self.schema)

    def _part(self, part: int) -> Path:
        return self.folder / _PARTS / f"part-{part:05d}.parquet"

    def _open(self, made_by: Mapping[str, Any], *, force: bool) -> None:
        description = _description(self.classes, self.wanted, made_by)
        data = (json.dumps(description, indent=2, ensure_ascii=False) + "\n").encode()
        with self._writing():
            self.folder.mkdir(parents=True, exist_ok=True)
            same = _goes_on(self.folder, json.loads(data))
            if not same and not force:
                raise PredictionsError(_holds_else(self.folder))
            if not same:
                # Killed from here on, maps of both lie there: no table may say that they are whole.
                for part in (self.folder / _PARTS).glob("part-*.parquet"):
                    part.unlink(missing_ok=True)
                (self.folder / TABLE).unlink(missing_ok=True)
            self._publish(DESCRIPTION, data)

    def _writing(self) -> AbstractContextManager[None]:
        return _writing_into(self.folder)

    def _label_png(self, labels: npt.NDArray[np.uint8]) -> bytes:
        ids: npt.NDArray[np.uint8] = self._ids[labels]
        if self.wanted.ids != "palette":
            return encode_label_png(ids)
        picture = Image.fromarray(ids, mode="P")
        colours = np.zeros((256, 3), dtype=np.uint8)
        for row in self.classes:
            colours[row.id] = row.colour
        picture.putpalette(colours.tobytes())

        buffer = io.BytesIO()
        picture.save(buffer, "PNG")
        return buffer.getvalue()

    def _publish(self, name: str, data: bytes) -> None:
        with self._writing():
            write_bytes(self.folder / name, data)

    def _remove(self, name: str) -> None:
        with self._writing():
            (self.folder / name).unlink(missing_ok=True)


@contextmanager
def _writing_into(folder: Path) -> Iterator[None]:
    """Inside, what keeps files from being written is one sentence that names the folder."""
    try:
        yield
    except OSError as error:
        raise PredictionsError(cannot_be_written(folder, error)) from None


def _written_classes(class_names: Sequence[str], ids: Ids) -> list[ClassRow]:
    """`class_rows`, where label maps have room for all of them."""
    rows = class_rows(class_names, ids)
    largest = max(row.id for row in rows)
    if largest >= VOID:
        raise PredictionsError(
            f"label maps have 8 bits, of which {VOID} is void, and the {len(class_names)} "
            f"classes have {ids} up to {largest}: write trainIds"
        )
    return rows


def _description(
    classes: Sequence[ClassRow], wanted: Wanted, made_by: Mapping[str, Any]
) -> dict[str, Any]:
    return {
        "format": _FORMAT,
        "ids": wanted.ids,
        "overlays": wanted.overlays,
        "confidence": wanted.confidence,
        "classes": [
            {"name": row.name, "id": row.id, "colour": list(row.colour)} for row in classes
        ],
        "void": VOID,
        **made_by,
    }


def _holds_else(folder: Path) -> str:
    return (
        f"{folder} holds something else than these predictions: name another folder with -o, or "
        "write into it all the same with --force"
    )


def _goes_on(folder: Path, expected: Mapping[str, Any], undecided: str = "") -> bool:
    """Whether a folder holds predictions of this description, or nothing.

    Nothing is also what a killed process had begun to write.
    """
    path = folder / DESCRIPTION
    if not path.is_file():
        return all(each.name.endswith(UNFINISHED) for each in folder.iterdir())
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return False
    if not isinstance(found, dict):
        return False
    return {**found, undecided: None} == {**expected, undecided: None}


def _taken_for_one(folder: Path, names: Iterable[str]) -> tuple[str, str] | None:
    """Two names under which a disk finds one file, as those of either case; ``None``: all differ.

    Tried with files in an empty folder of that disk, and of names alone that may be so.
    """
    alike: dict[str, list[str]] = defaultdict(list)
    for name in names:
        alike[unicodedata.normalize("NFKC", name.casefold())].append(name)
    for group in alike.values():
        for number, name in enumerate(group if len(group) > 1 else ()):
            place = _place(folder, name)
            if place.exists():
                same = (one for one in group[:number] if place.samefile(_place(folder, one)))
                return next(same), name
            place.parent.mkdir(parents=True, exist_ok=True)
            place.touch()
    return None


def _place(folder: Path, name: str) -> Path:
    return folder / name


def _further_colour(index: int) -> tuple[int, int, int]:
    """A colour for a class that Cityscapes does not know, far from its neighbours' in hue."""
    hue = np.array([[[(index * 67) % 180, 200, 230]]], dtype=np.uint8)
    red, green, blue = cv2.cvtColor(hue, cv2.COLOR_HSV2RGB)[0, 0].tolist()
    return int(red), int(green), int(blue)
