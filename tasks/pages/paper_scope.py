"""What the paper's tables are of: the cities, transfers, arms and seeds, and their source sets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from tasks.judging.evaluated import scored_split
from tasks.steps.errors import InputError
from tasks.steps.logs import warn_user
from tasks.steps.plan import Plan
from tasks.training.arms import BOUND, START
from tasks.training.identities import segmenter_of, source_of
from tasks.training.transfers import is_scored_on_what_it_learns

TABLE_3_ARMS: Final = (START, "ga", "ga_ca", BOUND)
"""The paper's Table 3, and the bound that it does not have."""


def reportable(plan: Plan) -> tuple[list[str], list[str]]:
    """The catalog's cities and transfers that are scored, and that the tables can show.

    Those whose segmenter has no source set are left out with a remark, as the arms of the tables
    train on its images.
    """
    cities = [name for name, city in plan.cities.items() if city.labels is not None]
    transfers = scored_transfers(plan)
    left_out = [
        f"{section}.{name}"
        for section, names in (("cities", cities), ("transfers", transfers))
        for name in names
        if not _has_source(name, plan)
    ]
    if left_out:
        warn_user(
            f"{', '.join(left_out)}: not in the tables, whose arms train on images of a source "
            "set; the segmenter named there has none"
        )
    return (
        [name for name in cities if _has_source(name, plan)],
        [name for name in transfers if _has_source(name, plan)],
    )


def scored_transfers(plan: Plan) -> list[str]:
    """The catalog's transfers that are scored."""
    return [name for name in plan.transfers if plan.scored_split(name) is not None]


def each_once(seeds: Sequence[int]) -> list[int]:
    """The seeds that numbers are over: one that is named twice is no second training.

    Raises:
        InputError: There is none.
    """
    if not seeds:
        raise InputError("the tables are of trainings, and no seed is given: name one at least")
    return list(dict.fromkeys(seeds))


def table_3_arms(transfer: str, plan: Plan) -> tuple[str, ...]:
    """The arms of a transfer's table: without the bound where that has seen what is scored."""
    if not is_scored_on_what_it_learns(BOUND, transfer, plan):
        return TABLE_3_ARMS
    warn_user(
        f"transfers.{transfer}: its table has no fine-tuned arm, which would learn from the labels "
        "of the images that are scored"
    )
    return tuple(arm for arm in TABLE_3_ARMS if arm != BOUND)


def check_wanted(cities: Sequence[str], transfers: Sequence[str], plan: Plan) -> None:
    """Fails before any work where a city or transfer, its labels or a source set is not there."""
    for city in cities:
        if plan.city(city).labels is None:
            raise InputError(f"cities.{city} has no labels in the catalog, so it has no table")
    for transfer in transfers:
        scored_split(transfer, plan)
    for owner in (*cities, *transfers):
        source_of(segmenter_of(owner, plan), plan)
    if not cities and not transfers:
        raise InputError(
            "the catalog has neither a city with labels nor a transfer to report on whose "
            "segmenter has a source set"
        )


def _has_source(owner: str, plan: Plan) -> bool:
    return plan.segmenter(segmenter_of(owner, plan)).source is not None


def source_test_split(source: str, plan: Plan) -> str | None:
    """The split of a data set that its segmenter is scored on; ``None`` where it has none."""
    return plan.dataset(source).scored_split


def sources_of(cities: Sequence[str], plan: Plan) -> dict[str, str]:
    """The source set of each segmenter that the cities adapt, by the segmenter's name."""
    names = dict.fromkeys(segmenter_of(city, plan) for city in cities)
    return {name: source_of(name, plan) for name in names}
