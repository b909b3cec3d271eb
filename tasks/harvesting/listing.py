"""Listing a city's captures at a street-view service, so that a kill does not repeat it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from adapters.catalog import City
from adapters.store import Draft, Store, artifact_key
from adapters.store.parting import parting
from adapters.street_view.listings import NOT_GIVEN, Listing
from adapters.street_view.service import ServiceStreetView
from adapters.street_view.web.budget import Spent
from adapters.street_view.web.errors import HarvestStopped
from tasks.harvesting.fetching import capture_row
from tasks.harvesting.spending import StepSpending
from tasks.steps import progress
from tasks.steps.errors import InputError
from tasks.steps.schemas import CAPTURES
from tasks.steps.tables import write_rows

RECENT = "recent.txt"
"""Beside a service's list: digests of the last days' pictures, which are not news later."""
_NOTE = "listing"
_BEGUN = "begun"
_NOTE_EVERY_SECONDS = 5.0
_NOTE_SHARE = 20.0
"""Of a hundred thousand places a note takes ten seconds: no more than that share of the time."""
_NO_MATTER = {
    "account",
    "budget",
    "requests_per_second",
    "concurrency",
    "token",
    "key",
    "usd_per_request",
    "search_degrees",
    "min_overlap",
    "mask",
}
"""Settings of a provider that change nothing in what is listed."""


def listing_parameters(entry: City, provider: ServiceStreetView) -> dict[str, Any]:
    """What the list of a city's captures depends on; the service's state is not among it.

    So a city is listed once, and the same entry has the same places from then on; `watch-city`
    brings what is new.
    """
    if entry.area is None:
        raise InputError("a city that is harvested from a service needs an area")
    return {
        "provider": entry.provider.model_dump(mode="json", exclude=_NO_MATTER),
        "area": entry.area.identity(),
        "places": entry.places,
        "seed": entry.seed,
        "max_metres_apart": entry.max_metres_apart,
        "min_days_apart": entry.min_days_apart,
        "image_size": list(entry.view_size),
        "revision": provider.revision(),
        **times_parameters(entry),
    }


def times_parameters(entry: City) -> dict[str, Any]:
    """More than two captures of a place, and their light, in the keys of steps that read them.

    Without them keys are as ever.
    """
    times = {"times": entry.times} if entry.times > 2 else {}
    return times if entry.lights is None else {**times, "lights": list(entry.lights)}


class _Record:
    """Notes in the store, every few seconds at most, and seldom where they take long."""

    def __init__(self, store: Store, step: tuple[str, str, str], spending: StepSpending) -> None:
        self._store, self._step, self._spending = store, step, spending
        self._saved_at = time.monotonic()
        self._pause = _NOTE_EVERY_SECONDS
        self._latest: Callable[[], bytes] | None = None
        self._done = 0

    def load(self) -> bytes | None:
        path = self._store.load_progress(*self._step, _NOTE)
        return None if path is None else path.read_bytes()

    def save(self, note: Callable[[], bytes]) -> None:
        self._latest = note
        if time.monotonic() - self._saved_at > self._pause:
            self.flush()

    def flush(self) -> None:
        if self._latest is not None:
            began = time.monotonic()
            self._store.save_progress(*self._step, _NOTE, self._latest())
            self._saved_at = time.monotonic()
            self._pause = max(_NOTE_EVERY_SECONDS, _NOTE_SHARE * (self._saved_at - began))
        self._spending.note_at_once()

    def advance(self, done: int, total: int) -> None:
        progress.advance(f"list {self._step[1]}", done - self._done, total)
        self._done = done


def list_service(
    store: Store,
    city: str,
    key: str,
    provider: ServiceStreetView,
    *,
    newer_than: datetime | None = None,
    known: frozenset[str] = frozenset(),
    lookback: timedelta = timedelta(0),
) -> tuple[Listing, dict[str, Any]]:
    """Lists a city, going on from where a killed run was.

    Args:
        store: The store.
        city: City.
        key: Key of the `captures` artifact that is being made.
        provider: The service.
        newer_than: See `ServiceStreetView.list_views`.
        known: See `ServiceStreetView.list_views`.
        lookback: How far behind this listing the next one will look.

    Returns:
        The listing, and its summary for the manifest.

    Raises:
        StreetViewError: The service cannot be asked, or the budget is used up.
    """
    listed_at = _begun_at(store, ("captures", city, key))
    spending = StepSpending(store, "captures", city, key)
    spending.open(provider.client.ledger, Spent())
    record = _Record(store, ("captures", city, key), spending)
    with parting(f"{city}: what listing has used could not be noted", spending.note_at_once):
        try:
            listing = provider.list_views(
                newer_than=newer_than,
                known=known,
                recent_from=listed_at - lookback,
                record=record,
            )
        except HarvestStopped:
            with parting(f"{city}: how far the listing is could not be noted", record.flush):
                raise
    summary = {
        "captures": len(listing.captures),
        "places": len({capture.place_id for capture in listing.captures}),
        "usable_pictures": listing.pictures,
        "places_with_a_pair": listing.candidates,
        "rejected": dict(sorted(listing.rejected.items())),
        "completeness": dict(listing.completeness),
        "lights": dict(listing.lights),
        "listed_at": listed_at.isoformat(timespec="seconds"),
        "spent": spending.total.to_dict(),
    }
    return listing, summary


def write_listing(draft: Draft, listing: Listing, summary: dict[str, Any]) -> None:
    """Writes the `captures` of a list, and what a later look back must not take for new."""
    rows = [capture_row(capture) for capture in listing.captures]
    write_rows(draft, "captures.parquet", rows, CAPTURES)
    (draft.path / RECENT).write_text("\n".join(listing.recent), encoding="ascii")
    draft.summary = summary


def _begun_at(store: Store, step: tuple[str, str, str]) -> datetime:
    """When a listing began; one that goes on where a run was stopped began with that run.

    Whoever looks for news later must go back to then: tiles that were listed before the stop are
    not listed again.
    """
    begun = store.load_progress(*step, _BEGUN)
    if begun is not None and store.load_progress(*step, _NOTE) is not None:
        return datetime.fromisoformat(begun.read_text(encoding="ascii"))
    now = _now()
    store.save_progress(*step, _BEGUN, now.isoformat().encode())
    return now


def _now() -> datetime:
    return datetime.now(UTC)


def completeness_warnings(service: str, completeness: Mapping[str, Any]) -> list[str]:
    """What the check of a list found wrong, as sentences."""
    said = []
    if not completeness.get("complete", True):
        said.append(
            f"{service} gives {completeness['pictures_in_the_box']} pictures in the box "
            f"{completeness['box']} and {completeness['pictures_in_its_quarters']} in its four "
            "quarters: it cuts its answers, and the list is not complete."
        )
    if completeness.get(NOT_GIVEN):
        said.append(
            f"{service} counts {completeness[NOT_GIVEN]} pictures in its answers that it gives "
            "neither there nor in answers to smaller boxes: they are private, or the list is not "
            "complete."
        )
    if completeness.get("times_are_honoured") is False:
        said.append(
            f"{service} ignores the times that it is asked for: pictures of other times are left "
            "out here, and every look for new imagery lists the whole area."
        )
    return said


def nothing_listed(city: str, provider: ServiceStreetView, listing: Listing) -> InputError:
    """What is said, before any download, of an area that has no place with two times."""
    rejected = ", ".join(
        f"{count} because {reason}" for reason, count in sorted(listing.rejected.items())[:3]
    )
    return InputError(
        f"{provider.client.service} has {listing.pictures} usable pictures in the area of {city} "
        f"({rejected or 'none'} left out), but no place with two of them within "
        f"{provider.plan.max_metres_apart:g} metres and {provider.plan.min_days_apart:g} days "
        f"apart{_light_asked_for(provider, listing)}: enlarge the area or relax the limits"
    )


def _light_asked_for(provider: ServiceStreetView, listing: Listing) -> str:
    """Which lights a city asks for, and how many pictures of each there are."""
    lights = provider.plan.lights
    if lights is None:
        return ""
    seen = ", ".join(f"{light} {count}" for light, count in listing.lights.items())
    return f" of which one is of the {lights[0]} and one of the {lights[1]} (of all: {seen})"


def captures_key(parameters: dict[str, Any], version: str) -> str:
    """The key of a `captures` artifact that depends on settings alone."""
    return artifact_key("captures", inputs={}, parameters=parameters, version=version)
