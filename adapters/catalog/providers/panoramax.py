"""Panoramax."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from adapters.catalog.providers.base import CitySite
from adapters.catalog.providers.service import ServiceProvider

if TYPE_CHECKING:
    from adapters.street_view.service import ServiceStreetView


class PanoramaxProvider(ServiceProvider):
    """Panoramax: open pictures, without a key. The default for real cities."""

    kind: Literal["panoramax"]
    base_url: str = "https://api.panoramax.xyz"
    hosts: list[str] = Field(
        default=["panoramax.ign.fr", "panoramax.openstreetmap.fr", ".cloud.ovh.net"]
    )
    licences: list[str] = Field(
        default=["etalab-2.0", "CC-BY-SA-4.0", "CC-BY-4.0", "CC0-1.0", "ODbL-1.0"],
        min_length=1,
        description="pictures under other licences are left out",
    )

    def open(self, site: CitySite) -> ServiceStreetView:
        """A client of Panoramax."""
        from adapters.street_view.panoramax import PanoramaxStreetView  # noqa: PLC0415

        client = self.client("Panoramax", site)
        return PanoramaxStreetView(self.harvest_plan(site), client, licences=self.licences)
