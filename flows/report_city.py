"""Write the report of a city from what the store has."""

from __future__ import annotations

from prefect import flow

from adapters.store import ArtifactRef
from flows.ending import end_promptly
from tasks.pages.report import report_parts, write_report
from tasks.steps.defaults import DEFAULT_CATALOG
from tasks.steps.plan import open_plan


@flow(name="report-city", flow_run_name="report-{city}", on_running=[end_promptly])
def report_city(
    city: str, seed: int = 0, catalog: str = DEFAULT_CATALOG, compute: str | None = None
) -> ArtifactRef:
    """Writes table, figures, lineage and credits of a city's evaluations into one page.

    Args:
        city: A city of the catalog with priors and at least the pre-trained evaluation.
        seed: The seed whose evaluations are shown.
        catalog: Path of the catalog.
        compute: A compute profile of the catalog; default: the machine's.

    Returns:
        The `report` artifact.
    """
    plan = open_plan(catalog, compute, city=city)
    return write_report(report_parts(city, seed, plan), city, seed, plan)
