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
_BASE: Final = "base"
_ADDED: Final = "added"
"""Keys of its notes: where the shards of the harvest lie, and those of each addition since."""


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


def added_since(found: Harvest, city: str, plan: Plan) -> list[list[ArtifactRef]]:
    """Shards that watch-city had added to a harvest, where they have to be added anew.

    That is where what the city stands on was made of the same fetched shards, by another version or
    with other settings of pairs, or is damaged: what was added must not be lost with it.

    Returns:
        The shards of each addition, the oldest first; none where what the city stands on was made
        by adding to `found`, or of other shards.
    """
    store = plan.open_store()
    known = _found(store, city)
    if known is not None and _was_added_to(store, known.pairs, found.pairs):
        return []
    history = _history(store, city, known)
    if history is None or set(history.base) != set(_made_of(store, found.imagery)[0]):
        return []
    there = [[store.find_at(uri) for uri in parts] for parts in history.added]
    return [[ref for ref in parts if ref is not None] for parts in there]


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
    store, refs = plan.open_store(), {"imagery": imagery, "pairs": pairs}
    history = _grown(store, city, imagery)
    notes = {_BASE: history.base, _ADDED: history.added}
    commit(store, HARVEST, city, refs, notes=notes, events=events)
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


@dataclass(frozen=True)
class _History:
    """Where the shards lie that an imagery was made of: of the harvest, and of each addition."""

    base: list[str]
    added: list[list[str]]


def _history(store: Store, city: str, known: Harvest | None) -> _History | None:
    state = store.selected(HARVEST, city)
    if state is not None and _BASE in state.notes:
        noted: Any = state.notes
        return _History(list(noted[_BASE]), [list(parts) for parts in noted[_ADDED]])
    return None if known is None else _walked(store, known.imagery)


def _grown(store: Store, city: str, imagery: ArtifactRef) -> _History:
    """The history of an imagery, out of the notes where it is one addition more than these."""
    state = store.selected(HARVEST, city)
    parts, before = _made_of(store, imagery)
    noted = _history(store, city, None)
    if state is None or noted is None:
        return _walked(store, imagery)
    if state.refs.get("imagery") == imagery:
        return noted
    if before is not None and state.refs.get("imagery") == before:
        return _History(noted.base, [*noted.added, parts])
    return _walked(store, imagery)


def _walked(store: Store, imagery: ArtifactRef) -> _History:
    """The history of an imagery, out of the manifests of those that it was made of."""
    added: list[list[str]] = []
    parts, before = _made_of(store, imagery)
    while before is not None:
        added.insert(0, parts)
        parts, before = _made_of(store, before)
    return _History(parts, added)


def _made_of(store: Store, imagery: ArtifactRef) -> tuple[list[str], ArtifactRef | None]:
    """Where the shards of an imagery lie, and the imagery that they were added to."""
    places: Mapping[str, str] = store.manifest(imagery).inputs_at
    if not places:  # of an earlier release
        found = store.inputs_of(imagery)
        places = {role: ref.uri for role, ref in found.items() if ref is not None}
    before = places.get("before")
    parts = [places[role] for role in sorted(places) if role.startswith("part-")]
    return parts, None if before is None else store.find_at(before)


def _was_added_to(store: Store, grown: ArtifactRef, base: ArtifactRef) -> bool:
    """Whether pairs were made by adding to others, in one step or in several."""
    at: ArtifactRef | None = grown
    while at is not None and at != base:
        at = store.inputs_of(at).get("before")
    return at is not None
