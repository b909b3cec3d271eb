"""Measures of pictures that are unfit, against what they are defined as and on made faults."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from adapters.images import decode_image
from crosscity.image_quality import QualityLimits, image_quality, quality_fault
from simcity import STYLES, render

LIMITS = {"night": 44.0, "blur": 0.32, "overexposed": 0.16, "obstructed": 0.18, "turned": 4.5}
"""Those that docs/imagery.md recommends."""


@pytest.fixture(scope="module")
def benchmark(load_module) -> Any:
    return load_module("benchmarks/image_quality.py")


@pytest.fixture(scope="module")
def views() -> list[np.ndarray]:
    return [
        render(STYLES[name], seed=21, place=place, time=place % 2, height=162, width=320).image
        for name in sorted(STYLES)[:4]
        for place in range(4)
    ]


def test_the_measures_are_what_they_say() -> None:
    plain = np.full((90, 120, 3), 120, dtype=np.uint8)
    measured = image_quality(plain)
    assert measured.night == pytest.approx(120)
    assert measured.blur == 1.0  # no step is left to lose
    assert (measured.overexposed, measured.obstructed, measured.turned) == (0.0, 0.0, 0.0)
    sky = plain.copy()
    sky[:30] = 255  # the sky may be white, and is bright at dusk
    assert image_quality(sky).overexposed == 0.0
    assert image_quality(sky).night == pytest.approx(120)
    assert image_quality(sky).turned == -135.0
    assert image_quality(np.ascontiguousarray(sky[::-1])).turned == 135.0
    assert image_quality(np.ascontiguousarray(sky[::-1])).overexposed == pytest.approx(0.5)
    rng = np.random.default_rng(0)
    noise = rng.integers(60, 200, (200, 300, 3), dtype=np.uint8)
    assert image_quality(noise).blur < 0.25
    assert image_quality(noise).obstructed == 0.0
    covered = noise.copy()
    covered[150:] = 20
    assert image_quality(covered).obstructed == pytest.approx(0.25, abs=0.03)
    inside = noise.copy()
    inside[60:140, 60:200] = 20  # a dark thing that touches no edge is a thing
    assert image_quality(inside).obstructed == 0.0


def test_blur_means_the_same_at_every_size(views: list[np.ndarray]) -> None:
    for view in views[:4]:
        large = cv2.resize(view, (1280, 648), interpolation=cv2.INTER_CUBIC)
        medium = cv2.resize(view, (960, 486), interpolation=cv2.INTER_CUBIC)
        one, two = (image_quality(np.asarray(v, dtype=np.uint8)).blur for v in (large, medium))
        assert one == pytest.approx(two, abs=0.05)
    values = [
        image_quality(np.asarray(cv2.GaussianBlur(views[0], (0, 0), s), dtype=np.uint8)).blur
        for s in (0.5, 1.0, 1.5, 2.0, 3.0)
    ]
    assert values == sorted(values)


@pytest.mark.parametrize("fault", sorted(LIMITS))
def test_made_faults_are_found_and_clean_views_are_not(
    benchmark: Any, views: list[np.ndarray], fault: str
) -> None:
    rng = np.random.default_rng(3)
    limits = QualityLimits(**{fault: LIMITS[fault]})
    flagged = [quality_fault(benchmark.corrupted(fault, view, rng), limits) for view in views]
    clean = [quality_fault(view, limits) for view in views]
    hits, wrong = sum(f is not None for f in flagged), sum(f is not None for f in clean)
    f1 = 2 * hits / (hits + wrong + len(views))
    # A street without sky has no bright side: turns are told less well in these.
    assert f1 >= {"night": 0.9, "turned": 0.7}.get(fault, 0.8)
    assert all(f.startswith(f"{fault}: ") for f in flagged if f is not None)


def test_dusk_is_told_from_day_on_real_drives(shared_data: Path) -> None:
    limits = QualityLimits(night=LIMITS["night"])
    hits = wrong = dusk = 0
    for path in sorted((shared_data / "camvid" / "test").glob("*.jpg"))[::4]:
        found = quality_fault(decode_image(path.read_bytes(), path.name), limits) is not None
        is_dusk = path.name.startswith("0001TP")
        dusk += is_dusk
        hits += found and is_dusk
        wrong += found and not is_dusk
    assert dusk > 10
    assert 2 * hits / (hits + wrong + dusk) >= 0.9


def test_nothing_is_looked_for_without_a_limit() -> None:
    black = np.zeros((40, 80, 3), dtype=np.uint8)
    assert quality_fault(black, QualityLimits()) is None
    assert quality_fault(black, QualityLimits(night=6.0)) is not None


@pytest.mark.parametrize(
    "picture",
    [np.zeros((0, 4, 3), np.uint8), np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3), np.float32)],
)
def test_what_is_not_a_picture_is_refused(picture: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"the picture (is empty|must (have shape|be uint8))"):
        image_quality(picture)


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (7, 1), (2, 2), (3, 3000)])
def test_pictures_of_a_few_pixels_are_measured(shape: tuple[int, int]) -> None:
    measured = image_quality(np.full((*shape, 3), 90, dtype=np.uint8))
    assert 0 <= measured.blur <= 1
    assert 0 <= measured.obstructed <= 1
