"""Images on disk."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from adapters.catalog.providers.base import CitySite, ProviderEntry

if TYPE_CHECKING:
    from adapters.street_view.base import StreetView


class FolderProvider(ProviderEntry):
    """Images on disk in the public layout of the cross-city data set."""

    samples_places: ClassVar[bool] = False

    kind: Literal["folder"]
    root: str = Field(description="folder that holds <City>/Images/...; ${NAME} is read from env")
    city: str | None = Field(
        default=None, description="name of the city's folder; default: the entry's own name"
    )
    licence: str = Field(description="licence of the images, carried into every artifact")
    attribution: str = Field(description="whom to credit, carried into every artifact")

    has_own_sizes: ClassVar[bool] = True
    without_light: ClassVar[str | None] = "a folder's images have no times"

    def open(self, site: CitySite) -> StreetView:
        """The images of the city's folder."""
        from adapters.street_view.folder import FolderStreetView  # noqa: PLC0415

        return FolderStreetView(
            site.path(self.root, "root"),
            self.city or site.name,
            licence=self.licence,
            attribution=self.attribution,
        )
