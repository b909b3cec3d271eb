"""How probable it is that a superpixel is static, from how much of it is matched at other times.

    log p / (1 - p) = b + b' u + (a + a' u) ē,
    ē = mean over the n other times of log((c_j + ε) / ε),   u = 1 - 1 / n

c_j is the share of the superpixel that trusted matches cover in the pair with time j, ε the `DOUBT`
of `static_prior_of_times`. That function's rule is a threshold of ē, and so of p. The more times
agree, the steeper the curve. a and a + a' are not negative: more matches never make a superpixel
less static.

Of more than two times, where superpixels are not the only reading, ē is the evidence of
`crosscity.several_times`, and the four numbers are others.

The numbers are fitted on simulated cities with the catalog's default settings
(`weights/static_probability.json`, whose `about` names the script); with others p still orders, and
is not calibrated. What nothing matches has the probability of what nothing matches there: most of
a street is static, matched or not.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
import numpy.typing as npt

from crosscity.static_regions import DOUBT, covered_shares, superpixels_in_order

if TYPE_CHECKING:
    from crosscity.matching import Matches

COEFFICIENTS: Final = Path(__file__).parent / "weights" / "static_probability.json"
"""What was fitted, and on what. No key has these numbers: others need another version, of
`static_regions` or, of several times, of `several_times`."""

Float = npt.NDArray[np.float64]


@dataclass(frozen=True)
class StaticProbability:
    """The curve from evidence to probability.

    Attributes:
        base: b.
        base_of_times: b'.
        slope: a, not negative.
        slope_of_times: a'.

    Raises:
        ValueError: A number is not finite, or the slope is negative for some number of times.
    """

    base: float
    base_of_times: float
    slope: float
    slope_of_times: float

    def __post_init__(self) -> None:
        """Refuses curves that fall with evidence."""
        if not all(math.isfinite(value) for value in asdict(self).values()):
            raise ValueError(f"the coefficients of a static probability are finite, not {self}")
        if self.slope < 0 or self.slope + self.slope_of_times < 0:
            raise ValueError(f"a static probability does not fall with matches, as {self} does")

    def to_dict(self) -> dict[str, float]:
        """By name."""
        return asdict(self)

    def of_evidence(self, mean: Float, others: int) -> Float:
        """P of ē from so many other times."""
        if others < 1:
            raise ValueError("a picture without another time has no static probability")
        u = 1 - 1 / others
        odds = self.base + self.base_of_times * u + (self.slope + self.slope_of_times * u) * mean
        probability: Float = 1 / (1 + np.exp(-odds))
        return probability


def evidence(covered: Float) -> Float:
    """ē, (K,), of covered shares (n, K)."""
    mean: Float = np.log((np.minimum(covered, 1.0) + DOUBT) / DOUBT).mean(axis=0)
    return mean


@cache
def delivered() -> StaticProbability:
    """The curve that comes along."""
    found: dict[str, Any] = json.loads(COEFFICIENTS.read_text(encoding="utf-8"))
    return StaticProbability(
        found["base"], found["base_of_times"], found["slope"], found["slope_of_times"]
    )


@cache
def delivered_of_times() -> StaticProbability:
    """The curve that comes along for `crosscity.several_times.evidence_of_times`."""
    found: dict[str, Any] = json.loads(COEFFICIENTS.read_text(encoding="utf-8"))["several_times"]
    return StaticProbability(
        found["base"], found["base_of_times"], found["slope"], found["slope_of_times"]
    )


@cache
def static_share() -> float:
    """The share of all pixels that are static, of what the delivered curve was fitted to."""
    found: dict[str, Any] = json.loads(COEFFICIENTS.read_text(encoding="utf-8"))
    return float(found["static_share"])


def static_probability(
    matches: Sequence[Matches],
    superpixels: npt.NDArray[np.int32],
    *,
    sides: Sequence[Literal["a", "b"]] | None = None,
    spacing: int = 1,
    curve: StaticProbability | None = None,
) -> npt.NDArray[np.float32]:
    """The probability that each pixel of a picture is static, by superpixel.

    Args:
        matches: Trusted ones, of the picture with each of its other times.
        superpixels: (H, W) int32 labels of the picture, zero or more.
        sides: Whether the picture is a or b of each pair; all a by default.
        spacing: Pixels between neighbouring matches; 4 · downscale for `deep_matching`.
        curve: Default: `delivered`.

    Returns:
        (H, W) float32 in (0, 1).

    Raises:
        ValueError: As `static_prior_of_times`.
    """
    superpixels = superpixels_in_order(superpixels)
    covered = covered_shares(matches, superpixels, sides=sides, spacing=spacing)
    found = (curve or delivered()).of_evidence(evidence(covered), len(matches))
    shown: npt.NDArray[np.float32] = found.astype(np.float32)[superpixels]
    return shown
