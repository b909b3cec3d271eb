"""Each stage of DeepMatching against a plain writing of its equation, on small inputs."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from crosscity.matching.backtracking import backtrack
from crosscity.matching.correlation import atomic_patches, correlate, second_image
from crosscity.matching.descriptors import grey_image, halve, pixel_descriptors
from crosscity.matching.pyramid import build_pyramid, children_of, level_count
from crosscity.matching.reciprocal import reciprocal_matches
from crosscity.matching.responses import PooledMaps, pool_rows, rectification_table
from crosscity.matching.windows import Search, Windows, windows_of_level
from crosscity.matching.workers import Workers

POWER = 1.4
STEP = 1.5 / 4095
"""What storage in twelve bits may differ by."""
ALONE = Workers(1, None)
QUARTERS = ((-1, -1), (-1, 1), (1, -1), (1, 1))


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
#
# The plain writings below hold whole maps, and NaN where nothing is searched for.


def brute_window(level: int, centre: int, whole: int, radius: int | None) -> range:
    """Rows (or columns) of a level's whole map in which a patch is searched for."""
    if radius is None or 2 * radius + 1 >= whole:
        for _ in range(level):
            whole = (whole + 1) // 2
        return range(whole)
    size = 2 * radius + 1
    for _ in range(level):
        size, whole = (size + 1) // 2, (whole + 1) // 2
    first = min(max((centre - radius) // 2**level, 0), whole - size)
    return range(first, first + size)


def pooled_range(window: range) -> range:
    """A window after pooling: from half its begin, half as many cells, rounded up."""
    return range(window.start // 2, window.start // 2 + (len(window) + 1) // 2)


def outside_to_nan(full: np.ndarray, rows: range, columns: range) -> np.ndarray:
    kept = np.full(full.shape, np.nan)
    kept[np.ix_(rows, columns)] = full[np.ix_(rows, columns)]
    return kept


def brute_correlation(a: np.ndarray, b: np.ndarray, radius: int | None = None) -> np.ndarray:
    """Whole response maps, not pooled, not rectified."""
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
        maps[p] = outside_to_nan(
            maps[p],
            brute_window(0, top + 2, height + 1, radius),
            brute_window(0, left + 2, width + 1, radius),
        )
    return maps


def brute_pool(full: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Maxima of 3×3 with stride 2, and the (y, x) of each; NaN and -1 where there is none."""
    height, width = full.shape
    values = np.full(((height + 1) // 2, (width + 1) // 2), np.nan)
    places = np.full((*values.shape, 2), -1)
    for i in range(values.shape[0]):
        for j in range(values.shape[1]):
            for y in range(max(2 * i - 1, 0), min(2 * i + 2, height)):
                for x in range(max(2 * j - 1, 0), min(2 * j + 2, width)):
                    if not np.isnan(full[y, x]) and not full[y, x] <= values[i, j]:
                        values[i, j], places[i, j] = full[y, x], (y, x)
    return values, places


def whole_maps(pooled: PooledMaps) -> tuple[np.ndarray, np.ndarray]:
    """What is stored, as `brute_pool` writes it, but for the power."""
    windows, count = pooled.windows, len(pooled.cells)
    shape = (count, (windows.whole_height + 1) // 2, (windows.whole_width + 1) // 2)
    values, places = np.full(shape, np.nan), np.full((*shape, 2), -1)
    dy, dx = pooled.offsets()
    for p in range(count):
        for i, j in np.ndindex(pooled.cells.shape[1:]):
            y, x = windows.top[p] // 2 + i, windows.left[p] // 2 + j
            values[p, y, x] = pooled.values()[p, i, j]
            places[p, y, x] = 2 * y + dy[p, i, j], 2 * x + dx[p, i, j]
    return values, places


def assert_pooled(pooled: PooledMaps, full: np.ndarray, power: float) -> None:
    values, places = whole_maps(pooled)
    for p, single in enumerate(full):
        expected, expected_places = brute_pool(single)
        inside = ~np.isnan(values[p])
        np.testing.assert_allclose(values[p][inside], expected[inside] ** power, atol=2 * STEP)
        same = (places[p][inside] == expected_places[inside]).all(axis=1)
        assert same.mean() > 0.98  # rounding may turn a near tie


@pytest.mark.parametrize(("height", "width"), [(12, 16), (9, 13)])
def test_correlation_is_its_definition(height: int, width: int) -> None:
    a, b = random_descriptors(2, 8, 12), random_descriptors(3, height, width)
    a[8], b[8] = 0.3, 0.3
    pooled = correlate(atomic_patches(a), second_image(b), power=POWER, workers=ALONE)
    assert pooled.windows.everywhere
    assert_pooled(pooled, brute_correlation(a, b), POWER)


@pytest.mark.parametrize("radius", [3, 4, 7])
def test_correlation_within_a_radius_is_its_definition(radius: int) -> None:
    a, b = random_descriptors(4, 24, 40), random_descriptors(5, 26, 41)
    a[8], b[8] = 0.3, 0.3
    pooled = correlate(
        atomic_patches(a), second_image(b), power=POWER, radius=radius, workers=ALONE
    )
    assert (pooled.windows.height, pooled.windows.width) == (2 * radius + 1, 2 * radius + 1)
    assert_pooled(pooled, brute_correlation(a, b, radius), POWER)


def test_a_tile_more_or_less_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = random_descriptors(6, 32, 48), random_descriptors(7, 33, 50)
    patches, image = atomic_patches(a), second_image(b)
    for radius in (None, 6):
        whole = correlate(patches, image, power=POWER, radius=radius, workers=ALONE)
        with monkeypatch.context() as patched:
            patched.setattr("crosscity.matching.correlation.TILE", 200)
            patched.setattr("crosscity.matching.correlation.BLOCK", 7)
            patched.setattr("crosscity.matching.correlation.SLAB_BYTES", 40_000)
            tiled = correlate(patches, image, power=POWER, radius=radius, workers=ALONE)
        np.testing.assert_allclose(tiled.values(), whole.values(), atol=STEP)


@pytest.mark.parametrize("shape", [(1, 1), (2, 3), (5, 4), (6, 7), (9, 9)])
def test_pooling_is_its_definition_ties_included(shape: tuple[int, int]) -> None:
    random = np.random.default_rng(shape[0])
    height, width = shape
    for levels in (4, 256):  # few levels make many ties
        for top, left in ((0, 0), (1, 0), (2, 3), (3, 1)):
            window = (random.integers(0, levels, shape) / levels).astype(np.float32)
            whole = np.full((top + height + 2, left + width + 3), np.nan)
            whole[top : top + height, left : left + width] = window
            cells = np.zeros(((height + 1) // 2, (width + 1) // 2), dtype=np.uint16)
            place = Windows(
                np.array([top], np.int32), np.array([left], np.int32), height, width, *whole.shape
            )
            scratch = np.empty((2, width + 4), dtype=np.int32)
            bits = window.view(np.int32)
            table = rectification_table(1.0)
            for row in range(0, whole.shape[0], 3):  # as if in strips
                frame, rows = (top, left, height, width), (row, row + 3)
                pool_rows(bits, (top, left), frame, rows, table, scratch, cells)
            values, places = whole_maps(PooledMaps(cells[None], place))
            expected, expected_places = brute_pool(whole)
            inside = ~np.isnan(values[0])
            assert inside.sum() == cells.size
            np.testing.assert_allclose(values[0][inside], expected[inside], atol=STEP)
            assert (places[0][inside] == expected_places[inside]).all()


def test_windows_are_moved_inwards_at_the_border() -> None:
    for level in (0, 1, 2, 3):
        made = windows_of_level(level, 10, 14, (41, 57), 9)
        more = 0 if level == 0 else 1
        first = 2 if level == 0 else 0
        number = 0
        for row in range(10 + more):
            for column in range(14 + more):
                ys = brute_window(level, first + 4 * row, 41, 9)
                xs = brute_window(level, first + 4 * column, 57, 9)
                assert (made.top[number], made.left[number]) == (ys.start, xs.start)
                assert (made.height, made.width) == (len(ys), len(xs))
                number += 1
        assert number == len(made)


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
    below: np.ndarray,
    weights: np.ndarray,
    children: np.ndarray,
    windows: list[tuple[range, range]],
) -> tuple[np.ndarray, np.ndarray]:
    """Whole maps of a level from the pooled ones below; a missing child counts for nothing."""
    _, height, width = below.shape
    full = np.full((len(children), height, width), np.nan)
    above = np.array([sum(weights[c] for c in four if c >= 0) for four in children])
    for p, four in enumerate(children):
        for y in windows[p][0]:
            for x in windows[p][1]:
                total = present = 0.0
                for (dy, dx), child in zip(QUARTERS, four, strict=True):
                    i, j = y + dy, x + dx
                    if child < 0 or not (0 <= i < height and 0 <= j < width):
                        continue
                    if not np.isnan(below[child, i, j]):
                        total += weights[child] / above[p] * below[child, i, j]
                        present += weights[child] / above[p]
                full[p, y, x] = min(total / present**0.9 if present else 0.0, 1.0) ** POWER
    return full, above


def brute_pyramid(
    atoms: np.ndarray, rows: int, columns: int, levels: int, radius: int | None
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Whole maps and children of every level, from whole maps of the atomic patches."""
    maps, hang = [atoms], []
    weights = np.ones(rows * columns)

    def windows_at(level: int) -> list[tuple[range, range]]:
        first, more = (2, 0) if level == 0 else (0, 1)
        return [
            (
                brute_window(level, first + 4 * row, atoms.shape[1], radius),
                brute_window(level, first + 4 * column, atoms.shape[2], radius),
            )
            for row in range(rows + more)
            for column in range(columns + more)
        ]

    for level in range(1, levels + 1):
        children = children_of(level, rows, columns)
        pooled = np.stack(
            [
                outside_to_nan(brute_pool(single)[0], *map(pooled_range, window))
                for single, window in zip(maps[-1], windows_at(level - 1), strict=True)
            ]
        )
        windows = windows_at(level)
        full, weights = brute_level(pooled, weights, children, windows)
        maps.append(full)
        hang.append(children)
    return maps, hang


def stored(atoms: np.ndarray, rows: int, columns: int, radius: int | None) -> PooledMaps:
    """Whole maps of atomic patches as `correlate` would store them."""
    windows = windows_of_level(0, rows, columns, atoms.shape[1:], radius)
    cells = np.zeros(
        (len(atoms), (windows.height + 1) // 2, (windows.width + 1) // 2), dtype=np.uint16
    )
    for p, single in enumerate(atoms):
        values, places = brute_pool(single)
        for i, j in np.ndindex(cells.shape[1:]):
            y, x = windows.top[p] // 2 + i, windows.left[p] // 2 + j
            dy, dx = places[y, x] - (2 * y, 2 * x)
            cells[p, i, j] = round(values[y, x] * 4095) << 4 | (8 - (3 * (dy + 1) + dx + 1))
    return PooledMaps(cells, windows)


def random_atoms(seed: int, rows: int, columns: int, radius: int | None) -> np.ndarray:
    """Whole maps of atomic patches that hold random numbers, in steps that are stored exactly."""
    height, width = 4 * rows + 1, 4 * columns + 2
    atoms = np.random.default_rng(seed).integers(1, 4096, (rows * columns, height, width)) / 4095
    return np.stack(
        [
            outside_to_nan(
                single,
                brute_window(0, 4 * (p // columns) + 2, height, radius),
                brute_window(0, 4 * (p % columns) + 2, width, radius),
            )
            for p, single in enumerate(atoms)
        ]
    )


@pytest.mark.parametrize("radius", [None, 5, 6])
def test_aggregation_is_its_definition_at_every_level(radius: int | None) -> None:
    rows, columns = 5, 6
    atoms = random_atoms(6, rows, columns, radius)
    for levels in (1, 2, 3):
        maps, hang = brute_pyramid(atoms, rows, columns, levels, radius)
        search = Search(rows, columns, atoms.shape[1:], radius)
        made = build_pyramid(
            stored(atoms, rows, columns, radius), search, levels, POWER, workers=ALONE
        )
        top = maps[-1][~np.isnan(maps[-1])].reshape(made.top.shape)
        np.testing.assert_allclose(made.top, top, atol=5 * STEP)
        for number, (level, full, children) in enumerate(
            zip(made.levels, maps, hang, strict=False)
        ):
            assert (level.children == children).all()
            if number:  # a near tie may turn in all but the first, which are given
                values, _ = whole_maps(level.below)
                expected = np.stack([brute_pool(single)[0] for single in full])
                inside = ~np.isnan(values)
                np.testing.assert_allclose(values[inside], expected[inside], atol=5 * STEP)


@pytest.mark.parametrize(
    ("size", "levels"),
    [((80, 160), 5), ((140, 280), 5), ((280, 372), 6), ((9, 8), 1), ((18, 9), 2), ((8, 8), 0)],
)
def test_levels_grow_while_twice_the_patch_leaves_room(size: tuple[int, int], levels: int) -> None:
    assert level_count(*size) == levels


# -- backtracking and the reciprocal filter ------------------------------------------------------


def brute_matches(
    maps: list[np.ndarray], hang: list[np.ndarray]
) -> dict[tuple[int, int, int], tuple[float, int]]:
    """One maximum after the other, each way to its end; score and entry of each (patch, y, x)."""
    top = np.nan_to_num(maps[-1]).ravel()
    order = [cell for cell in np.argsort(-top, kind="stable") if top[cell] > 0]
    pooled = [[brute_pool(single) for single in level] for level in maps[:-1]]
    best: dict[tuple[int, int, int], tuple[float, int]] = {}

    def follow(level: int, patch: int, y: int, x: int, score: float, entry: int) -> None:
        if level == 0:
            if (patch, y, x) not in best or score > best[patch, y, x][0]:
                best[patch, y, x] = (score, entry)
            return
        for (dy, dx), child in zip(QUARTERS, hang[level - 1][patch], strict=True):
            if child < 0:
                continue
            values, places = pooled[level - 1][child]
            i, j = y + dy, x + dx
            if not (0 <= i < values.shape[0] and 0 <= j < values.shape[1]):
                continue
            if not np.isnan(values[i, j]):
                follow(level - 1, child, *places[i, j], score + values[i, j], entry)

    for entry, cell in enumerate(order):
        patch, y, x = (int(n) for n in np.unravel_index(cell, maps[-1].shape))
        follow(len(hang), patch, y, x, float(top[cell]), entry)
    return best


def brute_reciprocal(
    found: dict[tuple[int, int, int], tuple[float, int]],
) -> dict[tuple[int, int, int], tuple[float, int]]:
    best_a: dict[int, tuple] = {}
    best_b: dict[tuple[int, int], tuple] = {}
    for place, (score, _) in found.items():
        rank = (-score, *place)
        patch, y, x = place
        best_a[patch] = min(best_a.get(patch, rank), rank)
        best_b[y // 4, x // 4] = min(best_b.get((y // 4, x // 4), rank), rank)
    both = {rank[1:] for rank in best_a.values()} & {rank[1:] for rank in best_b.values()}
    return {place: found[place] for place in both}


@pytest.mark.parametrize("radius", [None, 5])
@pytest.mark.parametrize("levels", [1, 2, 3])
@pytest.mark.parametrize("threads", [1, 3])
def test_one_sweep_finds_what_following_every_maximum_finds(
    levels: int, radius: int | None, threads: int
) -> None:
    rows, columns = 5, 6
    atoms = random_atoms(7, rows, columns, radius)
    atoms = np.where(atoms < 0.5, atoms / 4, atoms)
    given = stored(atoms, rows, columns, radius)
    with ThreadPoolExecutor(threads) as pool:
        team = Workers(threads, None if threads == 1 else pool)
        search = Search(rows, columns, atoms.shape[1:], radius)
        pyramid = build_pyramid(given, search, levels, POWER, workers=team)
        made = reciprocal_matches(pyramid.levels[0], backtrack(pyramid, team), team)
    # The plain writing goes down the maps as they are stored, or roundings would turn near ties.
    maps = [np.full((rows * columns, *atoms.shape[1:]), np.nan)] + [
        np.full(
            (len(level.children), level.windows.whole_height, level.windows.whole_width), np.nan
        )
        for level in pyramid.levels
    ]
    hang = [level.children for level in pyramid.levels]
    for full, level in zip(maps, pyramid.levels, strict=False):
        values, places = whole_maps(level.below)
        for p, i, j in np.argwhere(~np.isnan(values)):
            y, x = places[p, i, j]
            full[p, y, x] = values[p, i, j]
    highest = pyramid.levels[-1].windows
    for p, single in enumerate(pyramid.top):
        y, x = highest.top[p], highest.left[p]
        maps[-1][p, y : y + highest.height, x : x + highest.width] = single
    expected = brute_reciprocal(brute_matches(maps, hang))
    found = {
        (int(patch), int(y), int(x)): (float(score), int(entry))
        for patch, y, x, score, entry in zip(
            made.patch, made.y, made.x, made.score, made.entry, strict=True
        )
    }
    assert len(found) > 5
    assert set(found) == set(expected)
    for place, (score, entry) in found.items():
        assert score == pytest.approx(expected[place][0], abs=1e-4)
        assert entry == expected[place][1]
