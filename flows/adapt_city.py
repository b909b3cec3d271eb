"""Adapt the pre-trained segmenter to a city, without a single label of it."""

from __future__ import annotations

from dataclasses import dataclass

from prefect import flow

from adapters.store import ArtifactRef
from flows.beginning import BEGINNING
from flows.extras import check_extras, extras_by
from flows.labelled import labelled_shards
from flows.pretrain_segmenter import pretrain_by
from flows.runner import named_by_arm, one_part_at_a_time, planned_flow
from tasks.harvesting.current import Harvest, current_harvest
from tasks.priors.identities import extracted
from tasks.steps.defaults import DEFAULT_CATALOG
from tasks.steps.plan import Plan, open_plan
from tasks.training.arms import check_source, is_fine_tuned, needs_of_arm
from tasks.training.identities import segmenter_of, source_of
from tasks.training.labelled import labelled_parts
from tasks.training.trainings import adapt, check_adaptation, fine_tune


@dataclass(frozen=True)
class Adapted:
    """What an adaptation left.

    Attributes:
        start: The pre-trained segmenter that it began with.
        segmenter: The adapted one.
    """

    start: ArtifactRef
    segmenter: ArtifactRef


@flow(
    name="adapt-city",
    flow_run_name=named_by_arm("adapt"),
    task_runner=one_part_at_a_time(),
    on_running=BEGINNING,
)
def adapt_city(
    city: str,
    arm: str | None = None,
    seed: int = 0,
    catalog: str = DEFAULT_CATALOG,
    compute: str | None = None,
) -> ArtifactRef:
    """Adapts to the pairs of the last harvest and, where the arm uses them, their static priors.

    Args:
        city: A city of the catalog that was harvested.
        arm: "control", "bn", "ga", "ga_ca", "full" or "self_training"; "source_free" and
            "source_free_looks", which read no source image; a recipe of the catalog by its name;
            "fine_tuned" trains on labels of the city instead, where the catalog has them, as the
            upper bound. Default: `arm` of the city's entry.
        seed: Fixes discriminators, order of images and dropout.
        catalog: Path of the catalog.
        compute: A compute profile of the catalog; default: the machine's.

    Returns:
        The `adaptation` artifact, which holds the adapted segmenter.
    """
    plan = open_plan(catalog, compute, city=city)
    arm = plan.city(city).arm if arm is None else arm
    check_adaptation(city, arm, plan)
    harvest = current_harvest(city, plan)
    masks = extracted(harvest.pairs, city, plan) if needs_of_arm(arm, plan).prior else None
    return adapt_by.fn(plan, city, arm, seed, harvest, masks).segmenter


@planned_flow("adapt-city", "adapt-{city}-{arm}")
def adapt_by(
    plan: Plan, city: str, arm: str, seed: int, harvest: Harvest, masks: ArtifactRef | None
) -> Adapted:
    """`adapt_city` by a plan, to a harvest and its static priors."""
    name = segmenter_of(city, plan)
    if is_fine_tuned(arm):
        labelled_parts(city, "train", harvest.pairs, plan)  # fails before the long work, not after
        start = pretrain_by(plan, name, seed)
        labelled = labelled_shards(plan, city, "train", harvest.pairs)
        return Adapted(start, fine_tune(start, labelled, seed, city, plan))
    check_source(arm, name, plan)
    needs = needs_of_arm(arm, plan)
    if needs.source:
        labelled_parts(source_of(name, plan), "train", None, plan)
    check_extras(plan, city, arm, harvest)
    start = pretrain_by(plan, name, seed)
    shards = labelled_shards(plan, source_of(name, plan), "train") if needs.source else []
    extras = extras_by(plan, city, arm, seed, start, harvest)
    used = masks if needs.prior else None
    made = adapt(start, shards, harvest.imagery, harvest.pairs, used, extras, arm, seed, city, plan)
    return Adapted(start, made)
