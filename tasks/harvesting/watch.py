"""Adding to a city what was captured since its last harvest; what is there stays as it is."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final

import numpy as np

from adapters.store import ArtifactRef, Draft, Store
from adapters.street_view.base import capture_table
from adapters.street_view.records import digest_of
from adapters.street_view.service import ServiceStreetView
from crosscity.pairing import ALGORITHM_VERSION as PAIRING_VERSION
from crosscity.pairing import make_pairs, within_margin
from tasks.harvesting.accounts import forget_spent, shared_account
from tasks.harvesting.current import Harvest
from tasks.harvesting.fetching import capture_of, capture_row, listing_digest
from tasks.harvesting.harvest import (
    FETCHED_VERSION,
    HARVEST_VERSION,
    check_and_publish_failures,
    publish_pairs,
    read_parts,
)
from tasks.harvesting.listing import (
    RECENT,
    captures_key,
    list_service,
    listing_parameters,
    write_listing,
)
from tasks.harvesting.pair_table import (
    count_dropped,
    dropped_rows,
    joined_groups,
    min_overlap,
    numbered_groups,
    pair_parameters,
    pair_row,
    pair_settings,
    pair_summary,
    read_dropped,
    split_by_overlap,
    write_dropped,
)
from tasks.harvesting.providers import street_view
from tasks.harvesting.quality import quality_limits, quality_parameters, without_unfit
from tasks.harvesting.spending import spent_on
from tasks.steps.announcing import event_of
from tasks.steps.artifact_task import Made, artifact_task, digests, make_once, step
from tasks.steps.errors import InputError
from tasks.steps.looking import about_to_work, is_looking
from tasks.steps.plan import Plan
from tasks.steps.schemas import CAPTURES, IMAGERY, OK, PAIRS, images_of
from tasks.steps.tables import Row, failures, left_out, read_rows, write_rows

IMAGERY_LANDED: Final = "imagery.landed"
"""The event; its resource is ``crosscity.city.<name>``."""
FIXED_TEST: Final = "at a test place, or too near to one: the test stays what it was"


@step("look for new imagery", run_name="look for new imagery of {city}")
def find_new_captures(before: Harvest, city: str, plan: Plan) -> ArtifactRef | None:
    """Asks the provider for what is newer than the city's harvest.

    Returns:
        A `captures` artifact with the new views alone, ``None`` if there are none.
    """
    if not is_looking():
        plan.open_store().check_writable()
    provider = street_view(plan, city)
    if isinstance(provider, ServiceStreetView):
        return _new_at_service(plan, city, provider, before.imagery)
    known = _column(plan.open_store(), before.imagery, "image_id")
    rows = [capture_row(c) for c in provider.captures() if c.image_id not in known]
    if not rows:
        return None

    def write(draft: Draft, _key: str) -> None:
        write_rows(draft, "captures.parquet", rows, CAPTURES)
        draft.summary = {"captures": len(rows)}

    listing = listing_digest(rows)
    return make_once(
        plan.open_store(),
        "captures",
        city,
        inputs={"before": before.imagery},
        parameters={
            "listing": listing,
            "revision": provider.revision(),
            **plan.city(city).provider.identity(),
        },
        version=HARVEST_VERSION,
        write=write,
    ).ref


@artifact_task("add imagery", run_name="add imagery of {city}")
def add_imagery(before: Harvest, parts: Sequence[ArtifactRef], city: str, plan: Plan) -> Made:
    """Adds shards to the city's `imagery`; the shards that it had are referred to unchanged."""
    store = plan.open_store()
    old = read_rows(store, before.imagery, "imagery.parquet", IMAGERY)
    limits = quality_limits(plan.city(city))
    new = without_unfit(read_parts(store, parts), limits)
    check_and_publish_failures(plan, city, new)

    def write(draft: Draft, _key: str) -> None:
        write_rows(draft, "imagery.parquet", [*old, *new], IMAGERY)
        draft.summary = {
            "images": len(old) + len(new),
            "added": len(new),
            "failures": failures([*old, *new]),
            "left_out": left_out([*old, *new]),
            "spent": spent_on(store, parts).to_dict(),
        }

    return make_once(
        store,
        "imagery",
        city,
        inputs={"before": before.imagery, **digests(parts)},
        parameters=quality_parameters(limits),
        version=HARVEST_VERSION,
        write=write,
    )


@artifact_task("add pairs", run_name="add pairs of {city}")
def add_pairs(before: Harvest, imagery: ArtifactRef, city: str, plan: Plan) -> Made:
    """Adds the pairs of new images to the city's `pairs`.

    Pairs that are there keep their images and their side. New ones are for training, as a test
    that changes measures nothing; where the provider itself puts a place on a side, it stays there.
    """
    store, entry = plan.open_store(), plan.city(city)
    if before.imagery == imagery:
        raise InputError(f"there is no new imagery of {city} to make pairs of")
    settings, least = pair_settings(entry), min_overlap(entry)

    def write(draft: Draft, _key: str) -> None:
        old_pairs = read_rows(store, before.pairs, "pairs.parquet", PAIRS)
        known = _column(store, before.imagery, "image_id")
        images = read_rows(store, imagery, "imagery.parquet", IMAGERY)
        rows, dropped = _new_pairs(images, known, old_pairs, settings, least)
        every = [*old_pairs, *rows]
        write_rows(draft, "pairs.parquet", every, PAIRS)
        write_dropped(
            draft, _still_dropped(read_dropped(store, before.pairs) or (), dropped, every)
        )
        counts = count_dropped(dropped)
        draft.summary = {**pair_summary(every, counts), "added": len(rows)}

    made = make_once(
        store,
        "pairs",
        city,
        inputs={"imagery": imagery, "before": before.pairs},
        parameters=pair_parameters(entry),
        version=PAIRING_VERSION,
        write=write,
    )
    publish_pairs(store, city, made.ref)
    return made


def landed_event(city: str, imagery: ArtifactRef, pairs: ArtifactRef, plan: Plan) -> dict[str, Any]:
    """The event `imagery.landed`, on which a deployment of readapt-city can start.

    Its payload: city, counts of new pairs and images, the artifacts' keys.
    """
    store = plan.open_store()
    return event_of(
        IMAGERY_LANDED,
        city,
        {
            "city": city,
            "count": store.manifest(pairs).summary["added"],
            "images": store.manifest(imagery).summary["added"],
            "artifacts": {"imagery": imagery.key, "pairs": pairs.key},
        },
    )


def _new_at_service(
    plan: Plan, city: str, provider: ServiceStreetView, before: ArtifactRef
) -> ArtifactRef | None:
    store = plan.open_store()
    parameters = {**listing_parameters(plan.city(city), provider), "before": before.digest}
    key = captures_key(parameters, FETCHED_VERSION)
    found = store.find("captures", city, key)
    if found is not None:  # a run that found news was stopped before it had fetched them
        return found
    about_to_work()
    with store.lease("captures", city, key) as there:
        return there or _ask_provider(plan, city, provider, before, parameters, key)


def _ask_provider(
    plan: Plan,
    city: str,
    provider: ServiceStreetView,
    before: ArtifactRef,
    parameters: dict[str, Any],
    key: str,
) -> ArtifactRef | None:
    """Asks a service what is new; within the lease of the list that comes of it."""
    store, entry = plan.open_store(), plan.city(city)
    lists = lists_of(store, city, before)
    lookback = timedelta(days=entry.lookback_days)
    newer_than = max(_listed_at(store, ref) for ref in lists) - lookback
    known = {digest_of(name) for name in _column(store, before, "source_id") if name}
    for ref in lists:
        known |= set(store.path(ref, RECENT).read_text(encoding="ascii").split())
    with shared_account(plan, city, provider, key):
        listing, summary = list_service(
            store,
            city,
            key,
            provider,
            newer_than=newer_than,
            known=frozenset(known),
            lookback=lookback,
        )
    if not listing.captures:
        # The next look has the same key, and a budget of its own.
        store.clear_progress("captures", city, key)
        forget_spent(store, city, key)
        return None

    def write(draft: Draft, _key: str) -> None:
        write_listing(draft, listing, summary)

    return make_once(
        store,
        "captures",
        city,
        inputs={},
        parameters=parameters,
        version=FETCHED_VERSION,
        write=write,
        alone=False,
    ).ref


def _new_pairs(
    images: Sequence[Row],
    known: set[str],
    old_pairs: Sequence[Row],
    settings: dict[str, Any],
    least: float | None,
) -> tuple[list[Row], list[Row]]:
    """Pairs of which at least one image is new, and as rows of `DROPPED`, why others are not."""
    paired = {image_id for pair in old_pairs for image_id in images_of(pair)}
    usable = [row for row in images if row["status"] == OK]
    touched = {row["place_id"] for row in usable if row["image_id"] not in known}
    candidates = [
        row
        for row in usable
        if row["image_id"] not in known
        or (row["place_id"] in touched and row["image_id"] not in paired)
    ]
    shown, apart = split_by_overlap(candidates, least)
    captures = [capture_of(row) for row in shown]
    # What is old: the test places, which neither grow nor are viewed from close by.
    test_images = {
        image_id for pair in old_pairs if pair["split"] == "test" for image_id in images_of(pair)
    }
    held = [capture_of(row) for row in usable if row["image_id"] in test_images]
    table = capture_table([*captures, *held])
    chosen = make_pairs(
        capture_table(captures, with_light="lights" in settings), **{**settings, "test_places": 0}
    )
    ends = np.stack([chosen.a, chosen.b])
    fixed = len(captures) + np.arange(len(held))
    near = within_margin(
        table,
        np.concatenate([ends, np.stack([fixed, fixed])], axis=1),
        np.concatenate([np.zeros(len(chosen), np.bool_), np.ones(len(held), np.bool_)]),
        settings["test_margin_metres"],
    )
    test_places = {pair["place_id"] for pair in old_pairs if pair["split"] == "test"}
    rows, fixed_test = [], []
    for row, (a, b) in enumerate(zip(chosen.a.tolist(), chosen.b.tolist(), strict=True)):
        if {captures[a].image_id, captures[b].image_id} <= known:
            continue
        given = captures[a].split is not None
        if not given and (near[row] or captures[a].place_id in test_places):
            ends_of = [(captures[end].image_id, captures[end].place_id) for end in (a, b)]
            fixed_test.append((ends_of, FIXED_TEST))
            continue
        rows.append(pair_row(captures, chosen, row))
    return rows, joined_groups(dropped_rows(captures, chosen, apart), numbered_groups(fixed_test))


def _still_dropped(before: Sequence[Row], now: Sequence[Row], pairs: Sequence[Row]) -> list[Row]:
    """What was dropped before or now and is in no pair; of what was looked at again, the latter."""
    paired = {image_id for pair in pairs for image_id in images_of(pair)}
    again = {row["image_id"] for row in now}
    kept = [row for row in before if row["image_id"] not in paired | again]
    return joined_groups(kept, [row for row in now if row["image_id"] not in paired])


def _column(store: Store, imagery: ArtifactRef, name: str) -> set[str]:
    rows = read_rows(store, imagery, "imagery.parquet", IMAGERY, (name,))
    return {row[name] for row in rows}


def lists_of(store: Store, city: str, imagery: ArtifactRef) -> list[ArtifactRef]:
    """The lists that an imagery was fetched from, those of the imagery before it included."""
    found: dict[str, ArtifactRef] = {}
    pending = [imagery]
    while pending:
        for made_of in store.inputs_of(pending.pop()).values():
            if made_of is not None and made_of.kind == "captures":
                found[made_of.digest] = made_of
            elif made_of is not None:
                pending.append(made_of)
    if not found:
        raise InputError(f"the list of {city} is gone from the store: harvest it again")
    return [found[digest] for digest in sorted(found)]


def _listed_at(store: Store, captures: ArtifactRef) -> datetime:
    return datetime.fromisoformat(str(store.manifest(captures).summary["listed_at"]))
