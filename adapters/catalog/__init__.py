"""`data_catalog.yaml`, validated: cities, data sets, segmenters, stores and compute profiles."""

from __future__ import annotations

from adapters.catalog.areas import Area
from adapters.catalog.datasets import (
    CamVidSet,
    CityscapesSet,
    CrossCitySet,
    DataSet,
    DatasetSite,
    FileSet,
    FolderSet,
    PluggedSet,
    SimulatedSet,
    SynthiaSet,
)
from adapters.catalog.errors import CatalogError
from adapters.catalog.loading import catalog_json_schema, load_catalog
from adapters.catalog.model import (
    HUB_PREFIX,
    Catalog,
    City,
    CrossCityLabels,
    FolderLabels,
    PriorSettings,
    Safeguard,
    SegmenterEntry,
    SimulatedLabels,
    Training,
    Transfer,
)
from adapters.catalog.protocols import ProtocolEntry
from adapters.catalog.providers import (
    Account,
    BudgetEntry,
    CitySite,
    FolderProvider,
    GoogleProvider,
    MapillaryProvider,
    PanoramaxProvider,
    PluggedProvider,
    ServiceProvider,
    SimulatedProvider,
)
from adapters.catalog.recipes import FewLabelsEntry, ObjectiveEntry, RecipeEntry
from adapters.catalog.running import ComputeProfile, Deployed, FlowName, StoreEntry, Tracking

__all__ = [
    "HUB_PREFIX",
    "Account",
    "Area",
    "BudgetEntry",
    "CamVidSet",
    "Catalog",
    "CatalogError",
    "City",
    "CitySite",
    "CityscapesSet",
    "ComputeProfile",
    "CrossCityLabels",
    "CrossCitySet",
    "DataSet",
    "DatasetSite",
    "Deployed",
    "FewLabelsEntry",
    "FileSet",
    "FlowName",
    "FolderLabels",
    "FolderProvider",
    "FolderSet",
    "GoogleProvider",
    "MapillaryProvider",
    "ObjectiveEntry",
    "PanoramaxProvider",
    "PluggedProvider",
    "PluggedSet",
    "PriorSettings",
    "ProtocolEntry",
    "RecipeEntry",
    "Safeguard",
    "SegmenterEntry",
    "ServiceProvider",
    "SimulatedLabels",
    "SimulatedProvider",
    "SimulatedSet",
    "StoreEntry",
    "SynthiaSet",
    "Tracking",
    "Training",
    "Transfer",
    "catalog_json_schema",
    "load_catalog",
]
