"""The public layout on disk: names, cities, splits, and what goes wrong there."""

from __future__ import annotations

import errno
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from adapters.images import decode_image
from adapters.street_view.base import StreetViewError, capture_table
from adapters.street_view.cross_city_layout import find_city, parse_image_name
from adapters.street_view.folder import FolderStreetView
from crosscity.pairing import make_pairs


def place_images(root: Path, *names: str, city: str = "Rome") -> None:
    """Writes tiny images at <city>/Images/<name>."""
    for name in names:
        path = root / city / "Images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            Image.new("RGB", (6, 4), (9, 90, 200)).save(
                file, "PNG" if name.endswith("png") else "JPEG"
            )


def folder(root: Path, city: str = "rome", **options: int) -> FolderStreetView:
    return FolderStreetView(root, city, licence="L", attribution="A", **options)


def test_names_become_captures(tmp_path: Path) -> None:
    place_images(tmp_path, "Train/pano_00081_1_180.jpg", "Test/pano_00002_0_0.png")
    first, second = folder(tmp_path).captures()
    assert (first.image_id, first.place_id) == ("pano_00002_0_0", "00002")
    assert (first.heading, first.split) == (0.0, "test")
    assert (second.image_id, second.place_id) == ("pano_00081_1_180", "00081")
    assert (second.heading, second.split) == (180.0, "train")
    assert (second.lat, second.lon, second.captured_at, second.page_url) == (None,) * 4
    assert (second.licence, second.attribution) == ("L", "A")


def test_unreadable_names_are_reported_and_hidden_files_are_not(tmp_path: Path) -> None:
    place_images(
        tmp_path,
        "Train/pano_00001_0_0.jpg",
        "Train/pano_00001_0_360.jpg",
        "Train/pano_00001_0.jpg",
        "Train/PANO_00001_1_0.jpg",
        "Train/pano_00001_0_0.jpg.bak",
        "Train/pano_٣_0_0.jpg",
        "Train/.DS_Store",
        "Train/Thumbs.db",
    )
    (tmp_path / "Rome/Images/Train/pano_00009_0_0.jpg").mkdir()
    provider = folder(tmp_path)
    assert [c.image_id for c in provider.captures()] == ["pano_00001_0_0"]
    assert {r.name for r in provider.rejected()} == {
        "Train/pano_00001_0_360.jpg",
        "Train/pano_00001_0.jpg",
        "Train/PANO_00001_1_0.jpg",
        "Train/pano_00001_0_0.jpg.bak",
        "Train/pano_٣_0_0.jpg",
        "Train/Thumbs.db",
        "Train/pano_00009_0_0.jpg",
    }


def test_an_image_in_both_splits_stays_out_of_training(tmp_path: Path) -> None:
    place_images(
        tmp_path,
        "Train/pano_00001_0_0.jpg",
        "Train/pano_00001_1_0.jpg",
        "Test/pano_00001_0_0.png",
        "Train/pano_00002_0_0.jpg",
        "Train/pano_00002_1_0.jpg",
    )
    provider = folder(tmp_path)
    captures = provider.captures()
    assert [(c.image_id, c.split) for c in captures if c.place_id == "00001"] == [
        ("pano_00001_0_0", "test"),
        ("pano_00001_1_0", "train"),
    ]
    assert [(r.name, r.reason) for r in provider.rejected()] == [
        ("Train/pano_00001_0_0.jpg", "another copy of Test/pano_00001_0_0.png")
    ]
    pairs = make_pairs(
        capture_table(captures), max_metres_apart=10, min_days_apart=30, test_places=0, seed=0
    )
    assert [captures[a].place_id for a in pairs.a[~pairs.test]] == ["00002"]


def test_one_image_in_two_formats_counts_once(tmp_path: Path) -> None:
    place_images(tmp_path, "Train/pano_00001_0_0.png", "Train/pano_00001_0_0.jpg")
    provider = folder(tmp_path)
    assert len(provider.captures()) == 1
    assert [r.name for r in provider.rejected()] == ["Train/pano_00001_0_0.png"]


@pytest.mark.parametrize(
    ("on_disk", "asked"),
    [
        ("Rome", "rome"),
        ("Roma", "rome"),
        ("Roma", "Rome"),
        ("Rome", "ROMA"),
        ("Rio", "rio"),
        ("Rio de Janeiro", "rio"),
        ("rio_de_janeiro", "Rio"),
        ("São Paulo", "sao-paulo"),
    ],
)
def test_cities_are_found_under_their_spellings(tmp_path: Path, on_disk: str, asked: str) -> None:
    place_images(tmp_path, "Train/pano_00001_0_0.jpg", city=on_disk)
    assert len(folder(tmp_path, asked).captures()) == 1


def test_a_folder_that_does_not_admit_this_user_is_no_city(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the lost+found of a disk that is mounted there."""
    place_images(tmp_path, "Train/pano_00001_0_0.jpg")
    (tmp_path / "lost+found").mkdir()
    is_dir = Path.is_dir

    def forbidden(path: Path) -> bool:
        if path.parent.name == "lost+found":
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return is_dir(path)

    monkeypatch.setattr(Path, "is_dir", forbidden)
    assert len(folder(tmp_path).captures()) == 1
    with pytest.raises(StreetViewError, match="cities there: Rome "):
        folder(tmp_path, "paris")


def test_the_closest_spelling_is_taken(tmp_path: Path) -> None:
    for number, city in enumerate(["Roma", "Rome", "rome"]):
        place_images(tmp_path, f"Train/pano_{number}_0_0.jpg", city=city)
    if len(list(tmp_path.iterdir())) < 3:
        pytest.skip("this file system does not tell case")
    for asked, expected in [("Rome", "Rome"), ("rome", "rome"), ("Roma", "Roma"), ("ROMA", "Roma")]:
        found = find_city(tmp_path, asked)
        assert found is not None
        assert found.name == expected


@pytest.mark.parametrize("asked", ["..", "../Rome", "/", ".", "", "Rome/Images", "Ro\0me"])
def test_a_city_name_is_not_a_path(tmp_path: Path, asked: str) -> None:
    place_images(tmp_path / "below", "Train/pano_00001_0_0.jpg")
    place_images(tmp_path, "Train/pano_00001_0_0.jpg")
    with pytest.raises(StreetViewError, match="no folder for the city"):
        folder(tmp_path / "below", asked)


def test_missing_things_are_one_clear_sentence(tmp_path: Path) -> None:
    with pytest.raises(StreetViewError, match=r"no folder .*nowhere.*: give"):
        folder(tmp_path / "nowhere")
    with pytest.raises(StreetViewError, match="'rome'; cities there: none"):
        folder(tmp_path)
    place_images(tmp_path, "Train/pano_00001_0_0.jpg", city="Tokyo")
    (tmp_path / "authors_results" / "Rome").mkdir(parents=True)
    with pytest.raises(StreetViewError, match="'rome'; cities there: Tokyo"):
        folder(tmp_path)
    (tmp_path / "Rome" / "Images" / "Train").mkdir(parents=True)
    with pytest.raises(StreetViewError, match="has no image named"):
        folder(tmp_path)
    with pytest.raises(StreetViewError, match="licence"):
        FolderStreetView(tmp_path, "tokyo", licence=" ", attribution="A")


def test_files_over_the_limit_and_files_that_vanish(tmp_path: Path) -> None:
    place_images(tmp_path, "Train/pano_00001_0_0.png", "Train/pano_00001_1_0.png")
    path = tmp_path / "Rome/Images/Train/pano_00001_0_0.png"
    size = path.stat().st_size
    first, second = folder(tmp_path).captures()
    assert folder(tmp_path, max_bytes=size).fetch(first) == path.read_bytes()
    with pytest.raises(StreetViewError, match=rf"pano_00001_0_0\.png has more than the {size - 1}"):
        folder(tmp_path, max_bytes=size - 1).fetch(first)
    provider = folder(tmp_path)
    path.unlink()
    with pytest.raises(StreetViewError, match="cannot be read"):
        provider.fetch(first)
    assert provider.fetch(second)
    assert provider.revision() != ""


def test_fetch_goes_by_the_listing_not_by_the_capture(tmp_path: Path) -> None:
    place_images(tmp_path, "Train/pano_00001_0_0.jpg")
    provider = folder(tmp_path)
    changed = replace(provider.captures()[0], place_id="../../..", provider="x")
    assert decode_image(provider.fetch(changed), "a").shape == (4, 6, 3)


def test_revision_follows_content_not_time(tmp_path: Path) -> None:
    place_images(tmp_path, "Train/pano_00001_0_0.jpg")
    path = tmp_path / "Rome/Images/Train/pano_00001_0_0.jpg"
    before = folder(tmp_path).revision()
    data = path.read_bytes()
    path.write_bytes(data)
    assert folder(tmp_path).revision() == before
    path.write_bytes(data + b"\0")
    assert folder(tmp_path).revision() != before


@given(st.integers(0, 10**9 - 1), st.integers(0, 9999), st.integers(0, 359))
def test_every_name_of_the_layout_is_read(place: int, time: int, heading: int) -> None:
    for ending in ("jpg", "png", "JPG", "jpeg"):
        name = parse_image_name(f"pano_{place:05d}_{time}_{heading}.{ending}")
        assert name is not None
        assert (int(name.place_id), name.time, name.heading) == (place, time, heading)
        assert name.image_id == f"pano_{place:05d}_{time}_{heading}"


@given(st.one_of(st.text(), st.from_regex(r"pano_[0-9./_\\]+\.(jpg|png)\n?", fullmatch=True)))
def test_names_that_are_read_are_safe(text: str) -> None:
    name = parse_image_name(text)
    if name is not None:
        assert not set(name.image_id) & set("./\\\n\0")
        assert text.startswith(name.image_id + ".")


REAL = {
    "rome": [("pano_00375_0_180", "pano_00375_1_180")],
    "rio": [("pano_00002_0_0", "pano_00002_1_0")],
    "tokyo": [("pano_00879_0_180", "pano_00879_1_180")],
    "taipei": [("pano_00081_0_0", "pano_00081_1_0")],
}
OWN = {
    "rome": [("pano_30000_0_180", "pano_30000_1_180")],
    "tokyo": [("pano_30000_0_0", "pano_30000_1_0")],
}


def test_the_pairs_of_every_city(time_pairs: Path, own_data: Path) -> None:
    expected = OWN if time_pairs.is_relative_to(own_data) else REAL
    found = {}
    for city in expected:
        provider = folder(time_pairs, city)
        captures = provider.captures()
        table = capture_table(captures)
        pairs = make_pairs(table, max_metres_apart=10, min_days_apart=30, test_places=100, seed=0)
        found[city] = [
            (captures[a].image_id, captures[b].image_id)
            for a, b in zip(pairs.a, pairs.b, strict=True)
        ]
        assert not pairs.test.any()
        assert provider.rejected() == ()
        shapes = {decode_image(provider.fetch(c), c.image_id).shape for c in captures}
        assert len(shapes) == 1
    assert found == expected
