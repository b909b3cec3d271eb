"""What the services' records become: the stored samples, and everything that can be wrong."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.street_view import google, mapillary
from adapters.street_view.base import Rejected, StreetViewError
from adapters.street_view.boxes import Found, subdivided
from adapters.street_view.google import GoogleStreetView
from adapters.street_view.google_history import dated_panoramas
from adapters.street_view.mapillary import MapillaryStreetView
from adapters.street_view.panoramax import PanoramaxStreetView
from adapters.street_view.records import Shot, UnusableError, field, identifier
from adapters.street_view.service import (
    EVERY_TIME,
    HarvestPlan,
    source_of,
)
from adapters.street_view.web.addresses import Addresses
from adapters.street_view.web.budget import Budget, Ledger
from adapters.street_view.web.client import Manners, WebClient
from adapters.street_view.web.errors import ServiceError
from crosscity.panorama import Equirectangular, Perspective, View, camera_axes

PLAN = HarvestPlan(
    bounds=(139.69, 35.65, 139.71, 35.67), places=10, seed=3, image_size=(48, 96), fov=80.0
)


def client(url: str = "https://api.example", **options: Any) -> WebClient:
    manners = Manners(per_second=1e6, first_wait=0.0)
    return WebClient("It", Addresses(url), Ledger("it", Budget()), manners, **options)


@pytest.fixture
def samples(shared_data: Path) -> Any:
    return lambda name: json.loads((shared_data / "imagery_samples" / name).read_text())


def drawn_world(services: Any, height: int) -> Any:
    """One place that was taken twice, in large pictures that are quickly made."""
    columns = np.linspace(0, 255, 2 * height).astype(np.uint8)
    picture = np.broadcast_to(columns[None, :, None], (height, 2 * height, 3))
    data = services.encoded(np.ascontiguousarray(picture))
    world = services.simulated_world(1, height=height)
    return services.World([services.moved(p, p.number, jpeg=lambda: data) for p in world.pictures])


# Panoramax


def test_the_real_panoramax_item(samples):
    (feature,) = samples("panoramax_item.json")["features"]
    provider = PanoramaxStreetView(PLAN, client(), licences=["proprietary"])
    shot = provider._read(feature)
    assert shot.source_id == "0005086d-65eb-4a90-9764-86b3661aaa77"
    assert (shot.lat, shot.lon) == (48.9810589, 2.1822941)
    assert shot.captured_at == datetime(2022, 5, 3, 13, 28, 56, tzinfo=UTC)
    assert (shot.fov, shot.heading, shot.height, shot.width) == (360.0, 0.0, 2880, 5760)
    assert shot.attribution == "User / geovisio.fr / Panoramax"
    assert dict(shot.addresses)["hd"].endswith("0005086d-65eb-4a90-9764-86b3661aaa77/hd.jpg")
    with pytest.raises(UnusableError, match="its licence is proprietary"):
        PanoramaxStreetView(PLAN, client())._read(feature)


def panoramax_item(place: Any = None, **properties: Any) -> dict[str, Any]:
    """As GeoVisio's dbPictureToStacItem writes it: a bbox of the point, a time of upload."""
    item = {
        "id": "2ad2b303-59f5-4f8b-a7c1-ccfaef465fbe",
        "geometry": {"type": "Point", "coordinates": [2.3425668, 48.8582587]},
        "properties": {
            "datetime": "2024-10-05T14:24:57+00:00",
            "created": "2024-10-05T18:24:28.811997+00:00",
            "view:azimuth": 280,
            "license": "etalab-2.0",
            "pers:interior_orientation": {"field_of_view": 360},
            **properties,
        },
        "assets": {"hd": {"href": "https://example.com/hd.jpg"}},
    }
    return item if place is None else {**item, "bbox": place}


def test_panoramas_of_panoramax_are_level_and_photographs_as_they_were_held():
    tilted = {"pers:pitch": 4.5, "pers:roll": -2.25}
    provider = PanoramaxStreetView(PLAN, client())
    shot = provider._read(panoramax_item(**tilted))
    assert (shot.pitch, shot.roll) == (0.0, 0.0)
    photograph = {"field_of_view": 70, "sensor_array_dimensions": [4000, 3000]}
    shot = provider._read(panoramax_item(**tilted, **{"pers:interior_orientation": photograph}))
    assert (shot.pitch, shot.roll) == (4.5, -2.25)


@pytest.mark.parametrize(
    "item",
    [
        panoramax_item(),
        panoramax_item([2.3425668, 48.8582587, 2.3425668, 48.8582587]),
        panoramax_item([2.3425668, 48.8582587, 35.0, 2.3425668, 48.8582587, 35.0]),
        panoramax_item([2.3, 48.8, 2.4, 48.9]),
        panoramax_item([2.3435, 48.8582587, 2.344, 48.859]),  # seventy metres aside
        panoramax_item([1, 2, 3]),
        panoramax_item("somewhere"),
        panoramax_item([None, 10**400, 3, 4]),
        panoramax_item(created=None),
        panoramax_item(datetime="2024-10-06T14:24:57+00:00"),  # a day after, by another zone
    ],
)
def test_statements_of_an_item_that_agree_or_say_nothing_are_taken(item):
    assert PanoramaxStreetView(PLAN, client())._read(item).lat == 48.8582587


@pytest.mark.parametrize(
    ("item", "said"),
    [
        (panoramax_item([48.8582587, 2.3425668, 48.8582587, 2.3425668]), "position and its bbox"),
        (panoramax_item([2.4, 48.9, 2.5, 49.0]), "its position and its bbox are more than 200"),
        (panoramax_item(datetime="2024-10-07T14:24:57+00:00"), "after that of its upload"),
        (panoramax_item(created="2004-10-07"), "after that of its upload"),
    ],
)
def test_statements_of_an_item_that_disagree_are_rejected(item, said):
    with pytest.raises(UnusableError, match=said):
        PanoramaxStreetView(PLAN, client())._read(item)


def test_a_current_panoramax_item(samples):
    shot = PanoramaxStreetView(PLAN, client())._read(samples("panoramax_item_current.json"))
    assert (shot.heading, shot.licence) == (280.0, "etalab-2.0")
    assert shot.attribution == "someone / Panoramax"
    assert shot.sequence == "9802529e-5ec8-433a-95ac-e9d37bf3be7e"
    assert shot.page_url.startswith("https://api.panoramax.xyz/#focus=pic&pic=2ad2b303")


def test_the_artist_that_the_exif_of_a_panoramax_picture_names_is_credited():
    producers = [
        {"name": "someone", "roles": ["producer"], "id": "84f2c5f4"},
        {"name": "Aïcha K.", "roles": ["producer"]},
    ]
    item = {**panoramax_item(**{"geovisio:producer": "someone"}), "providers": producers}
    shot = PanoramaxStreetView(PLAN, client())._read(item)
    assert shot.attribution == "someone / Aïcha K. / Panoramax"


def test_panoramax_tells_other_times_where_it_links_them(services, street_world):
    with services.PanoramaxServer(street_world) as server:
        provider = PanoramaxStreetView(PLAN, client(server.url))
        first = provider.captures()[0]
        joined = [c.source_id for c in provider.other_times(first)]
        server.related = True
        asked = len(server.asked)
        linked = [c.source_id for c in provider.other_times(first)]
        assert linked == joined
        assert len(linked) == 1
        assert linked[0] != first.source_id
        assert not any("bbox" in a.query for a in server.asked[asked:])


def test_the_asset_is_taken_whose_size_suits(services):
    world = drawn_world(services, 1280)
    # For 80 degrees, 256 columns are as fine as 958 of a panorama, 700 as 2621; the sizes have
    # 2048 and 2560, and a fifth may lack. The thumb, which is a crop of the middle, is never taken.
    with services.PanoramaxServer(world) as server:
        for columns, size in ((48, "sd"), (256, "sd"), (700, "hd"), (3000, "hd")):
            plan = HarvestPlan(
                bounds=PLAN.bounds, places=1, seed=0, image_size=(columns // 2, columns), fov=80.0,
                tile_metres=5000.0,
            )  # fmt: skip
            provider = PanoramaxStreetView(plan, client(server.url))
            provider.fetch(provider.captures()[0])
            assert server.paths("/api/pictures")[-1].endswith(f"/{size}.jpg")


def test_areas_are_divided_until_answers_are_whole(services):
    world = services.made_up_world(4000)
    with services.PanoramaxServer(world) as server:
        provider = PanoramaxStreetView(PLAN, client(server.url), limit=150)
        rejected: list[Rejected] = []
        found = provider._list((2.29, 48.84, 2.42, 48.93), EVERY_TIME, rejected.append)
        assert len(found) == 4000
        assert len({shot.source_id for shot in found}) == 4000
        assert rejected == []
        assert max(int(a.query["limit"]) for a in server.asked) == 150


# Mapillary


def test_the_mapillary_sample(samples):
    (record,) = samples("mapillary_images_bbox.json")["data"]
    shot = mapillary._read(record)
    assert shot.captured_at == datetime(2016, 6, 13, 6, 40, tzinfo=UTC)
    assert (shot.lat, shot.lon) == (35.65931, 139.70047)  # computed, not as told
    assert (shot.heading, shot.fov) == (123.4, 360.0)
    assert shot.attribution == "mapper_a / Mapillary"
    assert dict(shot.addresses) == {
        "thumb_2048_url": "https://scontent.example/signed-expiring.jpg"
    }


@given(st.floats(0, 359), st.floats(-60, 60), st.floats(-80, 80))
@settings(max_examples=60, deadline=None)
def test_a_rotation_gives_the_tilt_that_it_was_made_from(heading, pitch, roll):
    import cv2

    right, up, forward = camera_axes(heading, pitch, roll)
    vector = cv2.Rodrigues(np.stack([right, -up, forward]))[0].ravel().tolist()
    found = mapillary._tilt({"computed_rotation": vector})
    assert found == pytest.approx((pitch, roll), abs=1e-6)


def test_photographs_need_a_calibrated_camera():
    record = {
        "id": "7", "captured_at": 1465800000000, "is_pano": False, "camera_type": "perspective",
        "camera_parameters": [0.5, 0.0, 0.0], "geometry": {"coordinates": [1.0, 2.0]},
        "compass_angle": 12.0, "width": 4000, "height": 3000,
    }  # fmt: skip
    shot = mapillary._read(record)
    assert shot.fov == pytest.approx(90.0)  # half a width over half a width
    assert (shot.heading, shot.attribution) == (12.0, "Mapillary")
    bent = mapillary._read({**record, "camera_parameters": [0.5, -0.1, 0.01]})
    edge = math.tan(math.radians(bent.fov / 2))
    assert edge * (1 - 0.1 * edge**2 + 0.01 * edge**4) == pytest.approx(1.0, rel=1e-6)
    portrait = mapillary._read({**record, "width": 3000, "height": 4000})
    assert portrait.fov == pytest.approx(2 * math.degrees(math.atan(0.75)))
    for change in ({"camera_type": "fisheye"}, {"camera_parameters": None}, {"width": None}):
        with pytest.raises(UnusableError, match="is not calibrated"):
            mapillary._read({**record, **change})


def test_mapillary_boxes_stay_below_the_limit(services):
    world = services.made_up_world(400)
    with services.MapillaryServer(world) as server:
        provider = MapillaryStreetView(
            PLAN, client(server.url, secret=mapillary.secret(server.token)), limit=100
        )
        found = provider._list((2.0, 48.6, 2.6, 49.1), EVERY_TIME, lambda _: None)
        assert len(found) == 400
        for asked in server.asked:
            west, south, east, north = map(float, asked.query["bbox"].split(","))
            assert (east - west) * (north - south) < 0.01


def test_mapillary_addresses_that_expired_are_asked_for_again(services, street_world):
    with services.MapillaryServer(street_world) as server:
        provider = MapillaryStreetView(
            PLAN, client(server.url, secret=mapillary.secret(server.token))
        )
        capture = provider.captures()[0]
        wanted = provider.fetch(capture)
        provider._cache = type(provider._cache)()
        server.faults.append(services.Fault("/m1/", status=403))
        assert provider.fetch(capture) == wanted


# Google


def test_the_google_sample(samples):
    provider = GoogleStreetView(PLAN, client(), agreement="A-1")
    shot = provider._read(samples("google_maptiles_metadata.json"))
    assert shot.captured_at == datetime(2023, 1, 1, tzinfo=UTC)
    assert shot.precision == "month"
    assert (shot.heading, shot.roll) == pytest.approx((94.35, 1.72))
    assert shot.pitch == pytest.approx(-1.61)
    assert shot.attribution == "© 2023 Google"
    assert "A-1" in shot.licence


def test_the_undocumented_list_of_dates(samples):
    answer = ")]}'\n" + json.dumps(samples("google_streetlevel_find_by_id.json"))
    assert dated_panoramas(answer) == ["5gRo2zq0ReiokwiVOWVTjw"]
    assert dated_panoramas(")]}'\n[[5],[]]") == []
    with pytest.raises(StreetViewError, match="unofficial_history: false"):
        dated_panoramas("<html>")


@pytest.mark.parametrize(
    ("width", "needed", "level"),
    [
        (13312, 4022 * 0.8, (3, 1664, 3328)),
        (16384, 4022 * 0.8, (3, 2048, 4096)),
        (13312, 100, (0, 208, 416)),
        (5376, 1e9, (4, 2688, 5376)),
        (13312, 1e9, (4, 3328, 6656)),  # the finest is more than is decoded at once
    ],
)
def test_google_levels(width, needed, level):
    shot = _shot(width=width, height=width // 2)
    assert google._level(shot, needed) == level


def test_google_takes_only_the_tiles_that_the_view_needs(services):
    world = drawn_world(services, 1024)  # levels of 1, 2 × 1 and 4 × 2 tiles
    plan = HarvestPlan(bounds=PLAN.bounds, places=1, seed=0, image_size=(64, 320), fov=50.0)
    with services.GoogleServer(world) as server:
        provider = GoogleStreetView(
            plan, client(server.url, secret=google.secret(server.key)), agreement="A-1"
        )
        capture = provider.captures()[0]
        provider.fetch(capture, View(capture.heading, 0.0, 50.0, 64, 320))
        tiles = {path.partition("/tiles/")[2] for path in server.paths("/tiles/")}
        assert all(tile.startswith("2/") for tile in tiles)
        assert len(tiles) in (2, 4)


def test_a_session_that_ran_out_is_renewed_once(services, street_world):
    with services.GoogleServer(street_world) as server:
        provider = GoogleStreetView(
            PLAN, client(server.url, secret=google.secret(server.key)), agreement="A-1"
        )
        capture = provider.captures()[0]
        server.session_uses = 1
        assert provider.fetch(capture)
        assert server.sessions == 2


# Whatever a service says


def _shot(**changes: Any) -> Shot:
    values: dict[str, Any] = {
        "source_id": "a", "lat": 1.0, "lon": 2.0, "captured_at": datetime(2020, 1, 1, tzinfo=UTC),
        "precision": "second", "heading": 10.0, "pitch": 1.0, "roll": 2.0, "fov": 360.0,
        "height": 100, "width": 200, "licence": "L", "attribution": "A", "page_url": "https://x",
    }  # fmt: skip
    return Shot(**{**values, **changes})


def test_names_that_are_not_names_are_refused():
    for value in ("", "../../etc/passwd", "a b", "a\n", "ä", "x" * 200, None, True, 1.5, ["a"]):
        with pytest.raises(UnusableError):
            identifier({"id": value}, "id")
    assert identifier({"id": 12}, "id") == "12"
    assert field({"a": [{"b": 1}]}, "a", 0, "b") == 1
    assert field({"a": [{"b": 1}]}, "a", 5, "b") is None


def test_a_spot_with_more_than_one_answer_holds_is_said():
    calls = []

    def full(box: Any, span: Any) -> Found:
        calls.append((box, span))
        return Found([0] * 10)

    with pytest.raises(ServiceError, match="choose another area"):
        list(subdivided(full, (0.0, 0.0, 1e-6, 1e-6), EVERY_TIME, limit=10))
    assert len(calls) < 60


def test_sources_of_whole_cropped_and_flat_pictures():
    assert source_of(_shot(), (100, 200)) == Equirectangular(
        100, 200, heading=10.0, pitch=1.0, roll=2.0
    )
    cut = source_of(_shot(height=80), (40, 100))
    assert (cut.full_height, cut.full_width, cut.top) == (50, 100, 5)
    reported = source_of(_shot(height=60, width=200, hidden=(0, 30)), (30, 100))
    assert (reported.full_height, reported.full_width, reported.left, reported.top) == (
        50,
        100,
        0,
        15,
    )
    flat = source_of(_shot(fov=70.0, k1=0.1), (40, 100))
    assert flat == Perspective(70.0, 10.0, 1.0, 2.0, 0.1, 0.0)
