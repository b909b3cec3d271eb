"""CamVid."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from adapters.catalog.datasets.base import DatasetSite, FileSet

if TYPE_CHECKING:
    from adapters.datasets.base import LabelledDataset


class CamVidSet(FileSet):
    """CamVid, in the layout of 11 classes or the original one of 32 colours."""

    kind: Literal["camvid"]
    protocol: ClassVar[str] = "camvid11"
    sequences: list[str] | None = Field(
        default=None, description="only these drives: 0001TP (dusk), 0006R0, 0016E5, Seq05VD"
    )

    def open(self, site: DatasetSite) -> LabelledDataset:
        """The set in its folder."""
        from adapters.datasets.camvid import CamVidDataset  # noqa: PLC0415

        return CamVidDataset(site.path(self.root, "root"), sequences=self.sequences)
