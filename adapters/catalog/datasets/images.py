"""Pictures of one's own, without labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from adapters.catalog.datasets.base import DatasetSite, FileSet
from adapters.catalog.entry import Size

if TYPE_CHECKING:
    from adapters.datasets.base import LabelledDataset


class ImagesSet(FileSet):
    """Pictures of one's own, without labels: to adapt to. All of them are of the split "train"."""

    kind: Literal["images"]
    image_size: Size | None = Field(
        default=None,
        description="[height, width] that pictures go through the network at; null: their own, "
        "those of more than four million pixels reduced to so many",
    )
    images: str = Field(
        default=".",
        description="folder of the pictures below root, * any folder; they may lie at any depth",
    )

    @property
    def has_labels(self) -> bool:
        """None has a label."""
        return False

    @property
    def scored_split(self) -> str | None:
        """Nothing is scored on it."""
        return None

    def open(self, site: DatasetSite) -> LabelledDataset:
        """The pictures in their folder."""
        from adapters.datasets.image_folder import MOST_PIXELS, ImageFolder  # noqa: PLC0415

        return ImageFolder(
            site.path(self.root, "root"),
            images=self.images,
            most_pixels=MOST_PIXELS if self.image_size is None else None,
        )

    def identity(self, source: LabelledDataset, samples: Sequence[str]) -> dict[str, Any]:
        """Settings and files, and to how many pixels large pictures are reduced."""
        from adapters.datasets.image_folder import MOST_PIXELS  # noqa: PLC0415

        reduced = {"most_pixels": MOST_PIXELS} if self.image_size is None else {}
        return {**super().identity(source, samples), **reduced}
