"""Readers of a training that match pairs: each pair once, and no pair waits for another."""

from __future__ import annotations

import threading
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, cast

import numpy as np
import pytest

from adapters.catalog import PriorSettings
from tasks.steps.imagery import Imagery
from tasks.training import pair_matching
from tasks.training.kept_points import Points
from tasks.training.pair_matching import PairMatching

IMAGERY = cast(Imagery, None)
POINTS: Points = (np.array([[3.0, 5.0]]), np.array([[4.0, 70000.0]]))


def matching(monkeypatch: pytest.MonkeyPatch, match: Any, device: str = "cpu") -> PairMatching:
    made = PairMatching(PriorSettings(), device, None)
    monkeypatch.setattr(made, "_matched", match)
    return made


def test_two_readers_match_two_pairs_side_by_side(monkeypatch: pytest.MonkeyPatch) -> None:
    both = threading.Barrier(2, timeout=900)

    def match(*_: object) -> Points:
        both.wait()  # breaks where one waits for the other
        return POINTS

    made = matching(monkeypatch, match)
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(lambda name: made.points(name, "z", IMAGERY), ["a", "b"]))
    assert np.array_equal(found, [POINTS, POINTS])


def test_a_device_matches_one_pair_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    inside = threading.Semaphore(1)

    def match(*_: object) -> Points:
        assert inside.acquire(blocking=False)
        threading.Event().wait(0.05)
        inside.release()
        return POINTS

    made = matching(monkeypatch, match, "cuda")
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda name: made.points(name, "z", IMAGERY), "abcd"))


def test_a_pair_is_matched_once_whoever_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []

    def match(*words: object) -> Points:
        asked.append(words)
        threading.Event().wait(0.05)
        return POINTS

    made = matching(monkeypatch, match)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: made.points("a", "b", IMAGERY), range(8)))
    assert len(asked) == 1


def test_who_waits_for_a_pair_is_told_that_it_failed_and_the_next_tries_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    went = iter([OSError("gone"), None])
    asks_too = threading.Event()

    class Awaited(Future[Points]):
        def result(self, timeout: float | None = None) -> Points:
            asks_too.set()
            return super().result(timeout)

    def match(*_: object) -> Points:
        assert asks_too.wait(900)
        error = next(went)
        if error is not None:
            raise error
        return POINTS

    monkeypatch.setattr(pair_matching, "Future", Awaited)
    made = matching(monkeypatch, match)
    with ThreadPoolExecutor(2) as pool:
        waiting = [pool.submit(made.points, "a", "b", IMAGERY) for _ in range(2)]
        assert all(isinstance(each.exception(), OSError) for each in waiting)
    assert np.array_equal(made.points("a", "b", IMAGERY), POINTS)
