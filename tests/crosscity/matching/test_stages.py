"""Each stage of DeepMatching against a plain writing of its equation, on small inputs."""

from __future__ import annotations

import numpy as np
import pytest

from crosscity.matching.backtracking import backtrack
from crosscity.matching.correlation import atomic_patches, correlate
from crosscity.matching.descriptors import grey_image, halve, pixel_descriptors
from crosscity.matching.matches import Matches
from crosscity.matching.pyramid import Level, Pyramid, build_pyramid, children_of, level_count
from crosscity.matching.reciprocal import reciprocal_matches
from crosscity.matching.responses import PooledMaps, pool_map, rectification_table

POWER = 1.4
STEP = 1.5 / 65535
"""What 16-bit storage may differ by."""


def random_descriptors(seed: int, height: int, width: int) -> np.ndarray:
    return np.random.default_rng(seed).random((9, height, width)).astype(np.float32)


# -- descriptors ---------------------------------------------------------------------------------


def brute_smooth(values: np.ndarray, integers: bool) -> np.ndarray:
    taps = [135, 607, 1000, 607, 135]
    for axis in (1, 0):
        out = np.zeros_like(values)
        for y in range(values.shape[0]):
            for x in range(values.shape[1]):
                total = 0
                for offset, tap in zip(range(-2, 3), taps, strict=True):
                    yy = y if axis else min(max(y + offset, 0), values.shape[0] - 1)
                    xx = min(max(x + offset, 0), values.shape[1] - 1) if axis else x
                    total += tap * values[yy, xx]
                out[y, x] = total // 2484 if integers else total / 2484
        values = out
    return values


def brute_descriptors(grey: np.ndarray) -> np.ndarray:
    soft = brute_smooth(grey.astype(np.int64), integers=True)
    height, width = grey.shape
    vertical, horizontal = np.zeros(grey.shape), np.zeros(grey.shape)
    for y in range(height):
        for x in range(width):
            vertical[y, x] = soft[min(y + 1, height - 1), x] - soft[max(y - 1, 0), x]
            horizontal[y, x] = soft[y, min(x + 1, width - 1)] - soft[y, max(x - 1, 0)]
    channels = []
    for number in range(8):
        angle = -2 * np.pi * (number - 2) / 8
        along = np.maximum(0, np.cos(angle) * vertical + np.sin(angle) * horizontal)
        squashed = 2 / (1 + np.exp(-0.2 * brute_smooth(along, integers=False))) - 1
        channels.append(brute_smooth(squashed, integers=False))
    return np.stack([*channels, np.full(grey.shape, 0.3)])


def test_descriptors_are_their_definition() -> None:
    image = np.random.default_rng(0).integers(0, 256, (13, 17, 3), dtype=np.uint8)
    grey = grey_image(image)
    assert (grey == image.astype(int).sum(axis=2) // 3).all()
    np.testing.assert_allclose(pixel_descriptors(grey), brute_descriptors(grey), atol=2e-5)


def test_halving_averages_two_by_two_and_drops_the_odd_rest() -> None:
    values = random_descriptors(1, 7, 9)
    halved = halve(values)
    assert halved.shape == (9, 3, 4)
    for y in range(3):
        for x in range(4):
            block = values[:, 2 * y : 2 * y + 2, 2 * x : 2 * x + 2]
            np.testing.assert_allclose(halved[:, y, x], block.mean(axis=(1, 2)), rtol=1e-6)


# -- level 0 -------------------------------------------------------------------------------------


def brute_correlation(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Full response maps, not pooled, not rectified."""
    rows, columns = a.shape[1] // 4, a.shape[2] // 4
    height, width = b.shape[1], b.shape[2]
    maps = np.zeros((rows * columns, height + 1, width + 1))
    for p in range(rows * columns):
        top, left = 4 * (p // columns), 4 * (p % columns)
        patch = a[:, top : top + 4, left : left + 4].astype(np.float64)
        patch = patch / np.linalg.norm(patch)
        for y in range(height + 1):
            for x in range(width + 1):
                ys = [k for k in range(4) if 0 <= y - 2 + k < height]
                xs = [k for k in range(4) if 0 <= x - 2 + k < width]
                window = b[:, y - 2 + ys[0] : y - 1 + ys[-1], x - 2 + xs[0] : x - 1 + xs[-1]]
                inside = patch[:, ys[0] : ys[-1] + 1, xs[0] : xs[-1] + 1]
                response = (inside * window).sum() / np.linalg.norm(window)
                # The part inside stands for the whole: over its rows, and over its columns.
                response /= np.linalg.norm(patch[:, ys[0] : ys[-1] + 1, :])
                response /= np.linalg.norm(patch[:, :, xs[0] : xs[-1] + 1])
                maps[p, y, x] = min(response, 1.0)
    return maps


def brute_pool(full: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    height, width = full.shape
    values = np.zeros(((height + 1) // 2, (width + 1) // 2))
    codes = np.zeros(values.shape, dtype=int)
    for i in range(values.shape[0]):
        for j in range(values.shape[1]):
            best = -1.0
            for dy in (-1, 0, 1):
                for dx in (-1, 0, 1):
                    y, x = 2 * i + dy, 2 * j + dx
                    if not (0 <= y < height and 0 <= x < width):
                        continue
                    values[i, j] = max(values[i, j], full[y, x])
                    if y < height - 1 and x < width - 1 and full[y, x] > best:
                        best, codes[i, j] = full[y, x], 3 * dy + dx + 4
    return values, codes


@pytest.mark.parametrize(("height", "width"), [(12, 16), (9, 13)])
def test_correlation_is_its_definition(height: int, width: int) -> None:
    a, b = random_descriptors(2, 8, 12), random_descriptors(3, height, width)
    pooled = correlate(atomic_patches(a), b, power=POWER, radius=None)
    full = brute_correlation(a, b)
    assert (pooled.height, pooled.width) == full.shape[1:]
    for p, single in enumerate(full):
        values, codes = brute_pool(single)
        np.testing.assert_allclose(pooled.values[p] / 65535, values**POWER, atol=2 * STEP)
        assert (pooled.codes[p] == codes).mean() > 0.98  # rounding may turn a near tie


def test_correlation_finds_nothing_beyond_the_radius() -> None:
    a, b = random_descriptors(4, 12, 12), random_descriptors(5, 12, 12)
    full = brute_correlation(a, b)
    for p in range(9):
        for y in range(13):
            for x in range(13):
                if max(abs(y - 4 * (p // 3) - 2), abs(x - 4 * (p % 3) - 2)) > 3:
                    full[p, y, x] = 0
    pooled = correlate(atomic_patches(a), b, power=POWER, radius=3)
    for p in range(9):
        np.testing.assert_allclose(
            pooled.values[p] / 65535, brute_pool(full[p])[0] ** POWER, atol=2 * STEP
        )


@pytest.mark.parametrize("shape", [(1, 1), (2, 3), (5, 4), (6, 7), (9, 9)])
def test_pooling_is_its_definition_ties_included(shape: tuple[int, int]) -> None:
    random = np.random.default_rng(shape[0])
    for levels in (3, 1000):  # few levels make many ties
        full = (random.integers(0, levels, shape) / levels).astype(np.float32)
        values = np.zeros(((shape[0] + 1) // 2, (shape[1] + 1) // 2), dtype=np.uint16)
        codes = np.full(values.shape, 4, dtype=np.uint8)
        pool_map(full, rectification_table(1.0), values, codes)
        expected, expected_codes = brute_pool(full)
        np.testing.assert_allclose(values / 65535, expected, atol=STEP)
        followed = np.zeros(values.shape, dtype=bool)  # cells with anything that may be followed
        for i, j in np.ndindex(values.shape):
            followed[i, j] = max(2 * i - 1, 0) < shape[0] - 1 and max(2 * j - 1, 0) < shape[1] - 1
        assert (codes[followed] == expected_codes[followed]).all()


# -- pyramid -------------------------------------------------------------------------------------


def test_children_sit_a_quarter_of_the_patch_away() -> None:
    rows, columns = 5, 7
    for level in (1, 2, 3):
        quarter = 2**level
        children = children_of(level, rows, columns)
        assert children.shape == ((rows + 1) * (columns + 1), 4)
        for p, four in enumerate(children):
            y, x = 4 * (p // (columns + 1)), 4 * (p % (columns + 1))
            for (up, left), child in zip(((-1, -1), (-1, 1), (1, -1), (1, 1)), four, strict=True):
                where = (y + up * quarter, x + left * quarter)
                if level == 1:
                    there = (4 * (child // columns) + 2, 4 * (child % columns) + 2)
                    exists = 0 <= where[0] < 4 * rows and 0 <= where[1] < 4 * columns
                else:
                    there = (4 * (child // (columns + 1)), 4 * (child % (columns + 1)))
                    exists = 0 <= where[0] <= 4 * rows and 0 <= where[1] <= 4 * columns
                assert (child >= 0) == exists
                if exists:
                    assert there == where


def brute_level(
    below: np.ndarray, weights: np.ndarray, children: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    _, height, width = below.shape
    full = np.zeros((len(children), height, width))
    above = np.array([sum(weights[c] for c in four if c >= 0) for four in children])
    for p, four in enumerate(children):
        for y in range(height):
            for x in range(width):
                total = present = 0.0
                for (dy, dx), child in zip(((-1, -1), (-1, 1), (1, -1), (1, 1)), four, strict=True):
                    if child >= 0 and 0 <= y + dy < height and 0 <= x + dx < width:
                        total += weights[child] / above[p] * below[child, y + dy, x + dx]
                        present += weights[child] / above[p]
                rim = y in (0, height - 1) or x in (0, width - 1)
                full[p, y, x] = total / present**0.9 if rim and present else total
    return np.minimum(full, 1.0) ** POWER, above


def brute_pyramid(
    atoms: np.ndarray, rows: int, columns: int, levels: int
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Full maps and children of every level, from full maps of the atomic patches."""
    maps, hang = [atoms], []
    weights = np.ones(rows * columns)
    for level in range(1, levels + 1):
        children = children_of(level, rows, columns)
        pooled = np.stack([brute_pool(single)[0] for single in maps[-1]])
        full, weights = brute_level(pooled, weights, children)
        maps.append(full)
        hang.append(children)
    return maps, hang


def pooled_maps(full: np.ndarray) -> PooledMaps:
    values, codes = zip(*(brute_pool(single) for single in full), strict=True)
    return PooledMaps(
        np.rint(np.stack(values) * 65535).astype(np.uint16),
        np.stack(codes).astype(np.uint8),
        full.shape[1],
        full.shape[2],
    )


def test_aggregation_is_its_definition_at_every_level() -> None:
    rows, columns = 4, 4
    atoms = np.random.default_rng(6).random((16, 17, 15))
    for levels in (1, 2):
        maps, hang = brute_pyramid(atoms, rows, columns, levels)
        made = build_pyramid(pooled_maps(atoms), rows, columns, levels, POWER)
        np.testing.assert_allclose(made.top, maps[-1], atol=5 * STEP)
        for level, full, children in zip(made.levels, maps, hang, strict=False):
            assert (level.children == children).all()
            expected = np.stack([brute_pool(single)[0] for single in full])
            np.testing.assert_allclose(level.below.values / 65535, expected, atol=5 * STEP)


@pytest.mark.parametrize(
    ("size", "levels"), [((80, 160), 5), ((8, 8), 1), ((16, 9), 2), ((4, 7), 0)]
)
def test_levels_grow_while_twice_the_patch_fits(size: tuple[int, int], levels: int) -> None:
    assert level_count(*size) == levels


# -- backtracking --------------------------------------------------------------------------------


def brute_backtrack(maps: list[np.ndarray], hang: list[np.ndarray]) -> dict[int, tuple[float, int]]:
    """One maximum after the other, each way to its end; the best score of each atomic cell."""
    top = maps[-1].ravel()
    order = [cell for cell in np.argsort(-top, kind="stable") if top[cell] > 0]
    best: dict[int, tuple[float, int]] = {}

    def follow(level: int, patch: int, y: int, x: int, score: float, entry: int) -> None:
        if level == 0:
            cell = int(np.ravel_multi_index((patch, y, x), maps[0].shape))
            if cell not in best or score > best[cell][0]:
                best[cell] = (score, entry)
            return
        below = maps[level - 1]
        _, height, width = below.shape
        for (dy, dx), child in zip(
            ((-1, -1), (-1, 1), (1, -1), (1, 1)), hang[level - 1][patch], strict=True
        ):
            centre_y, centre_x = 2 * (y + dy), 2 * (x + dx)
            if child < 0 or not (
                0 <= y + dy < (height + 1) // 2 and 0 <= x + dx < (width + 1) // 2
            ):
                continue
            around = [
                (below[child, yy, xx], -yy, -xx)
                for yy in range(max(0, centre_y - 1), min(height, centre_y + 2))
                for xx in range(max(0, centre_x - 1), min(width, centre_x + 2))
            ]
            inner = [cell for cell in around if -cell[1] < height - 1 and -cell[2] < width - 1]
            value = max(cell[0] for cell in around)
            _, there_y, there_x = max(inner)
            follow(level - 1, child, -there_y, -there_x, score + value, entry)

    for entry, cell in enumerate(order):
        patch, y, x = np.unravel_index(cell, maps[-1].shape)
        follow(len(hang), int(patch), int(y), int(x), float(top[cell]), entry)
    return best


def test_one_sweep_reaches_what_following_every_maximum_reaches() -> None:
    rows = columns = 4
    atoms = np.random.default_rng(7).random((16, 17, 17))
    maps, hang = brute_pyramid(atoms, rows, columns, 2)
    levels = tuple(
        Level(children, pooled_maps(full)) for children, full in zip(hang, maps, strict=False)
    )
    reached, shape = backtrack(Pyramid(levels, maps[-1].astype(np.float32)))
    expected = brute_backtrack(maps, hang)
    assert shape == (17, 17)
    assert set(reached.cell.tolist()) == set(expected)
    scores = np.array([expected[cell][0] for cell in reached.cell.tolist()])
    np.testing.assert_allclose(reached.score, scores, atol=1e-4)
    entries = np.array([expected[cell][1] for cell in reached.cell.tolist()])
    assert (reached.entry == entries).mean() > 0.99  # rounding may turn a near tie


# -- reciprocal filter ---------------------------------------------------------------------------


def test_only_what_is_best_in_both_images_is_kept() -> None:
    random = np.random.default_rng(8)
    for levels in (5, 100_000):  # few levels make many ties
        n = 300
        places = random.integers(0, 40, (4, n)).astype(np.float32)
        score = (random.integers(0, levels, n) / levels).astype(np.float32)
        matches = Matches(*places, score, np.arange(n, dtype=np.int32))
        kept = reciprocal_matches(matches, 8)

        def rank(i: int, places: np.ndarray = places, score: np.ndarray = score) -> tuple:
            x_a, y_a, x_b, y_b = places[:, i]
            return (-score[i], y_a, x_a, y_b, x_b)

        best_a: dict[tuple, int] = {}
        best_b: dict[tuple, int] = {}
        for i in range(n):
            x_a, y_a, x_b, y_b = places[:, i] // 8
            for best, place in ((best_a, (y_a, x_a)), (best_b, (y_b, x_b))):
                if place not in best or rank(i) < rank(best[place]):
                    best[place] = i
        expected = set(best_a.values()) & set(best_b.values())
        assert set(kept.entry.tolist()) == expected
