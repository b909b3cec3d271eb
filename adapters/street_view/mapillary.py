"""Mapillary, Graph API v4: pictures of contributors all over the world, with a token.

A search by box gives at most 2000 pictures, cut before what is private or deleted is dropped, and
wants a box below 0.01 square degrees; a long answer is taken for a cut one and the box is divided,
and so it is where Mapillary asks to "reduce the amount of data", as Meta's Graph API does where a
search takes it too long.
Addresses of pictures expire, so they are asked for again when a picture is fetched. A compass of -1
stands for none.
"""

from __future__ import annotations

import math
from datetime import datetime
from typing import Final

import cv2
import numpy as np

from adapters.street_view.base import StreetViewError
from adapters.street_view.boxes import Found, SearchedByBox
from adapters.street_view.records import (
    NO_COMPASS,
    WHOLE_CIRCLE,
    Interval,
    Shot,
    UnusableError,
    check_same_place,
    check_sphere,
    field,
    heading_of,
    identifier,
    number,
    position,
    text,
    tilt_of,
    unix_moment,
    whole,
)
from adapters.street_view.service import HarvestPlan, Image
from adapters.street_view.web.client import Secret, WebClient
from adapters.street_view.web.errors import ServiceError, TooMuchAskedError
from crosscity.areas import Bounds
from crosscity.panorama import Source, View

BASE_URL: Final = "https://graph.mapillary.com"
HOSTS: Final = (".fbcdn.net",)
"""Where the pictures lie."""
LIMIT: Final = 2000
MAX_SQUARE_DEGREES: Final = 0.01
LICENCE: Final = "CC-BY-SA-4.0"
ADVICE: Final = (
    "give the catalog entry a `token` (a client token of your own application, from Mapillary's "
    "developer page), best as ${MAPILLARY_TOKEN}"
)

_METADATA: Final = (
    "id,captured_at,is_pano,camera_type,camera_parameters,sequence,geometry,computed_geometry,"
    "compass_angle,computed_compass_angle,computed_rotation,exif_orientation,width,height,creator"
)
_SIZES: Final = ("thumb_1024_url", "thumb_2048_url", "thumb_original_url")
_ALL_ROUND: Final = frozenset({"spherical", "equirectangular"})
_MOST_TURNS: Final = 20.0
_PINHOLE: Final = frozenset({"perspective", "brown"})


def secret(token: str) -> Secret:
    """How a token is shown to the service: in a header, so that no address holds it."""
    return Secret(headers={"Authorization": f"OAuth {token}"})


class MapillaryStreetView(SearchedByBox):
    """Pictures of Mapillary."""

    name = "mapillary"
    record_version = "2"
    max_square_degrees = MAX_SQUARE_DEGREES

    def __init__(self, plan: HarvestPlan, client: WebClient, *, limit: int = LIMIT) -> None:
        """Nothing is asked yet.

        Args:
            plan: What is wanted.
            client: How the service is asked; with `secret`.
            limit: Pictures to ask for in one answer, at most 2000.
        """
        super().__init__(plan, client, limit=limit)

    def _ask(self, box: Bounds, span: Interval) -> Found:
        query: dict[str, str | int | float] = {
            "bbox": ",".join(f"{value:.9f}" for value in box),
            "start_captured_at": _stamp(span[0]),
            "end_captured_at": _stamp(span[1]),
            "fields": _METADATA,
            "limit": self._limit,
        }
        if self.plan.panoramas_only:
            query["is_pano"] = "true"
        try:
            records = field(self.client.get_json("images", query), "data")
        except TooMuchAskedError as error:
            return Found([], refused=error)
        if not isinstance(records, list):
            raise StreetViewError(
                "Mapillary answered a search without a list of data: check `base_url`."
            )
        return Found(records)

    def _read(self, record: object) -> Shot:
        return _read(record)

    def _record_name(self, record: object) -> str:
        try:
            return identifier(record, "id")
        except UnusableError:
            return "a picture without a name"

    def _look_up(self, source_id: str) -> Shot:
        if not source_id.isascii() or not source_id.isdigit():
            raise StreetViewError(f"Mapillary has no picture {source_id!r}.")
        query = {"fields": f"{_METADATA},{','.join(_SIZES)}"}
        try:
            record = self.client.get_json(source_id, query)
        except ServiceError as error:
            if error.status in (400, 404):  # what is gone is answered with 400
                raise StreetViewError(f"Mapillary has no picture {source_id} any more.") from error
            raise
        return self._read_as(source_id, record)

    def _picture(self, shot: Shot, view: View) -> tuple[Image, Source]:
        if not shot.addresses:  # it was listed without them
            shot = self._look_up(shot.source_id)
            self._cache.note(shot)
        ratio = shot.height / shot.width if shot.width else 0.5
        width = shot.width or 4096
        sizes = [
            (size, side, round(side * ratio))
            for size, side in zip(_SIZES, (min(1024, width), min(2048, width), width), strict=True)
        ]
        try:
            return self._whole_picture(shot, view, sizes)
        except ServiceError as error:
            if error.status not in (403, 404, 410):
                raise
            # The addresses have expired.
            shot = self._look_up(shot.source_id)
            self._cache.note(shot)
            return self._whole_picture(shot, view, sizes)


def _read(record: object) -> Shot:
    camera = text(record, "camera_type", most=40)
    told = field(record, "is_pano")
    panorama = told is True or camera in _ALL_ROUND
    if panorama and camera not in (None, *_ALL_ROUND):
        raise UnusableError(f"its camera is {camera}")
    if panorama and told is False:
        raise UnusableError(f"its camera is {camera}, and it is reported as no panorama")
    width, height = whole(record, "width"), whole(record, "height")
    if panorama:
        _check_panorama(record, height, width)
    fov, k1, k2 = (WHOLE_CIRCLE, 0.0, 0.0) if panorama else _lens(record, width, height)
    lat, lon = _position(record)
    compass = number(record, "computed_compass_angle")
    if compass is None or compass == NO_COMPASS:
        compass = number(record, "compass_angle")
    heading = heading_of(compass)
    pitch, roll = _tilt(record)
    source_id = identifier(record, "id")
    person = text(record, "creator", "username")
    return Shot(
        source_id=source_id,
        lat=lat,
        lon=lon,
        captured_at=unix_moment(number(record, "captured_at")),
        precision="second",
        heading=heading,
        pitch=pitch,
        roll=roll,
        fov=fov,
        height=height,
        width=width,
        licence=LICENCE,
        attribution=f"{person} / Mapillary" if person else "Mapillary",
        page_url=f"https://www.mapillary.com/app/?pKey={source_id}",
        sequence=text(record, "sequence"),
        k1=k1,
        k2=k2,
        addresses=tuple(
            (size, address) for size in _SIZES if isinstance(address := field(record, size), str)
        ),
    )


def _position(record: object) -> tuple[float, float]:
    """The computed position, or the measured one where there is no other.

    Raises:
        UnusableError: There is none, or both are farther apart than receivers err.
    """
    found = []
    for name in ("computed_geometry", "geometry"):
        try:
            found.append(position(record, name))
        except UnusableError:
            continue
    if not found:
        return position(record, "geometry")  # raises what is wrong with it
    if len(found) > 1:
        check_same_place(found[0], found[1], "its measured and its computed position")
    return found[0]


def _check_panorama(record: object, height: int, width: int) -> None:
    """Refuses what cannot be a whole sphere; parts of one are not marked as such."""
    if height and width:
        check_sphere(height, width)
    turned = number(record, "exif_orientation")
    if turned is not None and turned not in (0, 1):
        raise UnusableError("it is reported as a panorama and as turned, which none is")


def _lens(record: object, width: int, height: int) -> tuple[float, float, float]:
    """Field of view and distortion of a photograph.

    `camera_parameters` are the focal length in units of the longer side, k1 and k2.
    """
    camera = text(record, "camera_type", most=40)
    focal = number(record, "camera_parameters", 0)
    if camera not in _PINHOLE or focal is None or not 0.2 < focal < 5 or not (width and height):
        raise UnusableError(f"its camera ({camera or 'unknown'}) is not calibrated")
    k1, k2 = (number(record, "camera_parameters", k) or 0.0 for k in (1, 2))
    if camera == "brown":  # focal x, focal y, centre x, centre y, k1, k2, ...
        k1, k2 = (number(record, "camera_parameters", k) or 0.0 for k in (4, 5))
    drawn = width / max(width, height) / 2 / focal
    tangent = drawn
    for _ in range(20):  # the ray that is drawn at the edge
        tangent = drawn / (1.0 + tangent**2 * (k1 + k2 * tangent**2))
    if not 0.05 < tangent < 5 or not math.isfinite(tangent):
        raise UnusableError("its lens is too wide to be a photograph")
    return 2 * math.degrees(math.atan(tangent)), k1, k2


def _tilt(record: object) -> tuple[float, float]:
    """Pitch and roll, from the rotation (angle times axis) of the world into the camera.

    The camera's axes are right, down and forward; the world's are east, north and up.
    """
    vector = [number(record, "computed_rotation", k) for k in range(3)]
    if any(value is None for value in vector):
        return 0.0, 0.0
    if any(abs(value) > _MOST_TURNS for value in vector if value is not None):
        raise UnusableError("its rotation is not valid")
    turned = np.asarray(cv2.Rodrigues(np.array(vector, dtype=np.float64))[0])
    right, down, forward = turned
    pitch = math.degrees(math.asin(max(-1.0, min(1.0, float(forward[2])))))
    roll = math.degrees(math.atan2(-float(right[2]), -float(down[2])))
    return pitch, tilt_of(roll)


def _stamp(value: datetime) -> str:
    return value.strftime("%Y-%m-%dT%H:%M:%SZ")
