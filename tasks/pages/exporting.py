"""Handing a city on: images, predictions and priors, in a format that other programs read."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from adapters.exports import ExportItem, check_licences, exporter
from adapters.images import decode_label_png, decode_mask_png
from adapters.prediction_folders import DESCRIPTION
from adapters.predictions import TABLE, table_schema
from adapters.store import ArtifactRef, Store
from adapters.tables import read_table
from crosscity.labels import CLASSES, VOID
from tasks.harvesting.current import Harvest, current_harvest
from tasks.judging.city_predictions import CityPredictions
from tasks.pages.whole_folder import check_empty, whole_folder
from tasks.priors.identities import extracted
from tasks.priors.stored import StoredPriors
from tasks.steps import progress
from tasks.steps.errors import InputError
from tasks.steps.imagery import Imagery
from tasks.steps.plan import Plan
from tasks.steps.schemas import IMAGES_OF_PAIR, OK, PAIRS, images_of
from tasks.steps.tables import Row, read_rows

_AT_ONCE: Final = 32
"""Images held at a time."""


def export_city(
    plan: Plan,
    city: str,
    format_name: str,
    output: Path,
    predictions: Path | None = None,
    *,
    stored: bool = False,
    allowed: str | None = None,
) -> int:
    """Writes a city in a format of `adapters.exports`; the folder appears whole or not at all.

    Args:
        plan: Of the catalog.
        city: Was harvested; its static priors are exported where they were extracted.
        format_name: A key of `adapters.exports.FORMATS`.
        output: Must not be there, or be empty.
        predictions: A folder of `crosscity predict CITY`; ``None`` exports no labels.
        stored: Whether the predictions that predict-city left are exported instead.
        allowed: See `adapters.exports.check_licences`.

    Returns:
        The number of images.

    Raises:
        ExportError: The format is unknown, its library is missing, or a licence forbids it.
        InputError: The city was not harvested, or a folder is not what it should be.
    """
    make = exporter(format_name)
    check_empty(output)
    store, harvest = plan.open_store(), current_harvest(city, plan)
    imagery = Imagery(store, harvest.imagery)
    ids = imagery.ids()
    terms = imagery.credits()
    check_licences((each for each, _, count in terms for _ in range(count)), allowed=allowed)
    labels: _Predictions | None = None
    if stored:
        labels = _StoredPredictions(plan, city)
    elif predictions is not None:
        labels = _Predicted(predictions, city, ids)
    masks = StoredPriors(store, _priors(plan, city, harvest))
    splits = _splits(store, harvest.pairs)
    with whole_folder(output) as unfinished:
        writer = make(unfinished, city)
        items = _items(imagery, ids, labels, masks, splits, plan.compute.workers)
        for item in items:
            writer.add(item)
            progress.advance(f"export {city}", 1, len(ids))
        writer.finish()
    return len(ids)


class _Predicted:
    """The label maps of a folder of predictions, as trainIds.

    A folder outlives the images that it was made of, so its table is held against those that are
    exported: a map of another picture of the same name would pass for what this one shows.
    """

    def __init__(self, folder: Path, city: str, ids: Sequence[str]) -> None:
        try:
            description = json.loads((folder / DESCRIPTION).read_text(encoding="utf-8"))
            classes = {str(row["name"]): int(row["id"]) for row in description["classes"]}
        except (OSError, ValueError, KeyError, TypeError):
            raise InputError(
                f"{folder} is not a folder of predictions: make one with `crosscity predict "
                "CITY -o`"
            ) from None
        if not (folder / TABLE).is_file():
            raise InputError(
                f"the predictions in {folder} are not finished: run `crosscity predict` again"
            )
        schema = table_schema([str(row["name"]) for row in description["classes"]])
        self._folder, self._again = folder, f"run `crosscity predict {city} -o {folder}` again"
        try:
            rows = read_table(folder / TABLE, schema).to_pylist()
        except ValueError as error:
            raise InputError(f"{error}; {self._again}") from None
        self._rows = {str(row["image"]): row for row in rows}
        self._train_ids, self._palette = _train_ids(classes), description.get("ids") == "palette"
        lacking = [image_id for image_id in ids if image_id not in self._rows]
        if lacking:
            raise InputError(
                f"{folder} was made of other images: it has no row of {len(lacking)} of the "
                f"{len(ids)} of {city}, such as {lacking[0]}; {self._again}"
            )

    def of(self, image_id: str, jpeg: bytes, size: tuple[int, int]) -> npt.NDArray[np.uint8] | None:
        row = self._rows[image_id]
        if row["status"] != OK:
            return None
        if row["sha256"] != hashlib.sha256(jpeg).hexdigest():
            raise InputError(
                f"the label map of {image_id} in {self._folder} is of another image of that name: "
                f"{self._again}"
            )
        path = self._folder / str(row["labels"])
        if not path.is_file():
            raise InputError(f"{path} is not there: {self._again}")
        return _read(path, self._train_ids, size, palette=self._palette)


class _StoredPredictions:
    """The label maps that predict-city left in the store, as trainIds."""

    def __init__(self, plan: Plan, city: str) -> None:
        self._made = CityPredictions(city, plan)
        self._train_ids = _train_ids(self._made.classes)
        self._palette = plan.city(city).predictions.ids == "palette"

    def of(
        self,
        image_id: str,
        jpeg: bytes,  # noqa: ARG002 - their key has the images in it
        size: tuple[int, int],
    ) -> npt.NDArray[np.uint8] | None:
        path = self._made.label_file(image_id)
        if path is None:
            return None
        return _read(path, self._train_ids, size, palette=self._palette)


_Predictions = _Predicted | _StoredPredictions


def _train_ids(classes: Mapping[str, int]) -> npt.NDArray[np.uint8]:
    """The trainId of every id that label maps hold, void where the class is none of the 19."""
    table = np.full(256, VOID, dtype=np.uint8)
    for road_class in CLASSES:
        if road_class.name in classes:
            table[classes[road_class.name]] = road_class.train_id
    return table


def _read(
    path: Path, train_ids: npt.NDArray[np.uint8], size: tuple[int, int], *, palette: bool
) -> npt.NDArray[np.uint8]:
    found: npt.NDArray[np.uint8] = train_ids[
        decode_label_png(path.read_bytes(), str(path), size=size, palette=palette)
    ]
    return found


def _priors(plan: Plan, city: str, harvest: Harvest) -> ArtifactRef | None:
    try:
        return extracted(harvest.pairs, city, plan)
    except InputError:
        return None  # none were extracted, and images alone are worth exporting


def _splits(store: Store, pairs: ArtifactRef) -> dict[str, str]:
    rows = read_rows(store, pairs, "pairs.parquet", PAIRS, (*IMAGES_OF_PAIR, "split"))
    return {image_id: str(row["split"]) for row in rows for image_id in images_of(row)}


def _items(
    imagery: Imagery,
    ids: list[str],
    labels: _Predictions | None,
    masks: StoredPriors,
    splits: dict[str, str],
    workers: int,
) -> Iterator[ExportItem]:
    def item(image_id: str) -> ExportItem:
        row = imagery.row(image_id)
        size = int(row["height"]), int(row["width"])
        jpeg, mask = imagery.data(image_id), masks.mask(image_id)
        return ExportItem(
            image_id=image_id,
            jpeg=jpeg,
            size=size,
            labels=None if labels is None else labels.of(image_id, jpeg, size),
            static=None if mask is None else decode_mask_png(mask, image_id, size=size),
            split=splits.get(image_id, str(row["split"] or "train")),
            **_known_facts(row),
        )

    waiting = iter(ids)
    with ThreadPoolExecutor(max(1, workers)) as pool:
        while some := list(islice(waiting, _AT_ONCE)):
            yield from pool.map(item, some)


def _known_facts(row: Row) -> dict[str, Any]:
    names = ("lat", "lon", "heading", "captured_at", "place_id", "page_url")
    terms = {name: str(row[name]) for name in ("licence", "attribution")}
    return {**{name: row[name] for name in names}, **terms}
