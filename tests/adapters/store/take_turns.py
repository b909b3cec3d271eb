"""Script: one of several processes that share a store; each line that it prints is a fact.

Usage: take_turns.py JSON, which says the store, what to do and how.
"""

from __future__ import annotations

import functools
import json
import sys
import time
from pathlib import Path
from types import SimpleNamespace

from adapters.store import Store, living, turns
from adapters.store.turns import Timing


def say(**facts: object) -> None:
    print(json.dumps(facts), flush=True)


class HeartsClock:
    """Counts the beats of the process that holds something in a file, which is all processes' time.

    On a full machine a process may have no turn for seconds, and its heart none.
    """

    def __init__(self, beats: Path, timing: Timing) -> None:
        self._beats, self._timing = beats, timing
        beats.touch()
        living.time = SimpleNamespace(sleep=self._beat)
        turns.Watch = functools.partial(
            living.Watch, clock=lambda: timing.beat * beats.stat().st_size
        )

    def _beat(self, seconds: float) -> None:
        time.sleep(seconds)
        with self._beats.open("ab") as file:
            file.write(b".")

    def wait(self, beats: int) -> None:
        """Until there were so many."""
        while self._beats.stat().st_size < beats:
            time.sleep(self._timing.look)


def main() -> None:
    reported = json.loads(sys.argv[1])
    if reported.get("host"):  # what a process on another machine would find here
        import adapters.store.living as module

        module.host_token = lambda: reported["host"]
    store = Store(
        reported["url"],
        options=reported.get("options"),
        cache_dir=Path(reported["cache"]) if "cache" in reported else None,
    )
    timing = Timing(**reported["timing"]) if "timing" in reported else None
    clock = HeartsClock(Path(reported["beats"]), timing) if "beats" in reported else None
    say(ready=True)
    if reported["do"] == "count":
        record = store.shared("tests", "counter")
        for _ in range(reported["times"]):
            record.change(lambda state: {"count": state.get("count", 0) + 1})
    elif reported["do"] == "make":
        with store.lease("numbers", "rome", reported["key"], timing) as there:
            if there is None:
                say(makes=True)
                with store.draft(
                    "numbers", "rome", reported["key"], inputs=[], parameters={}, version="1"
                ) as draft:
                    if clock is None:
                        time.sleep(reported["seconds"])
                    else:
                        clock.wait(reported["held"])
                    (draft.path / "x").write_text(reported.get("content", "x"))
            made = there or draft.ref
            say(digest=made.digest)
    elif reported["do"] == "turn":
        turns = store.turns("gpu", "the GPU", reported["limit"], timing)
        with turns.turn(priority=reported.get("priority", 0)):
            say(has=True)
            sys.stdin.readline()
        say(gave_back=True)
    assert living.HEART is not None


main()
