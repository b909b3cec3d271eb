"""Harvest a city: images of many places at two times each, and the pairs among them."""

from __future__ import annotations

from prefect import flow, unmapped

from adapters.store import ArtifactRef
from flows.runner import one_part_at_a_time
from tasks.harvesting.harvest import (
    choose_pairs,
    harvest_part,
    harvest_parts,
    join_imagery,
    list_captures,
)
from tasks.steps.workspace import DEFAULT_CATALOG


@flow(name="harvest-city", flow_run_name="harvest-{city}", task_runner=one_part_at_a_time())
def harvest_city(city: str, catalog: str = DEFAULT_CATALOG) -> ArtifactRef:
    """Fetches a city's images and chooses its pairs.

    Args:
        city: A city of the catalog.
        catalog: Path of the catalog.

    Returns:
        The `pairs` artifact.
    """
    captures = list_captures(city, catalog)
    parts = harvest_part.map(
        unmapped(captures),
        harvest_parts(captures, city, catalog),
        unmapped(city),
        unmapped(catalog),
    ).result()
    imagery = join_imagery(parts, city, catalog)
    return choose_pairs(imagery, city, catalog)
