"""A soak: many small cities, rounds of new pictures, watch and readapt on one server, with faults.

    python benchmarks/soak.py [CITIES [ROUNDS [FOLDER]]]       # default: 10 cities, 3 rounds

Each city is a folder of small pictures; all artifacts lie in one S3 bucket (moto, a process of its
own) behind a door. Round 0 is `readapt` of every city; before each further round two places with
two times each land in every city's folder, and `watch` and `readapt` run, some cities at a time. In
about a third of all commands a fault happens, drawn by a generator that is seeded by round, city
and verb:

- the command is killed with all that it started, and run again;
- the door to the store is shut for `AWAY` seconds;
- the Prefect server is killed and started again (seldom, as what is asked is how it ages).

A command that ends with 75, "run the same command again", as where the server is away at its very
start, is run again and counted. Commands are forked from a process that has imported everything,
all but one in `FRESH`, which starts as from a shell.

Blocks of cities have all their rounds one after the other. After each round of a city the server's
memory and open files are noted, after each block the database's and the store's size. Then every
file of every artifact is checked against its hash, each city is to have the places of all rounds
and a segmenter in use, no lease and no turn is held, and `SAMPLE` cities, run through the same
rounds without a fault, have to have the same bytes. Killed commands are to be marked as crashed by
the server's automations, or, where it was killed itself, by a command that begins later: in the end
one more does, once all that died have been silent for long enough.

With FOLDER given, what was done is kept there and gone on with, as long as the object store's
process lives. Results go to `benchmarks/results/soak.json` and `.md`.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated, Any, Final

import boto3  # type: ignore[import-untyped]
import psutil
import typer
import yaml

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from adapters.store import Store
from benchmarks import forked
from benchmarks.disturbed import (
    PATIENCE,
    ROOT,
    Stand,
    kill_group,
    miniature,
    pictured_city,
    put_places,
)
from benchmarks.whole_files import write_json, write_text
from flows.cli.errors import PASSING
from flows.cli.server import free_port
from flows.dead_runs import began_automation, dead_run_automation
from flows.silent_runs import TIMES
from tests.tcp_gate import Gate

RESULTS: Final = ROOT / "benchmarks" / "results"
SAMPLE: Final = 2
"""Cities that also run undisturbed."""
SHARES: Final = {"killed": 0.2, "store away": 0.1, "server killed": 0.03}
"""Shares of commands in which a fault happens."""
AWAY: Final = 15.0
FRESH: Final = 10
AT_ONCE: Final = 6
BLOCK: Final = 6
"""Cities that have all their rounds before the next ones begin."""
DEAD_AFTER: Final = 120
"""Seconds without a heartbeat after which a run has crashed."""
COMPARED: Final = ("imagery", "pairs", "static_prior", "adaptation")
MEASURED: Final = ("history.parquet",)
"""Files with times and speeds in them."""
ACCESS: Final = {"aws_access_key_id": "a-key", "aws_secret_access_key": "a-secret"}
BUCKET: Final = "soak"


Command = forked.Forked | subprocess.Popen[bytes]


def name_of(city: int) -> str:
    """The city's name in the catalog."""
    return f"city{city:02d}"


def places_after(rounds: int) -> int:
    """How many places a city's folder has after so many rounds."""
    return 2 + 2 * rounds


class Bucket:
    """moto's S3 server, which holds all in memory, and a door before it."""

    def __init__(self, folder: Path) -> None:
        note = folder / "bucket.json"
        known = json.loads(note.read_text()) if note.is_file() else {}
        if known and psutil.pid_exists(known["pid"]):
            self.pid, port = known["pid"], known["port"]
        else:
            port = free_port(0)
            with (folder / "bucket.log").open("ab") as log:
                self.pid = subprocess.Popen(
                    [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
                    stdout=subprocess.DEVNULL,
                    stderr=log,
                    start_new_session=True,
                ).pid
        self.direct = f"http://127.0.0.1:{port}"
        self._wait()
        self.gate = Gate(port)
        self.client: Any = boto3.client(
            "s3", endpoint_url=self.direct, region_name="us-east-1", **ACCESS
        )
        if not known:
            self.client.create_bucket(Bucket=BUCKET)
            note.write_text(json.dumps({"pid": self.pid, "port": port}))

    def _wait(self) -> None:
        for _ in range(600):
            try:
                urllib.request.urlopen(f"{self.direct}/moto-api/", timeout=5).close()  # noqa: S310
            except OSError:
                time.sleep(0.2)
            else:
                return
        raise RuntimeError("the object store does not start; with another folder all begins anew")

    def options(self, address: str = "") -> dict[str, Any]:
        """What a store is opened with; by default through the door."""
        place = {
            "endpoint_url": address or f"http://127.0.0.1:{self.gate.port}",
            "region_name": "us-east-1",
        }
        return {
            "key": ACCESS["aws_access_key_id"],
            "secret": ACCESS["aws_secret_access_key"],
            "client_kwargs": place,
            "config_kwargs": {"retries": {"max_attempts": 0}, "connect_timeout": 2},
        }

    def size(self, prefix: str) -> tuple[int, int]:
        """How many objects, and bytes, lie below a prefix."""
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=prefix)
        sizes = [one["Size"] for page in pages for one in page.get("Contents", [])]
        return len(sizes), sum(sizes)


def catalog(folder: Path, store: dict[str, Any], cities: list[int]) -> Path:
    """The catalog of all cities, whose pictures lie beside it."""
    entries = {name_of(city): pictured_city() for city in cities}
    # One thread: several wait for each other by spinning, which costs most where cores are short.
    whole = {
        **miniature(store, entries),
        "computes": {"one": {"device": "cpu", "threads": 1, "workers": 1}},
        "compute": "one",
    }
    path = folder / "data_catalog.yaml"
    path.write_text(yaml.safe_dump(whole, sort_keys=False))
    return path


class State:
    """What was done, in a file, so that a soak that was stopped goes on."""

    def __init__(self, path: Path) -> None:
        self._path, self._lock = path, threading.Lock()
        self.kept: dict[str, Any] = {
            "done": [],
            "faults": dict.fromkeys(SHARES, 0),
            "passing": 0,
            "commands": 0,
            "seconds": {},
            "server": [],
            "rows": [],
        }
        if path.is_file():
            self.kept = json.loads(path.read_text())

    def is_done(self, what: list[Any]) -> bool:
        """Whether a city's round is done."""
        return what in self.kept["done"]

    def note(self, **found: object) -> None:
        """Appends to lists, adds to numbers, and writes all."""
        with self._lock:
            for name, value in found.items():
                if isinstance(self.kept[name], list):
                    self.kept[name].append(value)
                elif isinstance(value, int):
                    self.kept[name] += value
            self._write()

    def note_fault(self, fault: str) -> None:
        """Counts a fault."""
        with self._lock:
            self.kept["faults"][fault] += 1
            self._write()

    def took(self, verb: str, seconds: float | None = None) -> float:
        """About how long a verb takes; with `seconds`, one more of them."""
        with self._lock:
            known = self.kept["seconds"].get(verb)
            if seconds is not None:
                known = seconds if known is None else 0.7 * known + 0.3 * seconds
                self.kept["seconds"][verb] = known
            return float(known or 10.0)

    def _write(self) -> None:
        temporary = self._path.with_suffix(".new")
        temporary.write_text(json.dumps(self.kept))
        temporary.replace(self._path)


class Rounds:
    """All rounds of some cities in one folder."""

    def __init__(
        self, stand: Stand, bucket: Bucket, name: str, cities: list[int], seed: int | None
    ) -> None:
        self.stand, self.bucket, self.name, self.seed = stand, bucket, name, seed
        self.folder = stand.folder / name
        self.folder.mkdir(parents=True, exist_ok=True)
        self.cities = cities
        self.state = State(stand.folder / f"{name}.json")
        self._restarting = threading.Lock()
        self.url = f"s3://{BUCKET}/{name}"
        entry = {"url": self.url, "options": bucket.options()}
        self.catalog = catalog(self.folder, entry, cities)

    def round(self, number: int, cities: list[int]) -> None:
        """New pictures, and these cities' commands."""
        left = [city for city in cities if not self.state.is_done([number, city])]
        with ThreadPoolExecutor(AT_ONCE) as pool:
            for one in [pool.submit(self.city, number, city) for city in left]:
                one.result()

    def city(self, number: int, city: int) -> None:
        """One round of one city."""
        put_places(self.folder, name_of(city), city, range(places_after(number)))
        if number:
            self.command("watch", city, number)
        self.command("readapt", city, number)
        use = {**self.stand.server_use(), "restarts": self.stand.restarts, "at": time.time()}
        self.state.note(done=[number, city], server=use)
        print(self.name, number, name_of(city), json.dumps(use), flush=True)

    def command(self, verb: str, city: int, number: int) -> None:
        """One command, perhaps with a fault in its middle, run again until it is done."""
        dice = random.Random(f"{self.seed}/{number}/{name_of(city)}/{verb}")  # noqa: S311
        # An undisturbed one waits while a server is killed that others use, too.
        fault = "" if self.seed is None else drawn(dice)
        log = self.folder / "logs" / f"{name_of(city)}.log"
        process = self.start(verb, city, log, fresh=dice.randrange(FRESH) == 0)
        began = time.monotonic()
        if fault:
            time.sleep(dice.uniform(0.15, 0.9) * self.state.took(verb))
            if process.poll() is None:
                self.state.note_fault(fault)
                if fault == "killed":
                    kill_group(process)
                    process = self.start(verb, city, log)
                else:
                    self.away(fault)
        code = process.wait(timeout=PATIENCE)
        for _ in range(5):
            if code != PASSING:
                break
            self.state.note(passing=1)
            time.sleep(5)
            code = self.start(verb, city, log).wait(timeout=PATIENCE)
        if code:
            kept = log.with_name(f"{name_of(city)}-{number}-{verb}.failed.log")
            kept.write_bytes(log.read_bytes())
            raise RuntimeError(f"{verb} {name_of(city)} ended with {code}: {kept.read_text()}")
        if not fault:
            self.state.took(verb, time.monotonic() - began)

    def start(self, verb: str, city: int, log: Path, *, fresh: bool = False) -> Command:
        """Starts one command, by a fresh Python or forked."""
        self.state.note(commands=1)
        words = [verb, name_of(city), "--catalog", str(self.catalog)]
        if fresh:
            return self.stand.start(log, *words)
        return forked.start(words, log, {"XDG_CACHE_HOME": str(log.parent / "cache")})

    def away(self, fault: str) -> None:
        """Lets the store be away, or kills the server and starts it again."""
        with self._restarting:
            if fault == "server killed":
                self.stand.restart_server(away=5)
                return
            self.bucket.gate.shut()
            time.sleep(AWAY)
            self.bucket.gate.open()

    def opened(self) -> Store:
        """The store, not through the door."""
        return Store(
            self.url,
            options=self.bucket.options(self.bucket.direct),
            cache_dir=self.folder / "check",
        )

    def contents(self, city: int) -> dict[str, str]:
        """Hashes of what may not depend on faults, each file checked against its bytes."""
        store = self.opened()
        found: dict[str, str] = {}
        for ref in store.artifacts(city=name_of(city)):
            store.verify(ref)
            if ref.kind in COMPARED:
                for name, entry in store.manifest(ref).files.items():
                    if name not in MEASURED:
                        found[f"{ref.kind}/{ref.key}/{name}"] = entry.sha256
        return found

    def images(self, city: int) -> int:
        """How many images the city's current harvest has."""
        store = self.opened()
        harvest = store.selected("harvest", name_of(city))
        if harvest is None:
            return 0
        return store.manifest(harvest.refs["imagery"]).rows or 0

    def is_promoted(self, city: int) -> bool:
        """Whether a segmenter is in use, and is there."""
        store = self.opened()
        promoted = store.selected("promoted", name_of(city))
        return promoted is not None and all(store.find_ref(ref) for ref in promoted.refs.values())

    def held(self) -> list[str]:
        """Leases and turns that are still held, files of processes that died, what is damaged."""
        store = self.opened()
        files = [one.path for one in store.files()]
        leases = [path for path in files if path.startswith((".leases/", ".shared/turns/"))]
        held = [path for path in leases if self._record(path).get("members")]
        return held + [path for path, _ in store.damaged_records()]

    def _record(self, path: str) -> dict[str, Any]:
        key = f"{self.name}/{path}"
        answer = self.bucket.client.get_object(Bucket=BUCKET, Key=key)
        found = json.loads(answer["Body"].read())
        return found if isinstance(found, dict) else {}


def drawn(dice: random.Random) -> str:
    """A fault, or none."""
    point = dice.random()
    for fault, share in SHARES.items():
        point -= share
        if point < 0:
            return fault
    return ""


def bytes_in(folder: Path) -> int:
    """Bytes of all files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def states(stand: Stand) -> dict[str, int]:
    """How many runs of flows the server has, by the name of their state."""
    runs = stand.every("/flow_runs/filter", {"sort": "ID_DESC"})
    return dict(Counter(run["state_name"] for run in runs))


def crashed_by(stand: Stand) -> dict[str, int]:
    """How many crashed runs were marked by whom, by the message of their state."""
    who = {
        "no heartbeat for": "automation: no further heartbeat",
        "no heartbeat within": "automation: no first heartbeat",
        "no sign of life since": "a command that began later",
    }
    found: Counter[str] = Counter()
    wanted = {"flow_runs": {"state": {"type": {"any_": ["CRASHED"]}}}, "sort": "ID_DESC"}
    for one in stand.every("/flow_runs/filter", wanted):
        message = str(one["state"]["message"] or "")
        marks = [name for start, name in who.items() if message.startswith(start)]
        found[marks[0] if marks else "the command itself"] += 1
    return dict(found)


def begin_one_more(disturbed: Rounds, rounds: int) -> None:
    """New pictures of the first city, so that a flow begins, after all that died is long silent."""
    time.sleep((TIMES + 1) * DEAD_AFTER)
    put_places(disturbed.folder, name_of(0), 0, range(places_after(rounds)))
    log = disturbed.folder / "logs" / "one-more.log"
    code = disturbed.start("watch", 0, log).wait(timeout=PATIENCE)
    if code:
        raise RuntimeError(f"the last watch ended with {code}: {log.read_text()}")


def run(cities: int, rounds: int, folder: Path) -> dict[str, Any]:
    """The whole soak, block after block; what was found is written after each."""
    bucket = Bucket(folder)
    with Stand(folder) as stand:
        if not stand.ask("/automations/filter", {}):
            for made in (dead_run_automation(DEAD_AFTER), began_automation(DEAD_AFTER)):
                stand.ask("/automations/", made.model_dump(mode="json"))
        forked.import_all(
            {**stand.environment(), "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": str(DEAD_AFTER // 4)}
        )
        disturbed = Rounds(stand, bucket, "soak", list(range(cities)), seed=1)
        sample = disturbed.cities[:SAMPLE]
        undisturbed = Rounds(stand, bucket, "undisturbed", sample, seed=None)
        found: dict[str, Any] = {}
        for first in range(0, cities, BLOCK):
            began = time.monotonic()
            block = disturbed.cities[first : first + BLOCK]
            for number in range(rounds):
                disturbed.round(number, block)
            note_block(disturbed, block, time.monotonic() - began)
            for number in range(rounds):
                undisturbed.round(number, sample)
            done = disturbed.cities[: first + BLOCK]
            found = {
                "cities": len(done),
                "rounds": rounds,
                "blocks": disturbed.state.kept["rows"],
                "server": disturbed.state.kept["server"],
                **checked(disturbed, undisturbed, done, rounds),
            }
            if done == disturbed.cities:
                begin_one_more(disturbed, rounds)
            found["runs_in_the_end"] = states(stand)
            found["crashed_by"] = crashed_by(stand)
            write(found)
        return found


def note_block(disturbed: Rounds, block: list[int], seconds: float) -> None:
    """Notes what things take once a block is done."""
    stand, state = disturbed.stand, disturbed.state
    objects, size = disturbed.bucket.size("soak/")
    row = {
        "cities": block[-1] + 1,
        "minutes": round(seconds / 60, 1),
        **stand.server_use(),
        **state.kept["faults"],
        "commands": state.kept["commands"],
        "passing": state.kept["passing"],
        "database_mb": round(bytes_in(stand.folder / "prefect") / 1e6, 1),
        "store_mb": round(size / 1e6, 1),
        "objects": objects,
        "load": round(os.getloadavg()[2], 1),
    }
    if row["cities"] not in [one["cities"] for one in state.kept["rows"]]:
        state.note(rows=row)
    print(json.dumps(row), flush=True)


def checked(
    disturbed: Rounds, undisturbed: Rounds, cities: list[int], rounds: int
) -> dict[str, Any]:
    """What holds in the end of those cities that have had all rounds."""
    sample = undisturbed.cities
    held = disturbed.held()
    contents = {city: disturbed.contents(city) for city in cities}
    equal = [contents[city] == undisturbed.contents(city) for city in sample]
    wanted = 2 * places_after(rounds - 1)
    return {
        "held_in_the_end": held,
        "sampled_cities_equal": f"{sum(equal)} of {len(equal)}",
        "cities_whole": f"{sum(map(bool, contents.values()))} of {len(cities)}",
        "files_compared_a_city": len(contents[cities[0]]),
        "cities_with_all_images": f"{sum(disturbed.images(c) == wanted for c in cities)} of "
        f"{len(cities)}",
        "cities_with_a_promoted_segmenter": f"{sum(map(disturbed.is_promoted, cities))} of "
        f"{len(cities)}",
    }


def longest_lived(server: list[dict[str, float]]) -> list[dict[str, float]]:
    """The samples of the server process that lived longest."""
    by_start: dict[float, list[dict[str, float]]] = {}
    for sample in server:
        by_start.setdefault(sample["restarts"], []).append(sample)
    return max(by_start.values(), key=lambda some: some[-1]["at"] - some[0]["at"])


def table(found: dict[str, Any]) -> str:
    """The results as a page."""
    lines = [
        "# Soak",
        "",
        f"`python benchmarks/soak.py {found['cities']} {found['rounds']}`: {found['cities']} small "
        f"cities, {found['rounds']} rounds each, on one Prefect server (SQLite)",
        "and one S3 store (moto), a fault in about a third of the commands: command killed and run "
        f"again, store away for {AWAY:.0f} s, server",
        "killed and started again. Two cores, shared with other work: the minutes say little.",
        "",
        "| cities done | minutes | load | commands | killed | store away | server killed | run "
        "again for 75 | server's memory | open files | database | store | objects |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in found["blocks"]:
        lines.append(
            f"| {row['cities']} | {row['minutes']} | {row['load']} | {row['commands']} "
            f"| {row['killed']} | {row['store away']} | {row['server killed']} | {row['passing']} "
            f"| {row['memory_mib']:.0f} MiB | {row['open_files']:.0f} | {row['database_mb']} MB "
            f"| {row['store_mb']} MB | {row['objects']:,} |"
        )
    lived = longest_lived(found["server"])
    minutes = (lived[-1]["at"] - lived[0]["at"]) / 60
    middle = lived[len(lived) // 2]
    lines += [
        "",
        f"The server that lived longest, {minutes:.0f} minutes and {len(lived)} rounds of cities: "
        + ", ".join(
            f"{one['memory_mib']:.0f} MiB and {one['open_files']:.0f} open files {when}"
            for one, when in ((lived[0], "first"), (middle, "half-way"), (lived[-1], "last"))
        )
        + ".",
        "",
        f"Every artifact whole: {found['cities_whole']} cities; with the images of all rounds: "
        f"{found['cities_with_all_images']}; with a segmenter in use:",
        f"{found['cities_with_a_promoted_segmenter']}; the same bytes as without faults: "
        f"{found['sampled_cities_equal']} sampled cities ({found['files_compared_a_city']} files "
        f"each). Leases and turns still held: {len(found['held_in_the_end'])}.",
        "",
        f"Runs that the server shows in the end ({DEAD_AFTER} s without a heartbeat: crashed): "
        + ", ".join(f"{n} {name}" for name, n in sorted(found["runs_in_the_end"].items()))
        + ".",
        "Crashed runs by who marked them: "
        + (", ".join(f"{n} {name}" for name, n in sorted(found["crashed_by"].items())) or "none")
        + ".",
    ]
    return "\n".join(lines) + "\n"


def write(found: dict[str, Any]) -> None:
    """Writes what was found."""
    write_json(RESULTS / "soak.json", found, indent=1)
    write_text(RESULTS / "soak.md", table(found))


def main(
    cities: Annotated[int, typer.Argument(min=1, help="How many.")] = 10,
    rounds: Annotated[int, typer.Argument(min=1, help="Of new pictures.")] = 3,
    folder: Annotated[Path | None, typer.Argument(help="Where it is gone on with.")] = None,
) -> None:
    """Runs the soak."""
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        found = run(cities, rounds, folder.resolve())
    else:
        with tempfile.TemporaryDirectory(prefix="crosscity-soak-") as name:
            found = run(cities, rounds, Path(name))
    print(table(found))


if __name__ == "__main__":
    typer.run(main)
