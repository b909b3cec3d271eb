"""The paper's experiment on one embedded city: Table 2's arms, self-training, and a report."""

from __future__ import annotations

from prefect import flow

from adapters.store import ArtifactRef
from flows.adapt_city import Adapted, adapt_by
from flows.beginning import BEGINNING
from flows.evaluate_city import evaluate_by
from flows.extract_priors import priors_by
from flows.harvest_city import harvest_by
from flows.pretrain_segmenter import pretrain_by
from tasks.pages.report import write_report
from tasks.steps.defaults import DEFAULT_CATALOG
from tasks.steps.plan import Plan, open_plan
from tasks.training.arms import DEMO_ARMS, is_trained
from tasks.training.identities import segmenter_of
from tasks.training.labelled import check_tested
from tasks.training.trainings import check_adaptation


@flow(name="demo", flow_run_name="demo-{city}", on_running=BEGINNING)
def demo(
    city: str = "tokyo",
    seed: int = 0,
    catalog: str = DEFAULT_CATALOG,
    compute: str | None = None,
) -> ArtifactRef:
    """Harvests a city, extracts its priors, adapts and evaluates every arm, writes the report.

    Args:
        city: A city of the catalog that has labels.
        seed: Fixes all trainings.
        catalog: Path of the catalog.
        compute: A compute profile of the catalog; default: the machine's.

    Returns:
        The `report` artifact.
    """
    plan = open_plan(catalog, compute, city=city)
    for arm in DEMO_ARMS:
        if is_trained(arm):
            check_adaptation(city, arm, plan)
    check_tested(city, plan)
    return write_report(_parts(plan, city, seed), city, seed, plan)


def _parts(plan: Plan, city: str, seed: int) -> dict[str, ArtifactRef]:
    """What the report shows, by role; made where it is not there."""
    harvest = harvest_by(plan, city)
    priors = priors_by(plan, city, harvest)
    parts = {
        "imagery": harvest.imagery,
        "pairs": harvest.pairs,
        "static_prior": priors.masks,
        "prior_figure": priors.figure,
    }
    if priors.quality is not None:
        parts["prior_quality"] = priors.quality
    adapted = {
        arm: adapt_by(plan, city, arm, seed, harvest, priors.masks)
        for arm in DEMO_ARMS
        if is_trained(arm)
    }
    start = pretrain_by(plan, segmenter_of(city, plan), seed)
    for arm in DEMO_ARMS:
        found = adapted.get(arm, Adapted(start, start))
        scored = evaluate_by(plan, city, arm, seed, harvest.pairs, found)
        parts[f"evaluation-{arm}"] = scored.evaluation
        if scored.panels is not None:
            parts[f"panels-{arm}"] = scored.panels
            parts[f"segmenter-{arm}"] = found.segmenter
    return parts
