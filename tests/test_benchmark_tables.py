"""Tables that a benchmark writes after every arm."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from benchmarks import street_arms
from benchmarks.street_arms import differences


def counts(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 9, (3, 19, 19)).astype(np.int64)


@pytest.fixture
def resampled(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What is resampled; it takes long."""
    asked: list[Any] = []

    def difference(*words: Any) -> list[float]:
        asked.append(words)
        return [float(len(asked)), 0.0, 1.0]

    monkeypatch.setattr(street_arms, "resampled_difference", difference)
    monkeypatch.setattr(street_arms, "_gains", {})
    return asked


def test_what_did_not_change_is_not_resampled_again(resampled: list[Any]) -> None:
    seen = {("a", "tokyo"): [counts(0)], ("b", "tokyo"): [counts(1)], ("b", "rome"): [counts(3)]}
    compared = [("a", "b"), ("b", "a")]

    def table() -> list[str]:
        def runs(city: str, arm: str, other: str) -> Any:
            both = seen.get((arm, city)), seen.get((other, city))
            return both if all(both) else None

        return differences("Differences", ["tokyo", "rome"], compared, runs)

    first = table()
    of_one_city = len(resampled)
    assert of_one_city == 6, "in one city, over all of it, in its large classes and in the others"
    assert table() == first
    assert len(resampled) == of_one_city
    seen["a", "rome"] = [counts(2)]
    assert table() != first
    assert len(resampled) == of_one_city + 2 * 4, "tokyo alone is as it was"


def test_other_counts_are_resampled(resampled: list[Any]) -> None:
    for of in (0, 1, 1):
        street_arms.gain([([counts(of)], [counts(7)])])
    street_arms.gain([([counts(7)], [counts(0)])])
    street_arms.gain([([counts(0), counts(7)], [])])
    assert len(resampled) == 4
