"""A fault campaign: each verb of a city's way, disturbed at a seeded random moment.

    python benchmarks/faults.py [TRIALS]              # default: 40; goes on where it was

A miniature city lies in an object store (moto's S3, a real server) and its runs in a Prefect
server. Each trial takes the state before one verb (harvest, priors, adapt, evaluate) from the
undisturbed run, starts the verb, and at a random moment within the time that it takes

- kills it with everything it started (SIGKILL), and runs it again;
- shuts the door to the object store for `AWAY` seconds;
- shuts the door to the Prefect server for `AWAY` seconds;
- kills the Prefect server (SIGKILL) and starts it again on the same database after `AWAY` seconds.

A verb that ends with 75, "run the same command again", as where the server is away at its very
start, is run again once. A trial is good where the last run ends with exit code 0 and the store
holds exactly the artifacts of the undisturbed run, byte for byte except what is measured
(histories name times and speeds, and reports and evaluations are named by those). Moments that
came too late, after the verb had ended, are drawn again. Results go to
`benchmarks/results/faults.json` and `.md`.
"""

from __future__ import annotations

import json
import logging
import random
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any, Final

import boto3  # type: ignore[import-untyped]
import yaml
from moto.server import ThreadedMotoServer

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from adapters.store import Store
from benchmarks.disturbed import PATIENCE, ROOT, Stand, kill_group, miniature
from tests.tcp_gate import Gate

VERBS: Final = ("harvest", "priors", "adapt", "evaluate")
FAULTS: Final = ("kill", "store away", "server away", "server killed")
PASSING: Final = 75
"""The exit code that asks for the same command again."""
AWAY: Final = 60.0
"""Seconds without the store or the server."""
RESULTS: Final = ROOT / "benchmarks" / "results"
CITY: Final = "tokyo"
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
    city = {
        "provider": {"kind": "simulated", "style": "tokyo"},
        "area": {"bbox": [139.7, 35.6, 139.8, 35.7]},
        "places": 12,
        "test_places": 2,
        "seed": 3,
        "image_size": [64, 128],
        "labels": {"kind": "simulated", "fine_tune_places": 3},
        "prior": {"downscale": 1, "superpixels": 40},
        "pairs_per_part": 2,
    }
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "data_catalog.yaml"
    path.write_text(yaml.safe_dump(miniature(store, {CITY: city}), sort_keys=False))
    return path


def undisturbed(stand: Stand, bucket: Bucket) -> tuple[dict[str, float], dict[str, dict[str, str]]]:
    """Runs all verbs; `before-VERB` holds each state. Gives seconds and contents after each."""
    folder = stand.folder / "undisturbed"
    path = catalog(folder, bucket.entry("undisturbed"))
    bucket.client.create_bucket(Bucket="undisturbed")
    took, after = {}, {}
    for verb in VERBS:
        bucket.copy("undisturbed", f"before-{verb}")
        took[verb] = stand.run(folder / f"{verb}.log", verb, CITY, "--catalog", path)
        after[verb] = bucket.contents("undisturbed", folder / "check")
        print(f"undisturbed {verb}: {took[verb]:.1f} s, {len(after[verb])} files", flush=True)
    return took, after


def trial(
    number: int, stand: Stand, bucket: Bucket, took: dict[str, float], wanted: dict[str, Any]
) -> dict[str, Any]:
    """One disturbed verb."""
    fault = FAULTS[number % len(FAULTS)]
    verb = VERBS[number // len(FAULTS) % len(VERBS)]
    dice = random.Random(number)  # noqa: S311 - moments, not secrets
    for attempt in range(20):
        folder = stand.folder / f"trial-{number}-{attempt}"
        name = f"trial-{number}-{attempt}"
        bucket.copy(f"before-{verb}", name)
        path = catalog(folder, bucket.entry(name))
        moment = dice.uniform(0.15, 1.0) * took[verb]
        words = (verb, CITY, "--catalog", path)
        process = stand.start(folder / "first.log", *words)
        time.sleep(moment)
        if process.poll() is not None:
            continue  # too late
        if fault == "kill":
            kill_group(process)
            process = stand.start(folder / "second.log", *words)
        else:
            be_away(fault, stand, bucket)
        code = process.wait(timeout=PATIENCE)
        again = code == PASSING
        if again:
            code = stand.start(folder / "second.log", *words).wait(timeout=PATIENCE)
        found = bucket.contents(name, folder / "check")
        problem = ""
        if code:
            log = "second.log" if again or fault == "kill" else "first.log"
            problem = f"exit code {code}: {(folder / log).read_text().strip()[-400:]}"
        elif found != wanted[verb]:
            other = {
                key for key in found.keys() | wanted[verb].keys()
                if found.get(key) != wanted[verb].get(key)
            }  # fmt: skip
            problem = f"{len(other)} files differ: {sorted(other)[:4]}"
        return {
            "trial": number,
            "verb": verb,
            "fault": fault,
            "at": round(moment / took[verb], 2),
            "again": again,
            "good": not problem,
            "problem": problem,
        }
    raise RuntimeError(f"no moment of trial {number} came before the end of {verb}")


def be_away(fault: str, stand: Stand, bucket: Bucket) -> None:
    """Lets the store or the server be away for a while."""
    if fault == "server killed":
        stand.restart_server(AWAY)
        return
    gate = bucket.gate if fault == "store away" else stand.gate
    gate.shut()
    time.sleep(AWAY)
    gate.open()


def table(rows: list[dict[str, Any]]) -> str:
    """The results as a page."""
    good = Counter((row["verb"], row["fault"]) for row in rows if row["good"])
    again = sum(row["good"] and row["again"] for row in rows)
    every = Counter((row["verb"], row["fault"]) for row in rows)
    lines = [
        "# Faults in the middle of a verb",
        "",
        "`python benchmarks/faults.py`: a miniature city in an S3 store (moto) behind a door, runs",
        f"on a real Prefect server; store or server were away for {AWAY:.0f} s. Good: exit code 0",
        "(after a kill or exit code 75: of the same command again) and the bytes of an undisturbed",
        "run.",
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
    bad = [row for row in rows if not row["good"]]
    if bad:
        lines += ["", "Not good:", ""]
        lines += [
            f"- trial {row['trial']}, {row['verb']}, {row['fault']} at {row['at']:.2f} of its "
            f"time: {row['problem']}"
            for row in bad
        ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Runs what is left of the campaign, and writes results after each trial."""
    trials = int(sys.argv[1]) if len(sys.argv) > 1 else 40
    place = RESULTS / "faults.json"
    rows: list[dict[str, Any]] = json.loads(place.read_text()) if place.is_file() else []
    left = [number for number in range(trials) if number not in {row["trial"] for row in rows}]
    if left:
        with tempfile.TemporaryDirectory(prefix="crosscity-faults-") as folder:
            bucket = Bucket()
            with Stand(Path(folder)) as stand:
                took, wanted = undisturbed(stand, bucket)
                for number in left:
                    rows.append(trial(number, stand, bucket, took, wanted))
                    print(json.dumps(rows[-1]), flush=True)
                    place.write_text(json.dumps(rows, indent=1) + "\n")
                    (RESULTS / "faults.md").write_text(table(rows))
            bucket.gate.shut()
            bucket.server.stop()
    print(table(rows))


if __name__ == "__main__":
    main()
