"""SYNTHIA."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from adapters.catalog.datasets.base import DatasetSite, FileSet

if TYPE_CHECKING:
    from adapters.datasets.base import LabelledDataset


class SynthiaSet(FileSet):
    """SYNTHIA-RAND-CITYSCAPES: `RGB/` and `GT/LABELS/` (16-bit PNGs)."""

    kind: Literal["synthia"]
    val: int = Field(default=0, ge=0, description="images held out, spread evenly")

    @property
    def scored_split(self) -> str | None:
        """What is held out."""
        return "val" if self.val else None

    def open(self, site: DatasetSite) -> LabelledDataset:
        """The set in its folder."""
        from adapters.datasets.synthia import SynthiaDataset  # noqa: PLC0415

        return SynthiaDataset(site.path(self.root, "root"), val=self.val)
