"""The catalog's entries of street-view services: where they are, how they are asked, what for."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from adapters.catalog.entry import Entry


class BudgetEntry(Entry):
    """What one harvest of the city, or one look for new imagery, may use in all its runs."""

    requests: int | None = Field(default=None, ge=1, description="HTTP requests; null: no limit")
    megabytes: float | None = Field(
        default=None, gt=0, description="millions of bytes of answers; null: no limit"
    )
    usd: float | None = Field(
        default=None, ge=0, description="US dollars of billed requests; null: no limit"
    )


class ServiceProvider(Entry):
    """What the services have in common."""

    base_url: str = Field(description="https address of the service, or a mirror on the loopback")
    hosts: list[str] = Field(
        description="further hosts that pictures may come from; '.x.org' means all below x.org"
    )
    requests_per_second: float = Field(default=5.0, gt=0, le=1000, description="at most")
    concurrency: int = Field(default=4, ge=1, le=64, description="requests at once at most")
    budget: BudgetEntry = BudgetEntry()
    captured_after: date | None = Field(
        default=None, description="only captures from this day (UTC) on"
    )
    captured_before: date | None = Field(
        default=None,
        description="only captures before this day (UTC); fixes the list for all time",
    )
    panoramas_only: bool = Field(
        default=False, description="whether photographs that look one way are left out"
    )
    headings: list[Annotated[float, Field(ge=0, lt=360)]] = Field(
        default=[0.0],
        min_length=1,
        max_length=8,
        description="degrees from the direction of driving; a pair a place for each of them",
    )
    pitch: float = Field(default=0.0, ge=-60, le=60, description="degrees above the horizon")
    fov: float = Field(default=90.0, ge=40, le=120, description="degrees, of the rendered views")
    place_metres: float = Field(
        default=20.0, ge=5, le=500, description="side of the cells that count as one place"
    )
    tile_metres: float = Field(
        default=500.0, ge=50, le=5000, description="side of the tiles that are listed one by one"
    )
    search_degrees: float = Field(
        default=20.0,
        ge=0,
        le=30,
        description="how far the compasses of two captures may err together",
    )
    min_overlap: float = Field(
        default=0.23,
        ge=-1,
        le=1,
        description="correlation below which two views are no pair (docs/imagery.md)",
    )

    @model_validator(mode="after")
    def _dates_in_order(self) -> Self:
        if (
            self.captured_after is not None
            and self.captured_before is not None
            and self.captured_after >= self.captured_before
        ):
            raise ValueError("captured_after must be earlier than captured_before")
        return self


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


class MapillaryProvider(ServiceProvider):
    """Mapillary: pictures under CC BY-SA, with a token."""

    kind: Literal["mapillary"]
    base_url: str = "https://graph.mapillary.com"
    hosts: list[str] = Field(default=[".fbcdn.net"])
    requests_per_second: float = Field(default=20.0, gt=0, le=1000, description="at most")
    token: str = Field(
        default="${MAPILLARY_TOKEN}", description="client token; best as ${NAME} from env"
    )


class GoogleProvider(ServiceProvider):
    """Google Street View through the Map Tiles API; runs only with an agreement."""

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


AnyService = PanoramaxProvider | MapillaryProvider | GoogleProvider
