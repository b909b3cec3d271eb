"""Look for imagery that is newer than a city's last harvest, add it, and say so."""

from __future__ import annotations

from prefect import flow, unmapped

from adapters.store import ArtifactRef
from flows.beginning import BEGINNING
from flows.runner import one_part_at_a_time
from tasks.harvesting.current import Harvest, announce_landed, current_harvest, grow_harvest
from tasks.harvesting.harvest import harvest_part, harvest_parts
from tasks.harvesting.watch import add_imagery, add_pairs, find_new_captures, landed_event
from tasks.steps.defaults import DEFAULT_CATALOG
from tasks.steps.plan import open_plan


@flow(
    name="watch-city",
    flow_run_name="watch-{city}",
    task_runner=one_part_at_a_time(),
    on_running=BEGINNING,
)
def watch_city(
    city: str, catalog: str = DEFAULT_CATALOG, compute: str | None = None
) -> ArtifactRef | None:
    """Adds what was captured since; artifacts that are there stay as they are.

    Args:
        city: A city of the catalog that was harvested.
        catalog: Path of the catalog.
        compute: A compute profile of the catalog; default: the machine's.

    Returns:
        The `pairs` artifact that is current now, ``None`` if there was nothing new.
    """
    plan = open_plan(catalog, compute, city=city)
    announce_landed(city, plan)  # what a run that died had added
    while True:
        before = current_harvest(city, plan)
        captures = find_new_captures(before, city, plan)
        if captures is None:
            return None
        parts = harvest_part.map(
            unmapped(captures), harvest_parts(captures, city, plan), unmapped(city), unmapped(plan)
        ).result()
        imagery = add_imagery(before, parts, city, plan)
        grown = Harvest(imagery, add_pairs(before, imagery, city, plan))
        landed = landed_event(city, grown.imagery, grown.pairs, plan)
        if grow_harvest(before, grown, city, plan, events=[landed]):
            announce_landed(city, plan)
            return grown.pairs
        # Another run changed the harvest meanwhile: what is new beside that one?
