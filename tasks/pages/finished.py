"""Finding a harvest where all of it is there: nothing is then left to run."""

from __future__ import annotations

from adapters.catalog import ServiceProvider
from adapters.store import ArtifactRef, Store
from tasks.harvesting.current import HARVEST, current_harvest, notes_its_settings
from tasks.harvesting.harvest import HARVEST_VERSION
from tasks.steps.announcing import is_announced
from tasks.steps.plan import Plan


def is_listed_anew(city: str, plan: Plan) -> bool:
    """Whether each harvest of a city lists what there is: of a folder, or of a user's own provider.

    A service is listed once, and what is simulated is what its settings say.
    """
    provider = plan.city(city).provider
    return provider.kind != "simulated" and not isinstance(provider, ServiceProvider)


def finished_harvest(city: str, plan: Plan) -> ArtifactRef | None:
    """The pairs of a city; ``None`` where a harvest may find something else, or has more to do.

    Raises:
        InputError: There is no harvest, or it is stale.
    """
    store = plan.open_store()
    if is_listed_anew(city, plan):
        return None
    harvest, state = current_harvest(city, plan), store.selected(HARVEST, city)
    if state is None or not is_announced(state) or not notes_its_settings(state):
        return None
    if store.manifest(harvest.imagery).version != HARVEST_VERSION:
        return None
    return harvest.pairs if _is_whole(store, harvest.imagery) else None


def _is_whole(store: Store, imagery: ArtifactRef) -> bool:
    """Whether all that an imagery was made of is there, those before an addition too."""
    todo = [imagery]
    while todo:
        made_of = store.inputs_of(todo.pop()).values()
        if None in made_of:
            return False
        todo += [ref for ref in made_of if ref is not None]
    return True
