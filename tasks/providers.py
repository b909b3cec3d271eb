"""From catalog entries to the adapters that they name."""

from __future__ import annotations

from adapters.catalog import City, DataSet, FolderProvider
from adapters.street_view.base import StreetView
from adapters.street_view.folder import FolderStreetView
from adapters.street_view.simulated import SimulatedStreetView
from tasks.workspace import Workspace


def street_view(workspace: Workspace, name: str) -> StreetView:
    """The provider of a city, as its catalog entry configures it."""
    city = workspace.city(name)
    provider = city.provider
    if isinstance(provider, FolderProvider):
        return FolderStreetView(
            workspace.folder(provider.root, key=f"cities.{name}.provider.root"),
            provider.city or name,
            licence=provider.licence,
            attribution=provider.attribution,
        )
    return simulated_street_view(city)


def simulated_street_view(city: City) -> SimulatedStreetView:
    """The simulated provider of a city that has one."""
    if city.provider.kind != "simulated" or city.area is None:
        raise TypeError("this city is not simulated")
    return SimulatedStreetView(
        city.provider.style,
        bbox=city.area.bounds(),
        places=city.places,
        seed=city.seed,
        image_size=city.image_size,
        min_days_apart=city.min_days_apart,
    )


__all__ = ["DataSet", "simulated_street_view", "street_view"]
