"""Scores as a page has them: IoU by class, the share of the gap closed, who is taken for whom."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from adapters.store import ArtifactRef, Store
from crosscity.evaluation import ScoringProtocol, scored_counts
from crosscity.evaluation.protocols import NOT_SCORED
from tasks.judging.evaluation import CONFUSION, Evaluated
from tasks.steps.plan import Plan
from tasks.steps.tables import read_rows
from tasks.training.arms import ARM_NAMES, BOUND, START, arm_name, is_trained
from tasks.training.identities import segmenter_of

LEAST_GAP: Final = 0.005
"""Of mIoU between the pre-trained segmenter and the bound: a share of less says nothing."""


@dataclass(frozen=True)
class Confusion:
    """What the pixels of each scored class were taken for.

    Attributes:
        names: The scored classes that occur in the labels or are predicted.
        predicted: These, and `NOT_SCORED` where pixels are lost to other classes.
        shares: (names, predicted): shares of the row's pixels; NaN in rows of classes that the
            labels do not have.
    """

    names: list[str]
    predicted: list[str]
    shares: npt.NDArray[np.float64]


def score_rows(scored: Mapping[str, Evaluated], blind: Sequence[str]) -> list[dict[str, Any]]:
    """One row an arm: name, cells by class, mIoU, and the share of the gap that it closes.

    Args:
        scored: The evaluations by arm.
        blind: Those arms that saw no label of what is scored on; their best is marked, of several.
    """
    names = list(next(iter(scored.values())).per_class)
    best = {
        name: max((scored[arm].per_class[name] for arm in blind), key=_or_minus_one)
        for name in names
        if blind
    }
    rows = []
    for arm, evaluated in scored.items():
        gap = gap_closed(scored, arm)
        cells = [
            {
                "text": number(evaluated.per_class[name]),
                # By what is shown, or one of two that look the same would be the better one.
                "best": arm in blind
                and len(blind) > 1
                and number(best[name]) not in (number(0.0), number(math.nan))
                and number(evaluated.per_class[name]) == number(best[name]),
            }
            for name in names
        ]
        shown = {"name": arm_name(arm), "miou": number(evaluated.miou), "cells": cells}
        rows.append({**shown, "gap": "–" if gap is None else f"{round(100 * gap)}"})
    return rows


def gap_closed(scored: Mapping[str, Evaluated], arm: str) -> float | None:
    """How much of the way from the pre-trained segmenter to the fine-tuned one an arm went.

    ``None`` of these two themselves, where one of them was not scored, or where labels gain so
    little (`LEAST_GAP`) that a share of it says nothing. Negative where an arm lost.
    """
    if arm in (START, BOUND) or not {START, BOUND, arm} <= set(scored):
        return None
    start, bound = scored[START].miou, scored[BOUND].miou
    if not bound - start >= LEAST_GAP:  # also where one is NaN
        return None
    return (scored[arm].miou - start) / (bound - start)


def missing_lines(
    scored: Collection[str],
    owner: str,
    seed: int,
    plan: Plan,
    verb: str = "evaluate",
    shown: str | None = None,
) -> list[str]:
    """Sentences about the lines that a table should have beside an adaptation and has not.

    What the city or transfer cannot be adapted by is not asked for.

    Args:
        scored: The arms that were.
        owner: City or transfer.
        seed: Of the trainings.
        plan: Of the catalog.
        verb: Scores an arm: "evaluate", after `adapt`, or "transfer", which does both.
        shown: The arm that the page is about, whose segmenter is there.
    """
    sentences = []
    if shown is not None and shown not in scored:
        words = f"{owner} --arm {shown} --seed {seed}"
        sentences.append(
            f"{arm_name(shown)}, which this page is about, was not scored: `crosscity {verb} "
            f"{words}`, then the report again"
        )
    for arm, why in _lines_beside(owner, plan).items():
        if arm == shown:
            continue
        if arm not in scored:
            words = f"{owner} --arm {arm} --seed {seed}`"
            trains = verb == "evaluate" and is_trained(arm)
            adapt = f"`crosscity adapt {words}, then " if trains else ""
            sentences.append(
                f"{ARM_NAMES[arm]} ({why}) was not scored: {adapt}`crosscity {verb} {words}"
            )
    return sentences


def _lines_beside(owner: str, plan: Plan) -> dict[str, str]:
    """The arms that should stand beside an adaptation, and why."""
    lines = {START: "where it began"}
    if plan.segmenter(segmenter_of(owner, plan)).source is None:
        lines["source_free"] = "the adaptation without a source"
    else:
        lines["bn"] = "the cheapest adaptation"
    # Of a city whose test places alone have labels, the folds of `paper-tables` have the bound.
    if owner not in plan.cities or plan.city(owner).labelled_training_places:
        lines[BOUND] = "bound"
    return lines


def read_confusion(store: Store, ref: ArtifactRef, rules: ScoringProtocol) -> Confusion:
    """What an `evaluation` artifact's classes were taken for, as its protocol counts them."""
    rows = read_rows(store, ref, "confusion.parquet", CONFUSION)
    names = list(dict.fromkeys(row["truth"] for row in rows))
    pixels = np.zeros((len(names), len(names)), dtype=np.int64)
    for row in rows:
        pixels[names.index(row["truth"]), names.index(row["prediction"])] = row["pixels"]
    counts, missed = scored_counts(pixels, rules, names)
    there = [i for i in range(len(counts)) if counts[i].any() or counts[:, i].any() or missed[i]]
    scored = [rules.classes[i] for i in there]
    predicted, chosen = list(scored), counts[np.ix_(there, there)].astype(np.float64)
    if missed.any():
        predicted.append(NOT_SCORED)
        chosen = np.column_stack([chosen, missed[there]])
    totals = chosen.sum(axis=1, keepdims=True)
    shares = np.divide(chosen, totals, out=np.full_like(chosen, np.nan), where=totals > 0)
    return Confusion(scored, predicted, shares)


def confusion_rows(confusion: Confusion) -> list[dict[str, Any]]:
    """Rows of a table: each cell with its text in percent, and how strongly it is tinted."""
    rows: Sequence[tuple[str, npt.NDArray[np.float64]]] = list(
        zip(confusion.names, confusion.shares, strict=True)
    )
    return [
        {
            "name": name,
            "cells": [
                {
                    "text": "" if math.isnan(share) or share < 0.005 else f"{100 * share:.0f}",
                    "tint": 0 if math.isnan(share) else round(60 * float(share)),
                    "right": place == at,
                }
                for at, share in enumerate(shares)
            ],
        }
        for place, (name, shares) in enumerate(rows)
    ]


def number(iou: float) -> str:
    """An IoU in percent; a dash where there is none."""
    return "–" if math.isnan(iou) else f"{100 * iou:.1f}"


def _or_minus_one(iou: float) -> float:
    return -1.0 if math.isnan(iou) else iou
