"""The prior of places at more than two times: chosen on one city, measured on others.

    python benchmarks/several_times.py collect --work FOLDER
    python benchmarks/several_times.py report --work FOLDER
    python benchmarks/several_times.py fit --work FOLDER

`collect` renders places (from 40 000 on, which nothing else has seen) of all five styles at five
times, matches each two, and keeps matches, superpixels and exact masks, a file a place; what is
there is not made again. `report` has the priors of all five images of a place from each one to four
other times, by the rule before (that of `static_prior_of_times`) and by
`crosscity.several_times`, and counts pixels. How the evidence is made was chosen on `frankfurt`
alone; of the four other cities the first three places or so were looked at on the way, and are
reported apart. 95 % intervals are from drawing places. The probability is fitted on all places
but a city's own, and measured on that. It writes `benchmarks/results/several_times.json` and
`.md`. `fit` writes the curve of the first places of all cities into
`crosscity/weights/static_probability.json`, with which priors are made: more places make figures
surer, and change no prior.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any, Final, Literal

import cv2
import numpy as np
import numpy.typing as npt

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from adapters.catalog import PriorSettings
from benchmarks.conditions import conditions
from benchmarks.static_probability import Part, calibration, fitted_curve
from benchmarks.whole_files import write_json, write_text
from crosscity import several_times
from crosscity.matching import PATCH, Matches, reliable_matches
from crosscity.prior_parts import MatcherSettings, build_matcher, superpixel_method
from crosscity.several_times import FINER, evidence_of_times, least_evidence
from crosscity.static_probability import COEFFICIENTS, StaticProbability
from crosscity.static_regions import DOUBT, counts_by_time
from simcity import ALGORITHM_VERSION as SIMULATION_VERSION
from simcity import STYLES, capture_pose, render_from

CHOSEN_ON: Final = "frankfurt"
PLACES: Final = {"frankfurt": 16, "rome": 40, "rio": 40, "tokyo": 40, "taipei": 40}
FITTED_ON: Final = 8
"""Places of each other city that the curve which comes along is fitted on, and all of the first."""
FIRST_PLACE: Final = 40_000
LOOKED_AT: Final = 4
"""Places of each other city that were seen while the evidence was chosen, at most."""
TIMES: Final = 5
SIZE: Final = (647, 1280)
SETTINGS: Final = PriorSettings()
SPACING: Final = PATCH * SETTINGS.downscale
SMALL: Final = (SIZE[0] // SETTINGS.superpixel_downscale, SIZE[1] // SETTINGS.superpixel_downscale)
COUNTS: Final = (SETTINGS.superpixels, FINER * SETTINGS.superpixels)
BINS: Final = 2000
"""Of evidence from 0 to 1."""
STEP: Final = 2
"""By evidence, each second pixel of each second row is looked at."""
RULES: Final = ("before", "evidence")
RECALL: Final = 0.6
"""At which moving flagged is asked for: the threshold of it is set on the places of the fit."""
DRAWS: Final = 2000

Float = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int32]
Mask = npt.NDArray[np.bool_]
Sides = Literal["a", "b"]
Counts = dict[str, npt.NDArray[np.int64]]


def places() -> Iterator[tuple[str, int]]:
    """The city chosen on and another one in turn."""
    numbers = {city: FIRST_PLACE + 1000 * index for index, city in enumerate(STYLES)}
    own, others = iter(range(PLACES[CHOSEN_ON])), [c for c in PLACES if c != CHOSEN_ON]
    for row in range(max(PLACES.values())):
        for city in others:
            number = next(own, None)
            if number is not None:
                yield CHOSEN_ON, numbers[CHOSEN_ON] + number
            if row < PLACES[city]:
                yield city, numbers[city] + row


def collect(work: Path) -> None:
    """A file a place: exact masks, superpixels of the smaller picture, matches of each two."""
    work.mkdir(parents=True, exist_ok=True)
    match = build_matcher(
        SETTINGS.matcher, MatcherSettings(SETTINGS.downscale, SETTINGS.search_radius)
    )
    cut = superpixel_method(SETTINGS.superpixel_method)
    for city, place in places():
        path = work / f"{city}-{place}.npz"
        if path.exists():
            continue
        style = STYLES[city]
        shots = [
            render_from(
                capture_pose(style, seed=0, place=place, time=when), style, seed=0, place=place,
                time=when, height=SIZE[0], width=SIZE[1],
            )
            for when in range(TIMES)
        ]  # fmt: skip
        small = [
            np.asarray(
                cv2.resize(shot.image, SMALL[::-1], interpolation=cv2.INTER_AREA), dtype=np.uint8
            )
            for shot in shots
        ]
        kept: dict[str, Any] = {"static": np.packbits(np.stack([shot.static for shot in shots]))}
        for count in COUNTS:
            kept[f"labels{count}"] = np.stack([cut(image, count) for image in small]).astype(
                np.int16
            )
        for a, b in combinations(range(TIMES), 2):
            found = match(shots[a].image, shots[b].image)
            kept[f"m{a}{b}"] = np.stack(
                [found.x_a, found.y_a, found.x_b, found.y_b, found.score]
            ).astype(np.float32)
        partial = path.with_suffix(".tmp")
        with partial.open("wb") as file:
            np.savez_compressed(file, **kept)
        partial.rename(path)
        print(city, place, flush=True)


@dataclass(frozen=True)
class Place:
    """What was kept of a place."""

    static: Mask
    labels: tuple[tuple[Labels, ...], ...]
    pairs: dict[tuple[int, int], Matches]

    def with_times(self, image: int, others: tuple[int, ...]) -> tuple[list[Matches], list[Sides]]:
        """The trusted matches of an image with other times, and on which side it is."""
        found: list[Matches] = []
        sides: list[Sides] = []
        for other in others:
            found.append(self.pairs[min(image, other), max(image, other)])
            sides.append("a" if image < other else "b")
        return found, sides


def opened(path: Path) -> Place:
    """A place of `collect`."""
    with np.load(path) as kept:
        bits = np.unpackbits(kept["static"])[: TIMES * SIZE[0] * SIZE[1]]
        labels = tuple(
            tuple(
                np.asarray(
                    cv2.resize(
                        kept[f"labels{count}"][image].astype(np.int32), SIZE[::-1],
                        interpolation=cv2.INTER_NEAREST_EXACT,
                    ),
                    dtype=np.int32,
                )
                for count in COUNTS
            )
            for image in range(TIMES)
        )  # fmt: skip
        pairs = {}
        for a, b in combinations(range(TIMES), 2):
            x_a, y_a, x_b, y_b, score = kept[f"m{a}{b}"]
            entry = np.zeros(len(score), dtype=np.int32)
            pairs[a, b] = reliable_matches(
                Matches(x_a, y_a, x_b, y_b, score, entry),
                SPACING,
                weakest=SETTINGS.weakest,
                neighbours=SETTINGS.neighbours,
                tolerance=SETTINGS.tolerance,
            )
    return Place(bits.reshape(TIMES, *SIZE).astype(np.bool_), labels, pairs)


def counted(place: Place) -> Counts:
    """Pixels by number of other times: of the rule before, and static and moving by evidence.

    Keys are "before 2" (flagged static, flagged moving) and "evidence 2" (2, BINS), and "pixels 2"
    (moving, static).
    """
    made: Counts = {}
    for image in range(TIMES):
        static, labels = place.static[image], place.labels[image]
        others = [other for other in range(TIMES) if other != image]
        matched = counts_by_time(*_all(place.with_times(image, tuple(others)), labels[0]))
        area = np.bincount(labels[0].ravel())
        still = np.bincount(labels[0][static], minlength=len(area))
        moving = area - still
        seen, alone = static[::STEP, ::STEP], {}
        for other in others:
            matches, sides = place.with_times(image, (other,))
            whole = evidence_of_times(matches, labels, sides=sides, spacing=SPACING)
            alone[other] = whole[::STEP, ::STEP]
        for count in range(1, TIMES):
            for chosen in combinations(others, count):
                evidence = np.mean([alone[other] for other in chosen], axis=0)
                at = np.minimum((evidence * BINS).astype(np.int64), BINS - 1)
                split = [np.bincount(at[part], minlength=BINS) for part in (~seen, seen)]
                _add(made, f"evidence {count}", np.stack(split))
                _add(made, f"pixels {count}", np.array([(~static).sum(), static.sum()]))
                static_before = _static_before(matched[[others.index(o) for o in chosen]], area)
                flagged = np.array([of_label[static_before].sum() for of_label in (moving, still)])
                _add(made, f"before {count}", flagged)
    return made


def _all(
    found: tuple[list[Matches], list[Sides]], labels: Labels
) -> tuple[list[Matches], Labels, list[Sides]]:
    return found[0], labels, found[1]


def _static_before(matched: npt.NDArray[np.int64], area: npt.NDArray[np.int64]) -> Mask:
    """The rule of `static_prior_of_times`, by superpixel."""
    n = len(matched)
    covered = np.minimum(matched * SPACING**2 / area, 1.0)
    least = (SETTINGS.coverage + DOUBT) ** n * (1 - 1e-9)
    enough: Mask = np.prod(covered + DOUBT, axis=0) >= least
    enough &= np.prod(matched + 1.0, axis=0) > float(SETTINGS.k + 1) ** n
    return enough


def _add(made: Counts, name: str, more: npt.NDArray[np.int64]) -> None:
    made[name] = made[name] + more if name in made else more


def counts_of(work: Path) -> dict[str, Counts]:
    """`counted` of each place, by its name; what was counted before is read."""
    version = several_times.ALGORITHM_VERSION
    found: dict[str, Counts] = {}
    for city, place in places():
        name = f"{city}-{place}"
        kept, path = work / f"{name}.counts-{version}.npz", work / f"{name}.npz"
        if not kept.exists():
            if not path.exists():
                continue
            np.savez_compressed(kept, **counted(opened(path)))  # type: ignore[arg-type]
            print("counted", name, flush=True)
        with np.load(kept) as read:
            found[name] = {key: read[key] for key in read.files}
    return found


def city_of(name: str) -> str:
    """The city of a place's name."""
    return name.split("-", maxsplit=1)[0]


def is_fresh(name: str) -> bool:
    """Whether nothing of the place was looked at while the evidence was chosen."""
    return city_of(name) != CHOSEN_ON and int(name.split("-")[1]) % 1000 >= LOOKED_AT


def is_fitted_on(name: str) -> bool:
    """Whether the curve that comes along was fitted on the place."""
    return city_of(name) == CHOSEN_ON or int(name.split("-")[1]) % 1000 < FITTED_ON


def flagged_by(counts: Counts, rule: str, others: int, least: float | None = None) -> Float:
    """(moving, static) pixels in the prior."""
    if rule == "before":
        return counts[f"before {others}"].astype(np.float64)
    first = int(np.ceil((least or 0) * BINS - 1e-6))
    sums: Float = counts[f"evidence {others}"][:, first:].sum(axis=1).astype(np.float64)
    return sums


def shares(
    of_places: list[Counts], rule: str, others: int, least: float | None = None
) -> dict[str, list[float]]:
    """Percent with the ends of its 95 % interval, from drawing places."""
    flagged = np.array([flagged_by(each, rule, others, least) for each in of_places])
    pixels = np.array(
        [
            each[f"pixels {others}"] if rule == "before" else each[f"evidence {others}"].sum(axis=1)
            for each in of_places
        ],
        dtype=np.float64,
    )
    drawn = np.random.default_rng(0).integers(len(of_places), size=(DRAWS, len(of_places)))
    found = {}
    for name, part, whole in (
        ("precision", flagged[:, 1], flagged.sum(axis=1)),
        ("recall", flagged[:, 1], pixels[:, 1]),
        ("moving_flagged", flagged[:, 0], pixels[:, 0]),
    ):
        ends = np.percentile(100 * part[drawn].sum(1) / whole[drawn].sum(1), [2.5, 97.5])
        found[name] = [round(float(v), 2) for v in (100 * part.sum() / whole.sum(), *ends)]
    return found


def curve(of_places: list[Counts], others: int) -> list[dict[str, float]]:
    """Recall and moving flagged by the least evidence."""
    total = np.sum([each[f"evidence {others}"] for each in of_places], axis=0)
    left = total[:, ::-1].cumsum(axis=1)[:, ::-1] / total.sum(axis=1, keepdims=True)
    return [
        {
            "least_evidence": round(least, 3),
            "recall": round(100 * float(left[1, round(least * BINS)]), 2),
            "moving_flagged": round(100 * float(left[0, round(least * BINS)]), 2),
        }
        for least in np.arange(0.30, 0.72, 0.02)
    ]


def at_recall(counts: dict[str, Counts]) -> list[dict[str, Any]]:
    """Evidence whose threshold has a recall of 60 % on the places of the fit, on all others."""
    rest = [each for name, each in counts.items() if not is_fitted_on(name)]
    own = [each for name, each in counts.items() if is_fitted_on(name)]
    made: list[dict[str, Any]] = []
    for others in range(2, TIMES) if rest and own else ():
        static = np.sum([each[f"evidence {others}"][1] for each in own], axis=0)
        left = static[::-1].cumsum()[::-1] / static.sum()
        least = float(np.nonzero(left >= RECALL)[0].max()) / BINS
        row = {"places": "not of the fit", "number": len(rest), "times": others + 1}
        made.append({**row, "least_evidence": least, **shares(rest, "evidence", others, least)})
    return made


def fitted(of_places: list[Counts]) -> StaticProbability:
    """Logistic regression over two, three and four other times together, each counting alike."""
    middles = (np.arange(BINS) + 0.5) / BINS
    parts = []
    for others in range(2, TIMES):
        total = np.sum([each[f"evidence {others}"] for each in of_places], axis=0)
        parts += [Part(middles, others, label, total[label] / total.sum()) for label in (0, 1)]
    return fitted_curve(parts, tolerance=1e-10)


def calibrated(counts: dict[str, Counts]) -> list[dict[str, Any]]:
    """The curve that was fitted without a city, measured on that city."""
    made = []
    for others in range(2, TIMES):
        columns: list[tuple[Float, Float, Float]] = []
        by_city = {}
        for city in PLACES:
            own = [each for name, each in counts.items() if city_of(name) == city]
            rest = [each for name, each in counts.items() if city_of(name) != city]
            if not own or not rest:
                continue
            total = np.sum([each[f"evidence {others}"] for each in own], axis=0).astype(np.float64)
            p = fitted(rest).of_evidence((np.arange(BINS) + 0.5) / BINS, others)
            there = total.sum(axis=0) > 0
            columns.append((p[there], total[1][there], total.sum(axis=0)[there]))
            error, auc = calibration(*columns[-1])
            by_city[city] = {"calibration_error": round(error, 4), "auc": round(auc, 4)}
        p, static, area = (np.concatenate(each) for each in zip(*columns, strict=True))
        error, auc = calibration(p, static, area)
        made.append(
            {
                "times": others + 1,
                "calibration_error": round(error, 4),
                "auc": round(auc, 4),
                "by_city": by_city,
            }
        )
    return made


def report(work: Path, out: Path) -> None:
    """Writes the figures."""
    counts = counts_of(work)
    groups = {
        "other cities": [name for name in counts if city_of(name) != CHOSEN_ON],
        "fresh": [name for name in counts if is_fresh(name)],
        "looked at": [n for n in counts if city_of(n) != CHOSEN_ON and not is_fresh(n)],
        CHOSEN_ON: [name for name in counts if city_of(name) == CHOSEN_ON],
    }
    groups |= {c: [n for n in groups["fresh"] if city_of(n) == c] for c in PLACES if c != CHOSEN_ON}
    rows = []
    for group, names in groups.items():
        for others in range(1, TIMES):
            for rule in RULES:
                if not names or (others == 1 and rule == "evidence"):
                    continue  # two times keep the rule that they had
                least = least_evidence(SETTINGS.coverage, others)
                of_places = [counts[name] for name in names]
                row = {"places": group, "number": len(names), "times": others + 1, "rule": rule}
                rows.append({**row, **shares(of_places, rule, others, least)})
    fresh = [counts[name] for name in groups["fresh"]]
    found = {
        "about": __doc__.split("\n")[0],
        "size": SIZE,
        "conditions": conditions(),
        "least_evidence": {
            str(n): round(least_evidence(SETTINGS.coverage, n - 1), 4) for n in range(3, TIMES + 1)
        },
        "rows": rows,
        "at_recall": at_recall(counts),
        "curves": {str(others + 1): curve(fresh, others) for others in range(2, TIMES)},
        "probability": calibrated(counts),
    }
    write_json(out.with_suffix(".json"), found, indent=1)
    write_text(out.with_suffix(".md"), table(found))


def fit(work: Path) -> None:
    """Writes the curve that comes along."""
    counts = {name: each for name, each in counts_of(work).items() if is_fitted_on(name)}
    model = fitted(list(counts.values()))
    kept = json.loads(COEFFICIENTS.read_text(encoding="utf-8"))
    kept["several_times"] = {
        **model.to_dict(),
        "about": "fitted by benchmarks/several_times.py on simulated cities, each two to four "
        "other times",
        "places": {city: sum(city_of(name) == city for name in counts) for city in PLACES},
        "simulation_version": SIMULATION_VERSION,
    }
    write_json(COEFFICIENTS, kept, indent=1)


def table(found: dict[str, Any]) -> str:
    """The figures as Markdown."""

    def shown(values: list[float]) -> str:
        return "{:.1f} ({:.1f} … {:.1f})".format(*values)

    lines = [
        "Percent of pixels of all images of the places together, with 95 % intervals from drawing "
        "places; each image with each two, three and four other times of its place.",
        "",
        "| places | number | times | rule | precision | recall | moving flagged |",
        "|" + "---|" * 7,
    ]
    for row in found["rows"]:
        cells = [shown(row[name]) for name in ("precision", "recall", "moving_flagged")]
        head = [row["places"], row["number"], row["times"], row["rule"]]
        lines.append("| " + " | ".join(map(str, [*head, *cells])) + " |")
    lines += [
        "",
        f"Evidence with the threshold whose recall is {100 * RECALL:.0f} % on the places of the "
        "fit, on all others:",
        "",
        "| places | times | least evidence | recall | moving flagged |",
        "|" + "---|" * 5,
    ]
    for row in found["at_recall"]:
        cells = [shown(row[name]) for name in ("recall", "moving_flagged")]
        head = [row["number"], row["times"], f"{row['least_evidence']:.3f}"]
        lines.append("| " + " | ".join(map(str, [*head, *cells])) + " |")
    lines += ["", "Moving flagged at a recall, by the least evidence, on the fresh places:", ""]
    times = list(found["curves"])
    lines += [f"| evidence | {' | '.join(f'{n} times' for n in times)} |", "|---" * 4 + "|"]
    for entries in zip(*found["curves"].values(), strict=True):
        cells = [f"{each['moving_flagged']:.1f} at {each['recall']:.1f}" for each in entries]
        lines.append(f"| {entries[0]['least_evidence']:.2f} | {' | '.join(cells)} |")
    lines += ["", "The probability, fitted without a city and measured on it:", ""]
    lines += ["| times | calibration error | by city at most | AUC |", "|---" * 4 + "|"]
    for row in found["probability"]:
        worst = max(each["calibration_error"] for each in row["by_city"].values())
        cells = [row["times"], row["calibration_error"], worst, row["auc"]]
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Runs one of the three steps."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("collect", "report", "fit"))
    parser.add_argument("--work", type=Path, required=True)
    results = Path(__file__).resolve().parent / "results"
    parser.add_argument("--out", type=Path, default=results / "several_times")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    if options.what == "collect":
        collect(options.work)
    elif options.what == "report":
        report(options.work, options.out)
    else:
        fit(options.work)


if __name__ == "__main__":
    main()
