"""Which places of a city a recipe learns from the labels of, as `crosscity suggest` ranks them."""

from __future__ import annotations

import json
from collections.abc import Sequence

from adapters.store import ArtifactRef, Draft
from tasks.harvesting.current import Harvest
from tasks.judging.suggestion import suggested_places
from tasks.steps.artifact_task import Made, artifact_task
from tasks.steps.errors import InputError
from tasks.steps.identity import make
from tasks.steps.plan import Plan
from tasks.steps.schemas import IMAGES_OF_PAIR, PAIRS, images_of
from tasks.steps.tables import read_rows
from tasks.training.extras import CHOICE, check_enough, labelled_places
from tasks.training.identities import choice_identity


@artifact_task("choose places", run_name="choose places of {city} for {arm}")
def choose_places(
    segmenter: ArtifactRef,
    labels: Sequence[ArtifactRef],
    imagery: ArtifactRef,
    pairs: ArtifactRef,
    teacher: ArtifactRef | None,
    arm: str,
    city: str,
    plan: Plan,
) -> Made:
    """Ranks the labelled places of a city by how much their labels would say.

    Two signals: how often the two times of a place disagree, and how often a teacher and the
    segmenter do, where the recipe has another teacher.
    """
    entry = plan.recipe(arm)
    if entry is None or entry.labels is None:
        raise InputError(f"the arm {arm!r} learns from no labels that could be chosen")
    there = labelled_places(plan.open_store(), labels)
    check_enough(len(there), entry.labels, arm)

    def write(draft: Draft, _key: str) -> None:
        # Of these pairs: the city may stand on others by now.
        harvest = Harvest(imagery, pairs)
        ranked = suggested_places(plan, city, 10**6, segmenter, teacher, harvest=harvest)
        order = ranked_names(there, [each.place_id for each in ranked], plan, pairs)
        (draft.path / CHOICE).write_text(json.dumps(order) + "\n", encoding="utf-8")
        draft.summary = {"ranked": len(ranked), "labelled": len(there)}

    identity = choice_identity(segmenter, labels, imagery, pairs, teacher, arm, city, plan)
    return make(plan.open_store(), identity, write)


def ranked_names(
    there: Sequence[str], ranked: Sequence[str], plan: Plan, pairs: ArtifactRef
) -> list[str]:
    """Labelled images in the order of their places; those of places without a rank come last.

    Args:
        there: Labelled images, by id.
        ranked: Places, the best first.
        plan: The run's plan.
        pairs: Which images are of which place.
    """
    place_of = {
        image_id: row["place_id"]
        for row in read_rows(
            plan.open_store(), pairs, "pairs.parquet", PAIRS, (*IMAGES_OF_PAIR, "place_id")
        )
        for image_id in images_of(row)
    }
    rank = {place: number for number, place in enumerate(ranked)}
    return sorted(there, key=lambda name: rank.get(place_of.get(name, ""), len(rank)))
