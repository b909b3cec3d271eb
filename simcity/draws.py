"""Streams of random numbers with explicit keys: each part of a city has its own."""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence
from typing import TypeVar

import numpy as np

T = TypeVar("T")

_MASK = (1 << 64) - 1
_STEP = 0x9E3779B97F4A7C15


def key_of(word: str) -> int:
    """A number for a word, the same in every process (unlike Python's hash)."""
    return zlib.crc32(word.encode())


def _mix(value: int) -> int:
    """The finaliser of SplitMix64 (Steele et al., OOPSLA 2014): spreads 64 bits over 64."""
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & _MASK
    return value ^ (value >> 31)


class Draws:
    """Uniform numbers of one keyed stream.

    Two streams with different keys are independent, so a new object in one part of a scene
    leaves all other parts as they are. A scene has a thousand streams of a dozen numbers; a numpy
    generator takes longer to set up than everything that is drawn from it, so the streams are
    SplitMix64, and numpy's `SeedSequence` makes the first key of a scene.
    """

    __slots__ = ("_first", "_state")

    def __init__(self, *key: int) -> None:
        words = np.random.SeedSequence(list(key)).generate_state(1, np.uint64)
        self._start(int(words[0]))

    def _start(self, state: int) -> None:
        self._first = self._state = state

    def child(self, *key: int) -> Draws:
        """A stream of its own for a part of this one; does not depend on what was drawn."""
        state = self._first
        for number in key:
            state = _mix(
                (state ^ 0xA5A5A5A5A5A5A5A5) + _mix(number + 0x632BE59BD9B4E019 & _MASK) & _MASK
            )
        made = Draws.__new__(Draws)
        made._start(state)
        return made

    def unit(self) -> float:
        """A number in [0, 1)."""
        self._state = state = (self._state + _STEP) & _MASK
        return (_mix(state) >> 11) * 2.0**-53

    def between(self, bounds: tuple[float, float]) -> float:
        """Uniform in (low, high)."""
        return bounds[0] + (bounds[1] - bounds[0]) * self.unit()

    def whole(self, bounds: tuple[float, float]) -> int:
        """An integer of low to high, both included."""
        low, high = round(bounds[0]), round(bounds[1])
        return low + int(self.unit() * (high - low + 1))

    def chance(self, probability: float) -> bool:
        """True with that probability."""
        return self.unit() < probability

    def pick(self, values: Sequence[T]) -> T:
        """One of the values."""
        return values[int(self.unit() * len(values))]

    def weighted(self, weights: Sequence[float]) -> int:
        """An index, with a chance in proportion to its weight."""
        rest = self.unit() * sum(weights)
        for index, weight in enumerate(weights):
            rest -= weight
            if rest < 0:
                return index
        return max(index for index, weight in enumerate(weights) if weight > 0)

    def normal(self) -> float:
        """Nearly standard normal (the sum of twelve uniform numbers), within -6 to 6."""
        return sum(self.unit() for _ in range(12)) - 6.0

    def around(self, mean: float) -> int:
        """A count whose mean is `mean`: one of the two nearest integers of a spread mean."""
        spread = mean * (0.5 + self.unit())
        return int(spread) + int(self.unit() < spread - int(spread))

    def spots(self, low: float, high: float, density: float) -> list[float]:
        """Positions of a Poisson process on low to high; density is per unit length."""
        positions = []
        if density > 0:
            position = low
            while True:
                position -= math.log(1.0 - self.unit()) / density
                if position >= high:
                    break
                positions.append(position)
        return positions
