"""Write the report of a city from what the store has."""

from __future__ import annotations

from prefect import flow

from adapters.store import ArtifactRef
from tasks.pages.report import write_report
from tasks.steps.workspace import DEFAULT_CATALOG


@flow(name="report-city", flow_run_name="report-{city}")
def report_city(city: str, seed: int = 0, catalog: str = DEFAULT_CATALOG) -> ArtifactRef:
    """Writes table, figures, lineage and credits of a city's evaluations into one page.

    Args:
        city: A city of the catalog with priors and at least the pre-trained evaluation.
        seed: The seed whose evaluations are shown.
        catalog: Path of the catalog.

    Returns:
        The `report` artifact.
    """
    return write_report(city, seed, catalog)
