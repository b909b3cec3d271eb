"""Pre-train a segmenter on its labelled source set."""

from __future__ import annotations

from prefect import flow, unmapped

from adapters.store import ArtifactRef
from flows.runner import one_part_at_a_time
from tasks.steps.workspace import DEFAULT_CATALOG
from tasks.training.labelled import labelled_part, labelled_parts
from tasks.training.trainings import pretrain, source_of


@flow(
    name="pretrain-segmenter",
    flow_run_name="pretrain-{segmenter}",
    task_runner=one_part_at_a_time(),
)
def pretrain_segmenter(
    segmenter: str = "compact", seed: int = 0, catalog: str = DEFAULT_CATALOG
) -> ArtifactRef:
    """Trains a segmenter on the source set that the catalog names for it.

    Args:
        segmenter: A segmenter of the catalog.
        seed: Fixes the initial weights and the order of the images.
        catalog: Path of the catalog.

    Returns:
        The `segmenter` artifact.
    """
    source = source_of(segmenter, catalog)
    parts = labelled_part.map(
        unmapped(source),
        unmapped("train"),
        unmapped(None),
        labelled_parts(source, "train", None, catalog),
        unmapped(catalog),
    ).result()
    return pretrain(parts, segmenter, seed, catalog)
