"""Judging an adaptation to a set of images, which have no second time, without labels."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final

from adapters.store import ArtifactRef, Draft
from crosscity import safeguard as safeguard_module
from crosscity import second_looks
from crosscity.safeguard import (
    SafeguardLimits,
    Signals,
    vanished_classes,
    vanished_sentence,
    verdict,
)
from tasks.judging.copies_seen import FIRST_LOOK, CopiesSeen, copies_parameters, look_at_copies
from tasks.judging.pairs_seen import signals_as_json
from tasks.judging.safeguard import harmful, limits_of, publish_judgement, the_start
from tasks.steps.artifact_task import Made, artifact_task
from tasks.steps.counted import counted
from tasks.steps.identity import Identity, Words, make
from tasks.steps.logs import log
from tasks.steps.plan import Plan
from tasks.training.arms import is_fine_tuned, is_trained
from tasks.training.identities import numbered, training_of
from tasks.training.labelled import Missing, find_unlabelled

JUDGEMENT_VERSION: Final = (
    f"2-safeguard.{safeguard_module.ALGORITHM_VERSION}-looks.{second_looks.ALGORITHM_VERSION}"
)


def is_judged(arm: str, transfer: str, plan: Plan) -> bool:
    """Whether an arm of a transfer is: labels that one is trained on say more."""
    on = training_of(plan, transfer).safeguard.mode != "off"
    return on and is_trained(arm) and not is_fine_tuned(arm)


def judged_by(adapted: ArtifactRef, start: ArtifactRef, transfer: str, plan: Plan) -> ArtifactRef:
    """`judge_transfer` on the images that the transfer was adapted to, out of the store.

    Raises:
        InputError: The images are not there; says what to run.
    """
    return judge_transfer(adapted, start, images_of(transfer, plan), transfer, plan)


def images_of(transfer: str, plan: Plan) -> list[ArtifactRef]:
    """The shards of images that a transfer is adapted to, out of the store.

    Raises:
        InputError: They are not there; says what to run.
    """
    sets = plan.transfer(transfer)
    said = Missing(
        f"the images of {transfer} have not been read yet", f"crosscity transfer {transfer}"
    )
    return find_unlabelled(sets.target, sets.target_split, plan, said)


@artifact_task("judge transfer", run_name="judge the adaptation to {transfer}")
def judge_transfer(
    adapted: ArtifactRef,
    start: ArtifactRef,
    images: Sequence[ArtifactRef],
    transfer: str,
    plan: Plan,
) -> Made:
    """Compares two segmenters on images of the target and copies of them, without a label.

    The start is shown images at the size that was chosen for the adaptation, as where a city is
    judged; classes count as the transfer's protocol counts predictions.

    Args:
        adapted: The adapted segmenter.
        start: The one that it began with.
        images: `unlabelled` shards of the target.
        transfer: Of the catalog.
        plan: The run's plan.
    """
    limits, stage = limits_of(transfer, plan), f"judge {transfer}"

    def write(draft: Draft, _key: str) -> None:
        both = start, adapted
        seen = look_at_copies(draft, both, images, transfer, plan, stage=stage, at_one_size=True)
        draft.summary = _summary(seen, limits)

    store = plan.open_store()
    made = make(store, judgement_identity(adapted, start, images, transfer, plan), write)
    publish_judgement(store, made.ref, transfer)
    summary: dict[str, Any] = dict(store.manifest(made.ref).summary)
    if summary["keep"] == "before":
        log(logging.WARNING, f"{transfer}: {summary['sentence']}")
    return made


def judgement_identity(
    adapted: ArtifactRef,
    start: ArtifactRef,
    images: Sequence[ArtifactRef],
    transfer: str,
    plan: Plan,
) -> Identity:
    """What decides a judgement; arguments as of `judge_transfer`."""
    return Identity(
        "safeguard",
        transfer,
        inputs={"adaptation": adapted, "before": start, **numbered("target", images)},
        parameters={
            **copies_parameters(plan, transfer),
            "limits": asdict(limits_of(transfer, plan)),
        },
        version=JUDGEMENT_VERSION,
        words=Words(
            what=f"the judgement of an adaptation to {transfer} was",
            absent=f"no adaptation to {transfer} has been judged yet",
            verb=f"crosscity transfer {transfer}",
        ),
    )


def _summary(seen: CopiesSeen, limits: SafeguardLimits) -> dict[str, Any]:
    """The verdict of all copies together: each may have seen a harm that the others have not."""
    signals, failed = seen.signals, seen.failed
    found = {
        look: verdict(each, limits, looks=second_looks.LOOKS[look][1])
        for look, each in signals.items()
    }
    reasons = list(dict.fromkeys(reason for each in found.values() for reason in each.reasons))
    keep = "before" if any(each.keep == "before" for each in found.values()) else "after"
    first = signals[FIRST_LOOK]
    unseen = f" {counted(failed, 'more image')} could not be examined." if failed else ""
    return {
        "keep": keep,
        "reasons": reasons,
        "sentence": _sentence(keep, reasons, signals, limits, the_start(seen.shown)) + unseen,
        "failed": failed,
        "signals": signals_as_json(first),
        "looks": {look: signals_as_json(each) for look, each in signals.items()},
        "vanished": vanished_classes(first, limits),
    }


def _sentence(
    keep: str,
    reasons: Sequence[str],
    signals: Mapping[str, Signals],
    limits: SafeguardLimits,
    other: str,
) -> str:
    if keep == "before":
        return harmful(reasons, other)
    first = signals[FIRST_LOOK]
    kappas = ", ".join(
        f"kappa of {second_looks.LOOKS[look][1].name} {each.kappa.before:.3f} before, "
        f"{each.kappa.after:.3f} after"
        for look, each in signals.items()
    )
    return (
        f"The adaptation shows no harm on {counted(first.pairs, 'image')} without labels, "
        f"compared with {other}: {kappas}, the predicted classes drifted by {first.drift:.3f} bit."
        f"{vanished_sentence(first, limits)}"
    )
