from __future__ import annotations

import copy
import math
from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from torch.nn import functional

from crosscity.adaptation import LabelledArrays, Pretraining, PretrainingSettings, TargetArrays
from crosscity.adaptation.class_thresholds import ClassThresholds
from crosscity.adaptation.image_sets import PairedArrays
from crosscity.adaptation.photometric import photometric_jitter
from crosscity.adaptation.source_free import (
    SourceFree,
    SourceFreeSettings,
    _Lesson,
    _mixed,
    _weighted_loss,
)
from crosscity.segmenters import build_segmenter, image_tensor

RANDOM = np.random.default_rng(2)
TARGET = TargetArrays(RANDOM.integers(0, 256, (6, 32, 48, 3), dtype=np.uint8))
PLAIN = SourceFreeSettings(
    steps=4, batch_size=2, statistics=0, kept=1, jitter=0, smallest_crop=1, flip=False, mix=False
)


def segmenter(**options):
    return build_segmenter("compact", {"width": 8, "dropout": 0.0, **options}, seed=1)


def test_a_plain_step_is_weighted_cross_entropy_on_the_teachers_labels() -> None:
    settings = replace(PLAIN, steps=1, weight_decay=0.0, deliver="student", kept=0.5)
    training = SourceFree(segmenter(), TARGET, settings, seed=0)
    order = training._target.reading._sampler.batch(0, 2)
    training.advance(1)

    mine = segmenter().eval()
    images = image_tensor(TARGET.images(order))
    probabilities = functional.softmax(mine(images).detach(), 1)
    sureness, labels = probabilities.max(1)
    weights = torch.zeros_like(sureness)
    for index in labels.unique():
        values = sureness[labels == index]
        threshold = min(float(torch.quantile(values[:: max(1, len(values) // 10_000)], 0.5)), 0.95)
        weights[labels == index] = torch.where(values >= threshold, values, 0.0)
    optimiser = torch.optim.AdamW(mine.parameters(), lr=settings.learning_rate, weight_decay=0.0)
    losses = functional.cross_entropy(mine(images), labels, reduction="none")
    ((losses * weights).sum() / weights.sum()).backward()
    optimiser.step()
    for name, value in training.segmenter.state_dict().items():
        torch.testing.assert_close(value, mine.state_dict()[name], atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("deliver", ["teacher", "averaged", "student"])
def test_what_is_delivered(deliver) -> None:
    start = segmenter()
    settings = replace(PLAIN, deliver=deliver, teacher_momentum=0.5, learning_rate=1e-3)
    training = SourceFree(copy.deepcopy(start), TARGET, settings, seed=0)
    training.advance(3)
    assert not training.finished
    student = copy.deepcopy(training.segmenter)
    training.advance(1)
    teacher = dict(training._teacher.named_parameters())
    first = dict(start.named_parameters())
    for name, value in training.segmenter.named_parameters():
        if deliver == "teacher":
            assert torch.equal(value, teacher[name])
        if deliver == "averaged":
            torch.testing.assert_close(value, (teacher[name] + first[name]) / 2)
    moved = [
        not torch.equal(a, b)
        for a, b in zip(training.segmenter.parameters(), student.parameters(), strict=True)
    ]
    assert any(moved)


@pytest.mark.parametrize("changes", [{}, {"anchor": 0.1}, {"deliver": "averaged"}, {"looks": True}])
def test_a_resumed_training_ends_with_the_same_bytes(changes) -> None:
    settings = SourceFreeSettings(steps=5, batch_size=2, **changes)
    target = paired(EVERYWHERE) if settings.looks else TARGET
    whole = SourceFree(segmenter(dropout=0.3), target, settings, seed=3)
    whole.advance(5)
    first = SourceFree(segmenter(dropout=0.3), target, settings, seed=3)
    first.advance(2)
    state = first.state()
    second = SourceFree(segmenter(dropout=0.3), target, settings, seed=3)
    second.restore(state)
    second.advance(5)
    for name, value in whole.segmenter.state_dict().items():
        assert torch.equal(value, second.segmenter.state_dict()[name]), name


def paired(field, *, ignored=None, further=0):
    """The six images as pairs of places, each with the same field."""
    target = replace(TARGET, all_ignored=ignored)
    learned = 6 if not further else 2 * (6 // (2 + further))
    looks = (1 + further,) if further else ()
    fields = np.broadcast_to(field, (*looks, learned, 32, 48, 2)).astype(np.float32)
    return PairedArrays(target, fields, further)


EVERYWHERE = np.stack(np.meshgrid(np.arange(48), np.arange(32)), axis=-1)
"""A field of two images whose pixels lie at the same places."""
BOTH = replace(PLAIN, looks=True)


def seen(images):
    return functional.softmax(segmenter().eval()(image_tensor(images)).detach(), 1)


def sure(phi):
    return 1 + (phi * phi.log()).sum(1, keepdim=True) / math.log(phi.shape[1])


@pytest.mark.parametrize("further", [0, 1])
def test_labels_of_all_looks_are_fused_by_how_sure_each_is(further) -> None:
    training = SourceFree(segmenter(), paired(EVERYWHERE, further=further), BOTH, seed=0)
    order = training._target.reading._sampler.batch(0, 2)
    lesson = training._lesson(0)
    others = paired(EVERYWHERE, further=further).partners(order)
    looks = [seen(TARGET.images(order))]
    looks += [seen(TARGET.images(one)) for one in zip(*others, strict=True)]
    fused = sum(sure(phi) * phi for phi in looks) / sum(sure(phi) for phi in looks)
    weights, labels = fused.max(1)
    assert torch.equal(lesson.labels, labels)
    torch.testing.assert_close(lesson.weights, weights)


def test_a_look_without_a_match_or_of_pixels_to_ignore_says_nothing() -> None:
    alone = SourceFree(segmenter(), TARGET, PLAIN, seed=0)._lesson(0)
    nowhere = paired(np.full_like(EVERYWHERE, np.nan, dtype=np.float32))
    unmatched = SourceFree(segmenter(), nowhere, BOTH, seed=0)
    order = unmatched._target.reading._sampler.batch(0, 2)
    hidden = np.ones((6, 32, 48), dtype=np.bool_)
    hidden[order] = False  # what is learned from; the other looks show nothing of the street
    if order[0] ^ 1 == order[1]:
        pytest.fail("the batch has both looks of one place: choose another seed")
    covered = SourceFree(segmenter(), paired(EVERYWHERE, ignored=hidden), BOTH, seed=0)
    for training in (unmatched, covered):
        lesson = training._lesson(0)
        assert torch.equal(lesson.labels, alone.labels)
        torch.testing.assert_close(lesson.weights, alone.weights)


def test_all_looks_need_pairs() -> None:
    with pytest.raises(ValueError, match="need pairs of images, and the target set has none"):
        SourceFree(segmenter(), TARGET, BOTH, seed=0)


def test_mixing_moves_kept_things_with_their_labels_and_weights() -> None:
    images = torch.arange(3.0).reshape(3, 1, 1, 1).expand(3, 3, 2, 2).clone()
    labels = torch.tensor([[[0, 5], [5, 0]], [[1, 1], [1, 1]], [[2, 2], [2, 5]]])
    weights = torch.ones(3, 2, 2)
    weights[0, 1, 0] = 0  # not kept, so not moved
    mixed = _mixed(_Lesson(images, labels, weights), torch.tensor([5]))
    assert mixed.labels[1].tolist() == [[1, 5], [1, 1]]
    assert mixed.images[1, 0].tolist() == [[1, 0], [1, 1]]
    assert mixed.labels[0].tolist() == [[0, 5], [5, 5]]
    assert mixed.weights[0].tolist() == [[1, 1], [0, 1]]


def test_a_lesson_without_a_kept_pixel_costs_nothing() -> None:
    lesson = _Lesson(torch.zeros(1, 3, 2, 2), torch.zeros(1, 2, 2).long(), torch.zeros(1, 2, 2))
    logits = torch.randn(1, 3, 2, 2, requires_grad=True)
    loss = _weighted_loss(logits, lesson)
    loss.backward()
    assert loss.item() == 0
    assert not logits.grad.any()


def test_thresholds_keep_the_share_of_every_class() -> None:
    thresholds = ClassThresholds(3, kept=0.25)
    labels = torch.tensor([0] * 400 + [1] * 40).reshape(1, 20, 22)
    sure = torch.cat([0.9 + 0.05 * torch.rand(400), 0.3 * torch.rand(40)]).reshape(1, 20, 22)
    kept = thresholds.keep(labels, sure)
    assert kept[labels == 0].float().mean().item() == pytest.approx(0.25, abs=0.01)
    assert kept[labels == 1].float().mean().item() == pytest.approx(0.25, abs=0.03)
    assert math.isnan(thresholds.values[2])


def test_thresholds_move_slowly_and_never_above_the_surest() -> None:
    thresholds = ClassThresholds(2, kept=0.5, momentum=0.9, surest=0.95)
    labels = torch.zeros(1, 4, 4).long()
    thresholds.keep(labels, torch.full((1, 4, 4), 0.5))
    thresholds.keep(labels, torch.full((1, 4, 4), 1.0))
    assert thresholds.values[0].item() == pytest.approx(0.55)
    sure = ClassThresholds(2, kept=0.5)
    values = torch.cat([torch.full((8,), 0.96), torch.full((8,), 1.0)]).reshape(1, 4, 4)
    assert sure.keep(labels, values).all()


def test_jitter_stays_in_range_is_seeded_and_nothing_at_zero() -> None:
    images = torch.rand(4, 3, 16, 20)
    one, two = (photometric_jitter(images, np.random.default_rng(1), 1.0) for _ in range(2))
    assert torch.equal(one, two)
    assert one.shape == images.shape
    assert one.min() >= 0
    assert one.max() <= 1
    assert photometric_jitter(images, np.random.default_rng(1), 0.0) is images
    other = photometric_jitter(images, np.random.default_rng(2), 1.0)
    assert (one - other).abs().mean() > 0.01


def test_it_gains_where_the_light_has_changed() -> None:
    """Blocks of colours are learned in one light; the recipe follows them into another."""
    random = np.random.default_rng(7)
    colours = np.array([[60, 60, 60], [90, 120, 60], [120, 160, 220], [180, 60, 60]])

    def scenes(count: int, gain: float) -> tuple[np.ndarray, np.ndarray]:
        labels = random.integers(0, 4, (count, 2, 3)).repeat(16, 1).repeat(16, 2)
        images = colours[labels] + random.normal(0, 12, (*labels.shape, 3))
        return (images * gain).clip(0, 255).astype(np.uint8), labels.astype(np.uint8)

    images, labels = scenes(24, 1.0)
    network = build_segmenter("compact", {"width": 16, "class_names": list("abcd")}, seed=0)
    settings = PretrainingSettings(steps=120, batch_size=4)
    Pretraining(network, LabelledArrays(images, labels), settings, seed=0).advance(120)
    dim, truth = scenes(24, 0.75)

    def accuracy() -> float:
        with torch.no_grad():
            predicted = network.eval()(image_tensor(dim)).argmax(1).numpy()
        return float((predicted == truth).mean())

    before = accuracy()
    recipe = SourceFreeSettings(steps=40, batch_size=4, teacher_momentum=0.95, learning_rate=5e-4)
    SourceFree(network, TargetArrays(dim), recipe, seed=0).advance(40)
    assert accuracy() > before + 0.02


def test_the_student_learns_from_windows_of_what_the_teacher_sees() -> None:
    settings = replace(PLAIN, window=0.5)
    whole, part = (SourceFree(segmenter(), TARGET, each, seed=0) for each in (PLAIN, settings))
    labelled, shown = whole._lesson(0), part._lesson(0)
    assert shown.images.shape[-2:] == shown.labels.shape[-2:] == (16, 24)
    for image, labels, cut, cut_labels in zip(
        labelled.images, labelled.labels, shown.images, shown.labels, strict=True
    ):
        corners = [
            (top, left)
            for top in range(17)
            for left in range(25)
            if torch.allclose(image[:, top : top + 16, left : left + 24], cut, atol=1e-6)
        ]
        assert len(corners) == 1
        top, left = corners[0]
        assert torch.equal(labels[top : top + 16, left : left + 24], cut_labels)


@pytest.mark.parametrize(
    "changes",
    [
        {"steps": 0},
        {"learning_rate": 0.0},
        {"statistics": 1.5},
        {"kept": 0.0},
        {"smallest_crop": 1.1},
        {"window": 0.0},
        {"statistics": -0.5},
        {"teacher_momentum": 1.0},
        {"deliver": "best"},
        {"schedule": "linear"},
        {"jitter": -0.1},
        {"anchor": -1.0},
        {"statistics_images": 0},
    ],
)
def test_settings_out_of_range_are_named(changes) -> None:
    (name,) = changes
    assert name in {field.name for field in fields(SourceFreeSettings)}
    with pytest.raises(ValueError, match=name):
        SourceFreeSettings(**changes)


def test_no_image_is_one_sentence() -> None:
    with pytest.raises(ValueError, match="the target set is empty"):
        SourceFree(segmenter(), TargetArrays(TARGET.all_images[:0]), PLAIN, seed=0)
