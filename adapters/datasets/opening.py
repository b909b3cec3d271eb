"""Opening the data set that an entry of the catalog describes."""

from __future__ import annotations

from pathlib import Path

from adapters.catalog import (
    CamVidSet,
    CityscapesSet,
    CrossCitySet,
    DataSet,
    FolderSet,
    SimulatedSet,
)
from adapters.datasets.base import LabelledDataset
from adapters.datasets.camvid import CamVidDataset
from adapters.datasets.cityscapes import CityscapesDataset
from adapters.datasets.cross_city import CrossCityDataset
from adapters.datasets.labelled_folder import LabelledFolder
from adapters.datasets.simulated import SimulatedDataset
from adapters.datasets.synthia import SynthiaDataset


def open_dataset(entry: DataSet, root: Path | None) -> LabelledDataset:
    """The data set of a catalog entry.

    Args:
        entry: The entry.
        root: Its `root` with environment references resolved; ``None`` for a simulated set.

    Raises:
        DatasetError: The set is not there, or the entry does not suit it.
    """
    if isinstance(entry, SimulatedSet):
        return SimulatedDataset(
            entry.style,
            seed=entry.seed,
            image_size=entry.image_size,
            splits={"train": entry.train, "val": entry.val, "test": entry.test},
        )
    place = root if root is not None else Path(entry.root)
    if isinstance(entry, CityscapesSet):
        return CityscapesDataset(place, labels=entry.labels)
    if isinstance(entry, CamVidSet):
        return CamVidDataset(place, sequences=entry.sequences)
    if isinstance(entry, CrossCitySet):
        return CrossCityDataset(place, entry.city)
    if isinstance(entry, FolderSet):
        return LabelledFolder(
            place,
            label_map=entry.label_map,
            images=entry.images,
            labels=entry.labels,
            label_ending=entry.label_ending,
        )
    return SynthiaDataset(place, val=entry.val)
