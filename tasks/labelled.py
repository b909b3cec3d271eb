"""Labelled images: source sets to train on, test places of a city to score on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from adapters.catalog import SimulatedLabels
from adapters.datasets.base import DatasetError, LabelledDataset
from adapters.datasets.cross_city import CrossCityDataset
from adapters.datasets.simulated import SimulatedDataset
from adapters.images import (
    ImageError,
    decode_image,
    decode_label_png,
    encode_label_png,
    encode_png,
)
from adapters.store import ArtifactRef, Draft, Store
from crosscity.simulation import ALGORITHM_VERSION as SIMULATION_VERSION
from tasks import progress
from tasks.artifact_task import Made, artifact_task, make_once
from tasks.errors import InputError, check_failures
from tasks.parallel import in_parallel
from tasks.schemas import FAILED, LABELLED, OK, PAIRS
from tasks.tables import Row, failures, part_name, read_rows, write_rows
from tasks.workspace import Workspace, open_workspace

LABELLED_VERSION = f"1-simulation.{SIMULATION_VERSION}"
PART_SIZE = 100
"""Images a shard: what a kill can lose."""
FAILURE_LIMIT = 0.05
"""Of a labelled set; a set with more broken images than that is not the set that was meant."""


def labelled_parts(owner: str, split: str, pairs: ArtifactRef | None, catalog: str) -> list[int]:
    """The shards in which a split is read.

    Args:
        owner: A data set or a city of the catalog.
        split: "train", "val" or "test"; of a city, "train" is what fine-tuning may use.
        pairs: The city's pairs, which say where its test places are; ``None`` for a data set.
        catalog: Path of the catalog.
    """
    workspace = open_workspace(catalog)
    samples = labelled_set(workspace, owner, pairs).samples(split)
    if not samples:
        raise InputError(f"{owner} has no labelled images in its split {split!r}")
    return list(range(-(-len(samples) // PART_SIZE)))


@artifact_task("read labelled images", run_name="labelled images of {owner}, {split}, part {part}")
def labelled_part(
    owner: str, split: str, pairs: ArtifactRef | None, part: int, catalog: str
) -> Made:
    """Reads (or renders) one shard of labelled images into the store."""
    workspace = open_workspace(catalog)
    source = labelled_set(workspace, owner, pairs)
    samples = source.samples(split)
    wanted = samples[part * PART_SIZE : (part + 1) * PART_SIZE]
    stage = f"labelled {owner} {split}"

    def write(draft: Draft, _key: str) -> None:
        def read(sample: str) -> Row:
            row = _labelled_row(source, sample)
            progress.advance(stage, 1, len(samples))
            return row

        rows = in_parallel(read, wanted, workers=workspace.compute.workers)
        failed = failures(rows)
        check_failures("labelled images", failed, len(rows), FAILURE_LIMIT)
        write_rows(draft, part_name(part), rows, LABELLED)
        draft.summary = {"failures": failed}

    made = make_once(
        workspace.store,
        "labelled",
        owner,
        inputs={},
        parameters={
            "split": split,
            "part": part,
            "samples": list(wanted),
            **_identity(workspace, owner),
        },
        version=LABELLED_VERSION,
        write=write,
    )
    if made.cached:
        progress.advance(stage, len(wanted), len(samples))
    return made


def labelled_set(workspace: Workspace, owner: str, pairs: ArtifactRef | None) -> LabelledDataset:
    """The labelled set of a data set or a city of the catalog."""
    if owner in workspace.catalog.datasets:
        entry = workspace.catalog.datasets[owner]
        return SimulatedDataset(
            entry.style,
            seed=entry.seed,
            image_size=entry.image_size,
            splits={"train": entry.train, "val": entry.val, "test": entry.test},
        )
    city = workspace.city(owner)
    if city.labels is None:
        raise InputError(
            f"cities.{owner} has no labels in the catalog, so nothing can be scored there"
        )
    if not isinstance(city.labels, SimulatedLabels):
        root = workspace.folder(city.labels.root, key=f"cities.{owner}.labels.root")
        return CrossCityDataset(root, city.labels.city or owner)
    if city.provider.kind != "simulated" or pairs is None:
        raise InputError(f"cities.{owner}: simulated labels need the simulated provider")
    places = _places_by_split(workspace.store, pairs)
    return SimulatedDataset(
        city.provider.style,
        seed=city.seed,
        image_size=city.image_size,
        splits={
            "test": places["test"],
            "train": places["train"][: city.labels.fine_tune_places],
        },
    )


class StoredLabelled:
    """The images of labelled shards, decoded when asked for; bad rows are left out."""

    def __init__(self, store: Store, parts: Sequence[ArtifactRef]) -> None:
        self._rows: list[Row] = []
        for ref in parts:
            for name in sorted(store.manifest(ref).files):
                self._rows += [
                    row for row in read_rows(store, ref, name, LABELLED) if row["status"] == OK
                ]
        if not self._rows:
            raise InputError("there is no labelled image to work on")

    def __len__(self) -> int:
        return len(self._rows)

    def images(self, indices: Sequence[int]) -> npt.NDArray[np.uint8]:
        """(N, H, W, 3) uint8 RGB."""
        return np.stack([decode_image(self._rows[i]["image"], self.name(i)) for i in indices])

    def labels(self, indices: Sequence[int]) -> npt.NDArray[np.uint8]:
        """(N, H, W) uint8 trainIds, 255 where void."""
        return np.stack([decode_label_png(self._rows[i]["labels"], self.name(i)) for i in indices])

    def name(self, index: int) -> str:
        """The sample's id."""
        return str(self._rows[index]["sample"])


def _identity(workspace: Workspace, owner: str) -> dict[str, object]:
    """What, beside its id, determines a sample's pixels."""
    if owner in workspace.catalog.datasets:
        entry = workspace.catalog.datasets[owner]
        return {"style": entry.style, "seed": entry.seed, "image_size": list(entry.image_size)}
    city = workspace.city(owner)
    return {
        "provider": city.provider.model_dump(include={"kind", "style", "city"}),
        "seed": city.seed,
        "image_size": list(city.image_size),
    }


def _places_by_split(store: Store, pairs: ArtifactRef) -> dict[str, list[str]]:
    places: dict[str, list[str]] = {"train": [], "test": []}
    for row in read_rows(store, pairs, "pairs.parquet", PAIRS):
        if row["place_id"] not in places[row["split"]]:
            places[row["split"]].append(row["place_id"])
    return places


def _labelled_row(source: LabelledDataset, sample: str) -> Row:
    try:
        read = source.read(sample)
    except (DatasetError, ImageError) as error:
        return {
            **dict.fromkeys(LABELLED.names),
            "sample": sample,
            "status": FAILED,
            "reason": " ".join(str(error).split()),
        }
    return {
        "sample": sample,
        "image": encode_png(read.image),
        "labels": encode_label_png(read.train_ids),
        "status": OK,
        "reason": None,
    }
