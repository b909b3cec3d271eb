"""Judging an adaptation without labels before it is promoted, and keeping the earlier segmenter."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, Final

from adapters.store import ArtifactRef, Draft, Store
from crosscity import safeguard as safeguard_module
from crosscity.percentages import percentage
from crosscity.safeguard import (
    SafeguardLimits,
    Signals,
    Verdict,
    vanished_classes,
    vanished_sentence,
    verdict,
)
from tasks.judging.pairs_seen import LookedAt, examined_parameters, look_at_pairs, signals_as_json
from tasks.judging.promotion import PROMOTED, promoted_segmenter, put_in_use
from tasks.judging.start_at_size import size_shown, start_at_size
from tasks.priors.identities import PRIOR_VERSION
from tasks.steps.announcing import announce, event_of
from tasks.steps.artifact_task import Made, artifact_task, step
from tasks.steps.counted import counted
from tasks.steps.dashboard import only_shown, publish_lineage, publish_markdown
from tasks.steps.identity import Identity, Words, make
from tasks.steps.logs import log
from tasks.steps.plan import Plan
from tasks.training.arms import is_fine_tuned
from tasks.training.identities import training_of
from tasks.training.stored_networks import read_class_names

SAFEGUARD_VERSION: Final = f"5-safeguard.{safeguard_module.ALGORITHM_VERSION}-prior.{PRIOR_VERSION}"
ADAPTATION_REJECTED: Final = "adaptation.rejected"
"""The event; its resource is ``crosscity.city.<name>``."""
REJECTED: Final = "rejected"
"""Key of a note beside the promoted segmenter: digest of the last judgement that rejected one."""


def earlier_segmenters(
    adapted: ArtifactRef, start: ArtifactRef, arm: str, city: str, plan: Plan
) -> list[ArtifactRef]:
    """What an adaptation must not be worse than; empty where there is nothing to judge.

    That is the pre-trained segmenter that the adaptation started from, so that what falls a little
    with every adaptation does not add up, and the promoted one, where there is one with the same
    classes. Fine-tuning is not judged: labels of the city say more than what can be seen without,
    and move the predicted classes on purpose.
    """
    store = plan.open_store()
    if is_fine_tuned(arm) or training_of(plan, city).safeguard.mode == "off":
        return []
    promoted = promoted_segmenter(store, city)
    if promoted == adapted:
        return []
    if promoted is None or promoted == start:
        return [start]
    comparable = read_class_names(store, promoted) == read_class_names(store, adapted)
    return [start, promoted] if comparable else [start]


@artifact_task("judge adaptation", run_name="judge the adaptation of {city}")
def judge_adaptation(
    adapted: ArtifactRef,
    earlier: ArtifactRef,
    imagery: ArtifactRef,
    pairs: ArtifactRef,
    city: str,
    plan: Plan,
) -> Made:
    """Compares two segmenters on training pairs of the city, without a label of it.

    A start is shown images at the size that was chosen for the adaptation: that size could be had
    without any training, so it is no merit of the training, and hides no harm of it.
    """
    limits = limits_of(city, plan)

    def write(draft: Draft, _key: str) -> None:
        seen = look_at_pairs(
            draft,
            (earlier, adapted),
            imagery,
            pairs,
            city,
            plan,
            stage=f"judge {city}",
            at_one_size=_is_start(earlier),
        )
        draft.summary = _summary(seen, limits, earlier)

    judgement = judgement_identity(adapted, earlier, imagery, pairs, city, plan)
    made = make(plan.open_store(), judgement, write)
    publish_judgement(plan.open_store(), made.ref, city)
    return made


def _is_start(earlier: ArtifactRef) -> bool:
    return earlier.kind == "segmenter"


def judgement_identity(
    adapted: ArtifactRef,
    earlier: ArtifactRef,
    imagery: ArtifactRef,
    pairs: ArtifactRef,
    city: str,
    plan: Plan,
) -> Identity:
    """What decides a judgement; arguments as of `judge_adaptation`."""
    return Identity(
        "safeguard",
        city,
        inputs={"adaptation": adapted, "before": earlier, "imagery": imagery, "pairs": pairs},
        parameters={**examined_parameters(plan, city), "limits": asdict(limits_of(city, plan))},
        version=SAFEGUARD_VERSION,
        words=Words(
            what=f"the judgement of an adaptation of {city} was",
            absent=f"no adaptation of {city} has been judged yet",
            verb=f"crosscity report {city}",
        ),
    )


def limits_of(owner: str, plan: Plan) -> SafeguardLimits:
    """What the catalog tolerates in a city, or in a transfer."""
    settings = training_of(plan, owner).safeguard
    return SafeguardLimits(
        tolerance=settings.tolerance, drift=settings.drift, information=settings.information
    )


def looks_harmful(judged: ArtifactRef, plan: Plan) -> bool:
    """Whether the verdict is for the earlier segmenter."""
    return bool(plan.open_store().manifest(judged).summary["keep"] == "before")


def is_heeded(city: str, plan: Plan) -> bool:
    """Whether the catalog lets a verdict of harm keep the earlier segmenter."""
    return training_of(plan, city).safeguard.mode == "keep"


@step("keep the earlier segmenter", run_name="keep the earlier segmenter of {city}")
def keep_earlier(
    earlier: ArtifactRef, adapted: ArtifactRef, judged: ArtifactRef, city: str, plan: Plan
) -> ArtifactRef:
    """Leaves the promoted segmenter, or promotes the pre-trained one where there is none; says so.

    The pre-trained one is promoted with the size that images were shown at when it was compared.
    A promoted segmenter of other classes, which the adaptation could not be compared with, stays
    too: a new one that looks harmful is not a reason to take what is in use out of it. The event
    `adaptation.rejected`, on which an automation can tell somebody, is emitted once a judgement: a
    schedule that finds the same adaptation again has no news.

    Returns:
        The segmenter that is promoted now.
    """
    store = plan.open_store()
    promoted = promoted_segmenter(store, city)
    if promoted is None:
        promoted = start_at_size(earlier, _shown_size(judged, plan), plan)
    store.verify(promoted)
    summary: dict[str, Any] = dict(store.manifest(judged).summary)
    payload = {
        "city": city,
        "reasons": summary["reasons"],
        "artifacts": {
            "adaptation": adapted.key,
            "promoted": promoted.key,
            "safeguard": judged.key,
        },
    }
    events = (
        [] if _is_known(store, city, judged) else [event_of(ADAPTATION_REJECTED, city, payload)]
    )
    # What was promoted meanwhile is not taken out of use again.
    promoted = put_in_use(
        store, city, promoted, notes={REJECTED: judged.digest}, events=events, unless_used=True
    )
    announce(store, PROMOTED, city)
    log(logging.WARNING, f"{city}: {summary['sentence']} Promoted is {promoted.uri}.")
    return promoted


def _shown_size(judged: ArtifactRef, plan: Plan) -> tuple[int, int] | None:
    """The size that a judgement showed a start at, where it is not the start's own."""
    return size_shown(plan.open_store().manifest(judged).summary)


def _is_known(store: Store, city: str, judged: ArtifactRef) -> bool:
    """Whether a rejection was committed before."""
    state = store.selected(PROMOTED, city)
    return state is not None and state.notes.get(REJECTED) == judged.digest


def verdict_of(judged: ArtifactRef, plan: Plan) -> str:
    """The sentence of a judgement."""
    return str(plan.open_store().manifest(judged).summary["sentence"])


def _summary(seen: LookedAt, limits: SafeguardLimits, earlier: ArtifactRef) -> dict[str, Any]:
    signals, found = seen.signals, verdict(seen.signals, limits)
    unseen = f" {counted(seen.failed, 'more pair')} could not be examined." if seen.failed else ""
    shown = {} if seen.shown is None else {"shown_size": list(seen.shown)}
    return {
        "keep": found.keep,
        "reasons": list(found.reasons),
        "sentence": _sentence(found, signals, limits, _spoken_of(earlier, seen)) + unseen,
        "failed": seen.failed,
        "signals": signals_as_json(signals),
        "vanished": vanished_classes(signals, limits),
        **shown,
    }


def _spoken_of(earlier: ArtifactRef, seen: LookedAt) -> str:
    return the_start(seen.shown) if _is_start(earlier) else "the one in use"


def the_start(shown: tuple[int, int] | None) -> str:
    """What an adaptation began with, and at which size it was shown images, if not its own."""
    at = "" if shown is None else f" at the same size ({shown[0]}×{shown[1]})"
    return f"the pre-trained segmenter{at}"


def _sentence(found: Verdict, signals: Signals, limits: SafeguardLimits, other: str) -> str:
    if found.keep == "before":
        return harmful(found.reasons, other)
    agreed = (
        f"kappa of the two times {signals.kappa.before:.3f} before, {signals.kappa.after:.3f} after"
        if signals.points
        else "no static point to compare the two times at"
    )
    return (
        f"The adaptation shows no harm on {counted(signals.pairs, 'pair')} without labels, "
        f"compared with {other}: {agreed}, "
        f"the predicted classes drifted by {signals.drift:.3f} bit."
        f"{vanished_sentence(signals, limits)}"
    )


def harmful(reasons: Sequence[str], other: str) -> str:
    """What is said of an adaptation that looks harmful beside another segmenter."""
    return f"The adaptation looks harmful without any label, compared with {other}. " + " ".join(
        reasons
    )


@only_shown
def publish_judgement(store: Store, ref: ArtifactRef, city: str) -> None:
    """Shows a judgement of a city, or of a transfer, in the dashboard, and logs its sentence."""
    summary: dict[str, Any] = dict(store.manifest(ref).summary)
    signals = summary["signals"]
    lines = [
        summary["sentence"],
        "",
        "| | before | after |",
        "|---|---|---|",
    ]
    for name in ("agreement", "kappa", "entropy", "information"):
        values = [signals[name][when] for when in ("before", "after")]
        shown = ["–" if value is None else f"{value:.3f}" for value in values]
        lines.append(f"| {name} | {shown[0]} | {shown[1]} |")
    for name, share in signals["shares"].items():
        shown = [percentage(share[when]) for when in ("before", "after")]
        lines.append(f"| {name}, % | {shown[0]} | {shown[1]} |")
    publish_markdown(f"safeguard-{city}", "\n".join(lines), f"Is the adaptation of {city} sound?")
    publish_lineage(f"safeguard-{city}-lineage", store, ref, summary["sentence"])
    log(logging.INFO, f"{city}: {summary['sentence']}")
