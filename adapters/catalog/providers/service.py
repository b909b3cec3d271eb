"""The catalog's entries of street-view services: where they are, how they are asked, what for."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Annotated, ClassVar, Self

from pydantic import Field, field_validator, model_validator

from adapters.catalog.entry import Entry
from adapters.catalog.errors import CatalogError
from adapters.catalog.providers.base import CitySite, ProviderEntry

if TYPE_CHECKING:
    from adapters.street_view.service import HarvestPlan
    from adapters.street_view.web.addresses import Addresses
    from adapters.street_view.web.budget import Budget
    from adapters.street_view.web.client import Secret, WebClient


class BudgetEntry(Entry):
    """What one harvest of the city, or one look for new imagery, may use in all its runs."""

    requests: int | None = Field(default=None, ge=1, description="HTTP requests; null: no limit")
    megabytes: float | None = Field(
        default=None, gt=0, description="millions of bytes of answers; null: no limit"
    )
    usd: float | None = Field(
        default=None, ge=0, description="US dollars of billed requests; null: no limit"
    )

    def limits(self) -> Budget:
        """The limits as the client counts them."""
        from adapters.street_view.web.budget import Budget  # noqa: PLC0415

        return Budget(
            requests=self.requests,
            bytes=None if self.megabytes is None else int(self.megabytes * 1e6),
            usd=self.usd,
        )


class AccountBudget(BudgetEntry):
    """What all runs on all machines may use of an account in a day, or a month (UTC)."""


class Account(Entry):
    """What is shared by all who ask a service with the same key, or from the same address."""

    requests_per_second: float | None = Field(
        default=None,
        gt=0,
        le=1000,
        description="of all runs on all machines together; null: as the providers' entries say",
    )
    day: AccountBudget = Field(default=AccountBudget(), description="a day, UTC")
    month: AccountBudget = Field(default=AccountBudget(), description="a month, UTC")


class ServiceProvider(ProviderEntry):
    """What the services have in common."""

    needs_area: ClassVar[bool] = True
    test_margin: ClassVar[float] = 50.0

    base_url: str = Field(description="https address of the service, or a mirror on the loopback")
    hosts: list[str] = Field(
        description="further hosts that pictures may come from; '.x.org' means all below x.org"
    )
    requests_per_second: float = Field(default=5.0, gt=0, le=1000, description="at most")
    concurrency: int = Field(default=4, ge=1, le=64, description="requests at once at most")
    budget: BudgetEntry = BudgetEntry()
    account: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")] | None = Field(
        default=None,
        description="an entry of `accounts`: who shares pace and budgets; null: all entries of "
        "this kind and address share the pace",
    )
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
        description="correlation below which two views are not a pair (docs/imagery.md)",
    )

    @field_validator("captured_after", "captured_before", mode="before")
    @classmethod
    def _no_number_is_a_day(cls, given: object) -> object:
        """Numbers would count as seconds since 1970."""
        if isinstance(given, int | float):
            raise ValueError("a day is needed, as 2024-05-01")  # noqa: TRY004 - pydantic's way
        return given

    @field_validator("headings")
    @classmethod
    def _headings_differ(cls, given: list[float]) -> list[float]:
        twice = [heading for heading in given if given.count(heading) > 1]
        if twice:
            raise ValueError(
                f"headings has {abs(twice[0]):g} twice: each is a view of its own, name it once"
            )
        return given

    @field_validator("base_url")
    @classmethod
    def _base_url_may_be_asked(cls, given: str) -> str:
        """Only what a file says gets here: defaults are not validated."""
        from adapters.street_view.web.addresses import AddressError, Addresses  # noqa: PLC0415

        if "${" not in given:
            try:
                Addresses(given, [])
            except AddressError as error:
                raise ValueError(str(error)) from None
        return given

    @model_validator(mode="after")
    def _dates_in_order(self) -> Self:
        if (
            self.captured_after is not None
            and self.captured_before is not None
            and self.captured_after >= self.captured_before
        ):
            raise ValueError("captured_after must be earlier than captured_before")
        return self

    def harvest_plan(self, site: CitySite) -> HarvestPlan:
        """Which places of a city are wanted, and which way their views look."""
        from adapters.street_view.service import EVERY_TIME, HarvestPlan  # noqa: PLC0415

        if site.bounds is None:
            raise CatalogError(f"cities.{site.name}: a city of {self.kind} needs an area")
        return HarvestPlan(
            bounds=site.bounds,
            polygons=site.polygons,
            points=site.points,
            point_metres=site.point_metres,
            places=site.places,
            seed=site.seed,
            image_size=site.image_size,
            max_metres_apart=site.max_metres_apart,
            min_days_apart=site.min_days_apart,
            interval=(
                _start_of(self.captured_after) or EVERY_TIME[0],
                _start_of(self.captured_before) or EVERY_TIME[1],
            ),
            headings=tuple(self.headings),
            pitch=self.pitch,
            fov=self.fov,
            panoramas_only=self.panoramas_only,
            place_metres=self.place_metres,
            tile_metres=self.tile_metres,
            times=site.times,
            lights=site.lights,
        )

    def client(
        self,
        service: str,
        site: CitySite,
        secret: Secret | None = None,
        advice: str = "check the settings of the provider in the catalog",
    ) -> WebClient:
        """A client within the entry's budget and pace.

        Args:
            service: The service's name, for people.
            site: The city.
            secret: Its key or token.
            advice: What to do when it refuses.
        """
        from adapters.street_view.web.budget import Ledger  # noqa: PLC0415
        from adapters.street_view.web.client import Manners, WebClient  # noqa: PLC0415

        return WebClient(
            service,
            self.addresses(self.base_url, self.hosts, site),
            Ledger(service, self.budget.limits()),
            Manners(per_second=self.requests_per_second, concurrency=self.concurrency),
            secret=secret,
            advice=advice,
        )

    def addresses(self, base: str, hosts: list[str], site: CitySite) -> Addresses:
        """The addresses that a client may ask.

        Raises:
            CatalogError: `base` is not an address that may be asked.
        """
        from adapters.street_view.web.addresses import AddressError, Addresses  # noqa: PLC0415

        try:
            return Addresses(site.text(base, "base_url"), hosts)
        except AddressError as error:
            raise CatalogError(f"{site.key}: {error}") from None


def _start_of(day: date | None) -> datetime | None:
    return None if day is None else datetime(day.year, day.month, day.day, tzinfo=UTC)
