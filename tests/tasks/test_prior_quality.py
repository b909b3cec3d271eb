"""Precision and recall of priors, against a count pixel by pixel."""

from __future__ import annotations

import numpy as np
import pytest

from tasks.priors.quality import prior_quality


@pytest.mark.parametrize("seed", range(5))
def test_shares_are_those_of_a_count_pixel_by_pixel(seed):
    rng = np.random.default_rng(seed)
    sizes = [(7, 9), (4, 4), (1, 11)]
    priors = [rng.random(size) < 0.4 for size in sizes]
    truths = [rng.random(size) < 0.7 for size in sizes]
    counts = {(p, t): 0 for p in (False, True) for t in (False, True)}
    for prior, truth in zip(priors, truths, strict=True):
        for row in range(prior.shape[0]):
            for column in range(prior.shape[1]):
                counts[bool(prior[row, column]), bool(truth[row, column])] += 1
    quality = prior_quality(priors, truths)
    assert quality.images == 3
    flagged = counts[True, True] + counts[True, False]
    static = counts[True, True] + counts[False, True]
    moving = counts[True, False] + counts[False, False]
    assert quality.precision == pytest.approx(counts[True, True] / flagged)
    assert quality.recall == pytest.approx(counts[True, True] / static)
    assert quality.moving_flagged == pytest.approx(counts[True, False] / moving)


def test_empty_priors_and_all_static_truths_divide_by_nothing():
    empty = [np.zeros((3, 3), dtype=bool)]
    full = [np.ones((3, 3), dtype=bool)]
    assert prior_quality(empty, full).precision == 0
    assert prior_quality(full, full).moving_flagged == 0
    assert prior_quality([], []).images == 0
