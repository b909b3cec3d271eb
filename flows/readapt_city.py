"""The whole way, for a schedule or an event: harvest, priors, adapt, evaluate, judge, promote."""

from __future__ import annotations

from prefect import flow

from adapters.store import ArtifactRef
from flows.adapt_city import adapt_city
from flows.evaluate_city import evaluate_city
from flows.extract_priors import extract_priors
from flows.harvest_city import harvest_city
from tasks.judging.promotion import has_labels, promote
from tasks.judging.safeguard import (
    earlier_segmenters,
    is_heeded,
    judge_adaptation,
    keep_earlier,
    looks_harmful,
)
from tasks.priors.extraction import harvested
from tasks.steps.workspace import DEFAULT_CATALOG


@flow(name="readapt-city", flow_run_name="readapt-{city}")
def readapt_city(
    city: str,
    arm: str = "full",
    seed: int = 0,
    catalog: str = DEFAULT_CATALOG,
    harvest: bool = True,
) -> ArtifactRef:
    """Brings a city's segmenter up to date; what has not changed is found, not made again.

    Args:
        city: A city of the catalog.
        arm: An arm of adapt-city.
        seed: Fixes the training.
        catalog: Path of the catalog.
        harvest: Whether to harvest first; not where watch-city has just added new imagery.

    Returns:
        The artifact that is promoted now: the `adaptation`, or, where the safeguard saw harm, the
        segmenter before it.
    """
    if harvest:
        harvest_city(city=city, catalog=catalog)
    extract_priors(city=city, catalog=catalog)
    adapted = adapt_city(city=city, arm=arm, seed=seed, catalog=catalog)
    if has_labels(city, catalog):
        evaluate_city(city=city, arm=arm, seed=seed, catalog=catalog)
    for earlier in earlier_segmenters(adapted, arm, city, catalog):
        imagery, pairs = harvested(city, catalog)
        judged = judge_adaptation(adapted, earlier, imagery, pairs, city, catalog)
        if looks_harmful(judged, catalog):
            if is_heeded(city, catalog):
                return keep_earlier(earlier, adapted, judged, city, catalog)
            break
    return promote(adapted, city, catalog)
