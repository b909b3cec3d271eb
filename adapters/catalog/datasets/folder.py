"""Images and labels of one's own, in files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field, field_validator, model_validator

from adapters.catalog.datasets.base import DatasetSite, FileSet
from adapters.catalog.datasets.label_map import checked_label_map

if TYPE_CHECKING:
    from adapters.datasets.base import LabelledDataset


class FolderSet(FileSet):
    """Images and labels of one's own."""

    kind: Literal["folder"]
    label_map: dict[int | str, str] | Literal["labelIds", "labelTrainIds"] = Field(
        description="for every value (0 to 255) or colour ('#rrggbb') of the labels a Cityscapes "
        "class name or 'void'; a value that is not here is an error. Or labelIds or labelTrainIds, "
        "as Cityscapes has them",
    )
    images: str = Field(
        default="images/{split}",
        description="folder of the images below root; {split} is the name of a split, * any folder",
    )
    labels: str = Field(
        default="labels/{split}",
        description="folder of the labels below root, with the same {split} and *; it may be that "
        "of the images",
    )
    image_ending: str | None = Field(
        default=None,
        description="what follows a name in its image's, as _leftImg8bit; null: its type alone",
    )
    label_ending: str = Field(
        default=".png", description="what follows a name in its label's, in letters of any case"
    )
    splits: dict[Literal["train", "val", "test"], str] | None = Field(
        default=None,
        min_length=1,
        description="what {split} stands for in each split, as {train: training, val: validation}",
    )

    @property
    def scored_split(self) -> str | None:
        """The last of the splits that the entry names."""
        if self.splits is None or "test" in self.splits:
            return "test"
        return "val" if "val" in self.splits else None

    @model_validator(mode="before")
    @classmethod
    def _labels_are_described(cls, given: object) -> object:
        if isinstance(given, dict) and "label_map" not in given:
            raise ValueError(
                "label_map is missing: say what the labels mean, or write kind: images for "
                "pictures without labels"
            )
        return given

    @field_validator("label_map", mode="before")
    @classmethod
    def _label_map_is_possible(cls, given: object) -> object:
        """Keys of JSON are text, also those that are values of labels."""
        return checked_label_map(given)

    def open(self, site: DatasetSite) -> LabelledDataset:
        """The set in its folder."""
        from adapters.datasets.labelled_folder import LabelledFolder  # noqa: PLC0415

        return LabelledFolder(
            site.path(self.root, "root"),
            label_map=self.label_map,
            images=self.images,
            labels=self.labels,
            image_ending=self.image_ending,
            label_ending=self.label_ending,
            splits={str(ours): theirs for ours, theirs in (self.splits or {}).items()},
        )
