"""A harvest by its steps, without a flow: where tests of what comes after it begin."""

from __future__ import annotations

from typing import Any

from adapters.store import ArtifactRef
from tasks.harvesting.harvest import (
    choose_pairs,
    harvest_part,
    harvest_parts,
    join_imagery,
    list_captures,
)
from tasks.steps.plan import Plan


def ref_of(made: Any) -> ArtifactRef:
    """A step's result: a reference, or the state that says that it was found."""
    found = made if isinstance(made, ArtifactRef) else made.result()
    assert isinstance(found, ArtifactRef)
    return found


def fetched(captures: ArtifactRef, plan: Plan, city: str = "tokyo") -> list[ArtifactRef]:
    """The shards of what was listed, with their images."""
    parts = harvest_parts(captures, city, plan)
    return [ref_of(harvest_part.fn(captures, part, city, plan)) for part in parts]


def harvested(plan: Plan, city: str = "tokyo") -> tuple[ArtifactRef, ArtifactRef]:
    """The images and pairs of a city."""
    captures = ref_of(list_captures.fn(city, plan))
    imagery = ref_of(join_imagery.fn(fetched(captures, plan, city), city, plan))
    return imagery, ref_of(choose_pairs.fn(imagery, city, plan))
