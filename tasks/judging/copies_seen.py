"""What two segmenters show on images of a set and copies of them, before any verdict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch

from adapters.images import ImageError
from adapters.store import ArtifactRef, Draft
from crosscity import second_looks
from crosscity.adaptation.spread import spread_indices
from crosscity.evaluation import ClassGroups, predicted_groups
from crosscity.pair_signs import ComparedLook, Image, compare_look, pair_of_looks
from crosscity.safeguard import Signals
from crosscity.segmenters import Segmenter, in_train_ids
from tasks.judging.pairs_seen import PairSeen, compared, judged_row, shown_to
from tasks.judging.scoring_rules import protocol_parameters, rules_of
from tasks.steps import progress
from tasks.steps.device import device_turn
from tasks.steps.plan import Plan
from tasks.steps.schemas import SAFEGUARD
from tasks.steps.tables import write_rows
from tasks.training.identities import network_size, size_parameters
from tasks.training.segmenters import stored_segmenter
from tasks.training.stored_images import StoredUnlabelled
from tasks.training.trainings import on_device

MOST_IMAGES: Final = 32
"""Images of the set that are examined, spread evenly: a minute or two for a light network."""
FIRST_LOOK: Final = "smaller"
"""The copies with which entropy and information are told, where one value is."""


@dataclass(frozen=True)
class CopiesSeen:
    """What two segmenters show on images of a set and copies of them.

    Attributes:
        signals: What they show, by copy.
        failed: How many images could not be examined.
        shown: (height, width) at which the earlier one was shown images because the later one is,
            and not at its own size; ``None`` elsewhere.
    """

    signals: Mapping[str, Signals]
    failed: int
    shown: tuple[int, int] | None = None


def look_at_copies(
    draft: Draft,
    segmenters: tuple[ArtifactRef, ArtifactRef],
    images: Sequence[ArtifactRef],
    transfer: str,
    plan: Plan,
    *,
    stage: str,
    at_one_size: bool = False,
) -> CopiesSeen:
    """What two segmenters of one label space show on images; writes a row an image and copy.

    Classes count as the transfer's protocol counts predictions.

    Args:
        draft: Gets `pairs.parquet`.
        segmenters: The earlier and the later.
        images: Shards of the target; `MOST_IMAGES` of their images are looked at.
        transfer: Of the catalog.
        plan: The run's plan.
        stage: What the terminal calls it.
        at_one_size: Whether the earlier is shown images as the later is.

    Raises:
        InputError: None of the images can be examined.
    """
    torch.set_num_threads(plan.compute.threads)
    found = StoredUnlabelled(plan.open_store(), images)
    chosen = spread_indices(len(found), MOST_IMAGES)
    seen: dict[str, list[PairSeen]] = {look: [] for look in second_looks.LOOKS}
    with device_turn(plan, transfer):
        earlier, later = (stored_segmenter(plan, ref)[1] for ref in segmenters)
        size, shown = network_size(plan, transfer), None
        if at_one_size and size is None and earlier.trained_size != later.trained_size:
            shown = earlier.trained_size = later.trained_size
        both = in_train_ids(earlier), in_train_ids(later)
        groups = predicted_groups(rules_of(plan, transfer).protocol, both[0].class_names)
        networks = on_device(both[0], plan), on_device(both[1], plan)

        for index in chosen:
            for name, signs in _signs_of_image(found, index, networks, size, groups).items():
                seen[name].append(signs)
            progress.advance(stage, 1, len(chosen))
    rows = [judged_row(each) for looks in seen.values() for each in looks]
    write_rows(draft, "pairs.parquet", rows, SAFEGUARD)
    signals = {
        look: compared(each, groups.names, transfer, second_looks.LOOKS[look][1])
        for look, each in seen.items()
    }
    failed = sum(each.reason is not None for each in seen[FIRST_LOOK])
    return CopiesSeen(signals, failed, shown)


def copies_parameters(plan: Plan, transfer: str) -> dict[str, Any]:
    """The settings that `look_at_copies` depends on."""
    return {
        "most_images": MOST_IMAGES,
        **protocol_parameters(rules_of(plan, transfer).protocol),
        **size_parameters(plan, transfer),
    }


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
