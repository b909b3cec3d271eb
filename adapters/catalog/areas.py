"""Where a city is: a bounding box, polygons or points, in the catalog or in a file beside it."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

from pydantic import Field, ValidationInfo, field_validator, model_validator

from adapters.catalog.entry import Entry
from adapters.catalog.environment import resolve_folder
from adapters.catalog.errors import CatalogError

Longitude = Annotated[float, Field(ge=-180, le=180)]
Latitude = Annotated[float, Field(ge=-90, le=90)]
Ring = tuple[tuple[float, float], ...]
"""A closed ring of (longitude, latitude) in WGS84 degrees."""
Polygon = tuple[Ring, ...]
"""An outer ring, and rings of holes in it."""

FileState = tuple[str | int, ...]

MAX_AREA_BYTES: Final = 64 << 20
MAX_POINTS: Final = 1_000_000
_LATITUDES: Final = ("lat", "latitude", "y")
_LONGITUDES: Final = ("lon", "lng", "long", "longitude", "x")
_SEPARATORS: Final = ",;\t|"
_WGS84: Final = re.compile(
    r"(?:.*[:/])?(?:CRS84H?|EPSG[:/](?:[0-9.]*[:/])?(?:4326|4979)|WGS ?84)", re.I
)
"""Names of WGS84: plain, as URN and as address, with or without a version of the registry."""
_SYSTEMS: Final = ("crs", "coordRefSys", "spatialReference")
_LARGEST_AREA: Final = 25.0
"""Square degrees of one box or polygon's bounds; a city has less than one."""
_SMALLEST_AREA: Final = 1e-12
"""Square degrees, a hundredth of a square metre: a ring of less holds no street."""
_NOTHING_LEFT: Final = 1e-6
"""Share of a polygon that holes must leave."""
_NO_FILE: Final = "a file is named relative to the catalog, and this area was not read with one"


class GeoJsonArea(Entry):
    """A GeoJSON Polygon or MultiPolygon (RFC 7946): closed rings of [longitude, latitude].

    Features, collections and positions with a height are brought into this form when they are read.
    """

    type: Literal["Polygon", "MultiPolygon"]
    coordinates: (
        list[list[tuple[Longitude, Latitude]]] | list[list[list[tuple[Longitude, Latitude]]]]
    ) = Field(min_length=1)

    @property
    def polygons(self) -> tuple[Polygon, ...]:
        """The polygons, each an outer ring and its holes."""
        parts: Any = [self.coordinates] if self.type == "Polygon" else self.coordinates
        return tuple(tuple(tuple(ring) for ring in polygon) for polygon in parts)


class Area(Entry):
    """Where a city is, in WGS84 degrees: one of bbox, geojson and points."""

    bbox: tuple[Longitude, Latitude, Longitude, Latitude] | None = Field(
        default=None, description="[west, south, east, north] in WGS84 degrees"
    )
    geojson: GeoJsonArea | str | None = Field(
        default=None,
        description="a GeoJSON Polygon or MultiPolygon, or a file of such, of a Feature or of a "
        "FeatureCollection; ${NAME} is read from the environment",
    )
    points: list[tuple[Longitude, Latitude]] | str | None = Field(
        default=None,
        description="[longitude, latitude] of points, or a CSV file with columns lat and lon",
    )
    point_metres: float = Field(
        default=30.0, gt=0, le=5000, description="places lie so near to one of the points"
    )

    @field_validator("geojson", mode="before")
    @classmethod
    def _read_geojson(cls, value: object, info: ValidationInfo) -> object:
        if isinstance(value, str):
            path = _path(value, info)
            text = _text(path)
            try:
                value = json.loads(text, object_pairs_hook=_each_key_once)
            except (ValueError, RecursionError) as error:
                raise ValueError(f"{path} is not JSON: {str(error)[:120]}") from None
            try:
                return polygons_of(value)
            except ValueError as error:
                raise ValueError(f"{path}: {error}") from None
        if isinstance(value, Mapping):
            return polygons_of(value)
        return value

    @field_validator("points", mode="before")
    @classmethod
    def _read_points(cls, value: object, info: ValidationInfo) -> object:
        if isinstance(value, str):
            path = _path(value, info)
            return list(points_of(_text(path), str(path)))
        return value

    @model_validator(mode="after")
    def _one_of_three(self) -> Self:
        if sum(one is not None for one in (self.bbox, self.geojson, self.points)) != 1:
            raise ValueError("give either bbox, geojson or points")
        if self.points is not None and not self.points:
            raise ValueError("points holds no point")
        if self.bbox is not None:
            west, south, east, north = self.bbox
            if west >= east:
                apart = west > 0 > east and west - east > 180
                raise ValueError(
                    f"bbox has west {west} not below east {east}; "
                    + (
                        "across the antimeridian give a MultiPolygon of both sides as geojson"
                        if apart
                        else "the order is [west, south, east, north]"
                    )
                )
            if south >= north:
                raise ValueError(
                    f"bbox has south {south} not below north {north}; "
                    "the order is [west, south, east, north]"
                )
        boxes = [self.bbox] if self.bbox is not None else [_bounds(p[0]) for p in self.polygons]
        largest = max(((e - w) * (n - s) for w, s, e, n in boxes), default=0.0)
        if largest > _LARGEST_AREA:
            raise ValueError(
                f"it spans {largest:.0f} square degrees, more than {_LARGEST_AREA:g}, which no "
                "city does: check the order of the numbers, or give it in parts"
            )
        return self

    @property
    def polygons(self) -> tuple[Polygon, ...]:
        """The area's polygons; none where it is a box or points."""
        return self.geojson.polygons if isinstance(self.geojson, GeoJsonArea) else ()

    @property
    def spots(self) -> tuple[tuple[float, float], ...]:
        """(longitude, latitude) of the area's points; none where it is a box or polygons."""
        return tuple(self.points) if isinstance(self.points, list) else ()

    def bounds(self) -> tuple[float, float, float, float]:
        """The area's (west, south, east, north) in WGS84 degrees."""
        if self.bbox is not None:
            return self.bbox
        corners = [at for polygon in self.polygons for at in polygon[0]] or list(self.spots)
        longitudes, latitudes = zip(*corners, strict=True)
        return min(longitudes), min(latitudes), max(longitudes), max(latitudes)

    def identity(self) -> dict[str, Any]:
        """What tells this area from another, short however many points it has."""
        if self.points is None and len(self.polygons) <= 1:
            # As it was before there were others: what was fetched for money stays found.
            return self.model_dump(mode="json", include={"bbox", "geojson"})
        whole = self.model_dump(mode="json", exclude_none=True)
        digest = hashlib.sha256(json.dumps(whole, sort_keys=True).encode()).hexdigest()
        return {"digest": digest}


def _bounds(ring: Ring) -> tuple[float, float, float, float]:
    longitudes, latitudes = zip(*ring, strict=True)
    return min(longitudes), min(latitudes), max(longitudes), max(latitudes)


def polygons_of(value: object) -> dict[str, Any]:
    """A GeoJSON object as one Polygon or MultiPolygon, without heights.

    Raises:
        ValueError: It is not one, holds something else than polygons, is in another coordinate
            reference system than WGS84, or a ring is not closed.
    """
    try:
        polygons = [_polygon(part) for part in _parts(value)]
    except RecursionError:
        raise ValueError("its collections are nested too deeply") from None
    if not polygons:
        raise ValueError("it holds no polygon")
    if len(polygons) == 1:
        return {"type": "Polygon", "coordinates": polygons[0]}
    return {"type": "MultiPolygon", "coordinates": polygons}


def points_of(text: str, name: str) -> Iterator[tuple[float, float]]:
    """(longitude, latitude) of the rows of a CSV table, each once.

    Args:
        text: The table: a header with the columns lat and lon (or latitude, longitude, lng, y, x),
            separated by commas, semicolons, tabs or bars. Blank lines, lines that begin with # and
            Excel's ``sep=;`` may stand before it; numbers may have a decimal comma where commas
            separate nothing.
        name: What messages call it.

    Raises:
        ValueError: A column or a row is not as it must be; the row is named.
    """
    before = re.match(r"(?:[ \t]*(?:#[^\r\n]*|sep=.)?[ \t]*(?:\r\n|\r|\n))*", text, re.I)
    skipped = before[0] if before else ""
    body = text[len(skipped) :].replace("\r\n", "\n").replace("\r", "\n")
    first_line = skipped.replace("\r\n", "\n").replace("\r", "\n").count("\n")
    separator, header = _header(body, name)
    lat, lon = _columns(header, name)
    rows = csv.reader(io.StringIO(body), delimiter=separator)
    next(rows)
    seen: set[tuple[float, float]] = set()
    try:
        for row in rows:
            where = f"{name}, line {first_line + rows.line_num}"
            if not any(value.strip() for value in row):
                continue
            if any(value.strip() for value in row[len(header) :]):
                raise ValueError(
                    f"{where} has {len(row)} fields where the first row names {len(header)}: put "
                    "texts with separators in quotes, and write numbers with a point"
                )
            values = [*row, *[""] * (len(header) - len(row))]
            point = (
                _degrees(values[lon], 180.0, f"{where}: lon", separator),
                _degrees(values[lat], 90.0, f"{where}: lat", separator),
            )
            if point == (0.0, 0.0):
                raise ValueError(
                    f"{where} is at 0, 0, which stands for a position that is not known: remove it"
                )
            if point not in seen:
                seen.add(point)
                yield point
            if len(seen) > MAX_POINTS:
                raise ValueError(f"{name} has more than {MAX_POINTS} points")
    except csv.Error as error:
        raise ValueError(f"{name}, line {first_line + rows.line_num}: {error}") from None


def _header(body: str, name: str) -> tuple[str, list[str]]:
    """The separator with which the first row names both columns, and that row."""
    found: list[str] = []
    for separator in _SEPARATORS:
        try:
            row = next(csv.reader(io.StringIO(body), delimiter=separator), [])
        except csv.Error as error:
            raise ValueError(f"{name}, line 1: {error}") from None
        header = [column.strip().casefold() for column in row]
        if {*_LATITUDES} & {*header} and {*_LONGITUDES} & {*header}:
            while header and not header[-1]:  # a separator at the end of a line
                header.pop()
            return separator, header
        found = max(found, header, key=len)
    raise ValueError(
        f"{name} needs a first row that names the columns lat and lon; it names "
        f"{', '.join(filter(None, found))[:100] or 'nothing'}"
    )


def _columns(header: list[str], name: str) -> tuple[int, int]:
    """Which columns are latitude and longitude."""
    chosen = []
    for names in (_LATITUDES, _LONGITUDES):
        column = next(one for one in names if one in header)
        if header.count(column) > 1:
            raise ValueError(f"{name} has the column {column} twice: remove one of them")
        chosen.append(header.index(column))
    return chosen[0], chosen[1]


def _degrees(value: str, most: float, where: str, separator: str) -> float:
    written = value.strip()
    if separator != "," and written.count(",") == 1 and "." not in written:
        written = written.replace(",", ".")
    try:
        degrees = float("nan") if "_" in written else float(written)
    except ValueError:
        degrees = float("nan")
    if not -most <= degrees <= most:
        fault = f"is {value[:40]!r}" if written else "is missing"
        raise ValueError(f"{where} {fault}, not a number of degrees from -{most:g} to {most:g}")
    return degrees


def _each_key_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON, of whose keys each stands in it once."""
    made = dict(pairs)
    if len(made) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"an object has the key {twice[:40]!r} twice")
    return made


def _parts(value: object) -> Iterator[object]:
    """The coordinates of all polygons of a GeoJSON object."""
    stated = value.get("bbox") if isinstance(value, Mapping) else None
    parts = list(_unbounded_parts(value))
    if stated is not None:
        _check_bbox(stated, parts)
    yield from parts


def _check_bbox(stated: object, parts: list[object]) -> None:
    """Holds the `bbox` of an object (RFC 7946, 5) against its polygons; heights are passed over.

    Raises:
        ValueError: No polygon touches it: one of both is of another area, or swapped.
    """
    numbers = stated if isinstance(stated, list | tuple) else []
    if len(numbers) not in (4, 6) or not all(isinstance(n, int | float) for n in numbers):
        raise ValueError(f"its bbox {str(stated)[:60]} is not [west, south, east, north]")
    half = len(numbers) // 2
    west, south, east, north = (float(numbers[k]) for k in (0, 1, half, half + 1))
    if not parts or west > east:  # across the antimeridian
        return
    bounds = [_bounds(tuple(_ring(_list(part, "coordinates")[0]))) for part in parts]
    if not any(w <= east and e >= west and s <= north and n >= south for w, s, e, n in bounds):
        raise ValueError(
            f"its bbox [{west:g}, {south:g}, {east:g}, {north:g}] touches none of its polygons, "
            f"which lie at [{bounds[0][0]:g}, {bounds[0][1]:g}]: remove the one that is wrong"
        )


def _unbounded_parts(value: object) -> Iterator[object]:
    _check_reference_system(value)
    kind = value.get("type") if isinstance(value, Mapping) else None
    if not isinstance(value, Mapping) or not isinstance(kind, str):
        raise ValueError("it is not a GeoJSON object, which has a `type`")  # noqa: TRY004 - bad input
    if kind == "FeatureCollection":
        for feature in _list(value.get("features"), "`features` of a FeatureCollection"):
            yield from _parts(feature)
    elif kind == "Feature":
        if value.get("geometry") is not None:  # a feature without a place (RFC 7946, 3.2)
            yield from _parts(value["geometry"])
    elif kind == "GeometryCollection":
        for geometry in _list(value.get("geometries"), "`geometries` of a GeometryCollection"):
            yield from _parts(geometry)
    elif kind == "MultiPolygon":
        yield from _list(value.get("coordinates"), "`coordinates` of a MultiPolygon")
    elif kind == "Polygon":
        yield value.get("coordinates")
    else:
        raise ValueError(
            f"it holds a {kind[:40]}, and an area is of Polygons; give points in a CSV file as "
            "`points`"
        )


def _polygon(coordinates: object) -> list[list[tuple[float, float]]]:
    rings = [_ring(ring) for ring in _list(coordinates, "`coordinates` of a Polygon")]
    if not rings:
        raise ValueError("a Polygon has no ring")
    if _square_degrees(rings[0]) < _SMALLEST_AREA:
        raise ValueError(f"a Polygon at {list(rings[0][0])} has no area: its positions are in line")
    if len(rings) > 1:
        _check_holes(rings[0], rings[1:])
    return rings


def _check_holes(outer: list[tuple[float, float]], holes: list[list[tuple[float, float]]]) -> None:
    """Refuses holes that leave nothing, and rings that are no holes but areas of their own."""
    # NumPy comes with it, which areas without holes need not wait for.
    import numpy as np  # noqa: PLC0415

    from crosscity.areas import inside_polygon  # noqa: PLC0415

    for hole in holes:
        lon, lat = np.array(hole, dtype=np.float64).T
        if not inside_polygon(lat, lon, [outer]).any() and not set(hole) & set(outer):
            raise ValueError(
                f"the hole at {list(hole[0])} lies outside the Polygon at {list(outer[0])}, so it "
                "cuts nothing out: give areas of their own as a MultiPolygon"
            )
    if sum(map(_enclosed, holes)) > _enclosed(outer) * (1 - _NOTHING_LEFT):
        raise ValueError(
            f"the holes of the Polygon at {list(outer[0])} are as large as itself, so nothing is "
            "left of it: remove the ring that is drawn twice"
        )


def _enclosed(ring: list[tuple[float, float]]) -> float:
    """Square degrees inside a ring that does not cross itself."""
    x, y = ring[0]
    doubled = sum((a - x) * (d - y) - (c - x) * (b - y) for (a, b), (c, d) in pairwise(ring))
    return abs(doubled) / 2


def _square_degrees(ring: list[tuple[float, float]]) -> float:
    """Sum of the sizes of the triangles to a ring's first position, whatever way it turns."""
    x, y = ring[0]
    return sum(abs((a - x) * (d - y) - (c - x) * (b - y)) / 2 for (a, b), (c, d) in pairwise(ring))


def _ring(value: object) -> list[tuple[float, float]]:
    ring = [_position(position) for position in _list(value, "a ring")]
    if len(ring) < 4 or ring[0] != ring[-1]:
        raise ValueError("every ring needs at least four positions and must end where it starts")
    if any(abs(one[0] - other[0]) > 180 for one, other in pairwise(ring)):
        raise ValueError(
            f"a ring at {list(ring[0])} crosses the antimeridian, and would be read the other way "
            "round the earth: cut it there into a MultiPolygon (RFC 7946, 3.1.9; ogr2ogr "
            "-wrapdateline ...)"
        )
    return ring


def _position(value: object) -> tuple[float, float]:
    """Longitude and latitude of a position, which may have a height and more."""
    numbers = _list(value, "a position")[:2]
    if len(numbers) < 2 or any(
        isinstance(n, bool) or not isinstance(n, int | float) for n in numbers
    ):
        raise ValueError(f"{str(value)[:60]} is not a position [longitude, latitude]")
    lon, lat = numbers
    if not (-180 <= lon <= 180 and -90 <= lat <= 90):
        raise ValueError(
            f"[{str(lon)[:20]}, {str(lat)[:20]}] is not longitude and latitude: the coordinates "
            "are swapped or of a projected system; write them as WGS84 "
            "(ogr2ogr -t_srs EPSG:4326 area.geojson ...)"
        )
    return float(lon), float(lat)


def _list(value: object, what: str) -> list[Any]:
    if not isinstance(value, list | tuple):
        raise ValueError(f"{what} must be a list")  # noqa: TRY004 - as above
    return list(value)


def _check_reference_system(value: object) -> None:
    """Refuses a reference system that is another than WGS84, however it is told.

    `crs` is of GeoJSON before RFC 7946, `coordRefSys` of OGC Features and Geometries JSON, and
    `spatialReference` of Esri.
    """
    if not isinstance(value, Mapping):
        return
    for key in _SYSTEMS:
        if value.get(key) is not None:
            _check_is_wgs84(value[key])


def _check_is_wgs84(crs: object) -> None:
    if isinstance(crs, Mapping) and "wkid" in crs:
        crs = f"EPSG:{crs['wkid']}"
    properties = crs.get("properties") if isinstance(crs, Mapping) else crs
    stated = properties.get("name") if isinstance(properties, Mapping) else properties
    name = stated if isinstance(stated, str) else json.dumps(crs, default=str)
    if not _WGS84.fullmatch(name.strip()):
        raise ValueError(
            f"its coordinate reference system is {name[:80]}, and areas are in WGS84: write it as "
            "such (ogr2ogr -t_srs EPSG:4326 area.geojson ...)"
        )


def file_state(folder: Path, value: str) -> FileState:
    """What tells whether a file that a catalog names is still the one that was read."""
    try:
        path = resolve_folder(folder, value, key="area")
        facts = path.stat()
    except (CatalogError, OSError) as error:
        return (str(error),)
    return str(path), facts.st_mtime_ns, facts.st_size


def _path(value: str, info: ValidationInfo) -> Path:
    context = info.context or {}
    folder = context.get("folder")
    if not isinstance(folder, Path):
        raise ValueError(_NO_FILE)  # noqa: TRY004 - as above
    context.get("files", {})[value] = file_state(folder, value)
    try:
        return resolve_folder(folder, value, key=f"area.{info.field_name}")
    except CatalogError as error:
        raise ValueError(str(error)) from None


def _text(path: Path) -> str:
    try:
        if path.exists() and not path.is_file():
            raise ValueError(f"{path} is not a file")
        if path.stat().st_size > MAX_AREA_BYTES:
            raise ValueError(f"{path} is larger than {MAX_AREA_BYTES >> 20} MiB")
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise ValueError(f"there is no file {path}") from None
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ValueError(f"{path} is not text in UTF-8: save it as such") from None
