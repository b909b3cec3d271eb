"""Cityscapes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from adapters.catalog.datasets.base import DatasetSite, FileSet

if TYPE_CHECKING:
    from adapters.datasets.base import LabelledDataset


class CityscapesSet(FileSet):
    """`leftImg8bit/` and `gtFine/`; scored on "val"."""

    kind: Literal["cityscapes"]
    labels: Literal["labelIds", "labelTrainIds"] = "labelIds"

    @property
    def scored_split(self) -> str | None:
        """The labels of "test" are not public."""
        return "val"

    def open(self, site: DatasetSite) -> LabelledDataset:
        """The set in its folder."""
        from adapters.datasets.cityscapes import CityscapesDataset  # noqa: PLC0415

        return CityscapesDataset(site.path(self.root, "root"), labels=self.labels)
