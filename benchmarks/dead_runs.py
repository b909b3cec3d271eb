"""Dead runs: a worker and its runs killed at one moment, in each state, again and again.

    python benchmarks/dead_runs.py [TRIALS]       # default: 20 of each state; goes on where it was

One Prefect server has the automations that `crosscity deploy` makes, with `DEAD_AFTER` instead of
ten minutes, and the deployments of a catalog of small cities. A site is `CITIES` of them with a
work pool and a worker of their own. Their deployments of `harvest-city` (one run at a time, others
wait) get a run each; at a seeded random moment the worker and everything that it started are killed
(SIGKILL):

- PENDING: the worker has taken the runs, and their processes start;
- RUNNING: runs are under way;
- RETRY: runs were killed under way once, the server has crashed them and runs them again, and now
  they are killed in that state: waiting for the worker, starting, or under way.

What counts is the state that the server shows at that moment. Then each deployment gets the run
that its schedule would give it, a worker starts, and nobody does anything more. A trial is good
where the next run ends well and its city's harvest is in the store. In the end, the server is to
show no run, task, slot or worker alive that is dead.

Workers and runs are Prefect's own, but forked (`forked_python.py`): ten at once import for minutes
on two cores. The server is on PostgreSQL where that is installed, as documented for several
workers. Results go to `benchmarks/results/dead_runs.json` and `.md`.
"""

from __future__ import annotations

import json
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Final

import typer
import yaml

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from adapters.store import Store
from benchmarks import forked_python
from benchmarks.disturbed import ROOT, Stand, kill_group, miniature, simulated_city
from benchmarks.whole_files import write_json, write_text
from flows import database

STATES: Final = ("PENDING", "RUNNING", "RETRY")
CITIES: Final = 5
"""Of a site: killed at one moment, as by a power cut."""
SITES: Final = 9
"""As many as there are cities for."""
AT_ONCE: Final = 2
"""Sites that are at it at once: most of the time, they wait for the server."""
DEAD_AFTER: Final = 90
"""Seconds without a heartbeat after which a run has crashed; one comes each `HEARTBEAT`."""
HEARTBEAT: Final = 30
PATIENCE: Final = 720.0
"""Seconds that the next run may take to start, and that anything else is waited for."""
ENDED: Final = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")
RESULTS: Final = ROOT / "benchmarks" / "results"


class Field:
    """The server, the catalog of all cities, and the Python that workers are forked from."""

    def __init__(self, stand: Stand) -> None:
        self.stand = stand
        self.cities = [f"city{number:03d}" for number in range(CITIES * SITES)]
        self.catalog = self._write_catalog()
        self.store = Store(self.catalog.parent / "store")
        self.python, self._socket = forked_python.written(stand.folder)
        # The user's cache: with one of its own, each run would compile for a minute.
        self.environment = {
            **os.environ,
            **stand.environment(),
            "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": str(HEARTBEAT),
            "PREFECT_WORKER_QUERY_SECONDS": "2",
            "PREFECT_WORKER_PREFETCH_SECONDS": "2",
            forked_python.PYTHON: str(self.python),
        }
        self._server = self._start_server()

    def _write_catalog(self) -> Path:
        cities = {
            name: simulated_city(places=24, seed=number, pairs_per_part=4)
            for number, name in enumerate(self.cities)
        }
        path = self.stand.folder / "catalog" / "data_catalog.yaml"
        path.parent.mkdir()
        whole = {
            **miniature({"url": "store"}, cities),
            # Many at once: threads of one would only wait for each other.
            "computes": {"one": {"device": "cpu", "threads": 1, "workers": 1}},
            "compute": "one",
        }
        path.write_text(yaml.safe_dump(whole, sort_keys=False))
        return path

    def _start_server(self) -> subprocess.Popen[bytes]:
        with (self.stand.folder / "forked-python.log").open("wb") as log:
            server = subprocess.Popen(
                [sys.executable, forked_python.__file__, "serve", str(self._socket)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                cwd=ROOT,
                env={**self.environment, "PYTHONPATH": str(ROOT)},
            )
        until(self._socket.exists, "everything is imported", every=0.5)
        return server

    def close(self) -> None:
        """Ends the process that others are forked from."""
        kill_group(self._server)

    def deploy(self) -> None:
        """`crosscity deploy`."""
        done = subprocess.run(
            [sys.executable, "-m", "flows.cli.main", "deploy", "--catalog", str(self.catalog)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            env={**self.environment, "CROSSCITY_DEAD_AFTER": str(DEAD_AFTER)},
        )
        if done.returncode:
            raise RuntimeError(f"deploying ended with {done.returncode}: {done.stderr[-3000:]}")


class Site:
    """Some cities, their work pool, and a worker that can be killed with all that it started."""

    def __init__(self, field: Field, number: int) -> None:
        self.field, self.stand, self.pool = field, field.stand, f"site{number}"
        self.cities = field.cities[CITIES * number : CITIES * (number + 1)]
        self.deployments: dict[str, str] = {}
        self.worker: subprocess.Popen[bytes] | None = None
        whole = self.stand.ask("/work_pools/crosscity")
        pool = {
            "name": self.pool,
            "type": "process",
            "base_job_template": whole["base_job_template"],
        }
        self.stand.ask("/work_pools/", pool)
        for city in self.cities:
            deployment = self.stand.ask(f"/deployments/name/harvest-city/{city}")
            self.deployments[city] = deployment["id"]
            change = {"work_pool_name": self.pool}
            self.stand.ask(f"/deployments/{deployment['id']}", change, method="PATCH")

    def start_worker(self) -> None:
        """A worker of the site's pool."""
        words = ["-m", "prefect", "worker", "start", "--pool", self.pool, "--type", "process"]
        with (self.stand.folder / f"{self.pool}.log").open("ab") as log:
            self.worker = subprocess.Popen(
                [str(self.field.python), *words],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env={**self.field.environment, "SITE": self.pool},
            )

    def kill(self) -> None:
        """The worker and all that it started."""
        if self.worker is None:
            return
        self.worker.kill()  # first, so that it starts nothing more
        self.worker.wait(timeout=60)
        self.worker = None
        wanted = f"SITE={self.pool}".encode()
        for one in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                if wanted in (one / "environ").read_bytes().split(b"\0"):
                    os.kill(int(one.name), signal.SIGKILL)

    def new_runs(self, after: float = 0.0) -> dict[str, str]:
        """A run of each city's harvest, as a schedule makes them; their ids."""
        due = (datetime.now(UTC) + timedelta(seconds=after)).isoformat()
        state = {"type": "SCHEDULED", "state_details": {"scheduled_time": due}}
        made = {}
        for city in self.cities:
            route = f"/deployments/{self.deployments[city]}/create_flow_run"
            made[city] = str(self.stand.ask(route, {"state": state})["id"])
        return made

    def seen(self, runs: dict[str, str]) -> dict[str, dict[str, Any]]:
        """What the server shows of runs."""
        body = {"flow_runs": {"id": {"any_": list(runs.values())}}}
        found = {run["id"]: run for run in self.stand.every("/flow_runs/filter", body)}
        return {city: found[run] for city, run in runs.items()}

    def states_of(self, run: str) -> list[str]:
        """Names of all states that a run had, the first one first."""
        states = self.stand.ask(f"/flow_run_states/?flow_run_id={run}")
        states.sort(key=lambda state: str(state["timestamp"]))
        return [str(state["name"]) for state in states]


def site_trials(field: Field, number: int, wanted: str) -> list[dict[str, Any]]:
    """Kills a site's worker and runs in a state, and watches what becomes of them."""
    dice = random.Random(f"{number}/{wanted}")  # noqa: S311 - moments, not secrets
    site = Site(field, number)
    first = site.new_runs()
    site.start_worker()
    most = CITIES // 2 + 1
    if wanted == "PENDING":
        until(lambda: _are(site.seen(first), "PENDING") >= most, "they are PENDING", every=0.05)
        time.sleep(dice.uniform(0, 0.5))
    else:
        most += wanted == "RETRY"  # who did not begin is not run again
        until(lambda: _are(site.seen(first), "RUNNING") >= most, "they are RUNNING", every=0.2)
        time.sleep(dice.uniform(0, 2))
    site.kill()
    if wanted == "RETRY":
        in_line = {city: site.states_of(run) for city, run in first.items()}
        began = [city for city, names in in_line.items() if "Running" in names]
        time.sleep(dice.uniform(0, 10))
        site.start_worker()
        state = dice.choice(("PENDING", "RUNNING"))

        def again() -> bool:
            seen = site.seen(first)
            there = [seen[city] for city in began if "AwaitingRetry" in site.states_of(first[city])]
            return any(run["state_type"] == state for run in there) or (
                bool(there) and all(run["state_type"] in ENDED for run in there)
            )

        until(again, f"a retried one is {state}", every=0.5)
        time.sleep(dice.uniform(0, 2))
        site.kill()
    killed = time.time()
    at_kill = site.seen(first)
    histories = {city: site.states_of(run) for city, run in first.items()}
    following = site.new_runs(after=2.0)
    time.sleep(dice.uniform(0, 10))
    site.start_worker()
    try:
        watch_the_end(site, first, following)
    finally:
        site.kill()
    return [
        {
            "site": number,
            "city": city,
            "state": state_of(at_kill[city], histories[city]),
            "before": histories[city],
            **judged(site, city, first[city], following[city], killed),
        }
        for city in site.cities
    ]


def state_of(run: dict[str, Any], names: list[str]) -> str:
    """The state in which a run died: one of `STATES`, or what it was else."""
    kind = str(run["state_type"])
    if "AwaitingRetry" in names and kind not in ENDED:
        return "RETRY"
    return kind


def watch_the_end(site: Site, first: dict[str, str], following: dict[str, str]) -> None:
    """Waits until nothing happens any more, or for as long as something may take."""
    still: list[list[str]] = [[]]

    def settled() -> bool:
        seen = [*site.seen(first).values(), *site.seen(following).values()]
        states = [f"{run['state_name']} {run['run_count']}" for run in seen]
        is_same, still[0] = states == still[0], states
        return is_same and all(run["state_type"] in ENDED for run in seen)

    # A run that crashed and is to be run again is that within seconds.
    with suppress(TimeoutError):
        until(settled, "nothing happens any more", every=15.0)


def judged(site: Site, city: str, first: str, following: str, killed: float) -> dict[str, Any]:
    """What became of a killed run and the next one of its deployment."""
    seen = site.seen({"first": first, "following": following})
    start = seen["following"]["start_time"]
    waited = None if start is None else datetime.fromisoformat(start).timestamp() - killed
    there = site.field.store.selected("harvest", city)
    problems = []
    if seen["following"]["state_type"] != "COMPLETED":
        problems.append(f"the next run is {seen['following']['state_name']}")
    if waited is None or waited > PATIENCE:
        problems.append("the next run started too late")
    if seen["first"]["state_type"] not in ("COMPLETED", "CRASHED"):
        problems.append(f"the killed run is {seen['first']['state_name']}")
    if there is None:
        problems.append("no harvest")
    return {
        "waited": None if waited is None else round(waited, 1),
        "killed_run": seen["first"]["state_name"],
        "runs": seen["first"]["run_count"],
        "after": site.states_of(first),
        "problems": problems,
    }


def shown_alive(stand: Stand) -> dict[str, int]:
    """What the server shows as alive when all workers are gone: each of these is untrue."""
    alive = {"type": {"any_": ["RUNNING", "PENDING"]}}
    runs = stand.every("/flow_runs/filter", {"flow_runs": {"state": alive}})
    tasks = stand.every("/task_runs/filter", {"task_runs": {"state": alive}})
    slots = stand.every("/v2/concurrency_limits/filter", {})
    workers = 0
    for pool in stand.every("/work_pools/filter", {}):
        found = stand.every(f"/work_pools/{pool['name']}/workers/filter", {})
        workers += sum(one["status"] == "ONLINE" for one in found)
    return {
        "runs": len(runs),
        "tasks": len(tasks),
        "slots": sum(one["active_slots"] for one in slots),
        "workers": workers,
    }


def until(ready: Callable[[], bool], what: str, *, every: float) -> None:
    """Waits until something holds.

    Raises:
        TimeoutError: It never did.
    """
    deadline = time.monotonic() + PATIENCE
    while not ready():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {PATIENCE:.0f} s in vain until {what}")
        time.sleep(every)


def _are(seen: dict[str, dict[str, Any]], state: str) -> int:
    return sum(run["state_type"] == state for run in seen.values())


def counted(rows: list[dict[str, Any]], state: str, trials: int) -> list[dict[str, Any]]:
    """The first so many trials of a state."""
    return [row for row in rows if row["state"] == state][:trials]


def table(found: dict[str, Any]) -> str:
    """The results as a page."""
    rows, trials = found["rows"], found["trials"]
    lines = [
        "# Worker and run killed together",
        "",
        f"`python benchmarks/dead_runs.py {trials}`: one Prefect server "
        f"({found['database']}), sites of "
        f"{CITIES} small cities with a",
        "worker each; worker and runs killed at one moment (SIGKILL), then a new worker and the",
        f"next run of each deployment, and no hand. A run is dead after {DEAD_AFTER} s without a "
        "heartbeat (600",
        "unless it is set), so what is beyond that is what the server, the worker's start and a "
        "busy machine",
        f"(two cores, load {found['load']:.1f} at the end) take.",
        "",
        "| state at the kill | next run started and ended well | it waited, median | longest | "
        "the killed run is |",
        "|---|---|---|---|---|",
    ]
    for state in STATES:
        some = counted(rows, state, trials)
        waits = [row["waited"] for row in some if row["waited"] is not None]
        ends = Counter(row["killed_run"] for row in some)
        lines.append(
            f"| {state} | {sum(not row['problems'] for row in some)} of {len(some)} "
            f"| {statistics.median(waits) if waits else 0:.0f} s "
            f"| {max(waits, default=0):.0f} s "
            f"| {', '.join(f'{name} ({n})' for name, n in ends.most_common())} |"
        )
    alive = found.get("alive")
    if alive is not None:
        lines += [
            "",
            "Shown as alive in the end, when all workers were gone: "
            + ", ".join(f"{n} {what}" for what, n in alive.items())
            + ".",
        ]
    bad = [row for state in STATES for row in counted(rows, state, trials) if row["problems"]]
    lines += [f"- {row['city']}, {row['state']}: {'; '.join(row['problems'])}" for row in bad]
    return "\n".join(lines) + "\n"


def write(found: dict[str, Any]) -> None:
    """Writes what was found."""
    write_json(RESULTS / "dead_runs.json", found, indent=1)
    write_text(RESULTS / "dead_runs.md", table(found))


def campaign(field: Field, found: dict[str, Any], save: Callable[[], None]) -> None:
    """Runs sites until each state has its trials."""
    rows, trials = found["rows"], found["trials"]
    number = 0
    under_way: dict[Future[list[dict[str, Any]]], str] = {}
    with ThreadPoolExecutor(AT_ONCE) as pool:
        while True:
            have = {state: len(counted(rows, state, trials)) for state in STATES}
            coming = Counter(under_way.values())
            left = [s for s in STATES if have[s] + CITIES * coming[s] < trials]
            while left and len(under_way) < AT_ONCE:
                state = min(left, key=lambda one: have[one] + CITIES * coming[one])
                under_way[pool.submit(site_trials, field, number, state)] = state
                coming[state] += 1
                number += 1
                left = [s for s in STATES if have[s] + CITIES * coming[s] < trials]
            if not under_way:
                return
            for one in wait(under_way, return_when=FIRST_COMPLETED).done:
                del under_way[one]
                made = one.result()
                rows += made
                print(json.dumps(made), flush=True)
                save()


def main(
    trials: Annotated[int, typer.Argument(min=1, help="Of each state.")] = 20,
) -> None:
    """Runs what is left of the campaign, and writes results after each site."""
    place = RESULTS / "dead_runs.json"
    found: dict[str, Any] = json.loads(place.read_text()) if place.is_file() else {"rows": []}
    found |= {"trials": trials, "dead_after": DEAD_AFTER}

    has_postgresql = database._programs() is not None
    found["database"] = "PostgreSQL" if has_postgresql else "SQLite"

    def save() -> None:
        found["load"] = os.getloadavg()[2]
        write(found)

    with (
        tempfile.TemporaryDirectory(prefix="crosscity-dead-") as folder,
        Stand(Path(folder), on_postgresql=has_postgresql) as stand,
    ):
        field = Field(stand)
        try:
            field.deploy()
            campaign(field, found, save)
            with suppress(TimeoutError):  # until the server misses the last worker's heartbeats
                until(lambda: not any(shown_alive(stand).values()), "all is dead", every=20.0)
            found["alive"] = shown_alive(stand)
            save()
        finally:
            field.close()
    print(table(found))


if __name__ == "__main__":
    typer.run(main)
