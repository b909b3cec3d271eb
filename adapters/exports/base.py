"""What is exported, what an exporter offers, and which licences let images be passed on."""

from __future__ import annotations

import importlib
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import ModuleType
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt

from crosscity.labels import CLASSES

_OPEN: Final = re.compile(
    r"""^\s*(cc[- ]?0|cc[- ]by|odbl|odc-by|pddl|public[ -]domain|licence[ -]ouverte|
    etalab|ogl|apache|mit|bsd)(?![a-z])""",
    re.IGNORECASE | re.VERBOSE,
)
"""Beginnings of licences that allow passing images on: Creative Commons with attribution (and what
goes with it), Open Data Commons, the French and British open licences, software licences."""


class ExportError(ValueError):
    """An export is refused or cannot be written; one sentence that says why and what to do."""


@dataclass(frozen=True)
class ExportItem:
    """One image of a city and what is known of it.

    Attributes:
        image_id: Its name in the store; unique, and safe as a file name.
        jpeg: The encoded image.
        size: (height, width) in pixels.
        labels: (H, W) uint8 trainIds with 255 for void, where there is a prediction or a label.
        static: (H, W) bool static prior, where there is one.
        lat: WGS84 degrees.
        lon: WGS84 degrees.
        heading: Degrees clockwise from north.
        captured_at: UTC.
        split: "train" or "test".
        place_id: The place; images of one place at two times share it.
        licence: Of the image.
        attribution: Whom to credit.
        page_url: Where a person can look at the original.
    """

    image_id: str
    jpeg: bytes
    size: tuple[int, int]
    licence: str
    attribution: str
    labels: npt.NDArray[np.uint8] | None = None
    static: npt.NDArray[np.bool_] | None = None
    lat: float | None = None
    lon: float | None = None
    heading: float | None = None
    captured_at: datetime | None = None
    split: str = "train"
    place_id: str | None = None
    page_url: str | None = None

    def facts(self) -> dict[str, Any]:
        """What is known of the image beside its pixels, as tables have it; JSON-able.

        With it go the terms that it may be passed on under: licence and attribution.
        """
        return image_facts(vars(self))


def image_facts(known: Mapping[str, Any]) -> dict[str, Any]:
    """`ExportItem.facts` of an image of which more is known, such as its row of an imagery."""
    captured_at: datetime | None = known["captured_at"]
    return {
        **{name: known[name] for name in ("image_id", "split")},
        "place": known["place_id"],
        **{name: known[name] for name in ("lat", "lon", "heading")},
        "captured_at": captured_at.isoformat() if captured_at else None,
        **{name: known[name] for name in ("licence", "attribution", "page_url")},
    }


class Exporter(Protocol):
    """Writes items into a folder, one after another, so that a city need not fit into memory."""

    def __init__(self, folder: Path, city: str) -> None:
        """Begins an export into an empty folder."""
        ...

    def add(self, item: ExportItem) -> None:
        """Writes one image and what is known of it."""
        ...

    def finish(self) -> None:
        """Writes what is about all of them."""
        ...


def check_licences(licences: Iterable[str], *, allowed: str | None = None) -> None:
    """Refuses to pass images on whose licence does not say that one may.

    Args:
        licences: The licence of each image.
        allowed: The user's own word on why these may be passed on, if any.

    Raises:
        ExportError: Naming the licence and how many images have it.
    """
    if allowed:
        return
    closed = Counter(licence for licence in licences if not _OPEN.match(licence))
    if closed:
        licence, count = closed.most_common(1)[0]
        raise ExportError(
            f"{count} images are under {licence!r}, which is not known to let them be passed on: "
            "where you have the right to, say why with --allowed 'reason'"
        )


def needed(module: str, package: str) -> ModuleType:
    """A library that one format needs.

    Raises:
        ExportError: It is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError:
        raise ExportError(f"this format needs {package}: pip install 'crosscity[export]'") from None


def class_table() -> list[dict[str, object]]:
    """Names, ids and colours of the classes, as several formats list them."""
    return [
        {
            "name": each.name,
            "trainId": each.train_id,
            "labelId": each.label_id,
            "colour": list(each.colour),
        }
        for each in CLASSES
    ]
