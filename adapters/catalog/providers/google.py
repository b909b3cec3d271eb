"""Google Street View."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from adapters.catalog.providers.base import CitySite
from adapters.catalog.providers.service import BudgetEntry, ServiceProvider

if TYPE_CHECKING:
    from adapters.street_view.service import ServiceStreetView


class GoogleProvider(ServiceProvider):
    """Google Street View through the Map Tiles API; runs only with an agreement."""

    without_light: ClassVar[str | None] = (
        "Google tells the month of a picture and not its hour, so not whether it is of the night"
    )

    kind: Literal["google"]
    base_url: str = "https://tile.googleapis.com"
    hosts: list[str] = Field(default=[])
    requests_per_second: float = Field(default=20.0, gt=0, le=100, description="at most")
    budget: BudgetEntry = BudgetEntry(usd=25.0)
    key: str = Field(
        default="${GOOGLE_MAPS_API_KEY}", description="API key; best as ${NAME} from env"
    )
    agreement: str | None = Field(
        default=None,
        description="reference of your agreement with Google that allows image analysis and "
        "storage, which the API's policies forbid otherwise; nothing is asked without it",
    )
    unofficial_history: bool = Field(
        default=False,
        description="whether to ask an undocumented interface for panoramas of other dates",
    )
    history_url: str = Field(
        default="https://www.google.com", description="where that interface is"
    )
    usd_per_request: float = Field(
        default=0.002, ge=0, description="price of a tile or a look-up of panoramas"
    )

    def open(self, site: CitySite) -> ServiceStreetView:
        """A client of Google Street View, where the entry names an agreement."""
        from adapters.street_view import google  # noqa: PLC0415
        from adapters.street_view.base import StreetViewError  # noqa: PLC0415
        from adapters.street_view.google_history import GoogleHistory  # noqa: PLC0415
        from adapters.street_view.web.client import WebClient  # noqa: PLC0415

        if self.agreement is None or not self.agreement.strip():
            # Before the key is looked for: it is the first thing to settle.
            raise StreetViewError(f"{site.key}: {google.NO_AGREEMENT}")
        secret = google.secret(site.text(self.key, "key"))
        client = self.client("Google Street View", site, secret, google.ADVICE)
        history = None
        if self.unofficial_history:
            look_up = WebClient(
                "Google's undocumented list of dates",
                self.addresses(self.history_url, [], site),
                client.ledger,
                client.manners,
            )
            look_up.pace = client.pace  # one account, whichever of its addresses is asked
            history = GoogleHistory(look_up)
        return google.GoogleStreetView(
            self.harvest_plan(site),
            client,
            agreement=self.agreement,
            history=history,
            price=self.usd_per_request,
        )
