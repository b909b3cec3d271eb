"""Predict all images of a city with the segmenter in use."""

from __future__ import annotations

from prefect import flow, unmapped

from adapters.store import ArtifactRef
from flows.beginning import BEGINNING
from flows.runner import one_part_at_a_time
from tasks.harvesting.current import current_harvest
from tasks.judging.city_predictions import (
    join_predictions,
    predict_part,
    prediction_parts,
    segmenter_in_use,
)
from tasks.steps.defaults import DEFAULT_CATALOG
from tasks.steps.plan import open_plan


@flow(
    name="predict-city",
    flow_run_name="predict-{city}",
    task_runner=one_part_at_a_time(),
    on_running=BEGINNING,
)
def predict_city(
    city: str, catalog: str = DEFAULT_CATALOG, compute: str | None = None
) -> ArtifactRef:
    """Predicts every image of the last harvest, as `predictions` of the city's entry says.

    Args:
        city: A city of the catalog that was harvested, and has a segmenter in use.
        catalog: Path of the catalog.
        compute: A compute profile of the catalog; default: the machine's.

    Returns:
        The `predictions` artifact: a row an image, and where its label map lies.
    """
    plan = open_plan(catalog, compute)
    segmenter, imagery = segmenter_in_use(city, plan), current_harvest(city, plan).imagery
    parts = predict_part.map(
        unmapped(segmenter),
        unmapped(imagery),
        prediction_parts(imagery, city, plan),
        unmapped(city),
        unmapped(plan),
    ).result()
    return join_predictions(segmenter, parts, city, plan)
