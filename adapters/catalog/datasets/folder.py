"""Images and labels of one's own, in files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field, field_validator

from adapters.catalog.datasets.base import DatasetSite, FileSet

if TYPE_CHECKING:
    from adapters.datasets.base import LabelledDataset


class FolderSet(FileSet):
    """Images and labels of one's own."""

    kind: Literal["folder"]
    label_map: dict[int | str, str] = Field(
        min_length=1,
        description="for every value (0 to 255) or colour ('#rrggbb') of the labels a Cityscapes "
        "class name or 'void'; a value that is not here is an error",
    )
    images: str = Field(default="images/{split}", description="folder of the images below root")
    labels: str = Field(default="labels/{split}", description="folder of the labels below root")
    label_ending: str = Field(default=".png", description="what follows a name in its label's")

    @field_validator("label_map", mode="before")
    @classmethod
    def _values_are_numbers(cls, given: object) -> object:
        """Keys of JSON are text, also those that are values of labels."""
        if not isinstance(given, dict):
            return given
        return {
            int(key) if isinstance(key, str) and key.isdecimal() else key: name
            for key, name in given.items()
        }

    def open(self, site: DatasetSite) -> LabelledDataset:
        """The set in its folder."""
        from adapters.datasets.labelled_folder import LabelledFolder  # noqa: PLC0415

        return LabelledFolder(
            site.path(self.root, "root"),
            label_map=self.label_map,
            images=self.images,
            labels=self.labels,
            label_ending=self.label_ending,
        )
