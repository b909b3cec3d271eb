"""Fetching the images of a shard: aligned within a place, kept one by one until it is whole."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from itertools import groupby
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from adapters.catalog import City, ServiceProvider
from adapters.file_names import as_text
from adapters.images import ImageError, decode_image, sanitised_image
from adapters.store import Store
from adapters.store.records import canonical_json
from adapters.street_view.base import Capture, StreetView, StreetViewError
from adapters.street_view.web.errors import GivenUpError, HarvestStopped
from crosscity.alignment import Turn, relative_turn, search_fov
from crosscity.image_quality import image_quality
from crosscity.panorama import Perspective, View, render_view
from tasks.harvesting.quality import MEASURES
from tasks.steps.schemas import CAPTURES, FAILED, OK
from tasks.steps.tables import Row

_SEARCH_WIDTH = 640
_NARROWED = 0.8
_TELLING = 6
"""Characters of a service's name of a picture, below which it may be any number in a sentence."""

Image = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Alignment:
    """How headings are made exact.

    Attributes:
        search_degrees: How far compasses may err together.
        min_overlap: Correlation from which on two views show the same.
    """

    search_degrees: float
    min_overlap: float


def alignment_of(entry: City) -> Alignment | None:
    """A city's settings, ``None`` where headings are taken as they are."""
    provider = entry.provider
    if not isinstance(provider, ServiceProvider):
        return None
    return Alignment(provider.search_degrees, provider.min_overlap)


class Kept(Protocol):
    """Where fetched images wait until their shard is whole."""

    def load(self, image_id: str) -> tuple[Row, bytes] | None:
        """Facts and bytes of an image that an earlier run fetched."""

    def save(self, image_id: str, facts: Row, stored: bytes) -> None:
        """Keeps an image."""


class KeptNowhere:
    """For providers whose images cost nothing to fetch again."""

    def load(self, image_id: str) -> None:
        """Nothing."""

    def save(self, image_id: str, facts: Row, stored: bytes) -> None:
        """Nothing is kept."""


class KeptInStore:
    """As checkpoints of the shard's artifact, so that no image is paid for twice."""

    def __init__(self, store: Store, city: str, key: str) -> None:
        self._store, self._step = store, ("imagery_part", city, key)

    def load(self, image_id: str) -> tuple[Row, bytes] | None:
        """The image, if it is there and whole."""
        path = self._store.load_progress(*self._step, image_id)
        if path is None:
            return None
        head, _, stored = path.read_bytes().partition(b"\n")
        return json.loads(head), stored

    def save(self, image_id: str, facts: Row, stored: bytes) -> None:
        """Replaces nothing that is there: an image is fetched once."""
        self._store.save_progress(
            *self._step, image_id, json.dumps(facts).encode() + b"\n" + stored
        )


def by_place(rows: Sequence[Row]) -> list[list[Row]]:
    """The rows of each place together: one worker aligns what belongs together."""
    return [list(group) for _, group in groupby(rows, key=lambda row: row["place_id"])]


def fetch_place(
    provider: StreetView,
    rows: Sequence[Row],
    folder: Path,
    location: str,
    alignment: Alignment | None,
    kept: Kept,
    done: Callable[[], None],
    failed: Callable[[Exception], None],
) -> list[Row]:
    """Fetches the images of one place; one that fails becomes a row that says why.

    Args:
        provider: Where they come from.
        rows: Of the `captures` table, references before what is aligned to them.
        folder: Of the draft; images go to its folder ``images``.
        location: Of the artifact that is being made.
        alignment: How headings are made exact.
        kept: Images that an earlier run fetched.
        done: Called after each image.
        failed: Called with the error of each image that fails; raises where that is not to become
            a row.

    Raises:
        HarvestStopped: Nothing more can be fetched now.
    """
    # Pictures are large, and a place may have thousands: only what others are aligned to is kept.
    aligned_to = {str(row["aligned_to"]) for row in rows if row["aligned_to"] is not None}
    references: dict[str, Image | None] = dict.fromkeys(aligned_to if alignment else ())
    made = []
    for row in rows:
        try:
            one = _fetch_one(provider, row, folder, location, alignment, kept, references)
        except HarvestStopped:
            raise
        except (ImageError, StreetViewError) as error:
            failed(error)
            one = _failed(row, error)
        made.append(one)
        done()
    return made


def _fetch_one(
    provider: StreetView,
    row: Row,
    folder: Path,
    location: str,
    alignment: Alignment | None,
    kept: Kept,
    references: dict[str, Image | None],
) -> Row:
    image_id = str(row["image_id"])
    name = f"images/{image_id}.jpg"
    found = kept.load(image_id)
    if found is None or _lacks_alignment(row, found[0], alignment, references):
        facts, stored, image = _fetch_aligned(provider, capture_of(row), alignment, references)
        kept.save(image_id, facts, stored)
    else:
        facts, stored = found
        image = decode_image(stored, image_id)
    if image_id in references:
        references[image_id] = image
    (folder / name).write_bytes(stored)
    return {
        **row,
        **facts,
        "width": image.shape[1],
        "height": image.shape[0],
        "artifact": location,
        "file": name,
        "sha256": hashlib.sha256(stored).hexdigest(),
        **asdict(image_quality(image)),
        "status": OK,
        "reason": None,
    }


def _lacks_alignment(
    row: Row, facts: Row, alignment: Alignment | None, references: dict[str, Image | None]
) -> bool:
    """Whether an image was kept as its reference could not be had, which is there now."""
    reference = references.get(row["aligned_to"] or "")
    return alignment is not None and reference is not None and facts["overlap"] is None


def _failed(row: Row, error: Exception) -> Row:
    nothing = dict.fromkeys(
        ("width", "height", "artifact", "file", "sha256", "heading_offset", "overlap", *MEASURES)
    )
    reason = _without_names(row, error)
    return {**row, **nothing, "status": FAILED, "reason": reason}


def _fetch_aligned(
    provider: StreetView,
    capture: Capture,
    alignment: Alignment | None,
    references: dict[str, Image | None],
) -> tuple[Row, bytes, Image]:
    reference = references.get(capture.aligned_to or "")
    turn: Turn | None = None
    offset: float | None = None
    if alignment is not None and reference is not None:
        turn, searched = _measured_turn(provider, capture, reference, alignment)
        if searched and turn.overlap >= alignment.min_overlap:
            offset = turn.degrees
            capture = replace(capture, heading=(capture.heading + offset) % 360.0)
    data = provider.fetch(capture)
    image = decode_image(data, capture.image_id)
    facts: Row = {"heading_offset": offset, "overlap": None if turn is None else turn.overlap}
    return facts, sanitised_image(data, image), image


def _measured_turn(
    provider: StreetView, capture: Capture, reference: Image, alignment: Alignment
) -> tuple[Turn, bool]:
    """The turn of a capture against the reference, and whether it may be turned at all."""
    height, width = reference.shape[:2]
    wide = search_fov(capture.fov, alignment.search_degrees)
    # No finer than the reference: it must not take a larger picture than the view itself.
    ratio = _tangent(wide) / _tangent(capture.fov)
    columns = min(_SEARCH_WIDTH, round(width * ratio))
    rows = max(2, round(columns * height / width / ratio))
    view = View(capture.heading, capture.pitch, wide, rows, columns)
    try:
        other = decode_image(provider.fetch(capture, view), capture.image_id)
    except (HarvestStopped, GivenUpError):
        raise
    except StreetViewError:
        # A photograph shows no more than itself: it is compared, but cannot be turned.
        other = decode_image(provider.fetch(capture), capture.image_id)
        narrow = _NARROWED * capture.fov
        middle = View(0.0, 0.0, narrow, height, width)
        part, _ = render_view(reference, Perspective(capture.fov), middle)
        return relative_turn(part, narrow, other, capture.fov), False
    return relative_turn(reference, capture.fov, other, wide), True


def _tangent(fov: float) -> float:
    return math.tan(math.radians(fov) / 2)


def capture_row(capture: Capture) -> Row:
    """A capture as a row of the `captures` table."""
    return {name: getattr(capture, name) for name in CAPTURES.names}


def listing_digest(rows: Sequence[Row]) -> str:
    """Digest of a list of captures, by their values alone: a part of the list's key."""
    plain = [
        {k: v.isoformat() if isinstance(v, datetime) else v for k, v in row.items()} for row in rows
    ]
    return hashlib.sha256(canonical_json(plain)).hexdigest()


def capture_of(row: Row) -> Capture:
    """The capture of a row."""
    values: dict[str, Any] = {name: row[name] for name in CAPTURES.names}
    return Capture(**values)


def _without_names(row: Row, error: Exception) -> str:
    """The reason without the names of the image, so that equal faults count as one."""
    text = as_text(" ".join(str(error).split()))
    name, source = str(row["image_id"]), str(row["source_id"] or "")
    text = text.replace(f"{name}: ", "").replace(f"{name} ", "")
    if len(source) >= _TELLING:
        text = text.replace(f" {source}", "").replace(source, "…")
    return text
