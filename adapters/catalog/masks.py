"""The catalog's entries of pixels that show the provider and not the street."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Self

from pydantic import BeforeValidator, Field, model_validator

from adapters.catalog.entry import Entry
from adapters.catalog.environment import resolve_folder
from adapters.catalog.errors import CatalogError

if TYPE_CHECKING:
    from adapters.image_masks import ImageMask

Corner = tuple[float, float]


class MaskEntry(Entry):
    """Pixels that are never static and never matched: watermarks, bonnets, drawn text."""

    polygons: list[Annotated[list[Corner], Field(min_length=3)]] = Field(
        default_factory=list,
        description="corners [x, y] in pixels of the stored images, from the upper left corner; "
        "inside is ignored",
    )
    png: str | None = Field(
        default=None,
        description="a picture of the images' proportions, white where they are ignored; "
        "${NAME} is read from the environment",
    )

    @model_validator(mode="after")
    def _something_is_masked(self) -> Self:
        if not self.polygons and self.png is None:
            raise ValueError("give polygons, png or both")
        return self

    def open(self, folder: Path, key: str) -> ImageMask:
        """The mask, read.

        Args:
            folder: The catalog's folder.
            key: The dotted key of the entry, for errors.

        Raises:
            CatalogError: The picture cannot be used.
        """
        from adapters.image_masks import ImageMask, drawn_mask  # noqa: PLC0415
        from adapters.images import ImageError  # noqa: PLC0415

        polygons = tuple(tuple(polygon) for polygon in self.polygons)
        if self.png is None:
            return ImageMask(polygons)
        path = resolve_folder(folder, self.png, key=f"{key}.png")
        try:
            return ImageMask(polygons, str(path), drawn_mask(path))
        except ImageError as error:
            raise CatalogError(f"{key}: {error}") from None


def _as_mask(value: object) -> object:
    """The short forms: a file, or the corners of one polygon."""
    if isinstance(value, str):
        return {"png": value}
    if isinstance(value, list):
        short: Any = value
        first = short[0] if short else None
        several = isinstance(first, list) and first and isinstance(first[0], list | tuple)
        return {"polygons": short if several else [short]}
    if isinstance(value, Mapping) and "polygon" in value:
        rest = {name: one for name, one in value.items() if name != "polygon"}
        return {"polygons": [value["polygon"]], **rest}
    return value


Mask = Annotated[MaskEntry, BeforeValidator(_as_mask)]
"""A mask in full, `mask: bonnet.png`, or `mask: [[0, 0], [190, 0], [190, 62], [0, 62]]`."""
