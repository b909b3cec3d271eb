"""Refining matches of half the density: every step against a plain writing of what it says."""

from __future__ import annotations

import itertools

import cv2
import numpy as np
import pytest

from crosscity.matching import deep_matching
from crosscity.matching.backtracking import backtrack
from crosscity.matching.correlation import atomic_patches, correlate, second_image
from crosscity.matching.pyramid import build_pyramid, children_of
from crosscity.matching.reciprocal import AtomicMatches, reciprocal_matches
from crosscity.matching.refining import LEVELS, REACH, correlate_near, expected_moves, refined
from crosscity.matching.responses import PooledMaps
from crosscity.matching.windows import Search, SearchNear
from crosscity.matching.workers import Workers

ALONE = Workers(1, None)
POWER = 1.4


def descriptors(seed: int, height: int, width: int) -> np.ndarray:
    made = np.random.default_rng(seed).random((9, height, width)).astype(np.float32)
    made[8] = 0.3
    return made


def moves(seed: int, rows: int, columns: int, most: int = 6) -> np.ndarray:
    random = np.random.default_rng(seed)
    return random.integers(-most, most + 1, (rows, columns, 2)).astype(np.int32)


def coarse_matches(places: dict[tuple[int, int], tuple[int, int]], columns: int) -> AtomicMatches:
    patch, y, x = (
        np.array(values, dtype=np.int64)
        for values in zip(
            *((row * columns + column, *at) for (row, column), at in sorted(places.items())),
            strict=True,
        )
    )
    count = len(patch)
    return AtomicMatches(patch, y, x, np.ones(count, np.float32), np.zeros(count, np.int32))


@pytest.mark.parametrize("seed", range(4))
def test_patches_are_expected_where_the_nearest_coarser_match_went(seed: int) -> None:
    random = np.random.default_rng(seed)
    rows, columns = 5, 7
    everywhere = list(itertools.product(range(rows), range(columns)))
    chosen = random.choice(len(everywhere), 6, replace=False)
    places = {everywhere[n]: tuple(map(int, random.integers(0, 30, 2))) for n in chosen}
    # An odd last row and column of patches lies in no coarser one.
    moved = expected_moves(coarse_matches(places, columns), (rows, columns), (11, 15))
    for row, column in itertools.product(range(11), range(15)):
        inside = min(row // 2, rows - 1), min(column // 2, columns - 1)
        far = {at: np.hypot(at[0] - inside[0], at[1] - inside[1]) for at in places}
        nearest = [at for at, distance in far.items() if distance <= min(far.values()) + 0.3]
        went = [tuple(2 * (places[at][k] - 4 * at[k] - 2) for k in (0, 1)) for at in nearest]
        assert tuple(moved[row, column]) in went


@pytest.mark.parametrize("radius", [None, 9])
@pytest.mark.parametrize("level", [0, 1, 2])
def test_windows_lie_around_what_is_expected_and_never_outside(
    level: int, radius: int | None
) -> None:
    rows, columns, whole = 8, 9, (33, 37)
    moved = moves(1, rows, columns, most=40)
    near = SearchNear(rows, columns, whole, radius, moved=moved, reach=3)
    made, around = near.windows(level), Search(rows, columns, whole, radius).windows(level)
    first, more = (2, 0) if level == 0 else (0, 1)
    assert (made.height, made.width) == tuple([7, 4, 2][level] for _ in range(2))
    for number, (row, column) in enumerate(
        itertools.product(range(rows + more), range(columns + more))
    ):
        follows = moved[min(row, rows - 1), min(column, columns - 1)]
        for axis, (begin, low, size) in enumerate(
            (
                (made.top[number], around.top[number], around.height - made.height),
                (made.left[number], around.left[number], around.width - made.width),
            )
        ):
            centre = first + 4 * (row, column)[axis] + int(follows[axis])
            assert begin == min(max((centre - 3) // 2**level, low), low + size)


def whole_values(pooled: PooledMaps) -> dict[tuple[int, int, int], tuple[int, int]]:
    """Pooled cells by patch and place in the whole pooled map: value and place of the maximum."""
    found = {}
    dy, dx = pooled.offsets()
    windows = pooled.windows
    for p, i, j in np.ndindex(*pooled.cells.shape):
        y, x = int(windows.top[p]) // 2 + i, int(windows.left[p]) // 2 + j
        at = (2 * y + int(dy[p, i, j]), 2 * x + int(dx[p, i, j]))
        found[p, y, x] = (int(pooled.cells[p, i, j] >> 4), *at)
    return found


@pytest.mark.parametrize(("height", "width"), [(24, 40), (26, 41)])
def test_responses_near_are_those_of_the_whole_map(height: int, width: int) -> None:
    """The whole map is held against its equation in test_stages.py."""
    a, b = descriptors(2, 24, 40), descriptors(3, height, width)
    patches, image = atomic_patches(a), second_image(b)
    search = SearchNear(
        patches.rows, patches.columns, image.whole, None, moved=moves(4, 6, 10), reach=4
    )
    near = correlate_near(patches, image, search, POWER, ALONE)
    windows = near.windows
    full = np.empty((len(windows), *image.whole))
    for p in range(len(windows)):
        vector = patches.vectors[p]
        for y, x in np.ndindex(*image.whole):
            cut = image.padded[:, y : y + 4, x : x + 4].ravel()
            dot = float(vector[:-1] @ cut) + float(vector[-1]) * float(image.constant[y, x])
            grid = (vector[:-1] ** 2).reshape(8, 4, 4).sum(axis=0) + vector[-1] ** 2
            ys = [k for k in range(4) if 0 <= y - 2 + k < height]
            xs = [k for k in range(4) if 0 <= x - 2 + k < width]
            inside = np.sqrt(grid[ys].sum() * grid[:, xs].sum())
            full[p, y, x] = min(dot * float(image.inverse[y, x]) / inside, 1.0)
    agree = 0
    for (p, i, j), (value, y, x) in whole_values(near).items():
        rows = range(
            max(2 * i - 1, windows.top[p]), min(2 * i + 2, windows.top[p] + windows.height)
        )
        columns = range(
            max(2 * j - 1, windows.left[p]), min(2 * j + 2, windows.left[p] + windows.width)
        )
        best = max(full[p, r, c] for r in rows for c in columns)
        assert abs(value / 4095 - best**POWER) < 4 / 4095
        agree += abs(full[p, y, x] - best) < 1e-4
    assert agree == near.cells.size


def test_a_window_as_large_as_the_search_finds_what_the_search_finds() -> None:
    """Refining is matching, but for where it looks: there the stages are one and the same."""
    a, b = descriptors(5, 48, 64), descriptors(5, 48, 64)
    b[:8, 4:, 4:] = a[:8, :-4, :-4]
    patches, image = atomic_patches(a), second_image(b)
    usual = Search(patches.rows, patches.columns, image.whole, 9)
    near = SearchNear(
        patches.rows, patches.columns, image.whole, 9, moved=moves(6, 12, 16), reach=9
    )
    whole = correlate(patches, image, power=POWER, radius=9, workers=ALONE)
    found = []
    for search, atoms in (
        (usual, whole),
        (near, correlate_near(patches, image, near, POWER, ALONE)),
    ):
        pyramid = build_pyramid(atoms, search, 2, POWER, workers=ALONE)
        made = reciprocal_matches(pyramid.levels[0], backtrack(pyramid, ALONE), ALONE)
        found.append(set(zip(made.patch, made.y, made.x, strict=True)))
    assert len(found[0]) > 50
    assert len(found[0] & found[1]) >= 0.99 * max(map(len, found))


def follow(
    maps: list[dict[tuple[int, int, int], tuple[int, int, int]]],
    tops: dict[tuple[int, int, int], float],
    hang: list[np.ndarray],
) -> dict[int, tuple[float, int, int]]:
    """One maximum after the other, each way to its end; what is the best in both images."""
    quarters = ((-1, -1), (-1, 1), (1, -1), (1, 1))
    ends: dict[tuple[int, int, int], float] = {}

    def down(level: int, patch: int, y: int, x: int, score: float) -> None:
        if level == 0:
            ends[patch, y, x] = max(ends.get((patch, y, x), 0.0), score)
            return
        for (dy, dx), child in zip(quarters, hang[level - 1][patch], strict=True):
            cell = maps[level - 1].get((int(child), y + dy, x + dx))
            if child >= 0 and cell is not None and cell[0]:
                down(level - 1, int(child), cell[1], cell[2], score + cell[0] / 4095)

    for (patch, y, x), score in tops.items():
        if score > 0:
            down(len(hang), patch, y, x, score)
    of_patch: dict[int, tuple[float, int, int]] = {}
    of_bin: dict[tuple[int, int], tuple[float, int]] = {}
    for (patch, y, x), score in sorted(ends.items()):
        if score > of_patch.get(patch, (0.0, 0, 0))[0] + 1e-5:
            of_patch[patch] = (score, y, x)
        if score > of_bin.get((y // 4, x // 4), (0.0, 0))[0] + 1e-5:
            of_bin[y // 4, x // 4] = (score, patch)
    return {
        patch: best
        for patch, best in of_patch.items()
        if of_bin[best[1] // 4, best[2] // 4] == (best[0], patch)
    }


@pytest.mark.parametrize("radius", [None, 20])
def test_refining_is_following_every_maximum_within_the_windows(radius: int | None) -> None:
    a, b = descriptors(7, 40, 48), descriptors(8, 40, 48)
    b[:8, 2:, 2:] = a[:8, :-2, :-2]
    places = {
        (row, column): (4 * row + 3 + row % 2, 4 * column + 3)
        for row, column in itertools.product(range(5), range(6))
        if (row + column) % 3
    }
    coarse = coarse_matches(places, 6)
    patches, image = atomic_patches(a), second_image(b)
    made = refined(patches, image, coarse, (5, 6), power=POWER, radius=radius, workers=ALONE)
    moved = expected_moves(coarse, (5, 6), (10, 12))
    search = SearchNear(10, 12, image.whole, radius, moved=moved, reach=REACH)
    pyramid = build_pyramid(
        correlate_near(patches, image, search, POWER, ALONE), search, LEVELS, POWER, workers=ALONE
    )
    top = search.windows(LEVELS)
    tops = {
        (p, int(top.top[p]) + i, int(top.left[p]) + j): float(pyramid.top[p, i, j])
        for p, i, j in np.ndindex(*pyramid.top.shape)
    }
    hang = [children_of(level, 10, 12) for level in range(1, LEVELS + 1)]
    expected = follow([whole_values(level.below) for level in pyramid.levels], tops, hang)
    found = {
        int(patch): (float(score), int(y), int(x))
        for patch, score, y, x in zip(made.patch, made.score, made.y, made.x, strict=True)
    }
    assert len(expected) > 30
    same = [
        patch
        for patch in expected.keys() & found.keys()
        if found[patch][1:] == expected[patch][1:]
        and abs(found[patch][0] - expected[patch][0]) < 1e-4
    ]
    assert len(same) >= 0.97 * max(len(expected), len(found))  # a near tie may turn


def bent_pair(seed: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    noise = random.normal(size=(240, 320, 3)).astype(np.float32)
    image = sum(cv2.GaussianBlur(noise, (0, 0), s) * s for s in (1.5, 4, 10))
    a = np.clip(128 + 40 * image / image.std(), 0, 255).astype(np.uint8)
    y, x = np.mgrid[:240, :320].astype(np.float32)
    back_x, back_y = x - 9 - 4 * np.sin(y / 40), y + 5 + 3 * np.cos(x / 50)
    return a, cv2.remap(a, back_x, back_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)


@pytest.mark.parametrize(("downscale", "radius"), [(2, None), (2, 40), (1, 40)])
def test_refined_matches_are_those_of_the_whole_search(downscale: int, radius: int | None) -> None:
    a, b = bent_pair(downscale)
    settings = {"downscale": downscale, "search_radius": radius, "threads": 1}
    whole, near = (deep_matching(a, b, **settings, refine=refine) for refine in (False, True))
    at = {
        (float(x), float(y)): (u, v)
        for x, y, u, v in zip(whole.x_a, whole.y_a, whole.x_b, whole.y_b, strict=True)
    }
    off = [
        max(abs(u - at[x, y][0]), abs(v - at[x, y][1]))
        for x, y, u, v in zip(
            *(np.asarray(c, dtype=float) for c in (near.x_a, near.y_a, near.x_b, near.y_b)),
            strict=True,
        )
        if (x, y) in at
    ]
    assert len(off) > 0.9 * len(whole)
    assert (np.array(off) <= 4 * downscale).mean() > 0.97


def test_a_picture_without_coarse_matches_has_none() -> None:
    flat = np.full((64, 96, 3), 90, dtype=np.uint8)
    assert len(deep_matching(flat, bent_pair(0)[0][:64, :96], downscale=1, refine=True)) == 0


@pytest.mark.parametrize("refine", [1, "yes", None])
def test_whether_to_refine_is_true_or_false(refine: object) -> None:
    a, b = bent_pair(1)
    with pytest.raises(ValueError, match="refine must be True or False"):
        deep_matching(a, b, refine=refine)  # type: ignore[arg-type]


def test_the_same_from_any_number_of_threads() -> None:
    a, b = bent_pair(3)
    alone, team = (deep_matching(a, b, downscale=1, refine=True, threads=n) for n in (1, 3))
    for name in ("x_a", "y_a", "x_b", "y_b", "score", "entry"):
        np.testing.assert_array_equal(getattr(alone, name), getattr(team, name))
