"""The figures of a report as `report.json` has them: flat, so that a condition can name each."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from adapters.store import ArtifactRef, Store
from crosscity.labels import told_apart
from tasks.judging.differences import read_differences
from tasks.judging.evaluation import Evaluated
from tasks.pages.scores import gap_closed
from tasks.steps.schemas import FAILED, IMAGERY, LEFT_OUT, PAIRS
from tasks.steps.tables import read_rows
from tasks.training.arms import BOUND, START

Value = TypeVar("Value")

REPORT_FORMAT = 1
"""Of report.json; raised when a reader of before would misread it."""


def report_figures(
    store: Store,
    parts: Mapping[str, ArtifactRef],
    scored: Mapping[str, Evaluated],
    arm: str | None,
) -> dict[str, float | None]:
    """Every figure of a report by name; ``None`` where it could not be measured.

    Shares and scores lie in [0, 1]; names with `_before` are of the segmenter before adaptation.
    """
    figures: dict[str, float | None] = {**_harvest(store, parts), **_prior(store, parts)}
    return {**figures, **unlabelled_figures(store, parts), **score_figures(scored, arm)}


def unlabelled_figures(store: Store, parts: Mapping[str, ArtifactRef]) -> dict[str, float | None]:
    """What is seen of the shown segmenter, and of the one before, without a label."""
    figures: dict[str, float | None] = {}
    if "safeguard" in parts:
        figures |= _agreement(dict(store.manifest(parts["safeguard"]).summary))
    if "differences" in parts:
        found = read_differences(store, parts["differences"])
        figures |= {"changed": found.changed, "images_compared": found.images}
        figures["confidence_before"], figures["confidence"] = found.confidence
        for name, (before, after) in _by_figure_name(found.shares).items():
            figures[f"share_before.{name}"] = before
            figures[f"share.{name}"] = after
    return figures


def score_figures(scored: Mapping[str, Evaluated], arm: str | None) -> dict[str, float | None]:
    """What was measured on labels, of the shown arm and of the lines beside it."""
    figures: dict[str, float | None] = {}
    beside = {START: "miou_before", "bn": "miou_batch_norm", BOUND: "miou_bound"}
    for other, name in beside.items():
        if other in scored:
            figures[name] = _known(scored[other].miou)
    if arm is not None and arm in scored:
        figures["miou"] = _known(scored[arm].miou)
        figures["gap_closed"] = gap_closed(scored, arm)
        for name, iou in _by_figure_name(scored[arm].per_class).items():
            figures[f"iou.{name}"] = _known(iou)
    return figures


def table_of_figures(content: Mapping[str, Any]) -> str:
    """What is seen without labels as text, for the terminal; empty where nothing was compared.

    Where images are compared with copies of them, each copy has a line: the verdict may speak of
    either.
    """
    figures, looks = content["figures"], (content.get("safeguard") or {}).get("looks", {})
    rows = [
        (f"kappa, {look}", signals["kappa"]["before"], signals["kappa"]["after"])
        for look, signals in looks.items()
    ]
    names = ("confidence", "entropy", "information")
    rows += [
        (name, figures[f"{name}_before"], figures[name])
        for name in (names if looks else ("agreement", "kappa", *names))
        if name in figures
    ]
    width = 18 if looks else 14
    lines = [f"{'':<{width}}{'before':>10}{'after':>10}"]
    for name, *values in rows:
        shown = ["–" if value is None else f"{value:.3f}" for value in values]
        lines.append(f"{name:<{width}}{shown[0]:>10}{shown[1]:>10}")
    if len(lines) == 1:
        return ""
    verdict = content["verdict"]
    return "\n".join(lines if verdict is None else [*lines, verdict["sentence"]])


def figure_name(class_name: str) -> str:
    """A class in the name of a figure: "traffic light" is `traffic_light`."""
    return "".join(c if c.isalnum() else "_" for c in class_name)


def _by_figure_name(by_class: Mapping[str, Value]) -> dict[str, Value]:
    """What is known of each class by its figure's name; classes of one name get one each."""
    return dict(zip(told_apart(list(by_class), figure_name), by_class.values(), strict=True))


def _harvest(store: Store, parts: Mapping[str, ArtifactRef]) -> dict[str, float | None]:
    imagery = read_rows(store, parts["imagery"], "imagery.parquet", IMAGERY, ("status", "place_id"))
    pairs = read_rows(store, parts["pairs"], "pairs.parquet", PAIRS, ("split",))
    return {
        "images": len(imagery),
        "images_failed": _count(imagery, FAILED),
        "images_left_out": _count(imagery, LEFT_OUT),
        "places": len({row["place_id"] for row in imagery}),
        "pairs": sum(row["split"] == "train" for row in pairs),
        "pairs_held_out": sum(row["split"] != "train" for row in pairs),
    }


def _prior(store: Store, parts: Mapping[str, ArtifactRef]) -> dict[str, float | None]:
    if "static_prior" not in parts:
        return {}
    summary: dict[str, Any] = dict(store.manifest(parts["static_prior"]).summary)
    failed = sum(summary["failures"].values())
    return {"static_fraction": summary["mean_static_fraction"], "priors_failed": failed}


def _agreement(summary: Mapping[str, Any]) -> dict[str, float | None]:
    """What the safeguard saw on pairs."""
    signals = summary["signals"]
    figures: dict[str, float | None] = {
        "harmful": float(summary["keep"] == "before"),
        "points": signals["points"],
        "pairs_compared": signals["pairs"],
        "drift": signals["drift"],
        "kappa_change": signals["kappa_change"],
    }
    for name in ("agreement", "kappa", "entropy", "information"):
        figures[f"{name}_before"] = signals[name]["before"]
        figures[name] = signals[name]["after"]
    return figures


def _count(rows: Sequence[Mapping[str, Any]], status: str) -> int:
    return sum(row["status"] == status for row in rows)


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value
