"""The greedy inside small windows of the picture, which fit a processor's cache.

Most joins are settled nearby. An edge that is the best of all open edges of both its clusters is
the next that either of them takes, whatever happens elsewhere: scores never grow, and joins
elsewhere change none of these edges for the better. Such joins may be made in any order without
changing the greedy's result.

So the picture is cut window by window. In a window the greedy runs as usual, except that a
cluster whose best edge leads to something that the window does not wholly contain is *frozen*:
its next join is not known here. Freezing spreads, since a cluster whose best edge leads to a
frozen one is frozen too. A second round of windows, shifted by half a window, settles most of
what the first had to leave along the windows' borders.

Windows leave edges alone whose score is not above a floor. The caller chooses the floor so that
the greedy stops below it; all joins made here are then joins of the greedy.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from crosscity.compiled_loops import compiled_loop
from crosscity.partitioning.buckets import Row, bucket_of, replace_best
from crosscity.partitioning.scores import (
    Distances,
    Floats,
    Heap,
    Ints,
    Tables,
    chord,
    empty_heap,
    find,
    heapify,
    in_steps,
    size_log,
    tie_break,
    x_log_x,
)

SIDE_BITS = 7
SIDE = 1 << SIDE_BITS
"""Pixels in a row of a window with its margin of one pixel."""

LARGEST_WINDOW = SIDE - 2

BUCKETS = 1 << 11
"""Buckets between the best score and the floor; the one after them is for what is left alone."""

NONE = 2**16 - 1
"""No edge: this number would leave the window's last pixel downwards."""

SLACK = 1e-4
"""A score from chords of f is less below the score than this."""

FROZEN = 1 << 30
"""Added to a cluster's size to say that it is frozen."""


class Picture(NamedTuple):
    """The graph and the clusters of the whole picture.

    Attributes:
        shape: Height and width.
        distances: (N, D) colour distance along each edge.
        absent: The distance of an edge that would leave the picture.
        loops: (N,) l of every pixel, less the chosen edges.
        parents: (N,) every pixel's root; roots hold minus their cluster's size.
        tables: What the score looks up.
        rate: The rate at which the score pays for balance.
    """

    shape: tuple[int, int]
    distances: Distances
    absent: int
    loops: Floats
    parents: Ints
    tables: Tables
    rate: float


class Steps(NamedTuple):
    """The chosen edges.

    Attributes:
        edges: (at most N,) edge numbers in the order in which they were chosen, or empty.
        scores: As many scores.
        state: (3,) float64: how many were chosen, the lowest score among those chosen in windows,
            and the score of the last one that was chosen after them.
    """

    edges: Ints
    scores: Floats
    state: Floats


class Window(NamedTuple):
    """A piece of the picture with a margin of one pixel, in rows of SIDE.

    Attributes:
        frame: (4,) int64: the place of the piece without its margin, and its size (y, x, h, w).
        distances: (4 SIDE²,) colour distances by the window's own edge numbers, pixel * 4 +
            direction.
        loops: (SIDE², 2) l and f(l).
        parents: (SIDE²,) clusters; roots hold minus their size, less FROZEN if frozen.
        heads: (BUCKETS,) the first edge in each bucket.
        links: (4 SIDE²,) the next edge in the same bucket.
        heap: The edges of the bucket that is open; with room for all.
    """

    frame: npt.NDArray[np.int64]
    distances: Distances
    loops: Floats
    parents: Ints
    heads: npt.NDArray[np.uint16]
    links: npt.NDArray[np.uint16]
    heap: Heap


@compiled_loop()
def _empty_window(distances: Distances) -> Window:
    n_pixels = SIDE * SIDE
    return Window(
        np.zeros(4, np.int64),
        np.empty(4 * n_pixels, distances.dtype),
        np.zeros((n_pixels, 2), np.float64),
        np.full(n_pixels, -1 - FROZEN, np.int32),
        np.full(BUCKETS, NONE, np.uint16),
        np.empty(4 * n_pixels, np.uint16),
        empty_heap(4 * n_pixels),
    )


@compiled_loop()
def _load(picture: Picture, window: Window) -> None:
    """Copies pixels and margin into the window; everything not wholly inside is frozen."""
    height, width = picture.shape
    y0, x0, h, w = window.frame
    directions = picture.distances.shape[1]
    inside = window.heap.edges  # Not in use yet: counts the pixels of each cluster that lie inside.
    for row in range(h + 2):
        y = y0 + row - 1
        for column in range(w + 2):
            x = x0 + column - 1
            here = (row << SIDE_BITS) + column
            window.parents[here] = -1 - FROZEN
            inside[here] = 0
            edge = here << 2
            if y < 0 or y >= height or x < 0 or x >= width:
                window.distances[edge : edge + 4] = picture.absent
                continue
            pixel = y * width + x
            window.loops[here, 0] = picture.loops[pixel]
            window.loops[here, 1] = x_log_x(picture.loops[pixel])
            for direction in range(directions):
                window.distances[edge + direction] = picture.distances[pixel, direction]
            root = int(picture.parents[pixel])
            if root >= 0:
                row_of_root = root // width - y0 + 1
                column_of_root = root % width - x0 + 1
                if 1 <= row_of_root <= h and 1 <= column_of_root <= w:
                    window.parents[here] = (row_of_root << SIDE_BITS) + column_of_root
    for row in range(1, h + 1):
        for column in range(1, w + 1):
            here = (row << SIDE_BITS) + column
            root = int(window.parents[here])
            inside[root if root >= 0 else here] += 1
    for row in range(1, h + 1):
        for column in range(1, w + 1):
            here = (row << SIDE_BITS) + column
            size = -picture.parents[(y0 + row - 1) * width + x0 + column - 1]
            if size > 0:
                window.parents[here] = -size if inside[here] == size else -size - FROZEN


@compiled_loop(inline="always")
def _other(edge: int) -> int:
    """The pixel that an edge leads to."""
    # The four offsets 1, SIDE, SIDE + 1, SIDE - 1 in the bytes of one number.
    return (edge >> 2) + ((0x7F818001 >> ((edge & 3) << 3)) & 0xFF)


@compiled_loop(inline="always")
def _signed(edge: np.uint16) -> int:
    """An edge as a number that arithmetic does not turn into a float."""
    number: int = np.int64(edge)  # type: ignore[assignment]
    return number


@compiled_loop()
def _number(frame: npt.NDArray[np.int64], width: int, directions: int, edge: int) -> int:
    """The number that an edge of the window has in the picture."""
    pixel = edge >> 2
    y = frame[0] + (pixel >> SIDE_BITS) - 1
    x = frame[1] + (pixel & (SIDE - 1)) - 1
    return int((y * width + x) * directions + (edge & 3))


# Below, arrays are taken out of their tuples before loops begin, and what is called for each edge
# gets them one by one: each time that one is taken out costs two atomic operations on its
# reference count.


@compiled_loop()
def _score(
    weights: Floats,
    weight_logs: Floats,
    size_logs: Floats,
    rate: float,
    distances: Distances,
    loops: Floats,
    edge: int,
    size: int,
    other_size: int,
) -> float:
    """The score of an edge that joins clusters of these sizes."""
    pixel, other = edge >> 2, _other(edge)
    kind, distance = (edge & 3) >> 1, int(distances[edge])
    weight = weights[kind, distance]
    here = loops[pixel, 1] - x_log_x(loops[pixel, 0] - weight)
    there = loops[other, 1] - x_log_x(loops[other, 0] - weight)
    gain = in_steps(here + there - 2.0 * weight_logs[kind, distance])
    return float(gain - rate * size_log(size_logs, size, other_size))


@compiled_loop()
def _score_bound(
    weights: Floats,
    weight_logs: Floats,
    chords: npt.NDArray[np.float32],
    distances: Distances,
    loops: Floats,
    edge: int,
) -> float:
    """A number not below the entropy part of a score, nor much above, without a logarithm."""
    pixel, other = edge >> 2, _other(edge)
    kind, distance = (edge & 3) >> 1, int(distances[edge])
    weight = weights[kind, distance]
    here = loops[pixel, 1] - chord(chords, loops[pixel, 0] - weight)
    there = loops[other, 1] - chord(chords, loops[other, 0] - weight)
    return float(here + there - 2.0 * weight_logs[kind, distance] + SLACK)


@compiled_loop()
def _fill_buckets(picture: Picture, window: Window, row: Row) -> None:
    """Puts the open edges into their first buckets."""
    _, _, absent, _, _, tables, rate = picture
    weights, weight_logs, size_logs, chords = tables
    frame, distances, loops, parents, heads, links, _ = window
    h, w = frame[2], frame[3]
    directions = picture.distances.shape[1]
    heads[:] = NONE
    for y in range(h + 1):
        # No edge may leave the margin.
        left, right = (y << SIDE_BITS) << 2, ((y << SIDE_BITS) + w + 1) << 2
        distances[left + 3] = distances[right] = distances[right + 2] = absent
        for x in range(w + 2):
            pixel = (y << SIDE_BITS) + x
            root = find(parents, pixel)
            size = -parents[root]
            for edge in range(pixel << 2, (pixel << 2) + directions):
                if distances[edge] == absent:
                    continue
                other_root = find(parents, _other(edge))
                other_size = -parents[other_root]
                if root == other_root or (size >= FROZEN and other_size >= FROZEN):
                    continue
                lost = size_log(size_logs, size & (FROZEN - 1), other_size & (FROZEN - 1))
                bound = _score_bound(weights, weight_logs, chords, distances, loops, edge)
                bucket = bucket_of(row, bound - rate * lost, BUCKETS)
                if bucket < BUCKETS:
                    links[edge] = heads[bucket]
                    heads[bucket] = edge


@compiled_loop()
def _open_bucket(picture: Picture, window: Window, row: Row, bucket: int) -> int:
    """Scores a bucket's edges anew; those that still belong to it become the heap."""
    weights, weight_logs, size_logs, _ = picture.tables
    rate, width, directions = picture.rate, picture.shape[1], picture.distances.shape[1]
    frame, distances, loops, parents, heads, links, (keys, ties, edges) = window
    edge = _signed(heads[bucket])
    heads[bucket] = NONE
    count = 0
    while edge != NONE:
        following = _signed(links[edge])
        root, other_root = find(parents, edge >> 2), find(parents, _other(edge))
        size, other_size = -parents[root], -parents[other_root]
        if root != other_root and (size < FROZEN or other_size < FROZEN):
            size, other_size = size & (FROZEN - 1), other_size & (FROZEN - 1)
            score = _score(
                weights, weight_logs, size_logs, rate, distances, loops, edge, size, other_size
            )
            target = bucket_of(row, score, BUCKETS)
            if target <= bucket:
                keys[count] = score
                ties[count] = tie_break(_number(frame, width, directions, edge))
                edges[count] = edge
                count += 1
            elif target < BUCKETS:
                links[edge] = heads[target]
                heads[target] = edge
        edge = following
    heapify(keys, ties, edges, count)
    return count


@compiled_loop()
def _join(parents: Ints, root: int, other_root: int) -> None:
    """Joins two clusters."""
    if parents[other_root] < parents[root]:
        root, other_root = other_root, root
    parents[root] += parents[other_root]
    parents[other_root] = root


@compiled_loop()
def _reduce_loop(loops: Floats, pixel: int, weight: float) -> None:
    """Takes the weight of a chosen edge off a pixel's loop."""
    loops[pixel, 0] -= weight
    loops[pixel, 1] = x_log_x(loops[pixel, 0])


@compiled_loop()
def _record_join(chosen: Ints, scores: Floats, state: Floats, edge: int, score: float) -> None:
    """Notes a join."""
    step = int(state[0])
    state[0] += 1.0
    state[1] = min(state[1], score)
    if step < chosen.size:
        chosen[step] = edge
        scores[step] = score


@compiled_loop()
def _empty_heap(
    picture: Picture, window: Window, row: Row, bucket: int, count: int, steps: Steps
) -> None:
    """Goes through the heap's edges in order: joins, freezes, or moves what has fallen."""
    weights, weight_logs, size_logs, _ = picture.tables
    rate, width, directions = picture.rate, picture.shape[1], picture.distances.shape[1]
    frame, distances, loops, parents, heads, links, (keys, ties, edges) = window
    chosen, scores, state = steps
    is_fresh = True
    while count > 0:
        edge, score = int(edges[0]), float(keys[0])
        root, other_root = find(parents, edge >> 2), find(parents, _other(edge))
        size, other_size = -parents[root], -parents[other_root]
        target = BUCKETS
        if root != other_root and (size < FROZEN or other_size < FROZEN):
            if not is_fresh:
                size, other_size = size & (FROZEN - 1), other_size & (FROZEN - 1)
                score = _score(
                    weights, weight_logs, size_logs, rate, distances, loops, edge, size, other_size
                )
            if score < keys[0]:
                target = bucket_of(row, score, BUCKETS)
            elif parents[root] <= -FROZEN:
                parents[other_root] -= FROZEN
            elif parents[other_root] <= -FROZEN:
                parents[root] -= FROZEN
            else:
                _join(parents, root, other_root)
                weight = weights[(edge & 3) >> 1, distances[edge]]
                _reduce_loop(loops, edge >> 2, weight)
                _reduce_loop(loops, _other(edge), weight)
                number = _number(frame, width, directions, edge)
                _record_join(chosen, scores, state, number, score)
                is_fresh = False
        if target <= bucket:
            keys[0] = score
        elif target < BUCKETS:
            links[edge] = heads[target]
            heads[target] = edge
        count = replace_best(keys, ties, edges, count, target <= bucket)


@compiled_loop()
def _empty_buckets(picture: Picture, window: Window, row: Row, steps: Steps) -> None:
    """Opens one bucket after the other."""
    heads = window.heads
    for bucket in range(BUCKETS):
        if heads[bucket] != NONE:
            count = _open_bucket(picture, window, row, bucket)
            _empty_heap(picture, window, row, bucket, count, steps)


@compiled_loop()
def _store(picture: Picture, window: Window) -> None:
    """Copies loops and clusters back."""
    width = picture.shape[1]
    y0, x0, h, w = window.frame
    for row in range(1, h + 1):
        for column in range(1, w + 1):
            here = (row << SIDE_BITS) + column
            pixel = (y0 + row - 1) * width + x0 + column - 1
            picture.loops[pixel] = window.loops[here, 0]
            root = find(window.parents, here)
            if root != here:
                place = (y0 + (root >> SIDE_BITS) - 1) * width
                picture.parents[pixel] = place + x0 + (root & (SIDE - 1)) - 1
            elif window.parents[here] != -1 - FROZEN:
                # A frozen single pixel has not changed; its cluster may lie outside.
                picture.parents[pixel] = -((-window.parents[here]) & (FROZEN - 1))


@compiled_loop()
def join_in_windows(picture: Picture, side: int, floor: float, best: float, steps: Steps) -> None:
    """Makes the joins above a floor that windows can settle, in two rounds.

    Args:
        picture: The graph, with every pixel a cluster of its own; loops and parents are changed.
        side: Height and width of a window, 2 to LARGEST_WINDOW.
        floor: The score above which joins are made.
        best: The largest score of all edges, above the floor.
        steps: Where the joins are noted.
    """
    height, width = picture.shape
    window = _empty_window(picture.distances)
    row = Row(best, BUCKETS / (best - floor))
    for start in (0, side // 2 - side):
        for y in range(start, height, side):
            for x in range(start, width, side):
                window.frame[0], window.frame[1] = max(y, 0), max(x, 0)
                window.frame[2] = min(y + side, height) - max(y, 0)
                window.frame[3] = min(x + side, width) - max(x, 0)
                _load(picture, window)
                _fill_buckets(picture, window, row)
                _empty_buckets(picture, window, row, steps)
                _store(picture, window)
        if height <= side and width <= side:
            break
