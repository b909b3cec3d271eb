"""Script: one of several processes that do the same work; each line that it prints is a fact.

Usage: work_together.py harvest|pretrain CATALOG [SEED [stop]]; `stop` waits in the middle for ever.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

from adapters.street_view.web.errors import BudgetSpent
from tasks.steps.plan import open_plan


def say(**facts: object) -> None:
    print(json.dumps(facts), flush=True)


def harvest(catalog: str) -> Any:
    from tasks.harvesting.harvest import join_imagery, list_captures
    from tests.harvested import fetched, ref_of

    plan = open_plan(catalog, city="tokyo")
    captures = ref_of(list_captures.fn("tokyo", plan))
    return ref_of(join_imagery.fn(fetched(captures, plan), "tokyo", plan))


def pretrain(catalog: str, seed: int, *, stop: bool) -> Any:
    from tasks.training import trainings
    from tasks.training.labelled import labelled_part, labelled_parts
    from tests.harvested import ref_of

    plan = open_plan(catalog, city="tokyo")
    carry_out = trainings.carry_out

    def counted(job: Any) -> Any:
        say(trains=True)
        if stop:
            time.sleep(1000)
        return carry_out(job)

    trainings.carry_out = counted
    shards = [
        ref_of(labelled_part.fn("frankfurt", "train", None, part, plan))
        for part in labelled_parts("frankfurt", "train", None, plan)
    ]
    say(labelled=True)
    return ref_of(trainings.pretrain.fn(shards, shards, "compact", seed, plan))


def main() -> None:
    what, catalog, *more = sys.argv[1:]
    say(began=True)
    try:
        if what == "harvest":
            made = harvest(catalog)
        else:
            seed = int(more[0]) if more else 0
            made = pretrain(catalog, seed, stop="stop" in more)
    except BudgetSpent as error:
        say(spent=str(error))
    else:
        say(digest=made.digest)


main()
