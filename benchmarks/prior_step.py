"""The whole prior step by the library alone: pairs a second on a device and on the processor.

    python benchmarks/prior_step.py --device cuda --out benchmarks/results/prior_step_cuda.json

For machines without the catalog's libraries (pydantic, PyYAML, Pillow); else `prior.py speed` times
the pipeline's own step. Decodes two JPEGs, matches, makes superpixels, marks what is static, its
probability, and encodes both: at the catalog's default, halved with its radius, and halved full.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Literal

import cv2
import numpy as np
import numpy.typing as npt

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.conditions import conditions
from benchmarks.on_a_device import ran_on, timed_in_flight
from benchmarks.whole_files import write_json
from crosscity.matching import PATCH, deep_matching, reliable_matches
from crosscity.prior_parts import superpixel_method
from crosscity.static_probability import static_probability
from crosscity.static_regions import static_prior
from simcity import STYLES, render

CITIES: Final = ("rome", "rio", "tokyo", "taipei")
FIRST_PLACE: Final = 6000
SIDES: Final[Sequence[Literal["a", "b"]]] = ("a", "b")


@dataclass(frozen=True)
class Step:
    """Those settings of the catalog's `prior` that cost time; by the same names and defaults."""

    downscale: int = 4
    search_radius: float | None = 128
    superpixels: int = 200
    superpixel_downscale: int = 4
    k: int = 3
    coverage: float = 0.22
    weakest: float = 0.25
    neighbours: int = 8
    tolerance: float = 1.0


SETTINGS: Final = {
    "default": Step(),
    "halved, radius 128": Step(downscale=2),
    "halved, full": Step(downscale=2, search_radius=None),
}


def masks_of(
    images: tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]], step: Step, device: str = "cpu"
) -> tuple[list[npt.NDArray[np.bool_]], list[npt.NDArray[np.float32]]]:
    """Masks and probabilities of both images."""
    spacing = PATCH * step.downscale
    found = deep_matching(
        *images,
        downscale=step.downscale,
        search_radius=step.search_radius,
        device=device,
        threads=1,
    )
    trusted = reliable_matches(
        found, spacing, weakest=step.weakest, neighbours=step.neighbours, tolerance=step.tolerance
    )
    masks, probabilities = [], []
    for image, side in zip(images, SIDES, strict=True):
        height, width = image.shape[:2]
        by = step.superpixel_downscale
        size = (max(width // by, 1), max(height // by, 1))
        small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        labels = superpixel_method("ers")(np.asarray(small, dtype=np.uint8), step.superpixels)
        enlarged = cv2.resize(labels, (width, height), interpolation=cv2.INTER_NEAREST_EXACT)
        regions = np.asarray(enlarged, dtype=np.int32)
        masks.append(
            static_prior(
                trusted, regions, k=step.k, coverage=step.coverage, spacing=spacing, side=side
            )
        )
        probabilities.append(static_probability([trusted], regions, sides=[side], spacing=spacing))
    return masks, probabilities


def timed(encoded: list[list[bytes]], step: Step, device: str, workers: int) -> dict[str, Any]:
    """Pairs a second, several in flight.

    Raises:
        SystemExit: A pair was matched on the processor that should have been on the device.
    """

    def work(two: list[bytes]) -> int:
        a, b = (
            np.asarray(
                cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB), dtype=np.uint8
            )
            for data in two
        )
        masks, probabilities = masks_of((a, b), step, device)
        shades = [np.rint(255 * probability).astype(np.uint8) for probability in probabilities]
        drawn = [*(255 * mask.astype(np.uint8) for mask in masks), *shades]
        return sum(len(cv2.imencode(".png", values)[1]) for values in drawn)

    flight = timed_in_flight(work, encoded, workers)
    return {
        **ran_on(device),
        "workers": workers,
        "pairs": flight.items,
        "pairs_per_second": round(flight.items / flight.wall, 2),
        "processor_seconds_per_pair": round(flight.processor / flight.items, 3),
        "warned": flight.warned,
    }


def main() -> None:
    """Times every setting on the device, and the default on the processor."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", help="e.g. cuda; without it the processor alone")
    parser.add_argument("--places", type=int, default=2, help="of each city")
    parser.add_argument("--height", type=int, default=647)
    parser.add_argument("--width", type=int, default=1280)
    parser.add_argument("--repeats", type=int, default=8, help="of the pairs on the device")
    parser.add_argument("--in-flight", type=int, default=16)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    cv2.setNumThreads(1)
    encoded = [
        [
            cv2.imencode(".jpg", image[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes()
            for image in (
                render(
                    STYLES[city], seed=0, place=place, time=when, height=options.height,
                    width=options.width,
                ).image
                for when in (0, 1)
            )
        ]
        for city in CITIES
        for place in range(FIRST_PLACE, FIRST_PLACE + options.places)
    ]  # fmt: skip
    cores = len(os.sched_getaffinity(0))
    rows: list[dict[str, Any]] = []

    def keep(setting: str, found: dict[str, Any]) -> None:
        """A run that is stopped leaves the rows that it had."""
        rows.append({"setting": setting, **found})
        print(rows[-1], flush=True)
        made = {
            "size": [options.height, options.width],
            "settings": {name: asdict(step) for name, step in SETTINGS.items()},
            "conditions": conditions(),
            "rows": rows,
        }
        write_json(options.out, made, indent=1)

    keep("default", timed(encoded, Step(), "cpu", cores))
    for name, step in SETTINGS.items() if options.device else ():
        several = encoded * options.repeats
        keep(name, timed(several, step, options.device, options.in_flight))


if __name__ == "__main__":
    main()
