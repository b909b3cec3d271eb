"""The stored images of a city, by image id."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from adapters.images import decode_image
from adapters.store import ArtifactRef, Store, StoreError
from adapters.store.errors import explained
from tasks.steps.schemas import IMAGERY, OK
from tasks.steps.tables import Row, read_rows


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
        self._rows: dict[str, Row] = {
            row["image_id"]: row
            for row in read_rows(store, imagery, "imagery.parquet", IMAGERY)
            if row["status"] == OK
        }
        self._parts: dict[str, ArtifactRef] = {}
        if not store.is_far:  # there, each look is a request: a shard is looked for when it is read
            for location in sorted({row["artifact"] for row in self._rows.values()}):
                self._part(location)

    def row(self, image_id: str) -> Row:
        """The image's row: where and when it was taken, its size, its licence."""
        return self._rows[image_id]

    def ids(self) -> list[str]:
        """Ids of the images that could be fetched, sorted."""
        return sorted(self._rows)

    def data(self, image_id: str) -> bytes:
        """The encoded image, as it was stored."""
        row = self._rows[image_id]
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
        counts: dict[tuple[str, str], int] = {}
        for row in self._rows.values():
            terms = (str(row["licence"]), str(row["attribution"]))
            counts[terms] = counts.get(terms, 0) + 1
        return [(licence, whom, count) for (licence, whom), count in sorted(counts.items())]

    def sources(self) -> list[ImageSource]:
        """Every image with its terms, by attribution and id."""
        found = [
            ImageSource(
                image_id=image_id,
                licence=str(row["licence"]),
                attribution=str(row["attribution"]),
                page_url=row["page_url"],
                taken=_capture_time(row),
            )
            for image_id, row in self._rows.items()
        ]
        return sorted(found, key=lambda source: (source.attribution, source.image_id))


def _capture_time(row: Row) -> str | None:
    moment = row["captured_at"]
    if moment is None:
        return None
    return str(moment.strftime("%Y-%m" if row["time_precision"] == "month" else "%Y-%m-%d"))
