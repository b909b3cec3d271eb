"""The public cross-city set."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from adapters.catalog.datasets.base import DatasetSite, FileSet

if TYPE_CHECKING:
    from adapters.datasets.base import LabelledDataset


class CrossCitySet(FileSet):
    """One city of the public cross-city set; its images to adapt to are "clean", "transductive"."""

    kind: Literal["cross_city"]
    city: str = Field(description="name of the city's folder; spellings (Roma) do not matter")

    def open(self, site: DatasetSite) -> LabelledDataset:
        """The city's images and labels in the set's folder."""
        from adapters.datasets.cross_city import CrossCityDataset  # noqa: PLC0415

        return CrossCityDataset(site.path(self.root, "root"), self.city)
