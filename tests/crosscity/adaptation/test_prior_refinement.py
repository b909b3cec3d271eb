from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from crosscity.adaptation.prior_evidence import flag_rates, weigh_by_prior
from crosscity.adaptation.prior_probability import weigh_by_probability
from crosscity.adaptation.prior_refinement import refine_by_prior, static_class_indices
from crosscity.labels import CLASSES, STATIC_TRAIN_IDS

STATIC = (0, 2)


def by_loops(phi: np.ndarray, prior: np.ndarray) -> np.ndarray:
    refined = phi.copy()
    images, classes, height, width = phi.shape
    for image in range(images):
        for y in range(height):
            for x in range(width):
                mass = sum(phi[image, c, y, x] for c in STATIC)
                if not prior[image, y, x] or mass == 0:
                    continue
                for c in range(classes):
                    kept = phi[image, c, y, x] / mass if c in STATIC else 0.0
                    refined[image, c, y, x] = kept
    return refined


def test_equation_12_against_loops() -> None:
    random = np.random.default_rng(4)
    phi = random.dirichlet(np.ones(4), (2, 5, 6)).transpose(0, 3, 1, 2).copy()
    phi[0, :, 0, 0] = [0, 0.25, 0, 0.75]
    prior = random.random((2, 5, 6)) < 0.5
    prior[0, 0, 0] = True
    found = refine_by_prior(torch.from_numpy(phi), torch.from_numpy(prior), STATIC).numpy()
    np.testing.assert_allclose(found, by_loops(phi, prior), rtol=1e-12)
    # Static mass 0 keeps φ.
    assert found[0, :, 0, 0].tolist() == [0, 0.25, 0, 0.75]


def test_outside_the_prior_nothing_changes() -> None:
    phi = torch.softmax(torch.randn(1, 4, 3, 3), 1)
    none = torch.zeros(1, 3, 3, dtype=torch.bool)
    assert torch.equal(refine_by_prior(phi, none, STATIC), phi)


distributions = hnp.arrays(
    np.float32, (1, 4, 2, 3), elements=st.floats(0, 1, width=32, allow_subnormal=True)
).map(lambda a: (a + (a.sum(1, keepdims=True) == 0)) / (a + (a.sum(1, keepdims=True) == 0)).sum(1))


@given(distributions, hnp.arrays(np.bool_, (1, 2, 3)))
def test_stays_a_distribution(phi: np.ndarray, prior: np.ndarray) -> None:
    refined = refine_by_prior(torch.from_numpy(phi), torch.from_numpy(prior), STATIC).numpy()
    assert np.isfinite(refined).all()
    assert (refined >= 0).all()
    np.testing.assert_allclose(refined.sum(1), phi.sum(1), atol=1e-4)
    static_mass = phi[:, list(STATIC)].sum(1)
    suppressed = prior & (static_mass > 1e-30)
    assert not refined[:, [1, 3]].transpose(0, 2, 3, 1)[suppressed].any()
    np.testing.assert_array_equal(
        refined.transpose(0, 2, 3, 1)[~prior], phi.transpose(0, 2, 3, 1)[~prior]
    )


@given(distributions, hnp.arrays(np.bool_, (1, 2, 3)))
def test_refining_twice_is_refining_once(phi: np.ndarray, prior: np.ndarray) -> None:
    mask = torch.from_numpy(prior)
    once = refine_by_prior(torch.from_numpy(phi), mask, STATIC)
    torch.testing.assert_close(refine_by_prior(once, mask, STATIC), once, rtol=1e-4, atol=1e-6)


def test_static_classes_by_name() -> None:
    assert static_class_indices([c.name for c in CLASSES]) == STATIC_TRAIN_IDS
    assert static_class_indices(["car", "sky", "bridge", "road"]) == (1, 3)


def test_a_prior_of_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match=r"static prior .* another size"):
        refine_by_prior(torch.rand(1, 4, 3, 3), torch.zeros(1, 4, 3, dtype=torch.bool), STATIC)


@pytest.mark.parametrize("kind", [torch.uint8, torch.int64, torch.float32])
def test_a_prior_that_is_no_mask_is_refused_by_what_takes_one(kind: torch.dtype) -> None:
    """Of 0 and 254, as a lossy file has it, not a pixel would be static."""
    phi = torch.full((1, 4, 2, 3), 0.25)
    prior = torch.ones(1, 2, 3).to(kind)
    with pytest.raises(ValueError, match="the static prior must be bool, not"):
        refine_by_prior(phi, prior, STATIC)
    with pytest.raises(ValueError, match="the static prior must be bool, not"):
        weigh_by_prior(phi, prior, torch.ones(4))


def test_a_mask_is_no_probability() -> None:
    phi, mask = torch.full((1, 4, 2, 3), 0.25), torch.ones(1, 2, 3, dtype=torch.bool)
    for prior in (mask, mask.to(torch.uint8)):
        with pytest.raises(ValueError, match="the prior's probability must be floats, not"):
            weigh_by_probability(phi, prior, STATIC)


@pytest.mark.parametrize("share", [0.0, 1.0, -1.0, 1.5, float("nan")])
def test_the_share_that_is_static_lies_between_0_and_1(share: float) -> None:
    phi = torch.full((1, 4, 2, 3), 0.25)
    with pytest.raises(ValueError, match=r"share .* must lie between 0 and 1"):
        weigh_by_probability(phi, torch.full((1, 2, 3), 0.5), STATIC, share=share)


def test_rates_are_of_masks() -> None:
    """Of numbers in place of truth values, pixels were taken by their number."""
    labels = np.array([[0, 1], [1, 1]], dtype=np.uint8)
    for mask in (np.array([[0, 1], [1, 0]], dtype=np.uint8), np.zeros((2, 3), dtype=np.bool_)):
        with pytest.raises(ValueError, match="a prior must be bool of the labels' shape, not"):
            flag_rates([(mask, labels)], 2)  # type: ignore[list-item]
