"""Compare two segmenters on the images, pairs and labels of a city, or of a transfer's target."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from prefect import flow

from adapters.store import ArtifactRef
from flows.beginning import BEGINNING
from flows.labelled import labelled_shards, unlabelled_shards
from flows.pretrain_segmenter import pretrain_by
from flows.runner import one_part_at_a_time
from tasks.harvesting.current import current_harvest
from tasks.judging.compared_segmenters import Compared, compared_segmenter, place_to_look_at
from tasks.judging.copy_comparison import compare_on_copies
from tasks.judging.differences import compare_on_images
from tasks.judging.evaluation import evaluate
from tasks.judging.pair_comparison import check_same_classes, compare_on_pairs
from tasks.judging.promotion import has_labels
from tasks.judging.set_differences import compare_on_set, shown_images
from tasks.pages.comparison import CAPTIONS, write_comparison
from tasks.steps.defaults import DEFAULT_CATALOG
from tasks.steps.plan import Plan, open_plan
from tasks.training.segmenters import starting_segmenter
from tasks.training.trained import TrainedSegmenters


@flow(
    name="compare-segmenters",
    flow_run_name="compare-{first}-{second}",
    task_runner=one_part_at_a_time(),
    on_running=BEGINNING,
)
def compare_segmenters(
    first: str,
    second: str,
    on: str | None = None,
    seed: int = 0,
    catalog: str = DEFAULT_CATALOG,
    compute: str | None = None,
) -> ArtifactRef:
    """Has two segmenters look at the same images, and writes a page of what they see.

    Args:
        first: A key in the store, a segmenter of the catalog by its name, a city or transfer (its
            segmenter in use, else its adaptation), NAME@DATE (the one that was in use then), or
            NAME:ARM (what an arm left there).
        second: Likewise.
        on: The city or transfer whose images are looked at; default: the one that the two are
            about.
        seed: Of the trainings of segmenters that are given by a name and not by a key.
        catalog: Path of the catalog.
        compute: A compute profile of the catalog; default: the machine's.

    Returns:
        The `comparison` artifact.
    """
    plan = open_plan(catalog, compute)
    compared = [compared_segmenter(plan, word, seed) for word in (first, second)]
    place = place_to_look_at(plan, compared, on)
    see = _seen_in_transfer if place in plan.transfers else _seen_in_city
    return write_comparison(see(plan, compared, seed, place), (first, second), place, plan)


def _seen_in_city(
    plan: Plan, compared: Sequence[Compared], seed: int, city: str
) -> dict[str, ArtifactRef]:
    """What the two see in images and on pairs of a city, and their scores where it has labels."""
    harvest = current_harvest(city, plan)
    both = _both(plan, compared, seed, city)
    imagery, pairs = harvest.imagery, harvest.pairs
    parts = {
        "first": both[0],
        "second": both[1],
        "imagery": imagery,
        "differences": compare_on_images(*both, imagery, city, plan, CAPTIONS),
        "pair_comparison": compare_on_pairs(*both, imagery, pairs, city, plan),
    }
    if has_labels(city, plan):
        parts |= _scores(both, labelled_shards(plan, city, "test", pairs), seed, city, plan)
    return parts


def _seen_in_transfer(
    plan: Plan, compared: Sequence[Compared], seed: int, transfer: str
) -> dict[str, ArtifactRef]:
    """What the two see in the images that a transfer is scored on, else in those of its target."""
    both = _both(plan, compared, seed, transfer)
    sets, split = plan.transfer(transfer), plan.scored_split(transfer)
    if split is None:
        images = unlabelled_shards(plan, sets.target, sets.target_split)
    else:
        images = labelled_shards(plan, sets.target, split)
    parts = {
        "first": both[0],
        "second": both[1],
        **shown_images(images),
        "differences": compare_on_set(*both, images, transfer, plan, CAPTIONS),
        "pair_comparison": compare_on_copies(*both, images, transfer, plan),
    }
    return parts if split is None else parts | _scores(both, images, seed, transfer, plan)


def _both(
    plan: Plan, compared: Sequence[Compared], seed: int, place: str
) -> tuple[ArtifactRef, ArtifactRef]:
    """The two segmenters in the store; they know the same classes."""
    first, second = (
        _named(plan, each.word, seed, place) if each.ref is None else each.ref for each in compared
    )
    check_same_classes(plan.open_store(), first, second)
    return first, second


def _scores(
    both: tuple[ArtifactRef, ArtifactRef],
    labelled: Sequence[ArtifactRef],
    seed: int,
    place: str,
    plan: Plan,
) -> dict[str, ArtifactRef]:
    """The evaluations of the two on labelled images, by role."""
    parts = {}
    for role, ref in zip(("first", "second"), both, strict=True):
        made_by: Mapping[str, Any] = plan.open_store().manifest(ref).parameters
        arm = str(made_by.get("arm", "pretrained"))
        if "arm" in made_by and ref.city != place:
            arm = f"{ref.city}-{arm}"  # not what that arm left here
        # A key may be of another seed's training: its scores are noted as that one's.
        of_seed = int(made_by.get("seed", seed))
        parts[f"evaluation-{role}"] = evaluate(ref, labelled, arm, of_seed, place, plan)
    return parts


def _named(plan: Plan, segmenter: str, seed: int, place: str) -> ArtifactRef:
    """A segmenter of the catalog: taken in where it comes trained, else as it was trained."""
    if starting_segmenter(plan, segmenter, seed).is_trained:
        return pretrain_by(plan, segmenter, seed)
    absent = f"the segmenter {segmenter!r} is not trained yet"
    return TrainedSegmenters(place, seed, plan).pretrained(segmenter, absent)
