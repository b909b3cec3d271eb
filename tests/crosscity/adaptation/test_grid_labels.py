from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from crosscity.adaptation.grid_labels import (
    normalise_over_cells,
    source_grid_labels,
    target_grid_labels,
)


def pool_by_loops(values: np.ndarray, cell: int) -> np.ndarray:
    """Means over cells of `cell` × `cell` pixels: B×C×H×W to B×C×h×w."""
    images, classes, height, width = values.shape
    pooled = np.zeros((images, classes, height // cell, width // cell))
    for i in range(height // cell):
        for j in range(width // cell):
            for y in range(cell):
                for x in range(cell):
                    pooled[:, :, i, j] += values[:, :, i * cell + y, j * cell + x] / cell**2
    return pooled


def random_labels(shape: tuple[int, ...], n_classes: int) -> np.ndarray:
    random = np.random.default_rng(5)
    labels = random.integers(0, n_classes, shape)
    labels[random.random(shape) < 0.2] = 255
    return labels


def test_equation_6_against_loops() -> None:
    labels = random_labels((2, 8, 12), 3)
    one_hot = np.stack([labels == c for c in range(3)], axis=1).astype(float)
    found = source_grid_labels(torch.from_numpy(labels), 3, (2, 3))
    np.testing.assert_allclose(found.numpy(), pool_by_loops(one_hot, 4), atol=1e-6)


@given(
    grid=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    cell=st.tuples(st.integers(1, 11), st.integers(1, 11)),
    n_classes=st.integers(1, 5),
    seed=st.integers(0, 2**16),
)
def test_counting_gives_the_bits_of_pooling(
    grid: tuple[int, int], cell: tuple[int, int], n_classes: int, seed: int
) -> None:
    labels = np.random.default_rng(seed).choice(
        [*range(n_classes), 255], (2, grid[0] * cell[0], grid[1] * cell[1])
    )
    one_hot = torch.from_numpy(np.stack([labels == c for c in range(n_classes)], axis=1)).float()
    found = source_grid_labels(torch.from_numpy(labels), n_classes, grid)
    assert torch.equal(found, torch.nn.functional.adaptive_avg_pool2d(one_hot, grid))


def test_void_is_not_a_class() -> None:
    labels = torch.full((1, 4, 4), 255)
    assert not source_grid_labels(labels, 3, (2, 2)).any()
    labels[0, :2, :1] = 1
    found = source_grid_labels(labels, 3, (2, 2))
    assert found[0, :, 0, 0].tolist() == [0, 0.5, 0]
    assert found.sum() == 0.5


def test_equation_7_against_loops() -> None:
    phi = np.random.default_rng(2).dirichlet(np.ones(4), (2, 6, 9)).transpose(0, 3, 1, 2)
    found = target_grid_labels(torch.from_numpy(phi), (2, 3))
    np.testing.assert_allclose(found.numpy(), pool_by_loops(phi, 3), atol=1e-12)
    cut = np.where(phi < 0.3, 0, phi)
    found = target_grid_labels(torch.from_numpy(phi), (2, 3), phi_floor=0.3)
    np.testing.assert_allclose(found.numpy(), pool_by_loops(cut, 3), atol=1e-12)


def test_no_gradient_through_phi() -> None:
    phi = torch.rand(1, 3, 4, 4, requires_grad=True)
    assert not target_grid_labels(phi, (2, 2)).requires_grad
    assert not target_grid_labels(phi, (2, 2), phi_floor=0.1).requires_grad


@pytest.mark.parametrize(
    ("size", "grid"), [((13, 9), (2, 2)), ((15, 17), (2, 3)), ((5, 3), (1, 1))]
)
def test_other_sizes_touch_every_pixel(size: tuple[int, int], grid: tuple[int, int]) -> None:
    for index in np.ndindex(*size):
        labels = torch.full((1, *size), 255)
        labels[0, index[0], index[1]] = 0
        assert source_grid_labels(labels, 2, grid)[0, 0].sum() > 0


def test_equation_8_against_loops() -> None:
    grid = np.random.default_rng(3).random((2, 3, 4, 5))
    grid[1, 2] = 0
    expected = np.zeros_like(grid)
    for image in range(2):
        for c in range(3):
            mass = sum(grid[image, c, i, j] for i in range(4) for j in range(5))
            for i in range(4):
                for j in range(5):
                    expected[image, c, i, j] = grid[image, c, i, j] / mass if mass else 0
    found = normalise_over_cells(torch.from_numpy(grid)).numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-12)


masses = hnp.arrays(
    np.float32,
    (2, 3, 3, 4),
    elements=st.floats(0, 1, width=32, allow_subnormal=True),
)


@given(masses)
def test_weights_of_a_class_add_up_to_one_or_to_nothing(grid: np.ndarray) -> None:
    weights = normalise_over_cells(torch.from_numpy(grid)).numpy()
    assert np.isfinite(weights).all()
    assert (weights >= 0).all()
    sums = weights.sum((2, 3))
    mass = grid.sum((2, 3))
    assert (np.isclose(sums, 1, atol=1e-5) | (mass <= np.finfo(np.float32).tiny)).all()
    assert not sums[mass == 0].any()
    assert not weights[grid == 0].any()


@given(masses, st.floats(2**-10, 2**10, width=32))
def test_the_frequency_of_a_class_does_not_matter(grid: np.ndarray, factor: float) -> None:
    grid = np.where(grid < 1e-6, 0, grid)
    first = normalise_over_cells(torch.from_numpy(grid))
    second = normalise_over_cells(torch.from_numpy(grid * np.float32(factor)))
    torch.testing.assert_close(first, second, rtol=1e-4, atol=1e-6)


@given(hnp.arrays(np.uint8, (2, 9, 11), elements=st.sampled_from([0, 1, 2, 255])))
def test_proportions_are_at_most_one(labels: np.ndarray) -> None:
    grid = source_grid_labels(torch.from_numpy(labels).long(), 3, (2, 2))
    assert (grid >= 0).all()
    assert (grid.sum(1) <= 1 + 1e-6).all()
