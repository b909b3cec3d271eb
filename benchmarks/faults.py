"""A fault campaign: every verb of a city's way, disturbed at a random moment.

    python benchmarks/faults.py [TRIALS]      # default: 20 for each fault; goes on where it was

Two miniature cities lie in an object store (moto's S3, a real server) and their runs in a Prefect
server, on PostgreSQL where that is installed. `tokyo` is simulated; to the pictures of `streets`
others come before `watch`. In each round all verbs run at once, each on a bucket of its own that
has what an undisturbed run had before that verb, so that one fault meets them all, begun so that
it finds each at another random moment:

- each is killed with everything it started (SIGKILL), and run again;
- the door to the object store is shut for `AWAY` seconds;
- the door to the Prefect server is shut for `AWAY` seconds;
- the Prefect server is killed (SIGKILL) and started again on the same database after `AWAY`
  seconds, and after `LONG_AWAY`;
- the database ends as in a crash, and is started again after `AWAY` seconds.

A verb that ends with 75, "run the same command again", as where the server is away at its very
start, is run again once. A trial is good where the last run ends with exit code 0 and the store
holds exactly the artifacts of the undisturbed run, byte for byte except what is measured
(histories name times and speeds, and reports and evaluations are named by those). Verbs that had
ended before the fault came do not count. Results go to `benchmarks/results/faults.json` and `.md`.
"""

from __future__ import annotations

import json
import logging
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final

import boto3  # type: ignore[import-untyped]
import typer
import yaml
from moto.server import ThreadedMotoServer

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
    simulated_city,
)
from benchmarks.whole_files import write_json, write_text
from flows import database
from flows.cli.errors import PASSING
from tests.tcp_gate import Gate

VERBS: Final = ("harvest", "priors", "adapt", "evaluate", "report", "watch", "readapt", "predict")
AWAY: Final = 60.0
"""Seconds without the store, the server or the database."""
LONG_AWAY: Final = 300.0
LONG_KILLED: Final = f"server killed, {LONG_AWAY:.0f} s"
FAULTS: Final = (
    "kill",
    "store away",
    "server away",
    "server killed",
    LONG_KILLED,
    "database killed",
)
RESULTS: Final = ROOT / "benchmarks" / "results"
CITY: Final = "tokyo"
STREETS: Final = "streets"
CITY_OF: Final = {"watch": STREETS, "readapt": STREETS, "predict": STREETS}
"""Of which city a verb is; the others are of `CITY`."""
PLACES: Final = {"before": range(4), "after": range(7)}
"""Places of which there are pictures, before and after some have landed."""
MEASURED: Final = ("history.parquet",)
"""Files with times and speeds in them: present in every run, equal in none."""
ACCESS: Final = {"aws_access_key_id": "a-key", "aws_secret_access_key": "a-secret"}


class Bucket:
    """moto's S3 server, and a door before it."""

    def __init__(self) -> None:
        logging.getLogger("werkzeug").setLevel(logging.ERROR)  # or each request is a line
        self.server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
        self.server.start()
        _, port = self.server.get_host_and_port()
        self.direct = f"http://127.0.0.1:{port}"
        self.gate = Gate(port)
        self.client: Any = boto3.client(
            "s3", endpoint_url=self.direct, region_name="us-east-1", **ACCESS
        )

    def entry(self, bucket: str, address: str = "") -> dict[str, Any]:
        """The store's entry in a catalog; by default through the door."""
        place = {
            "endpoint_url": address or f"http://127.0.0.1:{self.gate.port}",
            "region_name": "us-east-1",
        }
        options = {
            "key": ACCESS["aws_access_key_id"],
            "secret": ACCESS["aws_secret_access_key"],
            "client_kwargs": place,
            "config_kwargs": {"retries": {"max_attempts": 0}, "connect_timeout": 2},
        }
        return {"url": f"s3://{bucket}/store", "options": options}

    def copy(self, source: str, target: str) -> None:
        """A new bucket with all objects of another."""
        self.client.create_bucket(Bucket=target)
        for page in self.client.get_paginator("list_objects_v2").paginate(Bucket=source):
            for entry in page.get("Contents", []):
                self.client.copy_object(
                    Bucket=target, Key=entry["Key"], CopySource=f"{source}/{entry['Key']}"
                )

    def contents(self, bucket: str, scratch: Path) -> dict[str, str]:
        """The hash of every file of every artifact, checked against its bytes."""
        store = Store(
            f"s3://{bucket}/store",
            options=self.entry(bucket, self.direct)["options"],
            cache_dir=scratch,
        )
        found: dict[str, str] = {}
        for ref in store.artifacts():
            store.verify(ref)
            manifest = store.manifest(ref)
            if ref.kind in ("report", "evaluation"):  # named by histories: counted, not compared
                found[f"{ref.kind}/{ref.city}"] = "made"
                continue
            for name, entry in manifest.files.items():
                digest = "measured" if name in MEASURED else entry.sha256
                found[f"{ref.kind}/{ref.city}/{ref.key}/{name}"] = digest
        return found


def catalog(folder: Path, store: dict[str, Any]) -> Path:
    """The miniature city's catalog."""
    cities = {CITY: simulated_city(places=12), STREETS: pictured_city()}
    folder.mkdir(parents=True, exist_ok=True)
    whole = {
        **miniature(store, cities),
        # Several at once wait for each other by spinning, where each has several threads.
        "computes": {"one": {"device": "cpu", "threads": 1, "workers": 1}},
        "compute": "one",
    }
    path = folder / "data_catalog.yaml"
    path.write_text(yaml.safe_dump(whole, sort_keys=False))
    return path


class Way:
    """The verbs, each with the bucket that it begins with, the seconds it takes and what it leaves.

    Args:
        stand: The server.
        bucket: The object store.
    """

    def __init__(self, stand: Stand, bucket: Bucket) -> None:
        self.stand, self.bucket = stand, bucket
        self.took: dict[str, float] = {}
        self.wanted: dict[str, dict[str, str]] = {}
        self._go()

    def _go(self) -> None:
        """Runs all verbs undisturbed."""
        folder = self.stand.folder / "undisturbed"
        path = catalog(folder, self.bucket.entry("undisturbed"))
        self.bucket.client.create_bucket(Bucket="undisturbed")
        put_places(folder, STREETS, 0, PLACES["before"])
        words = words_of("harvest", path, STREETS)
        begun = forked.start(words, folder / "begun.log", self._cache(folder))
        if begun.wait(timeout=PATIENCE):
            raise RuntimeError((folder / "begun.log").read_text()[-3000:])
        for verb in VERBS:
            self.bucket.copy("undisturbed", f"before-{verb}")
            if verb == "watch":
                put_places(folder, STREETS, 0, PLACES["after"])
            began = time.monotonic()
            log = folder / f"{verb}.log"
            if self.start(verb, folder, log).wait(timeout=PATIENCE):
                raise RuntimeError(f"{verb}: {log.read_text()[-3000:]}")
            self.took[verb] = time.monotonic() - began
            self.wanted[verb] = self.bucket.contents("undisturbed", folder / "check")
            print(
                f"undisturbed {verb}: {self.took[verb]:.1f} s, {len(self.wanted[verb])} files",
                flush=True,
            )

    def start(self, verb: str, folder: Path, log: Path) -> forked.Forked:
        """Starts a verb on the catalog in a folder."""
        words = words_of(verb, folder / "data_catalog.yaml", CITY_OF.get(verb, CITY))
        return forked.start(words, log, self._cache(folder))

    def _cache(self, folder: Path) -> dict[str, str]:
        return {"XDG_CACHE_HOME": str(folder / "cache")}

    def folder(self, verb: str, name: str) -> Path:
        """A folder and a bucket of a trial's own, as they were before a verb."""
        folder = self.stand.folder / name
        self.bucket.copy(f"before-{verb}", name)
        catalog(folder, self.bucket.entry(name))
        is_before = VERBS.index(verb) < VERBS.index("watch")
        put_places(folder, STREETS, 0, PLACES["before" if is_before else "after"])
        return folder


def words_of(verb: str, path: Path, city: str) -> list[str]:
    """A verb's words on the command line."""
    return [verb, city, "--catalog", str(path)]


@dataclass
class Trial:
    """A verb that is disturbed.

    Attributes:
        verb: The verb.
        name: Of its folder and bucket.
        folder: Its folder.
        delay: Seconds after which it is started.
        process: The process, once it was started.
        began: When that was.
        at: Seconds after that at which the fault came; ``None``: it had ended before.
    """

    verb: str
    name: str
    folder: Path
    delay: float
    process: forked.Forked | None = None
    began: float = 0.0
    at: float | None = None

    def is_running(self) -> bool:
        """Whether the verb is under way."""
        return self.process is not None and self.process.poll() is None


def disturbed_round(
    number: int, fault: str, verbs: list[str], way: Way, away: float
) -> list[dict[str, Any]]:
    """All verbs at once, and one fault; gives what became of those that it met."""
    dice = random.Random(f"{number}/{fault}")  # noqa: S311 - moments, not secrets
    crowd = max(1.0, len(verbs) / 2)  # on two cores, and little is waited for
    moments = {verb: dice.uniform(0.15, 0.8) * way.took[verb] * crowd for verb in verbs}
    last = max(moments.values())
    trials = []
    for verb in verbs:
        name = f"round-{number}-{verb}"
        trials.append(Trial(verb, name, way.folder(verb, name), last - moments[verb]))
    begin = time.monotonic()
    for one in sorted(trials, key=lambda trial: trial.delay):
        time.sleep(max(0.0, begin + one.delay - time.monotonic()))
        one.process = way.start(one.verb, one.folder, one.folder / "first.log")
        one.began = time.monotonic()
    time.sleep(max(0.0, begin + last - time.monotonic()))
    met = [one for one in trials if one.is_running()]
    for one in met:
        one.at = round(time.monotonic() - one.began, 1)
        if fault == "kill" and one.process is not None:
            kill_group(one.process)
    if fault != "kill" and met:
        be_away(fault, away, way.stand, way.bucket)
    with ThreadPoolExecutor(len(VERBS)) as pool:
        return list(pool.map(lambda one: ended(one, fault, away, way), met))


def ended(trial: Trial, fault: str, away: float, way: Way) -> dict[str, Any]:
    """Waits for a disturbed verb, and judges it."""
    if trial.process is None:
        raise RuntimeError(f"{trial.verb} was not started")
    again, log, code = fault == "kill", trial.folder / "first.log", 0
    if not again:
        code = trial.process.wait(timeout=PATIENCE)
        again = code == PASSING
    if again:
        log = trial.folder / "second.log"
        code = way.start(trial.verb, trial.folder, log).wait(timeout=PATIENCE)
    problem = ""
    if code:
        problem = f"exit code {code}: {log.read_text().strip()[-400:]}"
    else:
        wanted = way.wanted[trial.verb]
        found = way.bucket.contents(trial.name, trial.folder / "check")
        other = {k for k in found.keys() | wanted.keys() if found.get(k) != wanted.get(k)}
        if other:
            problem = f"{len(other)} files differ: {sorted(other)[:4]}"
    return {
        "verb": trial.verb,
        "fault": fault,
        "away": 0.0 if fault == "kill" else away,
        "at": trial.at,
        "again": again and fault != "kill",
        "good": not problem,
        "problem": problem,
        "database": "PostgreSQL" if way.stand.database is not None else "SQLite",
    }


def be_away(fault: str, away: float, stand: Stand, bucket: Bucket) -> None:
    """Lets the store, the server or the database be away for a while."""
    if fault in ("server killed", LONG_KILLED):
        stand.restart_server(away)
        return
    if fault == "database killed":
        stand.restart_database(away)
        return
    gate = bucket.gate if fault == "store away" else stand.gate
    gate.shut()
    time.sleep(away)
    gate.open()


def table(found: dict[str, Any]) -> str:
    """The results as a page."""
    rows = found["rows"]
    good = Counter((row["verb"], row["fault"]) for row in rows if row["good"])
    again = sum(row["good"] and row["again"] for row in rows)
    every = Counter((row["verb"], row["fault"]) for row in rows)
    kinds = Counter(str(row["database"]) for row in rows)
    databases = ", ".join(f"{number} trials on {name}" for name, number in kinds.most_common())
    lines = [
        "# Faults in the middle of a verb",
        "",
        "`python benchmarks/faults.py`: miniature cities in an S3 store (moto) behind a door, runs",
        f"on a real Prefect server ({databases}), all verbs at once; store, server or",
        f"database were away for {AWAY:.0f} s where nothing else is said. Good: exit code 0 (after",
        "a kill or exit code 75: of the same command again) and the bytes of an undisturbed run.",
        "",
        f"{sum(good.values())} of {sum(every.values())} trials were good, {again} of them after an "
        "exit code 75.",
        "",
        "| verb | " + " | ".join(FAULTS) + " |",
        "|---|" + "---|" * len(FAULTS),
    ]
    for verb in VERBS:
        cells = [f"{good[verb, fault]} of {every[verb, fault]}" for fault in FAULTS]
        lines.append(f"| {verb} | " + " | ".join(cells) + " |")
    sums = [
        f"{sum(good[verb, fault] for verb in VERBS)} of {sum(every[verb, fault] for verb in VERBS)}"
        for fault in FAULTS
    ]
    lines.append("| all | " + " | ".join(sums) + " |")
    bad = [row for row in rows if not row["good"]]
    if bad:
        lines += ["", "Not good:", ""]
        lines += [
            f"- {row['verb']}, {row['fault']} after {row['at'] or 0:.0f} s: {row['problem']}"
            for row in bad
        ]
    return "\n".join(lines) + "\n"


def campaign(way: Way, found: dict[str, Any], trials: int, save: Callable[[], None]) -> None:
    """Rounds of each fault in turn, until each has its trials."""
    rows = found["rows"]
    faults = [one for one in FAULTS if one != "database killed" or way.stand.database is not None]
    for number in range(found["rounds"], found["rounds"] + 8 * len(faults)):
        counts = Counter(row["fault"] for row in rows)
        left = [fault for fault in faults if counts[fault] < trials]
        if not left:
            return
        fault = min(left, key=lambda one: counts[one])
        had = Counter(row["verb"] for row in rows if row["fault"] == fault)
        least = min(had[verb] for verb in VERBS)
        verbs = [verb for verb in VERBS if had[verb] <= least + 1]
        away = LONG_AWAY if fault == LONG_KILLED else AWAY
        new = disturbed_round(number, fault, verbs, way, away)
        rows += new
        found["rounds"] = number + 1
        for row in new:
            print(json.dumps(row), flush=True)
        save()


def main(
    trials: Annotated[int, typer.Argument(min=1, help="For each fault.")] = 20,
) -> None:
    """Runs what is left of the campaign, and writes results after each round."""
    place = RESULTS / "faults.json"
    found: dict[str, Any] = {"rows": [], "rounds": 0}
    if place.is_file():
        found = json.loads(place.read_text())
    has_postgresql = database._programs() is not None

    def save() -> None:
        write_json(place, found, indent=1)
        write_text(RESULTS / "faults.md", table(found))

    with (
        tempfile.TemporaryDirectory(prefix="crosscity-faults-") as folder,
        Stand(Path(folder), on_postgresql=has_postgresql) as stand,
    ):
        forked.import_all(stand.environment())
        bucket = Bucket()
        campaign(Way(stand, bucket), found, trials, save)
        bucket.gate.shut()
        bucket.server.stop()
    print(table(found))


if __name__ == "__main__":
    typer.run(main)
