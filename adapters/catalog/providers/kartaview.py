"""KartaView."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from adapters.catalog.providers.base import CitySite
from adapters.catalog.providers.service import ServiceProvider

if TYPE_CHECKING:
    from adapters.street_view.service import ServiceStreetView


class KartaViewProvider(ServiceProvider):
    """KartaView: pictures under CC BY-SA, without a key."""

    kind: Literal["kartaview"]
    base_url: str = "https://api.openstreetcam.org"
    hosts: list[str] = Field(default=[".openstreetcam.org", ".kartaview.org"])
    requests_per_second: float = Field(default=2.0, gt=0, le=1000, description="at most")
    assumed_fov: float | None = Field(
        default=None,
        ge=10,
        le=170,
        description="degrees along the longer side of photographs whose record reports none, as "
        "those of most telephones; null: they are left out",
    )

    def open(self, site: CitySite) -> ServiceStreetView:
        """A client of KartaView."""
        from adapters.street_view.kartaview import KartaViewStreetView  # noqa: PLC0415

        client = self.client("KartaView", site)
        return KartaViewStreetView(self.harvest_plan(site), client, assumed_fov=self.assumed_fov)
