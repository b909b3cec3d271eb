"""Extract the static priors of a harvested city."""

from __future__ import annotations

from prefect import flow, unmapped

from adapters.store import ArtifactRef
from flows.runner import one_part_at_a_time
from tasks.priors.extraction import (
    harvested,
    illustrate_prior,
    join_priors,
    prior_part,
    prior_parts,
)
from tasks.priors.quality import exact_masks_known, measure_priors
from tasks.steps.workspace import DEFAULT_CATALOG


@flow(name="extract-priors", flow_run_name="priors-{city}", task_runner=one_part_at_a_time())
def extract_priors(city: str, catalog: str = DEFAULT_CATALOG) -> ArtifactRef:
    """Matches every pair of the last harvest and marks what stayed the same.

    Args:
        city: A city of the catalog that was harvested.
        catalog: Path of the catalog.

    Returns:
        The `static_prior` artifact.
    """
    imagery, pairs = harvested(city, catalog)
    parts = prior_part.map(
        unmapped(imagery),
        unmapped(pairs),
        prior_parts(pairs, city, catalog),
        unmapped(city),
        unmapped(catalog),
    ).result()
    priors = join_priors(parts, pairs, city, catalog)
    illustrate_prior(imagery, pairs, city, catalog)
    if exact_masks_known(city, catalog):
        measure_priors(priors, city, catalog)
    return priors
