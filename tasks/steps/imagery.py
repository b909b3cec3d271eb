"""The stored images of a city, by image id."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc

from adapters.images import decode_image
from adapters.store import ArtifactRef, Store, StoreError
from adapters.store.errors import explained
from adapters.tables import read_table
from tasks.steps.rows_by_id import RowsById
from tasks.steps.schemas import IMAGERY, OK
from tasks.steps.tables import Row

_OF_SOURCE: Final = (
    *("image_id", "licence", "attribution"),
    *("page_url", "captured_at", "time_precision"),
)


@dataclass(frozen=True)
class ImageSource:
    """Where an image comes from, for the credits.

    Attributes:
        image_id: The image.
        licence: Its licence.
        attribution: Whom to credit.
        page_url: Where a person can look at the original, ``None`` if nowhere.
        taken: The day or month, ``None`` if unknown.
    """

    image_id: str
    licence: str
    attribution: str
    page_url: str | None
    taken: str | None


class Imagery:
    """Reads the images of an `imagery` artifact; safe to use from several threads.

    An image that the store does not give is a `StoreError`, and none of the errors by which a bad
    image becomes a row: that row would stay in its artifact when the image is there again.
    """

    def __init__(self, store: Store, imagery: ArtifactRef) -> None:
        self._store = store
        table = read_table(store.path(imagery, "imagery.parquet"), IMAGERY)
        self._rows = RowsById(table.filter(pc.equal(table["status"], OK)), "image_id")
        self._parts: dict[str, ArtifactRef] = {}
        if not store.is_far:  # there, each look is a request: a shard is looked for when it is read
            for location in sorted(set(self._rows.column("artifact"))):
                self._part(location)

    def row(self, image_id: str) -> Row:
        """The image's row: where and when it was taken, its size, its licence."""
        return self._rows[image_id]

    def size(self, image_id: str) -> tuple[int, int]:
        """(height, width) of the image."""
        row = self._rows.some(image_id, ("height", "width"))
        return row["height"], row["width"]

    def ids(self) -> list[str]:
        """Ids of the images that could be fetched, sorted."""
        return sorted(self._rows)

    def data(self, image_id: str) -> bytes:
        """The encoded image, as it was stored."""
        row = self._rows.some(image_id, ("artifact", "file"))
        path = self._store.path(self._part(row["artifact"]), row["file"])
        with explained(str(path)):
            return path.read_bytes()

    def _part(self, location: str) -> ArtifactRef:
        known = self._parts.get(location)
        if known is None:
            known = self._store.known_at(location)
            if known is None:
                city = location.split("/")[1]
                raise StoreError(
                    f"the images in {location} are gone from the store: harvest {city} again"
                )
            self._parts[location] = known
        return known

    def read(self, image_id: str) -> npt.NDArray[np.uint8]:
        """The image as (H, W, 3) uint8 RGB."""
        return decode_image(self.data(image_id), image_id)

    def credits(self) -> list[tuple[str, str, int]]:
        """(licence, attribution, number of images), for the report's credits."""
        terms = (self._rows.column(name) for name in ("licence", "attribution"))
        counts = Counter(zip(*terms, strict=True))
        return [(licence, whom, count) for (licence, whom), count in sorted(counts.items())]

    def sources(self) -> list[ImageSource]:
        """Every image with its terms, by attribution and id."""
        found = [
            ImageSource(
                image_id=image_id,
                licence=licence,
                attribution=attribution,
                page_url=page_url,
                taken=_capture_time(captured_at, time_precision),
            )
            for image_id, licence, attribution, page_url, captured_at, time_precision in zip(
                *map(self._rows.column, _OF_SOURCE), strict=True
            )
        ]
        return sorted(found, key=lambda source: (source.attribution, source.image_id))


def _capture_time(moment: datetime | None, precision: str | None) -> str | None:
    if moment is None:
        return None
    return moment.strftime("%Y-%m" if precision == "month" else "%Y-%m-%d")
