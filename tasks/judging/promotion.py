"""Making a city's newest segmenter the one that is used."""

from __future__ import annotations

from prefect import task
from prefect.cache_policies import NO_CACHE

from adapters.store import ArtifactRef, Store
from tasks.steps.dashboard import publish_lineage
from tasks.steps.plan import Plan


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
    before = store.current("promoted", city)
    store.set_current("promoted", city, adapted)
    said = f"Promoted for {city}. Before: `{before.uri}`." if before else f"Promoted for {city}."
    publish_lineage(f"promoted-{city}", store, adapted, said)
    return adapted


def has_labels(city: str, plan: Plan) -> bool:
    """Whether a city's segmenters can be scored."""
    return plan.city(city).labels is not None


def promoted_segmenter(store: Store, city: str) -> ArtifactRef | None:
    """The segmenter in use in a city, ``None`` where none is."""
    return store.current("promoted", city)
