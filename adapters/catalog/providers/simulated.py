"""Cities that do not exist."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from adapters.catalog.errors import CatalogError
from adapters.catalog.providers.base import CitySite, ProviderEntry
from adapters.catalog.styles import STYLE, is_file, style_of

if TYPE_CHECKING:
    from adapters.street_view.simulated import SimulatedStreetView
    from simcity import CityStyle


class SimulatedProvider(ProviderEntry):
    """Procedural street views of `simcity`."""

    needs_area: ClassVar[bool] = True

    kind: Literal["simulated"]
    style: str = Field(description=STYLE)

    @property
    def own_style(self) -> bool:
        """Whether the style is a file of the user's own."""
        return is_file(self.style)

    def city_style(self, site: CitySite) -> CityStyle | str:
        """The style of a file, or the name of one that comes with the project.

        Raises:
            CatalogError: The file cannot be read, or a field of it is wrong.
        """
        return style_of(self.style, site.folder, key=f"{site.key}.style")

    def open(self, site: CitySite) -> SimulatedStreetView:
        """The simulated city."""
        from adapters.street_view.simulated import SimulatedStreetView  # noqa: PLC0415

        if site.bounds is None:
            raise CatalogError(f"cities.{site.name}: a city of simulated needs an area")
        return SimulatedStreetView(
            self.city_style(site),
            bbox=site.bounds,
            places=site.places,
            seed=site.seed,
            image_size=site.image_size,
            min_days_apart=site.min_days_apart,
            times=site.times,
            lights=site.lights,
        )
