"""What a record tells of a picture against its pixels: wrong views are rows, never `ok`.

The servers write records and sizes as the services' own code does: GeoVisio's `dbPictureToStacItem`
and `createThumbPicture` (gitlab.com/panoramax/server/api, geovisio/web/items.py and
geovisio/utils/pictures.py; stac-extensions/perspective-imagery, issue 10, of what `visible_area`
means), Mapillary's Image entity (mapillary.com/developer/api-documentation), Google's street view
tiles (developers.google.com/maps/documentation/tile/streetview).
"""

from __future__ import annotations

import io
import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from adapters.images import decode_image
from adapters.street_view import google, mapillary
from adapters.street_view.base import Rejected, StreetViewError
from adapters.street_view.google import GoogleStreetView
from adapters.street_view.kartaview import KartaViewStreetView
from adapters.street_view.mapillary import MapillaryStreetView
from adapters.street_view.panoramax import PanoramaxStreetView
from adapters.street_view.records import UnusableError, check_shape, check_sphere
from adapters.street_view.service import EVERY_TIME, HarvestPlan
from adapters.street_view.web.addresses import Addresses
from adapters.street_view.web.budget import Budget, Ledger
from adapters.street_view.web.client import Manners, WebClient
from crosscity.panorama import Equirectangular, View, render_view

AREA = (139.69, 35.65, 139.71, 35.67)
KINDS = ("panoramax", "mapillary", "google", "kartaview")

NAMES = {"google": "panoId"}
"""The field of a picture's name, where it is not `id`."""


def name_of(kind: str, picture: Any) -> str:
    names = {"panoramax": picture.uuid, "google": picture.google_id}
    return names.get(kind, str(picture.number))


def plan(columns: int = 96) -> HarvestPlan:
    return HarvestPlan(
        bounds=AREA, places=10, seed=3, image_size=(columns // 2, columns), tile_metres=5000.0
    )


def provider_of(kind: str, server: Any, columns: int = 96) -> Any:
    def client(secret: Any = None) -> WebClient:
        manners = Manners(per_second=1e6, first_wait=0.0)
        addresses = Addresses(server.url)
        return WebClient("It", addresses, Ledger("it", Budget()), manners, secret=secret)

    if kind == "panoramax":
        return PanoramaxStreetView(plan(columns), client())
    if kind == "kartaview":
        return KartaViewStreetView(plan(columns), client())
    if kind == "mapillary":
        return MapillaryStreetView(plan(columns), client(mapillary.secret(server.token)))
    return GoogleStreetView(plan(columns), client(google.secret(server.key)), agreement="A")


def pixels(data: bytes) -> np.ndarray:
    return decode_image(data, "it").astype(float)


def likeness(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.corrcoef(a.ravel(), b.ravel())[0, 1])


def truth_of(picture: Any, heading: float, view: View) -> np.ndarray:
    """What a view must show: of the whole sphere, as it was made."""
    sphere = np.asarray(Image.open(io.BytesIO(picture.jpeg())).convert("RGB"))
    source = Equirectangular(*picture.size, heading=heading)
    return render_view(sphere, source, view)[0].astype(float)


@pytest.fixture
def served(services: Any, street_world: Any) -> Any:
    running: list[Any] = []

    def start(kind: str, **changes: Any) -> Any:
        pictures = [services.moved(p, p.number, **changes) for p in street_world.pictures]
        server = services.SERVERS[kind](services.World(pictures))
        server.__enter__()
        running.append(server)
        return server

    yield start
    for server in running:
        server.__exit__()


def shots_of(provider: Any, rejected: list[Rejected]) -> list[Any]:
    return sorted(provider._list(AREA, EVERY_TIME, rejected.append), key=lambda s: s.source_id)


def fetched(provider: Any, shot: Any, view: View) -> bytes:
    provider._cache.note(shot)
    found: bytes = provider.fetch(shot.capture(provider.name, "p"), view)
    return found


@pytest.mark.parametrize("columns", [32, 96, 198])
def test_views_of_every_width_show_what_is_there(served, columns):
    # 198 columns at 90 degrees are where the crop that GeoVisio calls a thumb would suffice.
    server = served("panoramax")
    provider = provider_of("panoramax", server, columns)
    shot = shots_of(provider, [])[0]
    for turn in (0.0, 90.0, 180.0, 270.0):
        view = View(shot.heading + turn, 0.0, 90.0, columns // 2, columns)
        found = pixels(fetched(provider, shot, view))
        truth = truth_of(server.world.by_uuid[shot.source_id], shot.heading, view)
        assert likeness(found, truth) > 0.98
    assert not server.paths("thumb")


@pytest.mark.parametrize(
    "margins",
    [
        (0, 64, 0, 24),  # all around, more missing above than below
        (0, 10, 0, 90),
        (0, 40, 0, 40),
        (96, 40, 32, 20),  # a part of the circle
        (0, 0, 128, 0),
        (200, 30, 20, 0),
    ],
)
@pytest.mark.parametrize("size", ["hd", "sd"])
def test_a_crop_lies_where_its_margins_say(served, margins, size):
    server = served("panoramax", margins=margins)
    provider = provider_of("panoramax", server, 64 if size == "sd" else 200)
    rejected: list[Rejected] = []
    shot = shots_of(provider, rejected)[0]
    assert rejected == []
    left, _, right, _ = margins
    middle = (left + (512 - right)) / 2 / 512 * 360 - 180
    columns = 64 if size == "sd" else 200
    view = View(shot.heading + middle, 0.0, 70.0, columns // 4, columns)
    found = pixels(fetched(provider, shot, view))
    truth = truth_of(server.world.by_uuid[shot.source_id], shot.heading, view)
    assert likeness(found, truth) > 0.97


@pytest.mark.parametrize(("width", "said"), [(1 << 17, "across .* columns"), (1 << 20, "full_")])
def test_a_crop_of_a_sphere_beyond_all_cameras_fails_alone(served, width, said):
    """The sphere is said to have a million columns, or eight; the harvest goes on."""
    provider = provider_of("panoramax", served("panoramax"))
    shot = shots_of(provider, [])[0]
    hidden = ((width - shot.width) // 2, (width // 2 - shot.height) // 2)
    odd = replace(shot, hidden=hidden, sphere=(width // 2, width))
    with pytest.raises(StreetViewError, match=f"cannot be rendered: .*{said}"):
        fetched(provider, odd, View(shot.heading, 0.0, 90.0, 48, 96))


def test_what_a_crop_lacks_is_not_made_up(served):
    server = served("panoramax", margins=(256, 0, 0, 0))  # the left half of the circle
    provider = provider_of("panoramax", server)
    shot = shots_of(provider, [])[0]
    assert fetched(provider, shot, View(shot.heading + 90, 0.0, 80.0, 20, 40))
    with pytest.raises(StreetViewError, match="does not show all of the view"):
        fetched(provider, shot, View(shot.heading - 90, 0.0, 80.0, 20, 40))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("orientation", range(2, 9))
def test_a_panorama_that_its_exif_turns_is_refused(served, services, kind, orientation):
    server = served(kind)
    provider = provider_of(kind, server)
    shot = shots_of(provider, [])[0]
    real = type(server).answer

    def turned(asked: Any) -> Any:
        answer = real(server, asked)
        if answer.kind != "image/jpeg":
            return answer
        image = np.asarray(Image.open(io.BytesIO(answer.body)))
        return services.Answer(200, services.encoded(image, orientation), "image/jpeg")

    server.answer = turned
    with pytest.raises(StreetViewError, match=f"EXIF orientation {orientation}"):
        fetched(provider, shot, View(0.0, 0.0, 80.0, 20, 40))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(512, 256), (256, 384), (256, 500), (300, 500), (100, 512)])
def test_pixels_of_another_shape_than_the_record_are_refused(served, services, kind, shape):
    server = served(kind)
    provider = provider_of(kind, server)
    shot = shots_of(provider, [])[0]
    real = type(server).answer
    drawn = services.encoded(np.zeros((*shape, 3), dtype=np.uint8))

    def another(asked: Any) -> Any:
        answer = real(server, asked)
        if answer.kind != "image/jpeg":
            return answer
        return services.Answer(200, drawn, "image/jpeg")

    server.answer = another
    with pytest.raises(StreetViewError, match=r"implies"):
        fetched(provider, shot, View(0.0, 0.0, 80.0, 20, 40))


@pytest.mark.parametrize("kind", ["panoramax", "mapillary", "kartaview"])
def test_a_part_of_the_circle_that_is_reported_as_a_sphere_is_refused(served, kind):
    server = served(kind, margins=(0, 0, 128, 0))  # 270 degrees

    def as_a_whole(record: dict[str, Any]) -> dict[str, Any]:
        if kind == "panoramax":
            interior = record["properties"]["pers:interior_orientation"]
            del interior["visible_area"]
            interior["sensor_array_dimensions"] = [384, 256]
        return record

    server.odd = {p.number: as_a_whole for p in server.world.pictures}
    rejected: list[Rejected] = []
    assert shots_of(provider_of(kind, server), rejected) == []
    assert {r.reason for r in rejected} == {
        "it is reported as a sphere and is higher than half its width"
    }
    assert len(rejected) == 8


@pytest.mark.parametrize("kind", KINDS)
def test_a_panorama_whose_record_tells_no_size_must_be_twice_as_wide_as_high(served, kind):
    server = served(kind, margins=(0, 0, 128, 0))

    def sizeless(record: dict[str, Any]) -> dict[str, Any]:
        if kind == "panoramax":
            record["properties"]["pers:interior_orientation"] = {"field_of_view": 360}
            del record["properties"]["tiles:tile_matrix_sets"]
        for name in ("width", "height", "imageWidth", "imageHeight"):
            record.pop(name, None)
        return record

    server.odd = {p.number: sizeless for p in server.world.pictures}
    provider = provider_of(kind, server)
    rejected: list[Rejected] = []
    shots = shots_of(provider, rejected)
    if kind == "google":  # tiles cannot be put together without a size
        assert {r.reason for r in rejected} == {"its size is not reported"}
        return
    assert len(shots) == 8
    with pytest.raises(StreetViewError, match=r"implies a ratio of 1:2"):
        fetched(provider, shots[0], View(0.0, 0.0, 80.0, 20, 40))


@pytest.mark.parametrize(
    ("interior", "reason"),
    [
        ({"sensor_array_dimensions": [1024, 512], "visible_area": [0, 500, 0, 500]}, "nothing"),
        ({"sensor_array_dimensions": [1024, 512], "visible_area": [0, -4, 0, 0]}, "be read"),
        ({"sensor_array_dimensions": [1024, 512], "visible_area": [0, 0.5, 0, 0]}, "be read"),
        ({"sensor_array_dimensions": [1024, 512], "visible_area": ["0", 0, 0, 0]}, "be read"),
        ({"sensor_array_dimensions": [1024, 512], "visible_area": [0, 0]}, "be read"),
        # Corners, as another reading of the extension has them, and not margins.
        ({"sensor_array_dimensions": [1024, 512], "visible_area": [0, 50, 1024, 450]}, "nothing"),
        ({"sensor_array_dimensions": [1024, 800], "visible_area": [0, 10, 0, 20]}, "higher than"),
        ({"sensor_array_dimensions": [1024, 300], "visible_area": [0, 10, 0, 20]}, "a strip"),
        ({"sensor_array_dimensions": [1024, 300]}, "a strip"),
        ({"visible_area": [0, 10, 0, 20]}, "size is not reported"),
        ({"sensor_array_dimensions": [2048, 1024], "visible_area": [0, 0, 0, 100]}, "two sizes"),
        ({"field_of_view": 60, "sensor_array_dimensions": [512, 256], "visible_area": [9, 9, 9, 9]},
         "crop of a photograph"),
    ],
)  # fmt: skip
def test_statements_that_contradict_each_other_are_rejected(served, interior, reason):
    server = served("panoramax")

    def change(record: dict[str, Any]) -> dict[str, Any]:
        reported = {"field_of_view": 360, **interior}
        record["properties"]["pers:interior_orientation"] = reported
        return record

    server.odd = {p.number: change for p in server.world.pictures}
    rejected: list[Rejected] = []
    assert shots_of(provider_of("panoramax", server), rejected) == []
    assert all(reason in r.reason for r in rejected)
    assert len(rejected) == 8


def test_a_mapillary_panorama_that_is_reported_to_be_turned_is_rejected(served):
    server = served("mapillary")
    server.odd = {0: lambda record: {**record, "exif_orientation": 6}}
    rejected: list[Rejected] = []
    assert len(shots_of(provider_of("mapillary", server), rejected)) == 7
    (one,) = rejected
    assert "turned" in one.reason


def test_two_percent_are_rounding_and_more_are_not():
    for height, width in ((2688, 5376), (1000, 2030), (1000, 1970)):
        check_sphere(height, width)
    for height, width in ((1000, 2050), (1000, 1950), (1000, 1000), (500, 6000)):
        with pytest.raises(UnusableError):
            check_sphere(height, width)


# Photographs, and what GeoVisio's reader of metadata makes of a picture (geopic_tag_reader 1.9,
# reader.py: `fieldOfView` is 2 atan(sensor width / 2 f), of whatever way the camera was held;
# `cylindrical` panoramas of telephones are not `equirectangular`, so they keep the lens's field).

TELEPHONE: dict[str, Any] = {
    "id": "2ad2b303-59f5-4f8b-a7c1-ccfaef465fbe",
    "geometry": {"type": "Point", "coordinates": [2.3, 48.8]},
    "properties": {
        "datetime": "2024-10-05T14:24:57+00:00",
        "view:azimuth": 280,
        "license": "etalab-2.0",
        "pers:interior_orientation": {
            "field_of_view": 69,
            "focal_length": 4.2,
            "sensor_array_dimensions": [4032, 3024],
        },
    },
    "assets": {"hd": {"href": "https://example.com/hd.jpg"}},
}


def read_of(properties: dict[str, Any], **interior: Any) -> Any:
    record = {**TELEPHONE, "properties": {**TELEPHONE["properties"], **properties}}
    reported = {**TELEPHONE["properties"]["pers:interior_orientation"], **interior}
    record["properties"]["pers:interior_orientation"] = {
        name: value for name, value in reported.items() if value is not None
    }
    client = WebClient("It", Addresses("https://api.example"), Ledger("it", Budget()))
    return PanoramaxStreetView(plan(), client)._read(record)


def test_a_field_of_view_is_that_of_the_longer_side():
    assert read_of({}).fov == 69
    upright = read_of({}, sensor_array_dimensions=[3024, 4032]).fov
    assert np.tan(np.radians(upright / 2)) == pytest.approx(np.tan(np.radians(34.5)) * 0.75)


@pytest.mark.parametrize(
    ("properties", "interior", "said"),
    [
        ({}, {"sensor_array_dimensions": [16000, 3800]}, "longer than any: a stitched picture"),
        ({}, {"sensor_array_dimensions": [1500, 6000]}, "longer than any: a stitched picture"),
        ({"exif": {"Xmp.GPano.ProjectionType": "cylindrical"}}, {}, "EXIF calls it cylindrical"),
        ({"exif": {"Xmp.GPano.ProjectionType": "equirectangular"}}, {}, "calls it equirectangular"),
        (
            {"exif": {"Xmp.GPano.ProjectionType": "cylindrical"}},
            {"field_of_view": 360, "sensor_array_dimensions": [4000, 2000]},
            "reported as a sphere, and its EXIF calls it cylindrical",
        ),
        ({"geovisio:visibility": "owner-only"}, {}, "not shown to everyone"),
        ({"geovisio:visibility": "logged-only"}, {}, "not shown to everyone"),
        ({"geovisio:status": "hidden"}, {}, "not shown to everyone"),
        ({}, {"field_of_view": 0}, "unknown or of a fisheye"),
        ({}, {"field_of_view": "69"}, "unknown or of a fisheye"),
        ({}, {"field_of_view": None}, "unknown or of a fisheye"),
        ({}, {"visible_area": [0, 0, 100, 0]}, "a crop of a photograph"),
    ],
)
def test_statements_of_one_record_that_contradict_each_other(properties, interior, said):
    with pytest.raises(UnusableError, match=said):
        read_of(properties, **interior)


@pytest.mark.parametrize(
    "properties",
    [
        {"exif": {"Xmp.GPano.ProjectionType": "perspective"}},
        {"exif": {}},
        {"exif": None},
        {"geovisio:visibility": "anyone", "geovisio:status": "ready"},
    ],
)
def test_statements_that_agree_are_taken(properties):
    assert read_of(properties).fov == 69


def test_a_photograph_without_a_size_must_not_turn_out_upright():
    shot = read_of({}, sensor_array_dimensions=None)
    check_shape(shot, (3024, 4032))
    with pytest.raises(UnusableError, match="of which side its field of view is"):
        check_shape(shot, (4032, 3024))
    with pytest.raises(UnusableError, match="a stitched picture"):
        check_shape(shot, (1000, 4000))


MAPILLARY: dict[str, Any] = {
    "id": "4",
    "captured_at": 1465800000000,
    "is_pano": True,
    "camera_type": "spherical",
    "geometry": {"type": "Point", "coordinates": [139.7, 35.6]},
    "computed_geometry": {"type": "Point", "coordinates": [139.7001, 35.6]},
    "computed_compass_angle": 1.0,
    "width": 4000,
    "height": 2000,
}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"is_pano": False}, "camera is spherical, and it is reported as no panorama"),
        ({"camera_type": "perspective"}, "its camera is perspective"),
        ({"camera_type": "fisheye", "is_pano": False}, r"its camera \(fisheye\) is not calibrated"),
        ({"height": 1500}, "a strip of a sphere"),
        ({"width": 2000, "height": 4000}, "higher than half its width"),
        ({"exif_orientation": 6}, "as turned"),
        (
            {"computed_geometry": {"type": "Point", "coordinates": [139.71, 35.6]}},
            "measured and its computed position are more than 200 metres apart",
        ),
    ],
)
def test_statements_of_mapillary_that_contradict_each_other(changes, said):
    assert mapillary._read(MAPILLARY).panorama
    with pytest.raises(UnusableError, match=said):
        mapillary._read({**MAPILLARY, **changes})


@pytest.mark.parametrize("kind", KINDS)
def test_another_picture_than_the_named_one_is_refused(services, street_world, kind):
    """As of a server that overlooks a name, or follows it to a newer picture of the place."""
    with services.SERVERS[kind](street_world) as server:
        provider = provider_of(kind, server)
        one, other = provider._list(AREA, EVERY_TIME, lambda _: None)[:2]
        number = next(p.number for p in street_world.pictures if name_of(kind, p) == one.source_id)
        server.odd = {number: lambda record: {**record, NAMES.get(kind, "id"): other.source_id}}
        with pytest.raises(StreetViewError, match=f"picture (than )?{re.escape(one.source_id)}"):
            provider._look_up(one.source_id)
        assert provider._look_up(other.source_id).source_id == other.source_id
