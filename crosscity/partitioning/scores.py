"""What joining two clusters along an edge is worth, and who is in which cluster.

The gain of an edge (Liu et al. 2011, eqs. 3 and 7, with the scalings of the authors' program) is

    [f(l_i) + f(l_j) - f(l_i - w) - f(l_j - w) - 2 f(w)] / (T ln 2)
        + λ (1 - [f(a + b) - f(a) - f(b)] / (N ln 2)),        f(x) = x ln x,

where l_i is the weight of pixel i's edges that are not chosen yet, T the sum of all l_i before
the first choice, a and b the pixel counts of the two clusters and N that of the picture. T only
scales the entropy part, and so, through λ, everything; the 1 is common to all edges. Hence edges
are ordered by the *score* f(l_i) + ... - 2 f(w) - rate · [f(a + b) - f(a) - f(b)].
"""

from __future__ import annotations

import math
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from crosscity.compiled_loops import compiled_loop

Floats: TypeAlias = npt.NDArray[np.float64]
Ints: TypeAlias = npt.NDArray[np.int32]
Distances: TypeAlias = npt.NDArray[np.uint16] | npt.NDArray[np.uint32]

TABLE_SIZE = 1 << 14
"""Cluster sizes whose n ln n is tabulated."""


CHORDS = 1 << 12
"""Steps in which f is tabulated."""


STEPS = 2.0**44
"""Entropy parts are rounded to 1 / STEPS. They are known to about a sixteenth of that, and are up
to twelve; so of two edges between the same clusters, the one with the larger entropy part has the
larger score, whatever is subtracted from both."""


class Tables(NamedTuple):
    """What the score looks up.

    Attributes:
        weights: (2, levels) weight of a straight and a diagonal edge by colour distance.
        weight_logs: f(w) of the weights.
        size_logs: f(n) for n from 0.
        chords: (2, CHORDS + 2) float32; f from 0 to 1/2 and from 0 to 8 in equal steps.
    """

    weights: Floats
    weight_logs: Floats
    size_logs: Floats
    chords: npt.NDArray[np.float32]


@compiled_loop(inline="always")
def x_log_x(value: float) -> float:
    """f(x), zero at zero."""
    # Differences of sums may end an ulp below zero where they mean zero.
    return value * math.log(value) if value > 0.0 else 0.0


@compiled_loop()
def make_tables(weights: Floats) -> Tables:
    """The tables for these weights."""
    weight_logs = np.empty_like(weights)
    for kind in range(weights.shape[0]):
        for level in range(weights.shape[1]):
            weight_logs[kind, level] = x_log_x(weights[kind, level])
    size_logs = np.empty(TABLE_SIZE, np.float64)
    for size in range(TABLE_SIZE):
        size_logs[size] = x_log_x(float(size))
    chords = np.empty((2, CHORDS + 2), np.float32)
    for at in range(CHORDS + 2):
        chords[0, at] = x_log_x(at * (0.5 / CHORDS))
        chords[1, at] = x_log_x(at * (8.0 / CHORDS))
    return Tables(weights, weight_logs, size_logs, chords)


@compiled_loop(inline="always")
def chord(chords: npt.NDArray[np.float32], value: float) -> float:
    """Interpolates f in its table: not below f, and at most 4.6e-5 above it.

    Args:
        chords: The table.
        value: At most 8, the largest l.
    """
    value = max(value, 0.0)
    part = 0 if value < 0.5 else 1
    place = value * (2.0 * CHORDS if value < 0.5 else 0.125 * CHORDS)
    at = int(place)
    low = chords[part, at]
    return float(low + (place - at) * (chords[part, at + 1] - low))


@compiled_loop()
def find(parents: Ints, member: int) -> int:
    """The root of a member's cluster; roots hold a negative number. Halves paths on the way."""
    above = int(parents[member])
    while above >= 0:
        beyond = int(parents[above])
        if beyond < 0:
            return above
        parents[member] = beyond
        member = beyond
        above = int(parents[member])
    return member


@compiled_loop()
def _n_log_n(table: Floats, count: int) -> float:
    return float(table[count]) if count < table.size else count * math.log(count)


@compiled_loop()
def size_log(table: Floats, a: int, b: int) -> float:
    """f(a + b) - f(a) - f(b): what the balance loses by joining clusters of a and b pixels."""
    lost = _n_log_n(table, a + b) - _n_log_n(table, a) - _n_log_n(table, b)
    return float(lost)


@compiled_loop(inline="always")
def in_steps(gain: float) -> float:
    """The entropy part of a score in whole steps, which subtraction from it keeps apart."""
    return float(np.rint(gain * STEPS) / STEPS)


@compiled_loop()
def entropy(loop: float, other_loop: float, weight: float, weight_log: float) -> float:
    """The entropy part of the score, of an edge between pixels with these l."""
    here = x_log_x(loop) - x_log_x(loop - weight)
    there = x_log_x(other_loop) - x_log_x(other_loop - weight)
    return float(in_steps(here + there - 2.0 * weight_log))


@compiled_loop(inline="always")
def tie_break(edge: int) -> int:
    """Of edges with the same score the one for which this 32-bit number is lowest is taken.

    Raster order would make one long chain of every region of one colour, in which each edge has
    to wait for the one before. These numbers are scattered, and no two are the same: both
    multipliers are odd.
    """
    number = (edge * 0x9E3779B1) & 0xFFFFFFFF
    number ^= number >> 15
    number = (number * 0x85EBCA77) & 0xFFFFFFFF
    return number ^ (number >> 13)


class Heap(NamedTuple):
    """Edges by falling score, as a heap whose best is at 0.

    Attributes:
        keys: Their scores.
        ties: What decides between equal scores: the lowest first.
        edges: The edges.
    """

    keys: Floats
    ties: npt.NDArray[np.int64]
    edges: Ints


@compiled_loop()
def empty_heap(room: int) -> Heap:
    """A heap with room for so many edges."""
    return Heap(np.empty(room, np.float64), np.empty(room, np.int64), np.empty(room, np.int32))


@compiled_loop()
def sift_down(keys: Floats, ties: npt.NDArray[np.int64], edges: Ints, count: int, at: int) -> None:
    """Restores a heap after the edge at one place has become worse."""
    key, tie, edge = keys[at], ties[at], edges[at]
    while True:
        child = 2 * at + 1
        if child >= count:
            break
        other = child + 1
        if other < count and (
            keys[other] > keys[child] or (keys[other] == keys[child] and ties[other] < ties[child])
        ):
            child = other
        if keys[child] < key or (keys[child] == key and ties[child] >= tie):
            break
        keys[at], ties[at], edges[at] = keys[child], ties[child], edges[child]
        at = child
    keys[at], ties[at], edges[at] = key, tie, edge


@compiled_loop()
def heapify(keys: Floats, ties: npt.NDArray[np.int64], edges: Ints, count: int) -> None:
    """Makes a heap of the first edges."""
    for at in range(count // 2 - 1, -1, -1):
        sift_down(keys, ties, edges, count, at)
