"""The shards of labelled images that several flows read."""

from __future__ import annotations

from prefect import unmapped

from adapters.store import ArtifactRef
from tasks.steps.plan import Plan
from tasks.training.labelled import labelled_part, labelled_parts


def labelled_shards(
    plan: Plan, owner: str, split: str, pairs: ArtifactRef | None = None
) -> list[ArtifactRef]:
    """The labelled images of a data set, or of a city with its pairs, one reference a shard."""
    shards: list[ArtifactRef] = labelled_part.map(
        unmapped(owner),
        unmapped(split),
        unmapped(pairs),
        labelled_parts(owner, split, pairs, plan),
        unmapped(plan),
    ).result()
    return shards
