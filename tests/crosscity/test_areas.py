"""Areas against brute force: which points lie in them, and that tiles cover them once."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crosscity.areas import (
    METRES_A_DEGREE,
    bounds_of,
    grown,
    inside,
    inside_polygon,
    near_points,
    tiles_in_polygons,
    tiles_of_area,
    tiles_of_boxes,
)
from crosscity.pairing import haversine_metres

LAT, LON = 48.85, 2.35


@given(st.floats(-80, 80), st.floats(-179, 178), st.floats(1, 3000), st.floats(50, 900))
@settings(max_examples=60, deadline=None)
def test_tiles_cover_an_area_once(south, west, extent, side):
    bounds = (west, south, west + extent / 5e4, south + extent / 1.2e5)
    tiles = list(tiles_of_area(bounds, side))
    rng = np.random.default_rng(1)
    lat = rng.uniform(bounds[1], bounds[3], 200)
    lon = rng.uniform(bounds[0], bounds[2], 200)
    assert (sum(inside(lat, lon, tile).astype(int) for tile in tiles) == 1).all()
    for w, s, e, n in tiles[:50]:
        assert (n - s) * METRES_A_DEGREE <= side * 1.01
        assert (e - w) * METRES_A_DEGREE * math.cos(math.radians(s)) <= side * 1.02


def test_a_margin_is_that_wide():
    west, south, east, north = grown((LON, LAT, LON, LAT), 100.0)
    assert haversine_metres(LAT, LON, north, LON) == pytest.approx(100, rel=1e-6)
    assert 100 <= haversine_metres(LAT, LON, LAT, east) < 100.5
    assert (LAT - south, LON - west) == pytest.approx((north - LAT, east - LON))


def test_polygons_with_holes():
    outer = [(0, 0), (4, 0), (4, 4), (0, 4), (0, 0)]
    hole = [(1, 1), (3, 1), (3, 3), (1, 3), (1, 1)]
    lat, lon = np.array([0.5, 2.0, 2.0, 5.0]), np.array([0.5, 2.0, 3.5, 2.0])
    assert inside_polygon(lat, lon, [outer, hole]).tolist() == [True, False, True, False]


def test_holes_that_overlap_or_reach_beyond_are_holes_alone():
    outer = [(0, 0), (4, 0), (4, 4), (0, 4), (0, 0)]
    holes = [
        [(1, 1), (3, 1), (3, 3), (1, 3), (1, 1)],
        [(2, 2), (5, 2), (5, 5), (2, 5), (2, 2)],
    ]
    lat, lon = np.array([0.5, 1.5, 2.5, 4.5]), np.array([0.5, 1.5, 2.5, 4.5])
    assert inside_polygon(lat, lon, [outer, *holes]).tolist() == [True, False, False, False]


@pytest.mark.parametrize("seed", range(8))
def test_polygons_with_holes_against_shapely(seed):
    """Rings of any shape, also not convex, with a hole; shapely comes with geopandas."""
    shapely = pytest.importorskip("shapely")
    random = np.random.default_rng(seed)

    def ring(count, least, most):
        angles = np.sort(random.uniform(0, 2 * np.pi, count))
        reach = random.uniform(least, most, count)
        points = [
            (139 + r * np.cos(a), 35 + r * np.sin(a)) for a, r in zip(angles, reach, strict=True)
        ]
        return [*points, points[0]]

    rings = [ring(12, 0.5, 1.0), ring(7, 0.05, 0.2)]
    lon, lat = random.uniform(138, 140, 5000), random.uniform(34, 36, 5000)
    # Where no point is all round, the ring does not enclose its middle, and so not all of the hole.
    polygon = shapely.Polygon(rings[0]) - shapely.Polygon(rings[1])
    wanted = shapely.contains_xy(polygon, lon, lat)
    assert 100 < wanted.sum() < 4900
    assert np.array_equal(inside_polygon(lat, lon, rings), wanted)


@given(
    st.lists(st.tuples(st.floats(-179, 179), st.floats(-80, 80)), min_size=1, max_size=6),
    st.floats(200, 5000),
)
def test_tiles_of_scattered_boxes_cover_them_once(points, metres):
    boxes = [grown((x, y, x, y), 150.0) for x, y in points]
    tiles = list(tiles_of_boxes(boxes, metres))
    assert len(tiles) == len(set(tiles)) <= 9 * len(boxes)
    for west, south, east, north in boxes:
        for x, y in ((west, south), (east, north), ((west + east) / 2, (south + north) / 2)):
            holding = [t for t in tiles if t[0] <= x < t[2] and t[1] <= y < t[3]]
            assert len(holding) == 1


def star(random: np.random.Generator, x: float, y: float, reach: float) -> list[Any]:
    """A closed ring of any shape around a point, some of whose edges may be level."""
    angles = np.sort(random.uniform(0, 2 * np.pi, 9))
    ring = [
        (x + r * np.cos(a), round(y + r * np.sin(a), 2))
        for a, r in zip(angles, random.uniform(reach / 5, reach, 9), strict=True)
    ]
    return [*ring, ring[0]]


@pytest.mark.parametrize("seed", range(8))
def test_tiles_of_polygons_are_those_that_meet_one(seed):
    shapely = pytest.importorskip("shapely")
    random = np.random.default_rng(seed)
    rings = [
        star(random, 10, 50, 0.3),
        star(random, 10.1, 50.05, 0.2),
        star(random, 11, 50.2, 0.01),
    ]
    polygons = [[ring] for ring in rings]
    tiles = list(tiles_of_boxes([bounds_of(ring) for ring in rings], 2000.0))
    parts = [shapely.make_valid(shapely.Polygon(ring)) for ring in rings]
    area = shapely.union_all([*parts, *map(shapely.LineString, rings)])
    wanted = [tile for tile in tiles if shapely.intersects(area, shapely.box(*tile))]
    assert tiles_in_polygons(tiles, polygons) == wanted
    assert 50 < len(wanted) < len(tiles) - 50
    assert tiles_in_polygons([], polygons) == []


def test_places_near_points_are_those_within_the_metres():
    lat = np.array([48.85, 48.85, 48.8503, 48.86])
    lon = np.array([2.30, 2.3003, 2.30, 2.30])
    distances = haversine_metres(lat, lon, 48.85, 2.30)
    for metres in (5.0, 25.0, 40.0, 2000.0):
        near = near_points(lat, lon, [(2.30, 48.85), (9.0, 9.0)], metres)
        assert near.tolist() == (distances <= metres).tolist()
    assert near_points(lat[:0], lon[:0], [(2.3, 48.85)], 5.0).size == 0
