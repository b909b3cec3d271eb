"""Script: one of several processes that share a store; each line that it prints is a fact.

Usage: take_turns.py JSON, which says the store, what to do and how.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from adapters.store import Store, living
from adapters.store.turns import Timing


def say(**facts: object) -> None:
    print(json.dumps(facts), flush=True)


def main() -> None:
    told = json.loads(sys.argv[1])
    if told.get("host"):  # what a process on another machine would find here
        import adapters.store.living as module

        module.host_token = lambda: told["host"]
    store = Store(
        told["url"],
        options=told.get("options"),
        cache_dir=Path(told["cache"]) if "cache" in told else None,
    )
    timing = Timing(**told["timing"]) if "timing" in told else None
    say(ready=True)
    if told["do"] == "count":
        record = store.shared("tests", "counter")
        for _ in range(told["times"]):
            record.change(lambda state: {"count": state.get("count", 0) + 1})
    elif told["do"] == "make":
        with store.lease("numbers", "rome", told["key"], timing) as there:
            if there is None:
                say(makes=True)
                with store.draft(
                    "numbers", "rome", told["key"], inputs=[], parameters={}, version="1"
                ) as draft:
                    time.sleep(told["seconds"])
                    (draft.path / "x").write_text(told.get("content", "x"))
            made = there or draft.ref
            say(digest=made.digest)
    elif told["do"] == "turn":
        turns = store.turns("gpu", "the GPU", told["limit"], timing)
        with turns.turn(priority=told.get("priority", 0)):
            say(has=True)
            sys.stdin.readline()
        say(gave_back=True)
    assert living.HEART is not None


main()
