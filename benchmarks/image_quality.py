"""How well the quality measures tell unfit pictures: F1 by fault, limits chosen on other pictures.

    python benchmarks/image_quality.py --camvid ../shared/data/camvid \
        --time-pairs ../shared/data/time_pairs --out benchmarks/results/image_quality.json

Clean pictures are day drives of CamVid, real street views and simulated views. Night is CamVid's
dusk drive (0001TP) and made night; the other faults are made: Gaussian and motion blur, gain, dark
regions that come in from an edge, turns. Limits are those of the largest F1 on one part (CamVid's
training drives, simulated cities of even rank), and are reported on the other (CamVid's validation
and test drives, real street views, simulated cities of odd rank).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from adapters.images import decode_image
from benchmarks.whole_files import write_json, write_text
from crosscity.image_quality import WIDTH, ImageQuality, image_quality
from simcity import STYLES, render

Image = npt.NDArray[np.uint8]
FAULTS = ("night", "blur", "overexposed", "obstructed", "turned")
DUSK = "0001TP"
EVERY = 2
PLACES = 6


@dataclass(frozen=True)
class Picture:
    """One picture of the benchmark."""

    origin: str
    chosen_on: bool
    image: Image
    dusk: bool = False


def pictures(camvid: Path, pairs: Path) -> Iterator[Picture]:
    """All clean pictures, and CamVid's dusk."""
    for part in ("train", "val", "test"):
        for path in sorted((camvid / part).glob("*.jpg"))[::EVERY]:
            image = decode_image(path.read_bytes(), path.name)
            dusk = path.name.startswith(DUSK)
            yield Picture(f"CamVid {part}", part == "train", image, dusk)
    for path in sorted(pairs.glob("*/Images/*/*.jpg")):
        yield Picture("street views", False, decode_image(path.read_bytes(), path.name))
    for rank, name in enumerate(sorted(STYLES)):
        for place in range(PLACES):
            view = render(STYLES[name], seed=11, place=place, time=place % 2, height=243, width=480)
            yield Picture("simulated", rank % 2 == 0, view.image)


def corrupted(fault: str, image: Image, rng: np.random.Generator) -> Image:
    """A picture with a made fault."""
    made: dict[str, Callable[[Image, np.random.Generator], Image]] = {
        "night": made_night,
        "blur": made_blur,
        "overexposed": made_overexposed,
        "obstructed": made_obstructed,
        "turned": lambda picture, rng: np.ascontiguousarray(
            np.rot90(picture, int(rng.integers(1, 4)))
        ),
    }
    return made[fault](image, rng)


def made_night(image: Image, rng: np.random.Generator) -> Image:
    """Less light, lamps that glow, and noise of the sensor."""
    height, width = image.shape[:2]
    light = (image / 255.0) ** rng.uniform(1.4, 2.2) * rng.uniform(0.12, 0.4)
    rows, columns = np.mgrid[:height, :width]
    for _ in range(int(rng.integers(2, 7))):
        y, x = rng.uniform(0.2, 0.6) * height, rng.uniform(0, 1) * width
        far = np.hypot(rows - y, columns - x) / (rng.uniform(0.01, 0.05) * width)
        light += (rng.uniform(0.3, 1.0) * np.exp(-far))[:, :, None] * np.array([1.0, 0.9, 0.6])
    noisy = 255 * light + rng.normal(0, rng.uniform(1, 5), image.shape)
    return np.asarray(np.clip(noisy, 0, 255), dtype=np.uint8)


def made_blur(image: Image, rng: np.random.Generator) -> Image:
    """Out of focus, or moved, by what is seen at `WIDTH` columns; with noise of the sensor."""
    scale = image.shape[1] / WIDTH
    if rng.random() < 0.5:
        made = cv2.GaussianBlur(image, (0, 0), rng.uniform(1.0, 3.0) * scale)
    else:
        length, angle = rng.uniform(7, 17) * scale, rng.uniform(0, np.pi)
        side = int(length) // 2 * 2 + 1
        kernel = np.zeros((side, side), dtype=np.float32)
        for step in np.linspace(-(side // 2), side // 2, 4 * side):
            row, column = (round(side // 2 + step * f) for f in (np.sin(angle), np.cos(angle)))
            kernel[row, column] = 1.0
        made = cv2.filter2D(image, -1, kernel / kernel.sum())
    noisy = made + rng.normal(0, rng.uniform(0, 2), image.shape)
    return np.asarray(np.clip(noisy, 0, 255), dtype=np.uint8)


def made_overexposed(image: Image, rng: np.random.Generator) -> Image:
    """So much light that half of the street or more is white."""
    street = image[image.shape[0] // 3 :].max(axis=2)
    gain = 255.0 / max(1.0, float(np.quantile(street, rng.uniform(0.2, 0.5))))
    return np.asarray(np.clip(image * gain, 0, 255), dtype=np.uint8)


def made_obstructed(image: Image, rng: np.random.Generator) -> Image:
    """Something dark and near that comes in from an edge and covers 0.2 to 0.7 of it."""
    height, width = image.shape[:2]
    rows, columns = np.mgrid[:height, :width]
    along, across = [(rows / height, columns / width), (columns / width, rows / height)][
        int(rng.integers(2))
    ]
    depth = rng.uniform(0.2, 0.7)
    border = depth * (1 + 0.15 * np.sin(across * np.pi * rng.uniform(0.5, 2)))
    if rng.random() < 0.5:
        along = 1 - along
    soft = cv2.GaussianBlur((along < border).astype(np.float32), (0, 0), width / 80)[:, :, None]
    shade = rng.uniform(2, 45, 3) + 6 * across[:, :, None]
    made = image * (1 - soft) + shade * soft + rng.normal(0, 1, image.shape)
    return np.asarray(np.clip(made, 0, 255), dtype=np.uint8)


def scores(values: np.ndarray, bad: np.ndarray, limit: float) -> dict[str, float]:
    """Precision, recall and F1 of taking values above a limit for bad."""
    flagged = values > limit
    hits = int((flagged & bad).sum())
    precision = hits / max(1, int(flagged.sum()))
    recall = hits / max(1, int(bad.sum()))
    f1 = 2 * precision * recall / max(1e-9, precision + recall)
    return {"precision": precision, "recall": recall, "f1": f1}


def best_limit(values: np.ndarray, bad: np.ndarray) -> float:
    """The limit of the largest F1: the middle of the span of limits that all have it."""
    found = np.unique(values)
    limits = (found[1:] + found[:-1]) / 2
    f1 = np.array([scores(values, bad, limit)["f1"] for limit in limits])
    best = limits[f1 >= f1.max() - 1e-12]
    return float((best.min() + best.max()) / 2)


def main() -> None:
    """Measures all, prints a table and writes the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--camvid", type=Path, required=True)
    parser.add_argument("--time-pairs", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    rng = np.random.default_rng(5)
    rows: list[tuple[str, str, bool, ImageQuality]] = []
    for picture in pictures(options.camvid, options.time_pairs):
        kind = "dusk" if picture.dusk else "clean"
        rows.append((kind, picture.origin, picture.chosen_on, image_quality(picture.image)))
        for fault in () if picture.dusk else FAULTS:
            made = image_quality(corrupted(fault, picture.image, rng))
            rows.append((fault, picture.origin, picture.chosen_on, made))
    result: dict[str, Any] = {
        "pictures": sum(row[0] in ("clean", "dusk") for row in rows),
        "faults": {},
    }
    for fault in FAULTS:
        result["faults"][fault] = of_fault(fault, rows)
    result["crossed"] = crossed(rows, {f: result["faults"][f]["limit"] for f in FAULTS})
    write_json(options.out, result, indent=1)
    write_text(options.out.with_suffix(".md"), table(result))
    print(table(result))


def of_fault(fault: str, rows: list[tuple[str, str, bool, ImageQuality]]) -> dict[str, Any]:
    """Limit and scores of one fault; clean pictures of the day against those with the fault."""
    sign = -1.0 if fault == "night" else 1.0
    bad_ones = ("night", "dusk") if fault == "night" else (fault,)
    clean = ("clean", "dusk") if fault in ("blur", "overexposed", "turned") else ("clean",)
    chosen = [row for row in rows if row[0] in (*bad_ones, *clean)]
    values = np.array([sign * asdict(row[3])[fault] for row in chosen])
    bad = np.array([row[0] in bad_ones for row in chosen])
    first = np.array([row[2] for row in chosen])
    limit = best_limit(values[first], bad[first])
    origins = sorted({row[1] for row in chosen if not row[2]})
    by_origin = {}
    for origin in origins:
        there = np.array([row[1] == origin and not row[2] for row in chosen])
        by_origin[origin] = scores(values[there], bad[there], limit)
    found: dict[str, Any] = {
        "limit": sign * limit,
        "on_the_part_it_was_chosen_on": scores(values[first], bad[first], limit),
        "on_the_other": scores(values[~first], bad[~first], limit),
        "on_the_other_by_origin": by_origin,
        "pictures_of_the_other": {"bad": int(bad[~first].sum()), "fit": int((~bad[~first]).sum())},
    }
    if fault == "night":
        real = np.array([row[0] in ("dusk", "clean") and row[1].startswith("CamVid")
                         for row in chosen])  # fmt: skip
        found["dusk_alone"] = scores(values[real & ~first], bad[real & ~first], limit)
    return found


def crossed(
    rows: list[tuple[str, str, bool, ImageQuality]], limits: dict[str, float]
) -> dict[str, dict[str, float]]:
    """Share of the pictures of the other part, by what they are, that each limit leaves out."""
    shares: dict[str, dict[str, float]] = {}
    for kind in ("clean", "dusk", *FAULTS):
        there = [row[3] for row in rows if row[0] == kind and not row[2]]
        shares[kind] = {
            fault: float(
                np.mean(
                    [
                        one.night < limits[fault]
                        if fault == "night"
                        else asdict(one)[fault] > limits[fault]
                        for one in there
                    ]
                )
            )
            for fault in FAULTS
        }
    return shares


def by_origin(result: dict[str, Any], fault: str) -> dict[str, dict[str, float]]:
    """Scores of a fault on the other part, by origin."""
    found: dict[str, dict[str, float]] = result["faults"][fault]["on_the_other_by_origin"]
    return found


def table(result: dict[str, Any]) -> str:
    """The figures as markdown."""
    lines = [
        "# Quality of pictures",
        "",
        f"{result['pictures']} pictures, each with every made fault (`benchmarks/image_quality.py`"
        "). Limits were chosen on one part and are reported on the other.",
        "",
        "| fault | limit | F1 (chosen on) | F1 | precision | recall | bad / fit |",
        "|---|---|---|---|---|---|---|",
    ]
    for fault in FAULTS:
        found = result["faults"][fault]
        other, own = found["on_the_other"], found["on_the_part_it_was_chosen_on"]
        counts = found["pictures_of_the_other"]
        lines.append(
            f"| {fault} | {found['limit']:.3g} | {own['f1']:.3f} | {other['f1']:.3f} "
            f"| {other['precision']:.3f} | {other['recall']:.3f} "
            f"| {counts['bad']} / {counts['fit']} |"
        )
    origins = sorted({one for f in FAULTS for one in by_origin(result, f)})
    lines += [
        "",
        "F1 by where the pictures come from (a measure that holds on one may fail on another):",
        "",
        "| | " + " | ".join(origins) + " |",
        "|---" * (len(origins) + 1) + "|",
    ]
    for fault in FAULTS:
        found = by_origin(result, fault)
        shown = (f"{found[one]['f1']:.3f}" if one in found else "–" for one in origins)
        lines.append(f"| {fault} | " + " | ".join(shown) + " |")
    dusk = result["faults"]["night"]["dusk_alone"]
    lines += [
        "",
        f"CamVid's dusk against its days alone: F1 {dusk['f1']:.3f}, precision "
        f"{dusk['precision']:.3f}, recall {dusk['recall']:.3f}.",
        "",
        "Share of pictures (rows) that each limit (columns) leaves out:",
        "",
        "| | " + " | ".join(FAULTS) + " |",
        "|---" * (len(FAULTS) + 1) + "|",
    ]
    for kind, shares in result["crossed"].items():
        lines.append(f"| {kind} | " + " | ".join(f"{shares[f]:.3f}" for f in FAULTS) + " |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
