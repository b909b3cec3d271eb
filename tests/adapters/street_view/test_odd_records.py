"""One odd record never ends a listing: whatever stands in a field, it is a picture or rejected."""

from __future__ import annotations

import copy
import json
import math
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from adapters.street_view import google, mapillary
from adapters.street_view.accepting import FAR_AWAY, NO_COMPASS
from adapters.street_view.base import Rejected
from adapters.street_view.google import GoogleStreetView
from adapters.street_view.kartaview import KartaViewStreetView
from adapters.street_view.mapillary import MapillaryStreetView
from adapters.street_view.panoramax import PanoramaxStreetView
from adapters.street_view.records import Shot, UnusableError, digest_of
from adapters.street_view.service import EVERY_TIME, HarvestPlan, ServiceStreetView
from adapters.street_view.web.addresses import Addresses
from adapters.street_view.web.budget import Budget, Ledger
from adapters.street_view.web.client import Manners, WebClient

AREA = (139.69, 35.65, 139.71, 35.67)
PLAN = HarvestPlan(bounds=AREA, places=10, seed=3, image_size=(48, 96), tile_metres=5000.0)
KINDS = ["panoramax", "mapillary", "google", "kartaview"]

SOUND: dict[str, dict[str, Any]] = {
    "panoramax": {
        "id": "2ad2b303-59f5-4f8b-a7c1-ccfaef465fbe", "collection": "c",
        "geometry": {"type": "Point", "coordinates": [2.3, 48.8]},
        "properties": {
            "datetime": "2024-10-05T14:24:57+00:00", "view:azimuth": 280,
            "license": "etalab-2.0", "pers:pitch": 0.0, "pers:roll": 0.0,
            "geovisio:producer": "s",
            "pers:interior_orientation": {
                "field_of_view": 360, "sensor_array_dimensions": [5760, 2880],
                "visible_area": [0, 20, 0, 40],
            },
            "tiles:tile_matrix_sets": {"geovisio": {"tileMatrix": [
                {"matrixWidth": 8, "matrixHeight": 4, "tileWidth": 720, "tileHeight": 705}
            ]}},
        },
        "assets": {
            "hd": {"href": "https://example.com/hd.jpg"}, "sd": {"href": "/sd.jpg"},
        },
        "providers": [{"name": "n", "roles": ["host"]}],
    },
    "mapillary": {
        "id": "4", "captured_at": 1465800000000, "is_pano": False,
        "camera_type": "perspective", "camera_parameters": [0.8, 0.0, 0.0],
        "geometry": {"type": "Point", "coordinates": [1.0, 2.0]},
        "computed_geometry": {"type": "Point", "coordinates": [1.0, 2.0]},
        "compass_angle": 2.0, "computed_compass_angle": 1.0,
        "computed_rotation": [1.5, 0.0, 0.1], "exif_orientation": 1, "width": 400, "height": 300,
        "sequence": "s", "creator": {"username": "x"}, "thumb_1024_url": "https://x/y",
    },
    "google": {
        "panoId": "x", "lat": 1.0, "lng": 2.0, "imageHeight": 6656, "imageWidth": 13312,
        "tileHeight": 512, "tileWidth": 512, "heading": 1.0, "tilt": 90.0, "roll": 0.0,
        "imageryType": "outdoor", "date": "2023-01", "copyright": "c",
    },
}  # fmt: skip
SOUND["kartaview"] = {
    "id": "1234567890", "lat": "52.37", "lng": "4.9", "shotDate": "2023-01-01 00:00:00.000",
    "heading": "74.00", "fieldOfView": "0", "projection": "PLANE", "sequenceId": "3879193",
    "sequenceIndex": "2982", "width": "3840", "height": "2160",
    "sequence": {"id": "3879193", "cameraParameters": {"hFoV": 65.0, "vFoV": 39.4}},
    "fileurlProc": "https://example.com/proc/image1.jpg",
}  # fmt: skip
SOUND["sphere of kartaview"] = {
    **SOUND["kartaview"], "projection": "SPHERE", "fieldOfView": "360", "width": "5760",
    "height": "2880",
}  # fmt: skip
SOUND["panorama of mapillary"] = {
    **SOUND["mapillary"], "is_pano": True, "camera_type": "spherical", "camera_parameters": [],
    "width": 4000, "height": 2000,
}  # fmt: skip


def client(url: str = "https://api.example", secret: Any = None) -> WebClient:
    manners = Manners(per_second=1e6, first_wait=0.0)
    return WebClient("It", Addresses(url), Ledger("it", Budget()), manners, secret=secret)


READERS: dict[str, Callable[[object], Shot]] = {
    "panoramax": PanoramaxStreetView(PLAN, client())._read,
    "mapillary": mapillary._read,
    "panorama of mapillary": mapillary._read,
    "google": GoogleStreetView(PLAN, client(), agreement="A")._read,
    "kartaview": KartaViewStreetView(PLAN, client())._read,
    "sphere of kartaview": KartaViewStreetView(PLAN, client(), assumed_fov=60)._read,
}

odd_numbers = st.sampled_from(
    [
        10**400, -(10**400), 10**4000, math.nan, math.inf, -math.inf, 1e308, -1e308, 5e-324, -0.0,
        0, -1, 1 << 63, 2**1023, -62135596800001, 253402300800000, -90000000000000, True, False,
    ]
)  # fmt: skip
odd_texts = st.sampled_from(
    [
        "", "0", "NaN", "1e999", "12", "-0882-01-01T00:00:00Z", "0000-00-00 00:00:00",
        "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "2024-02-30T00:00:00Z", "0001-01",
        "+10000-01-01T00:00:00Z", "http://[", "https://[::1", "//", "\ud800", "\x00", "a\nb",
        "１２", "9" * 5000, "2024-13", "99999-01", "null",
    ]
)  # fmt: skip
junk = st.recursive(
    st.none() | odd_numbers | odd_texts | st.floats() | st.integers() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=8,
)


def paths(value: Any, path: tuple[Any, ...] = ()) -> Any:
    yield path
    items = value.items() if isinstance(value, dict) else (
        enumerate(value) if isinstance(value, list) else ()
    )  # fmt: skip
    for key, inner in items:
        yield from paths(inner, (*path, key))


def changed(record: dict[str, Any], path: tuple[Any, ...], value: Any) -> dict[str, Any]:
    whole = copy.deepcopy(record)
    holder: Any = whole
    for step in path[:-1]:
        holder = holder[step]
    holder[path[-1]] = value
    return whole


def check_sound(shot: Shot) -> None:
    """What all the rest relies on."""
    assert -90 <= shot.lat <= 90
    assert -180 <= shot.lon <= 180
    assert (shot.lat, shot.lon) != (0, 0)
    assert 0 <= shot.heading < 360
    assert -90 <= shot.pitch <= 90
    assert -180 < shot.roll <= 180
    assert 0 < shot.fov <= 360
    assert all(math.isfinite(value) for value in (shot.k1, shot.k2))
    assert 0 <= shot.height < 1 << 21
    assert 0 <= shot.width < 1 << 21
    assert EVERY_TIME[0] <= shot.captured_at < EVERY_TIME[1]
    assert shot.captured_at.tzinfo is UTC
    assert shot.attribution
    assert "\n" not in shot.attribution
    reported = json.loads(json.dumps(shot.to_dict()))
    assert Shot.from_dict(reported) == Shot.from_dict(shot.to_dict())
    assert shot.capture("x", "p1-1").image_id == f"x_{digest_of(shot.source_id)}"
    json.dumps([shot.sequence, shot.page_url, shot.attribution], ensure_ascii=False).encode()


def test_what_is_sound_is_read():
    for kind, record in SOUND.items():
        check_sound(READERS[kind](record))


@given(st.sampled_from(sorted(SOUND)), st.data())
@settings(max_examples=1500)
def test_any_field_may_be_anything(kind, data):
    record = SOUND[kind]
    path = data.draw(st.sampled_from([p for p in paths(record) if p]))
    try:
        shot = READERS[kind](changed(record, path, data.draw(junk)))
    except UnusableError:  # and nothing else
        return
    check_sound(shot)


@given(st.sampled_from(sorted(SOUND)), junk)
@example("mapillary", [])
@settings(max_examples=200)
def test_anything_may_be_a_record(kind, record):
    with pytest.raises(UnusableError):
        READERS[kind](record)


def every_odd_value() -> list[Any]:
    return [10**400, -(10**400), math.nan, "7", None, [], {}, True, -1, 0, "\ud800", 1e308]


@pytest.mark.parametrize("kind", sorted(SOUND))
def test_every_field_meets_every_odd_value(kind):
    for path in paths(SOUND[kind]):
        for value in every_odd_value() if path else ():
            try:
                check_sound(READERS[kind](changed(SOUND[kind], path, value)))
            except UnusableError:
                continue


# Over the wire


def provider_of(kind: str, server: Any) -> ServiceStreetView:
    if kind == "panoramax":
        return PanoramaxStreetView(PLAN, client(server.url))
    if kind == "kartaview":
        return KartaViewStreetView(PLAN, client(server.url))
    if kind == "mapillary":
        return MapillaryStreetView(PLAN, client(server.url, mapillary.secret(server.token)))
    return GoogleStreetView(PLAN, client(server.url, google.secret(server.key)), agreement="A")


def listed(provider: ServiceStreetView) -> tuple[list[Shot], Counter[str]]:
    rejected: list[Rejected] = []
    shots = provider._list(AREA, EVERY_TIME, rejected.append)
    for item in rejected:
        assert item.name
        json.dumps([item.name, item.reason])
    return shots, Counter(item.reason for item in rejected)


MANY_DIGITS = "an integer of 5000 digits"
TIMES = {
    "panoramax": "datetime",
    "mapillary": "captured_at",
    "google": "date",
    "kartaview": "shotDate",
}
HEADINGS = {
    "panoramax": ("view:azimuth",),
    "mapillary": ("compass_angle", "computed_compass_angle"),
    "google": ("heading",),
    "kartaview": ("heading",),
}


def with_values(record: dict[str, Any], values: dict[str, Any]) -> dict[str, Any]:
    """A record with other values of fields, wherever they stand."""
    holder = record.get("properties", record)
    for name, value in values.items():
        holder[name] = value
    return record


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "value",
    [10**400, MANY_DIGITS, math.nan, "1465800000000 or so", -90_000_000_000_000, "-0882-05-01", []],
)
def test_one_odd_time_costs_one_picture(services, street_world, kind, value):
    with services.SERVERS[kind](street_world) as server:
        marker = 777_000_777
        written = marker if value == MANY_DIGITS else value
        server.odd = {2: lambda record: with_values(record, {TIMES[kind]: written})}
        if value == MANY_DIGITS:  # json.dumps refuses to write it, and services may not
            real = server.answer

            def with_many_digits(asked: Any) -> Any:
                answer = real(asked)
                body = answer.body.replace(str(marker).encode(), b"9" * 5000)
                return services.Answer(answer.status, body, answer.kind)

            server.answer = with_many_digits
        shots, reasons = listed(provider_of(kind, server))
    assert len(shots) == 7
    assert sum(reasons.values()) == 1
    assert "capture" in next(iter(reasons))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("value", [-1, None, "x", math.nan, 10**400])
def test_an_unknown_compass_is_not_a_heading(services, street_world, kind, value):
    with services.SERVERS[kind](street_world) as server:
        server.odd = {2: lambda record: with_values(record, dict.fromkeys(HEADINGS[kind], value))}
        shots, reasons = listed(provider_of(kind, server))
    assert len(shots) == 7
    assert reasons == {"it has no heading": 1}
    assert not any(358 < shot.heading < 360 for shot in shots)


def test_mapillary_falls_back_to_the_compass_that_is_one(services, street_world):
    with services.MapillaryServer(street_world) as server:
        values = {"computed_compass_angle": -1, "compass_angle": 77.0}
        server.odd = {2: lambda record: with_values(record, values)}
        shots, reasons = listed(provider_of("mapillary", server))
    assert not reasons
    assert [shot.heading for shot in shots if shot.source_id == "2"] == [77.0]


@pytest.mark.parametrize("kind", ["panoramax", "mapillary", "kartaview"])
def test_a_drive_that_always_heads_0_has_no_heading(services, street_world, kind):
    with services.SERVERS[kind](street_world) as server:
        nothing = dict.fromkeys(HEADINGS[kind], 0)
        server.odd = {n: lambda record: with_values(record, dict(nothing)) for n in range(8)}
        shots, reasons = listed(provider_of(kind, server))
        assert shots == []
        assert reasons == {NO_COMPASS: 8}
        # One picture that heads north is one that heads north.
        server.odd = {6: server.odd[6]}
        shots, reasons = listed(provider_of(kind, server))
        assert sum(shot.heading == 0 for shot in shots) == 1
        assert not reasons


def test_a_drive_to_the_north_among_others_keeps_its_heading(services):
    world = services.made_up_world(1600)
    with services.PanoramaxServer(world) as server:
        rejected: list[Rejected] = []
        plan = HarvestPlan(bounds=AREA, places=1, seed=0, image_size=(48, 96))
        provider = PanoramaxStreetView(plan, client(server.url))
        area = (2.29, 48.84, 2.42, 48.93)
        assert len(provider._list(area, EVERY_TIME, rejected.append)) == 1600
        # The same headings on streets that go east are not headings.
        east = [
            services.moved(
                p, p.number, lat=48.85 + (p.lon - 2.3) / 2, lon=2.3 + (p.lat - 48.85) * 2
            )
            if p.told_heading == 0
            else p
            for p in world.pictures
        ]
        server.world = services.World(east)
        found = provider._list(area, EVERY_TIME, rejected.append)
    lost = sum(p.told_heading == 0 for p in world.pictures)
    assert lost > 100
    assert len(found) == 1600 - lost
    assert Counter(r.reason for r in rejected) == {NO_COMPASS: lost}


@pytest.mark.parametrize("kind", KINDS)
def test_a_position_of_0_0_is_counted(services, street_world, kind):
    point = {"type": "Point", "coordinates": [0.0, 0.0]}

    def nowhere(record: dict[str, Any]) -> dict[str, Any]:
        for name in ("geometry", "computed_geometry"):
            if name in record:
                record[name] = point
        return with_values(record, {"lat": 0.0, "lng": 0.0})

    with services.SERVERS[kind](street_world) as server:
        server.odd = {2: nowhere}
        shots, reasons = listed(provider_of(kind, server))
    assert len(shots) == 7
    assert reasons == {"its position is 0, 0, which no receiver measured": 1}


def test_a_computed_position_of_0_0_leaves_the_measured_one(services, street_world):
    point = {"type": "Point", "coordinates": [0.0, 0.0]}
    with services.MapillaryServer(street_world) as server:
        server.odd = {2: lambda record: {**record, "computed_geometry": point}}
        shots, reasons = listed(provider_of("mapillary", server))
    assert len(shots) == 8
    assert not reasons


@pytest.mark.parametrize("kind", ["panoramax", "mapillary"])
def test_a_position_far_from_where_it_was_asked_for_is_counted(services, street_world, kind):
    point = {"type": "Point", "coordinates": [2.3, 48.8]}
    with services.SERVERS[kind](street_world) as server:
        server.odd = {2: lambda record: {**record, "geometry": point, "computed_geometry": point}}
        shots, reasons = listed(provider_of(kind, server))
    assert len(shots) == 7
    assert reasons == {FAR_AWAY: 1}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("record", [None, [], "x", 7, {}, {"id": "x"}, [[]]])
def test_what_is_not_a_record_at_all_is_counted(services, street_world, kind, record):
    if kind == "google" and not isinstance(record, dict):
        pytest.skip("its records come one by one, and an odd one is a picture that is gone")
    with services.SERVERS[kind](street_world) as server:
        server.odd = {2: lambda _: record}
        shots, reasons = listed(provider_of(kind, server))
    assert len(shots) == 7
    assert sum(reasons.values()) == 1


def test_months_and_moments_at_the_edge_of_time(services, street_world):
    for value in ("0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"):
        with services.PanoramaxServer(street_world) as server:
            server.odd = {2: lambda record, t=value: with_values(record, {"datetime": t})}
            shots, reasons = listed(provider_of("panoramax", server))
        assert len(shots) == 7
        assert sum(reasons.values()) == 1
    assert datetime(2100, 1, 1, tzinfo=UTC) == EVERY_TIME[1]
