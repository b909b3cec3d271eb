"""From catalog entries to the providers that they name."""

from __future__ import annotations

from adapters.catalog import SimulatedProvider
from adapters.street_view.base import StreetView
from adapters.street_view.simulated import SimulatedStreetView
from tasks.steps.errors import InputError
from tasks.steps.plan import Plan


def street_view(plan: Plan, name: str) -> StreetView:
    """The provider of a city, as its catalog entry configures it.

    Raises:
        StreetViewError: The settings do not allow it to run.
        CatalogError: A setting is wrong, or a key or token is not in the environment.
    """
    city = plan.city(name)
    return city.provider.open(city.site(name, plan.root))


def simulated_street_view(plan: Plan, name: str) -> SimulatedStreetView:
    """The provider of a simulated city, which knows the exact masks.

    Raises:
        InputError: The city is not simulated.
    """
    city = plan.city(name)
    if not isinstance(city.provider, SimulatedProvider):
        raise InputError(f"{name} is not simulated, so nothing exact is known of it")
    return city.provider.open(city.site(name, plan.root))
