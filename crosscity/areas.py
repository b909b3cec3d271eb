"""Areas on the map: boxes, polygons and points in degrees, and the tiles that cover them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from crosscity.pairing import EARTH_RADIUS_METRES

METRES_A_DEGREE: Final = math.pi * EARTH_RADIUS_METRES / 180.0

_SLACK_DEGREES: Final = 1e-9
"""A tenth of a millimetre, by which what is rounded may lie on the other side."""

Float = npt.NDArray[np.float64]
Bounds = tuple[float, float, float, float]
"""West, south, east, north in WGS84 degrees."""


def tiles_of_area(bounds: Bounds, metres: float) -> Iterator[Bounds]:
    """Cuts an area into tiles of about that side, south to north and west to east.

    Args:
        bounds: The area.
        metres: Side of a tile.

    Yields:
        Bounds that cover the area without overlap.
    """
    west, south, east, north = bounds
    rows = max(1, math.ceil((north - south) * METRES_A_DEGREE / metres))
    for row in range(rows):
        low, high = (south + (north - south) * k / rows for k in (row, row + 1))
        widest = math.cos(math.radians(0.0 if low <= 0 <= high else min(abs(low), abs(high))))
        columns = max(1, math.ceil((east - west) * METRES_A_DEGREE * widest / metres))
        for column in range(columns):
            left, right = (west + (east - west) * k / columns for k in (column, column + 1))
            yield left, low, right, high


def tiles_of_boxes(boxes: Sequence[Bounds], metres: float) -> Iterator[Bounds]:
    """Tiles of about that side that cover boxes, each once, south to north and west to east.

    They lie on a grid that is the same for all boxes, so their number grows with what the boxes
    cover and not with how far they lie apart.

    Args:
        boxes: West, south, east, north of each.
        metres: Side of a tile.

    Yields:
        Bounds without overlap.
    """
    up = metres / METRES_A_DEGREE
    found: set[tuple[int, int]] = set()
    for west, south, east, north in boxes:
        for row in range(math.floor((south + 90) / up), math.floor((north + 90) / up) + 1):
            wide = _width_of_row(row, up)
            first, last = (math.floor((lon + 180) / wide) for lon in (west, east))
            found |= {(row, column) for column in range(first, last + 1)}
    for row, column in sorted(found):
        wide = _width_of_row(row, up)
        yield (
            column * wide - 180,
            row * up - 90,
            min(180.0, (column + 1) * wide - 180),
            min(90.0, (row + 1) * up - 90),
        )


def tiles_in_polygons(
    tiles: Sequence[Bounds], polygons: Sequence[Sequence[Sequence[tuple[float, float]]]]
) -> list[Bounds]:
    """Those of some tiles that meet at least one of some GeoJSON polygons, in their order.

    Of a polygon the first ring counts: a tile that lies in a hole is kept.

    Args:
        tiles: By rows, as the functions above give them.
        polygons: Each its closed rings of (longitude, latitude).
    """
    if not tiles:
        return []
    boxes = np.array(tiles, dtype=np.float64) + np.array([-1, -1, 1, 1]) * _SLACK_DEGREES
    kept = np.zeros(len(boxes), dtype=np.bool_)
    for rings in polygons:
        west, south, east, north = bounds_of(rings[0])
        near = (boxes[:, 0] <= east) & (boxes[:, 2] >= west)
        near &= (boxes[:, 1] <= north) & (boxes[:, 3] >= south)
        at = np.flatnonzero(near & ~kept)
        ring = np.array(rings[0], dtype=np.float64)
        rows = np.split(at, np.flatnonzero(np.diff(boxes[at, 1])) + 1)
        for row in rows if len(at) else []:
            kept[row] = _meet(boxes[row], ring)
    return [tile for tile, keep in zip(tiles, kept.tolist(), strict=True) if keep]


def _meet(boxes: Float, ring: Float) -> npt.NDArray[np.bool_]:
    """Which boxes between the same two latitudes a closed ring passes through or encloses."""
    south, north = boxes[0, 1], boxes[0, 3]
    (x0, y0), (x1, y1) = ring[:-1].T, ring[1:].T
    passing = (np.minimum(y0, y1) <= north) & (np.maximum(y0, y1) >= south)
    x0, y0, x1, y1 = x0[passing], y0[passing], x1[passing], y1[passing]
    run, rise = x1 - x0, y1 - y0
    level = rise == 0
    # Where each edge is between the two latitudes, as parts of its length.
    ends = (np.array([[south], [north]]) - y0) / np.where(level, 1.0, rise)
    ends = np.where(level, [[0.0], [1.0]], np.clip(ends, 0.0, 1.0))
    across = np.sort(x0 + run * ends, axis=0)
    met = ((across[0] <= boxes[:, 2, None]) & (across[1] >= boxes[:, 0, None])).any(axis=1)
    middle = (south + north) / 2
    crossing = (y0 <= middle) != (y1 <= middle)
    crossings = np.sort((x0 + (middle - y0) / np.where(level, 1.0, rise) * run)[crossing])
    beyond = len(crossings) - np.searchsorted(crossings, boxes[:, 0])
    inside: npt.NDArray[np.bool_] = met | (beyond % 2 == 1)
    return inside


def _width_of_row(row: int, up: float) -> float:
    """Degrees of longitude of the tiles of a row, as many metres wide as high in its middle."""
    middle = min(89.0, max(-89.0, (row + 0.5) * up - 90))
    return up / math.cos(math.radians(middle))


def bounds_of(points: Sequence[tuple[float, float]]) -> Bounds:
    """West, south, east, north of points (longitude, latitude)."""
    longitudes, latitudes = zip(*points, strict=True)
    return min(longitudes), min(latitudes), max(longitudes), max(latitudes)


def westmost(longitudes: npt.ArrayLike) -> float:
    """Where the narrowest range that holds all longitudes begins, across the antimeridian too.

    Args:
        longitudes: WGS84 degrees, at least one; NaN is passed over.
    """
    values = np.asarray(longitudes, dtype=np.float64).ravel()
    ordered = np.unique(values[np.isfinite(values)])
    gaps = np.append(np.diff(ordered), ordered[0] + 360.0 - ordered[-1])
    return float(ordered[(int(np.argmax(gaps)) + 1) % len(ordered)])


def east_of(longitudes: npt.ArrayLike, west: float) -> Float:
    """Longitudes without a jump at the antimeridian: those below `west` are a turn further."""
    values = np.asarray(longitudes, dtype=np.float64)
    turned: Float = np.where(values < west, values + 360.0, values)
    return turned


def geojson_bbox(points: Sequence[tuple[float, float]]) -> list[float]:
    """West, south, east, north of points (longitude, latitude); west > east across 180 degrees.

    So it is in GeoJSON (RFC 7946, 5.2), and in what refers to it: STAC and GeoParquet.
    """
    longitudes, latitudes = zip(*points, strict=True)
    west = westmost(longitudes)
    east = float(east_of(longitudes, west).max())
    return [west, min(latitudes), east - 360.0 if east > 180.0 else east, max(latitudes)]


def near_points(
    lat: Float, lon: Float, points: Sequence[tuple[float, float]], metres: float
) -> npt.NDArray[np.bool_]:
    """Which places lie so near to one of some points.

    Args:
        lat: WGS84 degrees, float64 (N,).
        lon: WGS84 degrees, float64 (N,).
        points: (longitude, latitude).
        metres: How near, on the ground.
    """
    near = np.zeros(lat.shape, dtype=np.bool_)
    if not lat.size:
        return near
    west, south, east, north = grown(
        (float(lon.min()), float(lat.min()), float(lon.max()), float(lat.max())), metres
    )
    at = np.asarray(points, dtype=np.float64).reshape(-1, 2)
    at = at[(at[:, 0] >= west) & (at[:, 0] <= east) & (at[:, 1] >= south) & (at[:, 1] <= north)]
    narrow = np.cos(np.radians(lat))
    for x, y in at:
        near |= np.hypot((lon - x) * narrow, lat - y) * METRES_A_DEGREE <= metres
    return near


def grown(bounds: Bounds, metres: float) -> Bounds:
    """Bounds with a margin on all sides, kept on the map."""
    west, south, east, north = bounds
    up = metres / METRES_A_DEGREE
    flattest = math.cos(math.radians(min(89.0, max(abs(south), abs(north)) + up)))
    aside = up / flattest
    return (
        max(-180.0, west - aside),
        max(-90.0, south - up),
        min(180.0, east + aside),
        min(90.0, north + up),
    )


def inside(lat: Float, lon: Float, bounds: Bounds) -> npt.NDArray[np.bool_]:
    """Which points lie in bounds; the north and east edges belong to the neighbours."""
    west, south, east, north = bounds
    found: npt.NDArray[np.bool_] = (lon >= west) & (lon < east) & (lat >= south) & (lat < north)
    return found


def inside_polygon(
    lat: Float, lon: Float, rings: Sequence[Sequence[tuple[float, float]]]
) -> npt.NDArray[np.bool_]:
    """Which points lie in a GeoJSON polygon: inside its first ring and in none of its holes.

    Holes may overlap, and may reach beyond the first ring.

    Args:
        lat: WGS84 degrees.
        lon: WGS84 degrees.
        rings: Closed rings of (longitude, latitude); rings after the first are holes.
    """
    inside = np.zeros(lat.shape, dtype=np.bool_)
    if not lat.size:
        return inside
    south, north = np.fmin.reduce(lat, axis=None), np.fmax.reduce(lat, axis=None)
    for number, ring in enumerate(rings):
        odd = np.zeros(lat.shape, dtype=np.bool_)
        y = np.array([at[1] for at in ring], dtype=np.float64)
        # Of the thousands of edges of a boundary, few pass a tile.
        low, high = np.minimum(y[:-1], y[1:]), np.maximum(y[:-1], y[1:])
        for edge in np.flatnonzero((low < high) & (low <= north) & (high > south)).tolist():
            (x0, y0), (x1, y1) = ring[edge], ring[edge + 1]
            between = (lat >= min(y0, y1)) & (lat < max(y0, y1))
            odd ^= between & (lon < x0 + (lat - y0) * (x1 - x0) / (y1 - y0))
        inside = odd if number == 0 else inside & ~odd
    return inside
