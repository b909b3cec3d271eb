"""From catalog entries to the adapters that they name."""

from __future__ import annotations

from datetime import UTC, date, datetime

from adapters.catalog import (
    City,
    DataSet,
    FolderProvider,
    GoogleProvider,
    MapillaryProvider,
    PanoramaxProvider,
    ServiceProvider,
)
from adapters.catalog.loading import resolve_environment
from adapters.street_view import google, mapillary
from adapters.street_view.base import StreetView, StreetViewError
from adapters.street_view.folder import FolderStreetView
from adapters.street_view.google import GoogleStreetView
from adapters.street_view.google_history import GoogleHistory
from adapters.street_view.mapillary import MapillaryStreetView
from adapters.street_view.panoramax import PanoramaxStreetView
from adapters.street_view.service import EVERY_TIME, HarvestPlan, ServiceStreetView
from adapters.street_view.simulated import SimulatedStreetView
from adapters.street_view.web.addresses import AddressError, Addresses
from adapters.street_view.web.budget import Budget, Ledger
from adapters.street_view.web.client import Manners, Secret, WebClient
from tasks.steps.errors import InputError
from tasks.steps.workspace import Workspace


def street_view(workspace: Workspace, name: str) -> StreetView:
    """The provider of a city, as its catalog entry configures it.

    Raises:
        StreetViewError: The settings do not allow it to run.
        CatalogError: A key or token is not in the environment.
    """
    city = workspace.city(name)
    provider = city.provider
    if isinstance(provider, FolderProvider):
        return FolderStreetView(
            workspace.folder(provider.root, key=f"cities.{name}.provider.root"),
            provider.city or name,
            licence=provider.licence,
            attribution=provider.attribution,
        )
    if isinstance(provider, ServiceProvider):
        return service_street_view(workspace, name)
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


def service_street_view(workspace: Workspace, name: str) -> ServiceStreetView:
    """The provider of a city that is harvested from a service on the web."""
    city = workspace.city(name)
    provider, key = city.provider, f"cities.{name}.provider"
    if isinstance(provider, PanoramaxProvider):
        client = _client("Panoramax", provider, key)
        return PanoramaxStreetView(harvest_plan(city), client, licences=provider.licences)
    if isinstance(provider, MapillaryProvider):
        token = resolve_environment(provider.token, key=f"{key}.token")
        secret = mapillary.secret(token)
        client = _client("Mapillary", provider, key, secret, mapillary.ADVICE)
        return MapillaryStreetView(harvest_plan(city), client)
    if isinstance(provider, GoogleProvider):
        return _google(city, provider, key)
    raise TypeError("this city is not harvested from a service")


def harvest_plan(city: City) -> HarvestPlan:
    """Which places of a city are wanted from a service, and how they are looked at."""
    provider = city.provider
    if not isinstance(provider, ServiceProvider) or city.area is None:
        raise TypeError("this city is not harvested from a service")
    polygon = city.area.geojson
    rings = () if polygon is None else tuple(tuple(ring) for ring in polygon.coordinates)
    return HarvestPlan(
        bounds=city.area.bounds(),
        rings=rings,
        places=city.places,
        seed=city.seed,
        image_size=city.image_size,
        max_metres_apart=city.max_metres_apart,
        min_days_apart=city.min_days_apart,
        interval=(
            _start_of(provider.captured_after) or EVERY_TIME[0],
            _start_of(provider.captured_before) or EVERY_TIME[1],
        ),
        headings=tuple(provider.headings),
        pitch=provider.pitch,
        fov=provider.fov,
        panoramas_only=provider.panoramas_only,
        place_metres=provider.place_metres,
        tile_metres=provider.tile_metres,
    )


def _google(city: City, provider: GoogleProvider, key: str) -> GoogleStreetView:
    if provider.agreement is None or not provider.agreement.strip():
        # Told before the key is looked for: it is the first thing to settle.
        raise StreetViewError(f"{key}: {google.NO_AGREEMENT}")
    secret = google.secret(resolve_environment(provider.key, key=f"{key}.key"))
    client = _client("Google Street View", provider, key, secret, google.ADVICE)
    history = None
    if provider.unofficial_history:
        look_up = WebClient(
            "Google's undocumented list of dates",
            _addresses(provider.history_url, [], key),
            client.ledger,
            client.manners,
        )
        history = GoogleHistory(look_up)
    return GoogleStreetView(
        harvest_plan(city),
        client,
        agreement=provider.agreement,
        history=history,
        price=provider.usd_per_request,
    )


def _client(
    service: str,
    provider: ServiceProvider,
    key: str,
    secret: Secret | None = None,
    advice: str = "check the settings of the provider in the catalog",
) -> WebClient:
    budget = provider.budget
    limits = Budget(
        requests=budget.requests,
        bytes=None if budget.megabytes is None else int(budget.megabytes * 1e6),
        usd=budget.usd,
    )
    manners = Manners(per_second=provider.requests_per_second, concurrency=provider.concurrency)
    return WebClient(
        service,
        _addresses(provider.base_url, provider.hosts, key),
        Ledger(service, limits),
        manners,
        secret=secret,
        advice=advice,
    )


def _addresses(base: str, hosts: list[str], key: str) -> Addresses:
    try:
        return Addresses(resolve_environment(base, key=f"{key}.base_url"), hosts)
    except AddressError as error:
        raise InputError(f"{key}: {error}") from None


def _start_of(day: date | None) -> datetime | None:
    return None if day is None else datetime(day.year, day.month, day.day, tzinfo=UTC)


__all__ = ["DataSet", "service_street_view", "simulated_street_view", "street_view"]
