"""From catalog entries to the providers that they name."""

from __future__ import annotations

import threading

from adapters.catalog import ServiceProvider, SimulatedProvider
from adapters.store import ArtifactRef
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


class _Shared:
    """The provider of the last list that was harvested from."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._key: tuple[str, str, str] | None = None
        self._provider: StreetView | None = None

    def open(self, captures: ArtifactRef, city: str, plan: Plan) -> StreetView:
        key = (captures.digest, str(plan.root), city)
        with self._lock:
            if self._provider is None or self._key != key:
                self._provider, self._key = street_view(plan, city), key
            return self._provider


_SHARED = _Shared()


def shared_street_view(captures: ArtifactRef, city: str, plan: Plan) -> StreetView:
    """The provider that fetches the images of a list.

    What lies on disk or is simulated is opened once a process: opening lists a whole folder, which
    every shard would do again. A service keeps count of what is used, for each shard anew.

    Raises:
        StreetViewError: The settings do not allow it to run.
        CatalogError: A setting is wrong, or a key or token is not in the environment.
    """
    if isinstance(plan.city(city).provider, ServiceProvider):
        return street_view(plan, city)
    return _SHARED.open(captures, city, plan)


def simulated_street_view(plan: Plan, name: str) -> SimulatedStreetView:
    """The provider of a simulated city, which knows the exact masks.

    Raises:
        InputError: The city is not simulated.
    """
    city = plan.city(name)
    if not isinstance(city.provider, SimulatedProvider):
        raise InputError(f"{name} is not simulated, so nothing exact is known of it")
    return city.provider.open(city.site(name, plan.root))
