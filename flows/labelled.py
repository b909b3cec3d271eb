"""The shards of images of sets that several flows read, with labels or without."""

from __future__ import annotations

from prefect import unmapped

from adapters.store import ArtifactRef
from tasks.steps.plan import Plan
from tasks.training.labelled import (
    labelled_part,
    labelled_parts,
    sets_as_first_listed,
    unlabelled_part,
    unlabelled_parts,
)


def labelled_shards(
    plan: Plan, owner: str, split: str, pairs: ArtifactRef | None = None
) -> list[ArtifactRef]:
    """The labelled images of a data set, or of a city with its pairs, one reference a shard."""
    with sets_as_first_listed():
        shards: list[ArtifactRef] = labelled_part.map(
            unmapped(owner),
            unmapped(split),
            unmapped(pairs),
            labelled_parts(owner, split, pairs, plan),
            unmapped(plan),
        ).result()
    return shards


def unlabelled_shards(plan: Plan, dataset: str, split: str) -> list[ArtifactRef]:
    """The images of a data set that are adapted to, one reference a shard; no label is read."""
    with sets_as_first_listed():
        shards: list[ArtifactRef] = unlabelled_part.map(
            unmapped(dataset),
            unmapped(split),
            unlabelled_parts(dataset, split, plan),
            unmapped(plan),
        ).result()
    return shards
