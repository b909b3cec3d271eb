"""The rows of a large table by their id, kept as columns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from tasks.steps.tables import Row

_REPEATED: Final = 4
"""A column of text has its values kept once each where they occur so often in the mean."""


class RowsById:
    """Rows that are made when they are asked for; safe to use from several threads.

    200 000 images as rows take 560 MB, of which every process of a training would have its own.

    Args:
        table: The rows, each of another id.
        name: Of the column with the ids.
    """

    def __init__(self, table: pa.Table, name: str) -> None:
        self._columns = {field.name: _compact(table[field.name]) for field in table.schema}
        self._places = {row_id: place for place, row_id in enumerate(table[name].to_pylist())}

    def __len__(self) -> int:
        return len(self._places)

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __getitem__(self, row_id: str) -> Row:
        return self.some(row_id, tuple(self._columns))

    def some(self, row_id: str, names: Sequence[str]) -> Row:
        """These cells of a row alone."""
        place = self._places[row_id]
        return {name: self._columns[name][place].as_py() for name in names}

    def column(self, name: str) -> list[Any]:
        """The cells of a column, a row each, in the order of the ids."""
        cells: list[Any] = self._columns[name].to_pylist()
        return cells


def _compact(column: pa.ChunkedArray) -> pa.Array:
    whole = column.combine_chunks()
    whole = whole.chunk(0) if isinstance(whole, pa.ChunkedArray) else whole
    if pa.types.is_string(whole.type) and _REPEATED * pc.count_distinct(whole).as_py() < len(whole):
        return whole.dictionary_encode()
    return whole
