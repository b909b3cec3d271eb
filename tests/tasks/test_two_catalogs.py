"""Two catalogs that describe one city differently, on one store: nothing mixes, and it is said."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tasks.harvesting.current import Harvest, current_harvest, settle_harvest
from tasks.steps.errors import StaleError
from tasks.steps.plan import Plan, open_plan
from tests.harvested import harvested


def settled(plan: Plan) -> Harvest:
    """The steps of harvest-city, without a server."""
    found = Harvest(*harvested(plan))
    return settle_harvest(found, "tokyo", plan, add=lambda before, _: before)


def test_each_is_told_of_the_others_harvest_and_finds_its_own_again(
    write_catalog: Any, tmp_path: Path
) -> None:
    store = {"local": {"url": str(tmp_path / "store")}}
    mine, theirs = (
        open_plan(
            write_catalog(
                tmp_path / name, {"seed": seed, "places": 4, "test_places": 1}, stores=store
            ),
            city="tokyo",
        )
        for name, seed in (("mine", 3), ("theirs", 4))
    )
    first = settled(mine)
    with pytest.raises(StaleError, match="made with seed 3, the catalog says 4"):
        current_harvest("tokyo", theirs)
    second = settled(theirs)
    assert current_harvest("tokyo", theirs) == second
    assert {first.imagery.key, first.pairs.key}.isdisjoint({second.imagery.key, second.pairs.key})
    with pytest.raises(StaleError, match="made with seed 4, the catalog says 3"):
        current_harvest("tokyo", mine)
    count = len(list(mine.open_store().artifacts()))
    assert settled(mine) == first
    assert len(list(mine.open_store().artifacts())) == count, "found, not made again"
    assert current_harvest("tokyo", mine) == first
