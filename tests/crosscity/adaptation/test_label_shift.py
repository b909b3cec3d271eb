from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from crosscity.adaptation.grid_labels import source_grid_labels
from crosscity.adaptation.label_shift import class_ratios, class_shares, source_cell_weights


def test_shares_count_the_most_probable_class_of_every_pixel() -> None:
    random = np.random.default_rng(4)
    batches = [random.random((2, 5, 3, 4)), random.random((1, 5, 6, 2))]
    counted = np.zeros(5)
    for batch in batches:
        for image in batch:
            for y in range(image.shape[1]):
                for x in range(image.shape[2]):
                    counted[np.argmax(image[:, y, x])] += 1
    shares = class_shares((torch.from_numpy(batch) for batch in batches), 5)
    np.testing.assert_allclose(shares.numpy(), counted / counted.sum(), rtol=1e-6)


def test_nothing_to_count_is_reported() -> None:
    with pytest.raises(ValueError, match="no prediction"):
        class_shares([], 3)


def test_equal_shares_weigh_labelled_cells_alike() -> None:
    shares = torch.tensor([0.5, 0.3, 0.2])
    labels = torch.from_numpy(np.random.default_rng(1).integers(0, 3, (2, 16, 24)))
    weights = source_cell_weights(
        source_grid_labels(labels, 3, (2, 3)), class_ratios(shares, shares)
    )
    torch.testing.assert_close(weights, torch.ones(2, 1, 2, 3))


def test_weighted_source_has_the_shares_of_the_target() -> None:
    """What the weights are for: cells of one class each, weighed, show each class as often."""
    source = torch.tensor([0, 0, 0, 0, 0, 0, 1, 1, 1, 2]).reshape(1, 2, 5)
    target_shares = torch.tensor([0.2, 0.5, 0.3])
    grid = source_grid_labels(source, 3, (2, 5))
    ratios = class_ratios(target_shares, torch.tensor([0.6, 0.3, 0.1]))
    weights = source_cell_weights(grid, ratios)
    weighed = (grid * weights).sum((0, 2, 3))
    torch.testing.assert_close(weighed / weighed.sum(), target_shares, rtol=1e-2, atol=1e-3)


def test_void_cells_weigh_nothing() -> None:
    labels = torch.zeros(1, 8, 16, dtype=torch.int64)
    labels[:, :, 8:] = 255
    weights = source_cell_weights(source_grid_labels(labels, 2, (1, 2)), torch.tensor([3.0, 1.0]))
    torch.testing.assert_close(weights, torch.tensor([2.0, 0.0]).reshape(1, 1, 1, 2))
    nothing = torch.full((1, 8, 16), 255)
    weights = source_cell_weights(source_grid_labels(nothing, 2, (1, 2)), torch.ones(2))
    torch.testing.assert_close(weights, torch.ones(1, 1, 1, 2))


@given(
    st.lists(st.floats(0, 1), min_size=4, max_size=4).filter(lambda x: sum(x) > 0.1),
    st.lists(st.floats(0, 1), min_size=4, max_size=4).filter(lambda x: sum(x) > 0.1),
    st.integers(0, 2**16),
)
def test_weights_have_a_mean_of_one_and_ratios_are_bounded(
    target: list[float], source: list[float], seed: int
) -> None:
    shares = [torch.tensor(values) / sum(values) for values in (target, source)]
    ratios = class_ratios(*shares)
    assert ratios.min() >= 0.1
    assert ratios.max() <= 10.0
    labels = torch.from_numpy(np.random.default_rng(seed).integers(0, 4, (2, 8, 8)))
    weights = source_cell_weights(source_grid_labels(labels, 4, (2, 2)), ratios)
    assert weights.min() >= 0
    assert weights.mean().item() == pytest.approx(1.0, rel=1e-4)
