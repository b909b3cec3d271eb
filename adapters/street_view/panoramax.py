"""Panoramax: open street-level pictures behind a STAC interface, without a key.

Wire format: the GeoVisio server's interface (STAC API 1.0 with the perspective-imagery and view
extensions), as its own code writes it (`dbPictureToStacItem`, `createThumbPicture`). Its search
gives at most `limit` items and no link to a next page, so a long answer is taken for a cut one and
the area is divided. Other servers of STAC, or later ones, link their next page and count what
matches (STAC API, Item Search): links on the same server are followed, no others, and counts are
compared with what came.

The thumb of a panorama is a crop of its middle, no small panorama, so it is never taken. Of a crop
(`Xmp.GPano.*`), `sensor_array_dimensions` are the width and height of the whole sphere and
`visible_area` the margins left, top, right and bottom of the picture in it; of all others, the
former are the picture's own. Of photographs, `field_of_view` comes from the width of a sensor
(geopic_tag_reader), so it is that along the longer side.

Panoramas are taken as level, whatever `pers:pitch` and `pers:roll` say. They are copied from what
the camera wrote, and cameras that stitch a sphere mostly have levelled it by then: over 28 524
panoramas of Bayonne, published measurements of what several of them show at once fit worse with
each choice of signs than without any (Project Sidewalk, 2026). The service's own viewer, too,
leaves them out unless both are given.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from urllib.parse import quote, urljoin

from adapters.street_view.base import Capture, StreetViewError
from adapters.street_view.boxes import WHOLE, Found, SearchedByBox
from adapters.street_view.records import (
    SAME_SHAPE,
    WHOLE_CIRCLE,
    Interval,
    Shot,
    UnusableError,
    across,
    check_photograph,
    check_same_place,
    check_sphere,
    check_uploaded,
    field,
    heading_of,
    identifier,
    iso_moment,
    number,
    position,
    text,
    tilt_of,
    whole,
)
from adapters.street_view.service import HarvestPlan, Image
from adapters.street_view.web.client import WebClient
from crosscity.areas import Bounds
from crosscity.panorama import Source, View

BASE_URL: Final = "https://api.panoramax.xyz"
"""The federated catalogue of all instances."""
HOSTS: Final = ("panoramax.ign.fr", "panoramax.openstreetmap.fr", ".cloud.ovh.net")
"""Where the catalogue's pictures lie: the two founding instances and their object store."""
LICENCES: Final = ("etalab-2.0", "CC-BY-SA-4.0", "CC-BY-4.0", "CC0-1.0", "ODbL-1.0")
LIMIT: Final = 1000
"""Items in one answer; the interface allows 10 000, which are tens of megabytes."""

_MOST_PRODUCERS: Final = 5
_SEARCH: Final = "api/search"
_SPHERES: Final = ("equirectangular",)
_PLANES: Final = ("perspective", "rectilinear", "flat")
_SD_WIDTH: Final = 2048
_THUMB_WIDTH: Final = 500


class PanoramaxStreetView(SearchedByBox):
    """Pictures of a Panoramax instance or of the federated catalogue."""

    name = "panoramax"
    record_version = "4"

    def __init__(
        self,
        plan: HarvestPlan,
        client: WebClient,
        *,
        licences: Sequence[str] = LICENCES,
        limit: int = LIMIT,
    ) -> None:
        """Nothing is asked yet.

        Args:
            plan: What is wanted.
            client: How the service is asked.
            licences: Pictures under other licences are left out.
            limit: Items to ask for in one answer.
        """
        super().__init__(plan, client, limit=limit)
        self._licences = {licence.casefold(): licence for licence in licences}

    def other_times(self, capture: Capture) -> Sequence[Capture]:
        """Captures of other drives: what the instance's own `related` links tell, where it does.

        An instance links the nearest picture within 15 m of every other sequence.
        """
        if capture.source_id is None:
            return ()
        feature = self._item(capture.source_id)
        links = field(feature, "links")
        related = [
            identifier(link, "id")
            for link in (links if isinstance(links, list) else [])
            if field(link, "rel") == "related" and isinstance(field(link, "id"), str)
        ]
        if not related:
            return super().other_times(capture)
        answer = self.client.get_json(_SEARCH, {"ids": ",".join(related), "limit": len(related)})
        found = []
        for record in _features(answer):
            try:
                shot = self._read(record)
            except UnusableError:
                continue
            self._cache.note(shot)
            found.append(shot.capture(self.name, self._place_of(shot)))
        return sorted(found, key=lambda c: c.image_id)

    def _ask(self, box: Bounds, span: Interval) -> Found:
        query: dict[str, str | int | float] = {
            "bbox": ",".join(f"{value:.9f}" for value in box),
            "datetime": f"{_stamp(span[0])}/{_stamp(span[1])}",
            "limit": self._limit,
        }
        answer = self.client.get_json(_SEARCH, query)
        records = _features(answer)
        matched, returned = _matched(answer), _returned(answer)
        more = False
        seen = self._names(records)
        while (link := _next_page(answer)) is not None:
            if len(records) >= WHOLE * self._whole_below:  # it is divided anyway
                break
            answer = self.client.follow(_SEARCH, link)
            page = [] if answer is None else _features(answer)
            fresh = self._names(page) - seen
            if not fresh:  # another server's link, or the same page again, and no empty last one
                more = answer is None or bool(page)
                break
            records += [record for record in page if self._record_name(record) in fresh]
            returned += _returned(answer)
            seen |= fresh
        return Found(records, max(matched, returned), more)

    def _record_name(self, record: object) -> str:
        return text(record, "id", most=80) or "a picture without a name"

    def _look_up(self, source_id: str) -> Shot:
        return self._read_as(source_id, self._item(source_id))

    def _item(self, source_id: str) -> object:
        features = _features(self.client.get_json(_SEARCH, {"ids": source_id, "limit": 1}))
        if not features or field(features, 0, "id") != source_id:
            raise StreetViewError(f"Panoramax has no picture {source_id} any more.")
        return features[0]

    def _picture(self, shot: Shot, view: View) -> tuple[Image, Source]:
        ratio = shot.height / shot.width if shot.width else 0.5
        widths = (
            ("thumb", _THUMB_WIDTH),
            ("sd", min(_SD_WIDTH, shot.width or _SD_WIDTH)),
            ("hd", shot.width or _SD_WIDTH + 1),
        )
        sizes = [
            (size, width, round(width * ratio))
            for size, width in widths
            if size != "thumb" or not shot.panorama
        ]
        return self._whole_picture(shot, view, sizes)

    def _read(self, record: object) -> Shot:
        properties = field(record, "properties")
        orientation = field(properties, "pers:interior_orientation")
        fov = number(orientation, "field_of_view")
        if fov is None or not 10 <= fov <= WHOLE_CIRCLE or 170 < fov < WHOLE_CIRCLE:
            raise UnusableError("its field of view is unknown or of a fisheye")
        lat, lon = position(record, "geometry")
        _check_bounds(record, lat, lon)
        _check_shown(properties)
        _check_projection(properties, panorama=fov >= WHOLE_CIRCLE)
        size = _size(properties, panorama=fov >= WHOLE_CIRCLE)
        if fov < WHOLE_CIRCLE and size.width:
            check_photograph(size.height, size.width)
            fov = across(fov, size.height, size.width)
        pitch, roll = _tilt(properties, panorama=fov >= WHOLE_CIRCLE)
        source_id = identifier(record, "id")
        captured_at, precision = iso_moment(properties, "datetime")
        check_uploaded(captured_at, properties, "created")
        return Shot(
            source_id=source_id,
            lat=lat,
            lon=lon,
            captured_at=captured_at,
            precision=precision,
            heading=heading_of(number(properties, "view:azimuth")),
            pitch=pitch,
            roll=roll,
            fov=fov,
            height=size.height,
            width=size.width,
            licence=self._licence(properties),
            attribution=_producer(record),
            page_url=f"https://api.panoramax.xyz/#focus=pic&pic={quote(source_id, safe='')}",
            sequence=text(record, "collection"),
            addresses=self._addresses(record),
            hidden=size.hidden,
            sphere=size.sphere,
        )

    def _licence(self, properties: object) -> str:
        licence = text(properties, "license")
        if licence is None or licence.casefold() not in self._licences:
            raise UnusableError(f"its licence is {licence or 'not reported'}")
        return self._licences[licence.casefold()]

    def _addresses(self, record: object) -> tuple[tuple[str, str], ...]:
        found = []
        for size in ("thumb", "sd", "hd"):
            address = field(record, "assets", size, "href")
            if isinstance(address, str) and len(address) < 2000:
                try:
                    whole_address = urljoin(self.client.addresses.base + "/", address)
                except ValueError:  # brackets that hold no address
                    continue
                found.append((size, whole_address))
        if not found:
            raise UnusableError("it has no picture")
        return tuple(found)


def _features(answer: object) -> list[object]:
    features = field(answer, "features")
    if not isinstance(features, list):
        raise StreetViewError(
            "Panoramax answered a search without a list of features: check `base_url`."
        )
    return features


def _next_page(answer: object) -> str | None:
    """Where an answer says that it goes on; the `links` of the answer, not of its items."""
    links = field(answer, "links")
    for link in links if isinstance(links, list) else []:
        if field(link, "rel") == "next":
            address = field(link, "href")
            plain = field(link, "method") in (None, "GET", "get")
            # What cannot be asked for is a next page all the same.
            return address if isinstance(address, str) and plain else ""
    return None


def _matched(answer: object) -> int:
    """How many items an answer counts in all; 0 where it does not."""
    counts = (number(answer, "numberMatched"), number(answer, "context", "matched"))
    return max(int(count) for count in (0, *counts) if count is not None and count < 1 << 53)


def _returned(answer: object) -> int:
    """How many items a page says it holds, at least those that it does hold."""
    counted = number(answer, "numberReturned") or 0
    return max(len(_features(answer)), int(counted) if counted < 1 << 53 else 0)


def _check_bounds(record: object, lat: float, lon: float) -> None:
    """Holds the position against the `bbox` of the item (STAC), which may have heights.

    Raises:
        UnusableError: It lies far outside of it.
    """
    stated = field(record, "bbox")
    count = len(stated) if isinstance(stated, list) else 0
    if count not in (4, 6):
        return
    half = count // 2
    west, south, east, north = (number(stated, k) for k in (0, 1, half, half + 1))
    if west is None or south is None or east is None or north is None or west > east:
        return  # across the antimeridian, or none that makes sense
    nearest = min(max(lat, south), north), min(max(lon, west), east)
    if not (-90 <= nearest[0] <= 90 and -180 <= nearest[1] <= 180):
        return
    check_same_place((lat, lon), nearest, "its position and its bbox")


def _check_shown(properties: object) -> None:
    """Refuses what its owner does not show to everyone.

    Raises:
        UnusableError: A record of it is left over, or was shown by mistake.
    """
    visible, status = (text(properties, f"geovisio:{name}") for name in ("visibility", "status"))
    if visible not in (None, "anyone") or status not in (None, "ready"):
        raise UnusableError("its record says that it is not shown to everyone")


def _tilt(properties: object, *, panorama: bool) -> tuple[float, float]:
    """Pitch and roll in degrees: a photograph's as reported, a panorama is level."""
    if panorama:
        return 0.0, 0.0
    pitch = max(-90.0, min(90.0, tilt_of(number(properties, "pers:pitch"))))
    return pitch, tilt_of(number(properties, "pers:roll"))


def _check_projection(properties: object, *, panorama: bool) -> None:
    """Holds the projection that the picture's own metadata tell against the field of view.

    Raises:
        UnusableError: They contradict each other, or the projection is none that is read here.
    """
    stated = text(properties, "exif", "Xmp.GPano.ProjectionType")
    known = _SPHERES if panorama else _PLANES
    if stated is not None and stated.casefold() not in known:
        what = "a sphere" if panorama else "a photograph"
        raise UnusableError(f"it is reported as {what}, and its EXIF calls it {stated[:40]}")


def _stamp(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def _producer(record: object) -> str:
    """Whom to credit: who drove or is named in the EXIF, and the instance that keeps the picture.

    GeoVisio lists the account and, of pictures whose EXIF name one (`Exif.Image.Artist`), the
    artist as producers.
    """
    providers = field(record, "providers")
    listed = providers if isinstance(providers, list) else []

    def with_role(role: str) -> list[str | None]:
        of_role = ((field(entry, "roles"), text(entry, "name")) for entry in listed)
        return [name for roles, name in of_role if isinstance(roles, list) and role in roles]

    account = text(record, "properties", "geovisio:producer")
    people = [account, *with_role("producer")[:_MOST_PRODUCERS]]
    parts = [*people, *with_role("host")[:1], "Panoramax"]
    return " / ".join(dict.fromkeys(part for part in parts if part))


@dataclass(frozen=True)
class _Size:
    height: int = 0
    width: int = 0
    hidden: tuple[int, int] | None = None
    sphere: tuple[int, int] | None = None


def _size(properties: object, *, panorama: bool) -> _Size:
    """Size of the largest picture, zeros where it is not reported, and where on the sphere it lies.

    Raises:
        UnusableError: It cannot be what it says, or two statements contradict each other.
    """
    width, height = (
        whole(properties, "pers:interior_orientation", "sensor_array_dimensions", k) for k in (0, 1)
    )
    margins = field(properties, "pers:interior_orientation", "visible_area")
    tiled = _tiled(properties)
    if margins is not None and (width and height):
        size = _part(margins, height, width, panorama=panorama)
    elif margins is not None:
        raise UnusableError("it is a crop of a picture whose size is not reported")
    else:
        size = _Size(height, width) if width and height else _Size(*tiled)
        if panorama and size.width:
            check_sphere(size.height, size.width)
    for own, other in zip((size.height, size.width), tiled, strict=True):
        if own and other and abs(own - other) > SAME_SHAPE * own:
            raise UnusableError("its record reports two sizes of it")
    return size


def _part(stated: object, height: int, width: int, *, panorama: bool) -> _Size:
    """A picture that lacks margins of a whole of that size."""
    margins = [number(stated, k) for k in range(4)]
    if any(m is None or m != int(m) or not 0 <= m < 1 << 20 for m in margins):
        raise UnusableError("the margins by which it is cropped cannot be read")
    left, top, right, bottom = (int(m or 0) for m in margins)
    if left + right >= width or top + bottom >= height:
        raise UnusableError("the margins by which it is cropped leave nothing of it")
    if not panorama:
        if (left, top, right, bottom) != (0, 0, 0, 0):
            raise UnusableError("it is a crop of a photograph")
        return _Size(height, width)
    check_sphere(height, width)
    return _Size(height - top - bottom, width - left - right, (left, top), (height, width))


def _tiled(properties: object) -> tuple[int, int]:
    """Height and width of the picture that is served in tiles, zeros where there is none."""
    matrix = field(properties, "tiles:tile_matrix_sets", "geovisio", "tileMatrix", 0)
    tiles = [number(matrix, f"matrix{side}") for side in ("Height", "Width")]
    sides = [number(matrix, f"tile{side}") for side in ("Height", "Width")]
    height, width = (
        round(count * side) if count and side and 1 <= count * side < 1 << 20 else 0
        for count, side in zip(tiles, sides, strict=True)
    )
    return height, width
