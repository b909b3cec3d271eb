"""What each shard of a step needs, dealt once: a shard then reads its own slice and nothing else.

Without it every shard reads the whole tables to take its few rows: work that grows with the square
of the city.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import pyarrow as pa

from adapters.store import ArtifactRef, Draft, Store, artifact_key
from tasks.steps.artifact_task import make_once
from tasks.steps.tables import Row, write_rows

SLICE_VERSION: Final = "1"
"""Bump when slices get other tables."""

Tables = Mapping[str, tuple[Sequence[Row], pa.Schema]]
"""The tables of a slice by file name: rows and schema. The first one's rows are the slice's."""


@dataclass(frozen=True)
class Slice:
    """What one shard reads.

    Attributes:
        number: Of the shard, from 0.
        ref: The artifact that holds its rows.
    """

    number: int
    ref: ArtifactRef

    def __str__(self) -> str:
        return str(self.number)


def deal(
    store: Store,
    kind: str,
    city: str,
    *,
    inputs: Mapping[str, ArtifactRef],
    size: int,
    count: int,
    slices: Callable[[], Sequence[Tables]],
) -> list[Slice]:
    """Finds or makes the slice of every shard, an artifact each.

    Args:
        store: The store.
        kind: Kind of the slices.
        city: City.
        inputs: What the slices are cut from, by role.
        size: Rows a shard.
        count: Number of shards.
        slices: Cuts them; called only if one is not there.

    Returns:
        One slice a shard, in their order.
    """
    made_of = {role: ref.digest for role, ref in inputs.items()}
    wanted: list[dict[str, Any]] = [{"part": part, "part_size": size} for part in range(count)]
    found = [
        store.find(
            kind,
            city,
            artifact_key(kind, inputs=made_of, parameters=one, version=SLICE_VERSION),
        )
        for one in wanted
    ]
    there = [ref for ref in found if ref is not None]
    if len(there) < count:
        there = [
            ref or _made(store, kind, city, inputs, parameters, tables)
            for ref, parameters, tables in zip(found, wanted, slices(), strict=True)
        ]
    return [Slice(number, ref) for number, ref in enumerate(there)]


def _made(
    store: Store,
    kind: str,
    city: str,
    inputs: Mapping[str, ArtifactRef],
    parameters: Mapping[str, Any],
    tables: Tables,
) -> ArtifactRef:
    def write(draft: Draft, _key: str) -> None:
        for name, (rows, schema) in reversed(list(tables.items())):
            write_rows(draft, name, rows, schema)

    made = make_once(
        store,
        kind,
        city,
        inputs=inputs,
        parameters=parameters,
        version=SLICE_VERSION,
        write=write,
        alone=False,
    )
    return made.ref
