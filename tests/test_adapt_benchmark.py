"""What the benchmark of adaptation measures on a GPU, without one."""

from __future__ import annotations

import argparse
import weakref
from typing import Any

import pytest
import torch

from benchmarks import adapt


class Trained:
    """A training that is part of a circle of references, as those with read-ahead threads are."""

    def __init__(self) -> None:
        self.segmenter = torch.nn.Linear(1, 1)
        self.seconds_waited = 0.0
        self.itself = self

    def advance(self, _steps: int) -> None:
        """Does nothing."""


def test_nothing_of_ours_is_held_while_the_plain_script_is_measured(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made: list[weakref.ref[Trained]] = []
    held: list[bool] = []

    def ours(*_: Any) -> Trained:
        training = Trained()
        made.append(weakref.ref(training))
        return training

    def plain(*_: Any) -> Any:
        held.append(made[0]() is not None)
        return argparse.Namespace(step=lambda: None)

    taken = adapt.Taken(1.0, 1.0, 1.0, 1)
    for name, value in {
        "_images": lambda *_: ([], []),
        "matmul_peak": lambda *_: 1.0,
        "_our_training": ours,
        "_plain_training": plain,
        "_flop": lambda *_: 1,
        "_timed": lambda *_: taken,
    }.items():
        monkeypatch.setattr(adapt, name, value)
    row = adapt._measure_on_gpu(adapt.CASES["cuda"][0], argparse.Namespace(no_plain=False))
    assert held == [False]
    assert row["faster_than_plain"] == 1
