"""Buildings: a box with facades, a roof, and what sticks out of it (balconies, signs, awnings)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from crosscity.labels import TRAIN_ID
from simcity.draws import Draws
from simcity.mesh import Look, Material, Mesh, Point, Shape, look
from simcity.style import RGB, CityStyle

BUILDING: Final = TRAIN_ID["building"]

_SHUTTERS, _SHOPS, _BLIND, _UNITS = 1, 2, 4, 8
_CORNICE_DEPTH: Final = 0.35
_DETAIL_DISTANCE: Final = 75.0


@dataclass(frozen=True)
class Plot:
    """The ground of a building: its front from `a` to `b`, and the way to its back.

    Attributes:
        a: One front corner, at the foot of the wall.
        b: The other front corner, at the same height.
        back: Unit vector (x, z) away from the street.
        depth: Metres.
    """

    a: Point
    b: Point
    back: tuple[float, float]
    depth: float

    @property
    def width(self) -> float:
        """Length of the front."""
        return math.hypot(self.b[0] - self.a[0], self.b[2] - self.a[2])

    def at(self, along: float, inwards: float, lift: float) -> Point:
        """A point by its share along the front (0 to 1), metres inwards and up."""
        return (
            self.a[0] + (self.b[0] - self.a[0]) * along + self.back[0] * inwards,
            self.a[1] + lift,
            self.a[2] + (self.b[2] - self.a[2]) * along + self.back[1] * inwards,
        )


@dataclass(frozen=True)
class _Design:
    wall: RGB
    trim: RGB
    accent: RGB
    kind: int
    storeys: int
    storey: float
    ground: float
    bay: float
    shares: tuple[float, float]
    flags: int
    grime: float
    seed: int

    @property
    def height(self) -> float:
        return self.ground + (self.storeys - 1) * self.storey + 0.9

    def facade(self, flags: int) -> Look:
        # The height (in decimetres) and the grime (below 1) share a parameter.
        packed = round(self.height * 10) + min(0.99, self.grime)
        return look(
            Material.FACADE,
            BUILDING,
            self.wall,
            self.trim,
            self.accent,
            parameters=(
                self.storey,
                self.bay,
                *self.shares,
                self.kind,
                self.ground,
                flags,
                packed,
            ),
            seed=self.seed,
        )


def _design(style: CityStyle, draws: Draws, width: float, tower: bool) -> _Design:
    kind = draws.weighted(style.facade_weights)
    storeys = draws.whole(style.tower_storeys if tower else style.storeys)
    storey = draws.between(style.storey_height)
    shops = draws.chance(style.shop_chance)
    shutters = draws.chance(style.window_shutter_chance) and kind != 3
    units = draws.chance(min(1.0, 2.5 * style.air_conditioner_density))
    bays = max(1, round(width / draws.between(style.window_spacing)))
    r, g, b = draws.pick(style.facade_colours)
    if kind == 1 and draws.chance(0.6):  # bare brick is red more often than a city's paint
        r, g, b = draws.pick(((140, 84, 66), (156, 98, 76), (124, 78, 64)))
    elif kind == 3:
        r, g, b = draws.pick(((90, 110, 124), (70, 88, 100), (110, 116, 116)))
    tone = draws.between((0.86, 1.1))
    accents = style.shop_sign_colours if shops else style.window_shutter_colours
    return _Design(
        wall=(min(255, int(r * tone)), min(255, int(g * tone)), min(255, int(b * tone))),
        trim=draws.pick(style.trim_colours),
        accent=draws.pick(style.window_shutter_colours) if shutters else draws.pick(accents),
        kind=kind,
        storeys=storeys,
        storey=storey,
        ground=storey + (draws.between((0.5, 1.2)) if shops else draws.between((0.0, 0.4))),
        bay=width / bays,
        shares=(draws.between(style.window_width), draws.between(style.window_height)),
        flags=_SHUTTERS * shutters + _SHOPS * shops + _UNITS * units,
        grime=style.grime * draws.between((0.4, 1.3)),
        seed=draws.whole((1, 30000)),
    )


def build_house(
    mesh: Mesh, style: CityStyle, plot: Plot, draws: Draws, *, distance: float, tower: bool
) -> None:
    """A building on a plot; what is beyond `_DETAIL_DISTANCE` has no balconies and small signs."""
    design = _design(style, draws, plot.width, tower)
    height = design.height
    front = design.facade(design.flags)
    a, b = plot.at(0, 0, 0), plot.at(1, 0, 0)
    mesh.quad(a, b, plot.at(1, 0, height), plot.at(0, 0, height), front)
    blind = draws.chance(0.45)
    side = design.facade(_BLIND if blind else design.flags & ~_SHOPS & ~_UNITS)
    for along in (0.0, 1.0):
        mesh.quad(
            plot.at(along, 0, 0),
            plot.at(along, plot.depth, 0),
            plot.at(along, plot.depth, height),
            plot.at(along, 0, height),
            side,
        )
    _roof(mesh, style, plot, design, draws.child(1), pitched=not tower)
    if distance < _DETAIL_DISTANCE:
        details = draws.child(2)
        has_balconies = details.chance(style.balcony_chance) and design.kind != 3
        if has_balconies and design.storeys > 1:
            _balconies(mesh, plot, design, details)
        if design.flags & _SHOPS:
            _shop_front(mesh, style, plot, design, draws.child(3))
        if draws.chance(0.6):
            _downpipe(mesh, plot, design)


def _roof(
    mesh: Mesh, style: CityStyle, plot: Plot, design: _Design, draws: Draws, *, pitched: bool
) -> None:
    top = design.height
    if pitched and draws.chance(style.pitched_roof_chance):
        rise = draws.between((1.8, 3.6))
        tiles = look(Material.ROOF, BUILDING, draws.pick(style.roof_colours), seed=design.seed)
        out = draws.between((0.25, 0.6))
        half = plot.depth / 2
        mesh.quad(
            plot.at(0, -out, top - 0.15),
            plot.at(1, -out, top - 0.15),
            plot.at(1, half, top + rise),
            plot.at(0, half, top + rise),
            tiles,
        )
        for along in (0.0, 1.0):
            centre = plot.at(along, half, top)
            gable = look(
                Material.WALL, BUILDING, design.wall, shape=Shape.GABLE, parameters=(0, 99.0)
            )
            mesh.plate(
                centre, (plot.back[0] * half, 0.0, plot.back[1] * half), (0.0, rise, 0.0), gable
            )
        if draws.chance(0.5):
            _rooftop_box(mesh, plot, draws, top + rise * 0.5, 1.6, 0.8)
        return
    slab = look(Material.MATT, BUILDING, design.trim, parameters=(0.1,))
    out = _CORNICE_DEPTH
    mesh.quad(
        plot.at(0, -out, top - 0.3),
        plot.at(1, -out, top - 0.3),
        plot.at(1, -out, top),
        plot.at(0, -out, top),
        slab,
    )
    mesh.quad(
        plot.at(0, -out, top - 0.3),
        plot.at(1, -out, top - 0.3),
        plot.at(1, 0, top - 0.3),
        plot.at(0, 0, top - 0.3),
        slab,
    )
    for _ in range(draws.pick((0, 1, 1, 2))):
        _rooftop_box(mesh, plot, draws, top, draws.between((1.2, 3.0)), 3.0)


def _rooftop_box(
    mesh: Mesh, plot: Plot, draws: Draws, foot: float, high: float, wide: float
) -> None:
    """A chimney, a tank or a stair head."""
    grey = draws.whole((110, 190))
    how = look(Material.WALL, BUILDING, (grey, grey, int(grey * 0.96)), parameters=(0, 99.0))
    share = min(0.8, wide / plot.width)
    start = draws.between((0.05, 0.95 - share))
    near, far = draws.between((0.8, 2.5)), draws.between((3.0, 5.0))
    a, b = plot.at(start, near, foot), plot.at(start + share, near, foot)
    c, d = plot.at(start + share, far, foot), plot.at(start, far, foot)
    for p, q in ((a, b), (b, c), (a, d)):
        mesh.quad(p, q, (q[0], q[1] + high, q[2]), (p[0], p[1] + high, p[2]), how)


def _balconies(mesh: Mesh, plot: Plot, design: _Design, draws: Draws) -> None:
    out = draws.between((0.7, 1.3))
    solid = draws.chance(0.45)
    wide = draws.chance(0.5)
    first, last = (0.03, 0.97) if wide else (0.3, 0.7)
    slab = look(Material.MATT, BUILDING, design.trim, parameters=(0.12,))
    rail = (
        look(Material.WALL, BUILDING, design.wall, parameters=(design.kind, 99.0))
        if solid
        else look(
            Material.METAL,
            BUILDING,
            (48, 48, 50),
            shape=Shape.BARS,
            parameters=(0.14, 0.3, 0.07, 0.95),
        )
    )
    for storey in range(1, min(design.storeys, 13)):
        y = design.ground + (storey - 1) * design.storey
        mesh.quad(
            plot.at(first, -out, y - 0.16),
            plot.at(last, -out, y - 0.16),
            plot.at(last, -out, y + 0.03),
            plot.at(first, -out, y + 0.03),
            slab,
        )
        mesh.quad(
            plot.at(first, -out, y - 0.16),
            plot.at(last, -out, y - 0.16),
            plot.at(last, 0, y - 0.16),
            plot.at(first, 0, y - 0.16),
            slab,
        )
        mesh.quad(
            plot.at(first, -out, y),
            plot.at(last, -out, y),
            plot.at(last, -out, y + 0.95),
            plot.at(first, -out, y + 0.95),
            rail,
        )
        for end in (first, last):
            mesh.quad(
                plot.at(end, 0, y),
                plot.at(end, -out, y),
                plot.at(end, -out, y + 0.95),
                plot.at(end, 0, y + 0.95),
                rail,
            )


def _downpipe(mesh: Mesh, plot: Plot, design: _Design) -> None:
    mesh.capsule(
        plot.at(0.01, -0.08, 0),
        plot.at(0.01, -0.08, design.height - 0.3),
        0.06,
        0.06,
        look(Material.METAL, BUILDING, design.trim, parameters=(0.1,)),
    )


def _shop_front(mesh: Mesh, style: CityStyle, plot: Plot, design: _Design, draws: Draws) -> None:
    if draws.chance(style.awning_chance):
        out = draws.between((0.8, 1.6))
        first = draws.between((0.02, 0.3))
        last = draws.between((0.6, 0.98))
        cloth = look(
            Material.MATT, BUILDING, draws.pick(style.shop_sign_colours), parameters=(0.15,)
        )
        y = design.ground - 0.95
        mesh.quad(
            plot.at(first, 0, y),
            plot.at(last, 0, y),
            plot.at(last, -out, y - 0.45),
            plot.at(first, -out, y - 0.45),
            cloth,
        )
        mesh.quad(
            plot.at(first, -out, y - 0.7),
            plot.at(last, -out, y - 0.7),
            plot.at(last, -out, y - 0.45),
            plot.at(first, -out, y - 0.45),
            cloth,
        )
    for index in range(draws.around(style.shop_sign_density)):
        _projecting_sign(mesh, style, plot, design, draws.child(index))


def _projecting_sign(
    mesh: Mesh, style: CityStyle, plot: Plot, design: _Design, draws: Draws
) -> None:
    """A sign that sticks out across the sidewalk, or a large one flat on the facade."""
    high = min(draws.between(style.shop_sign_size), max(0.6, design.height - design.ground - 0.6))
    flat = draws.chance(0.3)
    ground, glyph = draws.pick(style.shop_sign_colours), draws.pick(style.shop_sign_colours)
    if ground == glyph:
        glyph = (30, 30, 32) if sum(ground) > 400 else (236, 234, 228)
    along = draws.between((0.06, 0.94))
    room = max(0.1, min(design.height - high - 0.4, design.ground + 7.0) - (design.ground - 0.2))
    foot = design.ground - 0.2 + room * draws.unit() ** 1.6
    wide = draws.between((0.7, 1.3)) if high > 1.0 else draws.between((0.8, 1.6))
    size = max(0.3, 0.75 * min(high, wide))
    how = look(
        Material.SHOP_SIGN,
        BUILDING,
        ground,
        glyph,
        parameters=(size, 0.95),
        seed=draws.whole((1, 9000)),
    )
    box = look(Material.MATT, BUILDING, (70, 70, 72), parameters=(0.1,))
    if flat:
        share = min(0.4, 1.6 * wide / plot.width)
        along = min(along, 1 - share)
        p, q = plot.at(along, -0.18, foot), plot.at(along + share, -0.18, foot)
        lift = plot.at(along, -0.18, foot + high), plot.at(along + share, -0.18, foot + high)
        mesh.quad(p, q, lift[1], lift[0], how)
        return
    near, far = 0.12, 0.12 + wide
    thick = 0.09 / plot.width
    for shift in (-thick, thick):
        mesh.quad(
            plot.at(along + shift, -near, foot),
            plot.at(along + shift, -far, foot),
            plot.at(along + shift, -far, foot + high),
            plot.at(along + shift, -near, foot + high),
            how,
        )
    mesh.quad(
        plot.at(along - thick, -far, foot),
        plot.at(along + thick, -far, foot),
        plot.at(along + thick, -far, foot + high),
        plot.at(along - thick, -far, foot + high),
        box,
    )


def build_block(mesh: Mesh, style: CityStyle, plot: Plot, draws: Draws, *, tower: bool) -> None:
    """A building that is seen over or between others: walls only."""
    design = _design(style, draws, plot.width, tower)
    how = design.facade(design.flags & ~_SHOPS & ~_UNITS)
    height = design.height
    corners = [
        plot.at(0, 0, 0),
        plot.at(1, 0, 0),
        plot.at(1, plot.depth, 0),
        plot.at(0, plot.depth, 0),
    ]
    for p, q in zip(corners, corners[1:] + corners[:1], strict=True):
        mesh.quad(p, q, (q[0], q[1] + height, q[2]), (p[0], p[1] + height, p[2]), how)
