"""A task for people who label: images that are worth it, with predictions to be corrected."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import yaml

from adapters.catalog.recipes import BUILT_IN_RECIPES
from adapters.exports import ExportItem, check_licences
from adapters.exports.cvat import CvatExporter
from adapters.store import ArtifactRef
from adapters.tables import write_table
from crosscity.evaluation import predict
from crosscity.labels import CLASSES, VOID
from crosscity.segmenters import in_train_ids
from tasks.harvesting.current import current_harvest
from tasks.judging.suggestion import Suggested
from tasks.pages.whole_folder import whole_folder
from tasks.steps.device import using_device
from tasks.steps.imagery import Imagery
from tasks.steps.plan import Plan
from tasks.training.identities import network_size
from tasks.training.segmenters import stored_segmenter
from tasks.training.trainings import on_device

TABLE: Final = "suggested.parquet"
SHEET: Final = "suggested.csv"
CATALOG_ENTRY: Final = "labels.yaml"
_BACK: Final = (
    "once the task is exported from CVAT as\n"
    '# "Segmentation mask 1.1" and its SegmentationClass lies beside images/.\n'
)
_LONGEST_NAME: Final = 63
_WITHOUT_SOURCE: Final = "few_labels_source_free"
_TERMS: Final = ("licence", "attribution", "page_url")
_TYPES: Final = {"rank": pa.int32(), "points": pa.int64()}
_NUMBERS: Final = frozenset({"score", "times_differ", "segmenters_differ", "lat", "lon"})
SCHEMA: Final = pa.schema(
    [
        pa.field(
            field.name,
            _TYPES.get(field.name, pa.float64() if field.name in _NUMBERS else pa.string()),
        )
        for field in fields(Suggested)
    ]
    + [pa.field(name, pa.string()) for name in _TERMS]
)
"""One row a place, the best first: `Suggested` and the terms of the image."""


def write_labelling_task(
    plan: Plan,
    city: str,
    places: Sequence[Suggested],
    segmenter: ArtifactRef,
    output: Path,
    *,
    allowed: str | None = None,
) -> None:
    """Writes images and predictions as CVAT takes them, the scores, and the way back.

    ```
    images/<image>.jpg    annotations.xml   CVAT for images 1.1: one mask a class, editable
    suggested.parquet     suggested.csv     rank, place, image, signals, terms
    labels.yaml                             what the catalog says once the labels are back: of
                                            training places, a recipe that learns from them; else,
                                            labels that the city is scored on
    ```

    Args:
        plan: Of the catalog.
        city: Was harvested.
        places: From `suggested_places`.
        segmenter: Whose predictions are to be corrected.
        output: Must not be there, or be empty.
        allowed: See `adapters.exports.check_licences`.

    Raises:
        ExportError: A licence does not let an image be passed on.
        InputError: The folder holds something.
    """
    imagery = Imagery(plan.open_store(), current_harvest(city, plan).imagery)
    terms = [imagery.row(place.image_id) for place in places]
    check_licences((str(row["licence"]) for row in terms), allowed=allowed)
    device = plan.compute.device
    with using_device(device, city), whole_folder(output) as folder:
        network = on_device(in_train_ids(stored_segmenter(plan, segmenter)[1]), plan)
        size = network_size(plan, city)
        exporter = CvatExporter(folder, f"{city}: places worth a label")
        for place, row in zip(places, terms, strict=True):
            image = imagery.read(place.image_id)
            labels = predict(network, image, image_size=size)
            exporter.add(_item(place, row, imagery.data(place.image_id), labels))
        exporter.finish()
        rows = [
            {**asdict(place), **{name: row[name] for name in _TERMS}}
            for place, row in zip(places, terms, strict=True)
        ]
        write_table(folder / TABLE, pa.Table.from_pylist(rows, schema=SCHEMA), SCHEMA)
        with (folder / SHEET).open("w", encoding="utf-8", newline="") as file:
            sheet = csv.DictWriter(file, SCHEMA.names)
            sheet.writeheader()
            sheet.writerows(rows)
        entry = scoring_entry(city, output)
        if (name := learned_by(city, places)) is not None:
            entry = learning_entry(plan, city, name, len(places), output)
        (folder / CATALOG_ENTRY).write_text(entry, encoding="utf-8")


def scoring_entry(city: str, output: Path) -> str:
    """What the catalog says of labels that are back, to score the city's segmenters on them."""
    return f"# Below cities.{city} of the catalog, {_BACK}" + yaml.safe_dump(
        {"labels": _labelled_folder(output)}, sort_keys=False
    )


def learning_entry(plan: Plan, city: str, name: str, count: int, output: Path) -> str:
    """What the catalog says of labels that are back, to learn from them.

    A data set, and a recipe of the labels beside everything unlabelled: with the source's labels
    where the city's segmenter has a source.
    """
    like = "few_labels" if plan.segmenter(plan.city(city).segmenter).source else _WITHOUT_SOURCE
    recipe = BUILT_IN_RECIPES[like].model_dump(include={"objectives"}, exclude_defaults=True)
    recipe["labels"] = {"places": count, "chosen": "random", "dataset": name}
    entries = {"datasets": {name: _labelled_folder(output)}, "recipes": {name: recipe}}
    return (
        f"# Entries of the catalog, {_BACK}"
        f"# `crosscity adapt {city} --arm {name}` then learns from these labels and all else.\n"
        + yaml.safe_dump(entries, sort_keys=False)
    )


def learned_by(city: str, places: Sequence[Suggested]) -> str | None:
    """Name of the recipe that learns from the labels of a city's task, and of their data set.

    ``None`` where a place is held out: nobody learns from what is scored on.
    """
    if {place.split for place in places} != {"train"}:
        return None
    return f"few-labels-{city}"[:_LONGEST_NAME]


def _labelled_folder(output: Path) -> dict[str, Any]:
    """An entry of the kind `folder` for what CVAT exports as "Segmentation mask 1.1"."""
    colours = {"#{:02x}{:02x}{:02x}".format(*one.colour): one.name for one in CLASSES}
    return {
        "kind": "folder",
        "root": str(output.absolute()),
        "images": "images",
        "labels": "SegmentationClass",
        "label_map": {**colours, "#000000": "void"},
    }


def _item(
    place: Suggested, row: Mapping[str, Any], jpeg: bytes, labels: npt.NDArray[np.uint8]
) -> ExportItem:
    known = labels.copy()
    known[known >= len(CLASSES)] = VOID  # classes that Cityscapes does not know
    return ExportItem(
        image_id=place.image_id,
        jpeg=jpeg,
        size=(labels.shape[0], labels.shape[1]),
        licence=str(row["licence"]),
        attribution=str(row["attribution"]),
        labels=known,
        split=place.split,
        place_id=place.place_id,
    )
