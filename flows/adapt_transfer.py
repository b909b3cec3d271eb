"""From a labelled set to another's images, without pairs: the paper's Table 3, and any two sets."""

from __future__ import annotations

from dataclasses import dataclass

from prefect import flow

from adapters.store import ArtifactRef
from flows.beginning import BEGINNING
from flows.extras import check_extras, extras_by
from flows.labelled import labelled_shards, unlabelled_shards
from flows.pretrain_segmenter import pretrain_by
from flows.report_transfer import report_transfer_by
from flows.runner import named_by_arm, one_part_at_a_time, planned_flow
from tasks.judging.evaluation import draw_panels, evaluate
from tasks.judging.transfer_safeguard import is_judged, judged_by
from tasks.steps.defaults import DEFAULT_CATALOG
from tasks.steps.errors import InputError
from tasks.steps.plan import Plan, open_plan
from tasks.training.arms import is_fine_tuned, is_trained, needs_of_arm
from tasks.training.identities import source_of
from tasks.training.labelled import sets_as_first_listed
from tasks.training.trainings import adapt_transfer as adapt
from tasks.training.trainings import fine_tune
from tasks.training.transfers import arm_of_transfer, check_splits, check_transfer_arm


@dataclass(frozen=True)
class Transferred:
    """What an arm of a transfer left.

    Attributes:
        start: The pre-trained segmenter.
        segmenter: The adapted segmenter, or the pre-trained one.
        evaluation: Its `evaluation` artifact; ``None`` where nothing is scored.
        panels: Its `illustration`: before and after; ``None`` of the pre-trained segmenter, and
            where nothing is scored.
    """

    start: ArtifactRef
    segmenter: ArtifactRef
    evaluation: ArtifactRef | None
    panels: ArtifactRef | None

    def scored(self) -> ArtifactRef:
        """The evaluation; `InputError` where nothing is scored."""
        if self.evaluation is None:
            raise InputError("a transfer that is not scored has no evaluation")
        return self.evaluation


@flow(
    name="adapt-transfer",
    flow_run_name=named_by_arm("adapt", "transfer"),
    task_runner=one_part_at_a_time(),
    on_running=BEGINNING,
)
def adapt_transfer(
    transfer: str,
    arm: str | None = None,
    seed: int = 0,
    catalog: str = DEFAULT_CATALOG,
    compute: str | None = None,
) -> ArtifactRef:
    """Adapts a segmenter to another set's images, scores it there, and writes a report of it.

    Where the set has no labels, or the transfer names no split that is scored on, it is judged by
    what is seen without a label.

    Args:
        transfer: A transfer of the catalog.
        arm: "pretrained" (nothing is adapted), "control", "bn", "ga", "ga_ca",
            "self_training" (with predicted labels that no prior refines), "source_free" (which
            reads no source image), a recipe of the catalog by its name, or "fine_tuned", which
            trains on the target's labels as the upper bound; default: the transfer's own.
        seed: Fixes the trainings.
        catalog: Path of the catalog.
        compute: A compute profile of the catalog; default: the machine's.

    Returns:
        The `evaluation` artifact; where nothing is scored, the adapted segmenter.
    """
    plan = open_plan(catalog, compute, transfer=transfer)
    arm = arm_of_transfer(transfer, plan) if arm is None else arm
    with sets_as_first_listed():
        done = transfer_by.fn(plan, transfer, arm, seed)
        if is_judged(arm, transfer, plan):
            judged_by(done.segmenter, done.start, transfer, plan)
        report_transfer_by.fn(plan, transfer, arm, seed)
    return done.evaluation or done.segmenter


@planned_flow("adapt-transfer", "adapt-{transfer}-{arm}")
def transfer_by(plan: Plan, transfer: str, arm: str, seed: int) -> Transferred:
    """`adapt_transfer` by a plan."""
    check_transfer_arm(arm, transfer, plan)
    check_splits(arm, transfer, plan)
    check_extras(plan, transfer, arm)
    sets = plan.transfer(transfer)
    segmenter = start = pretrain_by(plan, sets.segmenter, seed)
    if is_fine_tuned(arm):
        labelled = labelled_shards(plan, sets.target, sets.target_split)
        segmenter = fine_tune(start, labelled, seed, transfer, plan)
    elif is_trained(arm):
        shards: list[ArtifactRef] = []
        if needs_of_arm(arm, plan).source:
            shards = labelled_shards(plan, source_of(sets.segmenter, plan), "train")
        images = unlabelled_shards(plan, sets.target, sets.target_split)
        extras = extras_by(plan, transfer, arm, seed, start)
        segmenter = adapt(start, shards, images, extras, arm, seed, transfer, plan)
    split = plan.scored_split(transfer)
    if split is None:
        return Transferred(start, segmenter, None, None)
    tested = labelled_shards(plan, sets.target, split)
    panels = None
    if is_trained(arm):
        panels = draw_panels(start, segmenter, tested, arm, seed, transfer, plan)
    evaluation = evaluate(segmenter, tested, arm, seed, transfer, plan)
    return Transferred(start, segmenter, evaluation, panels)
