"""Write the report of a transfer from what the store has."""

from __future__ import annotations

from prefect import flow

from adapters.store import ArtifactRef
from flows.beginning import BEGINNING
from flows.runner import planned_flow
from tasks.judging.evaluated import tested_on
from tasks.judging.set_differences import compare_on_set
from tasks.judging.transfer_safeguard import images_of, is_judged, judge_transfer, judged_by
from tasks.judging.worst_images import find_worst_images
from tasks.pages.transfer_report import (
    shown_arm_of_transfer,
    shown_arm_without_scores,
    transfer_parts,
    write_transfer_report,
)
from tasks.pages.unscored_report import write_unscored_report
from tasks.steps.defaults import DEFAULT_CATALOG
from tasks.steps.plan import Plan, open_plan
from tasks.training.identities import numbered
from tasks.training.trained import TrainedSegmenters


@flow(
    name="report-transfer",
    flow_run_name="report-{transfer}",
    on_running=BEGINNING,
)
def report_transfer(
    transfer: str,
    arm: str | None = None,
    seed: int = 0,
    catalog: str = DEFAULT_CATALOG,
    compute: str | None = None,
) -> ArtifactRef:
    """Writes the scores, mistakes and remarks of a transfer onto one page.

    Of a transfer that is not scored, what is seen without a label.

    Args:
        transfer: A transfer of the catalog of which an arm was run.
        arm: The arm that the page is about; default: the last that saw no label of the target.
        seed: The seed whose trainings are shown.
        catalog: Path of the catalog.
        compute: A compute profile of the catalog; default: the machine's.

    Returns:
        The `report` artifact.
    """
    plan = open_plan(catalog, compute, transfer=transfer)
    return report_transfer_by.fn(plan, transfer, arm, seed)


@planned_flow("report-transfer", "report-{transfer}")
def report_transfer_by(plan: Plan, transfer: str, arm: str | None, seed: int) -> ArtifactRef:
    """`report_transfer` by a plan."""
    parts = transfer_parts(transfer, seed, plan)
    if plan.scored_split(transfer) is None:
        return _unscored(plan, transfer, arm, seed, parts)
    shown = shown_arm_of_transfer(parts, arm, transfer, plan)
    if shown is not None:
        trained = TrainedSegmenters(transfer, seed, plan)
        tested = tested_on(trained, shown)
        made_of = trained.start, parts[f"segmenter-{shown}"], parts[f"evaluation-{shown}"], tested
        if is_judged(shown, transfer, plan):
            adapted = parts[f"segmenter-{shown}"]
            parts["safeguard"] = judged_by(adapted, trained.start, transfer, plan)
        parts["worst_images"] = find_worst_images(*made_of, shown, seed, transfer, plan)
    return write_transfer_report(parts, transfer, shown, seed, plan)


def _unscored(
    plan: Plan, transfer: str, arm: str | None, seed: int, parts: dict[str, ArtifactRef]
) -> ArtifactRef:
    """The report of a transfer that is not scored, of the parts that are its segmenters."""
    shown = shown_arm_without_scores(parts, arm, transfer, plan)
    start, adapted = TrainedSegmenters(transfer, seed, plan).start, parts[f"segmenter-{shown}"]
    images = images_of(transfer, plan)
    parts |= numbered("target", images)
    if is_judged(shown, transfer, plan):
        parts["safeguard"] = judge_transfer(adapted, start, images, transfer, plan)
    parts["differences"] = compare_on_set(start, adapted, images, transfer, plan)
    return write_unscored_report(parts, transfer, shown, seed, plan)
