"""What is KartaView's own: texts for numbers, pages, refusals in good answers, unknown lenses."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from adapters.street_view.base import Rejected, StreetViewError
from adapters.street_view.kartaview import KartaViewStreetView
from adapters.street_view.records import UnusableError
from adapters.street_view.service import EVERY_TIME, HarvestPlan
from adapters.street_view.web.addresses import Addresses
from adapters.street_view.web.budget import Budget, Ledger
from adapters.street_view.web.client import Manners, WebClient
from adapters.street_view.web.errors import AccessRefused, GivenUpError, ServiceError

AREA = (139.69, 35.65, 139.71, 35.67)
TOWN = (2.29, 48.84, 2.42, 48.93)


def provider(url: str = "https://api.example", **options: Any) -> KartaViewStreetView:
    plan = HarvestPlan(bounds=AREA, places=10, seed=3, image_size=(48, 96), tile_metres=5000.0)
    manners = Manners(per_second=1e6, first_wait=0.0)
    client = WebClient("KartaView", Addresses(url), Ledger("it", Budget()), manners)
    return KartaViewStreetView(plan, client, **options)


MADE = {
    "id": "1234567890", "lat": "52.37", "lng": "4.9", "shotDate": "2023-01-01 00:00:00.000",
    "dateAdded": "2023-01-02 10:11:12", "heading": "74.00", "fieldOfView": "0",
    "projection": "PLANE", "sequenceId": "3879193", "sequenceIndex": "2982", "width": "3840",
    "height": "2160", "fileurlProc": "https://example.com/proc/image1.jpg",
}  # fmt: skip
"""The fields of the stored sample."""


def check(record: dict[str, Any]) -> None:
    with pytest.raises(UnusableError, match="field of view is not reported"):
        provider()._read(record)
    shot = provider(assumed_fov=60.0)._read(record)
    assert (shot.lat, shot.lon, shot.heading, shot.fov) == (52.37, 4.9, 74.0, 60.0)
    assert shot.captured_at == datetime(2023, 1, 1, tzinfo=UTC)
    assert (shot.height, shot.width) == (2160, 3840)
    assert shot.page_url == "https://kartaview.org/details/3879193/2982/track-info"
    assert (shot.licence, shot.sequence) == ("CC-BY-SA-4.0", "3879193")


def test_a_record_of_texts() -> None:
    check(MADE)


def test_the_stored_sample(shared_data: Path) -> None:
    sample = json.loads((shared_data / "imagery_samples" / "kartaview_photo.json").read_text())
    check(sample["result"]["data"][0])


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (
            {"projection": "SPHERE", "width": "3840", "height": "1920", "fieldOfView": "180"},
            "whole",
        ),
        ({"projection": "SPHERE", "width": "3840", "height": "2160"}, "higher than half"),
        ({"projection": "FISHEYE"}, "its projection is FISHEYE"),
        ({"lat": "0.0", "lng": "0"}, "0, 0"),
        ({"lat": "9" * 400}, "no position"),
        ({"heading": "-1"}, "no heading"),
        ({"heading": ""}, "no heading"),
        ({"shotDate": None}, "no time of capture"),
        ({"shotDate": "0000-00-00 00:00:00"}, "cannot be read"),
        ({"fileurlProc": None}, "no picture"),
        (
            {"sequence": {"cameraParameters": {"hFoV": 40, "vFoV": 65}}},
            "contradict its size",  # told of a telephone on its side, and this picture is upright
        ),
    ],
)
def test_what_is_reported_wrongly_is_rejected(change: dict[str, Any], reason: str) -> None:
    with pytest.raises(UnusableError, match=reason):
        provider(assumed_fov=60.0)._read({**MADE, **change})


def test_the_lens_of_the_drive_is_taken_where_it_is_reported() -> None:
    camera = {"sequence": {"cameraParameters": {"hFoV": "65.0", "vFoV": 39.4, "fLen": 4.1}}}
    assert provider()._read({**MADE, **camera}).fov == 65.0


@pytest.mark.parametrize(
    "change",
    [
        {"shotDate": "2023-01-03 09:00:00.000"},  # a day, by which zones differ
        {"dateAdded": "soon"},
        {"matchLat": "52.3701", "matchLng": "4.9001"},
        {"matchLat": "0", "matchLng": "0"},
        {"matchLat": "", "matchLng": None},
    ],
)
def test_statements_that_say_nothing_else_are_taken(change: dict[str, Any]) -> None:
    assert provider(assumed_fov=60.0)._read({**MADE, **change}).lat == 52.37


UPRIGHT = {"width": "2160", "height": "3840"}


def camera(across: object, upward: object) -> dict[str, Any]:
    return {"sequence": {"cameraParameters": {"hFoV": across, "vFoV": upward, "fLen": 4.1}}}


@pytest.mark.parametrize(
    ("change", "fov"),
    [
        # As Camera2InitManager.getFOV of KartaView's Android client computes it, of a sensor of
        # 6.4 by 4.8 mm behind 4.5 mm: of the sensor, for pictures of 16:9 too.
        (camera(70.82, 56.14), 70.82),
        (camera(70.82, None), 70.82),
        (camera("70.82", "0"), 70.82),
        ({**UPRIGHT, **camera(70.82, 56.14)}, 43.60),
        ({**UPRIGHT, **camera(70.82, None)}, 43.60),
        ({**UPRIGHT, **camera(43.60, 70.82)}, 43.60),  # a camera that tells it as it stands
        ({"fieldOfView": "60"}, 60.0),
        ({"fieldOfView": "71", **camera(70.82, 56.14)}, 70.82),
        ({"fieldOfView": "44", **UPRIGHT, **camera(70.82, 56.14)}, 43.60),
    ],
)
def test_a_field_of_view_is_that_across_the_picture(change: dict[str, Any], fov: float) -> None:
    assert provider(assumed_fov=20.0)._read({**MADE, **change}).fov == pytest.approx(fov, abs=0.01)


def test_an_assumed_field_of_view_is_that_of_the_longer_side() -> None:
    assert provider(assumed_fov=70.82)._read(MADE).fov == 70.82
    upright = provider(assumed_fov=70.82)._read({**MADE, **UPRIGHT})
    assert upright.fov == pytest.approx(43.60, abs=0.01)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"fieldOfView": "60", **UPRIGHT}, "nothing says of which side"),
        ({"fieldOfView": "71", **UPRIGHT, **camera(70.82, 56.14)}, "that of its drive's camera"),
        ({"fieldOfView": "60", **camera(70.82, 56.14)}, "that of its drive's camera differ"),
        ({"fieldOfView": "360"}, "as a photograph and to show half the circle or all"),
        ({"shotDate": "2023-01-04 00:00:00.000"}, "capture lies after that of its upload"),
        ({"matchLat": "52.38", "matchLng": "4.9"}, "its position and that on its street are more"),
        (camera(70.82, 35.0), "contradict its size"),  # no camera is longer than its sensor
        ({**UPRIGHT, **camera(35.0, 70.82)}, "contradict its size"),
    ],
)
def test_statements_that_disagree_are_rejected(change: dict[str, Any], reason: str) -> None:
    with pytest.raises(UnusableError, match=reason):
        provider(assumed_fov=60.0)._read({**MADE, **change})


@pytest.mark.parametrize("more", [None, False, True])
def test_all_pages_are_read_whatever_an_answer_says_of_more(
    services: Any, more: bool | None
) -> None:
    world = services.made_up_world(400)
    with services.KartaViewServer(world) as server:
        server.says_more = more
        rejected: list[Rejected] = []
        found = provider(server.url, page=50)._list(TOWN, EVERY_TIME, rejected.append)
        assert len(found) == 400
        assert not rejected
        assert max(int(a.query["page"]) for a in server.asked) == 9


def test_a_box_with_more_pages_than_are_read_is_divided(services: Any) -> None:
    world = services.made_up_world(800)
    with services.KartaViewServer(world) as server:
        found = provider(server.url, page=50, limit=200)._list(TOWN, EVERY_TIME, lambda _: None)
        assert len(found) == 800
        assert len({a.query["nwLat"] for a in server.asked}) > 2
        # No page is asked for once it is known that the box is divided.
        assert max(int(a.query["page"]) for a in server.asked) == 3


def test_a_box_is_checked_and_times_are_nobodys_business(services: Any, street_world: Any) -> None:
    with services.KartaViewServer(street_world) as server:
        listing = provider(server.url).list_views()
    assert listing.completeness["complete"]
    assert listing.completeness["pictures_in_the_box"] == 8
    assert listing.completeness["times_are_honoured"] is None


def test_a_box_that_takes_the_database_too_long_is_divided(services: Any) -> None:
    world = services.made_up_world(400)
    with services.KartaViewServer(world) as server:
        server.most_in_time = 60
        found = provider(server.url)._list(TOWN, EVERY_TIME, lambda _: None)
        assert len(found) == 400
        server.most_in_time = 0
        with pytest.raises(ServiceError, match="408: Query timeout"):
            provider(server.url)._list(AREA, EVERY_TIME, lambda _: None)


def test_what_its_database_says_of_itself_passes(services: Any, street_world: Any) -> None:
    said = "User 'x' has exceeded the 'max_user_connections' resource (current value: 50)"
    with services.KartaViewServer(street_world) as server:
        body = server.said({}, 690, said).body
        server.faults += [
            services.Fault("2.0/photo", "body", times=4, body=body),
            services.Fault("2.0/photo", "body", body=server.said({}, 503, "Away").body),
        ]
        one = provider(server.url)
        with pytest.raises(GivenUpError, match=r"in 5 attempts \(code 503: Away\)"):
            one._look_up("3")
        server.faults.append(services.Fault("2.0/photo", "body", times=4, body=body))
        assert one._look_up("3").source_id == "3"


def test_a_refusal_in_a_good_answer_is_one(services: Any, street_world: Any) -> None:
    with services.KartaViewServer(street_world) as server:
        server.refuses = True
        with pytest.raises(AccessRefused, match="code 401: You have to be authenticated"):
            provider(server.url).captures()
        server.refuses = False
        with pytest.raises(ServiceError, match="code 616"):
            provider(server.url, page=200).captures()
        with pytest.raises(StreetViewError, match="no picture 4711 any more"):
            provider(server.url)._look_up("4711")
