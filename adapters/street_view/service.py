"""What the providers behind web services share: places, views, and the way to them.

A service lists pictures; here they become places that were taken twice, places become views that
both pictures are asked for, and a view becomes a rendered JPEG without metadata.
"""

from __future__ import annotations

import hashlib
import math
import re
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import cached_property, partial
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from cachetools import LRUCache

from adapters.images import (
    MAX_PIXELS,
    STORED_QUALITY,
    ImageError,
    decode_image,
    encode_jpeg,
    exif_orientation,
)
from adapters.street_view.base import (
    Capture,
    Rejected,
    StreetViewError,
    captures_near,
    captures_within,
)
from adapters.street_view.listings import (
    LIGHT_NAMES,
    NOT_GIVEN,
    Answered,
    Listing,
    ListingRecord,
    ListingState,
    ShotPair,
)
from adapters.street_view.records import Interval, Shot, UnusableError, check_shape, digest_of
from adapters.street_view.sunlight import lights_of
from adapters.street_view.web.client import WebClient
from crosscity.areas import (
    Bounds,
    bounds_of,
    grown,
    inside,
    inside_polygon,
    near_points,
    tiles_in_polygons,
    tiles_of_area,
    tiles_of_boxes,
)
from crosscity.lights import Lights
from crosscity.panorama import ALGORITHM_VERSION as VIEW_VERSION
from crosscity.panorama import (
    Equirectangular,
    Perspective,
    Source,
    View,
    needed_width,
    render_view,
)
from crosscity.places import (
    Cell,
    PlaceRules,
    PlaceSample,
    Shots,
    cell_middles,
    cell_name,
    cells_of,
    place_pairs,
)

EVERY_TIME: Final = (datetime(1990, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC))
FINE_ENOUGH: Final = 0.8
"""A source may be that much coarser than the view before a larger, dearer one is taken."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_KEPT_SHOTS: Final = 10_000
_KEPT_BYTES: Final = 96 << 20
_LISTINGS: Final = 3
_UNCERTAIN_DAYS: Final = {"second": 0.0, "day": 1.0, "month": 31.0}
_IMAGE_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}")

Image = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class HarvestPlan:
    """Which places of a city are wanted, and how their views are.

    Attributes:
        bounds: The area's west, south, east, north in WGS84 degrees.
        polygons: GeoJSON polygons of the area, each its rings; empty for the whole of the bounds.
        points: (longitude, latitude) that places must be near to, instead of polygons.
        point_metres: How near.
        places: How many places.
        seed: Fixes which.
        image_size: (height, width) of the views in pixels.
        max_metres_apart: Between the two captures of a place.
        min_days_apart: Between their times.
        interval: Captures from the first moment up to the second count.
        headings: Degrees, relative to the direction in which the earlier camera looked (along
            the street, for cars); one view of each place for each. Panoramas only.
        pitch: Degrees above the horizon of the views.
        fov: Horizontal field of view of the views in degrees.
        panoramas_only: Whether photographs are left out.
        place_metres: Side of the cells that count as one place.
        tile_metres: Side of the tiles in which the area is listed; what memory is bounded by.
        times: Most captures of a place and view.
        lights: The light of one capture of a pair and that of the other; any by default.
    """

    bounds: Bounds
    places: int
    seed: int
    image_size: tuple[int, int]
    polygons: tuple[tuple[tuple[tuple[float, float], ...], ...], ...] = ()
    points: tuple[tuple[float, float], ...] = ()
    point_metres: float = 30.0
    max_metres_apart: float = 10.0
    min_days_apart: float = 30.0
    interval: Interval = EVERY_TIME
    headings: tuple[float, ...] = (0.0,)
    pitch: float = 0.0
    fov: float = 90.0
    panoramas_only: bool = False
    place_metres: float = 20.0
    tile_metres: float = 500.0
    times: int = 2
    lights: Lights | None = None

    @property
    def rules(self) -> PlaceRules:
        """What makes a pair."""
        return PlaceRules(
            max_metres_apart=self.max_metres_apart,
            min_days_apart=self.min_days_apart,
            cell_metres=self.place_metres,
            fov=self.fov,
            times=self.times,
            lights=self.lights,
        )


class ServiceStreetView(ABC):
    """A provider behind a web service; subclasses know its wire format."""

    name: str
    record_version: str | None = None
    """Raised by hand whenever the same record of this service is read as another picture, as what
    was fetched before is fetched, and paid for, anew."""

    def __init__(self, plan: HarvestPlan, client: WebClient) -> None:
        """Nothing is asked yet.

        Args:
            plan: What is wanted.
            client: How the service is asked.
        """
        self.plan, self.client = plan, client
        self._cache = _Cache()

    # What a service must be able to do

    @abstractmethod
    def _list(
        self,
        bounds: Bounds,
        interval: Interval,
        reject: Callable[[Rejected], None],
        answered: Callable[[Answered], None] | None = None,
    ) -> list[Shot]:
        """All usable pictures in bounds and interval, each once, in any order.

        Args:
            bounds: Where.
            interval: When.
            reject: Is called with what cannot be used.
            answered: Is called with each answer that was taken to be whole, by services that are
                searched by boxes.
        """

    @abstractmethod
    def _look_up(self, source_id: str) -> Shot:
        """The record of one picture; `StreetViewError` where there is none."""

    @abstractmethod
    def _read(self, record: object) -> Shot:
        """The picture of a record; `UnusableError` where it is not one."""

    @abstractmethod
    def _picture(self, shot: Shot, view: View) -> tuple[Image, Source]:
        """A picture fine enough for a view, and how it looks at the world."""

    def check(self, densest: Answered) -> dict[str, Any]:  # noqa: ARG002
        """Compares the densest answer with others that must agree with it; nothing by default.

        Returns:
            What was found, for people. ``missing`` counts pictures that the answer lacked.
        """
        return {}

    def ask_for_less(self, densest: Answered) -> None:  # noqa: B027
        """Takes an answer as large as this one for a cut one from now on."""

    # The protocol

    def captures(self) -> Sequence[Capture]:
        """The captures of each sampled place; listed once for the life of the provider."""
        return self._listing.captures

    def rejected(self) -> Sequence[Rejected]:
        """Some of the pictures that cannot be used."""
        return self._listing.examples

    def near(self, lat: float, lon: float, metres: float) -> Sequence[Capture]:
        """All captures around a point, by distance."""
        box = grown((lon, lat, lon, lat), metres * 1.01 + 0.5)
        return captures_near(self._raw(box), lat, lon, metres)

    def within(self, bounds: Bounds) -> Sequence[Capture]:
        """All captures in bounds, by image id."""
        return captures_within(self._raw(bounds), bounds)

    def other_times(self, capture: Capture) -> Sequence[Capture]:
        """Captures of other drives at the place of a capture, by distance."""
        if capture.lat is None or capture.lon is None:
            return ()
        around = self.near(capture.lat, capture.lon, self.plan.max_metres_apart)
        return [
            other
            for other in around
            if other.source_id != capture.source_id
            and (other.sequence is None or other.sequence != capture.sequence)
        ]

    def fetch(self, capture: Capture, view: View | None = None) -> bytes:
        """Renders a view of a capture: a JPEG without metadata.

        Raises:
            StreetViewError: The capture is not of this service, its picture cannot be had or
                read, or does not show all of the view.
        """
        source_id = capture.source_id
        known = _IMAGE_ID.fullmatch(capture.image_id) is not None and source_id is not None
        if source_id is None or not known or digest_of(source_id) not in capture.image_id:
            raise StreetViewError(f"{self.client.service} has no image {capture.image_id!r}.")
        shot = self._shot(source_id)
        wanted = view or self._own_view(capture)
        try:
            image, source = self._picture(shot, wanted)
            picture, reached = render_view(image, source, wanted)
        except ValueError as error:  # also of a sphere or lens that a record made up
            raise StreetViewError(f"{capture.image_id} cannot be rendered: {error}") from error
        if reached < 1.0:
            raise StreetViewError(
                f"{capture.image_id} does not show all of the view that is wanted of it."
            )
        return encode_jpeg(picture, STORED_QUALITY)

    def revision(self) -> str:
        """Changes with the way views are rendered; the service's pictures have fixed names."""
        view = f"view-{VIEW_VERSION}"
        return view if self.record_version is None else f"{view}-record-{self.record_version}"

    # Listing

    def list_views(
        self,
        *,
        newer_than: datetime | None = None,
        known: frozenset[str] = frozenset(),
        recent_from: datetime | None = None,
        record: ListingRecord | None = None,
    ) -> Listing:
        """Goes through the area tile by tile and samples its places.

        Args:
            newer_than: Only pairs whose later picture was taken since; the earlier one is of any
                time.
            known: Digests (`digest_of`) of pictures that are not new any more.
            recent_from: From when on pictures are noted as recent; none by default.
            record: Where to note how far the listing is, and to go on from.

        Raises:
            StreetViewError: The service cannot be asked.
        """
        tiles = self._tiles()
        note = None if record is None else record.load()
        for again in range(_LISTINGS):
            state = ListingState(PlaceSample(self.plan.places, self.plan.seed), recent_from)
            state.restore(note, len(tiles))
            for number in range(state.tiles, len(tiles)):
                self._list_tile(tiles[number], newer_than, known, state)
                state.tiles = number + 1
                if record is not None:
                    record.save(partial(state.note, len(tiles)))
                    if not again:
                        record.advance(state.tiles, len(tiles))
            completeness = self._checked(state.densest, again) if newer_than is None else {}
            if completeness.get("complete", True) or state.densest is None:
                break
            self.ask_for_less(state.densest)
            note = None
        if state.not_given:
            completeness = {**completeness, NOT_GIVEN: state.not_given}
        views = [view for cell, pair in state.sample.kept() for view in self._views(cell, pair)]
        return Listing(
            captures=tuple(views),
            pictures=state.pictures,
            candidates=state.sample.seen,
            rejected=dict(state.rejected),
            examples=tuple(state.examples),
            recent=tuple(sorted(state.recent)),
            completeness=completeness,
            lights={light: state.lights[light] for light in LIGHT_NAMES if state.lights[light]},
        )

    def _tiles(self) -> list[Bounds]:
        """The tiles in which the area is listed: those of its parts, without what lies beside."""
        plan = self.plan
        boxes = [bounds_of(rings[0]) for rings in plan.polygons]
        boxes += [grown((*point, *point), plan.point_metres) for point in plan.points]
        if len(boxes) > 1:
            tiles = list(tiles_of_boxes(boxes, plan.tile_metres))
        else:
            tiles = list(tiles_of_area(boxes[0] if boxes else plan.bounds, plan.tile_metres))
        return tiles_in_polygons(tiles, plan.polygons) if plan.polygons else tiles

    def _checked(self, densest: Answered | None, again: int) -> dict[str, Any]:
        """`check`, and whether its finding is that the list is complete."""
        found = {} if densest is None else self.check(densest)
        if not found:
            return {}
        complete = found["missing"] == 0
        return {"complete": complete, "listed_again": again, **found}

    @cached_property
    def _listing(self) -> Listing:
        return self.list_views()

    def _list_tile(
        self,
        tile: Bounds,
        newer_than: datetime | None,
        known: frozenset[str],
        state: ListingState,
    ) -> None:
        start, end = self.plan.interval
        if newer_than is not None and newer_than >= end:
            return  # and a span that ends before it begins may be refused
        # A place at the edge has pictures beyond it, and those have partners farther on.
        around = grown(tile, self.plan.place_metres + self.plan.max_metres_apart)
        if newer_than is not None:
            news = self._usable_shots(around, (max(start, newer_than), end), None)
            if all(digest_of(shot.source_id) in known for shot in news):
                return
        shots = self._usable_shots(around, (start, end), state)
        if not shots:
            return
        shots.sort(key=lambda shot: shot.source_id)
        columns = _columns(shots)
        fresh = None
        if newer_than is not None:
            fresh = np.array(
                [s.captured_at >= newer_than and digest_of(s.source_id) not in known for s in shots]
            )
        own = self._is_of_tile(columns, tile)
        state.pictures += int(own.sum())  # tiles look beyond their edges, into each other
        state.see_lights(columns, own)
        for pair in place_pairs(columns, self.plan.rules, fresh=fresh, own=own):
            state.sample.offer(
                pair.cell,
                ShotPair(
                    shots[pair.earlier],
                    shots[pair.later],
                    pair.heading,
                    pair.fov,
                    tuple(shots[row] for row in pair.others),
                ),
            )

    def _is_of_tile(self, shots: Shots, tile: Bounds) -> npt.NDArray[np.bool_]:
        """Which pictures are this tile's: those of the cells whose middle lies in it."""
        rows, columns = cells_of(shots.lat, shots.lon, self.plan.place_metres)
        lat, lon = cell_middles(rows, columns, self.plan.place_metres)
        own = inside(lat, lon, tile)
        if self.plan.polygons:
            own &= np.logical_or.reduce(
                [inside_polygon(lat, lon, rings) for rings in self.plan.polygons]
            )
        if self.plan.points:
            own &= near_points(lat, lon, self.plan.points, self.plan.point_metres)
        return own

    def _usable_shots(
        self, bounds: Bounds, interval: Interval, state: ListingState | None
    ) -> list[Shot]:
        def ignore(_: Rejected) -> None:
            pass

        if state is None:
            shots = self._list(bounds, interval, ignore)
        else:
            shots = self._list(bounds, interval, state.reject, state.answered)
            state.look_at(shots)
        return [s for s in shots if s.panorama or not self.plan.panoramas_only]

    def _raw(self, bounds: Bounds) -> list[Capture]:
        shots = self._usable_shots(bounds, self.plan.interval, None)
        for shot in shots:
            self._cache.note(shot)
        return [shot.capture(self.name, self._place_of(shot)) for shot in shots]

    def _place_of(self, shot: Shot) -> str:
        rows, columns = cells_of(np.array([shot.lat]), np.array([shot.lon]), self.plan.place_metres)
        return cell_name((int(rows[0]), int(columns[0])))

    def _views(self, cell: Cell, pair: ShotPair) -> Iterator[Capture]:
        """The captures for each heading of a place; all are aligned to the earlier of the pair."""
        place = cell_name(cell)
        both = hashlib.sha256(
            f"{pair.earlier.source_id} {pair.later.source_id}".encode()
        ).hexdigest()[:6]
        panoramas = pair.earlier.panorama and pair.later.panorama
        for turn in self.plan.headings if panoramas else (0.0,):
            heading = round((pair.heading + turn) % 360.0, 2) % 360.0
            reference: str | None = None
            # A photograph among the others shows the one view that it was chosen for.
            others = [shot for shot in pair.others if shot.panorama or turn == 0.0]
            for shot in (pair.earlier, pair.later, *others):
                image_id = f"{place}_{digest_of(shot.source_id)}_{both}_{round(heading) % 360:03d}"
                yield replace(
                    shot.capture(self.name, place),
                    image_id=image_id,
                    heading=heading,
                    pitch=self.plan.pitch,
                    fov=round(pair.fov, 2),
                    aligned_to=reference,
                )
                reference = reference or image_id

    # Fetching

    def _shot(self, source_id: str) -> Shot:
        shot = self._cache.shot(source_id)
        if shot is None:
            shot = self._look_up(source_id)
            self._cache.note(shot)
        return shot

    def _read_as(self, source_id: str, record: object) -> Shot:
        """The picture of the record that was given for a name; `StreetViewError` for another's."""
        try:
            shot = self._read(record)
        except UnusableError as error:
            raise StreetViewError(f"Picture {source_id} cannot be used: {error}.") from None
        if shot.source_id != source_id:
            raise StreetViewError(f"{self.client.service} gave another picture than {source_id}.")
        return shot

    def _own_view(self, capture: Capture) -> View:
        height, width = self.plan.image_size
        fov = self.plan.fov if capture.fov >= 180 else capture.fov
        return View(capture.heading, capture.pitch, fov, height, width)

    def _download(self, source_id: str, size: str, address: str) -> bytes:
        """The encoded picture at an address; kept for a moment, as alignment asks twice."""
        key = f"{source_id} {size}"
        data = self._cache.data(key)
        if data is None:
            data = self.client.get_bytes(address)
            self._cache.keep(key, data)
        return data

    def _decoded(self, data: bytes, source_id: str, max_pixels: int = MAX_PIXELS) -> Image:
        try:
            return decode_image(data, f"Picture {source_id}", max_pixels=max_pixels)
        except ImageError as error:
            raise StreetViewError(str(error)) from error

    def _whole_picture(
        self, shot: Shot, view: View, sizes: Sequence[tuple[str, int, int]]
    ) -> tuple[Image, Source]:
        """Downloads the smallest size that is fine enough for the view.

        Args:
            shot: The picture.
            view: The view.
            sizes: (name, width, height) of the sizes, smallest first; 0 where unknown.
        """
        addresses = dict(shot.addresses)
        fitting = [s for s in sizes if s[0] in addresses and s[1] * s[2] <= MAX_PIXELS]
        if not fitting:
            raise StreetViewError(f"Picture {shot.source_id} has no size that can be read.")
        # What the harvest will want of it as well: no picture is downloaded in two sizes.
        usual = View(0.0, 0.0, self.plan.fov, *self.plan.image_size)
        needed = FINE_ENOUGH * max(self._needed_width(shot, view), self._needed_width(shot, usual))
        chosen = next((s for s in fitting if s[1] >= needed), fitting[-1])
        data = self._download(shot.source_id, chosen[0], addresses[chosen[0]])
        image = self._decoded(data, shot.source_id)
        try:
            if shot.panorama:
                check_upright(data)
            check_shape(shot, (image.shape[0], image.shape[1]))
        except UnusableError as error:
            raise StreetViewError(
                f"Picture {shot.source_id} is not the one of its record: {error}."
            ) from None
        return image, source_of(shot, (image.shape[0], image.shape[1]))

    @staticmethod
    def _needed_width(shot: Shot, view: View) -> float:
        if shot.panorama:
            return needed_width(view)
        return 2 * view.focal * math.tan(math.radians(shot.fov) / 2)


def source_of(shot: Shot, size: tuple[int, int]) -> Source:
    """How a picture of some size (it may be a reduced one) looks at the world."""
    if not shot.panorama:
        return Perspective(shot.fov, shot.heading, shot.pitch, shot.roll, shot.k1, shot.k2)
    height, width = size
    left, top = 0, 0
    full_height, full_width = max(height, round(width / 2)), width
    if shot.hidden is not None and shot.width:
        # A part of the sphere: the metadata count in pixels of the largest size.
        scale = width / shot.width
        left, top = (round(value * scale) for value in shot.hidden)
        if shot.sphere is not None:
            full_height, full_width = (round(value * scale) for value in shot.sphere)
        # Rounding must not put a row or column of the picture beyond the sphere.
        full_height, full_width = max(full_height, top + height), max(full_width, width)
    elif height < full_height:
        top = (full_height - height) // 2  # a rounded half of the width
    return Equirectangular(full_height, full_width, left, top, shot.heading, shot.pitch, shot.roll)


def check_upright(data: bytes) -> None:
    """Refuses a panorama whose EXIF turns it: turned, it is not a sphere.

    Raises:
        UnusableError: Its orientation is another than 1.
    """
    orientation = exif_orientation(data)
    if orientation != 1:
        raise UnusableError(
            f"its EXIF orientation {orientation} turns it, and no panorama is turned"
        )


def _columns(shots: Sequence[Shot]) -> Shots:
    first = np.array([(s.captured_at - _EPOCH) / timedelta(days=1) for s in shots])
    return Shots(
        key=tuple(s.source_id for s in shots),
        lat=np.array([s.lat for s in shots]),
        lon=np.array([s.lon for s in shots]),
        heading=np.array([s.heading for s in shots]),
        fov=np.array([s.fov for s in shots]),
        first_day=first,
        last_day=first + np.array([_UNCERTAIN_DAYS[s.precision] for s in shots]),
        light=lights_of((s.lat, s.lon, s.captured_at, s.precision) for s in shots),
    )


class _Cache:
    """Records and pictures that were had a moment ago; bounded, and empty after pickling."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._shots: LRUCache[str, Shot] = LRUCache(_KEPT_SHOTS)
        self._data: LRUCache[str, bytes] = LRUCache(_KEPT_BYTES, getsizeof=len)

    def __reduce__(self) -> tuple[type[_Cache], tuple[()]]:
        return _Cache, ()

    def note(self, shot: Shot) -> None:
        with self._lock:
            self._shots[shot.source_id] = shot

    def shot(self, source_id: str) -> Shot | None:
        with self._lock:
            return self._shots.get(source_id)

    def keep(self, key: str, data: bytes) -> None:
        """Keeps a picture, unless it alone is larger than all that may be kept."""
        with self._lock, suppress(ValueError):
            self._data[key] = data

    def data(self, key: str) -> bytes | None:
        with self._lock:
            return self._data.get(key)
