"""Simulated captures: where, when, and that the labels belong to the image."""

from __future__ import annotations

import itertools
from dataclasses import replace
from datetime import timedelta
from typing import Any

import numpy as np
import pytest

from adapters.datasets.simulated import SimulatedDataset
from adapters.images import decode_image
from adapters.street_view.base import StreetViewError, capture_table
from adapters.street_view.simulated import SimulatedStreetView
from crosscity.lights import LIGHTS
from crosscity.pairing import haversine_metres, make_pairs
from crosscity.panorama import View
from simcity import STYLES, capture_pose, in_light

BBOX = (12.45, 41.88, 12.51, 41.93)


def provider(**changes: Any) -> SimulatedStreetView:
    options: dict[str, Any] = {
        "style": "rome",
        "bbox": BBOX,
        "places": 4,
        "seed": 11,
        "image_size": (32, 64),
    }
    return SimulatedStreetView(**(options | changes))


def test_two_times_a_place_in_order() -> None:
    captures = provider().captures()
    assert [c.image_id for c in captures] == [
        f"rome_11_{place:06d}_{time}" for place in range(4) for time in (0, 1)
    ]
    assert [c.place_id for c in captures] == [c.image_id[:-2] for c in captures]
    assert {c.licence for c in captures} == {"CC0-1.0"}
    assert all("rome" in c.attribution for c in captures)


def test_more_places_leave_the_first_ones_as_they_are() -> None:
    few, many = provider(places=2), provider(places=5)
    assert few.captures() == many.captures()[:4]
    assert few.fetch(few.captures()[3]) == many.fetch(many.captures()[3])


def test_places_lie_evenly_inside_the_area() -> None:
    first = provider(places=600).captures()[::2]
    lat, lon = (np.array([getattr(c, name) for c in first]) for name in ("lat", "lon"))
    west, south, east, north = BBOX
    assert (west <= lon).all()
    assert (lon <= east).all()
    assert (south <= lat).all()
    assert (lat <= north).all()
    # The largest gap of the empirical distribution to the uniform one (Kolmogorov-Smirnov); the
    # bound is exceeded once in 10 000 seeds.
    for value, low, high in ((lon, west, east), (lat, south, north)):
        ranks = np.sort((value - low) / (high - low))
        assert np.abs(ranks - (np.arange(600) + 0.5) / 600).max() < 2.23 / np.sqrt(600)
    assert abs(np.corrcoef(lat, lon)[0, 1]) < 0.2


def test_wide_areas_are_sampled_by_area_not_by_degrees() -> None:
    lat = [c.lat for c in provider(places=500, bbox=(-180, -90, 180, 90)).captures()[::2]]
    # Half of a sphere lies within 30 degrees of the equator; of the degrees, a third.
    assert abs(np.mean(np.abs(np.array(lat)) < 30) - 0.5) < 0.09


def test_second_capture_is_displaced_as_its_pose_says() -> None:
    street_view = provider(places=20)
    captures = street_view.captures()
    for place in range(20):
        first, second = captures[2 * place : 2 * place + 2]
        poses = [capture_pose(STYLES["rome"], seed=11, place=place, time=t) for t in (0, 1)]
        across, along = poses[1].across - poses[0].across, poses[1].along - poses[0].along
        metres = float(haversine_metres(first.lat, first.lon, second.lat, second.lon))
        assert metres == pytest.approx(np.hypot(across, along), rel=1e-3, abs=1e-6)
        # The direction, in a flat frame: to the right of the street's bearing and along it.
        east = np.radians(second.lon - first.lon) * np.cos(np.radians(first.lat)) * 6_371_008.8
        north = np.radians(second.lat - first.lat) * 6_371_008.8
        street = np.radians(first.heading - poses[0].heading_degrees)
        assert east * np.sin(street) + north * np.cos(street) == pytest.approx(along, abs=1e-3)
        assert east * np.cos(street) - north * np.sin(street) == pytest.approx(across, abs=1e-3)
        turn = (second.heading - first.heading + 180) % 360 - 180
        assert turn == pytest.approx(poses[1].heading_degrees - poses[0].heading_degrees)


@pytest.mark.parametrize("days", [0.0, 30.0, 365.5])
def test_times_are_far_enough_apart(days: float) -> None:
    captures = provider(places=50, min_days_apart=days).captures()
    gaps = [b.captured_at - a.captured_at for a, b in zip(captures[::2], captures[1::2])]  # noqa: B905
    assert min(gaps) >= timedelta(days=days)
    assert len(set(gaps)) == 50


def test_seed_and_style_change_everything() -> None:
    base, seeded, styled = provider(), provider(seed=12), provider(style="rio")
    ids = [{c.image_id for c in p.captures()} for p in (base, seeded, styled)]
    assert not ids[0] & ids[1]
    assert not ids[0] & ids[2]
    images = {p.fetch(p.captures()[0]) for p in (base, seeded, styled)}
    assert len(images) == 3
    assert len({p.revision() for p in (base, seeded, styled, provider(image_size=(32, 65)))}) == 4


def test_revision_follows_the_style_record() -> None:
    style = STYLES["rome"]
    assert provider(style=style).revision() == provider().revision()
    worse = replace(style, jpeg_quality=style.jpeg_quality - 10)
    assert provider(style=worse).revision() != provider().revision()


def test_lights_are_drawn_and_taken_at_their_hours() -> None:
    lit = provider(lights=("night", "day"), times=3, min_days_apart=30)
    plain = provider(times=3, min_days_apart=30)
    table = capture_table(lit.captures(), with_light=True)
    assert table.light is not None
    assert [LIGHTS[code] for code in table.light] == 4 * ["night", "day", "night"]
    pairs = make_pairs(
        table,
        max_metres_apart=100,
        min_days_apart=30,
        test_places=0,
        seed=0,
        lights=("day", "night"),
    )
    assert len(pairs) == 4
    for a, b in zip(lit.captures(), plain.captures(), strict=True):
        assert replace(a, captured_at=None) == replace(b, captured_at=None)
    for place in _by_place(lit):
        assert all(
            later.captured_at - earlier.captured_at >= timedelta(days=30)  # type: ignore[operator]
            for earlier, later in itertools.pairwise(place)
        )
        shown = [decode_image(lit.fetch(c), "it") for c in place]
        by_night, by_day = shown[0][16:].mean(), shown[1][16:].mean()  # of the street
        assert by_night < 0.6 * by_day
        scene, same = (it.ground_truth(place[0]) for it in (lit, plain))
        # Houses and traffic stay; leaves are those of the season, which is drawn after the weather.
        assert (scene.train_ids == same.train_ids).mean() > 0.9
        view = View(place[0].heading, place[0].pitch, place[0].fov, 32, 64)
        assert decode_image(lit.fetch(place[0], view), "it").mean() < shown[1].mean()


def _by_place(city: SimulatedStreetView) -> list[list[Any]]:
    return [list(group) for _, group in itertools.groupby(city.captures(), lambda c: c.place_id)]


def test_labels_of_a_city_by_night_are_of_its_first_look() -> None:
    lit = provider(lights=("night", "day"))
    first = lit.captures()[0]
    labelled = SimulatedDataset(
        "rome",
        seed=11,
        image_size=(32, 64),
        splits={"test": [first.place_id]},
        lights=("night", "day"),
    )
    sample = labelled.read(first.image_id)
    assert (sample.image == decode_image(lit.fetch(first), "it")).all()
    assert labelled.revision() == lit.revision()


def test_lights_change_the_revision_and_their_absence_does_not() -> None:
    revisions = {
        provider(**changes).revision()
        for changes in ({}, {"lights": ("day", "night")}, {"lights": ("night", "day")})
    }
    assert len(revisions) == 3
    assert provider(lights=None).revision() == provider().revision()


def test_beyond_a_polar_circle_the_other_half_of_the_year_is_waited_for() -> None:
    pole = (10.0, 89.0, 11.0, 89.5)
    lit = provider(bbox=pole, lights=("day", "night"), places=2)
    assert len(lit.captures()) == 4
    with pytest.raises(KeyError):
        in_light(STYLES["rome"], "dawn")


def test_image_has_the_size_and_the_labels_belong_to_it() -> None:
    street_view = provider()
    capture = street_view.captures()[1]
    image = decode_image(street_view.fetch(capture), capture.image_id)
    truth = street_view.ground_truth(capture)
    assert image.shape == (32, 64, 3)
    assert truth.train_ids.shape == truth.static.shape == (32, 64)
    assert set(np.unique(truth.train_ids)) <= {*range(19), 255}
    difference = np.abs(image.astype(int) - truth.image).mean()
    other = street_view.ground_truth(street_view.captures()[3])
    assert difference < np.abs(image.astype(int) - other.image).mean()


@pytest.mark.parametrize(
    "image_id",
    [
        "rome_12_000000_0",
        "rio_11_000000_0",
        "rome_11_000004_0",
        "rome_11_000000_2",
        "rome_11_000000",
        "rome_11_0_0",
        "rome_11_000000_00",
        "rome_11_-00001_0",
    ],
)
def test_images_of_elsewhere(image_id: str) -> None:
    foreign = replace(provider().captures()[0], image_id=image_id)
    for ask in (provider().ground_truth, provider().fetch):
        with pytest.raises(StreetViewError, match=image_id):
            ask(foreign)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"style": "atlantis"}, "'atlantis'; styles: .*rome"),
        ({"style": replace(STYLES["rome"], name="../rome")}, "file names"),
        ({"style": replace(STYLES["rome"], name="new rome")}, "file names"),
        ({"bbox": (12.51, 41.88, 12.45, 41.93)}, "swap its corners"),
        ({"bbox": (12.45, 41.93, 12.51, 41.88)}, "swap its corners"),
        ({"bbox": (41.88, 12.45, 41.93, 1000.0)}, "bbox"),
        ({"bbox": (float("nan"), 0, 1, 1)}, "bbox"),
        ({"places": 0}, "places"),
        ({"places": 1_000_001}, "places"),
        ({"seed": -1}, "seed"),
        ({"image_size": (0, 64)}, "0×64"),
        ({"min_days_apart": -1.0}, "min_days_apart"),
        ({"min_days_apart": float("nan")}, "min_days_apart"),
    ],
)
def test_bad_settings_are_one_clear_sentence(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(StreetViewError, match=message) as caught:
        provider(**changes)
    assert "\n" not in str(caught.value)


def test_more_times_leave_the_first_ones_as_they_are() -> None:
    two, five = provider(), provider(times=5)
    captures = five.captures()
    assert len(captures) == 20
    assert [c for c in captures if c.image_id[-1] in "01"] == list(two.captures())
    for place in range(4):
        moments = [c.captured_at for c in captures[5 * place : 5 * place + 5]]
        apart = [b - a for a, b in itertools.pairwise(moments)]  # type: ignore[operator]
        assert min(apart) >= timedelta(days=30)
    pictures = {five.fetch(c) for c in captures[:5]}
    assert len(pictures) == 5
    with pytest.raises(StreetViewError, match="no image"):
        two.fetch(captures[4])


@pytest.mark.parametrize("times", [1, 11])
def test_times_have_limits(times: int) -> None:
    with pytest.raises(StreetViewError, match="change times"):
        provider(times=times)
