"""How well static superpixels could be told from moving ones, by more than their coverage.

    python benchmarks/static_probability_ceiling.py collect --work FOLDER --places 16
    python benchmarks/static_probability_ceiling.py fit --work FOLDER

`collect` renders places of simulated cities (from 32 000 on, which nothing else has seen) at five
times, and notes of each superpixel of the first picture, for each other time, what the pair says:
covered by trusted and by all matches, scores, differences of colour (exposure made up for) and of
descriptors at matched points, how far matches miss their neighbours' displacement; and size and
height in the picture. Beside it what an *oracle* sees: the other time rendered from the pose of the
first, so that every pixel lies where it lies, which no matching can better; differences of colour
and of descriptors there. `fit` leaves out one city after the other, and gives the area under the
curve of static against moving pixels, with one, two and four other times, of boosted trees that are
monotone in every feature of a pair.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
import numpy.typing as npt
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import roc_auc_score

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from adapters.catalog import PriorSettings
from benchmarks.conditions import conditions
from benchmarks.prior_parts import CITIES, TIMES, read_rows
from benchmarks.whole_files import write_json
from crosscity.matching import PATCH, Matches, reliable_matches
from crosscity.matching.descriptors import grey_image, pixel_descriptors
from crosscity.prior_parts import MatcherSettings, build_matcher
from simcity import STYLES, Pose, Rendering, capture_pose, render_from
from tasks.priors.pair_prior import superpixels_of

FIRST_PLACE: Final = 32_000
SIZE: Final = (647, 1280)
HALVINGS: Final = 2
SETTINGS: Final = PriorSettings()
SPACING: Final = PATCH * SETTINGS.downscale
OF_A_PAIR: Final = {
    "covered": 1, "covered_by_all": 1, "score": 1, "colour": -1, "alike": 1, "residual": -1,
    "oracle_colour": -1, "oracle_alike": 1, "oracle_least": 1,
}  # fmt: skip
"""What is noted of each pair, and whether more of it makes a superpixel more static."""
OF_A_SUPERPIXEL: Final = ("size", "height")
SETS: Final = {
    "coverage": ("covered",),
    "coverage and size": ("covered", "size"),
    "coverage and height": ("covered", "height"),
    "coverage, size and height": ("covered", *OF_A_SUPERPIXEL),
    "all of the matches": ("covered", "covered_by_all", "score", "colour", "alike", "residual"),
    "all of the matches, size and height": (
        "covered", "covered_by_all", "score", "colour", "alike", "residual", *OF_A_SUPERPIXEL,
    ),
    "oracle of the true flow": ("oracle_colour", "oracle_alike", "oracle_least"),
    "oracle of the true flow, size and height": (
        "oracle_colour", "oracle_alike", "oracle_least", *OF_A_SUPERPIXEL,
    ),
}  # fmt: skip
Float = npt.NDArray[np.float64]
Image = npt.NDArray[np.uint8]


def collect(work: Path, places: int) -> None:
    """Appends a line a place; what is there is not made again."""
    path = work / "ceiling.jsonl"
    work.mkdir(parents=True, exist_ok=True)
    done = {row["place"] for row in read_rows(path)}
    match = build_matcher(
        SETTINGS.matcher, MatcherSettings(SETTINGS.downscale, SETTINGS.search_radius)
    )
    for place in range(FIRST_PLACE, FIRST_PLACE + places):
        if place in done:
            continue
        city = CITIES[place % len(CITIES)]
        style = STYLES[city]
        own = capture_pose(style, seed=0, place=place, time=0)

        first = _shot(city, own, place, 0)
        labels = superpixels_of(first.image, SETTINGS)
        area = np.bincount(labels.ravel())
        seen = pixel_descriptors(grey_image(first.image), HALVINGS)
        pairs = []
        for when in range(1, max(TIMES)):
            pose = capture_pose(style, seed=0, place=place, time=when)
            other = _shot(city, pose, place, when).image
            there = pixel_descriptors(grey_image(other), HALVINGS)
            of_matches = _of_matches(
                match(first.image, other), first.image, other, seen, there, labels, area
            )
            pairs.append(
                of_matches
                | _of_oracle(first.image, _shot(city, own, place, when).image, seen, labels)
            )
        rows = np.repeat(np.arange(SIZE[0]), SIZE[1])
        row = {
            "city": city,
            "place": place,
            "area": area.tolist(),
            "static": np.bincount(labels.ravel(), weights=first.static.ravel()).tolist(),
            "height": (np.bincount(labels.ravel(), weights=rows) / area / SIZE[0])
            .round(3)
            .tolist(),
            "pairs": [
                {name: np.round(values, 4).tolist() for name, values in pair.items()}
                for pair in pairs
            ],
        }
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        print(place, city, flush=True)


def _shot(city: str, pose: Pose, place: int, when: int) -> Rendering:
    return render_from(
        pose, STYLES[city], seed=0, place=place, time=when, height=SIZE[0], width=SIZE[1]
    )


def _of_matches(
    every: Matches,
    first: Image,
    other: Image,
    seen: npt.NDArray[np.float32],
    there: npt.NDArray[np.float32],
    labels: npt.NDArray[np.int32],
    area: npt.NDArray[np.int64],
) -> dict[str, Float]:
    trusted = reliable_matches(
        every, SPACING, weakest=SETTINGS.weakest, neighbours=SETTINGS.neighbours
    )
    made: dict[str, Float] = {}
    for name, matches in (("covered_by_all", every), ("covered", trusted)):
        where = labels[_at(matches.y_a, labels.shape[0]), _at(matches.x_a, labels.shape[1])]
        count = np.bincount(where, minlength=len(area))
        made[name] = np.minimum(count * SPACING**2 / area, 1.0)
    where = labels[_at(every.y_a, labels.shape[0]), _at(every.x_a, labels.shape[1])]

    def mean(values: Float, missing: float) -> Float:
        count = np.bincount(where, minlength=len(area))
        total = np.bincount(where, weights=values, minlength=len(area))
        return np.where(count > 0, total / np.maximum(count, 1), missing)

    here = first[_at(every.y_a, SIZE[0]), _at(every.x_a, SIZE[1])].astype(float)
    then = other[_at(every.y_b, SIZE[0]), _at(every.x_b, SIZE[1])].astype(float)
    made["score"] = mean(every.score.astype(float), 0.0)
    made["colour"] = mean(np.abs(_exposed(then, here) - here).mean(axis=1), 128.0)
    scale = 2**HALVINGS
    u = seen[:, _at(every.y_a / scale, seen.shape[1]), _at(every.x_a / scale, seen.shape[2])]
    v = there[:, _at(every.y_b / scale, there.shape[1]), _at(every.x_b / scale, there.shape[2])]
    made["alike"] = mean(_cosine(u, v), 0.0)
    made["residual"] = mean(_residuals(every), 128.0)
    return made


def _of_oracle(
    first: Image, aligned: Image, seen: npt.NDArray[np.float32], labels: npt.NDArray[np.int32]
) -> dict[str, Float]:
    """Every pixel against the one that it truly lies at, from the same spot at the other time."""
    flat = labels.ravel()
    area = np.bincount(flat)
    here = first.reshape(-1, 3).astype(float)
    gap = np.abs(_exposed(aligned.reshape(-1, 3).astype(float), here) - here).mean(axis=1)
    there = pixel_descriptors(grey_image(aligned), HALVINGS)
    alike = cv2.resize(
        _cosine(seen, there).astype(np.float32), (SIZE[1], SIZE[0]), interpolation=cv2.INTER_LINEAR
    ).ravel()
    order = np.lexsort((alike, flat))
    starts = np.concatenate([[0], np.cumsum(area)[:-1]])
    return {
        "oracle_colour": np.bincount(flat, weights=gap) / area,
        "oracle_alike": np.bincount(flat, weights=alike) / area,
        "oracle_least": alike[order][starts + area // 10].astype(np.float64),
    }


def _at(values: npt.NDArray[np.floating[Any]], size: int) -> npt.NDArray[np.int64]:
    found: npt.NDArray[np.int64] = np.clip(np.rint(values), 0, size - 1).astype(np.int64)
    return found


def _exposed(then: Float, here: Float) -> Float:
    """Colours of another light and camera in those of this one: a gain and an offset a channel."""
    made = np.empty_like(then)
    for channel in range(3):
        low, high = (np.percentile(part[:, channel], [10, 90]) for part in (then, here))
        gain = (high[1] - high[0]) / max(low[1] - low[0], 1.0)
        made[:, channel] = (then[:, channel] - low[0]) * gain + high[0]
    return made


def _cosine(u: npt.NDArray[np.float32], v: npt.NDArray[np.float32]) -> Float:
    lengths = np.sqrt((u * u).sum(axis=0) * (v * v).sum(axis=0))
    found: Float = ((u * v).sum(axis=0) / lengths).astype(np.float64)
    return found


def _residuals(matches: Matches) -> Float:
    """How many pixels the displacement of a match differs from the median of those around it."""
    across = SIZE[1] // SPACING + 1
    grid = np.full((SIZE[0] // SPACING + 5, across + 4, 2), np.nan)
    row, column = (np.floor(at / SPACING).astype(int) + 2 for at in (matches.y_a, matches.x_a))
    moved = np.stack([matches.x_b - matches.x_a, matches.y_b - matches.y_a], axis=1)
    grid[row, column] = moved
    around = np.stack(
        [grid[row + i, column + j] for i in range(-2, 3) for j in range(-2, 3) if i or j]
    )
    known = np.isfinite(around).any(axis=(0, 2))
    middle = moved.astype(np.float64)
    middle[known] = np.nanmedian(around[:, known], axis=0)
    found: Float = np.abs(moved - middle).max(axis=1)
    return np.where(known, found, 128.0)


def features(rows: list[dict[str, Any]], names: tuple[str, ...], others: int) -> Float:
    """(superpixels, features): mean and least over the other times; size and height."""
    parts = []
    for row in rows:
        columns: list[Float] = []
        for name in names:
            if name in OF_A_SUPERPIXEL:
                own = np.array(row["area" if name == "size" else name], dtype=np.float64)
                columns.append(np.log(own) if name == "size" else own)
                continue
            values = np.array([pair[name] for pair in row["pairs"][:others]])
            worst = values.min(axis=0) if OF_A_PAIR[name] > 0 else values.max(axis=0)
            columns += [values.mean(axis=0), worst]
        parts.append(np.stack(columns, axis=1))
    return np.concatenate(parts)


def fit(work: Path) -> None:
    """Areas under the curve, each city by what was fitted on the others; written as JSON."""
    rows = read_rows(work / "ceiling.jsonl")
    table = []
    for set_name, names in SETS.items():
        for others in (n - 1 for n in TIMES):
            found: list[tuple[Float, Float, Float]] = []
            for city in CITIES:
                model = _fitted([row for row in rows if row["city"] != city], names, others)
                own = [row for row in rows if row["city"] == city]
                static, area = _counted(own)
                found.append(
                    (model.predict_proba(features(own, names, others))[:, 1], static, area)
                )
            p, static, area = (np.concatenate(column) for column in zip(*found, strict=True))
            table.append(
                {
                    "features": set_name,
                    "times": others + 1,
                    "auc": round(_auc(p, static, area), 4),
                    "by_city": {
                        city: round(_auc(*part), 4)
                        for city, part in zip(CITIES, found, strict=True)
                    },
                    "moving_flagged_at_recall_60": round(100 * _moving_at(p, static, area, 0.6), 2),
                }
            )
            print(table[-1], flush=True)
    static, area = _counted(rows)
    known = {"auc": round(_auc(static / area, static, area), 4)}
    out = Path(__file__).resolve().parent / "results" / "static_probability_ceiling.json"
    kept = {
        "size": SIZE, "places": len(rows), "conditions": conditions(), "rows": table,
        "if_superpixels_were_known": known,
    }  # fmt: skip
    write_json(out, kept, indent=1)


def _fitted(
    rows: list[dict[str, Any]], names: tuple[str, ...], others: int
) -> HistGradientBoostingClassifier:
    x = features(rows, names, others)
    static, area = _counted(rows)
    signs: list[int] = []
    for name in names:
        signs += [0] if name in OF_A_SUPERPIXEL else [OF_A_PAIR[name]] * 2
    weight = np.concatenate([static, area - static]) / area.mean()
    model = HistGradientBoostingClassifier(
        max_iter=150, learning_rate=0.06, max_leaf_nodes=8, min_samples_leaf=40,
        l2_regularization=1.0, monotonic_cst=signs, random_state=0,
    )  # fmt: skip
    model.fit(
        np.concatenate([x, x]),
        np.concatenate([np.ones(len(x)), np.zeros(len(x))]),
        sample_weight=weight,
    )
    return model


def _counted(rows: list[dict[str, Any]]) -> tuple[Float, Float]:
    static, area = (
        np.concatenate([np.array(row[name], dtype=np.float64) for row in rows])
        for name in ("static", "area")
    )
    return static, area


def _auc(p: Float, static: Float, area: Float) -> float:
    known = np.concatenate([np.ones(len(p)), np.zeros(len(p))])
    weight = np.concatenate([static, area - static])
    return float(roc_auc_score(known, np.concatenate([p, p]), sample_weight=weight))


def _moving_at(p: Float, static: Float, area: Float, recall: float) -> float:
    """Share of moving pixels in the surest superpixels that hold this share of the static ones."""
    order = np.argsort(-p, kind="stable")
    held = np.cumsum(static[order]) / static.sum()
    last = int(np.searchsorted(held, recall))
    moving = area - static
    return float(moving[order][: last + 1].sum() / moving.sum())


def main() -> None:
    """Runs one of the two steps."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("collect", "fit"))
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--places", type=int, default=16)
    options = parser.parse_args()
    cv2.setNumThreads(1)
    if options.what == "collect":
        collect(options.work, options.places)
    else:
        fit(options.work)


if __name__ == "__main__":
    main()
