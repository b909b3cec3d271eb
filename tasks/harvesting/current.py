"""The harvest that a city stands on: which images and pairs the other verbs work on."""

from __future__ import annotations

from dataclasses import dataclass

from adapters.store import ArtifactRef, Store
from tasks.steps.errors import InputError
from tasks.steps.plan import Plan


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
    store = plan.open_store()
    imagery, pairs = store.current("imagery", city), store.current("pairs", city)
    if imagery is None or pairs is None:
        raise InputError(
            f"{city} has no harvested pairs in this store: run `crosscity harvest {city}` first"
        )
    return Harvest(imagery, pairs)


def settle_harvest(imagery: ArtifactRef, pairs: ArtifactRef, city: str, plan: Plan) -> Harvest:
    """Makes a harvest the city's, unless what is there already was made by adding to this one.

    Returns:
        The city's harvest from now on.
    """
    store = plan.open_store()
    known = store.current("pairs", city)
    if known is not None and known != pairs and _was_added_to(store, known, pairs):
        return current_harvest(city, plan)
    return replace_harvest(imagery, pairs, city, plan)


def replace_harvest(imagery: ArtifactRef, pairs: ArtifactRef, city: str, plan: Plan) -> Harvest:
    """Makes a harvest the city's, whatever was before."""
    store = plan.open_store()
    store.set_current("imagery", city, imagery)
    store.set_current("pairs", city, pairs)
    return Harvest(imagery, pairs)


def _was_added_to(store: Store, grown: ArtifactRef, base: ArtifactRef) -> bool:
    """Whether pairs were made by adding to others, in one step or in several."""
    by_digest = {ref.digest: ref for ref in store.artifacts(grown.kind, grown.city)}
    at: ArtifactRef | None = grown
    while at is not None and at != base:
        inputs = store.manifest(at).inputs
        at = by_digest.get(inputs.get("before", "")) if isinstance(inputs, dict) else None
    return at is not None
