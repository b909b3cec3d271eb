"""Kinds of data sets: each is a module of this package and a line of `DataSet`."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, Field

from adapters.catalog.datasets.base import DatasetEntry, DatasetSite, FileSet
from adapters.catalog.datasets.camvid import CamVidSet
from adapters.catalog.datasets.cityscapes import CityscapesSet
from adapters.catalog.datasets.cross_city import CrossCitySet
from adapters.catalog.datasets.folder import FolderSet
from adapters.catalog.datasets.images import ImagesSet
from adapters.catalog.datasets.plug_in import PluggedSet
from adapters.catalog.datasets.simulated import SimulatedSet
from adapters.catalog.datasets.synthia import SynthiaSet
from adapters.catalog.plug_in import with_kind

DataSet = Annotated[
    SimulatedSet
    | CityscapesSet
    | SynthiaSet
    | CamVidSet
    | CrossCitySet
    | FolderSet
    | ImagesSet
    | PluggedSet,
    Field(discriminator="kind"),
    BeforeValidator(with_kind),
]
"""An entry of any kind; the order is that of the schema."""

__all__ = [
    "CamVidSet",
    "CityscapesSet",
    "CrossCitySet",
    "DataSet",
    "DatasetEntry",
    "DatasetSite",
    "FileSet",
    "FolderSet",
    "ImagesSet",
    "PluggedSet",
    "SimulatedSet",
    "SynthiaSet",
]
