"""Whether the files of a city of a folder are other ones than those that it was harvested from."""

from __future__ import annotations

from adapters.catalog import CatalogError
from adapters.store import StoreError
from adapters.street_view.base import StreetViewError
from tasks.harvesting.current import Harvest, current_harvest
from tasks.harvesting.providers import street_view
from tasks.harvesting.watch import lists_of
from tasks.steps.errors import InputError
from tasks.steps.plan import Plan


def files_have_changed(city: str, harvest: Harvest, plan: Plan) -> bool:
    """Whether `crosscity harvest` would find other files than the harvest was made of.

    A harvest stands until the next one, so whoever replaces a picture under its name sees the old
    one in everything that follows. Told of folders alone: a service has new pictures all the time.

    Args:
        city: The city.
        harvest: What it stands on.
        plan: The run's plan.
    """
    if plan.city(city).provider.kind != "folder":
        return False
    store = plan.open_store()
    try:
        lists = lists_of(store, city, harvest.imagery)
        known = {store.manifest(each).parameters.get("revision") for each in lists}
        return street_view(plan, city).revision() not in known
    except (StreetViewError, CatalogError, StoreError, InputError, OSError):
        return False  # a folder that is away changes nothing in what was harvested from it


def changed_files_remark(city: str, plan: Plan) -> str | None:
    """What to say of a city whose files have changed since it was harvested."""
    try:
        harvest = current_harvest(city, plan)
    except (InputError, StoreError):
        return None  # whoever needs it is told
    if not files_have_changed(city, harvest, plan):
        return None
    return (
        f"the files of {city} have changed since it was harvested, and what follows is of those "
        f"before: `crosscity harvest {city}` takes them in"
    )
