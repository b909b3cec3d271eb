"""The static world of a place: lots with buildings, yards and parks, trees, furniture, hills."""

from __future__ import annotations

import math
from typing import Final, NamedTuple

from crosscity.labels import TRAIN_ID
from simcity.buildings import Plot, build_block, build_house
from simcity.draws import Draws, key_of
from simcity.furniture import FENCE, Wires, fence_line, furnish
from simcity.mesh import Look, Material, Mesh, Rows, Shape, look
from simcity.street import CROSS_WALK, END, LEFT, RIGHT, Sight, Site, Street, build_ground
from simcity.style import CityStyle
from simcity.vegetation import VEGETATION, plant_bush, plant_tree

WALL: Final = TRAIN_ID["wall"]

_WORLD_KEY: Final = 0xC17
_LOTS, _TREES, _SKYLINE, _FURNITURE, _GROUND, _HILLS, _SIDE_ROWS = range(7)


class Lot(NamedTuple):
    """A stretch along one side of the street.

    Attributes:
        side: `LEFT` or `RIGHT`.
        sign: -1 on the left, 1 on the right.
        low: Where it begins along the street, metres.
        high: Where it ends.
    """

    side: int
    sign: float
    low: float
    high: float


def build_static(
    style: CityStyle, street: Street, sight: Sight, seed: int, place: int
) -> tuple[Rows, Wires]:
    """Polygons and wires of everything that is the same at every time."""
    key = Draws(_WORLD_KEY, key_of(style.name), seed, place)
    site, wires = Site(Mesh(), style, street, sight), Wires()
    build_ground(site, key.child(_GROUND))
    for side, sign in ((LEFT, -1.0), (RIGHT, 1.0)):
        _line_with_lots(site, key.child(_LOTS, side), side, sign)
        _line_with_trees(site, key.child(_TREES, side), side, sign)
        _skyline(site, key.child(_SKYLINE, side), side, sign)
        _cross_street_rows(site, key.child(_SIDE_ROWS, side), side, sign)
    if street.median:
        _plant_median(site, key.child(_TREES, 2))
    furnish(site, wires, key.child(_FURNITURE))
    _ends(site, key.child(_SKYLINE, 2))
    _hills(site.mesh, style, key.child(_HILLS))
    return site.mesh.rows(), wires


def _line_with_lots(site: Site, draws: Draws, side: int, sign: float) -> None:
    """Lots from the camera's place outwards, so that nearby ones fall on round numbers."""
    _, style, street, sight = site
    for direction in (1.0, -1.0):
        at = 0.0 if direction > 0 else -draws.between((0.5, 4.0))
        index = 0
        while abs(at) < END - 4.0:
            own = draws.child(int(direction > 0), index)
            index += 1
            width = own.between(style.lot_width)
            room = _room(street, at, direction)
            if room < 4.0:
                at += direction * (room + _crossing_width(street, at, direction, room) + 0.01)
                continue
            if room < 1.6 * width:
                width = min(room, 1.6 * width)
            low, high = sorted((at, at + direction * width))
            at += direction * width
            # Draws come before the test of sight: a lot is the same from wherever it is seen.
            use = own.unit()
            middle = street.point(sign * (street.front(side) + 6.0), (low + high) / 2)
            if not sight.sees(middle, 14.0 + width):
                continue
            lot = Lot(side, sign, low, high)
            if use < style.gap_chance:
                _yard(site, own, lot)
            elif use < style.gap_chance + style.park_chance:
                _park(site, own, lot)
            else:
                _house(site, own, lot)


def _room(street: Street, at: float, direction: float) -> float:
    """Metres to the next crossing or to the street's end."""
    room = END - direction * at
    for low, high in street.crossings:
        near = low if direction > 0 else high
        if direction * (near - at) >= -1e-6:
            room = min(room, direction * (near - at))
        elif low - 1e-6 <= at <= high + 1e-6:
            room = 0.0
    return max(0.0, room)


def _crossing_width(street: Street, at: float, direction: float, room: float) -> float:
    there = at + direction * (room + 0.02)
    for low, high in street.crossings:
        if low - 0.05 <= there <= high + 0.05:
            return direction * ((high if direction > 0 else low) - at) - room
    return 0.5


def _house(site: Site, draws: Draws, lot: Lot) -> None:
    mesh, style, street, sight = site
    side, sign, low, high = lot
    setback = draws.between(style.setback)
    depth = draws.between((10.0, 16.0))
    tower = draws.chance(style.tower_chance)
    lateral = sign * (street.front(side) + setback)
    foot = min(street.ground(low), street.ground(high)) + street.kerb
    a, b = street.point(lateral, low), street.point(lateral, high)
    yaw = street.yaw((low + high) / 2)
    plot = Plot(
        (a[0], foot, a[2]),
        (b[0], foot, b[2]),
        (sign * math.cos(yaw), -sign * math.sin(yaw)),
        depth,
    )
    distance = math.hypot(a[0] - sight.x, (a[2] + b[2]) / 2 - sight.z)
    build_house(mesh, style, plot, draws.child(1), distance=distance, tower=tower)
    if setback > 1.5:
        _border(site, draws.child(2), lot, setback)


def _border(site: Site, draws: Draws, lot: Lot, deep: float) -> None:
    """Wall, fence or nothing between a lot and the sidewalk, and plants behind it."""
    mesh, style, street, _ = site
    side, sign, low, high = lot
    lateral = sign * (street.front(side) + 0.1)
    walled = draws.chance(style.wall_chance)
    height = draws.between((0.9, 2.4))
    if walled:
        how = _wall_look(style, draws, height)
        fence_line(site, lateral, low + 0.3, high - 0.3, height, how, 0.0)
    elif draws.chance(style.fence_chance):
        height = min(height, 1.7)
        how = _fence_look(style, draws, height)
        fence_line(site, lateral, low + 0.3, high - 0.3, height, how, street.kerb)
    for index in range(draws.around(style.bush_density * (high - low) / 10.0 * 1.5)):
        bush = draws.child(index)
        beside = sign * (street.front(side) + bush.between((0.5, max(0.6, min(deep - 0.6, 6.0)))))
        plant_bush(
            mesh,
            style,
            street.point(beside, bush.between((low + 0.5, high - 0.5)), street.kerb),
            bush.between((0.9, 2.0)),
            bush,
        )


def _wall_look(style: CityStyle, draws: Draws, height: float) -> Look:
    return look(
        Material.WALL,
        WALL,
        draws.pick(style.wall_colours),
        parameters=(draws.pick((0, 0, 1, 2, 4)), height),
        seed=draws.whole((1, 999)),
    )


def _fence_look(style: CityStyle, draws: Draws, height: float) -> Look:
    colour = draws.pick(style.fence_colours)
    if draws.chance(0.35):
        return look(
            Material.METAL, FENCE, colour, shape=Shape.GRID, parameters=(0.16, 0.22, 0.0, height)
        )
    width = draws.pick((0.3, 0.45, 0.85))
    return look(
        Material.METAL, FENCE, colour, shape=Shape.BARS, parameters=(0.15, width, 0.08, height)
    )


def _yard(site: Site, draws: Draws, lot: Lot) -> None:
    mesh, style, street, _ = site
    side, sign, low, high = lot
    _border(site, draws.child(2), lot, 8.0)
    for index in range(draws.around(1.6)):
        tree = draws.child(3, index)
        lateral = sign * (street.front(side) + tree.between((3.0, 14.0)))
        spot = street.point(lateral, tree.between((low + 1, high - 1)))
        plant_tree(mesh, style, spot, tree.weighted(style.tree_weights), tree)
    # A wall of the neighbour behind closes the view.
    how = _wall_look(style, draws.child(4), 2.6)
    fence_line(site, sign * (street.front(side) + 17.0), low, high, 2.6, how, 0.0)


def _park(site: Site, draws: Draws, lot: Lot) -> None:
    mesh, style, street, _ = site
    side, sign, low, high = lot
    _border(site, draws.child(2), lot, 14.0)
    grass = look(
        Material.GROUND,
        TRAIN_ID["terrain"],
        draws.pick(style.grass_colours),
        draws.pick(style.grass_colours),
        parameters=(0.2,),
        seed=draws.whole((1, 99)),
    )
    near, far = sign * (street.front(side) + 0.15), sign * (street.front(side) + 24.0)
    lift = street.kerb + 0.05
    mesh.quad(
        street.point(near, low, lift),
        street.point(far, low, lift),
        street.point(far, high, lift),
        street.point(near, high, lift),
        grass,
    )
    for index in range(2 + draws.around((high - low) / 4.0)):
        tree = draws.child(3, index)
        lateral = sign * (street.front(side) + tree.between((2.0, 22.0)))
        spot = street.point(lateral, tree.between((low + 1, high - 1)))
        plant_tree(mesh, style, spot, tree.weighted(style.tree_weights), tree)


def _line_with_trees(site: Site, draws: Draws, side: int, sign: float) -> None:
    mesh, style, street, sight = site
    if not draws.chance(style.tree_chance):
        return
    spacing = draws.between(style.tree_spacing)
    kind = draws.weighted(style.tree_weights)
    lateral = sign * (street.edge(side) + max(0.7, street.verge[side] / 2 + 0.2))
    at, index = -END + draws.between((0.0, spacing)), 0
    while at < END:
        tree = draws.child(index)
        index += 1
        here = at + tree.between((-1.0, 1.0))
        at += spacing
        spot = street.point(lateral, here, street.kerb)
        missing = tree.chance(0.15)
        if missing or street.crossing_at(here, 3.0) or not sight.sees(spot, 8.0):
            continue
        plant_tree(mesh, style, spot, kind, tree)


def _plant_median(site: Site, draws: Draws) -> None:
    mesh, style, street, sight = site
    spacing = draws.between(style.tree_spacing)
    kind = draws.weighted(style.tree_weights)
    trees, bushes = draws.chance(0.75), draws.chance(0.6)
    at, index = -END, 0
    while at < END:
        plant = draws.child(index)
        index += 1
        spot = street.point(0.0, at, street.kerb)
        at += spacing / 3
        if street.crossing_at(at - spacing / 3, 2.5) or not sight.sees(spot, 6.0):
            continue
        if trees and index % 3 == 0:
            plant_tree(mesh, style, spot, kind, plant)
        elif bushes:
            plant_bush(mesh, style, spot, plant.between((0.8, 1.4)), plant)


def _skyline(site: Site, draws: Draws, side: int, sign: float) -> None:
    """Buildings behind the first row, which show over it and through its gaps."""
    mesh, style, street, sight = site
    for index, at in enumerate(range(-160, 161, 32)):
        block = draws.child(index)
        lateral = sign * (street.front(side) + block.between((24.0, 44.0)))
        width = block.between((12.0, 22.0))
        tower = block.chance(0.25 + style.tower_chance)
        present = block.chance(0.75)
        spot = street.point(lateral, at)
        if not present or street.crossing_at(at, 4.0) or not sight.sees(spot, 20.0):
            continue
        low, high = at - width / 2, at + width / 2
        if street.crossing_at(low, 1.0) or street.crossing_at(high, 1.0):
            continue
        a, b = street.point(lateral, low), street.point(lateral, high)
        plot = Plot((a[0], spot[1], a[2]), (b[0], spot[1], b[2]), (sign, 0.0), 14.0)
        build_block(mesh, style, plot, block.child(1), tower=tower)


def _cross_street_rows(site: Site, draws: Draws, side: int, sign: float) -> None:
    """Houses along the cross streets, behind the corner lots, and one that closes the view."""
    mesh, style, street, sight = site
    for number, (low, high) in enumerate(street.crossings):
        middle = (low + high) / 2
        if not sight.sees(street.point(sign * street.front(side), middle), 40.0):
            continue
        ground = street.ground(middle)
        for flank, (edge, outwards) in enumerate(((low, -1.0), (high, 1.0))):
            lateral = street.front(side) + 16.0
            # Far down the street, only the mouth of a cross street is seen.
            for index in range(4 if abs(middle) < 75.0 else 1):
                lot = draws.child(number, flank, index)
                width = lot.between((10.0, 18.0))
                tower = lot.chance(style.tower_chance)
                a = street.point(sign * lateral, edge)
                b = street.point(sign * (lateral + width), edge)
                lateral += width
                plot = Plot((a[0], ground, a[2]), (b[0], ground, b[2]), (0.0, outwards), 12.0)
                if sight.sees(a, width + 8.0):
                    distance = math.hypot(a[0] - sight.x, a[2] - sight.z)
                    build_house(mesh, style, plot, lot, distance=distance + 30.0, tower=tower)
        end = draws.child(number, 9)
        far = sign * (street.front(side) + 100.0)
        a, b = street.point(far, low - 6.0), street.point(far, high + 6.0)
        plot = Plot((a[0], ground, a[2]), (b[0], ground, b[2]), (sign, 0.0), 12.0)
        build_block(mesh, style, plot, end, tower=end.chance(0.2))
        tree = draws.child(number, 10)
        if tree.chance(style.tree_chance):
            spot = street.point(sign * (street.front(side) + 9.0), low + 0.6 * CROSS_WALK)
            plant_tree(mesh, style, spot, tree.weighted(style.tree_weights), tree)


def _ends(site: Site, draws: Draws) -> None:
    """What the street runs up to in the distance."""
    mesh, style, street, sight = site
    for index, (at, outwards) in enumerate(((END, 1.0), (-END, -1.0))):
        end = draws.child(index)
        closed = end.chance(0.6)
        if not sight.sees(street.point(0.0, at), 60.0):
            continue
        x, y, z = street.point(0.0, at)
        cursor = x - 62.0
        for block in range(7):
            lot = end.child(block)
            width = lot.between((12.0, 22.0))
            gap = not closed and abs(cursor + width / 2 - x) < 14.0
            low, cursor = cursor, cursor + width
            if gap:
                plant_tree(mesh, style, (low + width / 2, y, z + 4.0 * outwards), 0, lot.child(2))
                continue
            plot = Plot((low, y, z), (low + width, y, z), (0.0, outwards), 12.0)
            build_block(mesh, style, plot, lot.child(1), tower=lot.chance(style.tower_chance))


def _hills(mesh: Mesh, style: CityStyle, draws: Draws) -> None:
    """Wooded ridges all around, far away."""
    for ring, distance in enumerate((900.0, 600.0, 380.0)):
        for sector in range(6):
            ridge = draws.child(ring, sector)
            height = ridge.between(style.hill_height) * (1.0 - 0.25 * ring)
            if height < 8.0:
                continue
            angle = (sector + 0.5 * (ring % 2)) * math.pi / 3
            cos, sin = math.cos(angle), math.sin(angle)
            centre = (distance * sin, -2.0, distance * cos)
            half = 0.62 * distance
            g = ridge.pick(style.foliage_colours)
            how = look(
                Material.GROUND,
                VEGETATION,
                g,
                (int(g[0] * 0.6), int(g[1] * 0.65), int(g[2] * 0.6)),
                shape=Shape.RIDGE,
                parameters=(0.4,),
                seed=ridge.whole((1, 99)),
            )
            a = (centre[0] - half * cos, centre[1], centre[2] + half * sin)
            b = (centre[0] + half * cos, centre[1], centre[2] - half * sin)
            row = list(how)
            row[23], row[24] = 110.0, height  # units of the ridge's outline: metres, metres
            mesh.quad(a, b, (b[0], height, b[2]), (a[0], height, a[2]), tuple(row))
