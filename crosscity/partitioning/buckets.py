"""Buckets by score: equal intervals from the best score downwards, and one for all that is below.

What falls only ever moves to a later bucket, so opening one bucket after the other gives the order
of one large heap, which would miss the cache on every level of every operation.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from crosscity.compiled_loops import compiled_loop
from crosscity.partitioning.scores import Floats, Ints, sift_down


class Row(NamedTuple):
    """The scores that a row of buckets stands for.

    The compiler's caches on disk hold its name: another one would make them unreadable.

    Attributes:
        top: The best one.
        per_score: Buckets a unit of score.
    """

    top: float
    per_score: float


@compiled_loop(inline="always")
def bucket_of(row: Row, score: float, n_buckets: int) -> int:
    """The bucket of a score, 0 to `n_buckets`; the last is for all that is below the row."""
    return int(min(max((row.top - score) * row.per_score, 0.0), float(n_buckets)))


@compiled_loop()
def replace_best(
    keys: Floats, ties: npt.NDArray[np.int64], edges: Ints, count: int, is_left: bool
) -> int:
    """Restores a heap whose best item became worse, or goes.

    Args:
        keys: Scores of a `Heap`.
        ties: What decides between equal scores.
        edges: The heap's items.
        count: How many items it has.
        is_left: Whether the best item stays, with the key that it has by now.

    Returns:
        How many items the heap has from now on.
    """
    if not is_left:
        count -= 1
        keys[0], ties[0], edges[0] = keys[count], ties[count], edges[count]
    if count > 1:
        sift_down(keys, ties, edges, count, 0)
    return count
