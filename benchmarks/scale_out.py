"""One worker process against two, on the priors of some pairs of a simulated city.

`python benchmarks/scale_out.py [PAIRS]` (default 128) makes the pairs once and extracts their
priors by one and by two worker processes (`runner: processes`), each into a store of its own.
Prints wall time, and the processor time of all processes together: on a machine that others use
too, only the second says what the work cost, and the ratio of both says what spreading it adds.
The bytes are compared. Two free cores are needed for a meaningful wall time.
"""

from __future__ import annotations

import resource
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, cast

import yaml

from adapters.store import ArtifactRef
from tasks.harvesting.harvest import (
    choose_pairs,
    harvest_part,
    harvest_parts,
    join_imagery,
    list_captures,
)
from tasks.priors.extraction import make_prior_part, prior_parts
from tasks.steps.plan import Plan, open_plan
from tasks.steps.spread import spread

CITY = "tokyo"


def main() -> None:
    """Runs the comparison."""
    pairs = int(sys.argv[1]) if len(sys.argv) > 1 else 128
    with tempfile.TemporaryDirectory(prefix="crosscity-scale-") as folder:
        root = Path(folder)
        plan = _plan(root / "harvest", pairs, workers=1)
        imagery, chosen = _harvest(plan)
        made: dict[int, list[ArtifactRef]] = {}
        took: dict[int, tuple[float, float]] = {}
        for workers in (1, 2):
            place = root / f"workers-{workers}"
            shutil.copytree(root / "harvest", place)
            plan = _plan(place, pairs, workers=workers)
            shards = [
                (imagery, chosen, part, CITY) for part in prior_parts(imagery, chosen, CITY, plan)
            ]
            before, started = _processor_seconds(), time.monotonic()
            made[workers] = spread(make_prior_part, shards, plan, lambda *_: None)
            took[workers] = (time.monotonic() - started, _processor_seconds() - before)
            wall, cpu = took[workers]
            print(
                f"| {workers} | {len(shards)} shards | wall {wall:.1f} s | processor {cpu:.1f} s |"
            )
        if made[1] != made[2]:
            sys.exit("the bytes differ")
        quicker = took[1][0] / took[2][0]
        print(f"wall time: {quicker:.2f} times quicker by two, start of the workers included")
        print(f"processor time: {took[2][1] / took[1][1]:.2f} times that of one; the same bytes")


def _plan(folder: Path, pairs: int, *, workers: int) -> Plan:
    folder.mkdir(parents=True, exist_ok=True)
    catalog: dict[str, Any] = {
        "version": 1,
        "store": "local",
        "stores": {"local": {"url": "store"}},
        "computes": {"laptop": {"runner": "processes", "workers": workers}},
        "datasets": {
            "frankfurt": {
                "kind": "simulated",
                "style": "frankfurt",
                "image_size": [64, 128],
                "train": 1,
                "val": 1,
                "test": 1,
            }
        },
        "segmenters": {"compact": {"architecture": "compact", "source": "frankfurt"}},
        "trainings": {"demo": {"preset": "demo"}},
        "cities": {
            CITY: {
                "provider": {"kind": "simulated", "style": "tokyo"},
                "area": {"bbox": [139.73, 35.65, 139.79, 35.70]},
                "places": pairs + 1,
                "test_places": 1,
                "image_size": [256, 512],
                "pairs_per_part": 8,
            }
        },
    }
    path = folder / "data_catalog.yaml"
    path.write_text(yaml.safe_dump(catalog, sort_keys=False), encoding="utf-8")
    return open_plan(path, city=CITY)


def _harvest(plan: Plan) -> tuple[ArtifactRef, ArtifactRef]:
    captures = _ref(list_captures.fn(CITY, plan))
    parts = [
        _ref(harvest_part.fn(captures, part, CITY, plan))
        for part in harvest_parts(captures, CITY, plan)
    ]
    imagery = _ref(join_imagery.fn(parts, CITY, plan))
    return imagery, _ref(choose_pairs.fn(imagery, CITY, plan))


def _ref(made: object) -> ArtifactRef:
    """What a step gives outside of a flow: the reference, or a state that holds it."""
    ref: ArtifactRef = made if isinstance(made, ArtifactRef) else cast("Any", made).result()
    return ref


def _processor_seconds() -> float:
    """Of this process and of all its children that have ended."""
    uses = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(use.ru_utime + use.ru_stime for use in uses)


if __name__ == "__main__":
    main()
