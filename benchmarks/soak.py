"""A soak: many small cities, rounds of new pictures, watch and readapt on one server, with faults.

    python benchmarks/soak.py [CITIES [ROUNDS]]       # default: 10 cities, 3 rounds

Each city is a folder of small pictures. Round 0 is `readapt` of every city; before each further
round two places with two times each land in every city's folder, and `watch` and `readapt`
run. In about a third of all commands a fault happens, drawn from a seeded generator:
the command is killed with all that it started and run again, or the Prefect server is killed and
started again while the command goes on. After each round the server's memory, open files and the
size of its database, and the store's size, are noted. In the end every artifact is checked against
its hashes, `SAMPLE` cities are run through the same rounds without a fault in another store, and
imagery, pairs, priors and adapted weights are compared. Results go to
`benchmarks/results/soak.json` and `.md`.
"""

from __future__ import annotations

import json
import random
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
import yaml

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from adapters.store import Store
from benchmarks.disturbed import PATIENCE, ROOT, Stand, kill_group, miniature

RESULTS: Final = ROOT / "benchmarks" / "results"
SAMPLE: Final = 2
"""Cities that also run undisturbed."""
FAULTY: Final = 1 / 3
"""Share of commands in which a fault happens."""
COMPARED: Final = ("imagery", "pairs", "static_prior", "adaptation")
MEASURED: Final = ("history.parquet",)
"""Files with times and speeds in them."""


def name_of(city: int) -> str:
    """The city's name in the catalog."""
    return f"city{city:02d}"


def put_places(folder: Path, city: int, places: range) -> None:
    """Writes two times of each place: one texture, seen again with noise and a new dark thing."""
    train = folder / "streets" / name_of(city) / "Images" / "Train"
    train.mkdir(parents=True, exist_ok=True)
    for place in places:
        dice = np.random.default_rng([city, place])
        coarse = dice.integers(0, 256, (8, 16, 3)).astype(np.uint8)
        street = cv2.resize(coarse, (128, 64), interpolation=cv2.INTER_CUBIC).astype(int)
        for moment in (0, 1):
            picture = street + dice.integers(-12, 13, street.shape)
            x, y = (int(dice.integers(0, limit)) for limit in (100, 40))
            picture[y : y + 16, x : x + 20] = 20
            cv2.imwrite(
                str(train / f"pano_{place:05d}_{moment}_90.png"),
                picture.clip(0, 255).astype(np.uint8),
            )


def catalog(folder: Path, cities: list[int]) -> Path:
    """The catalog of all cities, whose pictures lie beside it."""
    entries = {
        name_of(city): {
            "provider": {
                "kind": "folder",
                "root": "streets",
                "licence": "CC0-1.0",
                "attribution": "nobody",
            },
            "prior": {"downscale": 1, "superpixels": 40},
            "pairs_per_part": 2,
        }
        for city in cities
    }
    path = folder / "data_catalog.yaml"
    path.write_text(yaml.safe_dump(miniature({"url": "store"}, entries), sort_keys=False))
    return path


class Rounds:
    """All rounds of some cities in one folder."""

    def __init__(self, stand: Stand, folder: Path, cities: list[int], seed: int | None) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.stand, self.folder, self.cities = stand, folder, cities
        self.dice = None if seed is None else random.Random(seed)  # noqa: S311 - moments
        self.faults = {"killed": 0, "server killed": 0}
        self.took: dict[str, float] = {}
        for city in cities:
            put_places(folder, city, range(4))
        self.catalog = catalog(folder, cities)

    def round(self, number: int) -> None:
        """New pictures, and every city's commands."""
        for city in self.cities:
            if number == 0:
                self.command("readapt", city)
                continue
            put_places(self.folder, city, range(2 + 2 * number, 4 + 2 * number))
            self.command("watch", city)
            self.command("readapt", city)

    def command(self, verb: str, city: int) -> None:
        """One command, perhaps with a fault in its middle."""
        words = (verb, name_of(city), "--catalog", self.catalog)
        log = self.folder / "logs" / "last.log"
        if self.dice is None or self.dice.random() > FAULTY:
            self.took[verb] = self.stand.run(log, *words)
            return
        fault = self.dice.choice(("killed", "server killed"))
        moment = self.dice.uniform(0.2, 0.9) * self.took.get(verb, 20.0)
        process = self.stand.start(log, *words)
        time.sleep(moment)
        if process.poll() is None:
            self.faults[fault] += 1
            if fault == "server killed":
                self.stand.restart_server(away=5)
            else:
                kill_group(process)
                self.stand.run(log, *words)
                return
        code = process.wait(timeout=PATIENCE)
        if code:
            raise RuntimeError(f"{words} ended with {code}: {log.read_text()[-3000:]}")

    def contents(self, city: int) -> dict[str, str]:
        """Hashes of what may not depend on faults, each checked against its bytes."""
        store = Store(self.folder / "store")
        found: dict[str, str] = {}
        for ref in store.artifacts(city=name_of(city)):
            store.verify(ref)
            if ref.kind in COMPARED:
                for name, entry in store.manifest(ref).files.items():
                    if name not in MEASURED:
                        found[f"{ref.kind}/{ref.key}/{name}"] = entry.sha256
        return found


def bytes_in(folder: Path) -> int:
    """Bytes of all files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def run(cities: int, rounds: int, folder: Path) -> dict[str, Any]:
    """The whole soak."""
    rows: list[dict[str, Any]] = []
    with Stand(folder) as stand:
        disturbed = Rounds(stand, folder / "soak", list(range(cities)), seed=1)
        for number in range(rounds):
            began = time.monotonic()
            disturbed.round(number)
            rows.append(
                {
                    "round": number,
                    "minutes": round((time.monotonic() - began) / 60, 1),
                    **stand.server_use(),
                    "server_restarts": stand.restarts,
                    **disturbed.faults,
                    "database_mb": round(bytes_in(folder / "prefect") / 1e6, 1),
                    "store_mb": round(bytes_in(folder / "soak" / "store") / 1e6, 1),
                }
            )
            print(json.dumps(rows[-1]), flush=True)
        sample = list(range(min(SAMPLE, cities)))
        undisturbed = Rounds(stand, folder / "undisturbed", sample, seed=None)
        for number in range(rounds):
            undisturbed.round(number)
        equal = [disturbed.contents(city) == undisturbed.contents(city) for city in sample]
        whole = [bool(disturbed.contents(city)) for city in range(cities)]
        promoted = [
            Store(folder / "soak" / "store").selected("promoted", name_of(city)) is not None
            for city in range(cities)
        ]
    return {
        "cities": cities,
        "rounds": rows,
        "sampled_cities_equal": f"{sum(equal)} of {len(equal)}",
        "cities_whole": f"{sum(whole)} of {cities}",
        "cities_with_a_promoted_segmenter": f"{sum(promoted)} of {cities}",
    }


def table(found: dict[str, Any]) -> str:
    """The results as a page."""
    lines = [
        "# Soak",
        "",
        f"`python benchmarks/soak.py {found['cities']} {len(found['rounds'])}`: {found['cities']} "
        "small cities on one Prefect server (SQLite), a fault in about a third of the commands.",
        "The machine's two cores were shared with other work: the minutes say little.",
        "",
        "| round | minutes | server's memory | open files | database | store | commands killed so "
        "far | server killed so far |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in found["rounds"]:
        lines.append(
            f"| {row['round']} | {row['minutes']} | {row['memory_mib']:.0f} MiB "
            f"| {row['open_files']:.0f} | {row['database_mb']} MB | {row['store_mb']} MB "
            f"| {row['killed']} | {row['server killed']} |"
        )
    lines += [
        "",
        f"Every artifact whole: {found['cities_whole']} cities; with a promoted segmenter: "
        f"{found['cities_with_a_promoted_segmenter']}; the same bytes as without faults: "
        f"{found['sampled_cities_equal']} sampled cities.",
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Runs the soak and writes what it found."""
    cities, rounds = (int(word) for word in (sys.argv[1:3] + ["10", "3"][len(sys.argv[1:3]) :]))
    with tempfile.TemporaryDirectory(prefix="crosscity-soak-") as folder:
        found = run(cities, rounds, Path(folder))
    (RESULTS / "soak.json").write_text(json.dumps(found, indent=1) + "\n")
    (RESULTS / "soak.md").write_text(table(found))
    print(table(found))


if __name__ == "__main__":
    main()
