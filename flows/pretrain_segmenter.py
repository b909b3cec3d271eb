"""Pre-train a segmenter on its labelled source set."""

from __future__ import annotations

from prefect import flow

from adapters.store import ArtifactRef
from flows.beginning import BEGINNING
from flows.labelled import labelled_shards
from flows.runner import one_part_at_a_time, planned_flow
from tasks.steps.defaults import DEFAULT_CATALOG
from tasks.steps.plan import Plan, open_plan
from tasks.training.identities import looks_at_home
from tasks.training.labelled import home_split
from tasks.training.trainings import pretrain


@flow(
    name="pretrain-segmenter",
    flow_run_name="pretrain-{segmenter}",
    task_runner=one_part_at_a_time(),
    on_running=BEGINNING,
)
def pretrain_segmenter(
    segmenter: str = "compact",
    seed: int = 0,
    catalog: str = DEFAULT_CATALOG,
    compute: str | None = None,
) -> ArtifactRef:
    """Trains a segmenter on the source set that the catalog names for it.

    One that comes trained and names no source is taken as it is.

    Args:
        segmenter: A segmenter of the catalog.
        seed: Fixes the initial weights and the order of the images.
        catalog: Path of the catalog.
        compute: A compute profile of the catalog; default: the machine's.

    Returns:
        The `segmenter` artifact.
    """
    return pretrain_by.fn(open_plan(catalog, compute, segmenter=segmenter), segmenter, seed)


@planned_flow("pretrain-segmenter", "pretrain-{segmenter}")
def pretrain_by(plan: Plan, segmenter: str, seed: int) -> ArtifactRef:
    """`pretrain_segmenter` by a plan."""
    source = plan.segmenter(segmenter).source
    shards = [] if source is None else labelled_shards(plan, source, "train")
    split = None
    if source is not None and looks_at_home(segmenter, plan):
        split = home_split(source, plan)
    home = [] if source is None or split is None else labelled_shards(plan, source, split)
    return pretrain(shards, home, segmenter, seed, plan)
