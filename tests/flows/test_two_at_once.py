"""Two of one kind on one server: deployings at one instant, workers of folders of one name."""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier, BrokenBarrierError
from typing import Any

import psutil
import pytest

from flows.background import Background
from flows.cli.deploy import client_of
from flows.cli.server import services_folder
from flows.cli.services import _worker_name, _worker_up
from flows.deployments import WORK_POOL, deployment_entries, pages
from flows.reconciliation import Reconciler, Reconciliation
from tasks.steps.settings import open_catalog


class _Together(Reconciler):
    """Waits, before it changes anything, until all others have seen that nothing is there."""

    barrier: Barrier
    waited = False

    def _owned_automations(self) -> Any:
        found = super()._owned_automations()
        if not self.waited:  # one that met another begins anew, alone
            self.waited = True
            self.barrier.wait(timeout=900)
        return found


def _deploy(kind: type[Reconciler], api: str, catalog: Path) -> Reconciliation:
    with client_of(api) as client:
        entries = deployment_entries(open_catalog(catalog), catalog.name)
        try:
            return kind(client, catalog.parent, catalog.name).run(entries)
        except Exception:
            if issubclass(kind, _Together):
                kind.barrier.abort()  # nobody need wait for this one
            raise


def test_first_deployings_at_one_instant_leave_everything_once(
    each_server: Any, write_catalog: Callable[..., Path], tmp_path: Path
) -> None:
    catalog = write_catalog(tmp_path / "same")
    others = write_catalog(tmp_path / "other", name="other")
    others.write_text(
        others.read_text(encoding="utf-8").replace("tokyo:", "rome:"), encoding="utf-8"
    )
    api = f"{each_server.address}/api"
    three = [catalog, catalog, others]
    together = type("Together", (_Together,), {"barrier": Barrier(len(three))})
    with ThreadPoolExecutor(len(three)) as pool:
        deploying = [pool.submit(_deploy, together, api, one) for one in three]
        failed = [error for one in deploying if (error := one.exception()) is not None]
    assert not failed, sorted(failed, key=lambda error: isinstance(error, BrokenBarrierError))
    assert all(one.result().changes for one in deploying)

    with client_of(api) as client:
        names = Counter(one["name"] for one in pages(client, "/automations/filter"))
        assert set(names.values()) == {1}, names
        assert {"readapt tokyo when imagery has landed", "readapt rome when imagery has landed"} < (
            set(names)
        )
        deployed = Counter(
            (one["flow_id"], one["name"]) for one in pages(client, "/deployments/filter")
        )
        assert set(deployed.values()) == {1}
    for one in (catalog, others):
        after = _deploy(Reconciler, api, one)
        assert after.changes == [], [str(change) for change in after.changes]


@pytest.fixture
def namesakes(
    tmp_path: Path, write_catalog: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> Iterator[list[Path]]:
    """Catalogs in two folders of one name; workers that were started there are ended."""
    # Each folder has its own, and still has when its worker is looked for to be ended.
    monkeypatch.delenv("PREFECT_HOME", raising=False)
    catalogs = [write_catalog(tmp_path / place / "lisbon") for place in ("a", "b")]
    yield catalogs
    for catalog in catalogs:
        running = Background(services_folder(catalog.parent), "worker").running()
        if running is not None:
            for process in (psutil.Process(running.pid), *psutil.Process(running.pid).children()):
                process.send_signal(signal.SIGKILL)


def test_workers_of_folders_of_one_name_have_names_of_their_own(
    own_server: Any, namesakes: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PREFECT_API_URL", f"{own_server.address}/api")
    if not own_server.post("/work_pools/filter", {"work_pools": {"name": {"any_": [WORK_POOL]}}}):
        own_server.post("/work_pools/", {"name": WORK_POOL, "type": "process"})

    def online() -> list[str]:
        found = own_server.post(f"/work_pools/{WORK_POOL}/workers/filter", {"limit": 200})
        return sorted(one["name"] for one in found if one["status"] == "ONLINE")

    expected = sorted(_worker_name(catalog) for catalog in namesakes)
    for catalog in namesakes:
        _worker_up(catalog.parent, catalog, own_server.address, WORK_POOL)
    assert online() == expected
    assert len(set(expected)) == len(namesakes)
    monkeypatch.chdir(namesakes[0].parent)
    assert _worker_name(Path("data_catalog.yaml")) == _worker_name(namesakes[0].resolve())
    link = namesakes[0].parents[1] / "link"
    link.symlink_to("lisbon")
    assert _worker_name(link / ".." / "lisbon" / "data_catalog.yaml") in expected
