"""Writes reports of three small simulated cities and an index of them: `make gallery`.

    python benchmarks/gallery.py --output build/gallery

Tokyo and Rio with labels, Taipei without: each is harvested, matched, adapted from the weights that
come along, and reported by the verbs that a user types. A few minutes a city on two cores; what is
there is found again, so a second call makes nothing anew.
"""

from __future__ import annotations

import html
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Any, Final

import typer
import yaml

ROOT: Final = Path(__file__).resolve().parents[1]
CITIES: Final = {"tokyo": True, "rio": True, "taipei": False}
"""Whether its labels are known."""
PLACES, TEST_PLACES, STEPS = 40, 10, 40
INDEX: Final = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Gallery of reports</title>
<style>
:root {{ color-scheme: light dark; }}
body {{ font: 16px/1.5 sans-serif; margin: 2rem auto; max-width: 40rem; padding: 0 1rem; }}
</style></head>
<body><h1>Reports of simulated cities</h1><ul>{rows}</ul></body></html>
"""


def main(
    output: Annotated[Path, typer.Option(help="Folder of the gallery.")] = Path("build/gallery"),
    city: Annotated[list[str], typer.Option(help="Only these.")] = list(CITIES),  # noqa: B006
    small: Annotated[bool, typer.Option(help="Tiny pictures, to try the script.")] = False,
) -> None:
    """Makes what is missing and writes the index."""
    output.mkdir(parents=True, exist_ok=True)
    catalog = output / "data_catalog.yaml"
    catalog.write_text(yaml.safe_dump(catalog_of(small=small), sort_keys=False), encoding="utf-8")
    rows = []
    for name in city:
        for verb in ("harvest", "priors"):
            run(catalog, verb, name)
        run(catalog, "adapt", name, "--arm", "self_training")
        if CITIES[name]:
            for arm in ("pretrained", "self_training"):
                run(catalog, "evaluate", name, "--arm", arm)
        page = output / f"{name}.html"
        shutil.copyfile(run(catalog, "report", name)["where"], page)
        kind = "with labels" if CITIES[name] else "without labels"
        rows.append(f'<li><a href="{page.name}">{html.escape(name)}</a>, {kind}</li>')
    index = output / "index.html"
    index.write_text(INDEX.format(rows="".join(rows)), encoding="utf-8")
    print(index)


def catalog_of(*, small: bool) -> dict[str, Any]:
    """The repository's catalog with smaller cities."""
    content: dict[str, Any] = yaml.safe_load((ROOT / "data_catalog.yaml").read_text("utf-8"))
    size = [64, 128] if small else [256, 512]
    content["stores"]["local"]["url"] = "store"
    content["datasets"]["frankfurt-street"].update(
        train=8 if small else 60, val=2, test=2, image_size=size
    )
    content["trainings"] = {
        "gallery": {
            "preset": "demo",
            "image_size": size,
            "adaptation": {"steps": 2 if small else STEPS, "learning_rate": 1e-4},
        }
    }
    for name, labelled in CITIES.items():
        content["cities"][name].update(
            places=6 if small else PLACES,
            test_places=2 if small else TEST_PLACES,
            image_size=size,
            segmenter="street",
            training="gallery",
            labels={"kind": "simulated"} if labelled else None,
            prior={"downscale": 1 if small else 2, "superpixels": 100},
        )
    content["cities"] = {name: content["cities"][name] for name in CITIES}
    return content


def run(catalog: Path, *words: str) -> dict[str, Any]:
    """A verb, as a user types it; gives what it says as JSON."""
    command = [sys.executable, "-m", "flows.cli.main", *words, "--catalog", str(catalog), "--json"]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"crosscity {' '.join(words)} ended with {done.returncode}")
    print(f"{words[1]}: {words[0]}", flush=True)
    made: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return made


if __name__ == "__main__":
    typer.run(main)
