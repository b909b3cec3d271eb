"""Evaluate a segmenter on the held-out places of a city; without labels, on its pairs."""

from __future__ import annotations

from dataclasses import dataclass

from prefect import flow

from adapters.store import ArtifactRef
from flows.adapt_city import Adapted
from flows.beginning import BEGINNING
from flows.labelled import labelled_shards
from flows.runner import named_by_arm, one_part_at_a_time, planned_flow
from tasks.judging.evaluation import draw_panels, evaluate
from tasks.judging.promotion import has_labels
from tasks.judging.safeguard import judge_adaptation
from tasks.steps.defaults import DEFAULT_CATALOG
from tasks.steps.plan import Plan, open_plan
from tasks.training.arms import is_trained, needs_of_arm
from tasks.training.trained import TrainedSegmenters


@dataclass(frozen=True)
class Scored:
    """What an evaluation left.

    Attributes:
        evaluation: The `evaluation` artifact.
        panels: Its `illustration`: before and after; ``None`` of the pre-trained segmenter.
    """

    evaluation: ArtifactRef
    panels: ArtifactRef | None


@flow(
    name="evaluate-city",
    flow_run_name=named_by_arm("evaluate"),
    task_runner=one_part_at_a_time(),
    on_running=BEGINNING,
)
def evaluate_city(
    city: str,
    arm: str | None = None,
    seed: int = 0,
    catalog: str = DEFAULT_CATALOG,
    compute: str | None = None,
) -> ArtifactRef:
    """Scores a segmenter on the labelled test places of a city.

    Where the city has no labels, it is compared with the pre-trained segmenter on its pairs, by
    what can be seen without: see `judge_adaptation`.

    Args:
        city: A city of the catalog.
        arm: "pretrained", "fine_tuned" or an arm of adapt-city that was run; default: `arm` of the
            city's entry.
        seed: The seed that it was trained with.
        catalog: Path of the catalog.
        compute: A compute profile of the catalog; default: the machine's.

    Returns:
        The `evaluation` artifact; of a city without labels the `safeguard`.
    """
    plan = open_plan(catalog, compute, city=city)
    arm = plan.city(city).arm if arm is None else arm
    needs_of_arm(arm, plan)
    trained = TrainedSegmenters(city, seed, plan)
    pairs, adapted = trained.harvest.pairs, Adapted(trained.start, trained.of_arm(arm))
    if not has_labels(city, plan):
        imagery = trained.harvest.imagery
        return judge_adaptation(adapted.segmenter, adapted.start, imagery, pairs, city, plan)
    return evaluate_by.fn(plan, city, arm, seed, pairs, adapted).evaluation


@planned_flow("evaluate-city", "evaluate-{city}-{arm}")
def evaluate_by(
    plan: Plan, city: str, arm: str, seed: int, pairs: ArtifactRef, adapted: Adapted
) -> Scored:
    """`evaluate_city` by a plan, of a segmenter and the one that it began with."""
    labelled = labelled_shards(plan, city, "test", pairs)
    panels = None
    if is_trained(arm):
        panels = draw_panels(adapted.start, adapted.segmenter, labelled, arm, seed, city, plan)
    return Scored(evaluate(adapted.segmenter, labelled, arm, seed, city, plan), panels)
