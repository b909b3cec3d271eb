"""Kinds of street-view providers: each is a module of this package and a line of `Provider`."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, Field

from adapters.catalog.plug_in import with_kind
from adapters.catalog.providers.base import CitySite, ProviderEntry
from adapters.catalog.providers.folder import FolderProvider
from adapters.catalog.providers.google import GoogleProvider
from adapters.catalog.providers.kartaview import KartaViewProvider
from adapters.catalog.providers.mapillary import MapillaryProvider
from adapters.catalog.providers.panoramax import PanoramaxProvider
from adapters.catalog.providers.plug_in import PluggedProvider
from adapters.catalog.providers.service import Account, BudgetEntry, ServiceProvider
from adapters.catalog.providers.simulated import SimulatedProvider

Provider = Annotated[
    SimulatedProvider
    | FolderProvider
    | PanoramaxProvider
    | MapillaryProvider
    | KartaViewProvider
    | GoogleProvider
    | PluggedProvider,
    Field(discriminator="kind"),
    BeforeValidator(with_kind),
]
"""An entry of any kind; the order is that of the schema."""

__all__ = [
    "Account",
    "BudgetEntry",
    "CitySite",
    "FolderProvider",
    "GoogleProvider",
    "KartaViewProvider",
    "MapillaryProvider",
    "PanoramaxProvider",
    "PluggedProvider",
    "Provider",
    "ProviderEntry",
    "ServiceProvider",
    "SimulatedProvider",
]
