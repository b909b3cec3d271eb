from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor

from crosscity.adaptation import TargetArrays, shown_size
from crosscity.adaptation.shown_size import ShownSize, TriedSize, best_size, choose_size
from crosscity.segmenters import Segmenter

OWN = (32, 48)


class OfSlopes(Segmenter):
    """Sees by how many grey values a picture rises or falls from pixel to pixel."""

    architecture = "of_slopes"

    def __init__(self, rule: Callable[[Tensor], Tensor], takes: Sequence[int] | None = None):
        super().__init__(
            class_names=("rises", "falls"),
            n_features=1,
            stride=1,
            input_mean=(0, 0, 0),
            input_std=(1, 1, 1),
        )
        self._rule, self._takes = rule, takes

    def extract(self, normalised: Tensor) -> Tensor:
        if self._takes is not None and list(normalised.shape[-2:]) != list(self._takes):
            raise RuntimeError("of another size")
        grey = 255 * normalised.mean(1, keepdim=True)
        steps = grey[..., 1:] - grey[..., :-1]
        return torch.cat([steps, steps[..., -1:]], -1)

    def classify(self, features: Tensor) -> Tensor:
        return self._rule(features)

    def options(self) -> dict[str, Any]:
        return {}


def learned(slope: float) -> Callable[[Tensor], Tensor]:
    """Is sure where a picture rises or falls by this, as it was trained."""

    def rule(seen: Tensor) -> Tensor:
        return torch.cat([6 * torch.exp(-(((seen - s) / 4) ** 2)) for s in (slope, -slope)], 1)

    return rule


def waves(slope: float, width: int = OWN[1]) -> npt.NDArray[np.uint8]:
    """Grey waves of 16 pixels that rise and fall by so much a pixel."""
    columns = np.arange(width) % 16
    row = 40 + slope * np.minimum(columns, 16 - columns)
    return np.tile(row.astype(np.uint8)[None, :, None], (OWN[0], 1, 3))


def pictures(slope: float) -> TargetArrays:
    return TargetArrays(np.stack([waves(slope)] * 3))


@pytest.mark.parametrize(("slope", "factor"), [(16, 1.0), (16 / 1.5, 1.5), (8, 2.0)])
def test_a_network_is_shown_what_it_has_learned(slope: float, factor: float) -> None:
    found = choose_size(OfSlopes(learned(slope)), pictures(16))
    assert found is not None
    assert found.chosen == (round(factor * OWN[0]), round(factor * OWN[1]))
    assert found.own == OWN
    assert found.enlarged == pytest.approx(factor)
    assert [one.size for one in found.tried] == [OWN, (48, 72), (64, 96)]
    assert f"{found.chosen[0]}×{found.chosen[1]}" in found.remark()


def test_a_class_that_the_chosen_size_loses_is_named() -> None:
    tried = (
        TriedSize(OWN, 0.5, 1.0, (0.90, 0.009, 0.091)),
        TriedSize((64, 96), 0.1, 1.0, (0.95, 0.0004, 0.0496)),
    )
    names = ("road", "bicycle", "sky")
    said = ShownSize(OWN, (64, 96), tried, 3, class_names=names).remark()
    assert (
        "; it has all but lost bicycle (0.90 % of what is predicted, 0.04 % at this size);" in said
    )
    kept = ShownSize(OWN, OWN, tried, 3, class_names=names).remark()
    assert "lost" not in kept
    found = choose_size(OfSlopes(learned(8)), pictures(16))
    assert found is not None
    assert found.class_names == ("rises", "falls")
    assert sum(found.tried[0].shares) == pytest.approx(1)
    assert "lost" not in found.remark()


def test_entropy_and_diversity_are_those_of_the_formulas() -> None:
    network, images = OfSlopes(learned(8)), pictures(16)
    found = choose_size(network, images)
    assert found is not None
    probabilities = network(torch.from_numpy(waves(16)).permute(2, 0, 1)[None] / 255)[0].softmax(0)
    pixels = probabilities.reshape(2, -1).double().numpy()
    entropy = -(pixels * np.log(pixels)).sum(0).mean()
    mean = pixels.mean(1)
    assert found.tried[0].entropy == pytest.approx(entropy, rel=1e-4)
    assert found.tried[0].diversity == pytest.approx(-(mean * np.log(mean)).sum(), rel=1e-4)


def test_a_size_at_which_one_class_is_left_is_not_chosen() -> None:
    def rule(seen: Tensor) -> Tensor:
        far = seen.abs() > 12
        sure_of_one = torch.full_like(seen, 20.0)
        return torch.cat(
            [torch.where(far, seen.sign(), sure_of_one), torch.where(far, -seen.sign(), 0.0)], 1
        )

    found = choose_size(OfSlopes(rule), pictures(16))
    assert found is not None
    assert found.tried[2].entropy < 0.5 * found.tried[0].entropy
    assert found.chosen == OWN


@pytest.mark.parametrize(
    ("seen", "factor"),
    [
        # Of networks with public weights on real streets: (factor, H, D), beside the own size.
        # The reduced images are predicted more surely, and no longer hold what is thin.
        ([(1, 0.587, 1.987), (0.75, 0.522, 1.895), (1.5, 0.611, 2.042), (2, 0.672, 2.066)], 1.5),
        # Twice as large, more classes are predicted, and nothing surely.
        ([(1, 0.297, 1.907), (0.75, 0.319, 1.877), (1.5, 0.301, 1.947), (2, 0.462, 1.983)], 1.5),
        ([(1, 0.370, 1.913), (1.5, 0.332, 1.869), (2, 0.323, 1.865)], 2),
        # A larger size must be worth its time.
        ([(1, 0.400, 2.000), (1.5, 0.399, 2.000)], 1),
    ],
)
def test_sureness_and_variety_are_weighed(seen, factor) -> None:
    tried = [
        TriedSize((round(each * OWN[0]), round(each * OWN[1])), entropy, diversity)
        for each, entropy, diversity in seen
    ]
    assert best_size(tried) == (round(factor * OWN[0]), round(factor * OWN[1]))


def test_nothing_beyond_the_trained_size_is_tried() -> None:
    network = OfSlopes(learned(8))
    for trained, tried in ((OWN, [OWN]), ((50, 80), [(50, 80), OWN, (48, 72)])):
        found = choose_size(network, pictures(16), trained=trained)
        assert found is not None
        assert [one.size for one in found.tried] == tried
    assert choose_size(network, pictures(16), trained=OWN).remark() == ""  # type: ignore[union-attr]


def test_large_images_are_not_enlarged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shown_size, "MOST_PIXELS", math.prod((48, 72)))
    found = choose_size(OfSlopes(learned(8)), pictures(16))
    assert found is not None
    assert [one.size for one in found.tried] == [OWN, (48, 72)]


@pytest.mark.parametrize(("slope", "factor"), [(16, 1.0), (16 / 0.75, 0.75), (32, 0.5)])
def test_images_that_show_things_too_large_are_reduced(
    monkeypatch: pytest.MonkeyPatch, slope: float, factor: float
) -> None:
    network = OfSlopes(learned(slope))
    unreduced = choose_size(network, pictures(16))
    assert unreduced is not None
    assert unreduced.chosen == OWN  # small images are not
    monkeypatch.setattr(shown_size, "LEAST_PIXELS", math.prod((16, 24)))
    found = choose_size(network, pictures(16))
    assert found is not None
    assert found.chosen == (round(factor * OWN[0]), round(factor * OWN[1]))
    assert found.enlarged == 1
    assert [one.size for one in found.tried] == [OWN, (16, 24), (24, 36), (48, 72), (64, 96)]


def test_images_beyond_what_networks_are_trained_at_are_shown_within_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(shown_size, "MOST_PIXELS", math.prod(OWN) // 4)
    monkeypatch.setattr(shown_size, "LEAST_PIXELS", math.prod(OWN) // 16)
    found = choose_size(OfSlopes(learned(32)), pictures(16))
    assert found is not None
    assert found.own == OWN
    assert [one.size for one in found.tried] == [(16, 24), (8, 12), (12, 18)]
    assert found.chosen == (16, 24)
    assert "their own: 32×48" in found.remark()


def test_a_network_of_one_size_is_shown_that_size() -> None:
    found = choose_size(OfSlopes(learned(8), takes=OWN), pictures(16))
    assert found is not None
    assert found.chosen == OWN
    with pytest.raises(RuntimeError, match="of another size"):
        choose_size(OfSlopes(learned(8), takes=(5, 5)), pictures(16))


class WithIgnored(TargetArrays):
    """The left half shows the provider."""

    def ignored(self, indices: Sequence[int]) -> npt.NDArray[np.bool_]:
        left = np.zeros((len(indices), *OWN), np.bool_)
        left[..., : OWN[1] // 2] = True
        return left


def test_ignored_pixels_do_not_count() -> None:
    both = np.concatenate([waves(8, OWN[1] // 2), waves(16, OWN[1] // 2)], 1)[None]
    network = OfSlopes(learned(16))
    whole, right = (choose_size(network, kind(both)) for kind in (TargetArrays, WithIgnored))
    assert whole is not None
    assert right is not None
    assert right.tried[0].entropy < 0.6 * whole.tried[0].entropy


def test_images_of_several_sizes_leave_it_to_the_catalog() -> None:
    class Mixed(TargetArrays):
        def images(self, indices: Sequence[int]) -> npt.NDArray[np.uint8]:
            return super().images(indices)[:, : 16 + indices[0]]

    assert choose_size(OfSlopes(learned(8)), Mixed(pictures(16).all_images)) is None
