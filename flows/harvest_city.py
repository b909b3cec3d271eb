"""Harvest a city: images of many places at two times each, and the pairs among them."""

from __future__ import annotations

from collections.abc import Sequence

from prefect import flow, unmapped

from adapters.store import ArtifactRef
from flows.beginning import BEGINNING
from flows.runner import one_part_at_a_time, planned_flow
from tasks.harvesting.current import Harvest, announce_landed, settle_harvest
from tasks.harvesting.harvest import (
    choose_pairs,
    harvest_part,
    harvest_parts,
    join_imagery,
    list_captures,
)
from tasks.harvesting.watch import add_imagery, add_pairs
from tasks.steps.defaults import DEFAULT_CATALOG
from tasks.steps.plan import Plan, open_plan


@flow(
    name="harvest-city",
    flow_run_name="harvest-{city}",
    task_runner=one_part_at_a_time(),
    on_running=BEGINNING,
)
def harvest_city(
    city: str, catalog: str = DEFAULT_CATALOG, compute: str | None = None
) -> ArtifactRef:
    """Fetches a city's images and chooses its pairs.

    Args:
        city: A city of the catalog.
        catalog: Path of the catalog.
        compute: A compute profile of the catalog; default: the machine's.

    Returns:
        The `pairs` artifact that is the city's now.
    """
    return harvest_by.fn(open_plan(catalog, compute, city=city), city).pairs


@planned_flow("harvest-city", "harvest-{city}")
def harvest_by(plan: Plan, city: str) -> Harvest:
    """`harvest_city` by a plan."""
    captures = list_captures(city, plan)
    parts = harvest_part.map(
        unmapped(captures), harvest_parts(captures, city, plan), unmapped(city), unmapped(plan)
    ).result()
    imagery = join_imagery(parts, city, plan)
    found = Harvest(imagery, choose_pairs(imagery, city, plan))

    def add(before: Harvest, more: Sequence[ArtifactRef]) -> Harvest:
        grown = add_imagery(before, more, city, plan)
        return Harvest(grown, add_pairs(before, grown, city, plan))

    settled = settle_harvest(found, city, plan, add)
    announce_landed(city, plan)  # what a run of watch-city that died had added
    return settled
