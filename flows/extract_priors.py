"""Extract the static priors of a harvested city."""

from __future__ import annotations

from dataclasses import dataclass

from prefect import flow, unmapped

from adapters.store import ArtifactRef
from flows.beginning import BEGINNING
from flows.runner import one_part_at_a_time, planned_flow
from tasks.harvesting.current import Harvest, current_harvest
from tasks.priors.extraction import (
    illustrate_prior,
    join_priors,
    prior_part,
    prior_parts,
    prior_parts_on_workers,
)
from tasks.priors.quality import exact_masks_known, measure_priors
from tasks.steps.defaults import DEFAULT_CATALOG
from tasks.steps.plan import Plan, open_plan


@dataclass(frozen=True)
class Priors:
    """What an extraction left.

    Attributes:
        masks: The `static_prior` artifact.
        figure: The `illustration` of one pair.
        quality: Their `prior_quality`, of simulated cities.
    """

    masks: ArtifactRef
    figure: ArtifactRef
    quality: ArtifactRef | None


@flow(
    name="extract-priors",
    flow_run_name="priors-{city}",
    task_runner=one_part_at_a_time(),
    on_running=BEGINNING,
)
def extract_priors(
    city: str, catalog: str = DEFAULT_CATALOG, compute: str | None = None
) -> ArtifactRef:
    """Matches every pair of the last harvest and marks what stayed the same.

    Args:
        city: A city of the catalog that was harvested.
        catalog: Path of the catalog.
        compute: A compute profile of the catalog; default: the machine's.

    Returns:
        The `static_prior` artifact.
    """
    plan = open_plan(catalog, compute, city=city)
    return priors_by.fn(plan, city, current_harvest(city, plan)).masks


@planned_flow("extract-priors", "priors-{city}")
def priors_by(plan: Plan, city: str, harvest: Harvest) -> Priors:
    """`extract_priors` by a plan, of a harvest."""
    shards = prior_parts(harvest.imagery, harvest.pairs, city, plan)
    if plan.compute.runner == "threads":
        parts = prior_part.map(
            unmapped(harvest.imagery),
            unmapped(harvest.pairs),
            shards,
            unmapped(city),
            unmapped(plan),
        ).result()
    else:
        parts = prior_parts_on_workers(harvest.imagery, harvest.pairs, shards, city, plan)
    masks = join_priors(parts, harvest.pairs, city, plan)
    figure = illustrate_prior(harvest.imagery, harvest.pairs, city, plan)
    quality = measure_priors(masks, city, plan) if exact_masks_known(city, plan) else None
    return Priors(masks, figure, quality)
