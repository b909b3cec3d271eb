"""What stands along a street: lamps, poles and wires, signs, lights, bollards, rails."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Final

from crosscity.labels import TRAIN_ID
from simcity.draws import Draws
from simcity.mesh import Look, Material, Mesh, Point, Shape, look
from simcity.street import END, LEFT, RIGHT, Site
from simcity.style import RGB, SIGN_DESIGNS

POLE, FENCE = TRAIN_ID["pole"], TRAIN_ID["fence"]
LIGHT, SIGN = TRAIN_ID["traffic light"], TRAIN_ID["traffic sign"]

_SIGN_RANGE: Final = 100.0

_RED, _BLUE, _WHITE, _BLACK, _YELLOW = (
    (190, 24, 32),
    (24, 74, 168),
    (232, 232, 230),
    (24, 24, 26),
    (240, 190, 30),
)
# Of each design: shape, number of its picture, its three colours.
_FACES: Final[dict[str, tuple[int, int, RGB, RGB, RGB]]] = {
    "limit": (Shape.ELLIPSE, 0, _RED, _WHITE, _BLACK),
    "no_entry": (Shape.ELLIPSE, 1, _RED, _WHITE, _WHITE),
    "mandatory": (Shape.ELLIPSE, 2, _BLUE, _WHITE, _WHITE),
    "warning_triangle": (Shape.TRIANGLE, 3, _RED, _WHITE, _BLACK),
    "stop": (Shape.OCTAGON, 4, _RED, _WHITE, _WHITE),
    "parking": (Shape.FULL, 5, _BLUE, _WHITE, _WHITE),
    "priority": (Shape.DIAMOND, 6, _YELLOW, _WHITE, _YELLOW),
    "warning_diamond": (Shape.DIAMOND, 6, _YELLOW, _BLACK, _BLACK),
}
assert set(_FACES) == set(SIGN_DESIGNS)  # noqa: S101


@dataclass
class Wires:
    """Overhead wires: straight pieces as (x, y, z, x, y, z, radius)."""

    pieces: list[tuple[float, ...]] = field(default_factory=list)

    def span(self, a: Point, b: Point, sag: float, radius: float) -> None:
        """A wire that hangs from a to b."""
        last = a
        for step in range(1, 9):
            t = step / 8
            drop = 4 * sag * t * (1 - t)
            here: Point = (
                a[0] + (b[0] - a[0]) * t,
                a[1] + (b[1] - a[1]) * t - drop,
                a[2] + (b[2] - a[2]) * t,
            )
            self.pieces.append((*last, *here, radius))
            last = here


def _metal(colour: RGB) -> Look:
    return look(Material.METAL, POLE, colour, parameters=(0.12,))


def furnish(site: Site, wires: Wires, key: Draws) -> None:
    """Everything of this module, on both sides of a street and at its crossings."""
    style, street = site.style, site.street
    for side, sign in ((LEFT, -1.0), (RIGHT, 1.0)):
        draws = key.child(side)
        _lamps(site, draws.child(1), side, sign)
        if draws.chance(style.utility_pole_chance):
            _utility_poles(site, wires, draws.child(2), side, sign)
        if draws.chance(style.bollard_chance):
            _bollards(site, draws.child(3), side, sign)
        if draws.chance(style.guard_rail_chance):
            _guard_rail(site, draws.child(4), side, sign)
        _signs(site, draws.child(5), side, sign)
    for index, crossing in enumerate(street.crossings):
        _crossing(site, key.child(7, index), crossing)


def _lamps(site: Site, draws: Draws, side: int, sign: float) -> None:
    mesh, style, street, sight = site
    colour = draws.pick(style.pole_colours)
    spacing = draws.between(style.lamp_spacing)
    high = draws.between((5.5, 9.0))
    arm = draws.between((0.6, 2.2))
    at = -END + draws.between((0.0, spacing))
    while at < END:
        foot = street.point(sign * (street.edge(side) + 0.55), at, street.kerb)
        at += spacing
        if street.crossing_at(at - spacing, 0.5) or not sight.sees(foot, 3.0):
            continue
        x, y, z = foot
        mesh.capsule((x, y - 0.3, z), (x, y + 1.2, z), 0.11, 0.10, _metal(colour))
        mesh.capsule((x, y + 1.0, z), (x, y + high, z), 0.08, 0.05, _metal(colour))
        end = (x - sign * arm, y + high + 0.35, z)
        mesh.capsule((x, y + high, z), end, 0.05, 0.04, _metal(colour))
        mesh.capsule(
            end, (end[0] - sign * 0.5, end[1] + 0.02, z), 0.11, 0.09, _metal((170, 172, 170))
        )


def _utility_poles(site: Site, wires: Wires, draws: Draws, side: int, sign: float) -> None:
    mesh, style, street, sight = site
    colour = draws.pick(style.pole_colours)
    spacing = draws.between((20.0, 30.0))
    count = draws.whole(style.wires)
    lines = [
        (draws.between((-0.7, 0.7)), draws.between((6.2, 9.4)), draws.between((0.2, 0.7)))
        for _ in range(count)
    ]
    service = [draws.unit() for _ in range(40)]
    at = -END + draws.between((0.0, spacing))
    last: Point | None = None
    index = 0
    while at < END:
        foot = street.point(sign * (street.edge(side) + 0.4), at, street.kerb)
        index += 1
        x, y, z = foot
        if sight.sees(foot, 4.0):
            mesh.capsule(
                (x, y - 0.3, z),
                (x, y + 9.6, z),
                0.17,
                0.11,
                look(Material.MATT, POLE, colour, parameters=(0.25,)),
            )
            for lift in (8.2, 9.1):
                mesh.capsule(
                    (x - 0.8, y + lift, z), (x + 0.8, y + lift, z), 0.05, 0.05, _metal((90, 90, 88))
                )
            if index % 3 == 0:
                mesh.capsule(
                    (x + 0.35, y + 6.6, z),
                    (x + 0.35, y + 7.4, z),
                    0.27,
                    0.27,
                    _metal((150, 152, 150)),
                )
        if last is not None and sight.sees(foot, 40.0):
            for across, lift, sag in lines:
                wires.span(
                    (last[0] + across, last[1] + lift, last[2]),
                    (x + across, y + lift, z),
                    sag,
                    0.03,
                )
            if count and service[index % 40] < 0.55:
                end = street.point(sign * street.front(side), at + 6.0, 6.0)
                other = street.point(-sign * street.front(1 - side), at + 3.0, 7.0)
                wires.span((x, y + 8.0, z), end if service[index % 40] < 0.3 else other, 0.4, 0.025)
        last = foot
        at += spacing


def _bollards(site: Site, draws: Draws, side: int, sign: float) -> None:
    mesh, style, street, sight = site
    colour = draws.pick(style.pole_colours)
    at, end = -45.0 + draws.unit(), 45.0
    while at < end:
        foot = street.point(sign * (street.edge(side) + 0.35), at, street.kerb)
        if not street.crossing_at(at) and sight.sees(foot, 0.0):
            mesh.capsule(foot, (foot[0], foot[1] + 0.9, foot[2]), 0.07, 0.07, _metal(colour))
        at += 1.9


def _guard_rail(site: Site, draws: Draws, side: int, sign: float) -> None:
    style, street = site.style, site.street
    colour = draws.pick(((226, 226, 224), (150, 152, 152), draws.pick(style.fence_colours)))
    bars = look(
        Material.METAL, FENCE, colour, shape=Shape.BARS, parameters=(0.16, 0.35, 0.09, 0.95)
    )
    lateral = sign * (street.edge(side) + 0.3)
    at = -70.0
    while at < 70.0:
        length = draws.between((6.0, 14.0))
        if not street.crossing_at(at, 2.0) and not street.crossing_at(at + length, 2.0):
            fence_line(site, lateral, at, at + length, 0.95, bars, street.kerb)
        at += length + draws.between((1.0, 5.0))


def fence_line(
    site: Site,
    lateral: float,
    low: float,
    high: float,
    height: float,
    how: Look,
    lift: float,
) -> None:
    """An upright strip along the street, in pieces that follow its course."""
    mesh, _, street, sight = site
    pieces = max(1, math.ceil((high - low) / 8.0))
    for index in range(pieces):
        s0 = low + (high - low) * index / pieces
        s1 = low + (high - low) * (index + 1) / pieces
        a, b = street.point(lateral, s0, lift), street.point(lateral, s1, lift)
        if sight.sees(a, s1 - s0):
            mesh.quad(a, b, (b[0], b[1] + height, b[2]), (a[0], a[1] + height, a[2]), how)


def _signs(site: Site, draws: Draws, side: int, sign: float) -> None:
    mesh, style, street, sight = site
    for at in draws.spots(-_SIGN_RANGE, _SIGN_RANGE, style.sign_density / 100.0):
        lateral = sign * (street.edge(side) + draws.between((0.35, 0.8)))
        design, second = draws.pick(style.sign_designs), draws.pick(style.sign_designs)
        size = draws.between((0.34, 0.46))
        high = draws.between((2.2, 2.9))
        double, backwards = draws.chance(0.3), draws.chance(0.25)
        foot = street.point(lateral, at, street.kerb)
        if street.crossing_at(at) or not sight.sees(foot, 2.0):
            continue
        # Traffic that drives with the camera reads the signs of its own side.
        ahead = (sign > 0) == (style.drives_on == "right")
        faces = ahead != backwards
        top = high + 2 * size + (1.7 * size if double else 0.0)
        x, y, z = foot
        mesh.capsule(foot, (x, y + top, z), 0.04, 0.04, _metal((130, 132, 132)))
        _face(mesh, design, (x, y + high + size, z - 0.05 if faces else z + 0.05), size, faces)
        if double:
            _face(
                mesh,
                second,
                (x, y + high + 2.8 * size, z - 0.05 if faces else z + 0.05),
                0.8 * size,
                faces,
            )


def _face(mesh: Mesh, design: str, centre: Point, size: float, towards_camera: bool) -> None:
    shape, picture, a, b, c = _FACES[design]
    how = look(
        Material.SIGN,
        SIGN,
        a,
        b,
        c,
        shape=shape,
        parameters=(picture, 0.0 if towards_camera else 1.0),
        bias=0.001,
    )
    mesh.plate(centre, (size, 0.0, 0.0), (0.0, size, 0.0), how)


def _crossing(site: Site, draws: Draws, crossing: tuple[float, float]) -> None:
    mesh, style, street, sight = site
    lights = draws.chance(style.traffic_light_chance)
    board = draws.chance(style.direction_board_chance)
    state = draws.whole((0, 2))
    colour = draws.pick(style.pole_colours)
    board_colour = draws.pick(style.board_colours)
    own = 1.0 if style.drives_on == "right" else -1.0
    if not sight.sees(street.point(0.0, sum(crossing) / 2), 14.0):
        return
    low, high = crossing
    for end, faces in ((low - 0.8, True), (high + 0.8, False)):
        for side, sign in ((LEFT, -1.0), (RIGHT, 1.0)):
            foot = street.point(sign * (street.edge(side) + 0.5), end, street.kerb)
            near_side = (sign == own) == faces
            if lights:
                x, y, z = foot
                reach = near_side and street.half_lanes > 3.0
                mesh.capsule(
                    (x, y - 0.2, z), (x, y + (5.6 if reach else 3.4), z), 0.09, 0.07, _metal(colour)
                )
                _head(mesh, (x - sign * 0.05, y + 2.7, z), state, faces, False)
                if reach:
                    arm = min(4.5, street.half_lanes * 0.8)
                    mesh.capsule(
                        (x, y + 5.5, z), (x - sign * arm, y + 5.7, z), 0.06, 0.05, _metal(colour)
                    )
                    _head(
                        mesh, (x - sign * arm, y + 5.55, z), state, faces, style.horizontal_lights
                    )
            if board and near_side and faces:
                _board(
                    mesh,
                    street.point(sign * (street.edge(side) + 0.6), end - 7.0, street.kerb),
                    -sign,
                    board_colour,
                    colour,
                )


def _head(mesh: Mesh, at: Point, state: int, faces: bool, flat: bool) -> None:
    """A traffic light: a housing, a plate behind it and three lamps."""
    x, y, z = at
    half = (0.58, 0.22) if flat else (0.22, 0.58)
    shell = look(Material.MATT, LIGHT, (26, 28, 28), parameters=(0.1,))
    mesh.box((x - half[0], y - half[1], z - 0.13), (x + half[0], y + half[1], z + 0.13), shell)
    front = z - 0.15 if faces else z + 0.15
    for index in range(3):
        offset = 0.36 * (1 - index)
        centre = (x - offset, y, front) if flat else (x, y + offset, front)
        lit = index == state
        colour = ((255, 30, 20), (255, 170, 20), (30, 255, 150))[index]
        dim = tuple(c // 7 + 12 for c in colour)
        how = look(
            Material.LAMP,
            LIGHT,
            colour if lit else (dim[0], dim[1], dim[2]),
            shape=Shape.ELLIPSE,
            parameters=(1.6 if lit else 0.0,),
            bias=0.001,
        )
        mesh.plate(centre, (0.15, 0.0, 0.0), (0.0, 0.15, 0.0), how)


def _board(mesh: Mesh, foot: Point, inwards: float, colour: RGB, pole: RGB) -> None:
    x, y, z = foot
    mesh.capsule((x, y - 0.2, z), (x, y + 6.0, z), 0.12, 0.1, _metal(pole))
    mesh.capsule((x, y + 5.8, z), (x + inwards * 3.4, y + 5.8, z), 0.07, 0.06, _metal(pole))
    ink = (240, 240, 238) if sum(colour) < 420 else (30, 30, 32)
    how = look(Material.SIGN, SIGN, colour, ink, parameters=(7, 0.0), bias=0.001)
    mesh.plate((x + inwards * 2.2, y + 5.2, z - 0.12), (1.35, 0.0, 0.0), (0.0, 0.8, 0.0), how)
