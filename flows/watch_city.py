"""Look for imagery that is newer than a city's last harvest, add it, and say so."""

from __future__ import annotations

from prefect import flow, unmapped

from adapters.store import ArtifactRef
from flows.runner import one_part_at_a_time
from tasks.harvesting.harvest import harvest_part, harvest_parts
from tasks.harvesting.watch import add_imagery, add_pairs, announce_imagery, find_new_captures
from tasks.steps.workspace import DEFAULT_CATALOG


@flow(name="watch-city", flow_run_name="watch-{city}", task_runner=one_part_at_a_time())
def watch_city(city: str, catalog: str = DEFAULT_CATALOG) -> ArtifactRef | None:
    """Adds what was captured since; artifacts that are there stay as they are.

    Args:
        city: A city of the catalog that was harvested.
        catalog: Path of the catalog.

    Returns:
        The `pairs` artifact that is current now, ``None`` if there was nothing new.
    """
    captures = find_new_captures(city, catalog)
    if captures is None:
        return None
    parts = harvest_part.map(
        unmapped(captures),
        harvest_parts(captures, city, catalog),
        unmapped(city),
        unmapped(catalog),
    ).result()
    imagery = add_imagery(parts, city, catalog)
    pairs = add_pairs(imagery, city, catalog)
    announce_imagery(city, imagery, pairs, catalog)
    return pairs
