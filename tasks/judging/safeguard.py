"""Judging an adaptation without labels before it is promoted, and keeping the earlier segmenter."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch

from adapters.catalog import PriorSettings
from adapters.image_masks import ImageMask
from adapters.images import ImageError
from adapters.store import ArtifactRef, Draft, Store
from crosscity import safeguard as safeguard_module
from crosscity.evaluation import ClassGroups, ScoringProtocol, predicted_groups
from crosscity.pair_signs import ComparedPair, compare_look, pair_of_looks
from crosscity.percentages import percentage
from crosscity.resizing import resized_image
from crosscity.safeguard import (
    TIMES,
    Looks,
    SafeguardLimits,
    Signals,
    Verdict,
    compare_pairs,
    divergence,
    static_points,
    vanished_classes,
    vanished_sentence,
    verdict,
)
from crosscity.segmenters import Segmenter, in_train_ids
from tasks.judging.promotion import PROMOTED, promoted_segmenter, put_in_use
from tasks.judging.scoring_rules import protocol_parameters, rules_of
from tasks.judging.start_at_size import size_shown, start_at_size
from tasks.priors.identities import PRIOR_VERSION, city_mask
from tasks.priors.pair_prior import extract_prior, why_unmatched
from tasks.steps import progress
from tasks.steps.announcing import announce, event_of
from tasks.steps.artifact_task import Made, artifact_task, step
from tasks.steps.counted import counted
from tasks.steps.dashboard import only_shown, publish_lineage, publish_markdown
from tasks.steps.device import device_turn
from tasks.steps.errors import InputError
from tasks.steps.identity import Identity, Words, make
from tasks.steps.imagery import Imagery
from tasks.steps.logs import log
from tasks.steps.parallel import in_parallel
from tasks.steps.plan import Plan
from tasks.steps.schemas import FAILED, OK, PAIRS, SAFEGUARD
from tasks.steps.tables import Row, read_rows, write_rows
from tasks.training.arms import is_fine_tuned
from tasks.training.identities import network_size, training_of, view_parameters
from tasks.training.segmenters import stored_segmenter
from tasks.training.stored_networks import read_class_names
from tasks.training.trainings import on_device

SAFEGUARD_VERSION: Final = f"5-safeguard.{safeguard_module.ALGORITHM_VERSION}-prior.{PRIOR_VERSION}"
MOST_PAIRS: Final = 48
"""Training pairs that are examined: some minutes for the largest pictures, seconds for the
demo's; twice as many would narrow the interval by a third."""
ADAPTATION_REJECTED: Final = "adaptation.rejected"
"""The event; its resource is ``crosscity.city.<name>``."""
REJECTED: Final = "rejected"
"""Key of a note beside the promoted segmenter: digest of the last judgement that rejected one."""


@dataclass(frozen=True)
class PairSeen:
    """What both segmenters show on a pair.

    Attributes:
        pair_id: The pair.
        signs: Of both; ``None`` where the pair could not be examined.
        reason: Why it could not.
    """

    pair_id: str
    signs: ComparedPair | None
    reason: str | None = None


@dataclass(frozen=True)
class LookedAt:
    """What two segmenters show on the pairs of a city.

    Attributes:
        signals: What they show.
        failed: How many pairs could not be examined.
        shown: (height, width) at which the earlier one was shown images because the later one is,
            and not at its own size; ``None`` elsewhere.
    """

    signals: Signals
    failed: int
    shown: tuple[int, int] | None = None


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
            draft, (earlier, adapted), imagery, pairs, city, plan, at_one_size=_is_start(earlier)
        )
        draft.summary = _summary(seen, limits, earlier)

    judgement = judgement_identity(adapted, earlier, imagery, pairs, city, plan)
    made = make(plan.open_store(), judgement, write)
    publish_judgement(plan.open_store(), made.ref, city)
    return made


def look_at_pairs(
    draft: Draft,
    segmenters: tuple[ArtifactRef, ArtifactRef],
    imagery: ArtifactRef,
    pairs: ArtifactRef,
    city: str,
    plan: Plan,
    *,
    at_one_size: bool = False,
) -> LookedAt:
    """What two segmenters of one label space show on pairs; writes a row a pair.

    Classes count as the city's protocol counts predictions, where the city is scored by one: what
    is not told apart there cannot vanish there.

    Args:
        draft: Gets `pairs.parquet`.
        segmenters: The earlier and the later.
        imagery: Of the city.
        pairs: Of the city; `MOST_PAIRS` of the training pairs are looked at.
        city: The city.
        plan: The run's plan.
        at_one_size: Whether the earlier is shown images as the later is.

    Raises:
        InputError: There is no training pair, or none can be examined.
    """
    torch.set_num_threads(plan.compute.threads)
    entry, mask = plan.city(city), city_mask(plan, city)
    chosen = sampled_pairs(read_rows(plan.open_store(), pairs, "pairs.parquet", PAIRS))
    images = Imagery(plan.open_store(), imagery)
    with device_turn(plan, city):
        first, second = (stored_segmenter(plan, ref)[1] for ref in segmenters)
        size, shown = network_size(plan, city), None
        if at_one_size and size is None and second.trained_size != first.trained_size:
            shown = first.trained_size = second.trained_size
        protocol, groups = _protocol(city, plan), None
        if protocol is not None:
            first, second = in_train_ids(first), in_train_ids(second)
            groups = predicted_groups(protocol, first.class_names)
        both = on_device(first, plan), on_device(second, plan)

        def look(pair: Row) -> PairSeen:
            device = plan.compute.device
            seen = _signs_of_pair(images, pair, both, entry.prior, size, device, mask, groups)
            progress.advance(f"judge {city}", 1, len(chosen))
            return seen

        # One at a time: what predicts uses all threads already.
        seen = in_parallel(look, chosen, workers=1)
    write_rows(draft, "pairs.parquet", [judged_row(each) for each in seen], SAFEGUARD)
    failed = sum(each.reason is not None for each in seen)
    names = first.class_names if groups is None else groups.names
    return LookedAt(compared(seen, names, city), failed, shown)


def _is_start(earlier: ArtifactRef) -> bool:
    return earlier.kind == "segmenter"


def _protocol(city: str, plan: Plan) -> ScoringProtocol | None:
    """How the city is scored; ``None`` where it has no labels."""
    return None if plan.city(city).labels is None else rules_of(plan, city).protocol


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


def examined_parameters(plan: Plan, city: str) -> dict[str, Any]:
    """The settings that `look_at_pairs` depends on."""
    protocol = _protocol(city, plan)
    return {
        "prior": plan.city(city).prior.model_dump(),
        "most_pairs": MOST_PAIRS,
        **view_parameters(plan, city),
        **({} if protocol is None else protocol_parameters(protocol)),
    }


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


def sampled_pairs(rows: Sequence[Row]) -> list[Row]:
    """At most `MOST_PAIRS` of the training pairs, drawn once for a list of pairs, in its order."""
    training = [row for row in rows if row["split"] == "train"]
    if not training:
        raise InputError("there is no training pair to judge the adaptation on")
    order = np.random.default_rng([len(training), MOST_PAIRS]).permutation(len(training))
    return [training[index] for index in sorted(order[:MOST_PAIRS].tolist())]


def _signs_of_pair(
    images: Imagery,
    pair: Row,
    networks: tuple[Segmenter, Segmenter],
    settings: PriorSettings,
    size: tuple[int, int] | None,
    device: str,
    mask: ImageMask | None,
    groups: ClassGroups | None,
) -> PairSeen:
    try:
        first, second = (images.read(pair[end]) for end in ("image_a", "image_b"))
        prior = extract_prior(first, second, settings, device, mask)
    except (ImageError, ValueError) as error:
        return PairSeen(pair["pair_id"], None, why_unmatched(error, pair["pair_id"]))
    left_out = None if mask is None else mask.pixels((first.shape[0], first.shape[1]))
    try:
        looks = [
            compare_look(
                networks,
                image,
                shown=shown_to(networks, image, size),
                ignored=left_out,
                groups=groups,
            )
            for image in (first, second)
        ]
    except torch.OutOfMemoryError as error:
        raise InputError(
            f"{device} ran out of memory with one image of {pair['pair_id']}: use a smaller "
            f"image_size in `trainings`, or end what else runs on it ({str(error).splitlines()[0]})"
        ) from None
    points = static_points(prior.matches, prior.masks)
    return PairSeen(pair["pair_id"], pair_of_looks(looks[0], looks[1], points))


def shown_to(
    networks: tuple[Segmenter, Segmenter],
    image: npt.NDArray[np.uint8],
    size: tuple[int, int] | None,
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """An image as each network is shown it: an adaptation may have chosen a size of its own."""
    first, second = networks
    return (
        resized_image(image, size or first.trained_size),
        resized_image(image, size or second.trained_size),
    )


def compared(
    seen: Sequence[PairSeen], class_names: Sequence[str], owner: str, looks: Looks = TIMES
) -> Signals:
    """What two segmenters show on all pairs of a city, or images of a set, together.

    Raises:
        InputError: None of them could be examined.
    """
    pairs = [each.signs for each in seen if each.signs is not None]
    if not pairs:
        raise InputError(f"none of the {looks.unit} of {owner} can be examined: {seen[0].reason}")
    return compare_pairs(pairs, class_names)


def judged_row(seen: PairSeen) -> Row:
    """A row of `pairs.parquet`."""
    if seen.signs is None:
        empty = dict.fromkeys(SAFEGUARD.names)
        return {**empty, "pair_id": seen.pair_id, "status": FAILED, "reason": seen.reason}
    before, after = seen.signs.before, seen.signs.after
    pixels = int(before.classes.sum())
    return {
        "pair_id": seen.pair_id,
        "points": int(before.table.sum()),
        "equal_before": int(np.trace(before.table)),
        "equal_after": int(np.trace(after.table)),
        "drift": divergence(before.classes, after.classes),
        "entropy_before": before.entropy / pixels,
        "entropy_after": after.entropy / pixels,
        "status": OK,
        "reason": None,
    }


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


def signals_as_json(signals: Signals) -> dict[str, Any]:
    """Signals as JSON has them; ``None`` where there is no value."""
    found: dict[str, Any] = _jsonable(asdict(signals))
    return found


def _jsonable(value: object) -> Any:  # noqa: ANN401 - whatever JSON may hold
    """NaN, which JSON has not, as null; tuples as lists."""
    if isinstance(value, dict):
        return {name: _jsonable(each) for name, each in value.items()}
    if isinstance(value, tuple | list):
        return [_jsonable(each) for each in value]
    return None if isinstance(value, float) and math.isnan(value) else value


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
