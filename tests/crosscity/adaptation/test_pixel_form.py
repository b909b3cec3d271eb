from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from crosscity.adaptation.pixel_form import FORMS, TriedForm, form_remark, try_forms
from crosscity.segmenters import Segmenter, whole_network
from tests.colours_learned import IMAGENET, NAMES, learned, views

PICTURES = list(views(4, seed=9)[0])


@pytest.fixture(scope="module")
def network() -> nn.Sequential:
    """Was trained on images as ImageNet's networks see them."""
    return learned(*IMAGENET)


def said_of(network: nn.Module, **form: Any) -> str:
    """What is said of a network that is plugged in so."""
    segmenter = whole_network(copy.deepcopy(network), NAMES, **form).eval()
    return form_remark(try_forms(segmenter, PICTURES, None))


def test_nothing_is_said_of_the_form_that_a_network_was_trained_with(network) -> None:
    assert said_of(network) == ""
    mean, std = ([255 * value for value in each] for each in IMAGENET)
    assert said_of(network, mean=mean, std=std, white=255) == ""


class OfHues(Segmenter):
    """Is sure of pixels whose red is above their blue by what it has learned."""

    architecture = "of_hues"

    def __init__(self, *learned: float) -> None:
        super().__init__(
            class_names=("warm", "warmer"), n_features=1, stride=1, input_mean=(0, 0, 0)
        )
        self.learned, self.sizes = learned, set()

    def extract(self, normalised):
        self.sizes.add(tuple(normalised.shape[-2:]))
        red, _, blue = (normalised * self.input_std).split(1, 1)
        return red - blue

    def classify(self, features):
        return torch.cat(
            [6 * torch.exp(-(((features - hue) / 0.1) ** 2)) for hue in self.learned], 1
        )

    def options(self):
        return {}


WARM = np.zeros((1, 32, 48, 3), np.uint8)
WARM[:, :, :24] = (200, 120, 100)
WARM[:, :, 24:] = (250, 120, 50)


def test_red_and_blue_that_are_swapped_are_told() -> None:
    right, wrong = OfHues(100 / 255, 200 / 255), OfHues(-100 / 255, -200 / 255)
    assert form_remark(try_forms(right, list(WARM), None)) == ""
    said = form_remark(try_forms(wrong, list(WARM), None))
    assert "surer and more varied if its pixels come with red and blue swapped (" in said


def test_pixels_that_are_not_normalised_are_told(network) -> None:
    said = said_of(network, mean=(0, 0, 0), std=(1, 1, 1))
    assert "come less ImageNet's mean and divided by its deviation (" in said


def test_pixels_that_are_too_large_are_told_by_batch_norms(network) -> None:
    said = said_of(network, mean=(0, 0, 0), std=(1 / 255,) * 3)
    assert "batch norms see nothing like what they saw in training (a surprise of " in said
    assert "if they come less ImageNet's mean and divided by its deviation it is 0.0" in said


def test_pixels_that_are_too_small_are_told() -> None:
    """A network of pixels up to 255, and of none of the forms that are tried."""
    odd = learned((0.3, 0.3, 0.3), (1 / 400, 1 / 350, 1 / 300))
    assert said_of(odd, mean=(0.3, 0.3, 0.3), std=(1 / 400, 1 / 350, 1 / 300)) == ""
    assert "from 0 to 255" in said_of(odd)


def test_without_batch_norm_red_and_blue_alone_are_tried(network) -> None:
    frozen = copy.deepcopy(network)
    for index in (1, 4):
        norm = frozen[index]
        scale = norm.weight / (norm.running_var + norm.eps).sqrt()
        folded = nn.Conv2d(8, 8, 1, groups=8)
        folded.weight.data = scale.reshape(8, 1, 1, 1).detach()
        folded.bias.data = (norm.bias - norm.running_mean * scale).detach()
        frozen[index] = folded
    segmenter = whole_network(frozen, NAMES).eval()
    told: list[int] = []
    tried = try_forms(segmenter, PICTURES, None, on_tried=told.append)
    assert told == [2, 2]
    assert [(one.words, one.swapped, one.surprise) for one in tried] == [
        ("", False, None),
        ("", True, None),
    ]


def test_the_segmenter_is_left_as_it_is(network) -> None:
    segmenter = whole_network(copy.deepcopy(network), NAMES)
    segmenter.train()
    before = {name: value.clone() for name, value in segmenter.state_dict().items()}
    try_forms(segmenter, PICTURES, (24, 40))
    assert segmenter.training
    after = segmenter.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    assert not any(module._forward_pre_hooks for module in segmenter.modules())


def test_forms_are_tried_at_the_size_that_is_shown() -> None:
    segmenter = OfHues(0.1, 0.2)
    try_forms(segmenter, list(WARM), (24, 40))
    assert segmenter.sizes == {(24, 40)}


def test_what_is_no_number_is_told_and_not_passed_over() -> None:
    nothing = [TriedForm("", False, float("nan"), float("nan"))]
    others = [TriedForm(form.words, False, 0.1, 1.0) for form in FORMS]
    assert "see nothing like" in form_remark([*nothing, *others])
    assert "see nothing like" in form_remark(nothing)
