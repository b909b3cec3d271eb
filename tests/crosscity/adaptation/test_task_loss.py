from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch.autograd import gradcheck

from crosscity.adaptation.image_sets import LabelledArrays
from crosscity.adaptation.task_loss import (
    class_pixels,
    class_weights,
    missing_classes,
    shown_classes,
    task_loss,
)


def brute_force(logits: np.ndarray, labels: np.ndarray, weights: np.ndarray) -> float:
    total, weight = 0.0, 0.0
    for image in range(labels.shape[0]):
        for row in range(labels.shape[1]):
            for column in range(labels.shape[2]):
                label = labels[image, row, column]
                if label == 255:
                    continue
                x = logits[image, :, row, column]
                total -= weights[label] * (x[label] - np.log(np.exp(x).sum()))
                weight += weights[label]
    return total / weight if weight else 0.0


@pytest.fixture
def sample() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    random = np.random.default_rng(1)
    labels = random.integers(0, 4, (2, 5, 6))
    labels[random.random(labels.shape) < 0.3] = 255
    return random.normal(size=(2, 4, 5, 6)), labels, random.uniform(0.5, 2, 4)


def test_agrees_with_loops(sample: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    logits, labels, weights = sample
    plain = task_loss(torch.from_numpy(logits), torch.from_numpy(labels))
    assert plain.item() == pytest.approx(brute_force(logits, labels, np.ones(4)))
    weighted = task_loss(
        torch.from_numpy(logits), torch.from_numpy(labels), torch.from_numpy(weights)
    )
    assert weighted.item() == pytest.approx(brute_force(logits, labels, weights))


@pytest.mark.parametrize("balanced", [True, False])
def test_what_the_weighted_loss_makes_of_known_frequencies(balanced: bool) -> None:
    frequency, weights = torch.tensor([0.7, 0.2, 0.1]), torch.tensor([0.5, 1.0, 4.0])
    labels = torch.tensor([0] * 7 + [1] * 2 + [2]).reshape(1, 1, 10)
    logits = torch.zeros(1, 3, 1, 1, requires_grad=True)
    optimiser = torch.optim.SGD([logits], lr=1.0)
    for _ in range(300):
        optimiser.zero_grad()
        shown = logits.expand(1, 3, 1, 10)
        task_loss(shown, labels, weights, balanced_predictions=balanced).backward()
        optimiser.step()
    expected = frequency * weights if balanced else frequency
    found = logits.detach().softmax(1).flatten()
    torch.testing.assert_close(found, expected / expected.sum(), rtol=1e-3, atol=1e-4)


def test_void_pixels_have_no_influence(
    sample: tuple[np.ndarray, np.ndarray, np.ndarray],
) -> None:
    logits, labels, _ = sample
    changed = logits + 100 * (labels == 255)[:, None] * np.arange(4)[None, :, None, None]
    first = task_loss(torch.from_numpy(logits), torch.from_numpy(labels))
    second = task_loss(torch.from_numpy(changed), torch.from_numpy(labels))
    assert first.item() == pytest.approx(second.item(), rel=1e-12)


def test_nothing_but_void_is_zero_with_zero_gradient() -> None:
    logits = torch.randn(1, 3, 2, 2, requires_grad=True)
    loss = task_loss(logits, torch.full((1, 2, 2), 255))
    loss.backward()
    assert loss.item() == 0
    assert logits.grad is not None
    assert not logits.grad.any()


def test_gradient(sample: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    logits, labels, weights = sample
    x = torch.from_numpy(logits).requires_grad_()
    assert gradcheck(
        lambda x: task_loss(x, torch.from_numpy(labels), torch.from_numpy(weights)), (x,)
    )


def test_sizes_must_agree() -> None:
    with pytest.raises(ValueError, match="differ in size: upsample"):
        task_loss(torch.zeros(1, 3, 2, 2), torch.zeros(1, 4, 4, dtype=torch.long))


def test_class_weights_follow_frequencies() -> None:
    labels = np.zeros((2, 4, 8), dtype=np.uint8)
    labels[0, :, :4] = 1
    labels[1, 0] = 255
    source = LabelledArrays(np.zeros((2, 4, 8, 3), dtype=np.uint8), labels)
    counts = class_pixels(source, 3)
    assert counts.tolist() == [40, 16, 0]
    assert class_weights(counts, 0.0) is None
    weights = class_weights(counts, 0.5)
    assert weights is not None
    frequency = np.array([40 / 56, 16 / 56])
    # Proportional to frequency ** -1/2 ...
    assert weights[1] / weights[0] == pytest.approx((frequency[0] / frequency[1]) ** 0.5, rel=1e-6)
    # ... an absent class finite, and 1 on average over the pixels.
    assert weights[2] / weights[0] == pytest.approx((frequency[0] / 1e-4) ** 0.5, rel=1e-5)
    assert float(weights[0]) * frequency[0] + float(weights[1]) * frequency[1] == pytest.approx(
        1, abs=0.02
    )


def test_classes_without_a_pixel_are_named() -> None:
    names = ["road", "bus", "sky"]
    (said,) = missing_classes(np.array([True, False, False]), names, "source")
    assert said.startswith("the source set has no pixel of bus, sky:")
    assert missing_classes(np.array([True, True, True]), names, "source") == ()


def test_a_class_on_a_single_image_of_many_is_found() -> None:
    labels = np.zeros((600, 1, 2), dtype=np.uint8)
    labels[8, 0, 0] = 1  # not among the 256 that are counted
    source = LabelledArrays(np.zeros((600, 1, 2, 3), dtype=np.uint8), labels)
    counts = class_pixels(source, 3)
    assert counts.tolist() == [512, 0, 0]
    assert shown_classes(source, counts).tolist() == [True, True, False]


def test_no_more_images_are_looked_at_than_it_takes() -> None:
    labels = np.zeros((600, 1, 3), dtype=np.uint8)
    labels[:, 0] = [0, 1, 2]

    class Counting(LabelledArrays):
        asked = 0

        def labels(self, indices: Sequence[int]) -> np.ndarray:
            Counting.asked += len(indices)
            return super().labels(indices)

    source = Counting(np.zeros((600, 1, 3, 3), dtype=np.uint8), labels)
    assert shown_classes(source, class_pixels(source, 3)).all()
    assert Counting.asked == 256
