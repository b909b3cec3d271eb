"""Cities that do not exist."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from adapters.catalog.errors import CatalogError
from adapters.catalog.providers.base import CitySite, ProviderEntry

if TYPE_CHECKING:
    from adapters.street_view.simulated import SimulatedStreetView


class SimulatedProvider(ProviderEntry):
    """Procedural street views of `simcity`."""

    needs_area: ClassVar[bool] = True

    kind: Literal["simulated"]
    style: str = Field(description="a name in simcity.STYLES")

    def open(self, site: CitySite) -> SimulatedStreetView:
        """The simulated city."""
        from adapters.street_view.simulated import SimulatedStreetView  # noqa: PLC0415

        if site.bounds is None:
            raise CatalogError(f"cities.{site.name}: a city of simulated needs an area")
        return SimulatedStreetView(
            self.style,
            bbox=site.bounds,
            places=site.places,
            seed=site.seed,
            image_size=site.image_size,
            min_days_apart=site.min_days_apart,
        )
