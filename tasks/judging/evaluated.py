"""What decides an evaluation, and finding those that are of what the catalog says now."""

from __future__ import annotations

from collections.abc import Sequence

from adapters.store import ArtifactRef
from crosscity import evaluation as evaluation_module
from crosscity.illustrations import DRAWING_VERSION
from tasks.judging.scoring_rules import rules_of
from tasks.steps.artifact_task import digests
from tasks.steps.errors import InputError
from tasks.steps.identity import Identity, Words, find, required
from tasks.steps.plan import Plan
from tasks.training.identities import TRAINING_VERSION
from tasks.training.labelled import Missing
from tasks.training.trained import TrainedSegmenters
from tasks.training.transfers import not_scored

EVALUATION_VERSION = f"6-evaluation.{evaluation_module.ALGORITHM_VERSION}"
PANELS_VERSION = f"5-evaluation.{evaluation_module.ALGORITHM_VERSION}-drawing.{DRAWING_VERSION}"
"""Of the pictures, which know nothing of the rows by image that evaluations have from 6 on."""
PANELS = 4
"""Before/after pictures an evaluation."""


def segmenter_of_arm(city: str, arm: str, seed: int, plan: Plan) -> ArtifactRef:
    """The segmenter that an arm left for a city or transfer, if it is of what the catalog says now.

    Raises:
        InputError: There is none, or it was made with other settings, by another version, or of
            inputs that were made anew since; the sentence says which, and what to run.
    """
    return TrainedSegmenters(city, seed, plan).of_arm(arm)


def evaluation_of_arm(city: str, arm: str, seed: int, plan: Plan) -> ArtifactRef:
    """The evaluation of an arm, if it and its segmenter are of what the catalog says now.

    Raises:
        InputError: There is none, or it was made otherwise; the sentence says what to run.
    """
    return evaluation_of(TrainedSegmenters(city, seed, plan), arm)


def evaluation_of(trained: TrainedSegmenters, arm: str) -> ArtifactRef:
    """`evaluation_of_arm`, of segmenters that are looked for once for several arms."""
    segmenter, owner, plan = trained.of_arm(arm), trained.owner, trained.plan
    parts = tested_on(trained, arm)
    identity = evaluation_identity(segmenter, parts, arm, trained.seed, owner, plan)
    return required(plan.open_store(), identity)


def panels_of(trained: TrainedSegmenters, arm: str) -> ArtifactRef | None:
    """The pictures of before and after an arm; ``None`` where there are none.

    Raises:
        InputError: There is no such segmenter.
    """
    before, after, parts = trained.start, trained.of_arm(arm), tested_on(trained, arm)
    identity = panels_identity(before, after, parts, arm, trained.seed, trained.owner)
    return find(trained.plan.open_store(), identity)


def tested_on(trained: TrainedSegmenters, arm: str) -> list[ArtifactRef]:
    """The labelled shards that an arm of a city or transfer is scored on.

    Raises:
        InputError: They are not there.
    """
    owner, split, plan = trained.owner, "test", trained.plan
    if owner in plan.transfers:
        owner, split = plan.transfer(owner).target, scored_split(owner, plan)
    said = _not_evaluated(arm, trained.seed, trained.owner, plan)
    return trained.labelled(owner, split, said)


def scored_split(transfer: str, plan: Plan) -> str:
    """The split of its target that a transfer is scored on.

    Raises:
        InputError: It is not scored; says why.
    """
    split = plan.scored_split(transfer)
    if split is None:
        raise InputError(f"{not_scored(transfer, plan)}: there is nothing to score on")
    return split


def _not_evaluated(arm: str, seed: int, owner: str, plan: Plan) -> Missing:
    verb = "transfer" if owner in plan.transfers else "evaluate"
    command = f"crosscity {verb} {owner} --arm {arm} --seed {seed}"
    return Missing(f"{arm!r} was not evaluated on {owner} yet", command)


def evaluation_identity(
    segmenter: ArtifactRef,
    parts: Sequence[ArtifactRef],
    arm: str,
    seed: int,
    owner: str,
    plan: Plan,
) -> Identity:
    """What decides the evaluation of a segmenter; arguments as of `evaluate`."""
    said = _not_evaluated(arm, seed, owner, plan)
    return Identity(
        "evaluation",
        owner,
        inputs={"segmenter": segmenter, **digests(parts)},
        parameters=rules_of(plan, owner).parameters(),
        version=EVALUATION_VERSION,
        words=Words(
            what=f"the evaluation of {arm!r} on {owner} was",
            absent=said.absent,
            verb=said.verb,
            section="labels.",
            inputs={"part": "other labelled images"},
        ),
        producer=f"{arm}-{seed}",
        marks=("segmenter",),
    )


def panels_identity(
    before: ArtifactRef,
    after: ArtifactRef,
    parts: Sequence[ArtifactRef],
    arm: str,
    seed: int,
    owner: str,
) -> Identity:
    """What decides the pictures of before and after; arguments as of `draw_panels`."""
    return Identity(
        "illustration",
        owner,
        inputs={"before": before, "after": after, **digests(parts)},
        parameters={"figure": "before_after", "panels": PANELS},
        version=f"{PANELS_VERSION}-{TRAINING_VERSION}",
        words=Words(
            what=f"the pictures of {arm!r} of {owner} were",
            absent=f"there are no pictures of {arm!r} of {owner} yet",
            verb=f"crosscity evaluate {owner} --arm {arm} --seed {seed}",
        ),
        producer=f"panels-{arm}-{seed}",
        marks=("figure", "after"),
    )
