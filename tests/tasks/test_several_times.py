"""Priors of places that were captured at more than two times."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from adapters.catalog import PriorSettings
from adapters.image_masks import ImageMask
from adapters.images import decode_label_png, decode_mask_png
from crosscity.matching import Matches
from crosscity.several_times import ALGORITHM_VERSION, evidence_of_times, static_by_evidence
from crosscity.static_probability import delivered_of_times
from crosscity.static_regions import static_prior_of_times
from tasks.harvesting import pair_table
from tasks.priors import extraction, identities, several_times
from tasks.priors.extraction import join_priors, prior_part, prior_parts, static_prior_rows
from tasks.priors.identities import PRIOR_VERSION, prior_version
from tasks.priors.pair_prior import extract_prior, superpixels_of
from tasks.priors.quality import measure_priors, read_quality
from tasks.priors.several_times import ALONE, ANOTHER_PLACE, ImagePrior, priors_of_times
from tasks.steps.errors import InputError, StaleError, TooManyFailures
from tasks.steps.plan import Plan, open_plan
from tasks.steps.schemas import IMAGERY, LEFT_OUT, OK, PAIRS
from tasks.steps.tables import read_rows
from tasks.training.target_images import StoredTargets
from tests.harvested import harvested, ref_of


def scene(seed: int, height: int = 96, width: int = 160) -> np.ndarray:
    random = np.random.default_rng(seed)
    noise = random.normal(size=(height, width, 3)).astype(np.float32)
    image = cv2.GaussianBlur(noise, (0, 0), 2) + 3 * cv2.GaussianBlur(noise, (0, 0), 8)
    return np.clip(128 + 60 * image / image.std(), 0, 255).astype(np.uint8)


SETTINGS = PriorSettings(downscale=1, superpixels=60, superpixel_downscale=1)


def place(*parked: bool) -> list[np.ndarray]:
    """Pictures of one place; in some of them the same thing is parked."""
    street, car = scene(2), scene(9)
    images = []
    for number, there in enumerate(parked):
        image = street.copy()
        image[32:64, 56:104] = (car if there else scene(20 + number))[32:64, 56:104]
        images.append(image)
    return images


CAR = (slice(38, 58), slice(62, 98))


def prior(found: ImagePrior | str) -> ImagePrior:
    assert isinstance(found, ImagePrior)
    return found


def test_what_is_parked_at_two_times_is_gone_at_the_third() -> None:
    images = place(True, True, False)
    two = [prior(one) for one in priors_of_times(images[:2], SETTINGS)]
    assert all(one.mask[CAR].mean() > 0.8 for one in two)
    three = [prior(one) for one in priors_of_times(images, SETTINGS)]
    for one in three:
        assert one.mask[CAR].mean() < 0.25
        assert one.mask.mean() > 0.5
        assert one.mask.shape == one.superpixels.shape


def test_of_two_times_the_prior_is_that_of_the_pair() -> None:
    images = place(True, False)
    pair = extract_prior(images[0], images[1], SETTINGS)
    for of_times, mask in zip(priors_of_times(images, SETTINGS), pair.masks, strict=True):
        assert np.array_equal(prior(of_times).mask, mask)
        assert prior(of_times).matches == len(pair.matches)
    for of_times, probability in zip(
        priors_of_times(images, SETTINGS), pair.probabilities, strict=True
    ):
        assert np.array_equal(prior(of_times).probability, probability)  # type: ignore[arg-type]
    other = SETTINGS.model_copy(update={"matcher": "dis"})
    assert extract_prior(images[0], images[1], other).probabilities == (None, None)


def test_an_image_of_another_place_is_left_out_and_changes_nothing() -> None:
    images = place(True, True, False)
    expected = priors_of_times(images, SETTINGS)
    for position in range(4):
        found = priors_of_times([*images[:position], scene(77), *images[position:]], SETTINGS)
        assert found.pop(position) == ANOTHER_PLACE
        for one, other in zip(found, expected, strict=True):
            assert np.array_equal(prior(one).mask, prior(other).mask)


def test_an_image_of_another_size_is_left_out_with_both_sizes() -> None:
    images = place(True, True, False)
    small = np.ascontiguousarray(images[0][:64, :128])
    found = priors_of_times([small, *images], SETTINGS)
    assert found[0] == "it is 128×64 pixels wide and high, the other times 160×96"
    for one, other in zip(found[1:], priors_of_times(images, SETTINGS), strict=True):
        assert np.array_equal(prior(one).mask, prior(other).mask)
    assert priors_of_times([small, images[0]], SETTINGS)[0] == ALONE
    assert priors_of_times([small], SETTINGS) == [ALONE]
    assert priors_of_times([], SETTINGS) == []


def test_each_two_images_are_matched_once(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []

    def counted(*arguments: Any) -> Matches:
        seen.append(1)
        return matched(*arguments)

    matched = several_times.trusted_matches
    monkeypatch.setattr(several_times, "trusted_matches", counted)
    priors_of_times(place(True, True, False, False), SETTINGS)
    assert len(seen) == 6


def test_masked_pixels_are_never_static() -> None:
    mask = ImageMask(polygons=(((0, 0), (60, 0), (60, 40), (0, 40)),))
    for one in priors_of_times(place(True, True, False), SETTINGS, mask=mask):
        assert not prior(one).mask[:40, :60].any()
        assert not prior(one).probability[:40, :60].any()  # type: ignore[index]
        assert prior(one).mask[60:].any()


# In the pipeline


def priors(imagery: Any, pairs: Any, plan: Plan) -> Any:
    parts = [
        ref_of(prior_part.fn(imagery, pairs, part, "tokyo", plan))
        for part in prior_parts(imagery, pairs, "tokyo", plan)
    ]
    return ref_of(join_priors.fn(parts, pairs, "tokyo", plan))


def test_a_city_of_three_times_has_a_prior_of_every_image(
    write_catalog: Callable[..., Path], tmp_path: Path
) -> None:
    catalog = write_catalog(tmp_path, city={"times": 3, "places": 5, "test_places": 1})
    plan = open_plan(catalog, city="tokyo")
    store = plan.open_store()
    imagery, pairs = harvested(plan)
    rows = read_rows(store, pairs, "pairs.parquet", PAIRS)
    assert len(read_rows(store, imagery, "imagery.parquet", IMAGERY)) == 15
    assert {len(row["others"]) for row in rows} == {1}
    named = {image for row in rows for image in (row["image_a"], row["image_b"], *row["others"])}
    assert len(named) == 15
    made = list(static_prior_rows(plan, priors(imagery, pairs, plan)))
    training = [row for row in rows if row["split"] == "train"]
    assert len(made) == 3 * len(training)
    assert {row["status"] for row in made} <= {OK, LEFT_OUT}
    assert sum(row["status"] == OK for row in made) >= 2 * len(training)
    for row in made:
        if row["status"] == OK:
            mask = decode_mask_png(row["mask"], row["image_id"])
            probability = decode_label_png(row["probability"], row["image_id"], size=(64, 128))
            assert mask.shape == (64, 128)
            assert mask.any()
            assert probability[mask].min() > probability[~mask].min()
        else:
            assert row["reason"] == ANOTHER_PLACE
    # The measure of a simulated city takes the further times' images as well.
    ref = ref_of(measure_priors.fn(priors(imagery, pairs, plan), "tokyo", plan))
    assert read_quality(store, ref).images == sum(row["status"] == OK for row in made)
    # Looks at all three times are learned from, by a recipe that needs no entry.
    settings = plan.city("tokyo").prior
    made_of_all = priors(imagery, pairs, plan)
    targets = StoredTargets(plan, imagery, pairs, made_of_all, prior=settings)
    known = 0
    assert len(targets) == 2 * len(training)
    ok = {row["image_id"] for row in made if row["status"] == OK}
    for place, row in enumerate(training):
        beside = [each for each in row["others"] if each in ok]
        partners = targets.partners([2 * place, 2 * place + 1])
        assert [len(each) for each in partners] == [1 + len(beside)] * 2
        for index, found in zip((2 * place, 2 * place + 1), partners, strict=True):
            seen = targets.images(found)
            field = targets.fields([index] * len(found), found)
            assert seen.shape == (len(found), 64, 128, 3)
            assert field.shape == (len(found), 64, 128, 2)
            known += int(np.isfinite(field).any(axis=(1, 2, 3)).sum())
    assert known > 2 * len(training)  # so at a third time too
    # Of two times the same places have the pairs that they had, and other artifacts.
    two = open_plan(write_catalog(tmp_path, city={"places": 5, "test_places": 1}), city="tokyo")
    of_two = harvested(two)[1]
    assert of_two.key != pairs.key
    plain = read_rows(store, of_two, "pairs.parquet", PAIRS)
    assert [row["others"] for row in plain] == [None] * 5
    assert {row["place_id"] for row in plain} == {row["place_id"] for row in rows}


def test_an_image_is_left_out_only_with_those_aligned_to_it() -> None:
    def row(name: str, to: str | None, overlap: float | None) -> dict[str, Any]:
        return {"image_id": name, "aligned_to": to, "overlap": overlap}

    first, good, bad = row("a", None, None), row("b", "a", 0.5), row("c", "a", 0.1)
    assert pair_table.split_by_overlap([first, good, bad], 0.23) == ([first, good], [bad])
    assert pair_table.split_by_overlap([first, bad], 0.23) == ([], [bad])


def test_the_rule_is_that_of_the_science(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, list[str], dict[str, Any]]] = []

    def noted(matches: Any, labels: Any, *, sides: Any, **rule: Any) -> np.ndarray:
        asked.append((len(matches), list(sides), rule))
        return static_prior_of_times(matches, labels, sides=sides, **rule)

    monkeypatch.setattr(several_times, "static_prior_of_times", noted)
    # The paper's rule counts, whatever the number of times; a coverage is read by evidence.
    settings = SETTINGS.model_copy(update={"coverage": 0.0, "k": 5})
    priors_of_times(place(True, True, False), settings)
    rule = {"k": 5, "coverage": 0.0, "spacing": 4}
    assert asked == [(2, ["a", "a"], rule), (2, ["b", "a"], rule), (2, ["b", "b"], rule)]
    asked.clear()
    settings = SETTINGS.model_copy(update={"coverage": 0.3, "k": 5})
    priors_of_times(place(True, True), settings)
    rule = {"k": 5, "coverage": 0.3, "spacing": 4}
    assert asked == [(1, ["a"], rule), (1, ["b"], rule)]
    asked.clear()
    images = place(True, True, False)
    found = priors_of_times(images, settings)
    assert asked == []
    for index, sides in enumerate((["a", "a"], ["b", "a"], ["b", "b"])):
        matches = [
            several_times.trusted_matches(images[min(index, j)], images[max(index, j)], settings)
            for j in range(3)
            if j != index
        ]
        cuts = [
            superpixels_of(images[index], settings.model_copy(update={"superpixels": count}))
            for count in (60, 180)
        ]
        evidence = evidence_of_times(matches, cuts, sides=sides, spacing=4)  # type: ignore[arg-type]
        one = prior(found[index])
        assert np.array_equal(one.superpixels, cuts[0])
        assert np.array_equal(one.mask, static_by_evidence(evidence, 0.3, 2))
        p = delivered_of_times().of_evidence(evidence, 2).astype(np.float32)
        assert np.array_equal(one.probability, p)  # type: ignore[arg-type]


def test_small_pictures_have_no_more_superpixels_than_pixels() -> None:
    settings = SETTINGS.model_copy(update={"superpixel_downscale": 4, "superpixels": 500})
    for one in priors_of_times(place(True, True, False), settings):
        assert prior(one).mask.shape == (96, 160)


def test_only_cities_of_more_than_two_times_have_other_priors_than_before(
    write_catalog: Callable[..., Path], tmp_path: Path
) -> None:
    def version(**city: Any) -> str:
        plan = open_plan(write_catalog(tmp_path, city=city), city="tokyo")
        return prior_version("tokyo", plan)

    assert version() == PRIOR_VERSION
    assert version(times=2) == PRIOR_VERSION
    assert version(times=3) == f"{PRIOR_VERSION}-times.{ALGORITHM_VERSION}"
    assert version(times=3, prior={"downscale": 1, "coverage": 0}) == PRIOR_VERSION


def test_priors_of_the_rule_before_are_said_to_be_stale_before_they_are_made_anew(
    write_catalog: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    catalog = write_catalog(tmp_path, city={"times": 3, "places": 3, "test_places": 1})
    plan = open_plan(catalog, city="tokyo")
    imagery, pairs = harvested(plan)
    with monkeypatch.context() as before:
        before.setattr(identities, "prior_version", lambda _city, _plan: PRIOR_VERSION)
        priors(imagery, pairs, plan)
        assert identities.extracted(pairs, "tokyo", plan)
    with pytest.raises(StaleError, match=r"made by version .* of the algorithm"):
        identities.extracted(pairs, "tokyo", plan)


def test_a_city_none_of_whose_images_has_a_prior_is_told(
    write_catalog: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What shows another place is left out and no failure, so no limit of failures is met."""
    catalog = write_catalog(tmp_path, city={"times": 3, "places": 3, "test_places": 1})
    plan = open_plan(catalog, city="tokyo")
    imagery, pairs = harvested(plan)
    nowhere = lambda images, *_: [ANOTHER_PLACE] * len(images)  # noqa: E731
    monkeypatch.setattr(extraction, "priors_of_times", nowhere)
    with pytest.raises(TooManyFailures, match=rf"no image of tokyo has a .*: 6 × {ANOTHER_PLACE}"):
        priors(imagery, pairs, plan)
    assert not list(plan.open_store().artifacts("static_prior", "tokyo"))
    with pytest.raises(InputError, match="tokyo has no pair to adapt on: all are held out"):
        join_priors.fn([], pairs, "tokyo", plan)
