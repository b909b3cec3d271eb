"""What two segmenters show on pairs of a city, or images of a set, before any verdict."""

from __future__ import annotations

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
from adapters.store import ArtifactRef, Draft
from crosscity.evaluation import ClassGroups, ScoringProtocol, predicted_groups
from crosscity.pair_signs import ComparedPair, compare_look, pair_of_looks
from crosscity.resizing import resized_image
from crosscity.safeguard import TIMES, Looks, Signals, compare_pairs, divergence, static_points
from crosscity.segmenters import Segmenter, in_train_ids
from tasks.judging.scoring_rules import protocol_parameters, rules_of
from tasks.priors.identities import city_mask
from tasks.priors.pair_prior import extract_prior, why_unmatched
from tasks.steps import progress
from tasks.steps.device import device_turn
from tasks.steps.errors import InputError
from tasks.steps.imagery import Imagery
from tasks.steps.parallel import in_parallel
from tasks.steps.plan import Plan
from tasks.steps.schemas import FAILED, OK, PAIRS, SAFEGUARD
from tasks.steps.tables import Row, read_rows, write_rows
from tasks.training.identities import network_size, view_parameters
from tasks.training.segmenters import stored_segmenter
from tasks.training.trainings import on_device

MOST_PAIRS: Final = 48
"""Training pairs that are examined: some minutes for the largest pictures, seconds for the
demo's; twice as many would narrow the interval by a third."""


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


def look_at_pairs(
    draft: Draft,
    segmenters: tuple[ArtifactRef, ArtifactRef],
    imagery: ArtifactRef,
    pairs: ArtifactRef,
    city: str,
    plan: Plan,
    *,
    stage: str,
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
        stage: What the terminal calls it.
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
            progress.advance(stage, 1, len(chosen))
            return seen

        # One at a time: what predicts uses all threads already.
        seen = in_parallel(look, chosen, workers=1)
    write_rows(draft, "pairs.parquet", [judged_row(each) for each in seen], SAFEGUARD)
    failed = sum(each.reason is not None for each in seen)
    names = first.class_names if groups is None else groups.names
    return LookedAt(compared(seen, names, city), failed, shown)


def examined_parameters(plan: Plan, city: str) -> dict[str, Any]:
    """The settings that `look_at_pairs` depends on."""
    protocol = _protocol(city, plan)
    return {
        "prior": plan.city(city).prior.model_dump(),
        "most_pairs": MOST_PAIRS,
        **view_parameters(plan, city),
        **({} if protocol is None else protocol_parameters(protocol)),
    }


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


def _protocol(city: str, plan: Plan) -> ScoringProtocol | None:
    """How the city is scored; ``None`` where it has no labels."""
    return None if plan.city(city).labels is None else rules_of(plan, city).protocol
