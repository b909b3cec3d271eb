"""Evaluate a segmenter on the held-out places of a city."""

from __future__ import annotations

from prefect import flow, unmapped

from adapters.store import ArtifactRef
from flows.runner import one_part_at_a_time
from tasks.judging.evaluation import draw_panels, evaluate, segmenter_of_arm
from tasks.priors.extraction import harvested
from tasks.steps.workspace import DEFAULT_CATALOG
from tasks.training.labelled import labelled_part, labelled_parts


@flow(name="evaluate-city", flow_run_name="evaluate-{city}-{arm}", task_runner=one_part_at_a_time())
def evaluate_city(
    city: str, arm: str = "full", seed: int = 0, catalog: str = DEFAULT_CATALOG
) -> ArtifactRef:
    """Scores a segmenter on the labelled test places of a city.

    Args:
        city: A city of the catalog with labels.
        arm: "pretrained", "fine_tuned" or an arm of adapt-city that was run.
        seed: The seed that it was trained with.
        catalog: Path of the catalog.

    Returns:
        The `evaluation` artifact.
    """
    _, pairs = harvested(city, catalog)
    segmenter = segmenter_of_arm(city, arm, seed, catalog)
    labelled = labelled_part.map(
        unmapped(city),
        unmapped("test"),
        unmapped(pairs),
        labelled_parts(city, "test", pairs, catalog),
        unmapped(catalog),
    ).result()
    if arm != "pretrained":
        before = segmenter_of_arm(city, "pretrained", seed, catalog)
        draw_panels(before, segmenter, labelled, arm, seed, city, catalog)
    return evaluate(segmenter, labelled, arm, seed, city, catalog)
