"""The harvest that a city stands on: which images and pairs the other verbs work on."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from pydantic import BaseModel
from pydantic_core import to_jsonable_python

from adapters.catalog import City
from adapters.store import SINGLE, ArtifactRef, Selection, Store
from crosscity.alignment import ALGORITHM_VERSION as ALIGNMENT_VERSION
from crosscity.pairing import ALGORITHM_VERSION as PAIRING_VERSION
from simcity import ALGORITHM_VERSION as SIMULATION_VERSION
from tasks.harvesting.pair_table import pair_parameters
from tasks.steps.announcing import alter, announce
from tasks.steps.errors import InputError, StaleError
from tasks.steps.freshness import as_words, differences
from tasks.steps.logs import log
from tasks.steps.plan import Plan

HARVEST: Final = "harvest"
"""Name of the selection: imagery and pairs of a city, switched together."""
_BASE: Final = "base"
_ADDED: Final = "added"
"""Keys of its notes: where the shards of the harvest lie, and those of each addition since."""
_MOST_TRIES: Final = 20
"""How often a harvest is looked at anew where other runs change it."""
_MADE_WITH: Final = "made_with"
"""Key of its notes: settings of the city, and versions, that decided what was harvested."""
_SHAPE: Final = "shape"
"""Key of a noted area of which only a digest is noted."""
_LONGEST_AREA: Final = 4096
"""Characters of an area that are noted as they are."""
NOT_OF_A_HARVEST: Final = {
    "labels": "read when something is scored",
    "prior": "of the static priors",
    "segmenter": "of the adaptation",
    "training": "of the adaptation",
    "arm": "of the adaptation",
    "training_seed": "of the adaptation",
    "priority": "who is first at the GPU",
    "predictions": "made of what was harvested",
    "pairs_per_part": "only says how the work is divided",
    "failure_limit": "what is harvested is the same, or the harvest fails",
    "schedule": "when the flow runs",
    "watch_schedule": "when the flow runs",
    "lookback_days": "what a later look goes back to",
    "test_margin_metres": "stands in it with the default of its provider",
}
"""Settings of a city that change nothing in its images and pairs, and why."""
NOT_OF_A_PROVIDERS_HARVEST: Final = {
    "budget": "how much may be spent",
    "requests_per_second": "how fast it is asked",
    "concurrency": "how fast it is asked",
    "account": "how much may be spent, and how fast it is asked",
    "token": "a secret",
    "key": "a secret",
    "agreement": "a permission",
    "usd_per_request": "a price",
    "mask": "of the static priors, adaptations and labels",
    "root": "where the folder lies on this machine",
    "url": "where the service is reached",
}
"""Settings of a provider that change nothing in its images, and why."""


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
    """What the last harvest of a city left, if it is of what the catalog says now.

    Raises:
        InputError: The city was not harvested yet, or with other settings, or by other algorithms.
    """
    entry, store = plan.city(city), plan.open_store()
    state = store.selected(HARVEST, city)
    found = _named(store, city, state)
    if found is None:
        raise InputError(
            f"{city} has no harvested pairs in this store: run `crosscity harvest {city}` first"
        )
    stale = _why_stale(store, state, entry, found)
    if stale is not None:
        raise StaleError(f"the harvest of {city} was {stale}: run `crosscity harvest {city}`")
    return found


def harvested_with(entry: City) -> dict[str, Any]:
    """Settings and versions that decide which images and pairs a city has; JSON values."""
    settings = entry.model_dump(mode="json", exclude=set(NOT_OF_A_HARVEST))
    settings["provider"] = entry.provider.model_dump(
        mode="json", exclude=set(NOT_OF_A_PROVIDERS_HARVEST)
    )
    settings["area"] = _noted_area(settings["area"])
    settings["image_size"] = list(entry.view_size)
    settings["test_margin_metres"] = entry.test_margin
    settings["version"] = {"pairing": PAIRING_VERSION, "alignment": str(ALIGNMENT_VERSION)}
    if entry.provider.kind == "simulated":
        settings["version"]["simulation"] = str(SIMULATION_VERSION)
    return settings


def notes_its_settings(state: Selection) -> bool:
    """Whether a harvest noted the settings that it was made with, as releases since do."""
    return isinstance(state.notes.get(_MADE_WITH), dict)


def _why_stale(store: Store, state: Selection | None, entry: City, harvest: Harvest) -> str | None:
    """In what way a harvest is not of what the catalog says now; ``None`` if it is."""
    noted: Any = None if state is None else state.notes.get(_MADE_WITH)
    if isinstance(noted, dict):
        now = harvested_with(entry)
        then = _known_settings(noted, now, entry)
        then["provider"] = _known_settings(
            noted.get("provider", {}), now["provider"], entry.provider
        )
        then["area"] = _noted_area(then.get("area"))
    else:  # of a release that did not note it: what the pairs themselves say
        then = dict(store.manifest(harvest.pairs).parameters)
        now = {name: value for name, value in pair_parameters(entry).items() if name in then}
        then = {name: then[name] for name in now}
    found = differences(then, now)
    return as_words(found) if found else None


def _known_settings(
    noted: Mapping[str, Any], now: Mapping[str, Any], entry: BaseModel
) -> dict[str, Any]:
    """What was noted of the settings that there are now.

    One that a later release brought had its default then, whatever that release calls it.
    """
    fields = type(entry).model_fields
    default = {
        name: to_jsonable_python(fields[name].get_default(call_default_factory=True))
        for name in now
        if name in fields and not fields[name].is_required()
    }
    return {name: value for name, value in {**default, **noted}.items() if name in now}


def _noted_area(area: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """An area as a harvest notes it: of many positions, which every step would read, a digest.

    Args:
        area: The entry of the catalog as JSON values, or what an earlier release noted.
    """
    if area is None or _SHAPE in area:
        return None if area is None else dict(area)
    shape = {name: area.get(name) for name in ("bbox", "geojson", "points")}
    text = json.dumps(shape, sort_keys=True)
    if len(text) <= _LONGEST_AREA:
        return dict(area)
    digest = hashlib.sha256(text.encode()).hexdigest()[:32]
    rest = {name: value for name, value in area.items() if name not in shape}
    return {_SHAPE: f"sha256 {digest}", **rest}


def settle_harvest(
    base: Harvest, city: str, plan: Plan, add: Callable[[Harvest, Sequence[ArtifactRef]], Harvest]
) -> Harvest:
    """Makes a harvest the city's, with what watch-city had added to an earlier one.

    What the city stands on already stays where it was made by adding to this harvest. Where another
    run switches the city's harvest meanwhile, such as a watch that adds, it is looked at anew: what
    others commit is never lost.

    Args:
        base: What the provider's list gave.
        city: The city.
        plan: The plan.
        add: Adds shards to a harvest.

    Returns:
        The city's harvest from now on.

    Raises:
        InputError: Others changed the harvest all the time.
    """
    store = plan.open_store()
    for _ in range(_MOST_TRIES):
        state = store.selected(HARVEST, city)
        known = _named(store, city, state)
        settled = base
        if known is not None and _was_added_to(store, known.pairs, base.pairs):
            settled = known
        else:
            for parts in _added_since(store, state, known, base):
                settled = add(settled, parts)
        if _switch(settled, state, city, plan):
            return settled
        log(logging.INFO, f"the harvest of {city} was changed meanwhile: it is looked at anew")
    raise InputError(f"other runs change the harvest of {city} all the time: run it again")


def grow_harvest(
    before: Harvest,
    grown: Harvest,
    city: str,
    plan: Plan,
    events: Sequence[Mapping[str, Any]] = (),
) -> bool:
    """Makes a harvest that something was added to the city's, in one switch.

    Args:
        before: What it was added to.
        grown: The images and pairs with what was added.
        city: The city.
        plan: The plan.
        events: What `announce_landed` is to tell of it.

    Returns:
        Whether it is the city's now: not where another run has changed the harvest since `before`
        was read, such as a harvest or another watch. Nothing is changed then.
    """
    state = plan.open_store().selected(HARVEST, city)
    if state is not None and state.refs != _refs(before):
        return False
    return _switch(grown, state, city, plan, events)


def _switch(
    harvest: Harvest,
    seen: Selection | None,
    city: str,
    plan: Plan,
    events: Sequence[Mapping[str, Any]] = (),
) -> bool:
    """Makes a harvest the city's if it still stands on what was seen."""
    store, entry = plan.open_store(), plan.city(city)
    history = _grown_history(store, seen, harvest.imagery)
    made_with = harvested_with(entry)
    switched: list[bool] = []

    def changed(
        state: Selection | None,
    ) -> tuple[Mapping[str, ArtifactRef], Mapping[str, Any]] | None:
        switched[:] = [(state and state.refs) == (seen and seen.refs)]
        if not switched[0]:
            return None
        notes = {_BASE: history.base, _ADDED: history.added, _MADE_WITH: made_with}
        return _refs(harvest), notes

    alter(store, HARVEST, city, changed, events)
    return switched[0]


def _refs(harvest: Harvest) -> dict[str, ArtifactRef]:
    return {"imagery": harvest.imagery, "pairs": harvest.pairs}


def _added_since(
    store: Store, state: Selection | None, known: Harvest | None, found: Harvest
) -> list[list[ArtifactRef]]:
    """Shards that watch-city had added to a harvest, where they have to be added anew.

    That is where what the city stands on was made of the same fetched shards, by another version or
    with other settings of pairs, or is damaged: what was added must not be lost with it.

    Returns:
        The shards of each addition, the oldest first; none where what the city stands on was made
        of other shards.
    """
    history = _history(store, state, known)
    if history is None or set(history.base) != set(_made_of(store, found.imagery)[0]):
        return []
    there = [[store.find_at(uri) for uri in parts] for parts in history.added]
    return [[ref for ref in parts if ref is not None] for parts in there]


def announce_landed(city: str, plan: Plan) -> list[dict[str, Any]]:
    """Announces what was added to a city and was not announced yet, also by a run that died.

    Returns:
        The events that were sent now.
    """
    return announce(plan.open_store(), HARVEST, city)


def is_here(imagery: str, city: str, plan: Plan) -> bool:
    """Whether the store has the imagery of a key, which an event says has landed; else it is told.

    Events of all catalogs of a server go by names of cities, and two may have a city of one name.
    """
    if plan.open_store().find("imagery", city, imagery) is not None:
        return True
    log(
        logging.INFO,
        f"what has landed ({imagery[:12]}) is not in the store of {plan.catalog}: it landed in "
        f"another catalog's {city}, and there is nothing to do here",
    )
    return False


def _named(store: Store, city: str, state: Selection | None) -> Harvest | None:
    """The harvest that a selection names, if its artifacts are there."""
    if state is not None:
        imagery, pairs = state.refs.get("imagery"), state.refs.get("pairs")
        if imagery is None or pairs is None:
            return None
        if not (store.find_ref(imagery) and store.find_ref(pairs)):
            return None
        made_of = store.manifest(pairs).inputs
        if isinstance(made_of, Mapping) and made_of.get("imagery") != imagery.digest:
            log(
                logging.WARNING,
                f"the harvest of {city} names {pairs.uri}, which was made of other images than "
                f"{imagery.uri}, beside it: it is not used",
            )
            return None
        return Harvest(imagery, pairs)
    return _of_two_pointers(store, city)


def _of_two_pointers(store: Store, city: str) -> Harvest | None:
    """What the two pointers of releases before the selection name, if it belongs together."""
    imagery, pairs = (
        state.refs.get(SINGLE) if state is not None else None
        for state in (store.selected("imagery", city), store.selected("pairs", city))
    )
    if imagery is None or pairs is None:
        return None
    if not (store.find_ref(imagery) and store.find_ref(pairs)):
        return None
    together = store.inputs_of(pairs).get("imagery") == imagery
    return Harvest(imagery, pairs) if together else None


@dataclass(frozen=True)
class _History:
    """Where the shards lie that an imagery was made of: of the harvest, and of each addition."""

    base: list[str]
    added: list[list[str]]


def _history(store: Store, state: Selection | None, known: Harvest | None) -> _History | None:
    if state is not None and _BASE in state.notes:
        noted: Any = state.notes
        return _History(list(noted[_BASE]), [list(parts) for parts in noted[_ADDED]])
    return None if known is None else _walked_history(store, known.imagery)


def _grown_history(store: Store, state: Selection | None, imagery: ArtifactRef) -> _History:
    """The history of an imagery, out of the notes where it is one addition more than these."""
    parts, before = _made_of(store, imagery)
    noted = _history(store, state, None)
    if state is None or noted is None:
        return _walked_history(store, imagery)
    if state.refs.get("imagery") == imagery:
        return noted
    if before is not None and state.refs.get("imagery") == before:
        return _History(noted.base, [*noted.added, parts])
    return _walked_history(store, imagery)


def _walked_history(store: Store, imagery: ArtifactRef) -> _History:
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
