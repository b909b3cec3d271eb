"""Processes are killed at several moments and started again: all but what was in flight is kept.

The undisturbed run is the session's finished demo, in another store.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from adapters.store import Store
from tasks.training.checkpoints import TAKEN

STOP_AT = Path(__file__).with_name("stop_at.py")


def manifests(store: Path) -> dict[str, dict[str, Any]]:
    """Every manifest of a store by its artifact's folder."""
    return {
        str(path.parent.relative_to(store)): json.loads(path.read_bytes())
        for path in store.glob("*/*/*/artifact.json")
    }


def assert_nothing_is_half_written(store: Path) -> None:
    """Under final names stands nothing but whole artifacts: their hashes, by hand and verified."""
    opened = Store(store)
    refs = list(opened.artifacts())
    folders = [
        path
        for path in store.glob("*/*/*")
        if path.is_dir() and not path.relative_to(store).parts[0].startswith(".")
    ]
    assert {str(p.relative_to(store)) for p in folders} == {
        f"{ref.kind}/{ref.city}/{ref.key}" for ref in refs
    }
    for ref in refs:
        opened.verify(ref)
    for folder, manifest in manifests(store).items():
        for name, entry in manifest["files"].items():
            data = (store / folder / name).read_bytes()
            assert hashlib.sha256(data).hexdigest() == entry["sha256"]


def contents(store: Path, kind: str) -> dict[str, str]:
    """Hash of every file of the artifacts of a kind, without their manifests."""
    return {
        str(path.relative_to(store)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(store.glob(f"{kind}/*/**/*"))
        if path.is_file() and path.name != "artifact.json"
    }


def repeatable_contents(store: Path, kind: str) -> dict[str, object]:
    """`contents`, of a history the rows that no clock and no machine decide."""
    found: dict[str, object] = dict(contents(store, kind))
    for name in found:
        if name.endswith("/history.parquet"):
            table = pq.read_table(store / name)
            kept = table.filter(pc.invert(pc.is_in(table["quantity"], pa.array(TAKEN))))
            assert kept.num_rows > 0
            found[name] = kept.to_pylist()
    return found


@dataclass(frozen=True)
class Kill:
    """What a killed process left."""

    moment: str
    before: dict[str, dict[str, Any]]
    after: dict[str, dict[str, Any]]
    checkpoints: list[str]


@dataclass(frozen=True)
class Survivor:
    """A store whose processes were killed again and again, and that came to its end."""

    store: Path
    kills: dict[str, Kill]
    finished: dict[str, dict[str, Any]]
    resumed_at: int


STEPS = (
    # moment, words before --catalog
    ("harvest", ["harvest", "tokyo"]),
    ("priors", ["priors", "tokyo"]),
    ("in a checkpoint", ["adapt", "tokyo"]),
    ("after a checkpoint", ["adapt", "tokyo"]),
)


@pytest.fixture(scope="module")
def survivor(
    finished_run, tmp_path_factory, write_catalog, crosscity, module_launcher, waiting
) -> Survivor:
    folder = tmp_path_factory.mktemp("killed")
    catalog = write_catalog(folder)
    assert catalog.read_text() == finished_run.catalog.read_text()
    store = folder / "store"
    server = finished_run.server

    def to_the_end(*words: str) -> str:
        # In a process of its own: what a killed one left is cleared away when a process begins.
        done = crosscity(*words, "--catalog", catalog, server=server, alone=True)
        assert done.returncode == 0, done.stderr
        return done.stderr

    def take_pretraining_over() -> None:
        # Not what is killed here: as found in the store of the undisturbed run.
        for kind in ("labelled", "segmenter"):
            shutil.copytree(finished_run.store / kind / "frankfurt", store / kind / "frankfurt")

    kills: dict[str, Kill] = {}
    for moment, words in STEPS:
        if moment == "priors":
            to_the_end("harvest", "tokyo")
        if moment == "in a checkpoint":
            to_the_end("priors", "tokyo")
            take_pretraining_over()
        before = manifests(store)
        marker = folder / f"{moment}.marker"
        with (folder / "killed.log").open("w") as log:
            process = module_launcher.start(
                [sys.executable, STOP_AT, moment, marker, *words, "--catalog", catalog],
                env=server.environment,
                stdout=log,
                stderr=log,
            )
            waiting(
                lambda marker=marker, process=process: (
                    marker.exists() or process.poll() is not None
                ),
                f"the moment {moment!r} comes",
                every=0.02,
            )
        assert marker.exists(), (folder / "killed.log").read_text()
        module_launcher.end(process, signal.SIGKILL)
        assert process.returncode == -signal.SIGKILL
        assert_nothing_is_half_written(store)
        saved = [
            str(path.relative_to(store))
            for path in store.glob(".progress/**/*-checkpoint.safetensors")
        ]
        kills[moment] = Kill(moment, before, manifests(store), saved)
    said = to_the_end("adapt", "tokyo")
    first = next(line for line in said.splitlines() if line.startswith("adapt tokyo full: "))
    resumed_at = int(first.removeprefix("adapt tokyo full: ").split("/")[0])
    assert_nothing_is_half_written(store)
    return Survivor(store, kills, manifests(store), resumed_at)


@pytest.mark.parametrize("moment", [moment for moment, _ in STEPS])
def test_what_was_finished_before_a_kill_is_not_made_again(survivor, moment):
    kill = survivor.kills[moment]
    assert set(kill.before) <= set(kill.after)
    for folder, manifest in kill.after.items():
        assert survivor.finished[folder] == manifest  # made_at and all


def test_a_kill_in_the_harvest_loses_the_part_in_flight_only(survivor, finished_run):
    kinds = [folder.split("/")[0] for folder in survivor.kills["harvest"].after]
    assert kinds.count("imagery_part") == 1
    assert "imagery" not in kinds
    assert "pairs" not in kinds
    whole = [f for f in manifests(finished_run.store) if f.startswith("imagery_part/")]
    assert len(whole) == 4


def test_a_kill_in_the_priors_loses_the_part_in_flight_only(survivor):
    kinds = [folder.split("/")[0] for folder in survivor.kills["priors"].after]
    assert kinds.count("static_prior_part") == 1
    assert "static_prior" not in kinds


def test_a_checkpoint_cut_short_by_a_kill_leaves_the_one_before_in_force(survivor):
    (saved,) = survivor.kills["in a checkpoint"].checkpoints
    assert "/adaptation/tokyo/" in saved
    assert not [f for f in survivor.kills["in a checkpoint"].after if f.startswith("adaptation/")]


def test_adaptation_goes_on_from_its_last_checkpoint(survivor):
    # Checkpoints every 2 of 6 steps: the first kill left step 2, the second came after step 4.
    assert survivor.resumed_at == 4


@pytest.mark.parametrize("kind", ["captures", "imagery_part", "imagery", "pairs"])
def test_the_harvest_is_that_of_an_undisturbed_run_to_the_byte(survivor, finished_run, kind):
    assert contents(survivor.store, kind) == contents(finished_run.store, kind) != {}


@pytest.mark.parametrize("kind", ["static_prior_part", "static_prior"])
def test_priors_are_those_of_an_undisturbed_run_to_the_byte(survivor, finished_run, kind):
    assert contents(survivor.store, kind) == contents(finished_run.store, kind) != {}


def test_weights_and_history_are_those_of_an_undisturbed_run_to_the_byte(survivor, finished_run):
    mine = repeatable_contents(survivor.store, "adaptation")
    undisturbed = repeatable_contents(finished_run.store, "adaptation")
    assert {name.rpartition("/")[2] for name in mine} >= {"weights.safetensors", "history.parquet"}
    assert {name: undisturbed[name] for name in mine} == mine


def test_speed_and_memory_are_there_of_every_step_before_and_after_a_kill(survivor):
    (history,) = survivor.store.glob("adaptation/*/*/history.parquet")
    rows = pq.read_table(history).to_pylist()
    for name in TAKEN:
        values = {row["step"]: row["value"] for row in rows if row["quantity"] == name}
        assert sorted(values) == list(range(6))
        assert all(value > 0 for value in values.values())


def test_what_is_made_from_the_weights_is_found_again_after_a_kill(survivor, finished_run):
    undisturbed = manifests(finished_run.store)
    for folder, manifest in survivor.finished.items():
        assert manifest["digest"] == undisturbed[folder]["digest"]


def test_no_progress_and_no_draft_is_left_at_the_end(survivor):
    assert not [p for p in survivor.store.glob(".progress/**/*") if p.is_file()]
    assert not list(survivor.store.glob(".drafts/*"))


def test_a_killed_command_takes_its_server_along(
    write_catalog, crosscity, prefect_server, launcher, tmp_path, waiting
):
    """And what was harvested before the kill is found again."""
    catalog = write_catalog(tmp_path)
    home, marker = tmp_path / "prefect", tmp_path / "marker"
    words = ["harvest", marker, "harvest", "tokyo", "--catalog", catalog]
    environment = {**os.environ, "PREFECT_HOME": str(home)}
    with (tmp_path / "log").open("w") as log:
        process = launcher.start(
            [sys.executable, STOP_AT, *words], env=environment, stdout=log, stderr=log
        )
    waiting(lambda: process.poll() is not None or marker.exists(), "it is in its second part")
    assert any(tmp_path.glob("store/imagery_part/tokyo/*/artifact.json"))
    servers = _processes_of(home) - {process.pid}
    process.kill()  # the command alone: its server is in a group of its own
    process.wait()
    assert process.returncode == -signal.SIGKILL, (tmp_path / "log").read_text()
    assert servers
    waiting(lambda: not (_processes_of(home) & servers), "the server ends by itself")
    store = tmp_path / "store"
    assert_nothing_is_half_written(store)
    before = manifests(store)
    assert "pairs" not in {folder.split("/")[0] for folder in before}
    again = crosscity("harvest", "tokyo", "--catalog", catalog, server=prefect_server)
    assert again.returncode == 0, again.stderr
    after = manifests(store)
    assert "pairs" in {folder.split("/")[0] for folder in after}
    assert {folder: after[folder] for folder in before} == before


def _processes_of(home: Path) -> set[int]:
    """Ids of the processes whose environment names this PREFECT_HOME (Linux)."""
    wanted = f"PREFECT_HOME={home}".encode()
    found = set()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if wanted in (folder / "environ").read_bytes().split(b"\0"):
                found.add(int(folder.name))
        except OSError:
            continue
    return found


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [6.0, 9.0, 12.0, 15.0, 20.0])
def test_a_demo_killed_at_any_time_ends_as_if_undisturbed(
    finished_run: Any,
    write_catalog: Callable[..., Path],
    crosscity: Any,
    launcher: Any,
    tmp_path: Path,
    seconds: float,
) -> None:
    catalog = write_catalog(tmp_path)
    server = finished_run.server
    command = [sys.executable, "-m", "flows.cli.main", "demo", "tokyo", "--catalog", catalog]
    process = launcher.start(command, env=server.environment)
    try:
        process.wait(timeout=seconds)
    except Exception:
        launcher.end(process, signal.SIGKILL)
    assert_nothing_is_half_written(tmp_path / "store")
    done = crosscity("demo", "tokyo", "--catalog", catalog, server=server)
    assert done.returncode == 0, done.stderr
    for kind in ("static_prior", "adaptation", "segmenter", "evaluation"):
        mine = repeatable_contents(tmp_path / "store", kind)
        assert mine == repeatable_contents(finished_run.store, kind) != {}
