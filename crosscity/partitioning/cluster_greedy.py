"""The greedy on clusters: what windows have left is joined here, in order, to the end.

Only the edges between clusters are left, and of those that join the same two clusters only the
one with the largest entropy part counts: the balance part is common to all, and once one is
chosen, the others would close cycles. The others are *parked* with it. An entropy part changes
only when an edge at one of its two pixels is chosen; if that happens to the one that
counts, it is compared with its parked ones again. All others have only lost in the meantime.

Scores are ordered by a row of buckets; each holds the pairs whose score was in its interval when
last scored. When the greedy arrives at a bucket, it scores the bucket's pairs anew, throws away
those that have become one cluster, moves those that have fallen to the bucket where they now
belong, and orders only the rest in a small heap. That gives the same order as one large heap of
all edges, which would miss the cache on every level of every operation.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from crosscity.compiled_loops import compiled_loop
from crosscity.partitioning.buckets import Row, bucket_of, replace_best
from crosscity.partitioning.scores import (
    Distances,
    Floats,
    Heap,
    Ints,
    empty_heap,
    entropy,
    find,
    heapify,
    size_log,
    tie_break,
)
from crosscity.partitioning.window_greedy import Picture, Steps

BUCKETS: Final = 1 << 13
"""Buckets in the row; fine enough for small heaps, coarse enough that their heads stay cached."""

ROW_SPAN: Final = 2.0
"""What the row spans, in units of the largest entropy gain. What falls below waits in a list."""

PAIR: Final = np.dtype(
    [
        ("entropy", np.float64),
        ("edge", np.int32),
        ("root", np.int32),
        ("other_root", np.int32),
        ("next", np.int32),
        ("parked", np.int32),
        ("seen", np.int32),
    ]
)
"""Two clusters and the best edge between them, with the entropy part of its score; the next pair
in the same bucket and the first parked edge, or -1; what `touched` said of the edge's pixels."""


class Clusters(NamedTuple):
    """The clusters and the edges between them.

    Attributes:
        parents: (M,) clusters of clusters; roots hold minus their pixels.
        pairs: (at most E,) of PAIR.
        parked_edges: (at most E,) edges that are parked.
        parked_links: (at most E,) the next edge that is parked in the same place, or -1.
        heads: (BUCKETS + 1,) the first pair in each bucket, or -1.
        touched: (N,) uint8, how often a pixel's loop has changed here.
        offsets: (D,) raster distance to the neighbour in each direction.
    """

    parents: Ints
    pairs: npt.NDArray[np.void]
    parked_edges: Ints
    parked_links: Ints
    heads: Ints
    touched: npt.NDArray[np.uint8]
    offsets: npt.NDArray[np.int64]


@compiled_loop()
def number_clusters(parents: Ints, ids: Ints) -> int:
    """Numbers the clusters of a forest of depth one in raster order of their roots.

    Args:
        parents: (N,) the root of each pixel; roots hold minus their size.
        ids: (N,) int32, to be filled with the number of each pixel's cluster.

    Returns:
        How many there are.
    """
    count = 0
    for pixel in range(parents.size):
        if parents[pixel] < 0:
            ids[pixel] = count
            count += 1
    for pixel in range(parents.size):
        if parents[pixel] >= 0:
            ids[pixel] = ids[parents[pixel]]
    return count


@compiled_loop()
def forbid_between(
    distances: npt.NDArray[Any], absent: int, offsets: npt.NDArray[np.int64], labels: Ints
) -> None:
    """Takes out the edges between pixels with different labels."""
    for pixel in range(labels.size):
        for direction in range(offsets.size):
            if (
                distances[pixel, direction] != absent
                and labels[pixel] != labels[pixel + offsets[direction]]
            ):
                distances[pixel, direction] = absent


@compiled_loop()
def count_open_edges(
    distances: npt.NDArray[Any], absent: int, offsets: npt.NDArray[np.int64], ids: Ints
) -> int:
    """The number of edges between different clusters."""
    count = 0
    for pixel in range(ids.size):
        for direction in range(offsets.size):
            if (
                distances[pixel, direction] != absent
                and ids[pixel] != ids[pixel + offsets[direction]]
            ):
                count += 1
    return count


# Below, arrays are taken out of their tuples before loops begin, and passed one by one: each time
# that one is taken out costs two atomic operations on its reference count.


@compiled_loop()
def _ends(edge: int, offsets: npt.NDArray[np.int64]) -> tuple[int, int, int]:
    """The pixels of an edge and its direction."""
    # Divisions would cost half the time.
    shift = 2 if offsets.size == 4 else 1
    pixel = edge >> shift
    direction = edge - (pixel << shift)
    return pixel, pixel + int(offsets[direction]), direction


@compiled_loop()
def _entropy(
    distances: Distances,
    loops: Floats,
    weights: Floats,
    weight_logs: Floats,
    offsets: npt.NDArray[np.int64],
    edge: int,
) -> float:
    """The entropy part of an edge's score now."""
    pixel, other, direction = _ends(edge, offsets)
    kind, distance = direction >> 1, int(distances[pixel, direction])
    return float(
        entropy(loops[pixel], loops[other], weights[kind, distance], weight_logs[kind, distance])
    )


@compiled_loop()
def _compare(picture: Picture, clusters: Clusters, at: int) -> None:
    """Finds the best edge of a pair after its entropy part may have changed."""
    _, distances, _, loops, _, (weights, weight_logs, _, _), _ = picture
    _, pairs, parked_edges, parked_links, _, touched, offsets = clusters
    pair = pairs[at]
    best = int(pair.edge)
    most = _entropy(distances, loops, weights, weight_logs, offsets, best)
    place = int(pair.parked)
    while place >= 0:
        edge = int(parked_edges[place])
        value = _entropy(distances, loops, weights, weight_logs, offsets, edge)
        if value > most or (value == most and tie_break(edge) < tie_break(best)):
            parked_edges[place] = best
            best, most = edge, value
        place = int(parked_links[place])
    pair.edge = best
    pair.entropy = most
    pixel, other, _ = _ends(best, offsets)
    pair.seen = np.int64(touched[pixel]) + np.int64(touched[other])


@compiled_loop()
def _score(picture: Picture, clusters: Clusters, at: int) -> float:
    """The score of a pair whose roots are known."""
    pair = clusters.pairs[at]
    pixel, other, _ = _ends(pair.edge, clusters.offsets)
    touched = clusters.touched
    if np.int64(touched[pixel]) + np.int64(touched[other]) != pair.seen:
        _compare(picture, clusters, at)
    size = -clusters.parents[pair.root]
    other_size = -clusters.parents[pair.other_root]
    lost = size_log(picture.tables.size_logs, size, other_size)
    return float(pair.entropy - picture.rate * lost)


@compiled_loop()
def _is_open(parents: Ints, pairs: npt.NDArray[np.void], at: int) -> bool:
    """Brings a pair's roots up to date; whether they differ."""
    pair = pairs[at]
    root, other_root = find(parents, pair.root), find(parents, pair.other_root)
    pair.root = root
    pair.other_root = other_root
    return bool(root != other_root)


@compiled_loop()
def _pair_of(
    parents: Ints, pairs: npt.NDArray[np.void], firsts: Ints, count: int, a: int, b: int
) -> int:
    """Finds the pair of two clusters, or makes it after the first `count`."""
    # The smaller cluster has the shorter list.
    if parents[a] < parents[b] or (parents[a] == parents[b] and a > b):
        a, b = b, a
    at = int(firsts[a])
    while at >= 0 and pairs[at].other_root != b:
        at = int(pairs[at].next)
    if at < 0:
        at = count
        pair = pairs[at]
        pair.root, pair.other_root = a, b
        pair.edge, pair.parked, pair.seen = -1, -1, 0
        pair.next = firsts[a]
        firsts[a] = at
    return at


@compiled_loop()
def _collect(picture: Picture, clusters: Clusters, ids: Ints) -> int:
    """Makes the pairs of all clusters that touch; returns their number."""
    _, distances, absent, loops, _, (weights, weight_logs, _, _), _ = picture
    parents, pairs, parked_edges, parked_links, _, _, offsets = clusters
    firsts = np.full(parents.size, -1, np.int32)
    count = 0
    n_parked = 0
    for pixel in range(ids.size):
        for direction in range(offsets.size):
            if distances[pixel, direction] == absent:
                continue
            other = pixel + offsets[direction]
            if ids[pixel] == ids[other]:
                continue
            edge = pixel * offsets.size + direction
            at = _pair_of(parents, pairs, firsts, count, ids[pixel], ids[other])
            pair = pairs[at]
            value = _entropy(distances, loops, weights, weight_logs, offsets, edge)
            if at == count:
                count += 1
            else:
                worse = edge
                if value > pair.entropy or (
                    value == pair.entropy and tie_break(edge) < tie_break(pair.edge)
                ):
                    worse = int(pair.edge)
                parked_edges[n_parked] = worse
                parked_links[n_parked] = pair.parked
                pair.parked = n_parked
                n_parked += 1
                if worse == edge:
                    continue
            pair.edge = edge
            pair.entropy = value
    return count


@compiled_loop()
def _fill_buckets(picture: Picture, clusters: Clusters, count: int, row: Row) -> None:
    """Puts pairs into their buckets."""
    heads, pairs = clusters.heads, clusters.pairs
    for at in range(count):
        bucket = bucket_of(row, _score(picture, clusters, at), BUCKETS)
        pairs[at].next = heads[bucket]
        heads[bucket] = at


@compiled_loop()
def _next_row(picture: Picture, clusters: Clusters, row: Row) -> Row:
    """Deals the pairs below the row into a new one, which starts at the best score of theirs."""
    # Every row spans twice the last one's, so there are few of them.
    heads, pairs, parents = clusters.heads, clusters.pairs, clusters.parents
    first = int(heads[BUCKETS])
    heads[BUCKETS] = -1
    top = -np.inf
    at = first
    while at >= 0:
        if _is_open(parents, pairs, at):
            top = max(top, _score(picture, clusters, at))
        at = int(pairs[at].next)
    row = Row(top, 0.5 * row.per_score)
    at = first
    while at >= 0:
        following = int(pairs[at].next)
        if pairs[at].root != pairs[at].other_root:
            bucket = bucket_of(row, _score(picture, clusters, at), BUCKETS)
            pairs[at].next = heads[bucket]
            heads[bucket] = at
        at = following
    return row


@compiled_loop()
def _open_bucket(picture: Picture, clusters: Clusters, heap: Heap, row: Row, bucket: int) -> int:
    """Scores a bucket's pairs anew: those that still belong to it become the heap."""
    parents, pairs, heads = clusters.parents, clusters.pairs, clusters.heads
    keys, ties, members = heap
    at = int(heads[bucket])
    heads[bucket] = -1
    count = 0
    while at >= 0:
        following = int(pairs[at].next)
        if _is_open(parents, pairs, at):
            score = _score(picture, clusters, at)
            target = bucket_of(row, score, BUCKETS)
            if target > bucket:
                pairs[at].next = heads[target]
                heads[target] = at
            else:
                keys[count] = score
                ties[count] = tie_break(pairs[at].edge)
                members[count] = at
                count += 1
        at = following
    heapify(keys, ties, members, count)
    return count


@compiled_loop()
def _join(picture: Picture, clusters: Clusters, at: int, score: float, steps: Steps) -> None:
    """Chooses the edge of a pair: joins the clusters and takes the weight off both loops."""
    pair, parents = clusters.pairs[at], clusters.parents
    root, other_root = int(pair.root), int(pair.other_root)
    if parents[other_root] < parents[root]:
        root, other_root = other_root, root
    parents[root] += parents[other_root]
    parents[other_root] = root
    pixel, other, direction = _ends(pair.edge, clusters.offsets)
    weight = picture.tables.weights[direction >> 1, picture.distances[pixel, direction]]
    for end in (pixel, other):
        picture.loops[end] -= weight
        clusters.touched[end] += 1
    step = int(steps.state[0])
    steps.state[0] += 1.0
    steps.state[2] = score
    if step < steps.edges.size:
        steps.edges[step] = pair.edge
        steps.scores[step] = score


@compiled_loop()
def _empty_heap(
    picture: Picture,
    clusters: Clusters,
    heap: Heap,
    row: Row,
    bucket: int,
    count: int,
    n_joins: int,
    steps: Steps,
) -> None:
    """Joins along the heap's pairs in order, but for those that have fallen out of the bucket."""
    parents, pairs, heads = clusters.parents, clusters.pairs, clusters.heads
    keys, ties, members = heap
    state = steps.state
    while count > 0 and state[0] < n_joins:
        at = int(members[0])
        is_left = False
        if _is_open(parents, pairs, at):
            score = _score(picture, clusters, at)
            tie = tie_break(pairs[at].edge)
            target = bucket_of(row, score, BUCKETS)
            if score >= keys[0] and tie == ties[0]:
                _join(picture, clusters, at, score, steps)
            elif target > bucket:
                pairs[at].next = heads[target]
                heads[target] = at
            else:
                # It comes again, after all that have the old score.
                keys[0], ties[0] = min(score, keys[0]), tie
                is_left = True
        count = replace_best(keys, ties, members, count, is_left)


@compiled_loop()
def join_clusters(
    picture: Picture,
    clusters: Clusters,
    ids: Ints,
    best: float,
    span: float,
    n_joins: int,
    steps: Steps,
) -> None:
    """Joins clusters along the best edges until enough joins were made or no edge is left.

    Args:
        picture: The graph; its loops are changed.
        clusters: Parents hold minus the clusters' sizes, `heads` -1 and `touched` 0; the rest is
            room to work in.
        ids: (N,) each pixel's cluster.
        best: No score is above this.
        span: Roughly how far scores reach down.
        n_joins: How many joins to make, with those that `steps` holds already.
        steps: Where joins are noted.
    """
    row = Row(best, BUCKETS / span)
    _fill_buckets(picture, clusters, _collect(picture, clusters, ids), row)
    heap = empty_heap(clusters.pairs.size)
    heads = clusters.heads
    bucket = 0
    while steps.state[0] < n_joins:
        while bucket < BUCKETS and heads[bucket] < 0:
            bucket += 1
        if bucket < BUCKETS:
            count = _open_bucket(picture, clusters, heap, row, bucket)
            _empty_heap(picture, clusters, heap, row, bucket, count, n_joins, steps)
        elif heads[BUCKETS] >= 0:
            row = _next_row(picture, clusters, row)
            bucket = 0
        else:
            break


@compiled_loop()
def label_clusters(parents: Ints, ids: Ints) -> None:
    """Replaces cluster numbers by labels 0, 1, ... in raster order of the first pixels.

    Args:
        parents: (M,) clusters of clusters; roots hold a negative number.
        ids: (N,) the number of each pixel's cluster; in the end its label.
    """
    labels = np.full(parents.size, -1, np.int32)
    count = 0
    for pixel in range(ids.size):
        root = find(parents, ids[pixel])
        if labels[root] < 0:
            labels[root] = count
            count += 1
        ids[pixel] = labels[root]
