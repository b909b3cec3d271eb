from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from crosscity.adaptation.discriminators import ClassDiscriminators, GlobalDiscriminator


@pytest.mark.parametrize("hidden", [(), (5,), (5, 7)])
def test_class_discriminators_are_independent_networks(hidden: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    together = ClassDiscriminators(6, 3, hidden, dropout=0.0)
    features = torch.randn(2, 6, 4, 5)
    found = together(features)
    assert found.shape == (2, 3, 4, 5)
    for c in range(3):
        x = features.permute(0, 2, 3, 1)
        for number, (weight, bias) in enumerate(
            zip(together.weights, together.biases, strict=True)
        ):
            x = functional.linear(torch.relu(x) if number else x, weight[c], bias[c])
        torch.testing.assert_close(found[:, c], x[..., 0])


def test_a_class_trains_its_own_discriminator_only() -> None:
    together = ClassDiscriminators(6, 3, (5,), dropout=0.0)
    together(torch.randn(2, 6, 4, 5))[:, 1].sum().backward()
    for parameter in together.parameters():
        assert parameter.grad is not None
        assert parameter.grad[1].abs().sum() > 0
        assert not parameter.grad[[0, 2]].any()


def test_every_cell_is_an_instance_of_its_own() -> None:
    features = torch.randn(2, 6, 4, 5)
    shuffled = features.flatten(2)[:, :, torch.randperm(20)]
    for network in (GlobalDiscriminator(6, (8, 8), 0.0), ClassDiscriminators(6, 3, (8,), 0.0)):
        one = network(features).flatten(2).sort(-1).values
        other = network(shuffled.reshape(2, 6, 4, 5)).flatten(2).sort(-1).values
        torch.testing.assert_close(one, other)


def test_global_discriminator_has_the_layers_that_were_asked_for() -> None:
    network = GlobalDiscriminator(6, (8, 9), dropout=0.5)
    assert network(torch.randn(2, 6, 4, 5)).shape == (2, 1, 4, 5)
    assert sum(p.numel() for p in network.parameters()) == 6 * 8 + 8 + 8 * 9 + 9 + 9 + 1


@pytest.mark.parametrize(
    "network", [GlobalDiscriminator(6, (64,), 0.5), ClassDiscriminators(6, 3, (64,), 0.5)]
)
def test_dropout_only_while_training(network: torch.nn.Module) -> None:
    features = torch.randn(1, 6, 2, 2)
    assert not torch.equal(network(features), network(features))
    network.eval()
    assert torch.equal(network(features), network(features))


@pytest.mark.parametrize("hidden", [(), (8,), (8, 5)])
def test_only_the_logits_that_are_wanted_need_computing(hidden: tuple[int, ...]) -> None:
    torch.manual_seed(1)
    network = ClassDiscriminators(6, 4, hidden, dropout=0.0)
    features = torch.randn(2, 6, 4, 5, requires_grad=True)
    wanted = torch.rand(2, 4, 4, 5) < 0.3
    wanted[:, 2] = False  # a class without any
    some, everything = network(features, wanted), network(features)
    torch.testing.assert_close(some[wanted], everything[wanted])
    assert not some[~wanted].any()
    sides = [features, *network.parameters()]
    one = torch.autograd.grad((some * wanted).square().sum(), sides)
    other = torch.autograd.grad((everything * wanted).square().sum(), sides)
    for found, expected in zip(one, other, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
