"""Write the report of a city from what the store has."""

from __future__ import annotations

from prefect import flow

from adapters.store import ArtifactRef
from flows.beginning import BEGINNING
from flows.runner import planned_flow
from tasks.judging.differences import compare_on_images
from tasks.judging.evaluated import tested_on
from tasks.judging.safeguard import judge_adaptation
from tasks.judging.worst_images import find_worst_images
from tasks.pages.report import compared_segmenters, report_parts, shown_arm, write_report
from tasks.steps.defaults import DEFAULT_CATALOG
from tasks.steps.plan import Plan, open_plan
from tasks.training.arms import is_fine_tuned
from tasks.training.trained import TrainedSegmenters


@flow(name="report-city", flow_run_name="report-{city}", on_running=BEGINNING)
def report_city(
    city: str, seed: int = 0, catalog: str = DEFAULT_CATALOG, compute: str | None = None
) -> ArtifactRef:
    """Writes what there is of a city onto one page, labelled or not.

    Where the city was adapted to, the segmenter before and after are compared on its pairs and
    images first, which needs no label.

    Args:
        city: A city of the catalog that was harvested.
        seed: The seed whose trainings are shown.
        catalog: Path of the catalog.
        compute: A compute profile of the catalog; default: the machine's.

    Returns:
        The `report` artifact.
    """
    return report_city_by.fn(open_plan(catalog, compute, city=city), city, seed)


@planned_flow("report-city", "report-{city}")
def report_city_by(plan: Plan, city: str, seed: int) -> ArtifactRef:
    """`report_city` by a plan."""
    parts = report_parts(city, seed, plan)
    compared = compared_segmenters(parts, city, seed, plan)
    if compared is not None:
        start, adapted = compared
        arm = shown_arm(parts, city, plan)
        if arm is not None and f"evaluation-{arm}" in parts:
            tested = tested_on(TrainedSegmenters(city, seed, plan), arm)
            scored = parts[f"evaluation-{arm}"]
            parts["worst_images"] = find_worst_images(
                start, adapted, scored, tested, arm, seed, city, plan
            )
        imagery, pairs = parts["imagery"], parts["pairs"]
        if arm is not None and not is_fine_tuned(arm):  # its labels say more, as where it is made
            parts["safeguard"] = judge_adaptation(adapted, start, imagery, pairs, city, plan)
        parts["differences"] = compare_on_images(start, adapted, imagery, city, plan)
    return write_report(parts, city, seed, plan)
