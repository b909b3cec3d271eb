"""Priors on several processes: the bytes of one, also when a worker is killed in the middle."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from adapters.catalog.errors import CatalogError
from adapters.store import ArtifactRef, Store, artifact_key
from tasks.priors.extraction import make_prior_part, prior_parts
from tasks.steps import spread as spread_module
from tasks.steps.artifact_task import Made
from tasks.steps.errors import ClusterAwayError, InputError, PartKillsWorkersError
from tasks.steps.plan import Plan, open_plan
from tasks.steps.spread import spread
from tests.harvested import harvested

pytest.importorskip("distributed", reason="crosscity[dask] is not installed")
CREDENTIALS = {"key": "a-key-of-nobody", "secret": "a-secret-of-nobody"}
CITY = {"places": 12, "test_places": 2, "pairs_per_part": 2}


def shards_of(plan: Plan) -> list[tuple[Any, ...]]:
    """Harvests the city, and gives the arguments of its priors' shards."""
    imagery, pairs = harvested(plan)
    return [(imagery, pairs, part, "tokyo") for part in prior_parts(imagery, pairs, "tokyo", plan)]


@pytest.fixture
def alone(write_catalog: Callable[..., Path], tmp_path: Path) -> list[ArtifactRef]:
    """The shards as one process makes them, in a store of its own."""
    plan = open_plan(write_catalog(tmp_path / "alone", city=CITY), city="tokyo")
    return [make_prior_part(*shard, plan).ref for shard in shards_of(plan)]


@pytest.fixture
def bucket() -> Iterator[dict[str, Any]]:
    """The catalog's entry of a store in a real S3 server (moto)."""
    pytest.importorskip("s3fs", reason="crosscity[s3] is not installed")
    boto3 = pytest.importorskip("boto3")
    server_module = pytest.importorskip("moto.server", reason="moto is not installed")
    server = server_module.ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    _, port = server.get_host_and_port()
    where = {"endpoint_url": f"http://127.0.0.1:{port}", "region_name": "us-east-1"}
    boto3.client(
        "s3",
        **where,
        aws_access_key_id=CREDENTIALS["key"],
        aws_secret_access_key=CREDENTIALS["secret"],
    ).create_bucket(Bucket="spread")
    options = {**CREDENTIALS, "client_kwargs": where}
    yield {"url": "s3://spread/crosscity", "options": options}
    server.stop()


@pytest.fixture
def scheduler(launcher: Any, tmp_path: Path, waiting: Any) -> str:
    """A dask scheduler, started in a folder of its own."""
    folder = tmp_path / "scheduler"
    folder.mkdir()
    where = folder / "scheduler.json"
    command = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--host", "127.0.0.1"]
    launcher.start(
        [*command, "--port", "0", "--no-dashboard", "--scheduler-file", where], cwd=folder
    )
    waiting(where.is_file, "the scheduler listens")
    waiting(lambda: where.read_text().rstrip().endswith("}"), "the scheduler says where")
    return str(json.loads(where.read_text())["address"])


@pytest.fixture
def start_worker(launcher: Any, scheduler: str, tmp_path: Path) -> Callable[[str], Any]:
    """start_worker(name): a worker with one thread, in a folder and with a cache of its own."""

    def start(name: str) -> Any:
        folder = tmp_path / name
        folder.mkdir()
        command = [sys.executable, "-m", "distributed.cli.dask_worker", scheduler, "--no-nanny"]
        return launcher.start(
            [*command, "--nthreads", "1", "--no-dashboard", "--name", name],
            cwd=folder,
            env={**os.environ, "XDG_CACHE_HOME": str(folder / "cache")},
        )

    return start


def priors_without_torch(*given: Any) -> Made:
    made = make_prior_part(*given)
    if "torch" in sys.modules:  # it takes longer to load than ten pairs to match
        raise InputError("who matches on the processor has loaded torch")
    return made


def test_two_processes_make_the_bytes_of_one(write_catalog, tmp_path, alone, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))  # where workers find the function
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    import test_spread as importable

    computes = {"laptop": {"runner": "processes", "workers": 2}}
    catalog = write_catalog(tmp_path / "spread", city=CITY, computes=computes)
    plan = open_plan(catalog, city="tokyo")
    shards = shards_of(plan)
    reported: list[int] = []

    def finished(number: int, made: Made) -> None:
        assert plan.open_store().find_ref(made.ref)  # counted once it is there
        assert not made.cached
        reported.append(number)

    made = spread(importable.priors_without_torch, shards, plan, finished)
    assert made == alone
    assert len(alone) == 5
    assert sorted(reported) == list(range(len(shards)))
    again: list[bool] = []
    assert spread(make_prior_part, shards, plan, lambda _, one: again.append(one.cached)) == alone
    assert again == [True] * len(shards)


@pytest.mark.slow  # the lease of the killed worker has to run out: 90 seconds
def test_workers_elsewhere_make_the_same_bytes_though_one_is_killed_in_a_shard(
    write_catalog, tmp_path, alone, bucket, scheduler, start_worker, launcher
):
    computes = {"laptop": {"runner": "dask", "address": scheduler, "workers": 1}}
    catalog = write_catalog(
        tmp_path / "spread", city=CITY, computes=computes, stores={"local": bucket}
    )
    plan = open_plan(catalog, city="tokyo")
    shards = shards_of(plan)
    workers = {name: start_worker(name) for name in ("a", "b")}
    from distributed import Client

    killed: list[str] = []

    def kill_one(_number: int, _made: Made) -> None:
        if killed:
            return
        with Client(scheduler) as client:
            names = {
                address: worker["name"]
                for address, worker in client.scheduler_info(n_workers=-1)["workers"].items()
            }
            busy = [names[address] for address, tasks in client.processing().items() if tasks]
        if busy:
            launcher.end(workers[busy[0]], signal.SIGKILL)
            killed.append(busy[0])

    assert spread(make_prior_part, shards, plan, kill_one) == alone
    assert len(killed) == 1
    # The bytes, and not only what the manifests say of them.
    for ref in alone:
        theirs = plan.open_store()
        theirs.verify(ref)
        for name, entry in Store(tmp_path / "alone" / "store").manifest(ref).files.items():
            assert theirs.manifest(ref).files[name].sha256 == entry.sha256


def threads_here() -> tuple[int, str | None, bool]:
    import cv2

    preloaded = "tasks.priors.extraction" in sys.modules
    return cv2.getNumThreads(), os.environ.get("OMP_NUM_THREADS"), preloaded


def test_each_process_has_one_thread_and_has_imported_nothing_twice(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))  # where workers find the function
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    import test_spread as importable

    with spread_module._processes(2, "tasks.priors.extraction") as client:
        client.wait_for_workers(2)
        found = client.run(importable.threads_here)
    assert list(found.values()) == [(1, "1", True)] * 2
    assert "OMP_NUM_THREADS" not in os.environ  # a training after it is not bound to one thread


def pages_cleared() -> Made:
    """How many pages of memory the system clears for arrays that are dropped and made again."""
    import resource

    import numpy as np

    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(200):
        np.ones(125_000)  # of larger ones NumPy asks for large pages
    taken = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
    return Made(ArtifactRef("imagery", "tokyo", str(taken), "-", "-"), cached=False)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc can be set")
def test_what_a_part_drops_is_there_for_its_next_array(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))  # where workers find the function
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    import test_spread as importable

    with spread_module._processes(1, "tasks.priors.extraction") as client:
        faults = {
            how: int(client.submit(*given, pure=False).result().ref.key)
            for how, given in (
                ("bare", (importable.pages_cleared,)),
                ("ours", (spread_module.made_by_a_worker, importable.pages_cleared)),
            )
        }
    assert faults["bare"] > 10_000  # as dask starts its workers; the arrays have 49 000 pages
    assert faults["ours"] < faults["bare"] / 5


def end_the_process(*_: object) -> Made:
    os._exit(9)


def refuse(*_: object) -> Made:
    raise InputError("this is wrong: mend it")


def elsewhere(*_: object) -> Made:
    ref = ArtifactRef("imagery", "tokyo", "a" * 24, f"imagery/tokyo/{'a' * 24}", "b" * 64)
    return Made(ref, cached=False)


def made_there(plan: Plan) -> Made:
    facts = {"inputs": ["a" * 64], "parameters": {}, "version": "1"}
    key = artifact_key("imagery", **facts)
    with plan.open_store().draft("imagery", "tokyo", key, **facts) as draft:
        draft.file("a").write_bytes(b"a")
    return Made(draft.ref, cached=False)


@pytest.fixture
def plan_of_processes(write_catalog: Callable[..., Path], tmp_path: Path) -> Plan:
    computes = {"laptop": {"runner": "processes", "workers": 1}}
    return open_plan(write_catalog(tmp_path, computes=computes), city="tokyo")


@pytest.mark.parametrize(
    ("step", "error", "said"),
    [
        (refuse, InputError, "this is wrong: mend it"),
        (elsewhere, InputError, "a store that all workers see"),
        (end_the_process, PartKillsWorkersError, "ended 4 workers.*pairs_per_part"),
    ],
)
def test_what_fails_on_a_worker_is_reported(plan_of_processes, step, error, said, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))  # where workers find the step
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    import test_spread as importable

    with pytest.raises(error, match=said):
        spread(getattr(importable, step.__name__), [()], plan_of_processes, lambda *_: None)


@pytest.mark.parametrize(
    ("step", "outcome"),
    [
        (end_the_process, pytest.raises(PartKillsWorkersError, match="ended 4 workers")),
        (made_there, contextlib.nullcontext()),
    ],
)
def test_processes_that_do_not_end_in_order_hide_nothing(
    plan_of_processes, step, outcome, monkeypatch, logged_here
):
    from distributed.nanny import WorkerProcess

    kill = WorkerProcess.kill

    async def ended_amid_a_start(self: Any, *given: Any, **more: Any) -> None:
        await kill(self, *given, **more)
        raise AssertionError("can only join a started process")

    monkeypatch.setattr(WorkerProcess, "kill", ended_amid_a_start)
    monkeypatch.setattr(spread_module, "CLOSE_SECONDS", 5.0)  # of a dask that waits for ever
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))  # where workers find the step
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    import test_spread as importable

    with outcome:
        spread(getattr(importable, step.__name__), [()], plan_of_processes, lambda *_: None)
    assert [one for one in logged_here() if "did not end in order" in one.getMessage()]


def test_another_release_on_a_worker_is_refused():
    class Workers:
        def run(self, asked: Callable[[], str]) -> dict[str, str]:
            return {"tcp://a:1": asked(), "tcp://b:1": "0.0.9"}

    with pytest.raises(InputError, match=r"tcp://b:1 runs crosscity 0\.0\.9, and this is"):
        spread_module._check_releases(Workers())


def test_a_scheduler_that_is_away_is_reported(write_catalog, tmp_path, monkeypatch):
    monkeypatch.setattr(spread_module, "CONNECT_SECONDS", 1.0)
    computes = {"laptop": {"runner": "dask", "address": "tcp://127.0.0.1:1"}}
    plan = open_plan(write_catalog(tmp_path, computes=computes), city="tokyo")
    with pytest.raises(ClusterAwayError, match=r"127\.0\.0\.1:1 does not answer"):
        spread(make_prior_part, [()], plan, lambda *_: None)


@pytest.mark.parametrize(
    ("profile", "said"),
    [
        ({"runner": "dask"}, "needs the address of a scheduler"),
        ({"address": "tcp://there:8786"}, "nothing reads address with runner threads"),
        ({"runner": "kubernetes"}, "runner"),
    ],
)
def test_a_profile_that_cannot_be_meant_is_refused(write_catalog, tmp_path, profile, said):
    with pytest.raises(CatalogError, match=said):
        open_plan(write_catalog(tmp_path, computes={"laptop": profile}))


FORKED_BESIDE_A_SERVICE = """
import multiprocessing, sys, threading
from prefect.events import emit_event
from tasks.steps.spread import FORKED_FROM

def forked():
    names = [thread.name for thread in threading.enumerate()]
    sys.exit(0 if names == ["MainThread"] and sys.argv[1] in sys.modules else 3)

if __name__ == "__main__":
    emit_event("a.test", resource={"prefect.resource.id": "a-test"})
    assert threading.active_count() > 1
    multiprocessing.set_forkserver_preload(["distributed", sys.argv[1]])
    child = multiprocessing.get_context(FORKED_FROM).Process(target=forked)
    child.start()
    child.join()
    print(child.exitcode, flush=True)
    os._exit(0)  # the event's server is not there: do not wait for it
"""


def test_a_worker_is_forked_from_what_has_no_thread_though_its_parent_has_them(tmp_path: Path):
    """A fork of a process in which a service of Prefect's runs ends with code 1, without a word.

    `prefect._internal.concurrency.services`: the service registers its `drain` with
    `threading._register_atexit`; after a fork it is reset, and in the child its `drain` fails an
    assertion amid `threading._shutdown`, where `multiprocessing` shows no error any more.
    """
    script = tmp_path / "forked.py"
    script.write_text("import os\n" + FORKED_BESIDE_A_SERVICE)
    environment = {
        **os.environ,
        "PREFECT_API_URL": "http://127.0.0.1:9/api",
        "PYTHONPATH": str(Path(__file__).parents[2]),
        "PREFECT_HOME": str(tmp_path / "prefect"),
    }
    done = subprocess.run(
        [sys.executable, str(script), make_prior_part.__module__],
        check=False,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.stdout.split() == ["0"], done.stderr
