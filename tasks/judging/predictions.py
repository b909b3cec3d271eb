"""What a segmenter sees in many images: a folder of label maps, resumable shard by shard."""

from __future__ import annotations

import hashlib
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from adapters.exports.base import image_facts
from adapters.exports.files import write_sheet
from adapters.file_names import as_text
from adapters.images import MAX_BYTES, OTHER_ENDINGS, ImageError, decode_image
from adapters.prediction_folders import Below, below
from adapters.predictions import PredictionFolder
from crosscity.evaluation import Prediction, predict_each
from crosscity.segmenters import Segmenter
from tasks.steps import progress
from tasks.steps.errors import InputError
from tasks.steps.imagery import Imagery
from tasks.steps.schemas import FAILED, OK

ENDINGS: Final = frozenset({".jpg", ".jpeg", ".png", ".webp"})
"""Endings of images in a folder, in any case."""
SHARD: Final = 64
"""Images a shard: what a kill can lose."""
STAGE: Final = "predict"
TERMS: Final = "images.csv"


@dataclass(frozen=True)
class Picture:
    """An image to predict.

    Attributes:
        name: What its files are called, relative and without an ending.
        data: Reads the encoded image.
    """

    name: str
    data: Callable[[], bytes]


@dataclass(frozen=True)
class Predicted:
    """What predicting left.

    Attributes:
        images: How many there are.
        failed: Those that failed, and why.
        table: The table of all of them.
        earlier: Label maps in the folder that an earlier run made of other images.
        sizes: (height, width) of the images that were predicted, and how many have it.
    """

    images: int
    failed: dict[str, str]
    table: Path
    earlier: tuple[str, ...] = ()
    sizes: Counter[tuple[int, int]] = field(default_factory=Counter)


@dataclass(frozen=True)
class Found:
    """What files and folders hold.

    Attributes:
        pictures: The images to predict.
        predictions: Folders of predictions, which are left out, sorted.
        left_out: Pictures of a type that is not read, sorted.
        unreadable: Folders that do not admit this user, sorted.
    """

    pictures: list[Picture]
    predictions: list[Path]
    left_out: list[Path]
    unreadable: list[Path]


def found_in(paths: Sequence[Path]) -> Found:
    """The images that files and folders (and folders below them) name, by path; one walk each.

    Raises:
        InputError: A path is not there or cannot be read, a folder has no image, or two names would
            be one.
    """
    named: dict[Path, str] = {}
    walks: list[Below] = []
    for path in paths:
        if path.is_dir():
            walks.append(_walk(path))
            named |= _images_of(path, walks[-1])
        elif path.is_file():
            named[path] = as_text(path.name)
        else:
            raise InputError(f"{path} is neither a city of the catalog nor a file or folder")
    others = {one for walk in walks for one in walk.files if one.suffix.lower() in OTHER_ENDINGS}
    return Found(
        _named(named),
        sorted({one for walk in walks for one in walk.predictions}),
        sorted(others),
        sorted({one for walk in walks for one in walk.unreadable}),
    )


def _walk(folder: Path) -> Below:
    try:
        return below(folder)
    except OSError as error:
        raise InputError(f"{error.filename} cannot be read: {error.strerror}") from error


def _images_of(folder: Path, walk: Below) -> dict[Path, str]:
    """The images of a walk, and what they are called."""
    images = [one for one in walk.files if _is_image(one)]
    named = {one: as_text(one.relative_to(folder).as_posix()) for one in images}
    if not named:
        raise InputError(
            f"{folder} has no image: looked for {', '.join(sorted(ENDINGS))} in it and below"
        )
    return named


def pictures_of_city(imagery: Imagery) -> list[Picture]:
    """All images of a harvest that could be fetched, by id."""
    return [
        Picture(image_id, lambda image_id=image_id: imagery.data(image_id))  # type: ignore[misc]
        for image_id in imagery.ids()
    ]


def write_terms(folder: Path, imagery: Imagery) -> None:
    """Writes beside predictions of a city whom to credit for its pictures, which overlays show.

    Raises:
        OSError: The folder cannot be written.
    """
    rows = [
        {"image": f"labels/{image_id}.png", **image_facts(imagery.row(image_id))}
        for image_id in imagery.ids()
    ]
    write_sheet(folder / TERMS, rows)


def predict_pictures(
    segmenter: Segmenter,
    pictures: Sequence[Picture],
    folder: PredictionFolder,
    *,
    batch_size: int,
    image_size: tuple[int, int] | None,
    workers: int,
    on_shard: Callable[[int], None] | None = None,
) -> Predicted:
    """Predicts images into a folder; finished shards of an earlier run are kept.

    Reading, the network and writing overlap: `workers` threads decode ahead and write behind, and
    no more than a few batches are held at a time.

    Args:
        segmenter: Its class names are the folder's.
        pictures: The images.
        folder: Where the predictions go.
        batch_size: Images predicted at once.
        image_size: (height, width) at which images go through the network; ``None``: their own.
        workers: Threads that read and write.
        on_shard: Gets the images of each finished shard; default: the progress of `STAGE`.
    """
    tell = on_shard or partial(_advance, len(pictures))
    rows: list[dict[str, Any]] = []
    for number, start in enumerate(range(0, len(pictures), SHARD)):
        shard = pictures[start : start + SHARD]
        with ThreadPoolExecutor(max(1, workers)) as pool:
            known = _finished(folder, number, shard, pool)
            if known is None:
                known = _shard(segmenter, shard, folder, batch_size, image_size, pool)
                folder.finish_part(number, known)
        rows += known
        tell(len(shard))
    table = folder.finish(rows)
    failed = {row["image"]: str(row["reason"]) for row in rows if row["status"] != OK}
    good = [row for row in rows if row["status"] == OK]
    sizes = Counter((int(row["height"]), int(row["width"])) for row in good)
    return Predicted(len(rows), failed, table, tuple(folder.earlier(rows)), sizes)


def _finished(
    folder: PredictionFolder, number: int, shard: Sequence[Picture], pool: ThreadPoolExecutor
) -> list[dict[str, Any]] | None:
    """The rows of a shard that an earlier run has written of the same images."""
    if not folder.has_part(number):
        return None  # what is not compared is not read
    return folder.finished(number, dict(pool.map(_digest, shard)))


def _advance(total: int, count: int) -> None:
    progress.advance(STAGE, count, total)


def _shard(
    segmenter: Segmenter,
    shard: Sequence[Picture],
    folder: PredictionFolder,
    batch_size: int,
    image_size: tuple[int, int] | None,
    pool: ThreadPoolExecutor,
) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = [{} for _ in shard]
    good: deque[tuple[int, str, npt.NDArray[np.uint8]]] = deque()

    def readable() -> Iterator[npt.NDArray[np.uint8]]:
        for index, (digest, image) in enumerate(_read_ahead(shard, pool, 2 * batch_size)):
            if isinstance(image, str):
                name = shard[index].name
                rows[index] = {"image": name, "sha256": digest, "status": FAILED, "reason": image}
                continue
            good.append((index, digest, image))
            yield image

    writing: deque[Future[None]] = deque()

    def write(
        index: int, digest: str, image: npt.NDArray[np.uint8], prediction: Prediction
    ) -> None:
        name = shard[index].name
        written = folder.write(name, image, prediction.labels, prediction.confidence)
        rows[index] = {"image": name, "sha256": digest, **written, "status": OK, "reason": None}

    for prediction in predict_each(segmenter, readable(), batch_size, image_size=image_size):
        writing.append(pool.submit(write, *good.popleft(), prediction))
        while len(writing) > 2 * batch_size:
            writing.popleft().result()
    for each in writing:
        each.result()
    return rows


def _read_ahead(
    shard: Sequence[Picture], pool: ThreadPoolExecutor, ahead: int
) -> Iterator[tuple[str, npt.NDArray[np.uint8] | str]]:
    """(SHA-256, image) of each picture, or why it cannot be read, in their order."""
    waiting: deque[Future[tuple[str, npt.NDArray[np.uint8] | str]]] = deque()
    for picture in shard:
        waiting.append(pool.submit(_decoded, picture))
        if len(waiting) > ahead:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def _decoded(picture: Picture) -> tuple[str, npt.NDArray[np.uint8] | str]:
    try:
        data = picture.data()
    except (OSError, ImageError) as error:  # what a store does not give is no fault of the image
        return "", as_text(" ".join(str(getattr(error, "strerror", None) or error).split()))
    digest = hashlib.sha256(data).hexdigest()
    try:
        return digest, decode_image(data, picture.name)
    except ImageError as error:
        return digest, str(error)


def _digest(picture: Picture) -> tuple[str, str]:
    """Name and SHA-256 of an image; an empty one where it cannot be read."""
    try:
        return picture.name, hashlib.sha256(picture.data()).hexdigest()
    except (OSError, ImageError):
        return picture.name, ""


def _is_image(path: Path) -> bool:
    """Whether it is called like an image; a link that leads nowhere becomes a row that says so."""
    named = path.suffix.lower() in ENDINGS
    return named and (path.is_file() or (path.is_symlink() and not path.exists()))


def _named(found: dict[Path, str]) -> list[Picture]:
    """Pictures under names without endings; a name that two share keeps its ending."""
    stems: dict[str, int] = {}
    for name in found.values():
        stem = _stem(name)
        stems[stem] = stems.get(stem, 0) + 1
    pictures: dict[str, Picture] = {}
    for path, name in found.items():
        shown = _stem(name) if stems[_stem(name)] == 1 else name
        if shown in pictures:
            raise InputError(
                f"two images are called {name}, so their predictions would be one file: name one "
                "folder that holds both"
            )
        pictures[shown] = Picture(shown, lambda path=path: _bytes(path))  # type: ignore[misc]
    return list(pictures.values())


def _stem(name: str) -> str:
    return name[: len(name) - len(Path(name).suffix)]


def _bytes(path: Path) -> bytes:
    if path.stat().st_size > MAX_BYTES:
        raise ImageError(f"{path} is larger than {MAX_BYTES >> 20} MiB.")
    return path.read_bytes()
