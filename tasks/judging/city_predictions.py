"""What the segmenter in use sees in all images of a city, as artifacts, shard by shard."""

from __future__ import annotations

import math
import threading
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import torch

from adapters.predictions import TABLE, PredictionFolder, Wanted, class_rows, table_schema
from adapters.store import ArtifactRef, Draft, Store
from adapters.tables import read_table, write_table
from crosscity import evaluation as evaluation_module
from crosscity.segmenters import Segmenter, in_train_ids
from crosscity.segmenters.label_space import train_id_names
from tasks.harvesting.current import current_harvest
from tasks.judging.chosen_segmenter import chosen_artifact
from tasks.judging.predictions import pictures_of_city, predict_pictures
from tasks.steps import progress
from tasks.steps.artifact_task import Made, artifact_task, digests
from tasks.steps.dashboard import publish_lineage, publish_table
from tasks.steps.device import device_turn
from tasks.steps.errors import check_failures
from tasks.steps.identity import Identity, Words, make, required
from tasks.steps.imagery import Imagery
from tasks.steps.plan import Plan
from tasks.steps.schemas import IMAGERY, OK
from tasks.steps.slices import Slice, deal
from tasks.steps.tables import Row, failures, read_rows
from tasks.training.distorted import distorted_sizes
from tasks.training.identities import TRAINING_VERSION, network_size, size_parameters
from tasks.training.segmenters import stored_segmenter
from tasks.training.stored_networks import read_class_names
from tasks.training.trainings import on_device

PREDICTIONS_VERSION: Final = (
    f"1-evaluation.{evaluation_module.ALGORITHM_VERSION}-{TRAINING_VERSION}"
)
BATCH_SIZE: Final = 8
"""Goes with the version: two classes of equal probability may turn with the size of a batch."""


def segmenter_in_use(city: str, plan: Plan) -> ArtifactRef:
    """The segmenter that the catalog predicts a city with.

    Raises:
        InputError: There is none yet; says what to run.
    """
    given_as = f"cities.{city}.predictions.segmenter"
    return chosen_artifact(plan, plan.city(city).predictions.segmenter, city, given_as)


def prediction_parts(imagery: ArtifactRef, city: str, plan: Plan) -> list[Slice]:
    """The shards in which a city's images are predicted, each with the rows that it reads."""
    store = plan.open_store()
    rows = [
        row for row in read_rows(store, imagery, "imagery.parquet", IMAGERY) if row["status"] == OK
    ]
    rows.sort(key=lambda row: str(row["image_id"]))
    size = _part_size(city, plan)
    count = -(-len(rows) // size)
    return deal(
        store,
        "imagery_slice",
        city,
        inputs={"imagery": imagery},
        size=size,
        count=count,
        slices=lambda: [
            {"imagery.parquet": (rows[part * size : (part + 1) * size], IMAGERY)}
            for part in range(count)
        ],
    )


@artifact_task("predict images", run_name="predict {city}, part {part}")
def predict_part(
    segmenter: ArtifactRef, imagery: ArtifactRef, part: Slice, city: str, plan: Plan
) -> Made:
    """Predicts one shard of a city's images: label maps, what else is wanted, and a row each."""
    store = plan.open_store()
    torch.set_num_threads(plan.compute.threads)
    stage, total = f"predict {city}", store.manifest(imagery).rows or 0

    def write(draft: Draft, _key: str) -> None:
        with device_turn(plan, city):
            predict_on_device(draft)

    def predict_on_device(draft: Draft) -> None:
        pictures = pictures_of_city(Imagery(store, part.ref))
        network = _NETWORKS.opened(segmenter, plan)
        size = network_size(plan, city) or network.trained_size
        folder = PredictionFolder(
            draft.path, network.class_names, _wanted(city, plan), {"segmenter": segmenter.uri}
        )
        done = predict_pictures(
            network,
            pictures,
            folder,
            batch_size=BATCH_SIZE,
            image_size=size,
            workers=plan.compute.workers,
            on_shard=lambda count: progress.advance(stage, count, total),
        )
        draft.rows = done.images
        draft.summary = {
            "failed": len(done.failed),
            "image_size": None if size is None else list(size),
        }

    made = make(store, _part_identity(segmenter, imagery, part.number, city, plan), write)
    if made.cached:
        progress.advance(stage, store.manifest(made.ref).rows or 0, total)
    return made


@artifact_task("join predictions", run_name="join the predictions of {city}")
def join_predictions(
    segmenter: ArtifactRef, parts: Sequence[ArtifactRef], city: str, plan: Plan
) -> Made:
    """The table of all predictions of a city; the label maps stay where the shards are."""
    store = plan.open_store()
    schema = table_schema(_class_names(store, segmenter))
    rows = _rows(store, parts, schema)
    failed = failures(rows)
    check_failures("predictions", failed, len(rows), plan.city(city).failure_limit)
    good = [row for row in rows if row["status"] == OK]
    shares = {
        name.removeprefix("share_"): _mean([row[name] for row in good])
        for name in schema.names
        if name.startswith("share_")
    }

    sizes = Counter((int(row["height"]), int(row["width"])) for row in good)

    def write(draft: Draft, _key: str) -> None:
        table = pa.Table.from_pylist(rows, schema=schema)
        write_table(draft.path / TABLE, table, schema)
        draft.rows = len(rows)
        draft.summary = {
            "images": len(good),
            "failures": failed,
            "mean_confidence": _mean([row["mean_confidence"] for row in good]),
            "shares": shares,
            "remarks": distorted_sizes(sizes, _size_of_parts(store, parts)),
        }

    made = make(store, _joined_identity(segmenter, parts, city), write)
    publish_table(
        f"predictions-{city}",
        [
            {"class": name, "share of the pixels, %": round(100 * share, 2)}
            for name, share in shares.items()
        ],
        f"What {segmenter.uri} sees in {len(good)} images of {city}",
    )
    publish_lineage(f"predictions-{city}-lineage", store, made.ref, "Predictions")
    return made


class _Networks:
    """The segmenter of this process: loading it for every shard costs what a GPU takes for one."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._there: tuple[tuple[str, str, str], Segmenter] | None = None

    def opened(self, ref: ArtifactRef, plan: Plan) -> Segmenter:
        wanted = (repr(plan.open_store()), ref.digest, plan.compute.device)
        with self._lock:
            if self._there is None or self._there[0] != wanted:
                network = on_device(in_train_ids(stored_segmenter(plan, ref)[1]), plan)
                self._there = (wanted, network)
            return self._there[1]


_NETWORKS: Final = _Networks()


class CityPredictions:
    """The predictions that `predict-city` left for what a city has and uses now.

    Args:
        city: A city of the catalog.
        plan: The run's plan.

    Attributes:
        ref: The artifact of all of them.
        classes: The id that label maps hold, by the name of its class.

    Raises:
        InputError: They are not there, or of another segmenter or other images; says what to run.
    """

    def __init__(self, city: str, plan: Plan) -> None:
        self._store = plan.open_store()
        segmenter, imagery = segmenter_in_use(city, plan), current_harvest(city, plan).imagery
        parts = [
            required(self._store, _part_identity(segmenter, imagery, part.number, city, plan))
            for part in prediction_parts(imagery, city, plan)
        ]
        self.ref = required(self._store, _joined_identity(segmenter, parts, city))
        names = _class_names(self._store, segmenter)
        rows = class_rows(names, plan.city(city).predictions.ids)
        self.classes = {row.name: row.id for row in rows}
        schema = table_schema(names)
        self._at = {
            row["image"]: (part, row["labels"])
            for part in parts
            for row in _rows(self._store, [part], schema)
            if row["status"] == OK
        }

    def label_file(self, image_id: str) -> Path | None:
        """The label map of an image; ``None`` where it could not be predicted."""
        found = self._at.get(image_id)
        return None if found is None else self._store.path(*found)


def _part_identity(
    segmenter: ArtifactRef, imagery: ArtifactRef, part: int, city: str, plan: Plan
) -> Identity:
    return Identity(
        "predictions_part",
        city,
        inputs={"segmenter": segmenter, "imagery": imagery},
        parameters={
            "part": part,
            "part_size": _part_size(city, plan),
            **plan.city(city).predictions.model_dump(exclude={"segmenter"}),
            **size_parameters(plan, city),
        },
        version=PREDICTIONS_VERSION,
        words=_words(city),
    )


def _joined_identity(segmenter: ArtifactRef, parts: Sequence[ArtifactRef], city: str) -> Identity:
    return Identity(
        "predictions",
        city,
        inputs={"segmenter": segmenter, **digests(parts)},
        parameters={},
        version=PREDICTIONS_VERSION,
        words=_words(city),
        producer="predictions",
        marks=(),
    )


def _words(city: str) -> Words:
    return Words(
        what=f"the predictions of {city} were",
        absent=f"{city} has no predictions in the store for the segmenter and images of now",
        verb=f"crosscity predict {city}",
        section="predictions.",
        ignored=("part", "part_size"),
    )


def _part_size(city: str, plan: Plan) -> int:
    """Images a shard: as many as the pairs of a shard have."""
    return 2 * plan.city(city).pairs_per_part


def _wanted(city: str, plan: Plan) -> Wanted:
    entry = plan.city(city).predictions
    return Wanted(entry.ids, entry.overlays, entry.confidence)


def _rows(store: Store, parts: Sequence[ArtifactRef], schema: pa.Schema) -> list[Row]:
    rows: list[Row] = []
    for ref in parts:
        rows += read_table(store.path(ref, TABLE), schema).to_pylist()
    return rows


def _size_of_parts(store: Store, parts: Sequence[ArtifactRef]) -> tuple[int, int] | None:
    """The size at which the images of shards went through the network, which is one for all."""
    found: Any = store.manifest(parts[0]).summary.get("image_size") if parts else None
    return None if found is None else (int(found[0]), int(found[1]))


def _class_names(store: Store, segmenter: ArtifactRef) -> tuple[str, ...]:
    """The classes of the predictions: the 19, and behind them what else the segmenter knows."""
    return train_id_names(read_class_names(store, segmenter))


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / max(1, len(values))
