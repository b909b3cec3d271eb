"""How good and how fast the static prior is, on simulated pairs, whose static parts are known.

python benchmarks/prior.py quality --out benchmarks/results/prior_rules.json  # settings, rules
python benchmarks/prior.py change  --out benchmarks/results/prior_change.json  # pose, light, things
python benchmarks/prior.py speed   --out benchmarks/results/prior_speed.json   # pairs per second

Settings are chosen on the places from --first 5000, and reported on those from 6000; no run of the
pipeline uses either.
"""

from __future__ import annotations

import argparse
import os
import resource
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from adapters.catalog import PriorSettings
from adapters.images import decode_image, encode_jpeg, encode_label_png, encode_mask_png
from benchmarks.conditions import conditions
from benchmarks.on_a_device import ran_on, timed_in_flight
from benchmarks.whole_files import write_json
from crosscity.labels import CLASSES
from crosscity.matching import PATCH
from crosscity.static_regions import static_prior
from simcity import STYLES, Rendering, capture_pose, render, render_from
from tasks.priors.pair_prior import (
    extract_prior,
    probability_of,
    superpixels_of,
    trusted_matches,
)

CITIES = ("rome", "rio", "tokyo", "taipei")
FORMER = PriorSettings(superpixel_downscale=2, coverage=0.25)
"""The catalog's default before superpixels were made at a quarter."""
ON_A_DEVICE = {
    "default": PriorSettings(),
    "halved, radius 128": PriorSettings(downscale=2),
    "halved, full": PriorSettings(downscale=2, search_radius=None),
}
SIDES: Sequence[Literal["a", "b"]] = ("a", "b")
PAPER = {"coverage": 0.0, "weakest": 0.0, "neighbours": 0}


def settings_grid(width: int) -> dict[str, PriorSettings]:
    """What is compared: the paper's rule and ours, at the matching settings that suit the size."""
    matchings: dict[str, dict[str, object]]
    if width >= 1000:
        matchings = {
            "quarter": {"downscale": 4, "search_radius": None},
            "quarter, radius 128": {"downscale": 4, "search_radius": 128},
            "half, radius 128": {"downscale": 2, "search_radius": 128},
        }
        counts: tuple[int, ...] = (200, 400)
    else:
        matchings = {"full": {"downscale": 1}, "half": {"downscale": 2}}
        counts = (100, 200)
    made = {}
    for name, matching in matchings.items():
        for count in counts:
            for rule, options in (("paper", PAPER), ("ours", {})):
                made[f"{name} | {count} | {rule}"] = PriorSettings.model_validate(
                    {**matching, "superpixels": count, **options}
                )
    return made


@dataclass
class Tally:
    """Pixels counted over images.

    Attributes:
        hits: In the prior and static.
        flagged: In the prior.
        static: Static in truth.
        moving: Of moving things.
        moving_flagged: Of these, in the prior.
        moving_both: Of the flagged moving ones, where a moving thing is at the other time too.
        same_thing: Of these, where it is of the same class.
    """

    hits: int = 0
    flagged: int = 0
    static: int = 0
    moving: int = 0
    moving_flagged: int = 0
    moving_both: int = 0
    same_thing: int = 0

    def add(self, prior: npt.NDArray[np.bool_], here: Rendering, there: Rendering) -> None:
        """Counts one image."""
        wrong = prior & ~here.static
        both = wrong & ~there.static
        self.hits += int((prior & here.static).sum())
        self.flagged += int(prior.sum())
        self.static += int(here.static.sum())
        self.moving += int((~here.static).sum())
        self.moving_flagged += int(wrong.sum())
        self.moving_both += int(both.sum())
        self.same_thing += int((both & (here.train_ids == there.train_ids)).sum())

    def shares(self) -> dict[str, float]:
        """Precision and recall, what is flagged of moving things, and why, in percent."""
        percent = {
            "precision": self.hits / max(1, self.flagged),
            "recall": self.hits / max(1, self.static),
            "moving_flagged": self.moving_flagged / max(1, self.moving),
            "of_these_moving_at_both_times": self.moving_both / max(1, self.moving_flagged),
            "of_these_same_class": self.same_thing / max(1, self.moving_flagged),
        }
        return {name: round(100 * share, 2) for name, share in percent.items()}


def pairs(city: str, first: int, count: int, size: tuple[int, int]) -> Iterator[list[Rendering]]:
    """Each place at its first two times."""
    height, width = size
    for place in range(first, first + count):
        yield [
            render(STYLES[city], seed=0, place=place, time=when, height=height, width=width)
            for when in (0, 1)
        ]


def both_priors(two: list[Rendering], settings: PriorSettings) -> tuple[npt.NDArray[np.bool_], ...]:
    """The masks of both images of a pair."""
    return extract_prior(two[0].image, two[1].image, settings).masks


def quality(options: argparse.Namespace) -> dict[str, object]:
    """Every setting on every city."""
    size = (options.height, options.width)
    grid = settings_grid(options.width)
    chosen = {name: grid[name] for name in grid if not options.only or options.only in name}
    tallies = {name: {city: Tally() for city in CITIES} for name in chosen}
    classes = {name: np.zeros((2, 256), dtype=np.int64) for name in chosen}
    with ThreadPoolExecutor(2) as pool:
        for city in CITIES:
            jobs = list(pairs(city, options.first, options.places, size))
            for name, settings in chosen.items():
                found = pool.map(lambda two, s=settings: both_priors(two, s), jobs)
                for two, masks in zip(jobs, found, strict=True):
                    for n in (0, 1):
                        tallies[name][city].add(masks[n], two[n], two[1 - n])
                        for row, where in enumerate((masks[n], np.ones_like(masks[n]))):
                            ids = two[n].train_ids[where]
                            classes[name][row] += np.bincount(ids, minlength=256)
            print(city, "done", flush=True)
    rows = []
    for name, by_city in tallies.items():
        together = Tally(
            *(sum(column) for column in zip(*map(_numbers, by_city.values()), strict=True))
        )
        rows.append(
            {
                "setting": name,
                **together.shares(),
                "cities": {city: tally.shares() for city, tally in by_city.items()},
                "flagged_of_class": _by_class(classes[name]),
            }
        )
        print(f"{name:32}", {k: v for k, v in rows[-1].items() if isinstance(v, float)})
    return {"size": size, "first_place": options.first, "places": options.places, "rows": rows}


def _numbers(tally: Tally) -> list[int]:
    return list(asdict(tally).values())


def _by_class(counts: npt.NDArray[np.int64]) -> dict[str, float]:
    """Percent of each class's pixels that are in the prior."""
    return {
        c.name: round(100 * float(counts[0, c.train_id] / counts[1, c.train_id]), 1)
        for c in CLASSES
        if counts[1, c.train_id] > 0
    }


def changed_pairs(
    city: str, place: int, size: tuple[int, int]
) -> Iterator[tuple[str, list[Rendering]]]:
    """One place against itself with one thing changed at a time, by more and more."""
    style, (height, width) = STYLES[city], size
    pose = capture_pose(style, seed=0, place=place, time=0)

    def shot(when: int, moving: bool, **changes: float) -> Rendering:
        return render_from(
            replace(pose, **changes),
            style,
            seed=0,
            place=place,
            time=when,
            height=height,
            width=width,
            moving=moving,
        )

    still = shot(0, moving=False)
    for metres in (0.5, 1.0, 2.0, 4.0):
        there = shot(0, moving=False, across=pose.across + metres)
        yield f"across {metres} m", [still, there]
        there = shot(0, moving=False, along=pose.along + metres)
        yield f"along {metres} m", [still, there]
    for degrees in (1.0, 3.0, 6.0, 10.0):
        turned = shot(0, moving=False, heading_degrees=pose.heading_degrees + degrees)
        yield f"heading {degrees:g}°", [still, turned]
    yield "light and season", [still, shot(1, moving=False)]
    yield "light, season and what moves", [shot(0, moving=True), shot(1, moving=True)]


def change(options: argparse.Namespace) -> dict[str, object]:
    """Precision and recall where one thing changes, with the catalog's default settings."""
    size = (options.height, options.width)
    settings = PriorSettings()
    tallies: dict[str, Tally] = {}
    for city in CITIES:
        for place in range(options.first, options.first + options.places):
            for name, two in changed_pairs(city, place, size):
                masks = both_priors(two, settings)
                for n in (0, 1):
                    tallies.setdefault(name, Tally()).add(masks[n], two[n], two[1 - n])
    rows = [{"change": name, **tally.shares()} for name, tally in tallies.items()]
    for row in rows:
        print(row)
    return {"size": size, "settings": settings.model_dump(), "rows": rows}


def speed(options: argparse.Namespace) -> dict[str, object]:
    """The whole step: decode two JPEGs, match, two segmentations, prior, encode the masks.

    On the processor, and on a device where one is given, in the same run.
    """
    size = (options.height, options.width)
    encoded = [
        [encode_jpeg(one.image, 95) for one in two]
        for city in CITIES
        for two in pairs(city, options.first, options.places, size)
    ]
    measured = {
        name: _timed(encoded, settings)
        for name, settings in (("default before", FORMER), ("default", PriorSettings()))
    }
    before, now = (measured[name]["processor_seconds_per_pair"] for name in measured)
    made: dict[str, object] = {
        "size": size,
        "conditions": conditions(),
        "pairs": len(encoded),
        "ratio": round(now / before, 2),
        "parts_of_the_default": _parts(encoded, PriorSettings()),
        **measured,
    }
    for name, settings in ON_A_DEVICE.items() if options.device else ():
        keep(options, made)  # a run that is stopped leaves what it had
        made[f"{name}, {options.device}"] = _timed(
            encoded * options.repeats, settings, options.device, options.in_flight
        )
    return made


def keep(options: argparse.Namespace, measured: dict[str, object]) -> None:
    """Writes it where `--out` says."""
    if options.out:
        write_json(options.out, measured, indent=1)


def _parts(encoded: list[list[bytes]], settings: PriorSettings) -> dict[str, float]:
    """Processor seconds a pair of each part of the step, one pair after the other."""
    clock = {"decode": 0.0, "match": 0.0, "superpixels": 0.0, "rule": 0.0, "encode": 0.0}
    spacing = PATCH * settings.downscale
    for two in encoded:
        started = time.thread_time()

        def lap(part: str) -> None:
            nonlocal started
            now = time.thread_time()
            clock[part] += now - started
            started = now

        first, second = (decode_image(data, "a picture of the benchmark") for data in two)
        lap("decode")
        matches = [trusted_matches(first, second, settings)]
        lap("match")
        labels = [superpixels_of(image, settings) for image in (first, second)]
        lap("superpixels")
        masks, probabilities = [], []
        for side, regions in zip(SIDES, labels, strict=True):
            masks.append(
                static_prior(
                    matches[0], regions, k=settings.k, coverage=settings.coverage,
                    spacing=spacing, side=side,
                )
            )  # fmt: skip
            probabilities.append(probability_of(matches, regions, [side], settings, None))
        lap("rule")
        for mask, probability in zip(masks, probabilities, strict=True):
            encode_mask_png(mask)
            if probability is not None:
                encode_label_png(np.rint(255 * probability).astype(np.uint8))
        lap("encode")
    return {part: round(seconds / len(encoded), 4) for part, seconds in clock.items()}


def _timed(
    encoded: list[list[bytes]],
    settings: PriorSettings,
    device: str = "cpu",
    workers: int | None = None,
) -> dict[str, Any]:
    def step(two: Iterable[bytes]) -> int:
        images = [decode_image(data, "a picture of the benchmark") for data in two]
        made = extract_prior(images[0], images[1], settings, device)
        encoded_masks = sum(len(encode_mask_png(mask)) for mask in made.masks)
        for probability in made.probabilities:
            if probability is not None:
                shades = np.rint(255 * probability).astype(np.uint8)
                encoded_masks += len(encode_label_png(shades))
        return encoded_masks

    on_device = device.startswith("cuda")
    flight = timed_in_flight(
        step,
        encoded,
        workers or len(os.sched_getaffinity(0)),
        begin=lambda: torch.cuda.reset_peak_memory_stats(device) if on_device else None,
    )
    made = {
        "workers": flight.workers,
        "seconds_per_pair": round(flight.wall / flight.items, 3),
        "processor_seconds_per_pair": round(flight.processor / flight.items, 3),
        "cores_busy": round(flight.processor / flight.wall, 2),
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "settings": settings.model_dump(),
    }
    if device != "cpu":
        made |= {
            **ran_on(device),
            "pairs_timed": flight.items,
            "pairs_per_second": round(flight.items / flight.wall, 2),
            "warned": flight.warned,
        }
    if on_device:
        made["peak_device_mib"] = torch.cuda.max_memory_allocated(device) // 2**20
    print(made)
    return made


def main() -> None:
    """Runs one of the measurements and writes it as JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("quality", "change", "speed"))
    parser.add_argument("--first", type=int, default=6000)
    parser.add_argument("--places", type=int, default=8)
    parser.add_argument("--height", type=int, default=647)
    parser.add_argument("--width", type=int, default=1280)
    parser.add_argument("--only", help="measure settings whose name has this in it")
    parser.add_argument("--device", help="of speed: time the step there too, e.g. cuda")
    parser.add_argument("--in-flight", type=int, default=16, help="pairs at once on the device")
    parser.add_argument("--repeats", type=int, default=8, help="of the pairs on the device")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    keep(options, {"quality": quality, "change": change, "speed": speed}[options.what](options))


if __name__ == "__main__":
    main()
