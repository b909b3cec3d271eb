"""Areas of a catalog: boxes, GeoJSON as programs write it (RFC 7946, GeoJSON 2008), CSV points."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from adapters.catalog import CatalogError, load_catalog

RING = [[2.30, 48.85], [2.31, 48.85], [2.31, 48.86], [2.30, 48.86], [2.30, 48.85]]
HOLE = [[2.302, 48.852], [2.304, 48.852], [2.304, 48.854], [2.302, 48.852]]
HALVES = (
    [[2.30, 48.85], [2.305, 48.85], [2.305, 48.86], [2.30, 48.86], [2.30, 48.85]],
    [[2.305, 48.85], [2.31, 48.85], [2.31, 48.86], [2.305, 48.86], [2.305, 48.85]],
)
FAR = [[7.0, 43.0], [7.1, 43.0], [7.1, 43.1], [7.0, 43.0]]
POLYGON = {"type": "Polygon", "coordinates": [RING, HOLE]}
SEVERAL = {"type": "MultiPolygon", "coordinates": [[RING, HOLE], [FAR]]}


def with_heights(value: Any) -> Any:
    if isinstance(value, list) and value and isinstance(value[0], float):
        return [*value, 35.0]
    return [with_heights(v) for v in value] if isinstance(value, list) else value


def feature(geometry: Any, **more: Any) -> dict[str, Any]:
    return {"type": "Feature", "properties": {"name": "x"}, "geometry": geometry, **more}


@pytest.fixture
def load(tmp_path: Path) -> Any:
    def loaded(area: dict[str, Any], files: dict[str, str | bytes] | None = None) -> Any:
        for name, content in (files or {}).items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            data = content if isinstance(content, bytes) else content.encode()
            (tmp_path / name).write_bytes(data)
        catalog = {
            "version": 1,
            "store": "here",
            "compute": "here",
            "stores": {"here": {"url": "store"}},
            "computes": {"here": {}},
            "datasets": {
                "s": {
                    "kind": "simulated", "style": "tokyo", "image_size": [64, 128],
                    "train": 2, "val": 1, "test": 1,
                }
            },
            "segmenters": {"compact": {"architecture": "compact", "source": "s"}},
            "trainings": {"demo": {"preset": "demo"}},
            "cities": {"paris": {"provider": {"kind": "panoramax"}, "area": area}},
        }  # fmt: skip
        path = tmp_path / "data_catalog.yaml"
        path.write_text(yaml.safe_dump(catalog))
        return load_catalog(path).cities["paris"].area

    return loaded


@pytest.mark.parametrize(
    ("content", "polygons"),
    [
        (POLYGON, [[RING, HOLE]]),
        (SEVERAL, [[RING, HOLE], [FAR]]),
        (feature(POLYGON), [[RING, HOLE]]),
        (feature(SEVERAL), [[RING, HOLE], [FAR]]),
        ({"type": "FeatureCollection", "features": [feature(POLYGON)]}, [[RING, HOLE]]),
        (
            {
                "type": "FeatureCollection",
                "name": "paris",
                "crs": {"type": "name", "properties": {"name": "urn:ogc:def:crs:OGC:1.3:CRS84"}},
                "features": [
                    feature(POLYGON, id=1),
                    feature({"type": "Polygon", "coordinates": [FAR]}),
                ],
            },
            [[RING, HOLE], [FAR]],
        ),
        ({"type": "GeometryCollection", "geometries": [POLYGON]}, [[RING, HOLE]]),
        ({**POLYGON, "coordinates": with_heights([RING, HOLE])}, [[RING, HOLE]]),
        (feature({**SEVERAL, "coordinates": with_heights([[RING, HOLE], [FAR]])}),
         [[RING, HOLE], [FAR]]),
        ({**POLYGON, "crs": {"type": "name", "properties": {"name": "EPSG:4326"}}}, [[RING, HOLE]]),
        ({**POLYGON, "crs": None, "bbox": [2.3, 48.85, 0, 2.31, 48.86, 35]}, [[RING, HOLE]]),
    ],
)  # fmt: skip
def test_every_form_of_polygons_is_read_from_a_file_and_inline(load, content, polygons):
    wanted = tuple(tuple(tuple(map(tuple, ring)) for ring in polygon) for polygon in polygons)
    from_file = load({"geojson": "areas/a.geojson"}, {"areas/a.geojson": json.dumps(content)})
    assert from_file.polygons == wanted
    marked = load({"geojson": "b.json"}, {"b.json": b"\xef\xbb\xbf" + json.dumps(content).encode()})
    assert marked.identity() == from_file.identity()
    inline = load({"geojson": copy.deepcopy(content)})
    assert inline.identity() == from_file.identity()
    assert inline.bounds()[:2] == (2.30, 43.0 if len(polygons) > 1 else 48.85)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "not JSON"),
        ("[1]", "not a GeoJSON object"),
        ('"x"', "not a GeoJSON object"),
        (json.dumps({"type": "Point", "coordinates": [1, 2]}), "holds a Point"),
        (json.dumps(feature({"type": "LineString", "coordinates": [[1, 2], [2, 3]]})), "a Line"),
        (json.dumps(feature(None)), "it holds no polygon"),
        (json.dumps({"type": "FeatureCollection", "features": []}), "holds no polygon"),
        (json.dumps({"type": "FeatureCollection"}), "must be a list"),
        (json.dumps({"type": "Polygon", "coordinates": []}), "no ring"),
        (json.dumps({"type": "Polygon", "coordinates": [RING[:-1]]}), "end where it starts"),
        (json.dumps({"type": "Polygon", "coordinates": [[["a", 1]] * 4]}), "is not a position"),
        (json.dumps({"type": "Polygon", "coordinates": [[[1]] * 4]}), "is not a position"),
        (json.dumps({"type": "Polygon", "coordinates": [[[True, 1]] * 4]}), "is not a position"),
        ('{"type": "Polygon", "coordinates": [[[NaN, 1], [2, 2], [3, 3], [NaN, 1]]]}', "not long"),
        (
            json.dumps({"type": "Polygon", "coordinates": [[[652000, 6862000]] * 4]}),
            "of a projected system",
        ),
        (
            json.dumps(
                {**POLYGON, "crs": {"type": "name", "properties": {"name": "EPSG:2154"}}}
            ),
            "reference system is EPSG:2154",
        ),
        (
            json.dumps(
                {
                    **POLYGON,
                    "crs": {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::3857"}},
                }
            ),
            "EPSG::3857",
        ),
        (json.dumps({**POLYGON, "crs": {"type": "EPSG", "properties": {"code": 2154}}}), "2154"),
        (json.dumps({"type": "FeatureCollection", "features": [
            feature(POLYGON, crs={"properties": {"name": "EPSG:27700"}})]}), "27700"),
        (b"\xff\xfe\x00", "not text in UTF-8"),
    ],
)  # fmt: skip
def test_what_is_not_an_area_is_one_line_with_the_file_the_key_and_the_remedy(load, content, words):
    with pytest.raises(CatalogError) as caught:
        load({"geojson": "a.geojson"}, {"a.geojson": content})
    (line,) = str(caught.value).splitlines()
    assert words in line
    assert "a.geojson" in line
    assert "cities.paris.area.geojson" in line
    assert "data_catalog.yaml:" in line


def test_a_file_that_is_not_there_is_named(load):
    for key in ("geojson", "points"):
        with pytest.raises(CatalogError, match=rf"area\.{key}.*there is no file .*nowhere"):
            load({key: "nowhere"})


def test_the_environment_is_read(load, tmp_path, monkeypatch):
    monkeypatch.setenv("AREAS", str(tmp_path / "areas"))
    area = load({"geojson": "${AREAS}/a.json"}, {"areas/a.json": json.dumps(POLYGON)})
    assert len(area.polygons) == 1
    monkeypatch.delenv("AREAS")
    with pytest.raises(CatalogError, match="AREAS, which is not set"):
        load({"geojson": "${AREAS}/a.json"})


@pytest.mark.parametrize(
    "table",
    [
        "lat,lon\n48.85,2.3\n48.86,2.31\n",
        "id;Longitude;Latitude\n1;2.3;48.85\n2;2.31;48.86\n2;2.31;48.86\n\n",
        "\ufeffy\tx\tname\r\n48.85\t2.3\ta\r\n48.86\t2.31\tb\r\n",
        'name,lng,lat\n"a, b",2.3,48.85\n"c",2.31,48.86',
    ],
)
def test_points_are_read_from_tables(load, table):
    area = load({"points": "p.csv", "point_metres": 12}, {"p.csv": table})
    assert area.spots == ((2.3, 48.85), (2.31, 48.86))
    assert area.bounds() == (2.3, 48.85, 2.31, 48.86)
    assert area.point_metres == 12
    assert load({"points": [[2.3, 48.85], [2.31, 48.86]], "point_metres": 12}).spots == area.spots


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ("", "needs a first row"),
        ("48.85,2.3\n", "needs a first row"),
        ("lat,lon\n", "holds no point"),
        ("lat,lon\n48.85,2.3\nx,2.3\n", "line 3: lat is 'x'"),
        ("lat,lon\n48.85\n", "line 2: lon is missing"),
        ("lat,lon\n91,2.3\n", "line 2: lat is '91'"),
        ("lat,lon\nnan,2.3\n", "line 2: lat is 'nan'"),
        ('lat,lon\n"48,85",2.3\n', "line 2: lat is '48,85'"),
    ],
)
def test_a_table_that_holds_something_else_is_reported_with_its_line(load, table, words):
    with pytest.raises(CatalogError) as caught:
        load({"points": "p.csv"}, {"p.csv": table})
    (line,) = str(caught.value).splitlines()
    assert words in line
    assert "cities.paris.area" in line


def test_there_is_one_way_to_say_where(load):
    for area in ({}, {"bbox": [2.3, 48.8, 2.4, 48.9], "geojson": POLYGON}):
        with pytest.raises(CatalogError, match="give either bbox, geojson or points"):
            load(area)


def test_other_files_are_other_areas(load):
    one = load({"points": "p.csv"}, {"p.csv": "lat,lon\n48.85,2.3\n"}).identity()
    two = load({"points": "p.csv"}, {"p.csv": "lat,lon\n48.85,2.31\n"}).identity()
    wider = load({"points": "p.csv", "point_metres": 31}).identity()
    assert len({str(one), str(two), str(wider)}) == 3


def test_a_file_that_was_edited_is_read_again_and_one_that_was_not_is_not(load):
    first = load({"points": "p.csv"}, {"p.csv": "lat,lon\n48.85,2.3\n"})
    assert load({"points": "p.csv"}) is first
    edited = load({"points": "p.csv"}, {"p.csv": "lat,lon\n48.85,2.31\n48.86,2.3\n"})
    assert edited.spots == ((2.31, 48.85), (2.3, 48.86))


def test_boxes_and_single_polygons_keep_the_keys_that_they_had(load):
    box = load({"bbox": [2.3, 48.8, 2.4, 48.9]})
    assert box.identity() == {"bbox": [2.3, 48.8, 2.4, 48.9], "geojson": None}
    reported = load({"geojson": POLYGON}).identity()
    assert reported == {"bbox": None, "geojson": POLYGON}


@pytest.mark.parametrize(
    "table",
    [
        b"lat;lon\n48,85;2,35\n",  # as programs of most of Europe write it
        b"sep=;\r\nlat;lon\r\n48.85;2.35\r\n",  # Excel
        b"\xef\xbb\xbf# points of the survey\n\nlat\tlon\n48,85\t2,35\n",
        b"lat|lon\n48.85|2.35\n",
        b'"a,b,c";lat;lon;\nx;48.85;2.35;\n',
        b"lat,lon\r48.85,2.35\r",
        b'name,lat,lon\n"two\nlines",48.85,2.35\n',
        b"x,y,lat,lon\n452000,5411000,4.885e1,2.35\n",
    ],
)
def test_tables_as_programs_write_them(load, table):
    assert load({"points": "p.csv"}, {"p.csv": table}).spots == ((2.35, 48.85),)


@pytest.mark.parametrize(
    ("table", "said"),
    [
        (b"lat,lon\n48,85,2,35\n", "line 2 has 4 fields where the first row names 2"),
        (b"lat,lon,lat\n1,2,3\n", "has the column lat twice"),
        (b"# x\nlat,lon\n1,2\n4_8,2\n", "line 4: lat is '4_8'"),
        (b"lat,lon\n1\n", "line 2: lon is missing"),
        (b"lat,lon\n0,0\n", "line 2 is at 0, 0, which stands for"),
        (b"lat lon\n1 2\n", "a first row that names the columns lat and lon; it names lat lon"),
        (b"1,2\n3,4\n", "it names 1, 2"),
        (b"lat,lon\n1,\x00\n", "line 2: lon is"),
        ("lat,lon\n1,2\n".encode("utf-16"), "is not text in UTF-8: save it as such"),
        ("lat,lon\n\u221233.9,151.2\n".encode(), "line 2: lat is"),
        (b"lat,lon\n48.85N,2.35E\n", "line 2: lon is '2.35E'"),
        (b"lat,lon,x\n1,2," + b"a" * 200_000, "line 2: field larger than"),
    ],
)
def test_tables_that_mean_two_things_are_reported_by_their_row(load, table, said):
    with pytest.raises(CatalogError, match=said) as caught:
        load({"points": "p.csv"}, {"p.csv": table})
    assert "cities.paris.area.points: " in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def nested(levels: int) -> dict[str, Any]:
    made: dict[str, Any] = dict(POLYGON)
    for _ in range(levels):
        made = {"type": "GeometryCollection", "geometries": [made]}
    return made


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (json.dumps(POLYGON).replace("}", ', "coordinates": []}'), "'coordinates' twice"),
        (json.dumps({**POLYGON, "coordinates": [[[0, 0], [1, 0], [2, 0], [0, 0]]]}), "no area"),
        ('{"type":"Polygon","coordinates":[[[NaN,0],[1,0],[1,1],[NaN,0]]]}', "not longitude and"),
        (json.dumps({"type": "Topology", "objects": {}}), "holds a Topology"),
        ('{"type": "Feature"}\n{"type": "Feature"}', "is not JSON: Extra data: line 2"),
        ('callback({"type": "Polygon"})', "is not JSON"),
        (json.dumps({"type": "FeatureCollection", "features": [feature(None)]}), "no polygon"),
        (json.dumps({**POLYGON, "crs": "EPSG:14326"}), "reference system is EPSG:14326"),
        (json.dumps({**POLYGON, "coordinates": [[[True, 0], [1, 0], [1, 1], [True, 0]]]}),
         "is not a position"),
        (json.dumps({**POLYGON, "coordinates": [RING, RING]}), r"holes .* nothing is left"),
        (json.dumps({**POLYGON, "coordinates": [RING, RING[::-1]]}), r"nothing is left"),
        (json.dumps({**POLYGON, "coordinates": [RING, [*RING[2:], *RING[1:3]]]}), "is left of it"),
        (json.dumps({**POLYGON, "coordinates": [RING, HALVES[0], HALVES[1]]}), "is left of it"),
        (json.dumps({**POLYGON, "coordinates": [RING, FAR]}), r"outside .*as a MultiPolygon"),
        (json.dumps({**SEVERAL, "coordinates": [[FAR], [RING, FAR]]}), "cuts nothing out"),
        (json.dumps({**POLYGON, "bbox": [0, 0, 1, 1]}), r"its bbox \[0, 0, 1, 1\] touches none"),
        (json.dumps({**POLYGON, "bbox": [48.85, 2.3, 48.86, 2.31]}), "touches none of its poly"),
        (json.dumps(feature(POLYGON, bbox=[0, 0, 1])), "is not .west, south, east, north"),
        (json.dumps({"type": "FeatureCollection", "bbox": [0, 0, 1, 1],
                     "features": [feature(SEVERAL)]}), "touches none"),
    ],
)  # fmt: skip
def test_geojson_that_holds_no_area_is_reported(load, content, said):
    with pytest.raises(CatalogError, match=said) as caught:
        load({"geojson": "a.json"}, {"a.json": content})
    assert "a.json" in str(caught.value)


def test_holes_that_touch_their_polygon_or_reach_over_it_are_taken(load):
    over = [[2.305, 48.855], [2.32, 48.855], [2.32, 48.858], [2.305, 48.855]]
    for hole in (HALVES[0], over):
        found = load({"geojson": {**POLYGON, "coordinates": [RING, hole]}})
        assert [list(map(list, ring)) for ring in found.polygons[0]] == [RING, hole]


def test_geojson_of_other_programs_is_read(load):
    several = {"type": "FeatureCollection", "features": [feature(None), feature(POLYGON)]}
    wanted = load({"geojson": copy.deepcopy(POLYGON)}).polygons
    assert load({"geojson": "a.json"}, {"a.json": json.dumps(several)}).polygons == wanted
    for name in (
        "urn:ogc:def:crs:EPSG:6.18:4326",
        "http://www.opengis.net/def/crs/OGC/1.3/CRS84",
        "https://www.opengis.net/def/crs/EPSG/0/4326",
        "WGS 84",
        "epsg:4326",
    ):
        marked = {**POLYGON, "crs": {"type": "name", "properties": {"name": name}}}
        assert load({"geojson": marked}).polygons == wanted


def test_collections_without_end_are_reported():
    from adapters.catalog.areas import polygons_of

    for value in (nested(5000), {"type": "GeometryCollection", "geometries": []}):
        if not value["geometries"]:
            value["geometries"].append(value)
        with pytest.raises(ValueError, match="nested too deeply"):
            polygons_of(value)


def test_what_is_not_a_file_is_not_read_without_end(load, tmp_path):
    """A device or a pipe has no end, and its size is 0."""
    import os

    os.mkfifo(tmp_path / "pipe")
    for area in ({"geojson": "pipe"}, {"points": "pipe"}, {"geojson": "/dev/zero"}):
        with pytest.raises(CatalogError, match="is not a file"):
            load(area)
    with pytest.raises(CatalogError, match="it is not a file"):
        load_catalog(tmp_path / "pipe")


def named(name: str) -> dict[str, Any]:
    return {"crs": {"type": "name", "properties": {"name": name}}}


@pytest.mark.parametrize(
    "content",
    [
        feature({**POLYGON, **named("EPSG:3857")}),
        {"type": "GeometryCollection", "geometries": [{**POLYGON, **named("EPSG:25832")}]},
        {"type": "FeatureCollection", "features": [feature({**SEVERAL, **named("EPSG:2154")})]},
        {**POLYGON, "coordRefSys": "http://www.opengis.net/def/crs/EPSG/0/3857"},
        {**POLYGON, "spatialReference": {"wkid": 102100, "latestWkid": 3857}},
    ],
)
def test_a_foreign_reference_system_is_refused_wherever_it_stands(load, content):
    with pytest.raises(CatalogError, match="its coordinate reference system is"):
        load({"geojson": content})


@pytest.mark.parametrize(
    "more",
    [
        {"coordRefSys": "http://www.opengis.net/def/crs/OGC/1.3/CRS84"},
        {"spatialReference": {"wkid": 4326}},
        {"spatialReference": None},
    ],
)
def test_wgs84_is_known_by_its_names(load, more):
    assert load({"geojson": {**POLYGON, **more}})


def test_a_ring_across_the_antimeridian_is_told_to_be_cut(load):
    # RFC 7946, 3.1.9; read as it stands, it would go round the rest of the earth.
    ring = [[179.9, -17], [-179.9, -17], [-179.9, -16.9], [179.9, -16.9], [179.9, -17]]
    with pytest.raises(CatalogError, match=r"crosses the antimeridian.*MultiPolygon"):
        load({"geojson": {"type": "Polygon", "coordinates": [ring]}})
    east = [[179.9, -17], [180, -17], [180, -16.9], [179.9, -16.9], [179.9, -17]]
    west = [[-180, -17], [-179.9, -17], [-179.9, -16.9], [-180, -16.9], [-180, -17]]
    assert load({"geojson": {"type": "MultiPolygon", "coordinates": [[east], [west]]}})


def test_a_box_across_the_antimeridian_is_told_to_be_two_polygons(load):
    with pytest.raises(CatalogError, match=r"across the antimeridian give a MultiPolygon"):
        load({"bbox": [179.9, -17, -179.9, -16.9]})
    with pytest.raises(CatalogError, match=r"the order is \[west, south, east, north\]"):
        load({"bbox": [2.4, 48.8, 2.3, 48.9]})


def test_what_is_larger_than_any_city_is_refused(load):
    world = [[-180, -90], [0, -90], [180, -90], [180, 90], [0, 90], [-180, 90], [-180, -90]]
    for area in (
        {"bbox": [-180, -90, 180, 90]},
        {"bbox": [2.3, 40.0, 12.3, 48.9]},
        {"geojson": {"type": "Polygon", "coordinates": [world]}},
    ):
        with pytest.raises(CatalogError, match="square degrees, more than 25"):
            load(area)
