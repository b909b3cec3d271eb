"""The lazy greedy against a greedy in plain Python that evaluates everything at every step."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest

from crosscity.partitioning import (
    entropy_rate_superpixels,
    greedy_partition,
    superpixel_hierarchy,
)
from crosscity.partitioning.lazy_greedy import balance_rate, join_greedily
from crosscity.partitioning.pixel_graph import pixel_graph

Edge = tuple[int, int, float]


def weighted_edges(image: npt.NDArray, sigma: float, connectivity: int) -> list[Edge]:
    """(i, j, weight) in the documented order: by upper pixel, then right, down, diagonals."""
    height, width = image.shape[:2]
    layers = image.reshape(height, width, -1).astype(int)
    channels = layers.shape[2]
    if image.dtype == np.uint16:
        sigma *= 257
    steps = [(1, 0), (0, 1), (1, 1), (-1, 1)][: connectivity // 2]
    edges = []
    for y in range(height):
        for x in range(width):
            for dx, dy in steps:
                if 0 <= x + dx < width and y + dy < height:
                    distance = np.abs(layers[y, x] - layers[y + dy, x + dx]).sum()
                    distance = distance * math.sqrt(2) if dx and dy else float(distance)
                    weight = math.exp(-(distance**2) / (2 * (channels * sigma) ** 2))
                    edges.append((y * width + x, (y + dy) * width + x + dx, weight))
    return edges


def clusters_of(chosen: list[Edge], n_pixels: int) -> list[int]:
    """A label per pixel: the lowest pixel of its cluster."""
    labels = list(range(n_pixels))
    for i, j, _ in chosen:
        low, high = sorted((labels[i], labels[j]))
        labels = [low if label == high else label for label in labels]
    return labels


def entropy_rate(chosen: list[Edge], strengths: npt.NDArray) -> float:
    """H(A) of the walk that moves along chosen edges and else stays (eqs. 1 to 3)."""
    total = strengths.sum()
    stays = strengths.copy()
    rate = 0.0
    for i, j, weight in chosen:
        stays[i] -= weight
        stays[j] -= weight
        for end in (i, j):
            p = weight / strengths[end]
            rate -= strengths[end] / total * (p * math.log2(p) if p > 0 else 0.0)
    for strength, stay in zip(strengths, stays, strict=True):
        p = stay / strength
        rate -= strength / total * (p * math.log2(p) if p > 1e-15 else 0.0)
    return rate


def balancing(labels: list[int]) -> float:
    """B(A): entropy of the cluster sizes less their number (eq. 7)."""
    sizes = np.unique(labels, return_counts=True)[1] / len(labels)
    return float(-(sizes * np.log2(sizes)).sum()) - sizes.size


def greedy_by_definition(
    image: npt.NDArray, n: int, balance: float, sigma: float, connectivity: int
) -> tuple[list[int], float, float]:
    """Labels, objective and λ of the textbook greedy."""
    edges = weighted_edges(image, sigma, connectivity)
    n_pixels = image.shape[0] * image.shape[1]
    strengths = np.zeros(n_pixels)
    for i, j, weight in edges:
        strengths[i] += weight
        strengths[j] += weight
    singles = list(range(n_pixels))
    largest_entropy = max(entropy_rate([edge], strengths) for edge in edges)
    largest_balance = balancing(clusters_of(edges[:1], n_pixels)) - balancing(singles)
    weight_of_balance = balance * n * largest_entropy / largest_balance

    def objective(chosen: list[Edge]) -> float:
        labels = clusters_of(chosen, n_pixels)
        return entropy_rate(chosen, strengths) + weight_of_balance * balancing(labels)

    chosen: list[Edge] = []
    labels = singles
    while len(set(labels)) > n:
        open_edges = [edge for edge in edges if labels[edge[0]] != labels[edge[1]]]
        chosen.append(max(open_edges, key=lambda edge: objective([*chosen, edge])))
        labels = clusters_of(chosen, n_pixels)
    return labels, objective(chosen), weight_of_balance


def tie_number(place: int) -> int:
    """The documented number that decides between equal scores."""
    number = (place * 0x9E3779B1) % 2**32
    number ^= number >> 15
    number = (number * 0x85EBCA77) % 2**32
    return number ^ (number >> 13)


def numbers_of(edges: list[Edge], width: int, connectivity: int) -> list[int]:
    """Documented edge numbers: the upper pixel's raster index times D, plus the direction."""
    directions = connectivity // 2
    steps = [1, width, width + 1, width - 1]
    if width == 1:
        return [i * directions + 1 for i, _, _ in edges]
    return [i * directions + steps.index(j - i) for i, j, _ in edges]


def greedy_by_scores(
    image: npt.NDArray,
    n: int,
    balance: float,
    sigma: float,
    connectivity: int,
    fixed_weight: float | None = None,
) -> list[int]:
    """The documented score with the documented tie rule, every open edge scored at every step.

    The balancing term has this weight, or else that of the paper for n.
    """

    def f(x: float) -> float:
        return x * math.log(x) if x > 0 else 0.0

    edges = weighted_edges(image, sigma, connectivity)
    numbers = numbers_of(edges, image.shape[1], connectivity)
    ties = {edge: -tie_number(number) for edge, number in zip(edges, numbers, strict=True)}
    n_pixels = image.shape[0] * image.shape[1]
    left = [0.0] * n_pixels
    for i, j, weight in edges:
        left[i] += weight
        left[j] += weight

    def entropy(edge: Edge) -> float:
        i, j, weight = edge
        here, there = f(left[i]) - f(left[i] - weight), f(left[j]) - f(left[j] - weight)
        return round((here + there - 2 * f(weight)) * 2**44) / 2**44

    largest = max(entropy(edge) for edge in edges) or 1.0
    rate = balance * n * largest / (1 - 2 / n_pixels) / (n_pixels * math.log(2))
    if fixed_weight is not None:
        rate = fixed_weight * sum(left) / n_pixels
    labels = list(range(n_pixels))
    for _ in range(n_pixels - n):
        size = {label: labels.count(label) for label in set(labels)}
        best, best_score = None, (-math.inf, 0)
        for edge in edges:
            a, b = labels[edge[0]], labels[edge[1]]
            if a == b:
                continue
            lost = f(size[a] + size[b]) - f(size[a]) - f(size[b])
            score = (entropy(edge) - rate * lost, ties[edge])
            if score > best_score:
                best, best_score = edge, score
        assert best is not None
        i, j, weight = best
        left[i] -= weight
        left[j] -= weight
        low, high = sorted((labels[i], labels[j]))
        labels = [low if label == high else label for label in labels]
    return labels


def in_raster_order(labels: list[int]) -> npt.NDArray:
    """Renumbers labels that are the lowest pixel of their cluster."""
    return np.unique(labels, return_inverse=True)[1]


def noise(rng: np.random.Generator) -> npt.NDArray:
    return rng.integers(0, 60, (6, 7, 3), dtype=np.uint8)


def smooth_grey(rng: np.random.Generator) -> npt.NDArray:
    ramp = np.add.outer(np.arange(7), np.arange(6)) * 3
    return (ramp + rng.integers(0, 7, ramp.shape)).astype(np.uint8)


def deep_grey(rng: np.random.Generator) -> npt.NDArray:
    return rng.integers(0, 6000, (5, 8), dtype=np.uint16)


@pytest.mark.parametrize("picture", [noise, smooth_grey, deep_grey])
@pytest.mark.parametrize(("n", "balance", "connectivity"), [(4, 0.5, 8), (9, 0.5, 4), (3, 0.0, 8)])
def test_objective_equals_the_textbook_greedy(
    picture: Callable, n: int, balance: float, connectivity: int
) -> None:
    image = picture(np.random.default_rng([n, connectivity]))
    labels, value, weight_of_balance = greedy_by_definition(image, n, balance, 5.0, connectivity)
    ours = greedy_partition(image, n, balance=balance, connectivity=connectivity)
    found = ours.objective
    assert found.balance_weight == pytest.approx(weight_of_balance, rel=1e-9, abs=1e-12)
    assert found.value - found.balance_weight * n == pytest.approx(value, rel=1e-9, abs=1e-12)
    np.testing.assert_array_equal(ours.labels.ravel(), in_raster_order(labels))


def test_gains_add_up_to_the_objective() -> None:
    image = noise(np.random.default_rng(5))
    ours = greedy_partition(image, 5)
    n_pixels = image.shape[0] * image.shape[1]
    at_start = ours.objective.balance_weight * (math.log2(n_pixels) - n_pixels)
    at_end = ours.objective.value - ours.objective.balance_weight * 5
    assert ours.gains.sum() == pytest.approx(at_end - at_start, rel=1e-9)


@pytest.mark.parametrize("connectivity", [4, 8])
def test_each_gain_is_what_its_edge_adds_at_its_turn(connectivity: int) -> None:
    # 150 pixels and 4 superpixels: windows make the joins out of order, the report is in order.
    image = patches(np.random.default_rng(connectivity))[:10]
    ours = greedy_partition(image, 4, connectivity=connectivity)
    edges = weighted_edges(image, 5.0, connectivity)
    numbers = numbers_of(edges, image.shape[1], connectivity)
    by_number = dict(zip(numbers, edges, strict=True))
    n_pixels = image.shape[0] * image.shape[1]
    strengths = np.zeros(n_pixels)
    for i, j, weight in edges:
        strengths[[i, j]] += weight
    worth = []
    for count in range(ours.edges.size + 1):
        chosen = [by_number[number] for number in ours.edges[:count].tolist()]
        balance = ours.objective.balance_weight * balancing(clusters_of(chosen, n_pixels))
        worth.append(entropy_rate(chosen, strengths) + balance)
    np.testing.assert_allclose(np.diff(worth), ours.gains, rtol=1e-7, atol=1e-11)


@pytest.mark.parametrize("levels", [1, 2, 3])
@pytest.mark.parametrize(("n", "connectivity"), [(1, 8), (5, 8), (5, 4)])
def test_ties_are_decided_as_documented(levels: int, n: int, connectivity: int) -> None:
    # Pictures of few levels are full of equal scores.
    image = np.random.default_rng([levels, n]).integers(0, levels, (6, 6), dtype=np.uint8) * 4
    labels = greedy_by_scores(image, n, 0.5, 5.0, connectivity)
    ours = entropy_rate_superpixels(image, n, connectivity=connectivity)
    np.testing.assert_array_equal(ours.ravel(), in_raster_order(labels))


def patches(rng: np.random.Generator) -> npt.NDArray:
    base = np.kron(rng.integers(0, 120, (3, 4, 3)), np.ones((5, 5, 1)))
    return np.clip(base + rng.normal(0, 5, base.shape), 0, 255).astype(np.uint8)


def flat_parts(rng: np.random.Generator) -> npt.NDArray:
    return np.kron(rng.integers(0, 4, (3, 3)) * 9, np.ones((6, 5), int)).astype(np.uint8)


@pytest.mark.parametrize("picture", [patches, flat_parts])
@pytest.mark.parametrize(("n", "connectivity"), [(3, 8), (12, 8), (6, 4)])
def test_windows_do_not_change_the_result(picture: Callable, n: int, connectivity: int) -> None:
    image = picture(np.random.default_rng([n, connectivity]))
    expected = in_raster_order(greedy_by_scores(image, n, 0.5, 5.0, connectivity))
    for window in (2, 3, 7, 9, 126):
        graph = pixel_graph(image, 5.0, connectivity)
        joins = join_greedily(graph, n, balance_rate(graph, n, 0.5), window=window, record=True)
        np.testing.assert_array_equal(joins.labels, expected)
        assert (np.diff(joins.scores) <= 0).all()


@pytest.mark.parametrize("connectivity", [4, 8])
def test_cuts_of_a_hierarchy_are_the_greedy_with_that_weight(connectivity: int) -> None:
    image = patches(np.random.default_rng(connectivity))
    hierarchy = superpixel_hierarchy(image, 2.0, connectivity=connectivity)
    for n in (2, 9, 60):
        labels = greedy_by_scores(image, n, 0.5, 5.0, connectivity, fixed_weight=2.0)
        np.testing.assert_array_equal(hierarchy.cut(n).ravel(), in_raster_order(labels))


@pytest.mark.slow
def test_a_larger_picture_is_cut_as_by_full_scoring() -> None:
    rng = np.random.default_rng(8)
    base = np.kron(rng.integers(0, 255, (3, 4, 3)), np.ones((8, 8, 1)))
    image = np.clip(base + rng.normal(0, 6, base.shape), 0, 255).astype(np.uint8)
    labels = greedy_by_scores(image, 20, 0.5, 5.0, 8)
    ours = entropy_rate_superpixels(image, 20)
    np.testing.assert_array_equal(ours.ravel(), in_raster_order(labels))
