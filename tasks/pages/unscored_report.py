"""The report of a transfer that is not scored: what is seen of an adaptation without a label."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any, Final

from adapters.store import ArtifactRef, Draft
from crosscity.second_looks import LOOKS
from tasks.pages.figures import REPORT_FORMAT, table_of_figures, unlabelled_figures
from tasks.pages.lineage import behind, stages
from tasks.pages.pieces import FileNames, judged_classes, remarks_of, shown_differences
from tasks.pages.transfer_report import (
    publish_report,
    transfer_page,
    transfer_report_identity,
    write_files,
)
from tasks.steps.artifact_task import Made, artifact_task
from tasks.steps.identity import make
from tasks.steps.plan import Plan
from tasks.training.arms import saw_labels
from tasks.training.transfers import not_scored

_TARGET: Final = "target-"
"""Begins the roles of the shards of images."""
_MEASURES: Final = {
    "confidence": "confidence (mean probability of the predicted class)",
    "entropy": "entropy of the predictions, bits",
    "information": "mutual information of pixel and class, bits",
}


@artifact_task("write report without scores", run_name="report of {transfer}, {arm}")
def write_unscored_report(
    parts: Mapping[str, ArtifactRef], transfer: str, arm: str, seed: int, plan: Plan
) -> Made:
    """Writes `report.html` and `report.json` of a transfer that is not scored.

    Args:
        parts: `segmenter-ARM` of each arm; `target-NUMBER`, the shards of images; of the shown arm
            `differences`, and `safeguard` where it is judged.
        transfer: Of the catalog.
        arm: The arm that the page is about.
        seed: Of the trainings.
        plan: The run's plan.
    """

    def write(draft: Draft, _key: str) -> None:
        content = unscored_content(plan, transfer, arm, seed, parts)
        page = _render(plan, transfer, parts, content)
        write_files(draft, content, page, table_of_figures(content))

    store = plan.open_store()
    made = make(store, transfer_report_identity(parts, transfer, arm, seed, plan), write)
    publish_report(store, made.ref, transfer)
    return made


def unscored_content(
    plan: Plan, transfer: str, arm: str, seed: int, parts: Mapping[str, ArtifactRef]
) -> dict[str, Any]:
    """What `report.json` holds; `city` is the transfer, so that what reads reports reads it."""
    store = plan.open_store()
    known = behind(store, parts)
    shards = [ref for role, ref in parts.items() if role.startswith(_TARGET)]
    images = sum(store.manifest(ref).rows or 0 for ref in shards)
    failed: Counter[str] = Counter()
    for ref in shards:
        counted: Any = store.manifest(ref).summary.get("failures", {})
        failed.update(counted)
    judged: dict[str, Any] = {}
    if "safeguard" in parts:
        judged = dict(store.manifest(parts["safeguard"]).summary)
    return {
        "format": REPORT_FORMAT,
        "city": transfer,
        "transfer": {**plan.transfer(transfer).model_dump(mode="json"), "test_split": None},
        "seed": seed,
        "arm": arm,
        "not_scored": not_scored(transfer, plan),
        "figures": {
            "images": images,
            "images_failed": failed.total(),
            **unlabelled_figures(store, parts),
        },
        "verdict": _some(judged, "keep", "sentence", "reasons", "vanished"),
        "safeguard": _some(judged, "keep", "sentence", "looks"),
        "failed_images": dict(failed.most_common()),
        "scores": {},
        "remarks": remarks_of(known),
        "missing": [],
        "stages": stages(known),
        "made_of": {role: ref.uri for role, ref in parts.items()},
    }


def _some(summary: Mapping[str, Any], *names: str) -> dict[str, Any] | None:
    return {name: summary[name] for name in names} if summary else None


def _render(
    plan: Plan, transfer: str, parts: Mapping[str, ArtifactRef], content: Mapping[str, Any]
) -> str:
    names = FileNames(plan, plan.transfer(transfer).target)
    return transfer_page(
        "unscored.html.j2",
        plan,
        transfer,
        parts,
        content,
        split=plan.transfer(transfer).target_split,
        not_scored=content["not_scored"],
        learned=saw_labels(content["arm"], transfer, plan),
        verdict=content["verdict"],
        measures=_measures(content),
        classes=judged_classes(plan.open_store(), parts),
        differences=shown_differences(plan.open_store(), parts, names),
        failed=content["failed_images"],
    )


def _measures(content: Mapping[str, Any]) -> list[tuple[str, float | None, float | None]]:
    """Name, before and after of what is seen without labels."""
    judged, figures = content["safeguard"], content["figures"]
    rows = []
    if judged is not None:
        for look, (_, said) in LOOKS.items():
            kappa = judged["looks"][look]["kappa"]
            words = f"agreement of {said.name} beyond chance (kappa)"
            rows.append((words, kappa["before"], kappa["after"]))
    rows += [
        (words, figures[f"{name}_before"], figures[name])
        for name, words in _MEASURES.items()
        if name in figures
    ]
    return rows
