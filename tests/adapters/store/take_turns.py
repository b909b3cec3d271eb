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
                    time.sleep(reported["seconds"])
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
