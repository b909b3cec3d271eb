"""The paper's experiment on one embedded city: Table 2's arms, self-training, and a report."""

from __future__ import annotations

from prefect import flow

from adapters.store import ArtifactRef
from flows.adapt_city import adapt_city
from flows.evaluate_city import evaluate_city
from flows.extract_priors import extract_priors
from flows.harvest_city import harvest_city
from tasks.pages.demo import remember_demo
from tasks.pages.report import write_report
from tasks.steps.workspace import DEFAULT_CATALOG
from tasks.training.arms import DEMO_ARMS
from tasks.training.trainings import check_fine_tuning


@flow(name="demo", flow_run_name="demo-{city}")
def demo(city: str = "tokyo", seed: int = 0, catalog: str = DEFAULT_CATALOG) -> ArtifactRef:
    """Harvests a city, extracts its priors, adapts and evaluates every arm, writes the report.

    Args:
        city: A city of the catalog that has labels.
        seed: Fixes all trainings.
        catalog: Path of the catalog.

    Returns:
        The `report` artifact.
    """
    check_fine_tuning(city, catalog)
    harvest_city(city=city, catalog=catalog)
    extract_priors(city=city, catalog=catalog)
    for arm in DEMO_ARMS:
        if arm != "pretrained":
            adapt_city(city=city, arm=arm, seed=seed, catalog=catalog)
    for arm in DEMO_ARMS:
        evaluate_city(city=city, arm=arm, seed=seed, catalog=catalog)
    report = write_report(city, seed, catalog)
    remember_demo(report, city, seed, catalog)
    return report
