"""The greedy of Entropy Rate Superpixels: lazy, exact, and laid out for the cache.

The gain of an edge (Liu et al. 2011, eqs. 3 and 7, with the scalings of the authors' program) is

    [f(l_i) + f(l_j) - f(l_i - w) - f(l_j - w) - 2 f(w)] / (T ln 2)
        + λ (1 - [f(a + b) - f(a) - f(b)] / (N ln 2)),        f(x) = x ln x,

where l_i is the weight of pixel i's edges that are not chosen yet, T the sum of all l_i before
the first choice, a and b the pixel counts of the two clusters and N that of the picture. T only
scales the entropy part, and so, through λ, everything; the 1 is common to all edges. Hence edges
are ordered by the *score* f(l_i) + ... - 2 f(w) - rate · [f(a + b) - f(a) - f(b)].

Scores never grow (submodularity), which the queue rests on. It is a row of buckets; each holds
the edges whose score was in the bucket's interval when last looked at. Scores themselves are not
kept. When the greedy arrives at a bucket, it scores the bucket's edges anew, throws away those
that would close a cycle, moves those that have fallen to the bucket where they now belong, and
orders only the rest in a small heap. That gives the same order as one large heap of all edges,
which would miss the cache on every level of every operation.

Ties: of edges with the same score the one with the lowest number (`pixel_graph`) is taken, that
is the first in raster order of the edge's upper pixel, then right, down, down right, down left.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
from numba import njit

from crosscity.superpixels.bucket_queue import (
    BLOCK,
    BucketQueue,
    detach,
    empty_queue,
    push,
    read_block,
)

Floats: TypeAlias = npt.NDArray[np.float64]
Ints: TypeAlias = npt.NDArray[np.int32]
Offsets: TypeAlias = npt.NDArray[np.int64]
Distances: TypeAlias = npt.NDArray[np.uint16] | npt.NDArray[np.uint32]

BUCKETS = 1 << 15
"""Buckets in the row; fine enough for small heaps, coarse enough that their heads stay cached."""

ROW_SPAN = 4.0
"""What the row spans, in units of the largest entropy gain. What falls below waits in a list."""

TABLE_SIZE = 1 << 16
"""Cluster sizes whose n ln n is tabulated."""


BATCH = 512
"""Edges that are looked at together when a bucket is opened."""


class Forest(NamedTuple):
    """The graph, the clusters so far, and what scores an edge.

    The first four are fields of one array of records (`pixel_graph`), so that a look at a pixel
    costs one cache miss.

    Attributes:
        distances: (N, D) colour distance along each edge.
        loops: (N,) l of every pixel.
        loop_logs: (N,) f(l).
        parents: (N,); roots hold minus their cluster's size.
        weights: (2, levels) weight of a straight and a diagonal edge by distance.
        weight_logs: f(w) of the weights.
        offsets: (D,) raster distance to the neighbour in each direction.
        shift: log2(D).
        size_logs: f(n) for n from 0.
        rate: The rate at which the score pays for balance.
    """

    distances: Distances
    loops: Floats
    loop_logs: Floats
    parents: Ints
    weights: Floats
    weight_logs: Floats
    offsets: Offsets
    shift: int
    size_logs: Floats
    rate: float


class Row(NamedTuple):
    """The scores that the row of buckets stands for: the best one, and buckets a unit."""

    top: float
    per_score: float


class Heap(NamedTuple):
    """Edges with their scores, side by side."""

    keys: Floats
    edges: Ints


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
def _owner(forest: Forest, edge: int) -> tuple[int, int]:
    """The pixel that an edge leaves, and its direction. Divisions would cost half the time."""
    pixel = edge >> forest.shift
    return pixel, edge - (pixel << forest.shift)


@njit(cache=True, nogil=True)
def _ends(forest: Forest, edge: int) -> tuple[int, int]:
    """The two pixels of an edge."""
    pixel, direction = _owner(forest, edge)
    return pixel, pixel + int(forest.offsets[direction])


@njit(cache=True, nogil=True)
def _weight_index(forest: Forest, edge: int) -> tuple[int, int]:
    """Where the weight of an edge stands in the tables."""
    owner = _owner(forest, edge)
    return owner[1] >> 1, int(forest.distances[owner])


@njit(cache=True, nogil=True)
def _entropy(forest: Forest, edge: int) -> float:
    """The entropy part of the score."""
    pixel, other = _ends(forest, edge)
    index = _weight_index(forest, edge)
    weight = float(forest.weights[index])
    loops, loop_logs = forest.loops, forest.loop_logs
    here = float(loop_logs[pixel]) - _x_log_x(float(loops[pixel]) - weight)
    there = float(loop_logs[other]) - _x_log_x(float(loops[other]) - weight)
    return here + there - 2.0 * float(forest.weight_logs[index])


@njit(cache=True, nogil=True)
def _score(forest: Forest, edge: int, size: int, other_size: int) -> float:
    """The score of an edge that joins clusters of these sizes."""
    return _entropy(forest, edge) - forest.rate * _size_log(forest.size_logs, size, other_size)


@njit(cache=True, nogil=True)
def _join(forest: Forest, edge: int, root: int, other_root: int) -> None:
    """Chooses an edge: joins the two clusters and takes the weight off both loops."""
    parents = forest.parents
    if parents[other_root] < parents[root]:
        root, other_root = other_root, root
    parents[root] += parents[other_root]
    parents[other_root] = root
    weight = forest.weights[_weight_index(forest, edge)]
    for pixel in _ends(forest, edge):
        forest.loops[pixel] -= weight
        forest.loop_logs[pixel] = _x_log_x(forest.loops[pixel])


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
def _start(forest: Forest, absent: int) -> float:
    """Makes every pixel a cluster and fills its l and f(l); returns the sum of l."""
    forest.parents[:] = -1
    loops = forest.loops
    loops[:] = 0.0
    for pixel in range(loops.size):
        for direction in range(forest.offsets.size):
            distance = forest.distances[pixel, direction]
            if distance != absent:
                weight = forest.weights[direction >> 1, distance]
                loops[pixel] += weight
                loops[pixel + forest.offsets[direction]] += weight
    total = 0.0
    for pixel in range(loops.size):
        total += loops[pixel]
        forest.loop_logs[pixel] = _x_log_x(loops[pixel])
    return total


@njit(cache=True, nogil=True)
def _largest_entropy(forest: Forest, absent: int) -> float:
    """The largest entropy gain of a first edge, which sets λ."""
    largest = 0.0
    for edge in range(forest.distances.size):
        if forest.distances[_owner(forest, edge)] != absent:
            largest = max(largest, _entropy(forest, edge))
    return largest


@njit(cache=True, nogil=True)
def _above(parents: Ints, pixel: int) -> int:
    """One step towards the root, where it stays."""
    above = int(parents[pixel])
    return above if above >= 0 else pixel


@njit(cache=True, nogil=True)
def _open_edges(forest: Forest, edges: Ints, count: int, sizes: Ints) -> int:
    """Keeps the edges that close no cycle, in place, with the sizes of the clusters they join."""
    parents, roots = forest.parents, sizes
    # Two steps towards the roots for all edges and without branches: the cache misses overlap.
    for at in range(count):
        pixel, other = _ends(forest, edges[at])
        roots[at, 0] = _above(parents, pixel)
        roots[at, 1] = _above(parents, other)
    for at in range(count):
        roots[at, 0] = _above(parents, roots[at, 0])
        roots[at, 1] = _above(parents, roots[at, 1])
    kept = 0
    for at in range(count):
        edge = int(edges[at])
        pixel, other = _ends(forest, edge)
        root = _find(parents, roots[at, 0])
        other_root = _find(parents, roots[at, 1])
        if pixel != root:
            parents[pixel] = root
        if other != other_root:
            parents[other] = other_root
        if root != other_root:
            edges[kept] = edge
            sizes[kept, 0] = -parents[root]
            sizes[kept, 1] = -parents[other_root]
            kept += 1
    return kept


@njit(cache=True, nogil=True)
def _place(row: Row, score: float) -> int:
    """The bucket of a score; the last one is for all that is below the row."""
    return int(min(max((row.top - score) * row.per_score, 0.0), float(BUCKETS)))


@njit(cache=True, nogil=True)
def _deal(forest: Forest, queue: BucketQueue, absent: int, within: Ints, row: Row) -> None:
    """Puts all edges, but those between the regions of `within`, into their first buckets."""
    for edge in range(forest.distances.size):
        if forest.distances[_owner(forest, edge)] == absent:
            continue
        pixel, other = _ends(forest, edge)
        if within.size == 0 or within[pixel] == within[other]:
            push(queue, _place(row, _score(forest, edge, 1, 1)), edge)


@njit(cache=True, nogil=True)
def _next_row(forest: Forest, queue: BucketQueue, row: Row) -> Row:
    """Deals the edges below the row into a new one, which starts at the best score of theirs."""
    # Every row spans twice the last one's, so there are few of them.
    chain = detach(queue, BUCKETS)
    n_edges = 0
    start = chain
    while start >= 0:
        n_edges += start % BLOCK
        start = int(queue.blocks[start - start % BLOCK])
    waiting = np.empty(n_edges, np.int32)
    count = 0
    while chain >= 0:
        chain, count = read_block(queue, chain, waiting, count)
    top = -np.inf
    all_sizes = np.empty((n_edges, 2), np.int32)
    count = _open_edges(forest, waiting, count, all_sizes)
    for at in range(count):
        top = max(top, _score(forest, waiting[at], all_sizes[at, 0], all_sizes[at, 1]))
    row = Row(top, 0.5 * row.per_score)
    for at in range(count):
        score = _score(forest, waiting[at], all_sizes[at, 0], all_sizes[at, 1])
        push(queue, _place(row, score), waiting[at])
    return row


@njit(cache=True, nogil=True)
def _open_bucket(
    forest: Forest, queue: BucketQueue, row: Row, bucket: int, batch: Ints, sizes: Ints, heap: Heap
) -> tuple[Heap, int]:
    """Scores a bucket's edges anew: those that still belong to it are returned as a heap."""
    keys, edges = heap
    count = 0
    chain = detach(queue, bucket)
    while chain >= 0:
        n_batch = 0
        # Step by step for many edges at a time, so that cache misses overlap.
        while chain >= 0 and n_batch + BLOCK <= batch.size:
            chain, n_batch = read_block(queue, chain, batch, n_batch)
        n_batch = _open_edges(forest, batch, n_batch, sizes)
        while count + n_batch > keys.size:
            keys, edges = _grown(keys), _grown(edges)
        for at in range(n_batch):
            edge = batch[at]
            score = _score(forest, edge, sizes[at, 0], sizes[at, 1])
            target = _place(row, score)
            if target > bucket:
                push(queue, target, edge)
            else:
                keys[count] = score
                edges[count] = edge
                count += 1
    for at in range(count // 2 - 1, -1, -1):
        _sift_down(keys, edges, count, at)
    return Heap(keys, edges), count


@njit(cache=True, nogil=True)
def _empty_heap(
    forest: Forest,
    queue: BucketQueue,
    row: Row,
    bucket: int,
    heap: Heap,
    count: int,
    n_joins: int,
    steps: Heap,
    step: int,
) -> int:
    """Joins along the heap's edges in order, but for those that have fallen out of the bucket.

    Returns:
        The number of joins so far, at most `n_joins`.
    """
    keys, edges = heap
    while count > 0 and step < n_joins:
        edge = int(edges[0])
        pixel, other = _ends(forest, edge)
        root = _find(forest.parents, pixel)
        other_root = _find(forest.parents, other)
        done = root == other_root
        if not done:
            score = _score(forest, edge, -forest.parents[root], -forest.parents[other_root])
            target = _place(row, score)
            if score >= keys[0]:
                _join(forest, edge, root, other_root)
                if step < steps.edges.size:
                    steps.keys[step] = score
                    steps.edges[step] = edge
                step += 1
                done = True
            elif target > bucket:
                push(queue, target, edge)
                done = True
            else:
                keys[0] = score
        if done:
            count -= 1
            keys[0] = keys[count]
            edges[0] = edges[count]
        if count > 0:
            _sift_down(keys, edges, count, 0)
    return step


@njit(cache=True, nogil=True)
def join_greedily(
    distances: Distances,
    loops: Floats,
    loop_logs: Floats,
    parents: Ints,
    weights: Floats,
    offsets: Offsets,
    absent: int,
    n_clusters: int,
    balance: float,
    within: Ints,
    chosen: Ints,
    scores: Floats,
) -> tuple[float, float]:
    """Joins pixels along the best edges until `n_clusters` are left or no edge is.

    Args:
        distances: (N, D) of the graph's records.
        loops: (N,) of the graph's records, to be filled.
        loop_logs: Likewise.
        parents: Likewise; in the end a forest where roots hold minus their cluster's size.
        weights: (2, levels) of `PixelGraph`.
        offsets: (D,) int64; raster distance to the neighbour in each direction.
        absent: The value of `distances` that means "no edge".
        n_clusters: K.
        balance: λ', not negative.
        within: (N,) labels that no chosen edge may cross, or empty.
        chosen: (N - K,) int32 to be filled with the chosen edges in order, or empty.
        scores: As many float64, to be filled with their scores.

    Returns:
        The sum of the l_i, and the rate at which the score pays for balance.
    """
    n_pixels = parents.size
    weight_logs = np.empty_like(weights)
    for kind in range(weights.shape[0]):
        for level in range(weights.shape[1]):
            weight_logs[kind, level] = _x_log_x(weights[kind, level])
    size_logs = np.empty(min(n_pixels + 1, TABLE_SIZE), np.float64)
    for size in range(size_logs.size):
        size_logs[size] = _x_log_x(float(size))
    shift = 2 if offsets.size == 4 else 1
    forest = Forest(
        distances, loops, loop_logs, parents, weights, weight_logs, offsets, shift, size_logs, 0.0
    )
    total = _start(forest, absent)

    # Where every weight underflows, balance alone decides and any scale will do.
    unit = _largest_entropy(forest, absent) or 1.0
    first_balance = 1.0 - 2.0 / n_pixels
    rate = 0.0
    if first_balance > 0.0:
        rate = balance * n_clusters * unit / first_balance / (n_pixels * math.log(2.0))
    forest = Forest(
        distances, loops, loop_logs, parents, weights, weight_logs, offsets, shift, size_logs, rate
    )

    queue = empty_queue(BUCKETS + 1, distances.size)
    row = Row(unit - rate * _size_log(size_logs, 1, 1), BUCKETS / (ROW_SPAN * unit))
    _deal(forest, queue, absent, within, row)
    batch = np.empty(BATCH, np.int32)
    sizes = np.empty((BATCH, 2), np.int32)
    heap = Heap(np.empty(1024, np.float64), np.empty(1024, np.int32))
    steps = Heap(scores, chosen)
    bucket = 0
    step = 0
    while step < n_pixels - n_clusters:
        while bucket < BUCKETS and queue.tails[bucket] < 0:
            bucket += 1
        if bucket < BUCKETS:
            heap, count = _open_bucket(forest, queue, row, bucket, batch, sizes, heap)
            step = _empty_heap(
                forest, queue, row, bucket, heap, count, n_pixels - n_clusters, steps, step
            )
        elif queue.tails[BUCKETS] >= 0:
            row = _next_row(forest, queue, row)
            bucket = 0
        else:
            break
    return total, rate


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
