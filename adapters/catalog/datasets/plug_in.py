"""Data sets of the user's own package."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal, cast

from pydantic import Field

from adapters.catalog.datasets.base import DatasetEntry, DatasetSite
from adapters.catalog.entry import Size
from adapters.catalog.plug_in import FunctionName, build_plug_in

if TYPE_CHECKING:
    from adapters.datasets.base import LabelledDataset

_METHODS = ("samples", "read", "unlabelled", "read_image", "revision")


class PluggedSet(DatasetEntry):
    """A data set of the user's own: `python: my_package.my_module:build` (docs/extending.md).

    The function is called with a `DatasetSite` and the options, and returns a
    `adapters.datasets.base.LabelledDataset`.
    """

    kind: Literal["python"] = "python"
    python: FunctionName
    options: dict[str, Any] = Field(
        default_factory=dict, description="keyword arguments of the function; paths as ${NAME}"
    )
    image_size: Size | None = Field(
        default=None,
        description="[height, width] that images go through the network at; null: their own",
    )
    test_split: str | None = Field(
        default="test",
        description="the split that a segmenter trained on the set is scored on; null: none",
    )

    labelled: bool = Field(
        default=True, description="false: it has no labels, and is adapted to alone"
    )
    unnamed: ClassVar[frozenset[str]] = frozenset({"root", "labelled"})

    @property
    def has_labels(self) -> bool:
        """`labelled`."""
        return self.labelled

    @property
    def stored_size(self) -> tuple[int, int] | None:
        """`image_size`."""
        return self.image_size

    @property
    def scored_split(self) -> str | None:
        """`test_split`, where it has labels."""
        return self.test_split if self.labelled else None

    def open(self, site: DatasetSite) -> LabelledDataset:
        """What the user's function returns, checked wherever it answers."""
        from adapters.datasets.checked import CheckedDataset  # noqa: PLC0415

        made = build_plug_in(
            self.python,
            self.options,
            site,
            key=site.key,
            noun="data set",
            protocol="adapters.datasets.base.LabelledDataset",
            methods=_METHODS,
        )
        return CheckedDataset(cast("LabelledDataset", made), self.python)
