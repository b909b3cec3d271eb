"""KartaView, the former OpenStreetCam: pictures of contributors, without a key.

Numbers are written as texts. A search by box is answered in pages of at most 150; the answer of a
refusal comes with HTTP status 200 and says so in `status.apiCode`. So do "Query timeout" (408),
where a box holds too many pictures for its database, and which is therefore divided, and what its
database says of itself ("max_user_connections", "gone away"), which passes. Times are not searched
for.
Most cameras are telephones, whose field of view is reported by their drive or not at all.

`cameraParameters` are those of the sensor, whichever way the telephone was held: KartaView's
Android client (Camera2InitManager.getFOV) takes the physical width and height of the sensor, and
both of the whole sensor where the picture is longer than it. So they are of the picture's longer
and shorter side. `fieldOfView` is written by KartaView's upload scripts (parsers/xmp.py) from the
width of a panorama, and shown by its site for spheres; what it means for an upright photograph is
nowhere said.
"""

from __future__ import annotations

import math
from typing import Any, Final

from adapters.street_view.base import StreetViewError
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
    numeral,
    on_earth,
    text,
)
from adapters.street_view.service import HarvestPlan, Image
from adapters.street_view.web.client import WebClient
from adapters.street_view.web.errors import AccessRefused, ServiceError, TooMuchAskedError
from crosscity.areas import Bounds
from crosscity.panorama import Source, View

BASE_URL: Final = "https://api.openstreetcam.org"
PAGE: Final = 150
"""Pictures in one page, at most."""
LIMIT: Final = 3000
"""Pictures of a box that are asked for, page by page; where there are more, it is divided."""
LICENCE: Final = "CC-BY-SA-4.0"
ATTRIBUTION: Final = "© Grab and KartaView contributors"

_DONE: Final = (600.0, 601.0)  # "processed without incidents", "empty response"
_REFUSED: Final = (401.0, 403.0)
_TOO_LONG: Final = 408
_OF_THE_SERVER: Final = range(500, 600)
_PASSING: Final = ("max_user_connections", "gone away", "unexpected server error")
"""In what its database and server say of themselves; clients of others ask again after them."""
_SPHERE: Final = "SPHERE"
_PLANE: Final = "PLANE"
_FIELDS_DIFFER: Final = 0.05
_LEAST_FOV, _MOST_FOV = 10.0, 170.0
_MOST_PIXELS: Final = 1 << 20
_PICTURE: Final = "fileurlProc"


class KartaViewStreetView(SearchedByBox):
    """Pictures of KartaView."""

    name = "kartaview"
    by_time = False
    record_version = "2"

    def __init__(
        self,
        plan: HarvestPlan,
        client: WebClient,
        *,
        assumed_fov: float | None = None,
        page: int = PAGE,
        limit: int = LIMIT,
    ) -> None:
        """Nothing is asked yet.

        Args:
            plan: What is wanted.
            client: How the service is asked.
            assumed_fov: Field of view in degrees along the longer side of photographs whose record
                reports none; ``None`` leaves them out.
            page: Pictures in one page.
            limit: Pictures of a box from which on it is divided.
        """
        super().__init__(plan, client, limit=limit)
        self._assumed_fov, self._page = assumed_fov, page

    def _ask(self, box: Bounds, span: Interval) -> Found:  # noqa: ARG002 - not searched for
        try:
            return Found(self._pages(box))
        except ServiceError as error:
            if error.status != _TOO_LONG:
                raise
            return Found([], refused=TooMuchAskedError(str(error), error.status))

    def _pages(self, box: Bounds) -> list[object]:
        """The records of a box, page by page, up to the limit from which on it is divided."""
        west, south, east, north = box
        query: dict[str, str | int | float] = {
            "nwLat": f"{north:.9f}",
            "nwLng": f"{west:.9f}",
            "seLat": f"{south:.9f}",
            "seLng": f"{east:.9f}",
            "orderBy": "id",
            "orderDirection": "asc",
            "join": "sequence",
            "itemsPerPage": self._page,
        }
        if self.plan.panoramas_only:
            query["projection"] = _SPHERE
        records: list[object] = []
        for page in range(1, self._limit // self._page + 2):
            answer = self._answer("2.0/photo/", {**query, "page": page})
            found = field(answer, "data")
            if not isinstance(found, list):
                raise StreetViewError(
                    "KartaView answered a search without a list of data: check `base_url`."
                )
            records += found
            if len(records) >= WHOLE * self._whole_below:  # it is divided anyway
                break
            # A full page is asked on after whatever it says of more: one of both may be wrong.
            if not found or (len(found) < self._page and field(answer, "hasMoreData") is not True):
                break
        return records

    def _answer(self, path: str, query: dict[str, str | int | float] | None = None) -> object:
        answer = self.client.get_json(path, query, passing=_passing_fault)
        code = _refusal(answer)
        if code is not None:
            kind = AccessRefused if code in _REFUSED else ServiceError
            raise kind(f"KartaView refused with code {code}: {_reason(answer)}.", code)
        return field(answer, "result")

    def _look_up(self, source_id: str) -> Shot:
        if not source_id.isascii() or not source_id.isdigit():
            raise StreetViewError(f"KartaView has no picture {source_id!r}.")
        try:
            record = field(self._answer(f"2.0/photo/{source_id}", {"join": "sequence"}), "data")
        except ServiceError as error:
            if error.status == 404:
                raise StreetViewError(f"KartaView has no picture {source_id} any more.") from error
            raise
        if isinstance(record, list):
            record = field(record, 0)
        if not record:
            raise StreetViewError(f"KartaView has no picture {source_id} any more.")
        return self._read_as(source_id, record)

    def _picture(self, shot: Shot, view: View) -> tuple[Image, Source]:
        if not shot.addresses:
            shot = self._look_up(shot.source_id)
            self._cache.note(shot)
        return self._whole_picture(shot, view, [(_PICTURE, shot.width, shot.height)])

    def _record_name(self, record: object) -> str:
        try:
            return identifier(record, "id")
        except UnusableError:
            return "a picture without a name"

    def _read(self, record: object) -> Shot:
        source_id = identifier(record, "id")
        width, height = _pixels(record, "width"), _pixels(record, "height")
        lat, lon = on_earth(numeral(record, "lat"), numeral(record, "lng"))
        _check_matched(record, lat, lon)
        drive = _drive(record)
        address = field(record, _PICTURE)
        if not isinstance(address, str) or not 1 <= len(address) < 2000:
            raise UnusableError("it has no picture")
        # In UTC; times of upload say nothing of when a picture was taken.
        captured_at, precision = iso_moment(record, "shotDate")
        check_uploaded(captured_at, record, "dateAdded")
        return Shot(
            source_id=source_id,
            lat=lat,
            lon=lon,
            captured_at=captured_at,
            precision=precision,
            heading=heading_of(numeral(record, "heading")),
            pitch=0.0,
            roll=0.0,
            fov=self._field_of_view(record, height, width),
            height=height,
            width=width,
            licence=LICENCE,
            attribution=ATTRIBUTION,
            page_url=_page_of(record, drive),
            sequence=drive,
            addresses=((_PICTURE, address),),
        )

    def _field_of_view(self, record: object, height: int, width: int) -> float:
        projection = (text(record, "projection", most=40) or _PLANE).upper()
        stated = numeral(record, "fieldOfView") or None
        if projection == _SPHERE:
            if stated is not None and stated != WHOLE_CIRCLE:
                raise UnusableError("it is reported as a sphere and not to show the whole circle")
            if height and width:
                check_sphere(height, width)
            return WHOLE_CIRCLE
        if projection != _PLANE:
            raise UnusableError(f"its projection is {projection}")
        if height and width:
            check_photograph(height, width)
        camera = _camera_fov(record, height, width)
        if stated is not None and stated > _MOST_FOV:
            raise UnusableError("it is reported as a photograph and to show half the circle or all")
        if _angle(stated) is not None and stated is not None:
            if camera is not None and abs(stated / camera - 1) > _FIELDS_DIFFER:
                raise UnusableError("its field of view and that of its drive's camera differ")
            if camera is None and height > width:
                raise UnusableError(
                    "it is higher than wide, and nothing says of which side its field of view is"
                )
            return stated if camera is None else camera
        if camera is not None:
            return camera
        if self._assumed_fov is None:
            raise UnusableError("its field of view is not reported")
        fov = across(self._assumed_fov, height, width)
        if fov < _LEAST_FOV:
            raise UnusableError("its field of view would be less than any camera's")
        return fov


def _refusal(answer: object) -> int | None:
    """The code with which an answer refuses; ``None``: it does not."""
    code = numeral(answer, "status", "apiCode")
    if code is not None:
        return None if code in _DONE else int(code)
    code = numeral(answer, "status", "httpCode")
    return None if code is None or code == 200 else int(code)


def _reason(answer: object) -> str:
    return text(answer, "status", "apiMessage", most=160) or "no reason"


def _passing_fault(answer: object) -> str | None:
    """What an answer says of a fault that may pass; ``None``: it says of none."""
    code = _refusal(answer)
    if code is None:
        return None
    said = _reason(answer)
    passing = code in _OF_THE_SERVER or any(words in said.casefold() for words in _PASSING)
    return f"code {code}: {said}" if passing else None


def _camera_fov(record: object, height: int, width: int) -> float | None:
    """The horizontal field of view by the camera of the drive, if it is reported.

    Of a picture without a size it is that of a wide one: an upright picture is refused, once it is
    seen, as its record tells no size.

    Raises:
        UnusableError: The two fields of the camera contradict the picture's size.
    """
    camera = ("sequence", "cameraParameters")
    first, second = (_angle(numeral(record, *camera, name)) for name in ("hFoV", "vFoV"))
    if first is None:
        return None
    longer = first
    if second is not None and height and width:
        if first < second and width >= height:  # told of a camera that stands, and this one lies
            raise UnusableError("its camera's fields of view contradict its size")
        longer, shorter = max(first, second), min(first, second)
        sensor = math.tan(math.radians(longer) / 2) / math.tan(math.radians(shorter) / 2)
        # A picture that is longer than the sensor keeps all of its longer side.
        if max(height, width) < min(height, width) * sensor * (1 - _FIELDS_DIFFER - SAME_SHAPE):
            raise UnusableError("its camera's fields of view contradict its size")
    fov = across(longer, height, width)
    return fov if fov >= _LEAST_FOV else None


def _check_matched(record: object, lat: float, lon: float) -> None:
    """Holds the position against that on the street that KartaView matched it to."""
    try:
        matched = on_earth(numeral(record, "matchLat"), numeral(record, "matchLng"))
    except UnusableError:
        return
    check_same_place((lat, lon), matched, "its position and that on its street")


def _angle(value: float | None) -> float | None:
    return value if value is not None and _LEAST_FOV <= value <= _MOST_FOV else None


def _pixels(record: object, name: str) -> int:
    value = numeral(record, name)
    return int(value) if value is not None and 1 <= value < _MOST_PIXELS else 0


def _drive(record: object) -> str | None:
    for path in (("sequenceId",), ("sequence", "id")):
        value: Any = field(record, *path)
        if isinstance(value, str | int):
            try:
                return identifier(record, *path)
            except UnusableError:
                continue
    return None


def _page_of(record: object, drive: str | None) -> str:
    index = numeral(record, "sequenceIndex")
    if drive is None or not drive.isdigit() or index is None or not 0 <= index < 1e9:
        return "https://kartaview.org"
    return f"https://kartaview.org/details/{drive}/{int(index)}/track-info"
