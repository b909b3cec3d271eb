"""Processes in folders of their own that share a store: work is done once, budgets are shared."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from adapters.store import Store

SCRIPT = [sys.executable, "-m", "tests.tasks.work_together"]
ROOT = Path(__file__).parents[2]
NEEDED = 23
"""Requests of one harvest that nobody disturbs."""


@pytest.fixture
def server(services: Any, street_world: Any) -> Iterator[Any]:
    with services.PanoramaxServer(street_world) as running:
        yield running


@pytest.fixture
def folder_of(write_catalog: Any, server: Any, tmp_path: Path) -> Callable[..., Path]:
    """Writes a catalog into a folder of its own; all of them name one store."""

    def write(name: str, provider: dict[str, Any] | None = None, **changes: Any) -> Path:
        settings = {"kind": "panoramax", "base_url": server.url, "tile_metres": 5000.0}
        city = {
            "provider": {**settings, "requests_per_second": 10.0, **(provider or {})},
            "area": {"bbox": [139.699, 35.6595, 139.701, 35.663]},
            "places": 10,
            "test_places": 1,
            "labels": None,
            "pairs_per_part": 4,
            **changes.pop("city", {}),
        }
        changes = {"stores": {"local": {"url": str(tmp_path / "store")}}, **changes}
        catalog: Path = write_catalog(tmp_path / name, city=city, **changes)
        return catalog

    return write


@pytest.fixture
def start(launcher: Any) -> Callable[..., subprocess.Popen[str]]:
    def started(*words: object) -> subprocess.Popen[str]:
        process: subprocess.Popen[str] = launcher.start(
            [*SCRIPT, *words], cwd=ROOT, stdout=subprocess.PIPE
        )
        assert process.stdout is not None
        assert json.loads(process.stdout.readline()) == {"began": True}
        return process

    return started


def ended(process: subprocess.Popen[str]) -> dict[str, Any]:
    out, _ = process.communicate()
    assert process.returncode == 0
    facts: dict[str, Any] = {}
    for line in out.splitlines():
        facts |= json.loads(line)
    return facts


def until(process: subprocess.Popen[str], fact: str) -> None:
    """Reads what a process says until it says this."""
    assert process.stdout is not None
    while fact not in json.loads(process.stdout.readline()):
        pass


def test_two_harvests_of_a_city_pay_once(folder_of, start, server, tmp_path):
    running = [start("harvest", folder_of(name)) for name in ("a", "b")]
    digests = [ended(process)["digest"] for process in running]
    assert digests[0] == digests[1]
    together = len(server.asked)
    stores = {"local": {"url": str(tmp_path / "another store")}}
    assert ended(start("harvest", folder_of("c", stores=stores)))["digest"]
    assert len(server.asked) - together == together == NEEDED


@pytest.mark.slow
def test_two_harvests_of_a_city_share_its_budget(folder_of, start, server):
    running = [start("harvest", folder_of(n, {"budget": {"requests": 14}})) for n in ("a", "b")]
    for process in running:
        assert "The budget of 14 requests" in ended(process)["spent"]
    assert len(server.asked) == 14


@pytest.mark.slow
def test_two_cities_share_the_budget_of_their_account(folder_of, start, server):
    accounts = {"ours": {"day": {"requests": 14}}}
    running = [
        start("harvest", folder_of(name, {"account": "ours"}, city={"seed": n}, accounts=accounts))
        for n, name in enumerate("ab")
    ]
    for process in running:
        said = ended(process)["spent"]
        assert "The budget of 14 requests a day for the account ours (Panoramax) is used up" in said
        assert "raise accounts.ours.day" in said
    assert len(server.asked) == 14


@pytest.mark.slow
def test_what_a_killed_harvest_had_begun_is_finished_by_the_one_that_waits(
    folder_of, start, server, waiting
):
    first = start("harvest", folder_of("a"))
    waiting(lambda: len(server.asked) >= 8, "the first has begun")
    second = start("harvest", folder_of("b"))
    first.send_signal(signal.SIGKILL)
    first.wait()
    assert "digest" in ended(second)
    pictures = server.paths("/api/pictures")
    assert len(set(pictures)) == 8
    assert len(pictures) <= 8 + 4  # what was under way when it died, once more
    assert len(server.asked) <= NEEDED + 8


def test_three_equal_trainings_train_once(folder_of, start, tmp_path):
    running = [start("pretrain", folder_of(name)) for name in "abc"]
    said = [ended(process) for process in running]
    assert sorted(facts.get("trains", False) for facts in said) == [False, False, True]
    assert len({facts["digest"] for facts in said}) == 1
    assert len(list(Store(tmp_path / "store").artifacts("segmenter"))) == 1


@pytest.mark.slow
def test_a_killed_training_is_taken_over(folder_of, start):
    first = start("pretrain", folder_of("a"), 0, "stop")
    until(first, "trains")
    second = start("pretrain", folder_of("b"))
    first.send_signal(signal.SIGKILL)
    first.wait()
    assert ended(second)["trains"]


@pytest.mark.slow
def test_trainings_take_turns_and_other_work_goes_on(folder_of, start, waiting, tmp_path):
    limited = {"computes": {"laptop": {"at_once": 1}}}
    first = start("pretrain", folder_of("a", **limited), 0, "stop")
    until(first, "trains")
    second = start("pretrain", folder_of("b", **limited), 1)
    until(second, "labelled")  # no training: it does not wait

    def members() -> list[dict[str, Any]]:
        (path,) = (tmp_path / "store" / ".shared" / "turns").glob("cpu-*.json")
        found = json.loads(path.read_text())["members"]
        return sorted(found.values(), key=lambda one: int(one["number"]))

    waiting(lambda: len(members()) == 2, "the second stands in line")
    assert [one["has"] for one in members()] == [True, False]
    first.send_signal(signal.SIGKILL)
    first.wait()
    assert ended(second)["trains"]
