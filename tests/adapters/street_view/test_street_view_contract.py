"""What every provider of street imagery must do; each one passes the same suite."""

from __future__ import annotations

import pickle
import re
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import groupby
from pathlib import Path

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
)
from adapters.street_view.folder import FolderStreetView
from adapters.street_view.simulated import SimulatedStreetView
from crosscity.pairing import make_pairs


@dataclass
class Subject:
    """A provider under test: how to make it, and what it must then offer at least."""

    make: Callable[[], StreetView]
    pairs: int


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
    )


def real_folder(_tmp_path: Path, request: pytest.FixtureRequest) -> Subject:
    root = request.getfixturevalue("shared_data") / "time_pairs"
    return Subject(
        lambda: FolderStreetView(root, "rio", licence="research only", attribution="© Google"),
        pairs=1,
    )


@pytest.fixture(params=[simulated, folder, real_folder], ids=lambda make: make.__name__)
def subject(request: pytest.FixtureRequest, tmp_path: Path) -> Subject:
    made: Subject = request.param(tmp_path, request)
    return made


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


def test_terms_and_origin_are_told(provider: StreetView, captures: list[Capture]) -> None:
    assert re.fullmatch(r"[a-z_]+", provider.name)
    for capture in captures:
        assert capture.provider == provider.name
        assert capture.licence.strip()
        assert capture.attribution.strip()
        assert capture.page_url is None or capture.page_url.startswith("https://")


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
