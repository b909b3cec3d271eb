"""What every provider of street imagery must do; each one passes the same suite."""

from __future__ import annotations

import math
import pickle
import re
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import timedelta
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from adapters.images import decode_image
from adapters.street_view.base import (
    Capture,
    Rejected,
    ReportsRejected,
    StreetView,
    StreetViewError,
    capture_table,
    captures_within,
)
from adapters.street_view.folder import FolderStreetView
from adapters.street_view.google import GoogleStreetView
from adapters.street_view.google import secret as google_secret
from adapters.street_view.google_history import GoogleHistory
from adapters.street_view.kartaview import KartaViewStreetView
from adapters.street_view.mapillary import MapillaryStreetView
from adapters.street_view.mapillary import secret as mapillary_secret
from adapters.street_view.panoramax import PanoramaxStreetView
from adapters.street_view.service import HarvestPlan
from adapters.street_view.simulated import SimulatedStreetView
from adapters.street_view.web.addresses import Addresses
from adapters.street_view.web.budget import Budget, Ledger
from adapters.street_view.web.client import Manners, Secret, WebClient
from crosscity.pairing import haversine_metres, make_pairs
from crosscity.panorama import View


@dataclass
class Subject:
    """A provider under test: how to make it, and what it must then offer at least."""

    make: Callable[[], StreetView]
    pairs: int
    positions: bool = True
    inside: float = 60.0
    """Degrees of a view that every capture shows around its own heading."""
    live: list[Any] = field(default_factory=list)
    """Servers that are running for it."""


def simulated(_tmp_path: Path, _request: pytest.FixtureRequest) -> Subject:
    def make() -> StreetView:
        return SimulatedStreetView(
            "tokyo", bbox=(139.69, 35.65, 139.71, 35.67), places=6, seed=5, image_size=(48, 96)
        )

    return Subject(make, pairs=6)


def folder(tmp_path: Path, _request: pytest.FixtureRequest) -> Subject:
    rng = np.random.default_rng(0)
    for part, place, heading, ending in [
        ("Train", "00003", 0, "jpg"),
        ("Train", "00003", 180, "png"),
        ("Train", "00012", 0, "jpg"),
        ("Test", "00007", 0, "png"),
    ]:
        for time in (0, 1):
            path = tmp_path / "Roma" / "Images" / part / f"pano_{place}_{time}_{heading}.{ending}"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.integers(0, 256, (20, 40, 3), dtype=np.uint8)).save(path)
    return Subject(
        lambda: FolderStreetView(tmp_path, "rome", licence="CC-BY-4.0", attribution="Someone"),
        pairs=4,
        positions=False,
        inside=40.0,
    )


def own_folder(_tmp_path: Path, request: pytest.FixtureRequest) -> Subject:
    root = request.getfixturevalue("own_data") / "time_pairs"
    return Subject(
        lambda: FolderStreetView(root, "rome", licence="Apache-2.0", attribution="CrossCity"),
        pairs=1,
        positions=False,
        inside=40.0,
    )


def real_folder(_tmp_path: Path, request: pytest.FixtureRequest) -> Subject:
    root = request.getfixturevalue("shared_data") / "time_pairs"
    return Subject(
        lambda: FolderStreetView(root, "rio", licence="research only", attribution="© Google"),
        pairs=1,
        positions=False,
        inside=40.0,
    )


def plan() -> HarvestPlan:
    return HarvestPlan(
        bounds=(139.69, 35.65, 139.71, 35.67),
        places=10,
        seed=3,
        image_size=(48, 96),
        fov=80.0,
        tile_metres=2500.0,
    )


def client(url: str, secret: Secret | None = None) -> WebClient:
    manners = Manners(per_second=1e6, first_wait=0.0)
    return WebClient("The service", Addresses(url), Ledger("it", Budget()), manners, secret=secret)


def served(request: pytest.FixtureRequest, kind: str) -> tuple[Subject, str, Any]:
    server = request.getfixturevalue("services").SERVERS[kind](
        request.getfixturevalue("street_world")
    )
    server.__enter__()
    return Subject(lambda: None, pairs=4, live=[server]), server.url, server  # type: ignore[arg-type, return-value]


def panoramax(_tmp_path: Path, request: pytest.FixtureRequest) -> Subject:
    subject, url, _ = served(request, "panoramax")
    subject.make = lambda: PanoramaxStreetView(plan(), client(url))
    return subject


def mapillary(_tmp_path: Path, request: pytest.FixtureRequest) -> Subject:
    subject, url, server = served(request, "mapillary")
    subject.make = lambda: MapillaryStreetView(plan(), client(url, mapillary_secret(server.token)))
    return subject


def google(_tmp_path: Path, request: pytest.FixtureRequest) -> Subject:
    subject, url, server = served(request, "google")
    subject.make = lambda: GoogleStreetView(
        plan(), client(url, google_secret(server.key)), agreement="A-1"
    )
    return subject


def google_history(_tmp_path: Path, request: pytest.FixtureRequest) -> Subject:
    subject, url, server = served(request, "google")
    server.across_drives = False
    subject.make = lambda: GoogleStreetView(
        plan(),
        client(url, google_secret(server.key)),
        agreement="A-1",
        history=GoogleHistory(client(url)),
    )
    return subject


def kartaview(_tmp_path: Path, request: pytest.FixtureRequest) -> Subject:
    subject, url, _ = served(request, "kartaview")
    subject.make = lambda: KartaViewStreetView(plan(), client(url))
    return subject


PROVIDERS = [
    kartaview,
    simulated,
    folder,
    own_folder,
    real_folder,
    panoramax,
    mapillary,
    google,
    google_history,
]


@pytest.fixture(scope="module", params=PROVIDERS, ids=lambda make: make.__name__)
def subject(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Subject]:
    made: Subject = request.param(tmp_path_factory.mktemp("provider"), request)
    yield made
    for server in made.live:
        server.__exit__()


@pytest.fixture
def provider(subject: Subject) -> StreetView:
    return subject.make()


@pytest.fixture
def captures(provider: StreetView) -> list[Capture]:
    return list(provider.captures())


def test_ids_are_unique_and_safe_as_file_names(captures: list[Capture]) -> None:
    assert captures
    # Some file systems ignore case, so ids must differ by more than that.
    assert max(Counter(c.image_id.casefold() for c in captures).values()) == 1
    for text in {c.image_id for c in captures} | {c.place_id for c in captures}:
        assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}", text)


def test_captures_come_grouped_by_place(captures: list[Capture]) -> None:
    runs = [place for place, _ in groupby(captures, key=lambda c: c.place_id)]
    assert len(runs) == len(set(runs))


def test_paired_places_have_two_captures_and_pair(
    subject: Subject, captures: list[Capture]
) -> None:
    pairs = make_pairs(
        capture_table(captures), max_metres_apart=10, min_days_apart=30, test_places=0, seed=0
    )
    assert len(pairs) == subject.pairs
    per_place = Counter(c.place_id for c in captures)
    assert all(per_place[captures[row].place_id] >= 2 for row in pairs.a)


def test_two_instances_agree(subject: Subject, captures: list[Capture]) -> None:
    again = subject.make()
    assert list(again.captures()) == captures
    assert again.revision() == subject.make().revision()
    assert again.fetch(captures[-1]) == subject.make().fetch(captures[-1])


def test_asking_twice_gives_the_same(provider: StreetView, captures: list[Capture]) -> None:
    assert list(provider.captures()) == captures
    assert provider.fetch(captures[0]) == provider.fetch(captures[0])


def test_every_image_can_be_decoded(provider: StreetView, captures: list[Capture]) -> None:
    for capture in captures:
        image = decode_image(provider.fetch(capture), capture.image_id)
        assert min(image.shape[:2]) > 1


def test_threads_fetch_what_one_fetches(provider: StreetView, captures: list[Capture]) -> None:
    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(provider.fetch, captures)) == [provider.fetch(c) for c in captures]


def test_survives_pickling(provider: StreetView, captures: list[Capture]) -> None:
    copy: StreetView = pickle.loads(pickle.dumps(provider))  # noqa: S301 - our own bytes
    assert list(copy.captures()) == captures
    assert copy.fetch(captures[0]) == provider.fetch(captures[0])
    assert copy.revision() == provider.revision()


def test_times_are_utc(captures: list[Capture]) -> None:
    for capture in captures:
        assert capture.captured_at is None or capture.captured_at.utcoffset() == timedelta(0)


def test_positions_and_angles_are_in_range(captures: list[Capture]) -> None:
    for capture in captures:
        assert (capture.lat is None) == (capture.lon is None)
        assert capture.lat is None or -90 <= capture.lat <= 90
        assert capture.lon is None or -180 <= capture.lon <= 180
        assert 0 <= capture.heading < 360
        assert -90 <= capture.pitch <= 90
        assert 0 < capture.fov <= 360


def test_terms_and_origin_are_reported(provider: StreetView, captures: list[Capture]) -> None:
    assert re.fullmatch(r"[a-z_]+", provider.name)
    for capture in captures:
        assert capture.provider == provider.name
        assert capture.licence.strip()
        assert capture.attribution.strip()
        assert capture.page_url is None or capture.page_url.startswith("https://")


def test_the_precision_of_every_time_is_reported(captures: list[Capture]) -> None:
    for capture in captures:
        assert (capture.captured_at is None) == (capture.time_precision is None)
        if capture.time_precision == "month":
            assert capture.captured_at is not None
            assert (capture.captured_at.day, capture.captured_at.hour) == (1, 0)


def test_captures_are_found_by_area(
    subject: Subject, provider: StreetView, captures: list[Capture]
) -> None:
    everywhere = provider.within((139.69, 35.65, 139.71, 35.67))
    if not subject.positions:
        assert list(everywhere) == []
        return
    assert {c.source_id or c.image_id for c in captures} <= {
        c.source_id or c.image_id for c in everywhere
    }
    ids = [c.image_id for c in everywhere]
    assert ids == sorted(set(ids))
    one = everywhere[0]
    assert one.lat is not None
    assert one.lon is not None
    box = (one.lon - 1e-4, one.lat - 1e-4, one.lon + 1e-4, one.lat + 1e-4)
    assert list(provider.within(box)) == captures_within(everywhere, box)
    assert one in provider.within(box)
    assert provider.within((0.0, 0.0, 0.01, 0.01)) in ([], ())


def test_captures_are_found_around_a_point(
    subject: Subject, provider: StreetView, captures: list[Capture]
) -> None:
    first = captures[0]
    if not subject.positions:
        assert list(provider.near(35.66, 139.70, 1000.0)) == []
        return
    assert first.lat is not None
    assert first.lon is not None
    found = provider.near(first.lat, first.lon, 10.0)
    metres = [float(haversine_metres(c.lat, c.lon, first.lat, first.lon)) for c in found]
    assert metres == sorted(metres)
    assert metres[-1] <= 10.0
    assert len({c.captured_at for c in found}) >= 2  # the same place at several times
    assert provider.near(first.lat, first.lon, 1e-3)[0].source_id == first.source_id


def test_a_view_has_the_heading_field_and_size_that_are_asked_for(
    subject: Subject, provider: StreetView, captures: list[Capture]
) -> None:
    capture = captures[0]
    wide = View(capture.heading, capture.pitch, subject.inside, 40, 120)
    image = decode_image(provider.fetch(capture, wide), "a view")
    assert image.shape == (40, 120, 3)
    # The middle third of the wide view is a narrow view of the same.
    narrow = View(capture.heading, capture.pitch, narrow_fov(subject.inside), 40, 40)
    part = decode_image(provider.fetch(capture, narrow), "a view").astype(float)
    assert np.corrcoef(image[:, 40:80].ravel(), part.ravel())[0, 1] > 0.9
    turned = View(capture.heading + subject.inside / 3, 0.0, narrow_fov(subject.inside), 40, 40)
    other = decode_image(provider.fetch(capture, turned), "a view").astype(float)
    assert np.corrcoef(part.ravel(), other.ravel())[0, 1] < 0.9


def narrow_fov(wide: float) -> float:
    return 2 * math.degrees(math.atan(math.tan(math.radians(wide / 2)) / 3))


def test_a_view_that_is_not_in_the_picture_is_one_clear_sentence(
    provider: StreetView, captures: list[Capture]
) -> None:
    if provider.name != "folder":
        pytest.skip("its pictures show everything")
    capture = captures[0]
    with pytest.raises(StreetViewError, match="ask for one inside its own"):
        provider.fetch(capture, View(capture.heading + 90, 0.0, 60.0, 20, 40))


def test_stored_views_hold_no_metadata(subject: Subject, provider: StreetView) -> None:
    if subject.live:
        data = provider.fetch(provider.captures()[0])
        assert b"Exif" not in data
        assert b"nobody" not in data


def test_splits_are_by_place_or_left_open(captures: list[Capture]) -> None:
    assert {c.split for c in captures} <= {None, "train", "test"}


@pytest.mark.parametrize("image_id", ["nowhere", "", "../../etc/passwd", "/etc/passwd", "a\0b"])
def test_a_foreign_capture_is_one_clear_sentence(
    provider: StreetView, captures: list[Capture], image_id: str
) -> None:
    with pytest.raises(StreetViewError) as caught:
        provider.fetch(replace(captures[0], image_id=image_id))
    assert "\n" not in str(caught.value)
    assert str(caught.value).endswith(".")


def test_rejections_say_what_and_why(provider: StreetView) -> None:
    if isinstance(provider, ReportsRejected):
        for rejected in provider.rejected():
            assert isinstance(rejected, Rejected)
            assert rejected.name
            assert rejected.reason


def test_the_capture_table_keeps_rows_and_marks_the_unknown(captures: list[Capture]) -> None:
    table = capture_table(captures)
    assert len(table) == len(captures)
    for row, capture in enumerate(captures):
        assert table.image_id[row] == capture.image_id
        assert table.split[row] == capture.split
        assert bool(np.isnan(table.lat[row])) == (capture.lat is None)
        if capture.captured_at is None:
            assert np.isnan(table.days[row])
        else:
            assert table.days[row] * 86_400 == pytest.approx(capture.captured_at.timestamp())
