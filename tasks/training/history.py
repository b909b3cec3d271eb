"""The history of a training: what each step measured, and how it is kept beside the checkpoints."""

from __future__ import annotations

import json
import zlib
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice
from typing import Any, Final, overload

import numpy as np
import pyarrow as pa

from tasks.steps.schemas import HISTORY

Row = dict[str, Any]
ROWS_A_STRETCH: Final = 5_000
"""Rows, a step each: 2 MB of JSON at most, which is what a checkpoint writes anew. Checkpoints that
are stored are divided so: another number would misread them."""


class History(Sequence[Row]):
    """Rows in their order, the last ones as they are and those before as compressed stretches.

    As rows, 270 000 steps take 250 MB in each process of a training.

    Args:
        rows: The first ones.
        stretches: What `stretches` gave, of earlier rows.

    Attributes:
        kept: Number of stretches that lie in the store.
    """

    def __init__(self, rows: Iterable[Row] = (), stretches: Sequence[bytes] = ()) -> None:
        self._stretches = list(stretches)
        self.kept = len(self._stretches)
        self._last: list[Row] = []
        self.extend(rows)

    @property
    def stretches(self) -> Sequence[bytes]:
        """Stretches of `ROWS_A_STRETCH` rows, which do not change any more."""
        return self._stretches

    @property
    def last(self) -> Sequence[Row]:
        """The rows after the stretches."""
        return self._last

    def extend(self, rows: Iterable[Row]) -> None:
        """Adds rows, whose values JSON knows."""
        for row in rows:
            self._last.append(row)
            if len(self._last) == ROWS_A_STRETCH:
                self._stretches.append(zlib.compress(json.dumps(self._last).encode()))
                self._last = []

    def __len__(self) -> int:
        return ROWS_A_STRETCH * len(self._stretches) + len(self._last)

    def __iter__(self) -> Iterator[Row]:
        return self._behind(0)

    @overload
    def __getitem__(self, place: int) -> Row: ...
    @overload
    def __getitem__(self, place: slice) -> list[Row]: ...
    def __getitem__(self, place: int | slice) -> Row | list[Row]:
        if isinstance(place, slice):
            start, stop, step = place.indices(len(self))
            if step < 0:
                return list(self)[place]
            return list(islice(self._behind(start), max(0, stop - start)))[::step]
        number = range(len(self))[place]
        stretch, row = divmod(number, ROWS_A_STRETCH)
        if stretch == len(self._stretches):
            return self._last[row]
        return _rows(self._stretches[stretch])[row]

    def _behind(self, start: int) -> Iterator[Row]:
        first, skipped = divmod(start, ROWS_A_STRETCH)
        stretches = map(_rows, self._stretches[first:])
        yield from islice(chain(chain.from_iterable(stretches), self._last), skipped, None)


def _rows(stretch: bytes) -> list[Row]:
    rows: list[Row] = json.loads(zlib.decompress(stretch))
    return rows


def history_table(history: Iterable[Mapping[str, Any]]) -> pa.Table:
    """A row a step and quantity, with the columns of `HISTORY`; what is no number has none."""
    steps, values, quantities = array("q"), array("d"), array("H")
    names: dict[str, int] = {}
    for row in history:
        for name, value in row.items():
            if name != "step" and isinstance(value, int | float):
                steps.append(row["step"])
                values.append(value)
                quantities.append(names.setdefault(name, len(names)))
    named = pa.DictionaryArray.from_arrays(
        np.asarray(quantities), pa.array(list(names), pa.string())
    )
    columns = [np.asarray(steps), named.cast(pa.string()), np.asarray(values)]
    return pa.table(dict(zip(HISTORY.names, columns, strict=True)), schema=HISTORY)
