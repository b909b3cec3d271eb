"""Judging an adaptation to a set of images, which have no second time, without labels."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final

import torch

from adapters.images import ImageError
from adapters.store import ArtifactRef, Draft
from crosscity import safeguard as safeguard_module
from crosscity import second_looks
from crosscity.adaptation.spread import spread_indices
from crosscity.evaluation import ClassGroups, predicted_groups
from crosscity.pair_signs import ComparedLook, Image, compare_look, pair_of_looks
from crosscity.safeguard import (
    SafeguardLimits,
    Signals,
    vanished_classes,
    vanished_sentence,
    verdict,
)
from crosscity.segmenters import Segmenter, in_train_ids
from tasks.judging.pairs_seen import PairSeen, compared, judged_row, shown_to, signals_as_json
from tasks.judging.safeguard import harmful, limits_of, publish_judgement, the_start
from tasks.judging.scoring_rules import protocol_parameters, rules_of
from tasks.steps import progress
from tasks.steps.artifact_task import Made, artifact_task
from tasks.steps.counted import counted
from tasks.steps.device import device_turn
from tasks.steps.identity import Identity, Words, make
from tasks.steps.logs import log
from tasks.steps.plan import Plan
from tasks.steps.schemas import SAFEGUARD
from tasks.steps.tables import write_rows
from tasks.training.arms import is_fine_tuned, is_trained
from tasks.training.identities import network_size, numbered, size_parameters, training_of
from tasks.training.labelled import Missing, find_unlabelled
from tasks.training.segmenters import stored_segmenter
from tasks.training.stored_images import StoredUnlabelled
from tasks.training.trainings import on_device

JUDGEMENT_VERSION: Final = (
    f"2-safeguard.{safeguard_module.ALGORITHM_VERSION}-looks.{second_looks.ALGORITHM_VERSION}"
)
MOST_IMAGES: Final = 32
"""Images of the set that are examined, spread evenly: a minute or two for a light network."""


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
    limits = limits_of(transfer, plan)

    def write(draft: Draft, _key: str) -> None:
        seen, names, shown = _looked_at(adapted, start, images, transfer, plan)
        rows = [judged_row(each) for looks in seen.values() for each in looks]
        write_rows(draft, "pairs.parquet", rows, SAFEGUARD)
        signals = {
            look: compared(each, names, transfer, second_looks.LOOKS[look][1])
            for look, each in seen.items()
        }
        failed = sum(each.reason is not None for each in seen["smaller"])
        draft.summary = _summary(signals, limits, failed, shown)

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
            "most_images": MOST_IMAGES,
            **protocol_parameters(rules_of(plan, transfer).protocol),
            "limits": asdict(limits_of(transfer, plan)),
            **size_parameters(plan, transfer),
        },
        version=JUDGEMENT_VERSION,
        words=Words(
            what=f"the judgement of an adaptation to {transfer} was",
            absent=f"no adaptation to {transfer} has been judged yet",
            verb=f"crosscity transfer {transfer}",
        ),
    )


def _looked_at(
    adapted: ArtifactRef,
    start: ArtifactRef,
    images: Sequence[ArtifactRef],
    transfer: str,
    plan: Plan,
) -> tuple[dict[str, list[PairSeen]], Sequence[str], tuple[int, int] | None]:
    """What both segmenters show on images and their copies, by copy; and the classes' names.

    At last the size that the start was shown images at, where it is not its own.
    """
    torch.set_num_threads(plan.compute.threads)
    found = StoredUnlabelled(plan.open_store(), images)
    chosen = spread_indices(len(found), MOST_IMAGES)
    seen: dict[str, list[PairSeen]] = {look: [] for look in second_looks.LOOKS}
    with device_turn(plan, transfer):
        earlier, later = (stored_segmenter(plan, ref)[1] for ref in (start, adapted))
        size, shown = network_size(plan, transfer), None
        if size is None and earlier.trained_size != later.trained_size:
            shown = earlier.trained_size = later.trained_size
        both = in_train_ids(earlier), in_train_ids(later)
        groups = predicted_groups(rules_of(plan, transfer).protocol, both[0].class_names)
        networks = on_device(both[0], plan), on_device(both[1], plan)

        for index in chosen:
            for name, signs in _signs_of_image(found, index, networks, size, groups).items():
                seen[name].append(signs)
            progress.advance(f"judge {transfer}", 1, len(chosen))
    return seen, groups.names, shown


def _signs_of_image(
    images: StoredUnlabelled,
    index: int,
    networks: tuple[Segmenter, Segmenter],
    size: tuple[int, int] | None,
    groups: ClassGroups,
) -> dict[str, PairSeen]:
    """What both segmenters show on an image and each of its copies."""
    samples = {look: f"{images.name(index)}, {look}" for look in second_looks.LOOKS}
    try:
        image = images.images([index])[0]
        copies = {look: copied(image) for look, (copied, _) in second_looks.LOOKS.items()}
    except (ImageError, ValueError) as error:
        why = " ".join(str(error).split())
        return {look: PairSeen(sample, None, why) for look, sample in samples.items()}

    def seen(picture: Image) -> ComparedLook:
        return compare_look(
            networks, picture, shown=shown_to(networks, picture, size), groups=groups
        )

    first = seen(image)
    return {
        look: PairSeen(samples[look], pair_of_looks(first, seen(copy), points))
        for look, (copy, points) in copies.items()
    }


def _summary(
    signals: Mapping[str, Signals],
    limits: SafeguardLimits,
    failed: int,
    shown: tuple[int, int] | None,
) -> dict[str, Any]:
    """The verdict of all copies together: each may have seen a harm that the others have not."""
    found = {
        look: verdict(each, limits, looks=second_looks.LOOKS[look][1])
        for look, each in signals.items()
    }
    reasons = list(dict.fromkeys(reason for each in found.values() for reason in each.reasons))
    keep = "before" if any(each.keep == "before" for each in found.values()) else "after"
    first = signals["smaller"]
    unseen = f" {counted(failed, 'more image')} could not be examined." if failed else ""
    return {
        "keep": keep,
        "reasons": reasons,
        "sentence": _sentence(keep, reasons, signals, limits, the_start(shown)) + unseen,
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
    first = signals["smaller"]
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
