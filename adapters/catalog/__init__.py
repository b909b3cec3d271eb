"""`data_catalog.yaml`, validated: cities, data sets, segmenters, stores and compute profiles."""

from __future__ import annotations

from adapters.catalog.loading import CatalogError, catalog_json_schema, load_catalog
from adapters.catalog.model import (
    Area,
    Catalog,
    City,
    ComputeProfile,
    CrossCityLabels,
    DataSet,
    FolderProvider,
    PriorSettings,
    SegmenterEntry,
    SimulatedLabels,
    SimulatedProvider,
    StoreEntry,
    Training,
)

__all__ = [
    "Area",
    "Catalog",
    "CatalogError",
    "City",
    "ComputeProfile",
    "CrossCityLabels",
    "DataSet",
    "FolderProvider",
    "PriorSettings",
    "SegmenterEntry",
    "SimulatedLabels",
    "SimulatedProvider",
    "StoreEntry",
    "Training",
    "catalog_json_schema",
    "load_catalog",
]
