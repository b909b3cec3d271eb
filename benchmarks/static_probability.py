"""Fits the probability that a superpixel is static, and checks it on cities it was not fitted on.

    python benchmarks/static_probability.py collect --work FOLDER
    python benchmarks/static_probability.py fit --work FOLDER

`collect` renders places of simulated cities (from 30 000 on, which nothing else has seen), matches
the first capture with four other times, and pairs whose second capture stands elsewhere, as in
`prior_parts.py`; a line a picture is appended to FOLDER/superpixels.jsonl, and what is there is not
made again. `fit` leaves out one city after the other, fits on the rest and measures on it: expected
calibration error (15 bins) and area under the curve, pixels weighing alike. It writes
`crosscity/weights/static_probability.json`, fitted on all, and
`benchmarks/results/static_probability.json`.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from itertools import chain, pairwise
from pathlib import Path
from typing import Any, Final, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from adapters.catalog import PriorSettings
from benchmarks import prior_parts
from benchmarks.prior_parts import CITIES, read_rows
from benchmarks.whole_files import write_json
from crosscity.matching import PATCH, Matches
from crosscity.static_probability import COEFFICIENTS, StaticProbability, evidence
from crosscity.static_regions import covered_shares
from simcity import ALGORITHM_VERSION as SIMULATION_VERSION
from simcity import STYLES, Rendering, capture_pose, render_from
from tasks.priors.pair_prior import superpixels_of, trusted_matches

FIRST_PLACE: Final = 30_000
FIRST_MOVED: Final = 31_000
BINS: Final = 15
SIZE: Final = (647, 1280)
Float = npt.NDArray[np.float64]


def collect(work: Path, places: int, moved: int) -> None:
    """Appends a line a picture: what of its superpixels is covered in each pair, and static."""
    path = work / "superpixels.jsonl"
    done = {(row["kind"], row["city"], row["place"]) for row in read_rows(path)}
    work.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        for row in chain(_of_places(places, done), _of_moved(moved, done)):
            file.write(json.dumps(row) + "\n")
            file.flush()


def _of_places(count: int, done: set[tuple[str, str, int]]) -> Iterator[dict[str, Any]]:
    for number in range(count):
        city, place = CITIES[number % len(CITIES)], FIRST_PLACE + number
        if ("same spot", city, place) in done:
            continue
        style = STYLES[city]
        shots = [
            render_from(
                capture_pose(style, seed=0, place=place, time=when), style, seed=0, place=place,
                time=when, height=SIZE[0], width=SIZE[1],
            )
            for when in range(max(prior_parts.TIMES))
        ]  # fmt: skip
        matches = [trusted_matches(shots[0].image, b.image, PriorSettings()) for b in shots[1:]]
        yield _row("same spot", city, place, shots[0], matches)


def _of_moved(count: int, done: set[tuple[str, str, int]]) -> Iterator[dict[str, Any]]:
    prior_parts.FIRST_PLACE = FIRST_MOVED
    known = {f"{city} {place}" for kind, city, place in done if kind != "same spot"}
    for pair in prior_parts.pairs(count, SIZE, known | _unmoved(count)):
        city, place = pair.name.split()
        first, second = pair.captures
        matches = [trusted_matches(first.image, second.image, PriorSettings())]
        yield _row(pair.kind, city, int(place), first, matches)


def _unmoved(count: int) -> set[str]:
    """Pairs that stand where they stood: of those there are enough."""
    kinds, cities = prior_parts.KINDS, prior_parts.CITIES
    return {
        f"{cities[n // len(kinds) % len(cities)]} {FIRST_MOVED + n}"
        for n in range(0, count, len(kinds))
    }


def _row(
    kind: str, city: str, place: int, shot: Rendering, matches: list[Matches]
) -> dict[str, Any]:
    labels = superpixels_of(shot.image, PriorSettings())
    shares = covered_shares(matches, labels, spacing=PATCH * PriorSettings().downscale)
    area = np.bincount(labels.ravel())
    static = np.bincount(labels.ravel(), weights=shot.static.ravel())
    return {
        "kind": kind,
        "city": city,
        "place": place,
        "covered": np.round(shares, 4).tolist(),
        "area": area.tolist(),
        "static": static.astype(int).tolist(),
    }


def samples(rows: list[dict[str, Any]], others: int) -> tuple[Float, Float, Float]:
    """Evidence from so many other times, static pixels and area, a superpixel each."""
    some = [row for row in rows if len(row["covered"]) >= others]
    made = [evidence(np.array(row["covered"][:others], dtype=np.float64)) for row in some]
    static, area = (
        np.concatenate([np.array(row[name], dtype=np.float64) for row in some] or [np.empty(0)])
        for name in ("static", "area")
    )
    return np.concatenate(made or [np.empty(0)]), static, area


def fitted(rows: list[dict[str, Any]]) -> StaticProbability:
    """Logistic regression over 1, 2 and 4 other times together, each counting alike."""
    parts = []
    for times in prior_parts.TIMES:
        mean, static, area = samples(rows, times - 1)
        parts.append(Part(mean, times - 1, 1, static / area.sum()))
        parts.append(Part(mean, times - 1, 0, (area - static) / area.sum()))
    return fitted_curve(parts, tolerance=1e-8)


class Part(NamedTuple):
    """Samples with as many other times each that are all static, or all not.

    Attributes:
        mean: (n,) evidence.
        others: Number of other times.
        label: 1 for static ones, 0 for others.
        weights: (n,) how much each sample counts.
    """

    mean: Float
    others: int
    label: int
    weights: Float


def fitted_curve(parts: Sequence[Part], *, tolerance: float) -> StaticProbability:
    """Logistic regression of what is static on the evidence and the number of other times."""
    features = []
    for mean, others, _, _ in parts:
        u = 1 - 1 / others
        features.append(np.stack([mean, u * mean, np.full_like(mean, u)], axis=1))
    weight = np.concatenate([part.weights for part in parts])
    kept = weight > 0
    model = LogisticRegression(C=1e6, max_iter=10_000, tol=tolerance)
    model.fit(
        np.concatenate(features)[kept],
        np.concatenate([np.full(len(part.mean), part.label) for part in parts])[kept],
        sample_weight=weight[kept] * 1e5,
    )
    slope, slope_of_times, of_times = (float(value) for value in model.coef_[0])
    return StaticProbability(float(model.intercept_[0]), of_times, slope, slope_of_times)


def measured(model: StaticProbability, rows: list[dict[str, Any]], others: int) -> Any:  # noqa: ANN401
    """Probability, static pixels and area of every superpixel."""
    mean, static, area = samples(rows, others)
    return model.of_evidence(mean, others), static, area


def calibration(p: Float, static: Float, area: Float) -> tuple[float, float]:
    """Expected calibration error, and the area under the curve; pixels weigh alike."""
    which = np.minimum((p * BINS).astype(np.int64), BINS - 1)
    gap = np.bincount(which, weights=p * area - static, minlength=BINS)
    known = np.concatenate([np.ones(len(p)), np.zeros(len(p))])
    weight = np.concatenate([static, area - static])
    auc = roc_auc_score(known, np.concatenate([p, p]), sample_weight=weight)
    return float(np.abs(gap).sum() / area.sum()), float(auc)


def fit(work: Path) -> None:
    """Measures city by city, and writes what was fitted on all."""
    rows = read_rows(work / "superpixels.jsonl")
    groups = {"same spot": ["same spot"], "moved": list(prior_parts.KINDS[1:])}
    cases = [("same spot", n - 1) for n in prior_parts.TIMES] + [("moved", 1)]
    held: dict[tuple[str, int], list[Any]] = {case: [] for case in cases}
    for city in CITIES:
        model = fitted([row for row in rows if row["city"] != city])
        own = [row for row in rows if row["city"] == city]
        for group, others in cases:
            of_group = [row for row in own if row["kind"] in groups[group]]
            held[group, others].append(measured(model, of_group, others))
    table = []
    for (group, others), parts in held.items():
        if not sum(len(part[0]) for part in parts):
            continue
        p, static, area = (np.concatenate(column) for column in zip(*parts, strict=True))
        error, auc = calibration(p, static, area)
        by_city = [calibration(*part) for part in parts if len(part[0])]
        table.append(
            {
                "pairs": group,
                "times": others + 1,
                "pictures": sum(
                    row["kind"] in groups[group] and len(row["covered"]) >= others for row in rows
                ),
                "calibration_error": round(error, 4),
                "auc": round(auc, 4),
                "auc_if_superpixels_were_known": round(
                    calibration(static / area, static, area)[1], 4
                ),
                "by_city": {
                    city: {"calibration_error": round(e, 4), "auc": round(a, 4)}
                    for city, (e, a) in zip(
                        [c for c, part in zip(CITIES, parts, strict=True) if len(part[0])],
                        by_city,
                        strict=True,
                    )
                },
                "reliability": _reliability(p, static, area),
            }
        )
        print(table[-1])
    model = fitted(rows)
    counted = {kind: sum(row["kind"] == kind for row in rows) for kind in prior_parts.KINDS}
    write_json(
        COEFFICIENTS,
        {
            **model.to_dict(),
            "static_share": round(_static_share(rows), 4),
            "about": "fitted by benchmarks/static_probability.py on simulated cities",
            "cities": list(CITIES),
            "pictures": counted,
            "simulation_version": SIMULATION_VERSION,
            "settings": PriorSettings().model_dump(),
        },
        indent=1,
    )
    out = Path(__file__).resolve().parent / "results" / "static_probability.json"
    write_json(out, {"size": SIZE, "rows": table}, indent=1)


def _static_share(rows: list[dict[str, Any]]) -> float:
    """Of all pixels of the pictures that were taken from one spot."""
    _, static, area = samples([row for row in rows if row["kind"] == prior_parts.KINDS[0]], 1)
    return float(static.sum() / area.sum())


def _reliability(p: Float, static: Float, area: Float) -> list[list[float]]:
    """Mean probability, share that is static and share of the pixels, a bin each."""
    edges = np.linspace(0, 1, 11)
    bins = [(p >= low) & ((p < high) | (high == 1)) for low, high in pairwise(edges)]
    return [
        [
            round(float((p * area)[b].sum() / area[b].sum()), 3),
            round(float(static[b].sum() / area[b].sum()), 3),
            round(float(area[b].sum() / area.sum()), 3),
        ]
        for b in bins
        if b.any()
    ]


def main() -> None:
    """Runs one of the two steps."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("collect", "fit"))
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--places", type=int, default=40)
    parser.add_argument("--moved", type=int, default=32)
    options = parser.parse_args()
    cv2.setNumThreads(1)
    if options.what == "collect":
        collect(options.work, options.places, options.moved)
    else:
        fit(options.work)


if __name__ == "__main__":
    main()
