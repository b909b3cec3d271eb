"""The labelled images that a segmenter gets most wrong: found by its evaluation, and drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch

from adapters.store import ArtifactRef, Draft, Store
from crosscity.illustrations import DRAWING_VERSION
from tasks.judging.differences import PICTURE_BYTES
from tasks.judging.evaluation import before_after, scored_network
from tasks.judging.image_scores import read_image_scores, worst_first, write_image_scores
from tasks.judging.scoring_rules import rules_of
from tasks.steps.artifact_task import Made, artifact_task, digests
from tasks.steps.dashboard import small_jpeg
from tasks.steps.device import device_turn
from tasks.steps.identity import Identity, Words, make
from tasks.steps.plan import Plan
from tasks.steps.tables import Row
from tasks.training.identities import TRAINING_VERSION
from tasks.training.stored_images import StoredLabelled

WORST_VERSION: Final = f"2-{TRAINING_VERSION}-drawing.{DRAWING_VERSION}"
PICTURES: Final = 6


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
    evaluation: ArtifactRef,
    parts: Sequence[ArtifactRef],
    arm: str,
    seed: int,
    city: str,
    plan: Plan,
) -> Made:
    """Draws the labelled images of which least is right, as the evaluation counted them.

    Args:
        before: The segmenter that an adaptation began with.
        after: The one whose mistakes are looked for.
        evaluation: Of `after`, with a row an image.
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
        store = plan.open_store()
        images = StoredLabelled(store, parts)
        places = {images.name(index): index for index in range(len(images))}
        networks = scored_network(before, plan), scored_network(after, plan)
        worst = worst_first(read_image_scores(store, evaluation))[:PICTURES]
        write_image_scores(draft, worst)
        pictures = []
        for number, row in enumerate(worst):
            name = f"worst-{number:02d}.jpg"
            picture = before_after(networks, images, places[row["sample"]], rules)
            (draft.path / name).write_bytes(small_jpeg(picture, PICTURE_BYTES))
            pictures.append({"file": name, "sample": row["sample"]})
        draft.summary = {"pictures": pictures}

    identity = worst_identity(before, after, evaluation, parts, arm, seed, city, plan)
    return make(plan.open_store(), identity, write)


def worst_identity(
    before: ArtifactRef,
    after: ArtifactRef,
    evaluation: ArtifactRef,
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
        inputs={"before": before, "after": after, "evaluation": evaluation, **digests(parts)},
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
    rows = {row["sample"]: row for row in read_image_scores(store, ref)}
    drawn: Any = store.manifest(ref).summary["pictures"]
    return [_worst(each["file"], rows[each["sample"]]) for each in drawn]


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
