"""What pairs give by day where the two times were taken by two cameras, as in a service's history.

    python benchmarks/camera_pairs.py --work .crosscity/camera_pairs
        [--name camera_pairs_seeds --seed 0 --seed 1 --seed 2
         --arm pretrained --arm self --arm two_looks]

`night_pairs.py` with another difference between the looks: each place is seen once through the
city's own camera and once through a poorer one (`domain_gap.SENSOR`: darker, paler, blurred, noisy,
compressed; set there, before this, and not tuned). Street-view services keep the captures of ten
and more years, and a fleet seldom has the camera of the service: of real pairs one look is often
the easier one by day too, which the simulated cities with their one sensor do not show. Light,
season and traffic change between the times as they do in every city.

Arms, places, settings and the safeguard are those of `night_pairs.py`; each arm is scored on other
places through either camera. Finished arms are found again in `--work`; kill it and start it again
at will. Writes `benchmarks/results/camera_pairs.json` and `.md`, or those of another `--name`,
after every arm.
"""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Final

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import typer

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.domain_gap import through_sensor
from benchmarks.night_pairs import LONG, RESULTS, Uneven, compare
from benchmarks.street_arms import CITIES
from simcity import CityStyle

LOOKS: Final = ("own camera", "poor camera")
ASKED: Final = (
    "pretrained",
    "bn 0.3",
    "self",
    "two_looks",
    "both",
    f"source_free, {LONG} steps",
    f"source_free_looks, {LONG} steps",
    f"source_free, {LONG} steps, teacher",
    f"source_free_looks, {LONG} steps, teacher",
    "self, statistics",
    "two_looks, statistics",
)
"""What night showed to matter."""


def through(style: CityStyle, camera: str) -> CityStyle:
    """A style through one of the two cameras."""
    return through_sensor(style) if camera == LOOKS[1] else style


CAMERAS: Final = Uneven("camera_pairs", LOOKS, through, "the city's own camera and a poorer one")


def main(
    city: Annotated[list[str], typer.Option(help="Target cities.")] = list(CITIES),  # noqa: B006
    seed: Annotated[list[int], typer.Option(help="Of the trainings.")] = [0],  # noqa: B006
    arm: Annotated[list[str], typer.Option(help="Of `night_pairs.py`.")] = list(ASKED),  # noqa: B006
    work: Annotated[Path, typer.Option(help="Folder of finished arms.")] = Path(
        ".crosscity/camera_pairs"
    ),
    output: Annotated[Path, typer.Option(help="Folder of the results.")] = RESULTS,
    name: Annotated[str, typer.Option(help="Of the results' files.")] = CAMERAS.name,
) -> None:
    """Runs what is missing and reports all that the folder of finished arms has."""
    compare(replace(CAMERAS, name=name), city, seed, arm, work, output)


if __name__ == "__main__":
    typer.run(main)
