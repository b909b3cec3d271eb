"""Which places of a city a recipe learns from the labels of, as `crosscity suggest` ranks them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

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
    wanted, there = entry.labels, labelled_places(plan.open_store(), labels)
    check_enough(len(there), wanted, arm)

    def write(draft: Draft, _key: str) -> None:
        # Of these pairs: the city may stand on others by now.
        harvest = Harvest(imagery, pairs)
        places = places_of_images(plan, pairs)
        labelled = {places[name] for name in there if name in places}
        # As many as are learned from: how far apart places are to be follows from their number.
        ranked = suggested_places(
            plan, city, wanted.places, segmenter, teacher, harvest=harvest, among=labelled
        )
        order = ranked_names(there, [each.place_id for each in ranked], places)
        (draft.path / CHOICE).write_text(json.dumps(order) + "\n", encoding="utf-8")
        draft.summary = {"ranked": len(ranked), "labelled": len(there)}

    identity = choice_identity(segmenter, labels, imagery, pairs, teacher, arm, city, plan)
    return make(plan.open_store(), identity, write)


def places_of_images(plan: Plan, pairs: ArtifactRef) -> dict[str, str]:
    """The place of each image of a city's pairs, by the image's id."""
    columns = (*IMAGES_OF_PAIR, "place_id")
    return {
        image_id: str(row["place_id"])
        for row in read_rows(plan.open_store(), pairs, "pairs.parquet", PAIRS, columns)
        for image_id in images_of(row)
    }


def ranked_names(
    there: Sequence[str], ranked: Sequence[str], places: Mapping[str, str]
) -> list[str]:
    """Labelled images in the order of their places; those of places without a rank come last.

    Args:
        there: Labelled images, by id.
        ranked: Places, the best first.
        places: Of images, by id.
    """
    rank = {place: number for number, place in enumerate(ranked)}
    return sorted(there, key=lambda name: rank.get(places.get(name, ""), len(rank)))
