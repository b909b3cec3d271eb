"""The labelled images that a segmenter gets most wrong: found among all of them, and drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch

from adapters.store import ArtifactRef, Draft, Store
from crosscity.evaluation import ScoringProtocol, confusion_matrix, scored_counts
from crosscity.resizing import resized_map
from crosscity.segmenters import Segmenter
from tasks.judging.differences import PICTURE_BYTES
from tasks.judging.evaluated import EVALUATION_VERSION
from tasks.judging.evaluation import before_after, scored_network, seen_by
from tasks.judging.scoring_rules import Rules, rules_of
from tasks.steps import progress
from tasks.steps.artifact_task import Made, artifact_task, digests
from tasks.steps.dashboard import small_jpeg
from tasks.steps.device import device_turn
from tasks.steps.identity import Identity, Words, make
from tasks.steps.plan import Plan
from tasks.steps.schemas import WORST
from tasks.steps.tables import Row, read_rows, write_rows
from tasks.training.identities import TRAINING_VERSION
from tasks.training.labelled import StoredLabelled

WORST_VERSION: Final = f"1-{EVALUATION_VERSION}-{TRAINING_VERSION}"
PICTURES: Final = 6
NOT_SCORED: Final = "a class that is not scored"
_TABLE: Final = "images.parquet"


@dataclass(frozen=True)
class WorstImage:
    """A picture of a `worst_images` artifact.

    Attributes:
        file: Its name.
        sample: The labelled image.
        right: Share of its scored pixels that are right, in [0, 1].
        truth: What the largest mistake is; ``None`` where there is none.
        taken_for: What that was taken for.
        mistaken: Share of the scored pixels that the mistake takes, in [0, 1].
    """

    file: str
    sample: str
    right: float
    truth: str | None
    taken_for: str | None
    mistaken: float


@artifact_task("find the worst images", run_name="worst images of {arm} on {city}")
def find_worst_images(
    before: ArtifactRef,
    after: ArtifactRef,
    parts: Sequence[ArtifactRef],
    arm: str,
    seed: int,
    city: str,
    plan: Plan,
) -> Made:
    """Looks at every labelled image alone, and draws those of which least is right.

    Args:
        before: The segmenter that an adaptation began with.
        after: The one whose mistakes are looked for.
        parts: Labelled shards that it is scored on.
        arm: What made it.
        seed: Of its training.
        city: Or transfer.
        plan: The run's plan.
    """
    torch.set_num_threads(plan.compute.threads)
    rules = rules_of(plan, city)

    def write(draft: Draft, _key: str) -> None:
        with device_turn(plan, city):
            look(draft)

    def look(draft: Draft) -> None:
        images = StoredLabelled(plan.open_store(), parts)
        networks = scored_network(before, plan), scored_network(after, plan)
        rows = []
        for index in range(len(images)):
            rows.append(_row(networks[1], images, index, rules))
            progress.advance(f"worst images {city}", 1, len(images))
        write_rows(draft, _TABLE, rows, WORST)
        pictures = []
        for number, index in enumerate(worst_first(rows)[:PICTURES]):
            name = f"worst-{number:02d}.jpg"
            picture = before_after(networks, images, index, rules)
            (draft.path / name).write_bytes(small_jpeg(picture, PICTURE_BYTES))
            pictures.append({"file": name, "sample": rows[index]["sample"]})
        draft.summary = {"pictures": pictures}

    identity = worst_identity(before, after, parts, arm, seed, city, plan)
    return make(plan.open_store(), identity, write)


def worst_identity(
    before: ArtifactRef,
    after: ArtifactRef,
    parts: Sequence[ArtifactRef],
    arm: str,
    seed: int,
    city: str,
    plan: Plan,
) -> Identity:
    """What decides the worst images; arguments as of `find_worst_images`."""
    return Identity(
        "worst_images",
        city,
        inputs={"before": before, "after": after, **digests(parts)},
        parameters={"pictures": PICTURES, **rules_of(plan, city).parameters()},
        version=WORST_VERSION,
        words=Words(
            what=f"the worst images of {arm!r} of {city} were",
            absent=f"nobody has looked for the worst images of {arm!r} of {city} yet",
            verb=f"crosscity report {city} --seed {seed}",
        ),
    )


def read_worst(store: Store, ref: ArtifactRef) -> list[WorstImage]:
    """The pictures of a `worst_images` artifact, the worst first."""
    rows = {row["sample"]: row for row in read_rows(store, ref, _TABLE, WORST)}
    drawn: Any = store.manifest(ref).summary["pictures"]
    return [_worst(each["file"], rows[each["sample"]]) for each in drawn]


def worst_first(rows: Sequence[Row]) -> list[int]:
    """Places of rows that have a scored pixel, by the share that is right; ties by the sample."""
    scored = [index for index, row in enumerate(rows) if row["pixels"]]
    return sorted(scored, key=lambda i: (rows[i]["right"] / rows[i]["pixels"], rows[i]["sample"]))


def _worst(file: str, row: Row) -> WorstImage:
    pixels = row["pixels"]
    return WorstImage(
        file=file,
        sample=row["sample"],
        right=row["right"] / pixels,
        truth=row["truth"],
        taken_for=row["taken_for"],
        mistaken=row["mistaken"] / pixels,
    )


def _row(network: Segmenter, images: StoredLabelled, index: int, rules: Rules) -> Row:
    """The image alone, as `evaluate` counts it among all."""
    labels = resized_map(images.labels([index])[0], rules.label_size)
    predicted = seen_by(network, images.images([index])[0], labels.shape, rules)
    confusion = confusion_matrix(labels, predicted, network.n_classes)
    found = mistakes(confusion, rules.protocol, network.class_names)
    return {"sample": images.name(index), **found}


def mistakes(
    confusion: npt.NDArray[np.int64], protocol: ScoringProtocol, class_names: Sequence[str]
) -> Row:
    """How much of an image is right, and its largest mistake, as columns of `WORST`."""
    counts, missed = scored_counts(confusion, protocol, class_names)
    right = int(np.trace(counts))
    wrong = np.concatenate([counts, missed[:, None]], axis=1)
    np.fill_diagonal(wrong, 0)
    truth, taken_for = (int(each) for each in np.unravel_index(wrong.argmax(), wrong.shape))
    largest = int(wrong[truth, taken_for])
    names = (*protocol.classes, NOT_SCORED)
    return {
        "pixels": int(counts.sum() + missed.sum()),
        "right": right,
        "truth": names[truth] if largest else None,
        "taken_for": names[taken_for] if largest else None,
        "mistaken": largest,
    }
