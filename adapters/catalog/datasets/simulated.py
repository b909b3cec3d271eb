"""Cities that do not exist."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from adapters.catalog.datasets.base import DatasetEntry, DatasetSite
from adapters.catalog.entry import Seed, Size
from adapters.catalog.styles import STYLE, is_file, style_of

if TYPE_CHECKING:
    from adapters.datasets.base import LabelledDataset


class SimulatedSet(DatasetEntry):
    """A simulated source city, with exact labels."""

    kind: Literal["simulated"]
    style: str = Field(description=STYLE)
    image_size: Size
    train: int = Field(ge=1, description="training images")
    val: int = Field(ge=0, description="validation images: what settings are chosen on")
    test: int = Field(ge=0, description="test images: reported, never chosen on")
    seed: Seed = 0

    @property
    def scored_split(self) -> str | None:
        """The test images, where there are any."""
        return "test" if self.test else None

    def open(self, site: DatasetSite) -> LabelledDataset:
        """The simulated set; nothing is rendered yet."""
        from adapters.datasets.simulated import SimulatedDataset  # noqa: PLC0415

        return SimulatedDataset(
            style_of(self.style, site.folder, key=f"{site.key}.style"),
            seed=self.seed,
            image_size=self.image_size,
            splits={"train": self.train, "val": self.val, "test": self.test},
        )

    def identity(
        self,
        source: LabelledDataset,
        samples: Sequence[str],
    ) -> dict[str, Any]:
        """Style, seed and size: how many images there are changes none of them.

        A style of a file counts by what is in it, not by where it lies.
        """
        known = {"seed": self.seed, "image_size": list(self.image_size)}
        if is_file(self.style):
            return {**known, "files": source.revision(samples)}
        return {**known, "style": self.style}
