"""Writes reports of three small simulated cities and an index of them: `make gallery`.

    python benchmarks/gallery.py --output build/gallery

Tokyo and Rio with labels, Taipei without: each is harvested, matched, adapted from the weights that
come along, and reported by the verbs that a user types; the index is that of `report --all`. What
is there is found again, so a second call makes nothing anew, and a killed one goes on.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Annotated, Any, Final

import typer
import yaml

ROOT: Final = Path(__file__).resolve().parents[1]
CITIES: Final = {"tokyo": True, "rio": True, "taipei": False}
"""Whether its labels are known."""
PLACES, TEST_PLACES, STEPS = 16, 8, 20


def main(
    output: Annotated[Path, typer.Option(help="Folder of the gallery.")] = Path("build/gallery"),
    work: Annotated[
        Path | None, typer.Option(help="Folder of catalog and store; default: beside the gallery.")
    ] = None,
    city: Annotated[list[str], typer.Option(help="Only these.")] = list(CITIES),  # noqa: B006
    small: Annotated[bool, typer.Option(help="Tiny pictures, to try the script.")] = False,
) -> None:
    """Makes what is missing and writes the index."""
    work = work or output.with_name(f"{output.name}-store")
    work.mkdir(parents=True, exist_ok=True)
    catalog = work / "data_catalog.yaml"
    content = catalog_of(city, small=small)
    catalog.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    for name in city:
        for verb in ("harvest", "priors", "adapt"):
            run(catalog, verb, name)
        if CITIES[name]:
            for arm in ("pretrained", "self_training"):
                run(catalog, "evaluate", name, "--arm", arm)
    run(catalog, "report", "--all", "-o", str(output.resolve()))
    print(output / "index.html")


def catalog_of(names: list[str], *, small: bool) -> dict[str, Any]:
    """The repository's catalog with smaller cities."""
    content: dict[str, Any] = yaml.safe_load((ROOT / "data_catalog.yaml").read_text("utf-8"))
    size = [64, 128] if small else [256, 512]
    content["stores"]["local"]["url"] = "store"
    content["datasets"]["frankfurt-street"].update(
        train=8 if small else 40, val=2, test=2, image_size=size
    )
    content["trainings"] = {
        "gallery": {
            "preset": "best",
            "image_size": size,
            "adaptation": {"steps": 2 if small else STEPS},
        }
    }
    for name in names:
        content["cities"][name].update(
            places=6 if small else PLACES,
            test_places=2 if small else TEST_PLACES,
            image_size=size,
            segmenter="street",
            training="gallery",
            arm="self_training",
            labels={"kind": "simulated"} if CITIES[name] else None,
            prior={"downscale": 1 if small else 2, "superpixels": 100},
        )
    content["cities"] = {name: content["cities"][name] for name in names}
    return content


def run(catalog: Path, *words: str) -> None:
    """A verb, as a user types it; says what it took."""
    command = [sys.executable, "-m", "flows.cli.main", *words, "--catalog", str(catalog), "--quiet"]
    began = time.perf_counter()
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.DEVNULL, check=False)
    if done.returncode != 0:
        raise SystemExit(f"crosscity {' '.join(words)} ended with {done.returncode}")
    print(f"{' '.join(words)}: {time.perf_counter() - began:.0f} s", flush=True)


if __name__ == "__main__":
    typer.run(main)
