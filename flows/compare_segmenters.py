"""Compare two segmenters on the images, pairs and labels of a city."""

from __future__ import annotations

from prefect import flow

from adapters.store import ArtifactRef
from flows.beginning import BEGINNING
from flows.labelled import labelled_shards
from flows.pretrain_segmenter import pretrain_by
from flows.runner import one_part_at_a_time
from tasks.harvesting.current import current_harvest
from tasks.judging.compared_segmenters import city_to_look_at, compared_segmenter
from tasks.judging.differences import compare_on_images
from tasks.judging.evaluation import evaluate
from tasks.judging.pair_comparison import check_same_classes, compare_on_pairs
from tasks.judging.promotion import has_labels
from tasks.pages.comparison import CAPTIONS, write_comparison
from tasks.steps.defaults import DEFAULT_CATALOG
from tasks.steps.plan import Plan, open_plan
from tasks.training.segmenters import starting_segmenter
from tasks.training.trained import TrainedSegmenters


@flow(
    name="compare-segmenters",
    flow_run_name="compare-{first}-{second}",
    task_runner=one_part_at_a_time(),
    on_running=BEGINNING,
)
def compare_segmenters(
    first: str,
    second: str,
    on: str | None = None,
    seed: int = 0,
    catalog: str = DEFAULT_CATALOG,
    compute: str | None = None,
) -> ArtifactRef:
    """Has two segmenters look at the same images, and writes a page of what they see.

    Args:
        first: A key in the store, a segmenter of the catalog by its name, a city (its segmenter in
            use), or CITY@DATE (the one that was in use then).
        second: Likewise.
        on: The city whose images are looked at; default: the one that the two are about.
        seed: Of the pre-training of segmenters that are given by their names.
        catalog: Path of the catalog.
        compute: A compute profile of the catalog; default: the machine's.

    Returns:
        The `comparison` artifact.
    """
    plan = open_plan(catalog, compute)
    compared = [compared_segmenter(plan, word) for word in (first, second)]
    city = city_to_look_at(plan, compared, on)
    harvest = current_harvest(city, plan)
    refs = [
        _named(plan, each.word, seed, city) if each.ref is None else each.ref for each in compared
    ]
    check_same_classes(plan.open_store(), refs[0], refs[1])
    both, imagery, pairs = (refs[0], refs[1]), harvest.imagery, harvest.pairs
    parts = {
        "first": both[0],
        "second": both[1],
        "imagery": imagery,
        "differences": compare_on_images(*both, imagery, city, plan, CAPTIONS),
        "pair_comparison": compare_on_pairs(*both, imagery, pairs, city, plan),
    }
    if has_labels(city, plan):
        labelled = labelled_shards(plan, city, "test", pairs)
        for role, ref in zip(("first", "second"), both, strict=True):
            arm = str(plan.open_store().manifest(ref).parameters.get("arm", "pretrained"))
            parts[f"evaluation-{role}"] = evaluate(ref, labelled, arm, seed, city, plan)
    return write_comparison(parts, (first, second), city, plan)


def _named(plan: Plan, segmenter: str, seed: int, city: str) -> ArtifactRef:
    """A segmenter of the catalog: taken in where it comes trained, else as it was trained."""
    if starting_segmenter(plan, segmenter, seed).is_trained:
        return pretrain_by(plan, segmenter, seed)
    absent = f"the segmenter {segmenter!r} is not trained yet"
    return TrainedSegmenters(city, seed, plan).pretrained(segmenter, absent)
