"""Cars, vans, trucks, buses, trams, motorcycles, bicycles: templates facing +z on the ground.

Slots: 0 body, 1 second colour.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Final, NamedTuple

from crosscity.labels import TRAIN_ID
from simcity.mesh import Look, Material, Mesh, Point, Rows, Shape, look
from simcity.style import RGB

CAR, TRUCK, BUS, TRAIN = (TRAIN_ID[name] for name in ("car", "truck", "bus", "train"))
MOTORCYCLE, BICYCLE = TRAIN_ID["motorcycle"], TRAIN_ID["bicycle"]

_BLACK: Final[RGB] = (22, 22, 24)
_RUBBER: Final[RGB] = (26, 26, 27)
_GREY: Final[RGB] = (92, 94, 96)
_GLASS: Final[RGB] = (34, 40, 44)


@dataclass(frozen=True)
class CarBody:
    """Side view of a car, metres.

    Attributes:
        length: Overall.
        width: Overall.
        height: Overall.
        hood: From the front to the windscreen's foot.
        screen: Length of the sloping windscreen.
        rear: Length of the sloping rear window.
        boot: From the rear window's foot to the back.
        belt: Height of the windows' lower edge.
    """

    length: float
    width: float
    height: float
    hood: float
    screen: float
    rear: float
    boot: float
    belt: float


BODIES: Final[dict[str, CarBody]] = {
    "sedan": CarBody(4.6, 1.80, 1.45, 1.25, 0.85, 0.70, 0.65, 0.93),
    "estate": CarBody(4.6, 1.80, 1.50, 1.20, 0.80, 0.35, 0.05, 0.94),
    "hatch": CarBody(3.9, 1.70, 1.48, 0.95, 0.75, 0.40, 0.06, 0.93),
    "suv": CarBody(4.5, 1.88, 1.70, 1.15, 0.65, 0.35, 0.06, 1.05),
    "mini": CarBody(3.4, 1.48, 1.70, 0.62, 0.55, 0.15, 0.04, 0.95),
    "minivan": CarBody(4.8, 1.90, 1.92, 0.60, 0.85, 0.20, 0.04, 1.08),
}


def _part(label: int, colour: RGB, material: int = Material.MATT, **more: object) -> Look:
    return look(material, label, colour, moving=True, **more)  # type: ignore[arg-type]


def _wheel(mesh: Mesh, label: int, x: float, z: float, radius: float) -> None:
    """Tyre and rim on the outer side of a body; x carries the side's sign."""
    out = 0.015 if x > 0 else -0.015
    half_u, half_v = (0.0, 0.0, radius), (0.0, radius, 0.0)
    tyre = _part(label, _RUBBER, shape=Shape.ELLIPSE, bias=0.001)
    arch = _part(label, (12, 12, 12), shape=Shape.ELLIPSE, bias=0.0005)
    rim = _part(label, (150, 152, 154), Material.METAL, shape=Shape.ELLIPSE, bias=0.002)
    mesh.plate((x, radius, z), (0.0, 0.0, radius * 1.15), (0.0, radius * 1.15, 0.0), arch)
    mesh.plate((x + out, radius, z), half_u, half_v, tyre)
    inner = 0.62 * radius
    mesh.plate((x + 2 * out, radius, z), (0.0, 0.0, inner), (0.0, inner, 0.0), rim)
    # The tread, seen from the front and from behind.
    inside = x - 0.2 if x > 0 else x + 0.2
    low, high = sorted((x, inside))
    mesh.box(
        (low, 0.0, z - radius * 0.8), (high, radius, z + radius * 0.8), tyre_side(label), faces="fb"
    )


def tyre_side(label: int) -> Look:
    """The tread of a tyre."""
    return _part(label, _RUBBER)


class _Lines(NamedTuple):
    """Where the edges of a car lie, metres: across (w, roof), up and along."""

    w: float
    roof: float
    sill: float
    belt: float
    nose: float
    top: float
    front: float
    back: float
    z_hood: float
    z_roof: float
    z_boot: float
    z_rear: float


def _lines_of(body: CarBody) -> _Lines:
    front, back = body.length / 2, -body.length / 2
    return _Lines(
        w=body.width / 2,
        roof=body.width / 2 - 0.16,
        sill=0.24,
        belt=body.belt,
        nose=body.belt - 0.2,
        top=body.height,
        front=front,
        back=back,
        z_hood=front - body.hood,
        z_roof=front - body.hood - body.screen,
        z_boot=back + body.boot,
        z_rear=back + body.boot + body.rear,
    )


@functools.cache
def car(name: str, taxi: bool = False) -> Rows:
    """A car by the name of its body; slot 0 is its paint."""
    body = BODIES[name]
    mesh, lines = Mesh(), _lines_of(body)
    lid = _paint(1.0, 0.0)
    glass = _part(CAR, _GLASS, Material.GLASS, bias=0.001)
    tail_top = body.belt - 0.02 if body.boot > 0.3 else body.belt + 0.12
    for side in (-1.0, 1.0):
        _flank(mesh, lines, side, lid, glass)
        _lamps(mesh, lines, side, tail_top)
    _shell(mesh, lines, lid, glass)
    _bumpers(mesh, lines)
    w = lines.w
    mesh.box(
        (-w + 0.05, 0.12, lines.back + 0.1),
        (w - 0.05, lines.sill, lines.front - 0.1),
        _part(CAR, _BLACK),
        faces="lrfb",
    )
    if taxi:
        mesh.box(
            (-0.3, lines.top, -0.35),
            (0.3, lines.top + 0.2, -0.15),
            _part(CAR, (240, 226, 150), Material.LAMP, parameters=(0.3,)),
        )
    return _frozen(mesh)


def _paint(*parameters: float) -> Look:
    return look(
        Material.PAINT, CAR, (0, 0, 0), parameters=parameters, moving=True, slots=(0.0, 0.0)
    )


def _flank(mesh: Mesh, lines: _Lines, side: float, lid: Look, glass: Look) -> None:
    """One side: doors, windows, pillar, mirror and wheels."""
    w, roof, sill, belt, nose, top, front, back, z_hood, z_roof, z_boot, z_rear = lines
    panel = _paint(belt - sill, 0.9)
    x, xr = side * w, side * roof
    mesh.quad((x, sill, back), (x, sill, z_hood), (x, belt, z_hood), (x, belt, back), panel)
    mesh.quad((x, sill, z_hood), (x, sill, front), (x, nose, front), (x, belt, z_hood), panel)
    mesh.quad((x, belt, z_boot), (x, belt, z_hood), (xr, top, z_roof), (xr, top, z_rear), lid)
    mesh.quad(
        _towards((x, belt, z_boot), (xr, top, z_rear), 0.06, 0.12),
        _towards((x, belt, z_hood), (xr, top, z_roof), 0.06, -0.18),
        _towards((x, belt, z_hood), (xr, top, z_roof), 0.86, -0.12),
        _towards((x, belt, z_boot), (xr, top, z_rear), 0.86, 0.10),
        glass,
    )
    pillar = (z_roof + z_rear) / 2
    mesh.quad(
        (x, belt + 0.03, pillar - 0.05),
        (x, belt + 0.03, pillar + 0.05),
        (xr, top - 0.05, pillar + 0.05),
        (xr, top - 0.05, pillar - 0.05),
        _part(CAR, _BLACK, bias=0.002),
    )
    mesh.box(
        (min(x, x + side * 0.16), belt, z_hood - 0.35),
        (max(x, x + side * 0.16), belt + 0.13, z_hood - 0.2),
        lid,
    )
    for z in (front - 0.8, back + 0.75):
        _wheel(mesh, CAR, x, z, 0.31)


def _lamps(mesh: Mesh, lines: _Lines, side: float, tail_top: float) -> None:
    """Head and tail lamp of one side."""
    lamp = _part(CAR, (225, 228, 230), Material.GLASS, parameters=(0.3,), bias=0.002)
    tail = _part(CAR, (150, 14, 14), Material.LAMP, parameters=(0.35,), bias=0.002)
    a, b = sorted((side * (lines.w - 0.42), side * (lines.w - 0.03)))
    for low, high, z, how in (
        (lines.nose - 0.2, lines.nose - 0.05, lines.front, lamp),
        (tail_top - 0.2, tail_top, lines.back, tail),
    ):
        mesh.quad((a, low, z), (b, low, z), (b, high, z), (a, high, z), how)


def _shell(mesh: Mesh, lines: _Lines, lid: Look, glass: Look) -> None:
    """Front, back, hood, boot, screens and roof."""
    w, roof, sill, belt, nose, top, front, back, z_hood, z_roof, z_boot, z_rear = lines
    mesh.quad((-w, sill, front), (w, sill, front), (w, nose, front), (-w, nose, front), lid)
    mesh.quad((-w, sill, back), (w, sill, back), (w, belt, back), (-w, belt, back), lid)
    mesh.quad((-w, nose, front), (w, nose, front), (w, belt, z_hood), (-w, belt, z_hood), lid)
    mesh.quad((-w, belt, back), (w, belt, back), (w, belt, z_boot), (-w, belt, z_boot), lid)
    mesh.quad(
        (-w, belt, z_hood), (w, belt, z_hood), (roof, top, z_roof), (-roof, top, z_roof), glass
    )
    mesh.quad((-w, belt, z_boot), (w, belt, z_boot), (roof, top, z_rear), (-roof, top, z_rear), lid)
    mesh.quad(
        (-w + 0.16, belt + 0.07, z_boot + 0.03),
        (w - 0.16, belt + 0.07, z_boot + 0.03),
        (roof - 0.08, top - 0.08, z_rear - 0.03),
        (-roof + 0.08, top - 0.08, z_rear - 0.03),
        _part(CAR, _GLASS, Material.GLASS, bias=0.003),
    )
    mesh.quad(
        (-roof, top, z_rear), (roof, top, z_rear), (roof, top, z_roof), (-roof, top, z_roof), lid
    )


def _bumpers(mesh: Mesh, lines: _Lines) -> None:
    """Grille, bumpers and plates."""
    w, nose, sill, front = lines.w, lines.nose, lines.sill, lines.front
    mesh.quad(
        (-w * 0.6, nose - 0.24, front),
        (w * 0.6, nose - 0.24, front),
        (w * 0.6, nose - 0.1, front),
        (-w * 0.6, nose - 0.1, front),
        _part(CAR, _BLACK, bias=0.0015),
    )
    for z in (front, lines.back):
        mesh.quad(
            (-w, sill - 0.06, z),
            (w, sill - 0.06, z),
            (w, sill + 0.12, z),
            (-w, sill + 0.12, z),
            _part(CAR, (40, 40, 42), bias=0.001),
        )
        mesh.quad(
            (-0.26, 0.42, z),
            (0.26, 0.42, z),
            (0.26, 0.54, z),
            (-0.26, 0.54, z),
            _part(CAR, (215, 214, 208), bias=0.003),
        )


def _frozen(mesh: Mesh) -> Rows:
    rows = mesh.rows()
    rows.setflags(write=False)
    return rows


def _towards(low: Point, high: Point, share: float, shift: float) -> Point:
    x, y, z = (a + (b - a) * share for a, b in zip(low, high, strict=True))
    return x, y, z + shift


@functools.cache
def van() -> Rows:
    """A delivery van (labelled car, as in Cityscapes)."""
    return _box_vehicle(CAR, 5.2, 1.95, 2.35, windows=(1.25, 1.9, 2.6), glazed=1.6)


@functools.cache
def bus() -> Rows:
    """A city bus; slot 1 is its stripe."""
    return _box_vehicle(BUS, 11.6, 2.5, 3.1, windows=(1.15, 2.35, 1.5), glazed=11.6)


@functools.cache
def minibus() -> Rows:
    """A short bus."""
    return _box_vehicle(BUS, 7.4, 2.3, 2.8, windows=(1.15, 2.1, 1.3), glazed=7.4)


@functools.cache
def tram() -> Rows:
    """A tram of 24 m."""
    return _box_vehicle(TRAIN, 24.0, 2.45, 3.45, windows=(1.3, 2.5, 1.7), glazed=24.0)


def _box_vehicle(
    label: int,
    length: float,
    width: float,
    height: float,
    *,
    windows: tuple[float, float, float],
    glazed: float,
) -> Rows:
    mesh = Mesh()
    w, front, back, foot = width / 2, length / 2, -length / 2, 0.3
    low, high, period = windows
    side = look(
        Material.COACH,
        label,
        (0, 0, 0),
        parameters=(low - foot, high - foot, period, height - foot),
        moving=True,
        slots=(0.0, 1.0),
    )
    closed = look(
        Material.PAINT, label, (0, 0, 0), parameters=(height, 0.35), moving=True, slots=(0.0, 0.0)
    )
    glass = _part(label, _GLASS, Material.GLASS, bias=0.001)
    split = front - glazed
    for x in (-w, w):
        if glazed < length:
            mesh.quad(
                (x, foot, back), (x, foot, split), (x, height, split), (x, height, back), closed
            )
        mesh.quad((x, foot, split), (x, foot, front), (x, height, front), (x, height, split), side)
        for z in (front - 0.25 * min(length, 8.0), back + 0.24 * min(length, 9.0)):
            _wheel(mesh, label, x, z, 0.33 if length < 6 else 0.48)
    for z in (front, back):
        mesh.quad((-w, foot, z), (w, foot, z), (w, height, z), (-w, height, z), closed)
        mesh.quad(
            (-w + 0.12, low - 0.1, z),
            (w - 0.12, low - 0.1, z),
            (w - 0.12, high + 0.1, z),
            (-w + 0.12, high + 0.1, z),
            glass,
        )
        colour: RGB = (225, 225, 220) if z > 0 else (150, 14, 14)
        for x in (-w + 0.1, w - 0.45):
            lamp = _part(label, colour, Material.LAMP, parameters=(0.3,), bias=0.002)
            mesh.quad((x, 0.7, z), (x + 0.35, 0.7, z), (x + 0.35, 0.9, z), (x, 0.9, z), lamp)
        mesh.quad(
            (-w, foot, z),
            (w, foot, z),
            (w, foot + 0.28, z),
            (-w, foot + 0.28, z),
            _part(label, (42, 42, 44), bias=0.001),
        )
    if length > 6:
        board = look(
            Material.SHOP_SIGN,
            label,
            (20, 20, 20),
            (240, 170, 40),
            parameters=(0.26, 0.7),
            bias=0.003,
            moving=True,
        )
        mesh.quad(
            (-w + 0.4, high + 0.2, front),
            (w - 0.4, high + 0.2, front),
            (w - 0.4, height - 0.1, front),
            (-w + 0.4, height - 0.1, front),
            board,
        )
    mesh.quad(
        (-w, height, back), (w, height, back), (w, height, front), (-w, height, front), closed
    )
    mesh.box(
        (-w + 0.1, 0.15, back + 0.2),
        (w - 0.1, foot, front - 0.2),
        _part(label, _BLACK),
        faces="lrfb",
    )
    return _frozen(mesh)


@functools.cache
def truck(kind: int) -> Rows:
    """A lorry: 0 with a box, 1 with an open bed; slot 0 is the cab, 1 the load."""
    mesh = Mesh()
    cab = look(
        Material.PAINT, TRUCK, (0, 0, 0), parameters=(2.2, 0.3), moving=True, slots=(0.0, 0.0)
    )
    load = look(
        Material.COACH if kind == 2 else Material.WALL,
        TRUCK,
        (0, 0, 0),
        parameters=(0.0, 9.0),
        moving=True,
        slots=(1.0, 1.0),
    )
    w, front = 1.12, 3.3
    mesh.box((-w, 0.55, front - 1.8), (w, 2.55, front), cab)
    mesh.quad(
        (-w + 0.1, 1.45, front),
        (w - 0.1, 1.45, front),
        (w - 0.1, 2.35, front),
        (-w + 0.1, 2.35, front),
        _part(TRUCK, _GLASS, Material.GLASS, bias=0.001),
    )
    for x in (-w, w):
        mesh.quad(
            (x, 1.45, front - 1.2),
            (x, 1.45, front - 0.15),
            (x, 2.3, front - 0.25),
            (x, 2.3, front - 1.2),
            _part(TRUCK, _GLASS, Material.GLASS, bias=0.001),
        )
        for z in (front - 0.9, -1.9):
            _wheel(mesh, TRUCK, x, z, 0.45)
        lamp = _part(TRUCK, (225, 225, 220), Material.LAMP, parameters=(0.3,), bias=0.002)
        a, b = sorted((x * 0.95, x * 0.65))
        mesh.quad((a, 0.75, front), (b, 0.75, front), (b, 0.95, front), (a, 0.95, front), lamp)
        tail = _part(TRUCK, (150, 14, 14), Material.LAMP, parameters=(0.3,), bias=0.002)
        mesh.quad((a, 0.7, -3.3), (b, 0.7, -3.3), (b, 0.85, -3.3), (a, 0.85, -3.3), tail)
    high = 3.2 if kind == 0 else 1.7
    mesh.box((-w - 0.05, 0.8, -3.3), (w + 0.05, high, front - 1.95), load)
    mesh.box(
        (-w + 0.2, 0.4, -3.2), (w - 0.2, 0.8, front - 0.2), _part(TRUCK, (40, 40, 42)), faces="lrfb"
    )
    return _frozen(mesh)


@functools.cache
def motorcycle(kind: int) -> Rows:
    """A scooter (0) or a motorcycle (1); slot 0 is its paint."""
    mesh = Mesh()
    paint = look(
        Material.METAL, MOTORCYCLE, (0, 0, 0), parameters=(0.1,), moving=True, slots=(0.0, 0.0)
    )
    dark = _part(MOTORCYCLE, _RUBBER)
    metal = _part(MOTORCYCLE, _GREY, Material.METAL)
    radius = 0.25 if kind == 0 else 0.31
    for z in (-0.62, 0.64):
        mesh.plate(
            (0.0, radius, z),
            (0.0, 0.0, radius),
            (0.0, radius, 0.0),
            _part(MOTORCYCLE, _RUBBER, shape=Shape.RING, parameters=(0.5,)),
        )
        mesh.capsule((0.0, 0.07, z), (0.0, 2 * radius - 0.05, z), 0.06, 0.06, dark)
    if kind == 0:
        mesh.capsule((0.0, 0.55, -0.66), (0.0, 0.62, -0.15), 0.17, 0.17, paint)
        mesh.capsule((0.0, 0.30, -0.35), (0.0, 0.28, 0.36), 0.13, 0.12, paint)
        mesh.capsule((0.0, 0.36, 0.50), (0.0, 0.92, 0.40), 0.19, 0.15, paint)
        mesh.capsule((0.0, 0.77, -0.6), (0.0, 0.77, 0.0), 0.10, 0.11, dark)
    else:
        mesh.capsule((0.0, 0.78, -0.05), (0.0, 0.86, 0.32), 0.14, 0.15, paint)
        mesh.capsule((0.0, 0.42, -0.05), (0.0, 0.5, 0.3), 0.17, 0.15, metal)
        mesh.capsule((0.0, 0.8, -0.6), (0.0, 0.76, -0.05), 0.09, 0.12, dark)
        mesh.capsule((0.0, 0.3, 0.64), (0.0, 0.95, 0.42), 0.05, 0.06, metal)
        mesh.capsule((0.13, 0.35, -0.7), (0.13, 0.35, 0.1), 0.05, 0.04, metal)
    mesh.capsule((-0.33, 0.99, 0.36), (0.33, 0.99, 0.36), 0.03, 0.03, dark)
    mesh.sphere(
        (0.0, 0.9, 0.5),
        0.09,
        0.09,
        _part(MOTORCYCLE, (230, 230, 225), Material.LAMP, parameters=(0.4,)),
    )
    mesh.sphere(
        (0.0, 0.66, -0.82),
        0.07,
        0.05,
        _part(MOTORCYCLE, (160, 16, 16), Material.LAMP, parameters=(0.4,)),
    )
    for x in (-0.36, 0.36):
        mesh.sphere((x, 1.14, 0.34), 0.06, 0.05, dark)
    mesh.quad(
        (-0.1, 0.42, -0.84),
        (0.1, 0.42, -0.84),
        (0.1, 0.56, -0.84),
        (-0.1, 0.56, -0.84),
        _part(MOTORCYCLE, (210, 210, 205)),
    )
    return _frozen(mesh)


@functools.cache
def bicycle() -> Rows:
    """A bicycle; slot 0 is its frame."""
    mesh = Mesh()
    frame = look(
        Material.METAL, BICYCLE, (0, 0, 0), parameters=(0.1,), moving=True, slots=(0.0, 0.0)
    )
    dark = _part(BICYCLE, _RUBBER)
    for z in (-0.52, 0.52):
        mesh.plate(
            (0.0, 0.34, z),
            (0.0, 0.0, 0.35),
            (0.0, 0.35, 0.0),
            _part(BICYCLE, _RUBBER, shape=Shape.RING, parameters=(0.86,)),
        )
        mesh.capsule((0.0, 0.03, z), (0.0, 0.66, z), 0.03, 0.03, dark)
    bottom, seat, head = (0.0, 0.30, -0.05), (0.0, 0.82, -0.2), (0.0, 0.82, 0.36)
    for a, b in (
        (bottom, seat),
        (bottom, head),
        ((0.0, 0.76, -0.18), head),
        (bottom, (0.0, 0.34, -0.52)),
        ((0.0, 0.74, -0.18), (0.0, 0.34, -0.52)),
        (head, (0.0, 0.34, 0.52)),
        (head, (0.0, 1.02, 0.32)),
    ):
        mesh.capsule(a, b, 0.028, 0.028, frame)
    mesh.capsule((-0.28, 1.02, 0.3), (0.28, 1.02, 0.3), 0.025, 0.025, dark)
    mesh.capsule((0.0, 0.9, -0.32), (0.0, 0.9, -0.1), 0.08, 0.05, dark)
    return _frozen(mesh)
