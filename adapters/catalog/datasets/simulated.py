"""Cities that do not exist."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from adapters.catalog.datasets.base import DatasetEntry, DatasetSite
from adapters.catalog.entry import Size

if TYPE_CHECKING:
    from adapters.datasets.base import LabelledDataset


class SimulatedSet(DatasetEntry):
    """A simulated source city, with exact labels."""

    kind: Literal["simulated"]
    style: str = Field(description="a name in simcity.STYLES")
    image_size: Size
    train: int = Field(ge=1, description="training images")
    val: int = Field(ge=0, description="validation images: what settings are chosen on")
    test: int = Field(ge=0, description="test images: reported, never chosen on")
    seed: int = Field(default=0, ge=0)

    @property
    def scored_split(self) -> str | None:
        """The test images, where there are any."""
        return "test" if self.test else None

    def open(self, site: DatasetSite) -> LabelledDataset:  # noqa: ARG002 - it is nowhere
        """The simulated set; nothing is rendered yet."""
        from adapters.datasets.simulated import SimulatedDataset  # noqa: PLC0415

        return SimulatedDataset(
            self.style,
            seed=self.seed,
            image_size=self.image_size,
            splits={"train": self.train, "val": self.val, "test": self.test},
        )

    def identity(
        self,
        source: LabelledDataset,  # noqa: ARG002 - what it is made from says all
        samples: Sequence[str],  # noqa: ARG002
    ) -> dict[str, Any]:
        """Style, seed and size: how many images there are changes none of them."""
        return {"style": self.style, "seed": self.seed, "image_size": list(self.image_size)}
