"""Making a city's newest segmenter the one that is used."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from prefect import task
from prefect.cache_policies import NO_CACHE

from adapters.store import SINGLE, ArtifactRef, Store
from tasks.steps.announcing import announce, commit
from tasks.steps.dashboard import publish_lineage
from tasks.steps.plan import Plan

PROMOTED: Final = "promoted"
"""Name of the selection: the segmenter that is in use in a city, and those before it."""
EARLIER: Final = "earlier"
"""Key of its notes: what was promoted before, the oldest first."""


def promoted_segmenter(store: Store, city: str) -> ArtifactRef | None:
    """The segmenter that is in use in a city; ``None`` if there is none, or it is gone."""
    state = store.selected(PROMOTED, city)
    found = state.refs.get(SINGLE) if state is not None else None
    return found if found is not None and store.find_ref(found) else None


def put_in_use(
    store: Store,
    city: str,
    segmenter: ArtifactRef,
    *,
    notes: Mapping[str, Any] | None = None,
    events: Sequence[Mapping[str, Any]] = (),
) -> None:
    """Makes a segmenter the one that is used, in one switch; those before it stay noted.

    Args:
        store: The store.
        city: The city.
        segmenter: A `segmenter` or `adaptation`, verified.
        notes: What else is noted with it; JSON-able. Other notes stay.
        events: What is to be announced of it.
    """
    state = store.selected(PROMOTED, city)
    kept: dict[str, Any] = {} if state is None else dict(state.notes)
    before = None if state is None else state.refs.get(SINGLE)
    if before is not None and before != segmenter:
        kept[EARLIER] = [*kept.get(EARLIER, []), before.to_dict()]
    commit(
        store, PROMOTED, city, {SINGLE: segmenter}, notes={**kept, **(notes or {})}, events=events
    )


@task(
    name="promote",
    task_run_name="promote {city}",
    cache_policy=NO_CACHE,
    persist_result=False,
)
def promote(adapted: ArtifactRef, city: str, plan: Plan) -> ArtifactRef:
    """Points `current/<city>/promoted.json` at an adaptation; the one before stays in the store."""
    store = plan.open_store()
    store.verify(adapted)  # to the last byte, before anybody uses it
    before = promoted_segmenter(store, city)
    put_in_use(store, city, adapted)
    announce(store, PROMOTED, city)  # what an earlier run did not come to
    said = f"Promoted for {city}. Before: `{before.uri}`." if before else f"Promoted for {city}."
    publish_lineage(f"promoted-{city}", store, adapted, said)
    return adapted


def has_labels(city: str, plan: Plan) -> bool:
    """Whether a city's segmenters can be scored."""
    return plan.city(city).labels is not None
