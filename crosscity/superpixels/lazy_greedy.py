"""The greedy of Entropy Rate Superpixels: lazy, exact, and laid out for the cache.

The gain of an edge (Liu et al. 2011, eqs. 3 and 7, with the scalings of the authors' program) is

    [f(l_i) + f(l_j) - f(l_i - w) - f(l_j - w) - 2 f(w)] / (T ln 2)
        + λ (1 - [f(a + b) - f(a) - f(b)] / (N ln 2)),        f(x) = x ln x,

where l_i is the weight of pixel i's edges that are not chosen yet, T the sum of all l_i before
the first choice, a and b the pixel counts of the two clusters and N that of the picture. T only
scales the entropy part, and so, through λ, everything; the 1 is common to all edges. Hence edges
are ordered by the *score* f(l_i) + ... - 2 f(w) - rate · [f(a + b) - f(a) - f(b)].

Scores never grow (submodularity), which the queue rests on. It is a row of buckets, each a
linked list of edges whose score was in the bucket's interval when last looked at; scores
themselves are not kept. When the greedy arrives at a bucket, it scores the bucket's edges anew,
throws those that would close a cycle away, moves those that have fallen to the bucket where they
now belong, and sorts only the rest in a small heap. That gives the same order as one large heap
of all edges, for a fraction of its cache misses.

Ties: of edges with the same score the one with the lowest number (`pixel_graph`) is taken, that
is the first in raster order of the edge's upper pixel, then right, down, down right, down left.
"""

from __future__ import annotations

import math
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from numba import njit

Floats: TypeAlias = npt.NDArray[np.float64]
Ints: TypeAlias = npt.NDArray[np.int32]
Distances: TypeAlias = npt.NDArray[np.uint16] | npt.NDArray[np.uint32]

BUCKETS = 1 << 15
"""Buckets in the row; fine enough for small heaps, coarse enough that their heads stay cached."""

ROW_SPAN = 4.0
"""What the row spans, in units of the largest entropy gain. What falls below waits in a list."""

TABLE_SIZE = 1 << 16
"""Cluster sizes whose n ln n is tabulated."""


@njit(cache=True, nogil=True, inline="always")
def _x_log_x(value: float) -> float:
    # Differences of sums may end an ulp below zero where they mean zero.
    return value * math.log(value) if value > 0.0 else 0.0


@njit(cache=True, nogil=True)
def _find(parents: Ints, pixel: int) -> int:
    # Roots hold minus their cluster's size. Paths are halved on the way.
    above = int(parents[pixel])
    while above >= 0:
        beyond = int(parents[above])
        if beyond < 0:
            return above
        parents[pixel] = beyond
        pixel = beyond
        above = int(parents[pixel])
    return pixel


@njit(cache=True, nogil=True)
def _n_log_n(table: Floats, count: int) -> float:
    return float(table[count]) if count < table.size else count * math.log(count)


@njit(cache=True, nogil=True)
def _size_log(table: Floats, a: int, b: int) -> float:
    """f(a + b) - f(a) - f(b): what the balance loses by joining clusters of a and b pixels."""
    return _n_log_n(table, a + b) - _n_log_n(table, a) - _n_log_n(table, b)


@njit(cache=True, nogil=True)
def _entropy(loops: Floats, i: int, j: int, weight: float, weight_log: float) -> float:
    """The entropy part of the score; `loops` holds l and f(l) of every pixel."""
    at_i = float(loops[i, 1]) - _x_log_x(float(loops[i, 0]) - weight)
    at_j = float(loops[j, 1]) - _x_log_x(float(loops[j, 0]) - weight)
    return at_i + at_j - 2.0 * weight_log


@njit(cache=True, nogil=True)
def _join(
    parents: Ints, loops: Floats, root_i: int, root_j: int, i: int, j: int, weight: float
) -> None:
    """Chooses the edge (i, j): joins the two clusters and takes the weight off both loops."""
    if parents[root_j] < parents[root_i]:
        root_i, root_j = root_j, root_i
    parents[root_i] += parents[root_j]
    parents[root_j] = root_i
    for pixel in (i, j):
        loops[pixel, 0] -= weight
        loops[pixel, 1] = _x_log_x(loops[pixel, 0])


@njit(cache=True, nogil=True)
def _grown(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    longer = np.empty(2 * array.size, array.dtype)
    longer[: array.size] = array
    return longer


@njit(cache=True, nogil=True)
def _before(key_a: float, edge_a: int, key_b: float, edge_b: int) -> bool:
    return key_a > key_b or (key_a == key_b and edge_a < edge_b)


@njit(cache=True, nogil=True)
def _sift_down(keys: Floats, edges: Ints, count: int, at: int) -> None:
    key = keys[at]
    edge = edges[at]
    while True:
        child = 2 * at + 1
        if child >= count:
            break
        right = child + 1
        if right < count and _before(keys[right], edges[right], keys[child], edges[child]):
            child = right
        if not _before(keys[child], edges[child], key, edge):
            break
        keys[at] = keys[child]
        edges[at] = edges[child]
        at = child
    keys[at] = key
    edges[at] = edge


@njit(cache=True, nogil=True)
def _fill_loops(
    distances: Distances,
    weights: Floats,
    offsets: npt.NDArray[np.int64],
    absent: int,
    loops: Floats,
) -> float:
    """Fills `loops` with l and f(l) of every pixel; returns the sum of l."""
    loops[:, 0] = 0.0
    edge = 0
    for pixel in range(loops.shape[0]):
        for direction in range(offsets.size):
            distance = distances[edge]
            edge += 1
            if distance != absent:
                weight = weights[direction >> 1, distance]
                loops[pixel, 0] += weight
                loops[pixel + offsets[direction], 0] += weight
    total = 0.0
    for pixel in range(loops.shape[0]):
        total += loops[pixel, 0]
        loops[pixel, 1] = _x_log_x(loops[pixel, 0])
    return total


@njit(cache=True, nogil=True)
def _largest_entropy(
    distances: Distances,
    weights: Floats,
    weight_logs: Floats,
    offsets: npt.NDArray[np.int64],
    absent: int,
    loops: Floats,
) -> float:
    """The largest entropy gain of a first edge, which sets λ."""
    largest = 0.0
    edge = 0
    for pixel in range(loops.shape[0]):
        for direction in range(offsets.size):
            distance = distances[edge]
            edge += 1
            if distance != absent:
                kind = direction >> 1
                gain = _entropy(
                    loops,
                    pixel,
                    pixel + offsets[direction],
                    weights[kind, distance],
                    weight_logs[kind, distance],
                )
                largest = max(largest, gain)
    return largest


@njit(cache=True, nogil=True)
def join_greedily(  # noqa: PLR0912, PLR0915
    distances: Distances,
    weights: Floats,
    offsets: npt.NDArray[np.int64],
    absent: int,
    n_pixels: int,
    n_clusters: int,
    balance: float,
    within: Ints,
    chosen: Ints,
    scores: Floats,
) -> tuple[Ints, float, float, float]:
    """Joins pixels along the best edges until `n_clusters` are left or no edge is.

    Args:
        distances: (N * D,) of `PixelGraph`.
        weights: (2, levels) of `PixelGraph`.
        offsets: (D,) int64; raster distance to the neighbour in each direction.
        absent: The value of `distances` that means "no edge".
        n_pixels: N, at least 2.
        n_clusters: K.
        balance: λ', not negative.
        within: (N,) labels that no chosen edge may cross, or empty.
        chosen: (N - K,) int32 to be filled with the chosen edges in order, or empty.
        scores: (N - K,) float64 to be filled with their scores, or empty.

    Returns:
        The forest as (N,) int32 parents, where a root holds minus its cluster's size; the sum of
        the l_i; the largest first entropy gain; the rate at which the score pays for balance.
    """
    directions = offsets.size
    weight_logs = np.empty_like(weights)
    for kind in range(weights.shape[0]):
        for level in range(weights.shape[1]):
            weight_logs[kind, level] = _x_log_x(weights[kind, level])
    size_table = np.empty(min(n_pixels + 1, TABLE_SIZE), np.float64)
    for count in range(size_table.size):
        size_table[count] = _x_log_x(float(count))

    loops = np.empty((n_pixels, 2), np.float64)
    total = _fill_loops(distances, weights, offsets, absent, loops)
    largest = _largest_entropy(distances, weights, weight_logs, offsets, absent, loops)
    # Where every weight underflows, balance alone decides and any scale will do.
    unit = largest if largest > 0.0 else 1.0
    first_balance = 1.0 - 2.0 / n_pixels
    rate = 0.0
    if first_balance > 0.0:
        rate = balance * n_clusters * unit / first_balance / (n_pixels * math.log(2.0))

    parents = np.full(n_pixels, -1, np.int32)
    following = np.empty(distances.size, np.int32)
    heads = np.full(BUCKETS + 1, -1, np.int32)
    top = unit - rate * _size_log(size_table, 1, 1)
    per_score = BUCKETS / (ROW_SPAN * unit)
    keys = np.empty(1024, np.float64)
    edges = np.empty(1024, np.int32)

    # Edges enter from the last to the first, so that the lists start out in raster order. They
    # all go to the waiting list, which the first round deals out.
    for edge in range(distances.size - 1, -1, -1):
        if distances[edge] == absent:
            continue
        pixel = edge // directions
        if within.size > 0 and within[pixel] != within[pixel + offsets[edge % directions]]:
            continue
        following[edge] = heads[BUCKETS]
        heads[BUCKETS] = edge

    left = n_pixels
    step = 0
    bucket = BUCKETS
    first_round = True
    while left > n_clusters:
        while bucket < BUCKETS and heads[bucket] < 0:
            bucket += 1

        if bucket == BUCKETS:
            # The row is used up: deal the waiting edges into a new one, from their best score on.
            if heads[BUCKETS] < 0:
                break
            if not first_round:
                top = -np.inf
                edge = heads[BUCKETS]
                while edge >= 0:
                    i = edge // directions
                    direction = edge - i * directions
                    j = i + offsets[direction]
                    root_i = _find(parents, i)
                    root_j = _find(parents, j)
                    if root_i != root_j:
                        kind = direction >> 1
                        distance = distances[edge]
                        score = _entropy(
                            loops, i, j, weights[kind, distance], weight_logs[kind, distance]
                        ) - rate * _size_log(size_table, -parents[root_i], -parents[root_j])
                        top = max(top, score)
                    edge = following[edge]
                # Each row spans twice the last one's, so there are few of them.
                per_score *= 0.5
            first_round = False
            waiting = heads[BUCKETS]
            heads[BUCKETS] = -1
            bucket = -1
        else:
            waiting = heads[bucket]
            heads[bucket] = -1

        # Look at the bucket's edges anew and keep those that still belong to it.
        count = 0
        edge = waiting
        while edge >= 0:
            after = following[edge]
            i = edge // directions
            direction = edge - i * directions
            j = i + offsets[direction]
            root_i = _find(parents, i)
            root_j = _find(parents, j)
            if root_i != root_j:
                kind = direction >> 1
                distance = distances[edge]
                score = _entropy(
                    loops, i, j, weights[kind, distance], weight_logs[kind, distance]
                ) - rate * _size_log(size_table, -parents[root_i], -parents[root_j])
                place = min(max((top - score) * per_score, 0.0), float(BUCKETS))
                target = int(place)
                if target > bucket:
                    following[edge] = heads[target]
                    heads[target] = edge
                else:
                    if count == keys.size:
                        keys = _grown(keys)
                        edges = _grown(edges)
                    keys[count] = score
                    edges[count] = edge
                    count += 1
            edge = after
        for at in range(count // 2 - 1, -1, -1):
            _sift_down(keys, edges, count, at)

        while count > 0 and left > n_clusters:
            edge = edges[0]
            i = edge // directions
            direction = edge - i * directions
            j = i + offsets[direction]
            root_i = _find(parents, i)
            root_j = _find(parents, j)
            gone = True
            if root_i != root_j:
                kind = direction >> 1
                distance = distances[edge]
                weight = weights[kind, distance]
                score = _entropy(loops, i, j, weight, weight_logs[kind, distance]) - (
                    rate * _size_log(size_table, -parents[root_i], -parents[root_j])
                )
                place = min(max((top - score) * per_score, 0.0), float(BUCKETS))
                target = int(place)
                if score >= keys[0]:
                    _join(parents, loops, root_i, root_j, i, j, weight)
                    if step < chosen.size:
                        chosen[step] = edge
                    if step < scores.size:
                        scores[step] = score
                    step += 1
                    left -= 1
                elif target > bucket:
                    following[edge] = heads[target]
                    heads[target] = edge
                else:
                    keys[0] = score
                    gone = False
            if gone:
                count -= 1
                keys[0] = keys[count]
                edges[0] = edges[count]
            if count > 0:
                _sift_down(keys, edges, count, 0)
        bucket = max(bucket, 0)
    return parents, total, largest, rate


@njit(cache=True, nogil=True)
def number_clusters(parents: Ints) -> Ints:
    """Labels pixels 0, 1, ... by cluster, in raster order of each cluster's first pixel."""
    labels = np.full(parents.size, -1, np.int32)
    count = 0
    for pixel in range(parents.size):
        root = _find(parents, pixel)
        # A root that comes later than its cluster's first pixel gets its label ahead of its turn.
        if labels[root] < 0:
            labels[root] = count
            count += 1
        labels[pixel] = labels[root]
    return labels
