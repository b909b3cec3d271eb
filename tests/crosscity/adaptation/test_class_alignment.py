from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.autograd import gradcheck

from crosscity.adaptation.grid_labels import normalise_over_cells
from crosscity.adaptation.objectives.class_alignment import (
    class_accuracy,
    class_discriminator_loss,
    class_inverse_loss,
)

Sample = tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]


def sigmoid(x: float) -> float:
    return 1 / (1 + np.exp(-x))


def by_loops(sample: Sample, *, inverse: bool) -> float:
    """The sums of eq. 9 or 10, each divided by its number of images."""
    source, target, source_weights, target_weights = (t.numpy() for t in sample)
    total = 0.0
    for logits, weights, is_source in (
        (source, source_weights, True),
        (target, target_weights, False),
    ):
        for image, c, i, j in np.ndindex(*logits.shape):
            p = sigmoid(logits[image, c, i, j])
            said = p if is_source != inverse else 1 - p
            total -= weights[image, c, i, j] * np.log(said) / logits.shape[0]
    return total


@pytest.fixture
def sample() -> Sample:
    random = np.random.default_rng(7)
    logits = [torch.from_numpy(random.normal(size=(n, 3, 4, 5))) for n in (2, 3)]
    weights = [normalise_over_cells(torch.from_numpy(random.random((n, 3, 4, 5)))) for n in (2, 3)]
    weights[0][1, 2] = 0  # a class that an image does not have
    return logits[0], logits[1], weights[0], weights[1]


@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_equations_9_and_10_against_loops(sample: Sample, reduction: str) -> None:
    divisor = 3 if reduction == "mean" else 1
    direct = class_discriminator_loss(*sample, reduction=reduction)
    assert direct.item() == pytest.approx(by_loops(sample, inverse=False) / divisor)
    inverse = class_inverse_loss(*sample, reduction=reduction)
    assert inverse.item() == pytest.approx(by_loops(sample, inverse=True) / divisor)


def test_classes_without_mass_add_nothing(sample: Sample) -> None:
    source, target, source_weights, target_weights = sample
    source_weights[:, 1] = 0
    target_weights[:, 1] = 0
    changed = source.clone()
    changed[:, 1] = 50
    assert class_inverse_loss(source, target, source_weights, target_weights) == class_inverse_loss(
        changed, target, source_weights, target_weights
    )


def test_no_gradient_through_the_weights(sample: Sample) -> None:
    source, target, source_weights, target_weights = sample
    source.requires_grad_()
    source_weights.requires_grad_()
    target_weights.requires_grad_()
    for loss in (class_discriminator_loss, class_inverse_loss):
        loss(source, target, source_weights, target_weights).backward()
    assert source.grad is not None
    assert source_weights.grad is None
    assert target_weights.grad is None


def test_gradients_to_the_logits(sample: Sample) -> None:
    source, target, *weights = sample
    inputs = (source.requires_grad_(), target.requires_grad_())
    for loss in (class_discriminator_loss, class_inverse_loss):
        assert gradcheck(lambda s, t, loss=loss: loss(s, t, *weights), inputs)


def test_accuracy_weighs_cells_by_class_mass() -> None:
    source = torch.tensor([[[[1.0, -1.0]]]])
    target = torch.tensor([[[[-1.0, 1.0]]]])
    weights = torch.tensor([[[[0.9, 0.1]]]])
    assert float(class_accuracy(source, target, weights, weights)) == pytest.approx(0.9)


def test_shapes_must_agree(sample: Sample) -> None:
    source, target, source_weights, target_weights = sample
    with pytest.raises(ValueError, match="differ in shape"):
        class_inverse_loss(source, target, source_weights[:, :2], target_weights)
