"""Reading and writing the tables of artifacts as rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pyarrow as pa

from adapters.store import ArtifactRef, Draft, Store
from adapters.tables import read_table, write_table
from tasks.steps.schemas import LEFT_OUT, OK

Row = dict[str, Any]


def read_rows(
    store: Store,
    ref: ArtifactRef,
    name: str,
    schema: pa.Schema,
    columns: Sequence[str] | None = None,
) -> list[Row]:
    """The rows of one table of an artifact; with these columns alone, or all."""
    rows: list[Row] = read_table(store.path(ref, name), schema, columns=columns).to_pylist()
    return rows


def write_rows(
    draft: Draft, name: str, rows: Sequence[Mapping[str, Any]], schema: pa.Schema
) -> None:
    """Writes one table of an artifact and counts its rows in the manifest."""
    table = pa.Table.from_pylist([dict(row) for row in rows], schema=schema)
    write_table(draft.path / name, table, schema)
    draft.rows = len(rows)


def failures(rows: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    """How many rows failed, by reason."""
    return dict(Counter(str(row["reason"]) for row in rows if row["status"] not in (OK, LEFT_OUT)))


def left_out(rows: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    """How many rows are of what was left out as unfit, by reason."""
    return dict(Counter(str(row["reason"]) for row in rows if row["status"] == LEFT_OUT))


def part_name(part: int) -> str:
    """File name of a shard."""
    return f"part-{part:05d}.parquet"
