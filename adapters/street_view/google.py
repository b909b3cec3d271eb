"""Google Street View through the Map Tiles API, for those who have an agreement with Google.

The API's policies forbid image analysis, machine interpretation and offline use. Harvesting is all
three, so nothing is asked without a reference to an agreement that allows it.

The API knows the newest panorama at a place and its neighbours. Panoramas of other dates come into
its answers where drives of different years cross or overlap, and pairs are made of those. The list
of all dates at a place is only in an interface that Google does not document; looking there is an
option that is off (`unofficial_history`).
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import quote

import numpy as np

from adapters.images import MAX_PIXELS
from adapters.street_view.accepting import accept
from adapters.street_view.base import Rejected, StreetViewError
from adapters.street_view.google_history import GoogleHistory
from adapters.street_view.listings import Answered
from adapters.street_view.records import (
    WHOLE_CIRCLE,
    Interval,
    Shot,
    UnusableError,
    check_sphere,
    field,
    heading_of,
    moment,
    number,
    on_earth,
    text,
    tilt_of,
    whole,
)
from adapters.street_view.service import (
    FINE_ENOUGH,
    HarvestPlan,
    Image,
    ServiceStreetView,
    check_upright,
)
from adapters.street_view.web.client import Secret, WebClient
from adapters.street_view.web.errors import AccessRefused, ServiceError
from crosscity.areas import METRES_A_DEGREE, Bounds, grown
from crosscity.panorama import Equirectangular, Source, View, needed_width, tiles_of_view

BASE_URL: Final = "https://tile.googleapis.com"
PRICE: Final = 0.002
"""US dollars for a tile or a look-up of panoramas, at the list price of the first million."""
ADVICE: Final = (
    "give the catalog entry a `key` of a project with the Map Tiles API and billing switched on, "
    "best as ${GOOGLE_MAPS_API_KEY}"
)
NO_AGREEMENT: Final = (
    "Google's Map Tiles API policies forbid image analysis, machine interpretation and offline "
    "use, which a harvest is: set `agreement` of the provider to the reference of your agreement "
    "with Google that allows it, or use panoramax or mapillary, whose licences do."
)
POINTS: Final = 100
"""Points in one look-up."""
SPACING: Final = 40.0
"""Metres between the points at which panoramas are looked for."""
_TOP_TILES: Final = 512
_MOST_TILES: Final = 400


def secret(key: str) -> Secret:
    """How a key is shown to the service: the interface wants it in the query."""
    return Secret(query={"key": key})


class GoogleStreetView(ServiceStreetView):
    """Panoramas of Google Street View."""

    name = "google"

    def __init__(
        self,
        plan: HarvestPlan,
        client: WebClient,
        *,
        agreement: str | None,
        history: GoogleHistory | None = None,
        price: float = PRICE,
        spacing: float = SPACING,
    ) -> None:
        """Nothing is asked yet.

        Args:
            plan: What is wanted.
            client: How the service is asked; with `secret`.
            agreement: Reference of the agreement that allows it.
            history: The undocumented list of other dates, if it was opted for.
            price: US dollars for a billed request.
            spacing: Metres between the points at which panoramas are looked for.

        Raises:
            StreetViewError: There is no agreement.
        """
        if agreement is None or not agreement.strip():
            raise StreetViewError(NO_AGREEMENT)
        super().__init__(plan, client)
        self._agreement = agreement.strip()
        self._history, self._price, self._spacing = history, price, spacing
        self._start()

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_lock"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._start()

    def _start(self) -> None:
        self._lock = threading.Lock()
        self._session: str | None = None

    def _list(
        self,
        bounds: Bounds,
        interval: Interval,
        reject: Callable[[Rejected], None],
        answered: Callable[[Answered], None] | None = None,  # noqa: ARG002 - none is cut short
    ) -> list[Shot]:
        pending = self._panoramas_near(_grid(bounds, self._spacing))
        known = set(pending)
        records: list[object] = []
        around = grown(bounds, self._spacing)
        while pending:
            name = pending.pop()
            record = self._metadata(name)
            if record is None:
                continue
            if not _may_lie_in(record, around):
                continue
            records.append(record)
            more = [*_links(record)]
            if self._history is not None:
                more += self._history.other_dates(name)
            for other in more:
                if other not in known:
                    known.add(other)
                    pending.append(other)
        found = accept(records, self._read, _name, reject, interval)
        return [shot for shot in found if _within(shot.lat, shot.lon, bounds)]

    def _look_up(self, source_id: str) -> Shot:
        record = self._metadata(source_id) if _is_name(source_id) else None
        if record is None:
            raise StreetViewError(f"Google Street View has no panorama {source_id!r} any more.")
        return self._read_as(source_id, record)

    def _picture(self, shot: Shot, view: View) -> tuple[Image, Source]:
        """Stitches the tiles that the view needs, at the coarsest level that is fine enough."""
        zoom, height, width = _level(shot, FINE_ENOUGH * needed_width(view))
        if height * width > MAX_PIXELS:
            raise StreetViewError(f"Panorama {shot.source_id} is too large to be stitched.")
        sphere = Equirectangular(
            height, width, heading=shot.heading, pitch=shot.pitch, roll=shot.roll
        )
        tiles = tiles_of_view(sphere, view, (_TOP_TILES, _TOP_TILES))
        if len(tiles) > _MOST_TILES:
            raise StreetViewError(f"A view of {shot.source_id} would take {len(tiles)} tiles.")
        picture = np.zeros((height, width, 3), dtype=np.uint8)
        for column, row in tiles:
            tile = self._tile(shot.source_id, zoom, column, row)
            place = picture[row * _TOP_TILES :, column * _TOP_TILES :]
            place = place[:_TOP_TILES, :_TOP_TILES]  # tiles at the edges are padded
            if tile.shape not in ((_TOP_TILES, _TOP_TILES, 3), place.shape):
                raise StreetViewError(
                    f"A tile of {shot.source_id} has {tile.shape[0]}×{tile.shape[1]} pixels, where "
                    f"its record implies {_TOP_TILES}×{_TOP_TILES} with "
                    f"{place.shape[0]}×{place.shape[1]} of them used."
                )
            place[:] = tile[: place.shape[0], : place.shape[1]]
        return picture, sphere

    def _tile(self, source_id: str, zoom: int, column: int, row: int) -> Image:
        key = f"{source_id} {zoom}/{column}/{row}"
        data = self._cache.data(key)
        if data is None:
            path = f"v1/streetview/tiles/{zoom}/{column}/{row}"
            data = self._in_session(
                lambda session: self.client.get_bytes(
                    path, {"session": session, "panoId": source_id}, usd=self._price
                )
            )
            self._cache.keep(key, data)
        try:
            check_upright(data)
        except UnusableError as error:
            raise StreetViewError(f"A tile of {source_id} is not a part of it: {error}.") from None
        return self._decoded(data, source_id, max_pixels=4 * _TOP_TILES * _TOP_TILES)

    def _panoramas_near(self, points: Iterator[tuple[float, float]]) -> list[str]:
        """Names of the panoramas nearest to points, asked for a hundred at a time."""
        found: dict[str, None] = {}
        batch: list[dict[str, float]] = []

        def ask() -> None:
            body = {"locations": list(batch), "radius": math.ceil(self._spacing)}
            answer = self._in_session(
                lambda session: self.client.post_json(
                    "v1/streetview/panoIds", body, {"session": session}, usd=self._price
                )
            )
            names = field(answer, "panoIds")
            for name in names if isinstance(names, list) else []:
                if isinstance(name, str) and _is_name(name):
                    found[name] = None
            batch.clear()

        for lat, lon in points:
            batch.append({"lat": round(lat, 7), "lng": round(lon, 7)})
            if len(batch) == POINTS:
                ask()
        if batch:
            ask()
        return list(found)

    def _metadata(self, name: str) -> object | None:
        """The record of a panorama, ``None`` if there is none of that name; not billed."""
        try:
            record = self._in_session(
                lambda session: self.client.get_json(
                    "v1/streetview/metadata", {"session": session, "panoId": name}
                )
            )
        except ServiceError as error:
            if error.status == 404:
                return None
            raise
        return record if isinstance(record, dict) else None

    def _in_session(self, ask: Callable[[str], Any]) -> Any:  # noqa: ANN401
        """Asks with the session, and once more with a new one where it has run out."""
        session = self._token(None)
        try:
            return ask(session)
        except AccessRefused as error:
            if error.status != 401 and "session" not in str(error).casefold():
                raise
        except ServiceError as error:
            if error.status != 400 or "session" not in str(error).casefold():
                raise
        return ask(self._token(session))

    def _token(self, spent: str | None) -> str:
        with self._lock:
            if self._session is None or self._session == spent:
                body = {"mapType": "streetview", "language": "en-US", "region": "US"}
                answer = self.client.post_json("v1/createSession", body)
                session = field(answer, "session")
                if not isinstance(session, str) or not session:
                    raise StreetViewError("Google gave no session for Street View tiles.")
                self._session = session
            return self._session

    def _read(self, record: object) -> Shot:
        name = field(record, "panoId")
        if not isinstance(name, str) or not _is_name(name):
            raise UnusableError("its name is missing or has unexpected characters")
        if field(record, "imageryType") not in (None, "outdoor"):
            raise UnusableError("it was taken indoors or at an unknown kind of place")
        lat, lon = on_earth(number(record, "lat"), number(record, "lng"))
        height, width = whole(record, "imageHeight"), whole(record, "imageWidth")
        if not (height and width):
            raise UnusableError("its size is not reported")
        check_sphere(height, width)
        for side in ("tileHeight", "tileWidth"):
            if number(record, side) not in (None, float(_TOP_TILES)):
                raise UnusableError("its tiles are not 512 pixels wide and high")
        tilt = number(record, "tilt")
        return Shot(
            source_id=name,
            lat=lat,
            lon=lon,
            captured_at=_month(text(record, "date")),
            precision="month",
            heading=heading_of(number(record, "heading")),
            pitch=0.0 if tilt is None else max(-90.0, min(90.0, tilt - 90.0)),
            roll=tilt_of(number(record, "roll")),
            fov=WHOLE_CIRCLE,
            height=height,
            width=width,
            licence=f"Google Maps Platform terms; agreement {self._agreement}",
            attribution=text(record, "copyright") or "© Google",
            page_url="https://www.google.com/maps/@?api=1&map_action=pano&pano="
            + quote(name, safe=""),
        )


def _level(shot: Shot, needed: float) -> tuple[int, int, int]:
    """Zoom level, height and width of the coarsest level that is at least so wide.

    The finest level has the full size, each one below half of it; level 0 is at most one tile.
    """
    top = max(0, math.ceil(math.log2(max(1.0, shot.width / _TOP_TILES))))
    for zoom in range(top + 1):
        width = math.ceil(shot.width / 2 ** (top - zoom))
        height = math.ceil(shot.height / 2 ** (top - zoom))
        if width >= needed or zoom == top:
            # The finest of some panoramas is more than is ever decoded at once.
            if height * width > MAX_PIXELS and zoom > 0:
                return zoom - 1, math.ceil(height / 2), math.ceil(width / 2)
            return zoom, height, width
    raise AssertionError("the finest level is always taken")


def _grid(bounds: Bounds, metres: float) -> Iterator[tuple[float, float]]:
    """Points in bounds, so close that circles of `metres` around them cover all."""
    west, south, east, north = bounds
    rows = max(1, math.ceil((north - south) * METRES_A_DEGREE / metres))
    for row in range(rows):
        lat = south + (row + 0.5) * (north - south) / rows
        width = (east - west) * METRES_A_DEGREE * math.cos(math.radians(lat))
        columns = max(1, math.ceil(width / metres))
        for column in range(columns):
            yield lat, west + (column + 0.5) * (east - west) / columns


def _links(record: object) -> Sequence[str]:
    links = field(record, "links")
    names = [field(link, "panoId") for link in (links if isinstance(links, list) else [])[:50]]
    return [name for name in names if isinstance(name, str) and _is_name(name)]


def _is_name(name: str) -> bool:
    return 1 <= len(name) <= 128 and all(
        c.isascii() and (c.isalnum() or c in "-_.:=~") for c in name
    )


def _may_lie_in(record: object, bounds: Bounds) -> bool:
    """Whether a record is of these bounds, or says nothing by which it could be left out."""
    try:
        lat, lon = on_earth(number(record, "lat"), number(record, "lng"))
    except UnusableError:
        return True  # it is rejected with that reason, and counted
    return _within(lat, lon, bounds)


def _within(lat: float, lon: float, bounds: Bounds) -> bool:
    west, south, east, north = bounds
    return west <= lon <= east and south <= lat <= north


def _month(value: str | None) -> datetime:
    """The start of a month like 2023-01."""
    try:
        start = datetime.strptime(value or "", "%Y-%m").replace(tzinfo=UTC)
    except ValueError:
        raise UnusableError("its month of capture is not reported") from None
    return moment(start)


def _name(record: object) -> str:
    return text(record, "panoId", most=80) or "a panorama without a name"
