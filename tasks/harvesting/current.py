"""The harvest that a city stands on: which images and pairs the other verbs work on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from adapters.store import ArtifactRef, Store
from tasks.steps.announcing import announce, commit
from tasks.steps.errors import InputError
from tasks.steps.plan import Plan

HARVEST: Final = "harvest"
"""Name of the selection: imagery and pairs of a city, switched together."""


@dataclass(frozen=True)
class Harvest:
    """What a harvest left, and what was added since.

    Attributes:
        imagery: The city's images.
        pairs: Which of them belong together.
    """

    imagery: ArtifactRef
    pairs: ArtifactRef


def current_harvest(city: str, plan: Plan) -> Harvest:
    """What the last harvest of a city left.

    Raises:
        InputError: The city was not harvested yet.
    """
    plan.city(city)
    found = _found(plan.open_store(), city)
    if found is None:
        raise InputError(
            f"{city} has no harvested pairs in this store: run `crosscity harvest {city}` first"
        )
    return found


def settle_harvest(imagery: ArtifactRef, pairs: ArtifactRef, city: str, plan: Plan) -> Harvest:
    """Makes a harvest the city's, unless what is there already was made by adding to this one.

    Returns:
        The city's harvest from now on.
    """
    store = plan.open_store()
    known = _found(store, city)
    if known is not None and known.pairs != pairs and _was_added_to(store, known.pairs, pairs):
        return replace_harvest(known.imagery, known.pairs, city, plan)
    return replace_harvest(imagery, pairs, city, plan)


def replace_harvest(
    imagery: ArtifactRef,
    pairs: ArtifactRef,
    city: str,
    plan: Plan,
    events: Sequence[Mapping[str, Any]] = (),
) -> Harvest:
    """Makes a harvest the city's, whatever was before, in one switch.

    Args:
        imagery: The images.
        pairs: Their pairs.
        city: The city.
        plan: The plan.
        events: What `announce_landed` is to tell of it.
    """
    refs = {"imagery": imagery, "pairs": pairs}
    commit(plan.open_store(), HARVEST, city, refs, events=events)
    return Harvest(imagery, pairs)


def announce_landed(city: str, plan: Plan) -> list[dict[str, Any]]:
    """Announces what was added to a city and was not announced yet, also by a run that died.

    Returns:
        The events that were sent now.
    """
    return announce(plan.open_store(), HARVEST, city)


def _found(store: Store, city: str) -> Harvest | None:
    state = store.selected(HARVEST, city)
    if state is not None:
        imagery, pairs = state.refs.get("imagery"), state.refs.get("pairs")
        if imagery is None or pairs is None:
            return None
        there = store.find_ref(imagery) and store.find_ref(pairs)
        return Harvest(imagery, pairs) if there else None
    # Until there is a selection: the two pointers of earlier releases, if they belong together.
    imagery, pairs = store.current("imagery", city), store.current("pairs", city)
    if imagery is None or pairs is None or store.inputs_of(pairs).get("imagery") != imagery:
        return None
    return Harvest(imagery, pairs)


def _was_added_to(store: Store, grown: ArtifactRef, base: ArtifactRef) -> bool:
    """Whether pairs were made by adding to others, in one step or in several."""
    at: ArtifactRef | None = grown
    while at is not None and at != base:
        at = store.inputs_of(at).get("before")
    return at is not None
