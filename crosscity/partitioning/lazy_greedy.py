"""The greedy of Entropy Rate Superpixels: lazy, exact, and laid out for the cache.

Edges are taken by their score (`scores`), which never grows (submodularity): a score that was
computed earlier bounds the present one from above, and only edges that come up need another look.
Nearly all joins are made in small windows (`window_greedy`), the rest in order of score on the
clusters that come out of them (`cluster_greedy`). The result is that of the plain greedy.

Ties: of edges with the same score the one whose number (`pixel_graph`) has the lowest scramble
(`scores.tie_break`) is taken.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from crosscity.partitioning.cluster_greedy import (
    BUCKETS,
    PAIR,
    ROW_SPAN,
    Clusters,
    count_open_edges,
    forbid_between,
    join_clusters,
    label_clusters,
    number_clusters,
)
from crosscity.partitioning.pixel_graph import PixelGraph, edge_offsets, fill_loops
from crosscity.partitioning.scores import Floats, Ints
from crosscity.partitioning.window_greedy import LARGEST_WINDOW, Picture, Steps, join_in_windows

FEWEST_PIXELS = 4
"""Pixels a superpixel below which windows would join too much."""

SHRINK = 4
"""By what factor the number of clusters falls before the edges between them are sorted anew."""

FLOORS = (0.1, 0.5)
"""How far above its expected place the floor of windows is, in units of the largest entropy gain:
first, and if the greedy turned out to stop above that, as on flat pictures, once more."""


@dataclass(frozen=True)
class Joins:
    """What the greedy did.

    Attributes:
        labels: (H * W,) int32 clusters in raster order of their first pixels.
        sizes: (K,) int32 pixels of the clusters.
        edges: (N - K,) int32 chosen edges by falling score, or empty.
        scores: As many float64 scores.
    """

    labels: Ints
    sizes: Ints
    edges: Ints
    scores: Floats


def balance_rate(graph: PixelGraph, n_clusters: int, balance: float) -> float:
    """The rate at which the score pays for balance, from λ' (Sec. 5 of the paper)."""
    n_pixels = graph.loops.size
    first_balance = 1.0 - 2.0 / n_pixels
    if first_balance <= 0.0:
        return 0.0
    # Where every weight underflows, balance alone decides and any scale will do.
    unit = graph.largest_entropy or 1.0
    return balance * n_clusters * unit / first_balance / (n_pixels * math.log(2.0))


def join_greedily(
    graph: PixelGraph,
    n_clusters: int,
    rate: float,
    *,
    within: Ints | None = None,
    record: bool = False,
    window: int = LARGEST_WINDOW,
) -> Joins:
    """Joins pixels along the best edges until `n_clusters` are left or no edge is.

    Args:
        graph: The picture; its loops are used up and, if `within` is given, its distances too.
        n_clusters: K.
        rate: The rate at which the score pays for balance, zero or more.
        within: (H * W,) labels that no chosen edge may cross, or None.
        record: Whether to return the chosen edges.
        window: Side of the windows in pixels, 2 to 126; the result does not depend on it.
    """
    n_pixels = graph.loops.size
    offsets = edge_offsets(graph.width, graph.distances.shape[1])
    unit = graph.largest_entropy or 1.0
    first_lost = rate * 2.0 * math.log(2.0)
    # A cluster of N / K pixels of one colour joins another at about this score, others later.
    last = max(0.0, unit - first_lost * n_pixels / n_clusters)
    floors = [last + above * unit for above in FLOORS]
    if within is not None:
        forbid_between(graph.distances, graph.absent, offsets, within)
    if within is not None or n_clusters * FEWEST_PIXELS > n_pixels:
        floors = []
    for floor in floors:
        if floor < unit - first_lost:
            joins, is_exact = _join(graph, n_clusters, rate, floor, window, record)
            if is_exact:
                return joins
            fill_loops(graph.distances, graph.absent, graph.tables.weights, offsets, graph.loops)
    return _join(graph, n_clusters, rate, math.inf, window, record)[0]


def _join(
    graph: PixelGraph, n_clusters: int, rate: float, floor: float, window: int, record: bool
) -> tuple[Joins, bool]:
    """`join_greedily` with windows down to a floor, and whether the floor was not too low."""
    n_pixels = graph.loops.size
    n_joins = n_pixels - n_clusters
    room = n_pixels if record else 0
    steps = Steps(
        np.empty(room, np.int32), np.empty(room, np.float64), np.array([0.0, np.inf, np.inf])
    )
    picture = Picture(
        (graph.height, graph.width),
        graph.distances,
        graph.absent,
        graph.loops,
        np.full(n_pixels, -1, np.int32),
        graph.tables,
        rate,
    )
    unit = graph.largest_entropy or 1.0
    best = unit - rate * 2.0 * math.log(2.0)
    if floor < best:
        join_in_windows(picture, window, floor, best, steps)
    offsets = edge_offsets(graph.width, graph.distances.shape[1])
    ids = np.empty(n_pixels, np.int32)
    n_left = number_clusters(picture.parents, ids)
    parents = picture.parents[picture.parents < 0]
    while True:
        # Once there are far fewer clusters, many edges between them have become parallel.
        goal = max(n_clusters, n_left // SHRINK) if n_left * SHRINK > n_pixels // 8 else n_clusters
        n_edges = count_open_edges(picture.distances, graph.absent, offsets, ids)
        clusters = Clusters(
            parents,
            np.empty(n_edges, PAIR),
            np.empty(n_edges, np.int32),
            np.empty(n_edges, np.int32),
            np.full(BUCKETS + 1, -1, np.int32),
            np.zeros(n_pixels, np.uint8),
            offsets,
        )
        join_clusters(picture, clusters, ids, best, ROW_SPAN * unit, n_pixels - goal, steps)
        label_clusters(parents, ids)
        parents = -np.bincount(ids).astype(np.int32)
        if goal == n_clusters or steps.state[0] < n_pixels - goal:
            break
        n_left = goal
        best = min(best, float(steps.state[2]))
    n_made, lowest, last = int(steps.state[0]), steps.state[1], steps.state[2]
    # The greedy stops at its last score: no join below it may have been made in windows.
    is_exact = n_clusters == 1 or n_made < n_joins or last < lowest or lowest == np.inf
    edges, scores = steps.edges[:n_made], steps.scores[:n_made]
    order = np.argsort(-scores, kind="stable")
    return Joins(ids, -parents, edges[order], scores[order]), is_exact
