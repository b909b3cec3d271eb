"""What is computed on one pair, as a whole and in its parts."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from adapters.catalog import PriorSettings
from adapters.image_masks import ImageMask
from adapters.images import decode_image, decode_mask_png
from tasks.priors.extraction import (
    illustrate_prior,
    join_priors,
    prior_part,
    prior_parts,
    static_prior_rows,
)
from tasks.priors.pair_prior import extract_prior, superpixels_of
from tasks.priors.quality import some_rows
from tasks.priors.several_times import priors_of_times
from tasks.steps.imagery import Imagery
from tasks.steps.plan import open_plan
from tasks.steps.schemas import PAIRS, STATIC_PRIOR
from tasks.steps.tables import part_name, read_rows, write_rows
from tests.harvested import harvested, ref_of


def scene(seed: int, height: int, width: int) -> np.ndarray:
    random = np.random.default_rng(seed)
    noise = random.normal(size=(height, width, 3)).astype(np.float32)
    image = cv2.GaussianBlur(noise, (0, 0), 2) + 3 * cv2.GaussianBlur(noise, (0, 0), 8)
    return np.clip(128 + 60 * image / image.std(), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("scale", [1, 2, 4])
def test_superpixels_are_as_many_as_asked_and_of_the_images_size(scale: int) -> None:
    image = scene(1, 97, 131)
    settings = PriorSettings.model_validate({"superpixels": 40, "superpixel_downscale": scale})
    labels = superpixels_of(image, settings)
    assert labels.shape == (97, 131)
    assert labels.dtype == np.int32
    assert set(np.unique(labels)) == set(range(40))
    for label in range(40):
        pieces, _ = cv2.connectedComponents((labels == label).astype(np.uint8), connectivity=8)
        assert pieces == 2  # and the rest


@pytest.mark.parametrize("extract", [extract_prior, lambda a, b, s: priors_of_times([a, b], s)])
def test_more_superpixels_than_pixels_are_refused_before_images_are_matched(
    extract: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder's images come at sizes of their own: hours of matching went before it."""
    monkeypatch.delattr("tasks.priors.pair_prior.build_matcher")
    image, settings = scene(1, 64, 96), PriorSettings(superpixels=385)
    with pytest.raises(ValueError, match="lower superpixels or superpixel_downscale"):
        extract(image, image, settings)


def test_what_stays_is_in_the_prior_and_what_changes_is_not() -> None:
    a = scene(2, 160, 256)
    b = a.copy()
    b[48:112, 96:176] = scene(3, 160, 256)[48:112, 96:176]  # something else stands there now
    settings = PriorSettings(downscale=1, superpixels=60, superpixel_downscale=1)
    made = extract_prior(a, b, settings)
    for mask in made.masks:
        assert mask[56:104, 104:168].mean() < 0.1
        outside = mask.copy()
        outside[40:120, 88:184] = False
        assert outside.sum() / (160 * 256 - 80 * 96) > 0.7
    # The paper's rule counts every match.
    paper = settings.model_copy(update={"coverage": 0.0, "weakest": 0.0, "neighbours": 0})
    counted = extract_prior(a, b, paper)
    assert len(counted.matches) > len(made.matches)
    assert (counted.masks[0] | ~made.masks[0]).all()


def with_a_name(image: np.ndarray, height: int = 30, width: int = 110) -> np.ndarray:
    """What a service draws into the corner of every picture."""
    drawn = image.copy()
    cv2.putText(drawn, "Bologna", (4, height - 8), cv2.FONT_HERSHEY_SIMPLEX, 0.8, (255,) * 3, 2)
    drawn[:height, :width] //= 2
    cv2.putText(drawn, "Bologna", (4, height - 8), cv2.FONT_HERSHEY_SIMPLEX, 0.8, (255,) * 3, 2)
    return drawn


def test_what_a_mask_covers_is_never_static_and_matches_nothing() -> None:
    # Two pictures with nothing in common but the left half of the lower part, and the drawn name.
    a, b = scene(2, 160, 256), scene(3, 160, 256)
    b[80:, :128] = a[80:, :128]
    a, b = with_a_name(a), with_a_name(b)
    settings = PriorSettings(downscale=1, superpixels=60, superpixel_downscale=1)
    name = np.zeros((160, 256), dtype=np.bool_)
    name[:30, :110] = True
    without = extract_prior(a, b, settings)
    assert without.masks[0][name].mean() > 0.3  # the name counts as a thing of the city
    mask = ImageMask(polygons=(((0, 0), (110, 0), (110, 30), (0, 30)),))
    made = extract_prior(a, b, settings, mask=mask)
    for static, matches in (
        (made.masks[0], (made.matches.x_a, made.matches.y_a)),
        (made.masks[1], (made.matches.x_b, made.matches.y_b)),
    ):
        assert not static[name].any()
        assert not ((matches[0] < 112) & (matches[1] < 32)).any()
    # What is not masked is what it was.
    there = np.zeros_like(name)
    there[96:150, 10:110] = True
    assert made.masks[0][there].mean() > 0.9
    assert (made.masks[0] ^ without.masks[0])[60:].mean() < 0.02
    # The same again, and the pictures are not changed.
    again = extract_prior(a, b, settings, mask=mask)
    assert np.array_equal(again.masks[0], made.masks[0])


def test_the_name_drawn_into_pairs_is_masked(time_pairs: Path, own_data: Path) -> None:
    is_own = time_pairs.is_relative_to(own_data)
    x, y = (108, 34) if is_own else (190, 62)
    corner = ImageMask(polygons=(((0, 0), (x, 0), (x, y), (0, y)),))
    before = []
    for folder in sorted(time_pairs.glob("*/Images/Train"))[:2]:
        names = sorted(folder.glob("*.jpg"))
        a, b = (decode_image(path.read_bytes(), path.name) for path in names[:2])
        settings = PriorSettings(downscale=2) if is_own else PriorSettings()
        without = extract_prior(a, b, settings)
        made = extract_prior(a, b, settings, mask=corner)
        for plain, masked in zip(without.masks, made.masks, strict=True):
            before.append(plain[:y, :x].mean())
            assert not masked[:y, :x].any()
            assert (plain ^ masked)[150:].mean() < 0.03
    assert max(before) > 0.4  # so that masking it means something


def test_a_mask_of_other_proportions_is_reported() -> None:
    drawn = np.zeros((50, 50), dtype=np.bool_)
    drawn[0] = True
    a = scene(2, 160, 256)
    with pytest.raises(ValueError, match="draw it on one of the pictures"):
        extract_prior(a, a, PriorSettings(downscale=1), mask=ImageMask((), "m.png", drawn))


def test_a_city_with_a_mask_has_priors_of_its_own(
    write_catalog: Callable[..., Path], tmp_path: Path
) -> None:
    def priors(**provider: object) -> tuple[str, list[np.ndarray]]:
        entry = {"kind": "simulated", "style": "tokyo", **provider}
        plan = open_plan(write_catalog(tmp_path, city={"provider": entry}), city="tokyo")
        imagery, pairs = harvested(plan)
        parts = [
            ref_of(prior_part.fn(imagery, pairs, part, "tokyo", plan))
            for part in prior_parts(imagery, pairs, "tokyo", plan)
        ]
        prior = ref_of(join_priors.fn(parts, pairs, "tokyo", plan))
        rows = list(static_prior_rows(plan, prior))
        return pairs.key + prior.key, [decode_mask_png(r["mask"], "it") for r in rows]

    plain, masks = priors()
    half = [[0, 0], [64, 0], [64, 64], [0, 64]]
    masked, hidden = priors(mask=half)
    assert plain != masked
    assert any(mask[:, :64].any() for mask in masks)
    assert not any(mask[:, :64].any() for mask in hidden)
    assert any(mask[:, 64:].any() for mask in hidden)


def test_a_picture_of_a_prior_is_of_the_first_pair_whose_images_can_be_used(
    write_catalog: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    city = {"places": 3, "test_places": 0}
    plan = open_plan(write_catalog(tmp_path, city=city), city="tokyo")
    imagery, pairs = harvested(plan)
    store = plan.open_store()
    first, second, *_ = read_rows(store, pairs, "pairs.parquet", PAIRS)
    data = Imagery.data

    def cut_short(images: Imagery, image_id: str) -> bytes:
        whole = data(images, image_id)
        return whole[:300] if image_id == first["image_b"] else whole

    monkeypatch.setattr(Imagery, "data", cut_short)
    figure = ref_of(illustrate_prior.fn(imagery, pairs, "tokyo", plan))
    assert store.manifest(figure).summary["pair"] == second["pair_id"]


def test_no_more_masks_are_held_than_are_read(
    write_catalog: Callable[..., Path], tmp_path: Path
) -> None:
    plan, size, parts = open_plan(write_catalog(tmp_path)), 10_000, []
    store = plan.open_store()
    facts: dict[str, Any] = {"inputs": {}, "parameters": {}, "version": "1"}
    for part in range(20):
        names = [f"{part:02d}-{row:02d}" for row in range(50)]
        given = {"pair_id": "p", "static_fraction": 0.5, "matches": 1, "superpixels": 1}
        rows = [
            {
                **dict.fromkeys(STATIC_PRIOR.names),
                **given,
                "image_id": name,
                "mask": name.encode().ljust(size),
                "status": "failed" if name == "00-00" else "ok",
            }
            for name in names
        ]
        with store.draft("static_prior_part", "tokyo", f"{part:024d}", **facts) as draft:
            write_rows(draft, part_name(part), rows, STATIC_PRIOR)
        parts.append(draft.ref)
    del rows
    tracemalloc.start()
    prior = ref_of(join_priors.fn(parts, parts[0], "tokyo", plan))
    joined = tracemalloc.get_traced_memory()[1]
    tracemalloc.reset_peak()
    some = some_rows(plan, prior)
    examined = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert store.manifest(prior).rows == 1000
    assert [some[0]["image_id"], some[-1]["image_id"], len(some)] == ["00-01", "19-49", 100]
    assert all(row["mask"].split() == [row["image_id"].encode()] for row in some)
    assert joined < 1000 * size / 4
    assert examined < 1000 * size / 3
