"""Objectives that recipes may name beside those of the paper, against plain NumPy."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from crosscity.adaptation import (
    Adaptation,
    AdaptationSettings,
    LabelledArrays,
    Recipe,
    TargetArrays,
    Term,
)
from crosscity.adaptation.batches import SourceBatches
from crosscity.adaptation.correspondence import carry, field_of_matches, mirrored_field
from crosscity.adaptation.image_sets import PairedArrays
from crosscity.adaptation.objectives.base import weighted_cross_entropy
from crosscity.adaptation.objectives.feature_consistency import _at_cells, point_loss
from crosscity.adaptation.objectives.masked_consistency import shown_squares
from crosscity.adaptation.objectives.two_looks import confidence, fused
from crosscity.adaptation.prior_evidence import checked_rates, flag_rates, weigh_by_prior
from crosscity.adaptation.prior_probability import weigh_by_probability
from crosscity.adaptation.prior_refinement import refine_by_prior
from crosscity.adaptation.rare_class_sampling import RareClassSampler, pixels_by_image
from crosscity.adaptation.task_loss import task_loss
from crosscity.adaptation.trainable import trainable_parameters
from crosscity.segmenters import Segmenter, build_segmenter

NAMES = ["road", "sky", "car"]
RANDOM = np.random.default_rng(4)
SIZE = (16, 24)
SOURCE = LabelledArrays(
    RANDOM.integers(0, 256, (4, *SIZE, 3), dtype=np.uint8),
    RANDOM.integers(0, 3, (4, *SIZE), dtype=np.uint8),
)
FIELDS = np.stack(np.meshgrid(np.arange(24), np.arange(16)), -1).astype(np.float32)
TARGET = PairedArrays(
    TargetArrays(
        RANDOM.integers(0, 256, (4, *SIZE, 3), dtype=np.uint8), RANDOM.random((4, *SIZE)) < 0.5
    ),
    np.repeat(FIELDS[None], 4, axis=0),
)
SETTINGS = AdaptationSettings(
    steps=3, batch_size=2, learning_rate=1e-3, teacher_momentum=0.9, flip=True
)


def segmenter(seed: int = 2, names: list[str] = NAMES) -> Segmenter:
    options = {"width": 8, "dilations": [1], "dropout": 0.0, "class_names": names}
    return build_segmenter("compact", options, seed=seed)


def adaptation(
    recipe: Recipe, source: Any = SOURCE, target: Any = TARGET, **given: Any
) -> Adaptation:
    return Adaptation(segmenter(), source, target, SETTINGS, 0, recipe=recipe, **given)


def alone(objective: str, **options: Any) -> Recipe:
    return Recipe((Term(objective, weight=1.0, ramp="constant", options=options),))


def distributions(seed: int, shape: tuple[int, ...]) -> np.ndarray:
    values = np.random.default_rng(seed).random(shape)
    return values / values.sum(1, keepdims=True)


# Correspondence


def test_a_field_moves_each_square_as_its_match_says() -> None:
    here, there = np.array([[6.0, 4.0]]), np.array([[8.0, 3.0]])
    field = field_of_matches(here, there, (10, 12), spacing=4)
    for y in range(10):
        for x in range(12):
            if 4 <= x < 8 and 2 <= y < 6:
                assert field[y, x].tolist() == [x + 2, y - 1]
            else:
                assert np.isnan(field[y, x]).all()


def test_a_field_at_half_the_size_points_to_the_same_places() -> None:
    here, there = np.array([[8.0, 8.0]]), np.array([[12.0, 8.0]])
    field = field_of_matches(here, there, (8, 12), spacing=8, scale=(0.5, 0.5))
    known = np.isfinite(field).all(-1)
    assert known.sum() == 16
    rows, columns = np.nonzero(known)
    assert np.allclose(field[known], np.stack([columns + 2, rows], -1))


def test_half_precision_carries_from_where_the_match_says() -> None:
    """In bf16, which has 8 bits, places of a map of 256 cells are off by up to half of one."""
    maps = torch.randn(1, 16, 8, 256, generator=torch.Generator().manual_seed(0))
    x, y = torch.meshgrid(torch.arange(256.0), torch.arange(8.0), indexing="xy")
    field = torch.stack([x, y], dim=-1)[None]
    found, known = carry(maps.bfloat16(), field)
    assert known.all()
    assert torch.equal(found, maps.bfloat16().float())


def test_carrying_against_a_loop_with_bilinear_weights() -> None:
    maps = np.random.default_rng(0).random((1, 2, 5, 7))
    field = np.random.default_rng(1).uniform(-1, 7, (1, 5, 7, 2)).astype(np.float32)
    field[0, 0, 0] = np.nan
    found, known = carry(torch.from_numpy(maps), torch.from_numpy(field))
    for y in range(5):
        for x in range(7):
            u, v = field[0, y, x]
            inside = bool(-0.5 < u < 6.5 and -0.5 < v < 4.5)
            assert bool(known[0, y, x]) is inside
            if not inside:
                assert found[0, :, y, x].abs().sum() == 0
                continue
            u, v = min(max(u, 0), 6), min(max(v, 0), 4)
            a, b = int(min(u, 5)), int(min(v, 3))
            s, t = u - a, v - b
            expected = (
                maps[0, :, b, a] * (1 - s) * (1 - t)
                + maps[0, :, b, a + 1] * s * (1 - t)
                + maps[0, :, b + 1, a] * (1 - s) * t
                + maps[0, :, b + 1, a + 1] * s * t
            )
            assert np.allclose(found[0, :, y, x].numpy(), expected, atol=1e-5)


def test_mirroring_a_field_is_mirroring_both_images() -> None:
    maps = torch.from_numpy(np.random.default_rng(0).random((1, 2, 5, 7)))
    field = torch.from_numpy(np.random.default_rng(1).uniform(0, 4, (1, 5, 7, 2)))
    plain, known = carry(maps, field)
    turned, known_turned = carry(maps.flip(-1), mirrored_field(field))
    assert torch.equal(known.flip(-1), known_turned)
    assert torch.allclose(plain.flip(-1), turned, atol=1e-12)


# The prior as evidence


def test_rates_are_shares_of_flagged_pixels() -> None:
    random = np.random.default_rng(3)
    looks = [
        (random.random((20, 30)) < 0.4, random.integers(0, 4, (20, 30), dtype=np.uint8))
        for _ in range(3)
    ]
    looks[0][1][:5] = 255
    rates = flag_rates(looks, 5, least_pixels=10)
    prior = np.concatenate([p.ravel() for p, _ in looks])
    labels = np.concatenate([y.ravel() for _, y in looks])
    for c in range(4):
        assert rates[c] == pytest.approx(prior[labels == c].mean())
    assert rates[4] == pytest.approx(prior[labels < 5].mean())  # no pixel: it says nothing


def test_evidence_is_bayes_rule_on_flagged_pixels_alone() -> None:
    phi = distributions(0, (2, 3, 4, 5))
    prior = np.random.default_rng(1).random((2, 4, 5)) < 0.5
    rates = np.array([0.5, 0.7, 0.15])
    found = weigh_by_prior(
        torch.from_numpy(phi), torch.from_numpy(prior), torch.from_numpy(rates)
    ).numpy()
    weighted = phi * rates.reshape(1, 3, 1, 1)
    expected = np.where(prior[:, None], weighted / weighted.sum(1, keepdims=True), phi)
    assert np.allclose(found, expected)


def test_rates_that_do_not_suit_are_refused() -> None:
    with pytest.raises(ValueError, match="2 rates of the prior for 3 classes"):
        checked_rates([0.1, 0.2], NAMES)
    with pytest.raises(ValueError, match="the rate of the prior for sky"):
        checked_rates([0.1, 0.0, 0.2], NAMES)
    evidence = replace(alone("self_training"), uses_prior=True, evidence=True)
    with pytest.raises(ValueError, match="nothing says how often each class is flagged"):
        adaptation(evidence)


def test_evidence_changes_what_is_learned_and_rates_of_one_change_nothing() -> None:
    recipe = alone("self_training")
    evidence = replace(recipe, uses_prior=True, evidence=True)
    plain, same = adaptation(recipe), adaptation(evidence, flag_rates=[1.0, 1.0, 1.0])
    other = adaptation(evidence, flag_rates=[0.001, 1.0, 0.001])
    losses = [training.advance(1)[0]["self_training_loss"] for training in (plain, same, other)]
    assert losses[0] == pytest.approx(losses[1])
    assert abs(losses[0] - losses[2]) > 1e-3


# The prior as a probability


STATIC = (0, 2)


def in_255(values: np.ndarray) -> np.ndarray:
    return np.rint(255 * values).astype(np.uint8)


@pytest.mark.parametrize("static_from", [None, 0.8])
def test_a_probability_weighs_by_bayes_rule_or_is_a_threshold(static_from: float | None) -> None:
    phi = distributions(3, (2, 3, 4, 5))
    p = np.random.default_rng(4).random((2, 4, 5))
    found = weigh_by_probability(
        torch.from_numpy(phi), torch.from_numpy(p), STATIC, static_from=static_from, share=0.6
    ).numpy()
    for b, y, x in np.ndindex(p.shape):
        here = p[b, y, x]
        # How much less likely what moves is than it was: from the odds of the share to those here.
        moving = min(1.0, (1 - here) / here * 0.6 / 0.4)
        if static_from is not None:
            moving = 0.0 if here >= static_from else 1.0
        expected = phi[b, :, y, x] * np.array([1.0, moving, 1.0])
        assert np.allclose(found[b, :, y, x], expected / expected.sum())


def test_eq_12_is_its_threshold_to_the_last_bit() -> None:
    phi = torch.from_numpy(distributions(5, (2, 3, 6, 7))).float()
    phi[0, :, 0, 0] = torch.tensor([0.0, 1.0, 0.0])  # no static mass at all
    p = torch.from_numpy(np.random.default_rng(6).random((2, 6, 7))).float()
    p[0, 0, 0] = 0.95
    refined = refine_by_prior(phi, p >= 0.7, STATIC)
    assert torch.equal(weigh_by_probability(phi, p, STATIC, static_from=0.7), refined)
    # Certainty is a mask as well, and what is not known changes nothing.
    sure = (p >= 0.7).float()
    assert torch.equal(weigh_by_probability(phi, sure, STATIC), refined)
    assert torch.equal(weigh_by_probability(phi, torch.full_like(p, 0.5), STATIC), phi)
    with pytest.raises(ValueError, match="another size"):
        weigh_by_probability(phi, p[:, 1:], STATIC)


def test_a_training_takes_a_threshold_of_the_probability_as_the_mask() -> None:
    """The same losses from the mask, and from the probability with the mask's threshold."""
    learn = alone("self_training")
    masks = RANDOM.random((4, *SIZE)) < 0.5
    p = in_255(
        np.where(masks, RANDOM.uniform(0.95, 1, masks.shape), RANDOM.uniform(0, 0.94, masks.shape))
    )
    images = TARGET.target.all_images
    ignored = RANDOM.random((4, *SIZE)) < 0.1

    def loss(recipe: Recipe, target: TargetArrays) -> float:
        return float(adaptation(recipe, target=target).advance(1)[0]["self_training_loss"])

    veto = replace(learn, uses_prior=True)
    weighed = replace(veto, probability=True)
    threshold = replace(weighed, static_from=0.945)
    for beside in (None, ignored):
        of_masks = TargetArrays(images, masks, beside)
        both = TargetArrays(images, masks, beside, p)
        assert loss(threshold, both) == loss(veto, of_masks)
        assert abs(loss(weighed, both) - loss(veto, of_masks)) > 1e-4
        assert abs(loss(weighed, both) - loss(learn, of_masks)) > 1e-4


def test_a_probability_that_nobody_knows_is_asked_for_in_vain() -> None:
    weighed = replace(alone("self_training"), uses_prior=True, probability=True)
    with pytest.raises(ValueError, match="nothing says how probable"):
        adaptation(weighed).advance(1)
    learn = alone("self_training")
    for wrong in (
        {"probability": True},
        {"uses_prior": True, "evidence": True, "probability": True},
        {"uses_prior": True, "static_from": 0.5},
        {"uses_prior": True, "probability": True, "static_from": 0.0},
        {"uses_prior": True, "probability": True, "static_from": 1.5},
    ):
        with pytest.raises(ValueError, match="prior"):
            replace(learn, **wrong)  # type: ignore[arg-type]


# Two looks


def test_two_looks_are_fused_by_how_sure_they_are() -> None:
    one, other = distributions(0, (2, 3, 4, 5)), distributions(1, (2, 3, 4, 5))
    known = np.random.default_rng(2).random((2, 4, 5)) < 0.6
    ignored = np.random.default_rng(3).random((2, 2, 4, 5)) < 0.2
    one, other = (np.where(ignored[i][:, None], 0, look) for i, look in enumerate((one, other)))
    assert (known & ignored[1] & ~ignored[0]).any()
    found = fused(*map(torch.from_numpy, (one, other, known))).numpy()
    for b in range(2):
        for y in range(4):
            for x in range(5):
                p, q = one[b, :, y, x], other[b, :, y, x]
                expected = p
                if known[b, y, x] and p.sum() and q.sum():
                    k, m = (1 + (v * np.log(v)).sum() / math.log(3) for v in (p, q))
                    expected = (k * p + m * q) / (k + m)
                assert np.allclose(found[b, :, y, x], expected)


def test_looks_at_all_times_are_fused_by_how_sure_they_are() -> None:
    first, others = distributions(0, (3, 3, 4, 5)), distributions(1, (5, 3, 4, 5))
    known = np.random.default_rng(2).random((5, 4, 5)) < 0.5
    of = [0, 0, 0, 1, 2]
    found = fused(*map(torch.from_numpy, (first, others, known, np.array(of)))).numpy()

    def sureness(values: np.ndarray) -> float:
        return float(1 + (values * np.log(values)).sum() / math.log(3))

    for b in range(3):
        for y in range(4):
            for x in range(5):
                looks = [first[b, :, y, x]]
                looks += [others[m, :, y, x] for m in range(5) if of[m] == b and known[m, y, x]]
                weights = [sureness(look) for look in looks]
                expected = np.average(looks, axis=0, weights=weights)
                assert np.allclose(found[b, :, y, x], expected)
    with pytest.raises(ValueError, match="5 other looks of 3 images"):
        fused(*map(torch.from_numpy, (first, others, known)))


FURTHER = PairedArrays(
    TargetArrays(
        RANDOM.integers(0, 256, (10, *SIZE, 3), dtype=np.uint8), RANDOM.random((10, *SIZE)) < 0.5
    ),
    RANDOM.uniform(0, 15, (4, 4, *SIZE, 2)).astype(np.float32),
    further=3,
)
"""Two places at five times: images 0 to 3 are their pairs, 4 to 6 and 7 to 9 what is beside."""


def test_places_at_several_times_are_learned_from_at_two() -> None:
    assert len(FURTHER) == 4
    assert FURTHER.partners([0, 1, 3]) == [[1, 4, 5, 6], [0, 4, 5, 6], [2, 7, 8, 9]]
    found = FURTHER.fields([0, 1, 3, 3], [1, 5, 2, 9])
    expected = [FURTHER.all_fields[k, i] for k, i in ((0, 0), (2, 1), (0, 3), (3, 3))]
    assert np.array_equal(found, expected)
    with pytest.raises(ValueError, match="10 images are not pairs"):
        replace(FURTHER, further=2)
    with pytest.raises(ValueError, match=r"fields .* do not fit 4 images of pairs of 16×24"):
        replace(FURTHER, all_fields=FURTHER.all_fields[:3])


def test_a_batch_has_all_looks_at_its_places_mirrored_as_it_is() -> None:
    training = adaptation(alone("two_looks"), target=FURTHER)
    indices = training._domains._target.reading.indices(0, 4)
    batch = training._domains.batch(0, 4)
    partner = batch.partner
    assert partner is not None
    assert partner.of.tolist() == [place for place in range(4) for _ in range(4)]
    turned = [key.endswith("-mirrored") for key in batch.keys["target"]]
    assert True in turned
    assert False in turned
    others = [other for index in indices for other in FURTHER.partners([index])[0]]
    for look, other in enumerate(others):
        place = int(partner.of[look])
        expected = np.moveaxis(FURTHER.images([other])[0], -1, 0) / np.float32(255)
        field = FURTHER.fields([indices[place]], [other])[0]
        if turned[place]:
            expected, field = expected[..., ::-1], field[:, ::-1] * (-1, 1) + (23, 0)
        assert np.allclose(partner.images[look].numpy(), expected, atol=1e-6)
        assert np.allclose(partner.field[look].numpy(), field, atol=1e-5)


def test_what_a_step_learns_from_many_looks() -> None:
    rates = [0.6, 0.3, 0.1]
    recipe = replace(alone("two_looks"), uses_prior=True, evidence=True)
    training = adaptation(recipe, target=FURTHER, flag_rates=rates)
    partner = training._domains.batch(0, 4).partner
    assert partner is not None
    sizes: list[int] = []
    teacher = training._predictions.teacher
    assert teacher is not None
    seen = teacher.features
    teacher.features = lambda images: sizes.append(len(images)) or seen(images)  # type: ignore[method-assign]
    features, phi = training._predictions.of_partner(partner)
    assert sizes == [4, 4, 4, 4]  # never more at once than the batch has
    assert torch.allclose(features, seen(partner.images), atol=1e-5)
    plain = teacher.upsample(teacher.classify(features), SIZE).softmax(1)
    assert torch.allclose(phi, weigh_by_prior(plain, partner.prior, torch.tensor(rates)), atol=1e-5)
    (row,) = training.advance(1)
    assert 0 < row["two_looks_matched"] <= 1
    consistent = adaptation(alone("feature_consistency"), target=FURTHER).advance(2)
    assert all(np.isfinite(each["feature_consistency_loss"]) for each in consistent)


def test_an_image_that_is_the_only_one_of_its_place_is_named() -> None:
    class Alone(PairedArrays):
        def partners(self, indices: Sequence[int]) -> list[list[int]]:
            return [[] if index == 2 else [index ^ 1] for index in indices]

    training = adaptation(alone("two_looks"), target=Alone(TARGET.target, TARGET.all_fields))
    with pytest.raises(ValueError, match="image 2 of the target set is the only one of its place"):
        training.advance(3)


def test_a_sure_look_is_one_and_an_even_one_is_nothing() -> None:
    phi = torch.tensor([[1.0, 1 / 3], [0.0, 1 / 3], [0.0, 1 / 3]]).reshape(1, 3, 1, 2)
    assert torch.allclose(confidence(phi).flatten(), torch.tensor([1.0, 0.0]), atol=1e-6)


def test_a_partner_that_is_the_image_itself_teaches_what_the_image_does() -> None:
    images = np.repeat(RANDOM.integers(0, 256, (2, *SIZE, 3), dtype=np.uint8), 2, axis=0)
    target = PairedArrays(TargetArrays(images), TARGET.all_fields)
    training = adaptation(alone("two_looks"), target=target)
    (row,) = training.advance(1)
    assert row["two_looks_matched"] == 1
    again = adaptation(
        alone("two_looks"),
        target=PairedArrays(TargetArrays(images), np.full_like(TARGET.all_fields, np.nan)),
    )
    (without,) = again.advance(1)
    assert without["two_looks_matched"] == 0
    assert row["two_looks_loss"] == pytest.approx(without["two_looks_loss"], rel=1e-4)


def test_each_look_is_refined_by_its_own_prior() -> None:
    rates = [0.6, 0.3, 0.1]
    recipe = replace(alone("two_looks"), uses_prior=True, evidence=True)
    training = adaptation(recipe, flag_rates=rates)
    indices = training._domains._target.reading.indices(0, 4)
    batch = training._domains.batch(0, 4)
    partner = batch.partner
    assert partner is not None
    turned = [key.endswith("-mirrored") for key in batch.keys["target"]]
    assert True in turned
    assert False in turned
    for row, index in enumerate(indices):
        expected = TARGET.priors([index ^ 1])[0]
        expected = expected[:, ::-1] if turned[row] else expected
        assert np.array_equal(partner.prior[row].numpy(), expected)
        assert not np.array_equal(expected, batch.prior[row].numpy())
    features, phi = training._predictions.of_partner(partner)
    teacher = training._predictions.teacher
    assert teacher is not None
    plain = teacher(partner.images).softmax(1)
    assert torch.allclose(phi, weigh_by_prior(plain, partner.prior, torch.tensor(rates)), atol=1e-5)
    assert not torch.allclose(phi, plain, atol=1e-3)
    assert torch.allclose(features, teacher.features(partner.images), atol=1e-6)


def test_what_is_ignored_in_the_other_look_is_of_no_class_there() -> None:
    ignored = np.zeros((4, *SIZE), dtype=np.bool_)
    ignored[1::2, :4] = True
    arrays = TargetArrays(TARGET.target.all_images, TARGET.target.all_priors, ignored)
    training = adaptation(alone("two_looks"), target=PairedArrays(arrays, TARGET.all_fields))
    indices = training._domains._target.reading.indices(0, 4)
    partner = training._domains.batch(0, 4).partner
    assert partner is not None
    _, phi = training._predictions.of_partner(partner)
    for row, index in enumerate(indices):
        assert (phi[row].sum(0) == 0).numpy().any() == (index % 2 == 0)


# Features of matched points


def test_point_loss_against_numpy() -> None:
    random = np.random.default_rng(0)
    ours, theirs = random.normal(size=(6, 4)), random.normal(size=(6, 4))
    unit = [v / np.linalg.norm(v, axis=1, keepdims=True) for v in (ours, theirs)]
    logits = unit[0] @ unit[1].T / 0.2
    expected = np.mean([np.log(np.exp(logits[n]).sum()) - logits[n, n] for n in range(6)])
    found = point_loss(torch.from_numpy(ours), torch.from_numpy(theirs), 0.2)
    assert float(found) == pytest.approx(expected)
    assert point_loss(torch.zeros(1, 4), torch.zeros(1, 4), 0.2) == 0


def test_a_field_at_cells_of_eight_pixels_is_the_field_in_cells() -> None:
    field = torch.from_numpy(FIELDS)[None] + torch.tensor([8.0, 0.0])
    cells = _at_cells(field, (2, 3))
    rows, columns = np.mgrid[:2, :3]
    assert np.allclose(cells[0].numpy(), np.stack([columns + 1, rows], -1), atol=0.07)


def test_matched_features_come_closer() -> None:
    training = Adaptation(
        segmenter(),
        None,
        TARGET,
        replace(SETTINGS, steps=40, learning_rate=1e-2),
        0,
        recipe=alone("feature_consistency", points=6, temperature=0.5),
    )
    rows = training.advance(40)
    assert rows[-1]["feature_consistency_loss"] < rows[0]["feature_consistency_loss"]


# Masked consistency


def test_squares_are_hidden_as_often_as_is_said() -> None:
    torch.manual_seed(0)
    shown = shown_squares(torch.zeros(40, 3, 30, 50), 8, 0.7)
    assert shown.shape == (40, 1, 30, 50)
    for image in shown[:, 0]:
        for y in range(0, 30, 8):
            for x in range(0, 50, 8):
                square = image[y : y + 8, x : x + 8]
                assert square.all() or not square.any()
    assert 0.27 < shown.float().mean() < 0.33


def test_weighted_cross_entropy_against_numpy() -> None:
    random = np.random.default_rng(0)
    logits, weights = random.normal(size=(2, 3, 4, 5)), random.random((2, 4, 5))
    labels = random.integers(0, 3, (2, 4, 5))
    logs = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    chosen = np.take_along_axis(logs, labels[:, None], 1)[:, 0]
    expected = -(chosen * weights).sum() / weights.sum()
    found = weighted_cross_entropy(*map(torch.from_numpy, (logits, labels, weights)))
    assert float(found) == pytest.approx(expected, rel=1e-5)
    nothing = weighted_cross_entropy(
        torch.from_numpy(logits), torch.from_numpy(labels), torch.zeros(2, 4, 5)
    )
    assert nothing == 0


def test_masked_consistency_is_the_seeds() -> None:
    one, again = (adaptation(alone("masked_consistency", side=4)) for _ in range(2))
    assert one.advance(3) == again.advance(3)


def test_options_that_an_objective_has_not_are_reported() -> None:
    with pytest.raises(ValueError, match="'masked_consistency' has no option 'size'; its options"):
        adaptation(alone("masked_consistency", size=4))
    with pytest.raises(ValueError, match="'masked_consistency': hidden must be in"):
        adaptation(alone("masked_consistency", hidden=2.0))
    with pytest.raises(ValueError, match="'self_training' has no option 'side'; its options: none"):
        adaptation(alone("self_training", side=4))


# Rare classes of the source


def test_rare_classes_are_drawn_as_the_equation_says() -> None:
    pixels = np.array([[900, 0, 0], [800, 100, 0], [850, 0, 50], [700, 150, 150]])
    sampler = RareClassSampler(pixels, seed=1, temperature=0.3, least_pixels=60)
    shares = pixels.sum(0) / pixels.sum()
    chances = np.exp((1 - shares) / 0.3)
    assert np.allclose(sampler.chances, chances / chances.sum())
    drawn = np.array(sampler.batch(0, 6000))
    expected = np.zeros(4)
    for c, images in enumerate(([0, 1, 2, 3], [1, 3], [3])):  # 50 pixels are too few of class 2
        expected[images] += sampler.chances[c] / len(images)
    assert np.allclose(np.bincount(drawn, minlength=4) / 6000, expected, atol=0.02)
    assert sampler.batch(3, 4) == sampler.batch(0, 16)[12:]


def test_pixels_are_counted_by_image() -> None:
    counts = pixels_by_image(SOURCE, 3)
    for index, labels in enumerate(SOURCE.all_labels):
        assert counts[index].tolist() == [(labels == c).sum() for c in range(3)]


def test_rare_class_sampling_reads_other_images_and_resumes() -> None:
    recipe = Recipe((Term("source_task"),), source_sampling="rare_classes")
    whole, first = adaptation(recipe), adaptation(recipe)
    rows = whole.advance(3)
    before = first.advance(2)
    second = adaptation(recipe)
    second.restore(first.state())
    assert before + second.advance(1) == rows
    assert rows != adaptation(Recipe((Term("source_task"),))).advance(3)


# Labels of a few places, recipes without a source, teachers, what moves


def test_few_labels_are_learned_with_and_without_a_source() -> None:
    few = LabelledArrays(SOURCE.all_images[:2], np.full((2, *SIZE), 1, dtype=np.uint8))
    settings = replace(SETTINGS, steps=30, learning_rate=1e-2)
    for source, terms in (
        (SOURCE, (Term("source_task"), Term("few_labels"))),
        (None, (Term("self_training", weight=0.1), Term("few_labels"))),
    ):
        recipe = Recipe(terms)
        training = Adaptation(segmenter(), source, TARGET, settings, 0, recipe=recipe, labelled=few)
        rows = training.advance(30)
        assert rows[-1]["few_labels_loss"] < 0.5 * rows[0]["few_labels_loss"]


def test_what_a_recipe_needs_and_a_set_lacks_is_said_before_any_step() -> None:
    with pytest.raises(ValueError, match="trains on a source set, and there is none"):
        adaptation(Recipe((Term("source_task"),)), source=None)
    with pytest.raises(ValueError, match="the target set has no pairs of images"):
        adaptation(alone("two_looks"), target=TARGET.target)
    with pytest.raises(ValueError, match="learns from labels of the target, and there are none"):
        adaptation(alone("few_labels"))


def test_a_teacher_of_ones_own_predicts_and_is_not_changed() -> None:
    teacher = segmenter(seed=9)
    before = {name: value.clone() for name, value in teacher.state_dict().items()}
    taught = adaptation(alone("self_training"), teacher=teacher)
    rows = taught.advance(3)
    assert rows != adaptation(alone("self_training")).advance(3)
    assert all(torch.equal(before[name], value) for name, value in teacher.state_dict().items())
    assert not any(name.startswith("teacher.") for name in taught.state().tensors)
    with pytest.raises(ValueError, match="take a teacher of the same classes"):
        adaptation(alone("self_training"), teacher=segmenter(names=["road", "sky", "bus"]))


@pytest.mark.parametrize("trainable", ["head", "last: 1", "last: 2"])
def test_only_what_is_trainable_moves(trainable: str) -> None:
    recipe = Recipe((Term("source_task"),), trainable=trainable)
    training = adaptation(recipe)
    before = {n: p.detach().clone() for n, p in training.segmenter.named_parameters()}
    training.advance(2)
    moved = {n for n, p in training.segmenter.named_parameters() if not torch.equal(p, before[n])}
    head = {name for name in before if name.startswith("classifier.")}
    assert head <= moved
    assert (moved == head) is (trainable == "head")
    layers = {name.rpartition(".")[0] for name in moved - head}
    assert len(layers) == {"head": 0, "last: 1": 1, "last: 2": 2}[trainable]


def test_features_of_a_frozen_backbone_are_computed_once_an_image(tmp_path: Path) -> None:
    recipe = Recipe((Term("source_task"), Term("self_training", weight=0.5)), trainable="head")
    settings = replace(SETTINGS, steps=20)
    training = Adaptation(
        segmenter(), SOURCE, TARGET, settings, 0, recipe=recipe, features=tmp_path
    )
    calls: list[int] = []
    extract = training.segmenter.extract

    def counted(images: torch.Tensor) -> torch.Tensor:
        calls.append(len(images))
        return extract(images)

    training.segmenter.extract = counted  # type: ignore[method-assign]
    training.advance(19)
    # Four images of each domain, each also mirrored, one at a time; 80 went through a batch.
    assert calls == [1] * len(calls)
    assert len(calls) <= 16
    assert len(list(tmp_path.glob("*.npy"))) == len(calls)


def test_a_head_on_kept_features_learns_what_a_plain_loop_does() -> None:
    recipe = Recipe((Term("source_task"),), trainable="head")
    settings = replace(SETTINGS, steps=4, flip=False)
    training = Adaptation(segmenter(), SOURCE, TARGET, settings, 0, recipe=recipe)
    plain = segmenter().eval()
    head = [p for n, p in plain.named_parameters() if n.startswith("classifier.")]
    optimiser = torch.optim.Adam(head, lr=1e-3)
    batches = SourceBatches(SOURCE, plain, seed=0, flip=False)
    for number in range(4):
        images, labels = batches.batch(number, 2)
        with torch.no_grad():
            features = torch.cat([plain.features(image[None]) for image in images])
        logits = plain.upsample(plain.classify(features), SIZE)
        optimiser.zero_grad()
        task_loss(logits, labels).backward()
        optimiser.step()
    training.advance(4)
    ours = training.segmenter.state_dict()
    for name, value in plain.state_dict().items():
        torch.testing.assert_close(ours[name], value, rtol=1e-4, atol=1e-6)


def test_a_head_resumes_with_the_same_bytes_without_what_was_kept() -> None:
    recipe = Recipe((Term("source_task"), Term("self_training", weight=0.5)), trainable="head")
    whole, first, second = (adaptation(recipe) for _ in range(3))
    rows = whole.advance(3)
    before = first.advance(2)
    second.restore(first.state())
    assert before + second.advance(1) == rows


def test_more_layers_than_there_are_is_reported() -> None:
    with pytest.raises(ValueError, match=r"have [0-9]+ layers: write a smaller number"):
        trainable_parameters(segmenter(), "last: 999")
    with pytest.raises(ValueError, match=r"trainable must be one of"):
        Recipe((Term("source_task"),), trainable="tail")


@pytest.mark.parametrize(
    "objective", ["two_looks", "feature_consistency", "masked_consistency", "self_training"]
)
def test_each_resumes_with_the_same_bytes(objective: str) -> None:
    recipe = Recipe((Term("source_task"), Term(objective, weight=0.5)))
    whole, first, second = (adaptation(recipe) for _ in range(3))
    rows = whole.advance(3)
    before = first.advance(1)
    second.restore(first.state())
    assert before + second.advance(2) == rows
    mine, theirs = second.state().tensors, whole.state().tensors
    assert all(torch.equal(value, theirs[name]) for name, value in mine.items())


def test_a_constant_weight_is_there_from_its_start() -> None:
    term = Term("self_training", weight=2.0, start=0.5, ramp="constant")
    assert [term.weight_at(step, SETTINGS) for step in range(3)] == [0.0, 0.0, 2.0]
