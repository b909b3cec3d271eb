"""Leases and turns: real processes that share a store, killed in the middle."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from adapters.store import Store, StoreError
from adapters.store.living import Watch
from adapters.store.turns import Timing

HERE = Path(__file__).parent
SHORT = {"beat": 0.2, "expiry": 2.0, "look": 0.05}


@dataclass
class Member:
    """A process that takes part."""

    process: subprocess.Popen[str]
    facts: dict[str, Any] = field(default_factory=dict)

    def until(self, name: str) -> Any:
        """Reads what it says until it says this."""
        assert self.process.stdout is not None
        while name not in self.facts:
            line = self.process.stdout.readline()
            assert line, f"it ended without saying {name!r}"
            self.facts |= json.loads(line)
        return self.facts[name]

    def end(self) -> dict[str, Any]:
        """What it said in all."""
        out, _ = self.process.communicate("\n")
        for line in out.splitlines():
            self.facts |= json.loads(line)
        assert self.process.returncode == 0
        return self.facts


Start = Callable[..., Member]


def opened(place: dict[str, Any]) -> Store:
    cache = Path(place["cache"]) if "cache" in place else None
    return Store(place["url"], options=place.get("options"), cache_dir=cache)


@pytest.fixture
def start(launcher: Any) -> Start:
    def started(place: dict[str, Any], **reported: Any) -> Member:
        words = [sys.executable, HERE / "take_turns.py", json.dumps({**place, **reported})]
        return Member(launcher.start(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE))

    return started


def test_of_changes_by_several_processes_none_is_lost(place, start):
    members = [start(place, do="count", times=10) for _ in range(3)]
    for member in members:
        member.end()
    record = opened(place).shared("tests", "counter")
    assert record.read() == {"count": 30}
    assert record.change(lambda _: {}) == {}
    assert record.read() == {}


def test_what_three_processes_want_is_made_once(place, start):
    first = start(place, do="make", key="k", seconds=1.0)
    first.until("makes")
    others = [start(place, do="make", key="k", seconds=1.0, content=str(n)) for n in range(2)]
    said = [member.end() for member in [first, *others]]
    assert [facts.get("makes", False) for facts in said] == [True, False, False]
    assert len({facts["digest"] for facts in said}) == 1


def test_another_key_does_not_wait(place, start):
    first = start(place, do="make", key="k", seconds=100.0)
    first.until("makes")
    assert start(place, do="make", key="other", seconds=0.0).end()["makes"]


def test_a_killed_holder_of_this_machine_is_followed_at_once(place, start):
    first = start(place, do="make", key="k", seconds=100.0)  # expires in 90 s, far too late
    first.until("makes")
    second = start(place, do="make", key="k", seconds=0.0, timing={"look": 0.05})
    second.until("ready")
    first.process.send_signal(signal.SIGKILL)
    first.process.wait()
    assert second.end()["makes"]


def test_nobody_waits_for_who_was_dead_before(place, start, caplog):
    first = start(place, do="make", key="k", seconds=100.0)
    first.until("makes")
    first.process.send_signal(signal.SIGKILL)
    first.process.wait()
    with opened(place).lease("numbers", "rome", "k") as there:
        assert there is None
    assert "is at it" not in caplog.text
    assert "waiting" not in caplog.text


def test_a_killed_holder_of_another_machine_is_followed_when_its_mark_stands_still(place, start):
    there = {"do": "make", "key": "k", "timing": SHORT}
    first = start(place, **there, seconds=100.0, host="0123456789ab")
    first.until("makes")
    first.process.send_signal(signal.SIGKILL)
    first.process.wait()
    assert start(place, **there, seconds=0.0).end()["makes"]


def test_a_holder_that_lives_is_not_followed_however_long_it_takes(place, start, tmp_path):
    """Of which the heart is the clock of both: one that has no turn to beat is no dead one."""
    timing = {"beat": 0.1, "expiry": 0.75, "look": 0.05}
    there = {"do": "make", "key": "k", "timing": timing, "beats": str(tmp_path / "beats")}
    first = start(place, **there, held=30, host="0123456789ab")
    first.until("makes")
    second = start(place, **there, held=0, content="other")
    assert "makes" not in second.end()
    assert first.end()["digest"] == second.facts["digest"]


def test_only_so_many_have_a_turn_and_the_next_is_by_priority_and_then_by_coming(place, start):
    asked = {"do": "turn", "limit": 2, "timing": {"look": 0.05}}
    holders = [start(place, **asked) for _ in range(2)]
    for holder in holders:
        holder.until("has")
    store = opened(place)
    record = store.shared("turns", "gpu")

    def waiting(count: int) -> None:
        while len(record.read()["members"]) < 2 + count:
            pass

    low = start(place, **asked)
    waiting(1)
    later = start(place, **asked)
    waiting(2)
    high = start(place, **asked, priority=5)
    waiting(3)
    holders[0].end()
    high.until("has")
    assert sum(one["has"] for one in record.read()["members"].values()) == 2
    high.end()
    low.until("has")
    holders[1].process.send_signal(signal.SIGKILL)  # its turn is free as well
    holders[1].process.wait()
    later.until("has")
    low.end()
    later.end()
    assert record.read() == {}


def test_a_failure_gives_the_lease_back(tmp_path):
    store = Store(tmp_path)

    def fail() -> None:
        with store.lease("a", "rome", "k"):
            raise ValueError("in the middle")

    with pytest.raises(ValueError, match="in the middle"):
        fail()
    with store.lease("a", "rome", "k") as there:
        assert there is None
    assert not [path for path in (tmp_path / ".leases").rglob("*") if path.is_file()]


def test_a_damaged_shared_file_is_reported_with_its_place(tmp_path):
    store = Store(tmp_path)
    path = tmp_path / ".shared" / "tests" / "counter.json"
    path.parent.mkdir(parents=True)
    path.write_text("[1, 2")
    with pytest.raises(StoreError, match=r"counter\.json is damaged: .*store repair`"):
        store.shared("tests", "counter").read()


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_mark_counts_as_still_only_while_it_was_looked_at():
    clock = Clock()
    watch = Watch(expiry=10.0, longest_gap=3.0, clock=clock)
    for _ in range(5):
        assert watch.unchanged({"a": 1, "b": 1}) == set()
        clock.now += 2.0
    assert watch.unchanged({"a": 1, "b": 2}) == {"a"}
    clock.now += 60.0  # whoever looks was away itself, as when the store was
    assert watch.unchanged({"a": 1, "b": 2}) == set()
    for _ in range(4):
        clock.now += 2.0
        assert watch.unchanged({"a": 1, "b": 2}) == set()
    clock.now += 2.0
    assert watch.unchanged({"a": 1, "b": 2}) == {"a", "b"}


def test_times_are_those_of_the_documentation():
    timing = Timing()
    assert timing.beat * 6 <= timing.expiry <= 90
