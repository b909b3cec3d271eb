"""A provider of the user's own package, whose answers are checked before they are used."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final, get_args

from adapters.street_view.base import (
    Capture,
    Precision,
    Rejected,
    ReportsRejected,
    Split,
    StreetView,
    StreetViewError,
)
from crosscity.areas import Bounds
from crosscity.named_function import somebody_elses
from crosscity.panorama import View

_SAFE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,120}")


class ProviderFaultError(StreetViewError):
    """A provider of somebody else's is wrong, and will hardly do better on the next image."""


class CheckedStreetView:
    """Passes on what a provider answers, or ends with one sentence that names the provider.

    Args:
        provider: The user's provider.
        python: The function that built it, for errors.
    """

    def __init__(self, provider: StreetView, python: str) -> None:
        self._provider = provider
        self._python = python

    @property
    def name(self) -> str:
        """The provider's own name."""
        return self._provider.name

    def captures(self) -> Sequence[Capture]:
        """The provider's captures.

        Raises:
            StreetViewError: It gives something else, two of one id, or of ids that differ by case
                alone: they become names of files, which disks of macOS and Windows take for one.
        """
        captures = self._listed("captures", self._asked("captures"))
        seen: dict[str, str] = {}
        for capture in captures:
            plain = capture.image_id.lower()
            if plain in seen:
                raise self._error(_alike(seen[plain], capture.image_id))
            seen[plain] = capture.image_id
        return captures

    def near(self, lat: float, lon: float, metres: float) -> Sequence[Capture]:
        """The provider's captures around a point."""
        return self._listed("near", self._asked("near", lat, lon, metres))

    def within(self, bounds: Bounds) -> Sequence[Capture]:
        """The provider's captures in bounds."""
        return self._listed("within", self._asked("within", bounds))

    def fetch(self, capture: Capture, view: View | None = None) -> bytes:
        """The provider's encoded image."""
        data = self._asked("fetch", capture, view)
        if not isinstance(data, bytes):
            raise self._error(
                f"fetch returned {type(data).__name__} for {capture.image_id}: it must return the "
                "bytes of a JPEG or PNG file"
            )
        return data

    def revision(self) -> str:
        """The provider's revision."""
        revision = self._asked("revision")
        if not isinstance(revision, str):
            raise self._error(f"revision returned {type(revision).__name__}: it must be a string")
        return revision

    def rejected(self) -> Sequence[Rejected]:
        """What the provider left out, where it tells."""
        if not isinstance(self._provider, ReportsRejected):
            return ()
        rejected = self._asked("rejected")
        if not isinstance(rejected, Sequence):
            raise self._error(
                f"rejected returned {type(rejected).__name__}: it must return a list of "
                "adapters.street_view.base.Rejected"
            )
        for number, item in enumerate(rejected):
            if not isinstance(item, Rejected):
                kind = type(item).__name__
                raise self._error(
                    f"item {number} of rejected is a {kind} and not an "
                    "adapters.street_view.base.Rejected"
                )
            if not (isinstance(item.name, str) and isinstance(item.reason, str)):
                raise self._error(f"item {number} of rejected is not told in strings")
        return rejected

    def _asked(self, method: str, *arguments: object) -> object:
        """What a method of the provider gives; its failures as one sentence, whatever their type.

        Of one image it is a reason why that image failed, as other failures are.
        """
        try:
            with somebody_elses(method, self._error, own=(StreetViewError,)):
                found: object = getattr(self._provider, method)(*arguments)
                return found
        except ProviderFaultError as error:
            if isinstance(error.__cause__, OSError):  # as of a file that is not there
                raise StreetViewError(str(error)) from error.__cause__
            raise

    def _listed(self, method: str, listed: object) -> Sequence[Capture]:
        if not isinstance(listed, Sequence):
            raise self._error(
                f"{method} returned {type(listed).__name__}: it must return a list of "
                "adapters.street_view.base.Capture"
            )
        for number, capture in enumerate(listed):
            fault = _fault(capture)
            if fault is not None:
                raise self._error(f"item {number} of {method} {fault}")
        return listed

    def _error(self, fault: str) -> ProviderFaultError:
        return ProviderFaultError(f"The provider of {self._python} is wrong: {fault}.")


def _alike(one: str, other: str) -> str:
    if one == other:
        return f"captures lists the image {one!r} twice"
    return (
        f"captures lists the images {one!r} and {other!r}, which become the names of files and "
        "differ by case alone: many disks take them for one"
    )


def _fault(capture: object) -> str | None:
    """What is wrong with one capture; it may come from anybody's code."""
    if not isinstance(capture, Capture):
        return f"is a {type(capture).__name__} and not an adapters.street_view.base.Capture"
    for field in ("image_id", "place_id"):
        value = getattr(capture, field)
        if not isinstance(value, str) or _SAFE.fullmatch(value) is None:
            return (
                f"has the {field} {value!r}, which becomes a file name: use letters, digits, '_' "
                "and '-', at most 121"
            )
    if not all(_is_number(getattr(capture, field)) for field in ("heading", "pitch", "fov")):
        return "has a heading, pitch or fov that is not a finite number"
    if not 0 <= capture.heading < 360:
        return f"has the heading {capture.heading:g}, which does not lie in [0, 360)"
    return (
        _words_fault(capture)
        or _place_fault(capture)
        or _time_fault(capture.captured_at, capture.time_precision)
    )


def _words_fault(capture: Capture) -> str | None:
    for field in ("provider", "licence", "attribution"):
        if not isinstance(getattr(capture, field), str):
            return f"has a {field} that is not a string"
    for field in ("page_url", "source_id", "sequence", "aligned_to"):
        if not isinstance(getattr(capture, field), str | None):
            return f"has a {field} that is neither a string nor None"
    if capture.split not in (None, *get_args(Split)):
        return f"has the split {capture.split!r}: give {', '.join(get_args(Split))} or None"
    return None


def _place_fault(capture: Capture) -> str | None:
    if (capture.lat is None) != (capture.lon is None):
        return "has only one of lat and lon"
    if capture.lat is None or capture.lon is None:
        return None
    if not (_is_number(capture.lat) and _is_number(capture.lon)):
        return "has a lat or lon that is not a finite number"
    if not (-90 <= capture.lat <= 90 and -180 <= capture.lon <= 180):
        return f"lies at lat {capture.lat:g}, lon {capture.lon:g}, which are not WGS84 degrees"
    return None


def _time_fault(moment: object, precision: object) -> str | None:
    if precision not in (None, *get_args(Precision)):
        return (
            f"has the time_precision {precision!r}: give {', '.join(get_args(Precision))} or None"
        )
    if moment is None:
        return None
    if not isinstance(moment, datetime) or moment.utcoffset() != UTC.utcoffset(None):
        return "has a captured_at that is not a datetime in UTC"
    return None


def _is_number(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # of an int with more digits than a float has room for
        return False
