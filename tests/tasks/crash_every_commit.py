"""Script: run a step of a city's way once for each of its commits, killed by SIGKILL after it.

Usage: crash_every_commit.py OPERATION FOLDER CATALOG [EVERY]. A death falls after every write that
the store makes visible (an artifact, a pointer, a checkpoint, a removal) and every event that is
sent, or after each EVERY-th of these. That such a write is itself one step is shown by
tests/adapters/store/crash_every_step.py. After each death the operation is run again. It must end
where an undisturbed one does, and every event must have been sent, rather twice than never.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image

from adapters.store import Store
from adapters.store.local import LocalPlace
from tasks.harvesting import current
from tasks.harvesting.current import (
    HARVEST,
    announce_landed,
    current_harvest,
    grow_harvest,
    settle_harvest,
)
from tasks.harvesting.watch import add_imagery, add_pairs, find_new_captures, landed_event
from tasks.judging.promotion import LOG, PROMOTED, promote
from tasks.judging.safeguard import keep_earlier
from tasks.steps import announcing
from tasks.steps.plan import Plan, open_plan
from tests.harvested import fetched, harvested, ref_of

with suppress(ImportError):  # PyArrow loads it where it is installed: each child would do so anew
    import pandas  # noqa: F401

CITY = "tokyo"


def put(folder: Path, place: int, time: int) -> None:
    """A picture of a place at a time, in the layout of the folder provider."""
    train = folder / "streets" / "Tokyo" / "Images" / "Train"
    train.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng([place, time]).integers(0, 256, (40, 80, 3))
    Image.fromarray(pixels.astype(np.uint8)).save(train / f"pano_{place:05d}_{time}_90.png")


def refuse(*_: object) -> Any:
    raise AssertionError("nothing was added to an earlier harvest")


class Harvest:
    """The steps of harvest-city."""

    def before(self, _plan: Plan, folder: Path) -> None:
        for place in (1, 2, 3):
            put(folder, place, 0)
            put(folder, place, 1)

    def run(self, plan: Plan) -> None:
        settle_harvest(current.Harvest(*harvested(plan, CITY)), CITY, plan, add=refuse)
        announce_landed(CITY, plan)


class Watch(Harvest):
    """The steps of watch-city, where two new pairs are there."""

    def before(self, plan: Plan, folder: Path) -> None:
        super().before(plan, folder)
        Harvest().run(plan)
        for place in (4, 5):
            put(folder, place, 0)
            put(folder, place, 1)

    def run(self, plan: Plan) -> None:
        announce_landed(CITY, plan)
        before = current_harvest(CITY, plan)
        captures = find_new_captures.fn(before, CITY, plan)
        if captures is None:
            return
        imagery = ref_of(add_imagery.fn(before, fetched(captures, plan, CITY), CITY, plan))
        pairs = ref_of(add_pairs.fn(before, imagery, CITY, plan))
        landed = landed_event(CITY, imagery, pairs, plan)
        grown = current.Harvest(imagery, pairs)
        assert grow_harvest(before, grown, CITY, plan, events=[landed])
        announce_landed(CITY, plan)


class KeepFirst:
    """A judgement keeps the pre-trained segmenter, where none was promoted yet."""

    def before(self, plan: Plan, _folder: Path) -> None:
        store = plan.open_store()
        for kind, key in (("segmenter", "a"), ("adaptation", "b"), ("safeguard", "j")):
            made(store, kind, key)

    def run(self, plan: Plan) -> None:
        first, second, judged = (found(plan, key) for key in "abj")
        assert keep_earlier.fn(first, second, judged, CITY, plan) == first


class KeepEarlier(KeepFirst):
    """A judgement keeps the segmenter that is in use."""

    def before(self, plan: Plan, folder: Path) -> None:
        super().before(plan, folder)
        promote.fn(found(plan, "a"), CITY, plan)


class Promote(KeepEarlier):
    """A second segmenter takes the place of the first."""

    def run(self, plan: Plan) -> None:
        promote.fn(found(plan, "b"), CITY, plan)


def found(plan: Plan, key: str) -> Any:
    (ref,) = (ref for ref in plan.open_store().artifacts() if ref.key == f"k{key}")
    return ref


def made(store: Store, kind: str, key: str) -> None:
    with store.draft(kind, CITY, f"k{key}", inputs={}, parameters={}, version="1") as draft:
        draft.file("weights.safetensors").write_bytes(key.encode())
        draft.summary = {"sentence": "It looks harmful.", "reasons": ["It does."]}


OPERATIONS: dict[str, Callable[[], Any]] = {
    "harvest": Harvest,
    "watch": Watch,
    "promote": Promote,
    "keep": KeepEarlier,
    "keep-first": KeepFirst,
}
EVENTS = {"harvest": 0, "watch": 1, "promote": 0, "keep": 1, "keep-first": 1}


def plan_in(folder: Path, miniature: Path) -> Plan:
    folder.mkdir()
    content = yaml.safe_load(miniature.read_text())
    content["cities"][CITY] |= {
        "provider": {"kind": "folder", "root": "streets", "licence": "CC0", "attribution": "x"},
        "pairs_per_part": 2,
    }
    for name in ("area", "labels", "places", "test_places", "seed", "image_size"):
        del content["cities"][CITY][name]
    (folder / "data_catalog.yaml").write_text(yaml.safe_dump(content))
    return open_plan(folder / "data_catalog.yaml", city=CITY)


def state(folder: Path) -> dict[str, Any]:
    """What a run leaves: artifacts, pointers, checkpoints; drafts are swept by the next writer."""
    store = Store(folder / "store")
    pointers = {name: store.selected(name, CITY) for name in (HARVEST, PROMOTED)}
    leftovers = [
        str(path.relative_to(folder))
        for path in (folder / "store" / ".progress").rglob("*")
        if path.is_file()
    ]
    return {
        "artifacts": [ref.to_dict() for ref in store.artifacts()],
        "pointers": {
            name: state and {"refs": dict(state.refs), "notes": timeless(state.notes)}
            for name, state in pointers.items()
        },
        "leftovers": leftovers,
    }


def events(folder: Path) -> list[str]:
    log = folder / "events"
    return log.read_text().splitlines() if log.exists() else []


def watched(folder: Path, die_at: int | None) -> list[int]:
    """Counts every visible write and event from now on; dies when as many as asked for are over."""
    seen = [0]

    def moment() -> None:
        seen[0] += 1
        if seen[0] == die_at:
            os.kill(os.getpid(), signal.SIGKILL)

    def around(call: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*arguments: Any, **named: Any) -> Any:
            given = call(*arguments, **named)
            moment()  # which is also the last moment before the next
            return given

        return counted

    for name in ("publish", "replace", "replace_from", "remove", "move"):
        setattr(LocalPlace, name, around(getattr(LocalPlace, name)))

    def send(event: dict[str, Any]) -> None:
        with (folder / "events").open("a") as log:
            log.write(json.dumps(event, sort_keys=True) + "\n")

    announcing.send = around(send)
    return seen


def in_a_child(work: Callable[[], None]) -> bool:
    """Whether a forked child was killed at it; an error of it is ours."""
    child = os.fork()
    if child == 0:
        try:
            work()
        except BaseException:
            import traceback

            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return True
    assert os.waitstatus_to_exitcode(status) == 0
    return False


def timeless(notes):
    """Notes without when the log's entries were made."""
    log = [{key: one[key] for key in one if key != "at"} for one in notes.get(LOG, [])]
    return {**notes, LOG: log} if LOG in notes else dict(notes)


def main() -> None:
    name, parent, miniature = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    every = int(sys.argv[4]) if len(sys.argv) > 4 else 1
    os.fsync = lambda _descriptor: (
        None
    )  # a killed process loses no write; a loss of power is not tried

    def attempt(folder: Path, die_at: int | None) -> bool:
        plan = open_plan(folder / "data_catalog.yaml", city=CITY)

        def work() -> None:
            watched(folder, die_at)
            OPERATIONS[name]().run(plan)

        return in_a_child(work)

    start, whole = parent / "start", parent / "whole"
    plan = plan_in(start, miniature)
    assert in_a_child(lambda: OPERATIONS[name]().before(plan, start)) is False
    shutil.copytree(start, whole)
    assert attempt(whole, None) is False
    wanted, reported = state(whole), events(whole)
    assert len(reported) == EVENTS[name], reported
    assert wanted["leftovers"] == []
    assert any(wanted["pointers"].values())
    step, deaths, dead = 1 - every, 0, True
    while dead:
        step += every
        folder = parent / str(step)
        shutil.copytree(start, folder)
        dead = attempt(folder, step)
        deaths += dead
        assert attempt(folder, None) is False
        assert state(folder) == wanted, f"after a death at {step}: {state(folder)} != {wanted}"
        heard = events(folder)
        assert set(heard) == set(reported), f"after a death at {step}: {heard}"
        assert len(heard) <= len(reported) + 1
        shutil.rmtree(folder)
    print(deaths)


main()
