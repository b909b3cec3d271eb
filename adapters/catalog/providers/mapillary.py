"""Mapillary."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from adapters.catalog.providers.base import CitySite
from adapters.catalog.providers.service import ServiceProvider

if TYPE_CHECKING:
    from adapters.street_view.service import ServiceStreetView


class MapillaryProvider(ServiceProvider):
    """Mapillary: pictures under CC BY-SA, with a token."""

    kind: Literal["mapillary"]
    base_url: str = "https://graph.mapillary.com"
    hosts: list[str] = Field(default=[".fbcdn.net"])
    requests_per_second: float = Field(default=20.0, gt=0, le=1000, description="at most")
    token: str = Field(
        default="${MAPILLARY_TOKEN}", description="client token; best as ${NAME} from env"
    )

    def open(self, site: CitySite) -> ServiceStreetView:
        """A client of Mapillary."""
        from adapters.street_view import mapillary  # noqa: PLC0415

        secret = mapillary.secret(site.text(self.token, "token"))
        client = self.client("Mapillary", site, secret, mapillary.ADVICE)
        return mapillary.MapillaryStreetView(self.harvest_plan(site), client)
