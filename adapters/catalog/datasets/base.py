"""What every data set entry of the catalog offers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from adapters.catalog.entry import Entry, Size
from adapters.catalog.environment import resolve_folder

if TYPE_CHECKING:
    from adapters.datasets.base import LabelledDataset


@dataclass(frozen=True)
class DatasetSite:
    """Where the entry of a data set stands.

    Attributes:
        name: The data set's name in the catalog.
        folder: The catalog's folder; relative paths of the catalog start there.
    """

    name: str
    folder: Path

    @property
    def key(self) -> str:
        """The dotted key of the entry, for errors."""
        return f"datasets.{self.name}"

    def path(self, value: str, setting: str) -> Path:
        """The folder or file that a setting names, `${NAME}` read from the environment."""
        return resolve_folder(self.folder, value, key=f"{self.key}.{setting}")


class DatasetEntry(Entry):
    """Base of the data set entries.

    A kind of data set is one module of this package, and one line in its `__init__.py`. Modules
    import the data set itself where it is opened: the catalog is read without it.
    """

    kind: str
    unnamed: ClassVar[frozenset[str]] = frozenset({"root"})
    """Settings that say where the files are and nothing of what is in them."""
    protocol: ClassVar[str] = "score19"
    """How transfers to the set are scored unless they say otherwise: a set that tells fewer classes
    apart than Cityscapes is not scored on those that it has not."""

    @property
    def stored_size(self) -> tuple[int, int] | None:
        """(height, width) that images are stored at; ``None``: their own."""
        return None

    @property
    def has_labels(self) -> bool:
        """Whether it can be trained and scored on; a set without labels is adapted to alone."""
        return True

    @property
    def scored_split(self) -> str | None:
        """The split that a segmenter trained on the set is scored on; ``None``: it has none."""
        return "test"

    def open(self, site: DatasetSite) -> LabelledDataset:
        """The data set.

        Raises:
            DatasetError: The set is not there, or the entry does not suit it.
            CatalogError: A setting is wrong, or a variable is not in the environment.
        """
        raise NotImplementedError(f"{type(self).__name__} must say how it is opened")

    def identity(self, source: LabelledDataset, samples: Sequence[str]) -> dict[str, Any]:
        """What, beside their ids, determines the pixels of some samples of the opened set."""
        settings = self.model_dump(mode="json", exclude=set(self.unnamed))
        return {"entry": settings, "files": source.revision(samples)}


class FileSet(DatasetEntry):
    """What labelled sets on disk have in common."""

    root: str = Field(description="folder of the set; ${NAME} is read from the environment")
    image_size: Size | None = Field(
        default=None,
        description="[height, width] that images go through the network at; null: their own. "
        "Labels that are trained on are resized too, labels that are scored on never",
    )

    @property
    def stored_size(self) -> tuple[int, int] | None:
        """`image_size`."""
        return self.image_size
