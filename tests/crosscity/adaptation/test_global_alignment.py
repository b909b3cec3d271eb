from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.autograd import gradcheck

from crosscity.adaptation.objectives.global_alignment import (
    global_accuracy,
    global_discriminator_loss,
    global_inverse_loss,
)


def sigmoid(x: float) -> float:
    return 1 / (1 + np.exp(-x))


def by_loops(source: np.ndarray, target: np.ndarray) -> tuple[float, float]:
    direct = inverse = 0.0
    for x in source.flat:
        direct -= np.log(sigmoid(x)) / source.size
        inverse -= np.log(1 - sigmoid(x)) / source.size
    for x in target.flat:
        direct -= np.log(1 - sigmoid(x)) / target.size
        inverse -= np.log(sigmoid(x)) / target.size
    return direct, inverse


@pytest.fixture
def logits() -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(6)
    return 2 * random.normal(size=(2, 1, 3, 4)), 2 * random.normal(size=(3, 1, 2, 4))


def test_equations_4_and_5_against_loops(logits: tuple[np.ndarray, np.ndarray]) -> None:
    source, target = (torch.from_numpy(x) for x in logits)
    direct, inverse = by_loops(*logits)
    assert global_discriminator_loss(source, target).item() == pytest.approx(direct)
    assert global_inverse_loss(source, target).item() == pytest.approx(inverse)


def test_independent_of_the_number_of_cells(logits: tuple[np.ndarray, np.ndarray]) -> None:
    source, target = (torch.from_numpy(x) for x in logits)
    tiled = global_inverse_loss(source.repeat(1, 1, 3, 2), target.repeat(2, 1, 1, 1))
    assert tiled.item() == pytest.approx(global_inverse_loss(source, target).item())


def test_an_undecided_discriminator_costs_two_log_two() -> None:
    zeros = torch.zeros(1, 1, 2, 2)
    assert global_discriminator_loss(zeros, zeros).item() == pytest.approx(2 * np.log(2))


def test_sure_discriminators_give_finite_losses_and_a_gradient_to_the_features() -> None:
    source = torch.full((1, 1, 2, 2), 1000.0, requires_grad=True)
    target = torch.full((1, 1, 2, 2), -1000.0, requires_grad=True)
    assert global_discriminator_loss(source, target).item() == 0
    global_inverse_loss(source, target).backward()
    # The gradient that reversal (eq. 2) would lose: a full 1 per domain.
    assert source.grad is not None
    assert source.grad.sum().item() == pytest.approx(1)


def test_gradients(logits: tuple[np.ndarray, np.ndarray]) -> None:
    inputs = tuple(torch.from_numpy(x).requires_grad_() for x in logits)
    assert gradcheck(global_discriminator_loss, inputs)
    assert gradcheck(global_inverse_loss, inputs)


def test_accuracy_is_the_mean_of_both_domains() -> None:
    source = torch.tensor([1.0, 1.0, 1.0, -1.0])
    target = torch.tensor([-1.0, 1.0])
    assert float(global_accuracy(source, target)) == pytest.approx((0.75 + 0.5) / 2)


def test_weights_count_cells_as_often(logits: tuple[np.ndarray, np.ndarray]) -> None:
    """A cell of weight 2 counts like two cells, one of weight 0 like none."""
    source, target = (torch.from_numpy(x) for x in logits)
    weights = torch.ones_like(source)
    weights[0, 0, 0, 0], weights[1, 0, 2, 3] = 2.0, 0.0
    repeated = torch.cat([source.flatten(), source[0, 0, 0, :1]])
    kept = torch.ones(len(repeated), dtype=torch.bool)
    kept[source.numel() - 1] = False
    as_often = repeated[kept].reshape(1, 1, 1, -1)
    for loss in (global_discriminator_loss, global_inverse_loss, global_accuracy):
        torch.testing.assert_close(
            loss(source, target, weights), loss(as_often, target), check_dtype=False
        )
        torch.testing.assert_close(
            loss(source, target, torch.ones_like(source)), loss(source, target), check_dtype=False
        )
