"""A safeguard without labels: did an adaptation make a segmenter worse on the target?

Two things can be seen without one label. What stood still between the two times of a pair has one
class, so a segmenter that names it differently at the two times is wrong at least once; and the
mixture of classes of a city does not turn over because a network was trained. Neither proves that
an adaptation helped. Both can show that it did harm. Not in the paper, which has labels to look at.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
import numpy.typing as npt

from crosscity.checks import check_map
from crosscity.labels import CATEGORY
from crosscity.pair_signs import ComparedPair, Counts, PairSigns, Points, Shares
from crosscity.percentages import percentage

if TYPE_CHECKING:
    from crosscity.matching import Matches

ALGORITHM_VERSION: Final = "4"
"""Raised by hand whenever the signals or the verdict of some input change."""

RESAMPLES: Final = 2000
"""Of the bootstrap: the interval's ends then move by some hundredths of its width by chance."""
FEWEST_PAIRS: Final = 5
"""With fewer, a bootstrap over pairs says nothing about other pairs, and none is made."""
WITHOUT_INTERVAL: Final = 50.0
"""Times the tolerance that kappa may fall by where no interval tells chance from harm."""


@dataclass(frozen=True)
class Looks:
    """What two looks are of, in words.

    Attributes:
        name: The two looks, as the middle of a sentence.
        points: What is compared in them.
        unit: What there are several of.
    """

    name: str
    points: str
    unit: str


TIMES: Final = Looks("the two times of a pair", "static points", "pairs")
"""Of pairs of views of one place."""


@dataclass(frozen=True)
class SafeguardLimits:
    """How much worse a segmenter may look before the earlier one is kept.

    Attributes:
        tolerance: Fall of kappa, in [0, 1], that is of no concern, although its whole interval is a
            fall. Next to nothing is: what made the two times agree less was never a gain.
        drift: Bits of Jensen-Shannon divergence between the predicted classes before and after. An
            adaptation that helps moves some hundredths; a collapsed network, or one whose classes
            are permuted, some tenths or more.
        information: Fall of the mutual information of pixel and class, in bits, that is too much:
            a network that was pulled apart is sure of little, and so an adversary or a learning
            rate that is too strong shows.
        present: Share of the pixels above which a class counts as seen before, in [0, 1].
        missed: Share of the pixels, each weighted by how probable the class was to the earlier
            segmenter, that a class which vanishes may lose to classes of other categories, in
            [0, 1]. What was rare or doubtful may have been nothing but errors; what is a car where
            it was a truck is still seen as a vehicle. Both are only reported.
        vanished: A class has vanished when less than this fraction of its share is left.
    """

    tolerance: float = 0.002
    drift: float = 0.1
    information: float = 0.5
    present: float = 0.002
    missed: float = 0.005
    vanished: float = 0.1

    def __post_init__(self) -> None:
        """Checks the ranges."""
        for name in ("tolerance", "drift", "present", "missed", "vanished"):
            value = getattr(self, name)
            if not 0 <= value <= 1:
                raise ValueError(f"the safeguard's {name} must lie from 0 to 1, not {value}")
        if not self.information >= 0:
            raise ValueError(
                f"the safeguard's information must be 0 bits or more, not {self.information}"
            )


@dataclass(frozen=True)
class BeforeAfter:
    """A quantity of the segmenter before and of the one after adaptation."""

    before: float
    after: float


@dataclass(frozen=True)
class Signals:
    """What two segmenters show on the same pairs.

    Attributes:
        pairs: Pairs that were compared.
        points: Static points in all of them.
        agreement: Share of the points with equal classes at the two times, in [0, 1]; NaN without
            points.
        kappa: Cohen's kappa of the two times over the points, at most 1; NaN without points.
        kappa_change: Kappa after minus kappa before.
        interval: Its 95 % interval by a bootstrap over pairs; NaN with fewer than `FEWEST_PAIRS`.
        drift: Jensen-Shannon divergence of the predicted classes, bits in [0, 1].
        shares: By class name, the share of the pixels.
        lost: By class name, the share of the pixels that left it for a class of another category,
            each weighted by how probable the class was before.
        entropy: Mean entropy of the predictions, bits.
        information: Mutual information of pixel and class, bits: entropy of the mean prediction
            minus mean entropy. High where a segmenter is sure and uses all its classes.
        agreed: By class name, IoU of the class between the two looks, in [0, 1]; NaN where neither
            look has it.
    """

    pairs: int
    points: int
    agreement: BeforeAfter
    kappa: BeforeAfter
    kappa_change: float
    interval: tuple[float, float]
    drift: float
    shares: Mapping[str, BeforeAfter]
    lost: Mapping[str, float]
    entropy: BeforeAfter
    information: BeforeAfter
    agreed: Mapping[str, BeforeAfter] = field(default_factory=dict)


@dataclass(frozen=True)
class Verdict:
    """Which segmenter to go on with, and why.

    Attributes:
        keep: "before" where the adaptation was seen to do harm.
        reasons: Sentences, one for each sign of harm; empty where there is none.
    """

    keep: Literal["before", "after"]
    reasons: tuple[str, ...]


def static_points(matches: Matches, masks: tuple[Any, Any]) -> Points:
    """Matches whose both ends lie in the static priors of their images, by the nearest pixel.

    Args:
        matches: Of the two images of a pair.
        masks: (H, W) bool static prior of the first and of the second image.

    Returns:
        (N, 2) int64 (row, column) in the first and in the second image.
    """
    for name, mask in zip(("first mask", "second mask"), masks, strict=True):
        check_map(mask, name, kinds="b")
    ends = []
    inside = np.ones(len(matches), dtype=np.bool_)
    sides = ((matches.x_a, matches.y_a), (matches.x_b, matches.y_b))
    for (x, y), mask in zip(sides, masks, strict=True):
        at = np.floor(np.stack([y, x], axis=1).astype(np.float64) + 0.5).astype(np.int64)
        within = ((at >= 0) & (at < np.array(mask.shape))).all(axis=1)
        at[~within] = 0
        inside &= within & mask[at[:, 0], at[:, 1]]
        ends.append(at)
    return ends[0][inside], ends[1][inside]


def agreement(table: npt.NDArray[Any]) -> float:
    """Share of the points that have the same class at both times; NaN without points.

    Args:
        table: (C, C) counts by the class at the first and at the second time.
    """
    total = float(table.sum())
    return float(np.trace(table)) / total if total else float("nan")


def class_agreement(table: npt.NDArray[Any]) -> list[float]:
    """IoU of each class between the two times; NaN where neither has it.

    Args:
        table: (C, C) counts by the class at the first and at the second time.
    """
    both = np.diag(table).astype(np.float64)
    either = table.sum(axis=0) + table.sum(axis=1) - both
    found: list[float] = np.where(
        either > 0, both / np.where(either > 0, either, 1), np.nan
    ).tolist()
    return found


def kappa(table: npt.NDArray[Any]) -> float:
    """Agreement beyond chance (Cohen 1960), at most 1; NaN without points.

    Chance is what two segmenters would agree on that draw classes with the frequencies of the two
    times. A segmenter that sees one class everywhere always agrees with itself, and only by chance:
    its kappa is 0 here, where the formula is 0 / 0.

    Args:
        table: (C, C) counts by the class at the first and at the second time.
    """
    return float(_kappas(np.asarray(table, dtype=np.float64)[None])[0])


def divergence(first: npt.NDArray[Any], second: npt.NDArray[Any]) -> float:
    """Jensen-Shannon divergence of two distributions (Lin 1991), in bits: 0 to 1.

    Args:
        first: (C,) counts or weights, zero or more.
        second: (C,) the same of the other distribution.

    Raises:
        ValueError: They differ in length, or one has no weight at all, or such as is negative or
            not finite.
    """
    # Of NaN no comparison holds, and the entropies would leave it out.
    if first.shape != second.shape or not all(
        bool((each >= 0).all()) and 0 < each.sum() < math.inf for each in (first, second)
    ):
        raise ValueError(
            "two distributions over the same classes are needed, with some weight each"
        )
    p, q = (np.asarray(each, dtype=np.float64) / each.sum() for each in (first, second))
    gained = _entropy((p + q) / 2) - (_entropy(p) + _entropy(q)) / 2
    return float(min(max(gained, 0.0), 1.0))  # rounding may leave the range by 1e-16


def compare(
    before: Sequence[PairSigns],
    after: Sequence[PairSigns],
    class_names: Sequence[str],
    *,
    moved: Shares | None = None,
    seed: int = 0,
) -> Signals:
    """Compares two segmenters on the same pairs.

    Args:
        before: Signs of the earlier segmenter, one a pair.
        after: Signs of the later one on the same pairs, in the same order.
        class_names: The label space of both.
        moved: (C, C), the `moved` of all pairs added up; without it, whatever a class has less of
            counts as lost with certainty, to another category.
        seed: Fixes the bootstrap.

    Raises:
        ValueError: No pair, different numbers of pairs, or other classes.
    """
    if not before or len(before) != len(after):
        raise ValueError(
            "the safeguard needs the same pairs of both segmenters, at least one; it got "
            f"{len(before)} and {len(after)}"
        )
    if any(len(signs.classes) != len(class_names) for signs in (*before, *after)):
        raise ValueError("the safeguard compares segmenters of one label space only")
    tables = tuple(np.stack([signs.table for signs in which]) for which in (before, after))
    classes = [np.sum([signs.classes for signs in which], axis=0) for which in (before, after)]
    totals = [table.sum(axis=0) for table in tables]
    kappas = BeforeAfter(kappa(totals[0]), kappa(totals[1]))
    shares = [counted / counted.sum() for counted in classes]
    entropies = [
        sum(signs.entropy for signs in which) / counted.sum()
        for which, counted in zip((before, after), classes, strict=True)
    ]
    spread = []
    for which in (before, after):
        mean = np.sum([signs.probability for signs in which], axis=0)
        spread.append(_entropy(mean / mean.sum()))
    return Signals(
        pairs=len(before),
        points=int(totals[0].sum()),
        agreement=BeforeAfter(agreement(totals[0]), agreement(totals[1])),
        kappa=kappas,
        kappa_change=kappas.after - kappas.before,
        interval=_interval(tables[0], tables[1], seed),
        drift=divergence(classes[0], classes[1]),
        shares={
            name: BeforeAfter(float(shares[0][index]), float(shares[1][index]))
            for index, name in enumerate(class_names)
        },
        lost=_lost(class_names, shares, moved, int(classes[0].sum())),
        entropy=BeforeAfter(*entropies),
        information=BeforeAfter(spread[0] - entropies[0], spread[1] - entropies[1]),
        agreed={
            name: BeforeAfter(*both)
            for name, *both in zip(class_names, *map(class_agreement, totals), strict=True)
        },
    )


def compare_pairs(pairs: Sequence[ComparedPair], class_names: Sequence[str]) -> Signals:
    """`compare` of pairs that both segmenters were compared on.

    Raises:
        ValueError: No pair, or other classes.
    """
    return compare(
        [pair.before for pair in pairs],
        [pair.after for pair in pairs],
        class_names,
        moved=np.sum([pair.moved for pair in pairs], axis=0),
    )


def vanished_classes(signals: Signals, limits: SafeguardLimits) -> list[str]:
    """Names of the classes that were seen before and are (almost) gone after."""
    return [
        name
        for name, share in signals.shares.items()
        if share.before >= limits.present and share.after < limits.vanished * share.before
    ]


def vanished_sentence(signals: Signals, limits: SafeguardLimits) -> str:
    """Names the classes of which hardly anything is left; empty where there is none.

    A verdict may take an adaptation although a class is gone, as the class was rare or doubtful;
    whoever needs that class has to know.
    """
    gone = vanished_classes(signals, limits)
    if not gone:
        return ""
    shares = ", ".join(
        f"{name} ({percentage(signals.shares[name].before)} % of the pixels before, "
        f"{percentage(signals.shares[name].after)} % after)"
        for name in gone
    )
    return f" Look at what has all but vanished: {shares}."


def verdict(
    signals: Signals, limits: SafeguardLimits | None = None, *, looks: Looks = TIMES
) -> Verdict:
    """Whether the adaptation was seen to do harm; where nothing was seen, it is trusted.

    The earlier segmenter is kept where (a) the whole interval of the change of kappa lies below
    minus the tolerance (without an interval: the change lies below minus `WITHOUT_INTERVAL` times
    the tolerance), (b) the predicted classes drifted further than the limit, (c) the mutual
    information of pixel and class fell by more than the limit, (d) classes that were more than rare
    or doubtful vanished into other categories: two, or one while the agreement did not clearly
    rise, or (e) the later predictions are not finite. One class alone may have been an error that
    is now corrected, if the two times agree better for it. Where no static point was matched, (b)
    to (e) decide. `looks` only says in words what was compared.
    """
    limits = limits or SafeguardLimits()
    reasons, lost = [], _losses(signals, limits)
    if not math.isfinite(signals.entropy.after):
        reasons.append("The adapted segmenter predicts values that are not finite.")
    low, high = signals.interval
    interval = f"95 % interval of the change {low:+.3f} to {high:+.3f}"
    tolerated = limits.tolerance
    if math.isnan(high):
        interval = f"{signals.pairs} {looks.unit} are too few for an interval"
        high = signals.kappa_change
        tolerated *= WITHOUT_INTERVAL
    if high < -tolerated:
        reasons.append(
            f"{looks.name[0].upper()}{looks.name[1:]} agree less than before: kappa over "
            f"{signals.points} {looks.points} fell from {signals.kappa.before:.3f} to "
            f"{signals.kappa.after:.3f} ({interval}, tolerated is {-tolerated:+.3f})."
        )
    if signals.drift > limits.drift:
        reasons.append(
            f"The predicted classes drifted by {signals.drift:.3f} bit, more than the limit of "
            f"{limits.drift:g}."
        )
    information = signals.information
    if information.before - information.after > limits.information:
        reasons.append(
            "The predictions tell less: the mutual information of pixel and class fell from "
            f"{information.before:.2f} to {information.after:.2f} bit, by more than the limit of "
            f"{limits.information:g}."
        )
    return Verdict("before" if reasons or lost else "after", (*reasons, *lost))


def missed_classes(signals: Signals, limits: SafeguardLimits) -> list[str]:
    """Those of the vanished classes that were sure and more than rare, and went elsewhere."""
    return [
        name for name in vanished_classes(signals, limits) if signals.lost[name] >= limits.missed
    ]


def _lost(
    class_names: Sequence[str], shares: Sequence[Shares], moved: Shares | None, pixels: int
) -> dict[str, float]:
    """What each class lost to classes of other categories; see `Signals`."""
    if moved is None:
        fallen = np.maximum(shares[0] - shares[1], 0)
        return dict(zip(class_names, fallen.tolist(), strict=True))
    kinds = [CATEGORY.get(name, name) for name in class_names]
    elsewhere = np.array([[mine != other for other in kinds] for mine in kinds])
    found = (moved * elsewhere).sum(axis=1) / pixels
    return dict(zip(class_names, found.tolist(), strict=True))


def _losses(signals: Signals, limits: SafeguardLimits) -> list[str]:
    """Sentences about vanished classes, where they are a sign of harm."""
    missed = missed_classes(signals, limits)
    if len(missed) == 1 and signals.interval[0] > 0:
        return []
    return [
        f"The class {name} vanished: from {percentage(signals.shares[name].before)} % of the "
        f"pixels to {percentage(signals.shares[name].after)} %."
        for name in missed
    ]


def _kappas(tables: Shares) -> Shares:
    """Kappa of each of (N, C, C) tables of counts."""
    totals = tables.sum(axis=(1, 2))
    safe = np.where(totals > 0, totals, 1)
    equal = np.trace(tables, axis1=1, axis2=2) / safe
    chance = (tables.sum(axis=1) * tables.sum(axis=2)).sum(axis=1) / safe**2
    beyond = 1 - chance
    constant = beyond <= 1e-12
    found = np.where(constant, 0.0, (equal - chance) / np.where(constant, 1.0, beyond))
    return np.where(totals > 0, found, np.nan)


def _interval(before: Counts, after: Counts, seed: int) -> tuple[float, float]:
    """95 % interval of the change of kappa: pairs are drawn anew, the same ones for both."""
    with_points = before.sum(axis=(1, 2)) > 0
    before, after = before[with_points], after[with_points]
    pairs, n_classes = len(before), before.shape[1]
    if pairs < FEWEST_PAIRS:
        return float("nan"), float("nan")
    drawn = np.random.default_rng([seed, pairs]).multinomial(
        pairs, np.full(pairs, 1 / pairs), size=RESAMPLES
    )

    def kappas(tables: Counts) -> Shares:
        flat = drawn.astype(np.float64) @ tables.reshape(pairs, -1).astype(np.float64)
        return _kappas(flat.reshape(RESAMPLES, n_classes, n_classes))

    low, high = np.quantile(kappas(after) - kappas(before), [0.025, 0.975])
    return float(low), float(high)


def _entropy(shares: Shares) -> float:
    """Entropy of a distribution in bits."""
    some = shares[shares > 0]
    return float(-(some * np.log2(some)).sum())
