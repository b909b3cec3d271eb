"""Finding a demo that is finished, without a server: a second `crosscity demo` takes seconds."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from adapters.store import StoreError
from tasks.pages.report import report_identity, report_parts, report_path
from tasks.steps.errors import InputError
from tasks.steps.identity import find
from tasks.steps.plan import Plan
from tasks.training.arms import DEMO_ARMS


@dataclass(frozen=True)
class Demo:
    """What a finished demo shows: the table of Table 2's arms, and where the report lies."""

    table: str
    report: Path


def finished_demo(city: str, seed: int, plan: Plan) -> Demo | None:
    """The demo, if it is finished and everything that its report shows is in the store."""
    store = plan.open_store()
    try:
        parts = report_parts(city, seed, plan, DEMO_ARMS)
        report = find(store, report_identity(parts, city, seed, plan))
        if report is None:
            return None
        for ref in parts.values():
            for name in store.manifest(ref).files:
                store.path(ref, name)
        table = store.path(report, "table.txt").read_text(encoding="utf-8").rstrip("\n")
    except (InputError, StoreError):
        return None  # something is not made, or deleted, or damaged: run, which makes or names it
    return Demo(table, report_path(store, report))
