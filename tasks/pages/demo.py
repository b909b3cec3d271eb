"""Finding a demo that is finished, without a server: a second `crosscity demo` takes seconds."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from adapters.store import ArtifactRef, StoreError, artifact_key
from crosscity.adaptation import FINE_TUNING_PRESETS, PRESETS, PretrainingSettings
from tasks.harvesting.harvest import HARVEST_VERSION
from tasks.judging.evaluation import EVALUATION_VERSION
from tasks.pages.report import REPORT_VERSION, report_parts_of, report_path
from tasks.priors.extraction import PRIOR_VERSION
from tasks.steps.plan import Plan
from tasks.training.arms import DEMO_ARMS
from tasks.training.labelled import LABELLED_VERSION
from tasks.training.trainings import TRAINING_VERSION, source_of


@dataclass(frozen=True)
class Demo:
    """What a finished demo shows: the table of Table 2's arms, and where the report lies."""

    table: str
    report: Path


def demo_name(city: str, seed: int, plan: Plan) -> str:
    """Name of the pointer to a demo's report: changes with whatever the result depends on."""
    parameters = _settings(plan, city)
    key = artifact_key(
        "report",
        inputs={},
        parameters={**parameters, "seed": seed},
        version="-".join(
            (
                HARVEST_VERSION,
                PRIOR_VERSION,
                LABELLED_VERSION,
                TRAINING_VERSION,
                EVALUATION_VERSION,
                REPORT_VERSION,
            )
        ),
    )
    return f"demo-{key}"


def remember_demo(report: ArtifactRef, city: str, seed: int, plan: Plan) -> None:
    """Notes that a demo is finished."""
    plan.open_store().set_current(demo_name(city, seed, plan), city, report)


def finished_demo(city: str, seed: int, plan: Plan) -> Demo | None:
    """The demo, if it is finished and everything that its report shows is in the store."""
    store = plan.open_store()
    report = store.current(demo_name(city, seed, plan), city)
    if report is None or store.find(report.kind, report.city, report.key) is None:
        return None
    try:
        for ref in report_parts_of(store, report).values():
            for name in store.manifest(ref).files:
                store.path(ref, name)
        table = store.path(report, "table.txt").read_text(encoding="utf-8").rstrip("\n")
    except StoreError:
        return None  # something was deleted or damaged: run again, which makes or names it
    return Demo(table, report_path(store, report))


def _settings(plan: Plan, city: str) -> dict[str, Any]:
    entry = plan.city(city)
    segmenter = plan.segmenter(entry.segmenter)
    training = plan.training(entry.training)
    return {
        "arms": list(DEMO_ARMS),
        "city": entry.model_dump(mode="json"),
        "segmenter": segmenter.model_dump(mode="json"),
        "source": plan.dataset(source_of(entry.segmenter, plan)).model_dump(mode="json"),
        "training": training.model_dump(mode="json"),
        # The catalog says what differs from these; they may change with a new version of ours.
        "defaults": [
            asdict(settings)
            for settings in (
                PRESETS[training.preset],
                PretrainingSettings(),
                FINE_TUNING_PRESETS[training.preset],
            )
        ],
    }
