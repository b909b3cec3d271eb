"""Times what a newcomer does, in the order of the README: from `pip install` to an export.

    python benchmarks/newcomer.py --pictures PICTURES --work EMPTY_FOLDER

`PICTURES` holds `<City>/Images/Train/pano_<place>_<time>_<heading>.jpg`, without any label. In an
environment and a folder of its own the package is installed, two pictures of one place are tried,
a catalog is written, and every command is run that the one before names as the next, until there is
an export. Each step is noted when it ends, so a second call goes on where the first one was killed.
Registries must be reachable.
"""

from __future__ import annotations

import json
import os
import re
import resource
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final

import typer

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.conditions import conditions
from benchmarks.whole_files import write_json, write_text

ROOT: Final = Path(__file__).resolve().parents[1]
RESULTS: Final = ROOT / "benchmarks" / "results"
CITY: Final = "town"
NAMED: Final = "KEY"
"""Stands for the key that the step before names."""


@dataclass(frozen=True)
class Step:
    """A command that a newcomer types.

    Attributes:
        name: What it is for.
        words: The command.
        follows: What the step before must name as the next command; empty where the README does.
    """

    name: str
    words: Sequence[str]
    follows: str = ""


def main(
    pictures: Annotated[Path, typer.Option(help="Pictures of one city at two times.")],
    work: Annotated[Path, typer.Option(help="Folder for environment, catalog and store.")],
    table: Annotated[Path, typer.Option(help="The table.")] = RESULTS / "newcomer.md",
) -> None:
    """Runs the steps that were not run in this folder yet, and writes the table."""
    work.mkdir(parents=True, exist_ok=True)
    notes = work / "newcomer.json"
    done: dict[str, Any] = json.loads(notes.read_text("utf-8")) if notes.exists() else {}
    said = ""
    for step in steps(pictures.resolve(), work.resolve()):
        if step.name not in done:
            if step.follows and step.follows not in said:
                raise SystemExit(f"{step.name}: the step before names another next: {said}")
            key = re.search(rf"promote {CITY} ([0-9a-f]+)", said)
            named = [key[1] if key and word == NAMED else word for word in step.words]
            done[step.name] = timed(step.name, named, work)
            write_json(notes, done, indent=1)
        said = done[step.name]["next"]
        print(step.name, done[step.name]["wall_s"], "s", flush=True)
    write_text(table, as_table(done, pictures))
    text = json.dumps(done, indent=1) + "\n"
    for folder, name in ((pictures, "PICTURES"), (work, "WORK"), (ROOT, "CROSSCITY")):
        text = text.replace(str(folder.resolve()), name)  # where they lay says nothing to others
    write_text(table.with_suffix(".json"), text)


def steps(pictures: Path, work: Path) -> list[Step]:
    """In the order of the README."""
    binaries = work / "venv" / "bin"
    verb = str(binaries / "crosscity")
    pair = first_pair(pictures)
    return [
        Step("environment", [sys.executable, "-m", "venv", str(work / "venv")]),
        Step("install", [str(binaries / "pip"), "install", "--quiet", str(ROOT)]),
        Step("try", [verb, "try", *pair]),
        Step("init", [verb, "init", "--city", CITY, "--folder", str(pictures)], "crosscity init"),
        Step("harvest", [verb, "harvest", CITY], f"crosscity harvest {CITY}"),
        Step("priors", [verb, "priors", CITY], f"crosscity priors {CITY}"),
        Step("adapt", [verb, "adapt", CITY], f"crosscity adapt {CITY}"),
        Step("report", [verb, "report", CITY], f"crosscity report {CITY}"),
        Step("promote", [verb, "promote", CITY, NAMED], f"crosscity promote {CITY} "),
        Step("predict", [verb, "predict", CITY], f"crosscity predict {CITY}"),
        Step(
            "export",
            [
                *(verb, "export", CITY, "--as", "cityscapes", "-o", "out"),
                *("--stored-predictions", "--allowed", "they are my own"),
            ],
            f"crosscity export {CITY} --as cityscapes -o",
        ),
    ]


def first_pair(pictures: Path) -> list[str]:
    """The first place with two pictures of one heading."""
    found: dict[tuple[str, str], list[str]] = {}
    for path in sorted(pictures.glob("*/Images/Train/pano_*.jpg")):
        _, place, _, heading = path.stem.split("_", 3)
        found.setdefault((place, heading), []).append(str(path))
    for pair in found.values():
        if len(pair) > 1:
            return pair[:2]
    raise SystemExit(f"{pictures} has no place at two times")


def timed(name: str, words: Sequence[str], work: Path) -> dict[str, Any]:
    """Runs a step; wall and processor time, the load of the machine, and what comes next."""
    environment = {**os.environ, "XDG_CACHE_HOME": str(work.resolve() / "cache")}
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    ran = subprocess.run(
        words, cwd=work, env=environment, capture_output=True, text=True, check=False
    )
    wall, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    if ran.returncode != 0:
        raise SystemExit(f"{name} ended with {ran.returncode}: {ran.stderr[-2000:]}")
    named = re.findall(r"^next: (.*)$", ran.stderr, re.MULTILINE)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {
        "command": " ".join([Path(words[0]).name, *words[1:]]),
        "wall_s": round(wall, 1),
        "cpu_s": round(cpu, 1),
        "load": round(os.getloadavg()[1], 1),
        "next": named[-1] if named else "",
    }


def as_table(done: Mapping[str, Mapping[str, Any]], pictures: Path) -> str:
    """The table with the conditions that it was measured under."""
    count = sum(1 for _ in pictures.glob("*/Images/*/*.jpg"))
    under = conditions()
    lines = [
        "# A newcomer's first minutes",
        "",
        f"From `pip install` to an export of an unlabelled city of {count} pictures, each command "
        "as the one before names it (`benchmarks/newcomer.py`). Processor time is what one idle "
        "core would need; wall time grows with the load that stands beside it (the mean of five "
        f"minutes). {under['processor']}, {under['cores']} cores.",
        "",
        "| step | wall, s | processor, s | load | it says next |",
        "|---|---|---|---|---|",
    ]
    for name, one in done.items():
        said = one["next"].replace("|", "\\|").replace("`", "")
        told = f"`{said}`" if said else ""
        lines.append(f"| {name} | {one['wall_s']} | {one['cpu_s']} | {one['load']} | {told} |")
    first = [done[name] for name in ("try",) if name in done]
    if first:
        lines += [
            "",
            f"The first picture of one's own is there {first[0]['wall_s']:.0f} s after the "
            "installation, compiling included, which is said.",
        ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    typer.run(main)
