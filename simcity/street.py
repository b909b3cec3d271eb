"""The street of a place: its cross section, course and grade, and everything flat on it."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NamedTuple

from crosscity.labels import TRAIN_ID
from simcity.draws import Draws, key_of
from simcity.mesh import Material, Mesh, Point, look
from simcity.style import RGB, CityStyle

_STREET_KEY: Final = 0x57
_GROUND_KEY: Final = 0x58

END: Final = 190.0
"""Streets reach this far from the camera's place, in both directions, metres."""
_MARKED: Final = 85.0
_FLAT: Final = 18.0
_RAMP: Final = 45.0
CROSS_WALK: Final = 2.2
"""Width of the sidewalks of cross streets, metres."""

ROAD, SIDEWALK, TERRAIN = TRAIN_ID["road"], TRAIN_ID["sidewalk"], TRAIN_ID["terrain"]
LEFT, RIGHT = 0, 1


@dataclass(frozen=True)
class Street:
    """Cross section and course; lateral metres are positive to the right of the axis.

    Attributes:
        lanes: Number of lanes, both directions together.
        lane_width: Metres.
        median: Width of the planted strip in the middle, 0 without one.
        parking: Width of the parking strip on the left and right.
        verge: Width of the grass strip on the left and right.
        sidewalk: Width of the sidewalk on the left and right.
        kerb: Height of the kerb.
        curvature: 1/metres.
        grades: Grade backwards and forwards, as fractions.
        crossings: (start, end) of cross streets along the street, their sidewalks included.
        tram: Whether there are tram tracks.
    """

    lanes: int
    lane_width: float
    median: float
    parking: tuple[float, float]
    verge: tuple[float, float]
    sidewalk: tuple[float, float]
    kerb: float
    curvature: float
    grades: tuple[float, float]
    crossings: tuple[tuple[float, float], ...]
    tram: bool

    @property
    def half_lanes(self) -> float:
        """From the axis to the outer edge of the lanes."""
        return self.lanes * self.lane_width / 2 + self.median / 2

    def edge(self, side: int) -> float:
        """From the axis to the kerb."""
        return self.half_lanes + self.parking[side]

    def front(self, side: int) -> float:
        """From the axis to the far side of the sidewalk, where lots begin."""
        return self.edge(side) + self.verge[side] + self.sidewalk[side]

    def ground(self, along: float) -> float:
        """Height of the road above that at the camera's place."""
        beyond = abs(along) - _FLAT
        if beyond <= 0:
            return 0.0
        grade = self.grades[1] if along > 0 else self.grades[0]
        return grade * (beyond**2 / (2 * _RAMP) if beyond < _RAMP else beyond - _RAMP / 2)

    def yaw(self, along: float) -> float:
        """Direction of the street, radians clockwise from that at the camera's place."""
        return math.atan(self.curvature * along)

    def point(self, lateral: float, along: float, lift: float = 0.0) -> Point:
        """World position of street coordinates."""
        # tan, cos and sin of the street's direction there.
        tan = self.curvature * along
        cos = 1.0 / math.sqrt(1.0 + tan * tan)
        x, z = 0.5 * tan * along + lateral * cos, along - lateral * tan * cos
        return x, self.ground(along) + lift, z

    def crossing_at(self, along: float, margin: float = 0.0) -> bool:
        """Whether a cross street is there."""
        return any(low - margin < along < high + margin for low, high in self.crossings)


@dataclass(frozen=True)
class Sight:
    """What the camera may see, generously: the rest need not be built.

    Attributes:
        x: Of the camera.
        z: Of the camera.
        heading: Radians, clockwise from the street.
        spread: Tangent of half the field of view, with reserve.
    """

    x: float
    z: float
    heading: float
    spread: float

    def sees(self, point: Point, radius: float) -> bool:
        """Whether something there may be in the picture or cast a shadow into it."""
        dx, dz = point[0] - self.x, point[2] - self.z
        sin, cos = math.sin(self.heading), math.cos(self.heading)
        ahead, aside = dx * sin + dz * cos, abs(dx * cos - dz * sin)
        return ahead > -22.0 - radius and aside < self.spread * max(ahead, 0.0) + 24.0 + radius


class Site(NamedTuple):
    """What is built of a street so far, and all that decides what goes where.

    Attributes:
        mesh: Its polygons.
        style: The city.
        street: Its course and cross section.
        sight: What of it may be seen.
    """

    mesh: Mesh
    style: CityStyle
    street: Street
    sight: Sight


def lay_street(style: CityStyle, seed: int, place: int) -> Street:
    """Draws the street of a place."""
    draws = Draws(_STREET_KEY, key_of(style.name), seed, place)
    lanes = draws.whole(style.lanes)
    wide = lanes >= 4
    has_median = wide and draws.chance(style.median_chance)
    both = [
        (
            2.2 if draws.chance(style.parking_chance) else 0.0,
            draws.between((1.0, 2.2)) if draws.chance(style.verge_chance) else 0.0,
            draws.between(style.sidewalk_width),
        )
        for _ in range(2)
    ]
    grades = tuple(style.slope * (2 * draws.unit() - 1) for _ in range(2))
    return Street(
        lanes=lanes,
        lane_width=draws.between(style.lane_width),
        median=draws.between((1.6, 3.5)) if has_median else 0.0,
        parking=(both[0][0], both[1][0]),
        verge=(both[0][1], both[1][1]),
        sidewalk=(both[0][2], both[1][2]),
        kerb=style.kerb_height,
        curvature=style.curvature * (2 * draws.unit() - 1),
        grades=(grades[0], grades[1]),
        crossings=_crossings(style, draws),
        tram=lanes >= 2 and not has_median and draws.chance(style.tram_chance),
    )


def _crossings(style: CityStyle, draws: Draws) -> tuple[tuple[float, float], ...]:
    """Cross streets at random distances, none over the camera."""
    found = []
    for sign in (1.0, -1.0):
        at = sign * draws.between((11.0, 0.6 * style.crossing_spacing[1]))
        while abs(at) < END - 30.0:
            width = (
                2 * CROSS_WALK + draws.pick((1, 2, 2, 3)) * draws.between(style.lane_width) * 1.15
            )
            found.append((min(at, at + sign * width), max(at, at + sign * width)))
            at += sign * (width + draws.between(style.crossing_spacing))
    return tuple(sorted(found))


def _knots(street: Street) -> list[float]:
    fine = [float(s) for s in range(-72, 73, 8)]
    far = [s * sign for s in (88.0, 104.0, 124.0, 146.0, 168.0, END) for sign in (1.0, -1.0)]
    ends = [s for crossing in street.crossings for s in crossing]
    return sorted({*fine, *far, *ends})


def build_ground(site: Site, key: Draws) -> None:
    """Road, kerbs, sidewalks, verges, cross streets, the ground beyond, and the markings."""
    mesh, style, street, sight = site
    draws = key.child(_GROUND_KEY)
    asphalt = draws.pick(style.asphalt_colours)
    paving = draws.pick(style.sidewalk_colours)
    dark = tuple(int(0.62 * c) for c in paving)
    size = draws.between(style.paver_size)
    slab = (size, size * draws.pick((1.0, 1.0, 2.0)))
    grass, soil = draws.pick(style.grass_colours), draws.pick(style.grass_colours)
    age = draws.unit()
    road = look(
        Material.ASPHALT, ROAD, asphalt, parameters=(street.lane_width, age), seed=1 + int(9 * age)
    )
    plain = look(Material.ASPHALT, ROAD, asphalt, parameters=(0.0, age), seed=2)
    stone = look(Material.MATT, SIDEWALK, _lighter(paving, 1.12), parameters=(0.15,))
    walk = look(Material.PAVING, SIDEWALK, paving, (dark[0], dark[1], dark[2]), parameters=slab)
    lawn = look(Material.GROUND, TERRAIN, grass, soil, parameters=(0.35,), seed=3)
    yard = look(Material.GROUND, TERRAIN, soil, grass, parameters=(0.5,), seed=5)

    knots = _knots(street)
    for low, high in itertools.pairwise(knots):
        middle = (low + high) / 2
        if not sight.sees(street.point(0.0, middle), 30.0 + (high - low)):
            continue

        def strip(a: float, b: float, lift: float, how: tuple[float, ...]) -> None:
            mesh.quad(
                street.point(a, low, lift),  # noqa: B023
                street.point(b, low, lift),  # noqa: B023
                street.point(b, high, lift),  # noqa: B023
                street.point(a, high, lift),  # noqa: B023
                how,
            )

        if street.crossing_at(middle):
            strip(-street.edge(LEFT), street.edge(RIGHT), 0.0, plain)
            for side, sign in ((LEFT, -1.0), (RIGHT, 1.0)):
                strip(sign * street.edge(side), sign * street.front(side), 0.0, plain)
            continue
        half = street.half_lanes
        if street.median:
            inner = street.median / 2
            strip(-half, -inner, 0.0, road)
            strip(inner, half, 0.0, road)
            strip(-inner, inner, street.kerb, lawn)
            for lateral in (-inner, inner):
                mesh.quad(
                    street.point(lateral, low),
                    street.point(lateral, high),
                    street.point(lateral, high, street.kerb),
                    street.point(lateral, low, street.kerb),
                    stone,
                )
        else:
            strip(-half, half, 0.0, road)
        for side, sign in ((LEFT, -1.0), (RIGHT, 1.0)):
            edge, front = street.edge(side), street.front(side)
            if street.parking[side]:
                strip(sign * half, sign * edge, 0.0, plain)
            mesh.quad(
                street.point(sign * edge, low),
                street.point(sign * edge, high),
                street.point(sign * edge, high, street.kerb),
                street.point(sign * edge, low, street.kerb),
                stone,
            )
            strip(sign * edge, sign * (edge + 0.16), street.kerb, stone)
            inner = edge + 0.16
            if street.verge[side]:
                strip(sign * inner, sign * (inner + street.verge[side]), street.kerb, lawn)
                inner += street.verge[side]
            strip(sign * inner, sign * (front + 0.02), street.kerb, walk)
            strip(sign * front, sign * (front + 90.0), street.kerb * 0.9, yard)
    for crossing in street.crossings:
        if sight.sees(street.point(0.0, sum(crossing) / 2), 60.0):
            _cross_street(mesh, street, crossing, plain, walk, stone)
    _mark_road(site, draws.child(1), asphalt)
    _manholes(mesh, street, draws.child(2))


def _lighter(colour: RGB, factor: float) -> RGB:
    r, g, b = (min(255, int(factor * c)) for c in colour)
    return r, g, b


def _cross_street(
    mesh: Mesh,
    street: Street,
    crossing: tuple[float, float],
    plain: tuple[float, ...],
    walk: tuple[float, ...],
    stone: tuple[float, ...],
) -> None:
    low, high = crossing
    for side, sign in ((LEFT, -1.0), (RIGHT, 1.0)):
        start = sign * street.front(side)
        for near, far in (
            (start, start + sign * 22.0),
            (start + sign * 22.0, start + sign * 110.0),
        ):

            def patch(s0: float, s1: float, lift: float, how: tuple[float, ...]) -> None:
                mesh.quad(
                    street.point(near, s0, lift),  # noqa: B023
                    street.point(far, s0, lift),  # noqa: B023
                    street.point(far, s1, lift),  # noqa: B023
                    street.point(near, s1, lift),  # noqa: B023
                    how,
                )

            patch(low + CROSS_WALK, high - CROSS_WALK, 0.0, plain)
            patch(low, low + CROSS_WALK, street.kerb, walk)
            patch(high - CROSS_WALK, high, street.kerb, walk)
            for at in (low + CROSS_WALK, high - CROSS_WALK):
                mesh.quad(
                    street.point(near, at),
                    street.point(far, at),
                    street.point(far, at, street.kerb),
                    street.point(near, at, street.kerb),
                    stone,
                )


def lane_centres(street: Street, drives_on: str) -> list[tuple[float, float]]:
    """(lateral position, +1 with the camera or -1 against it) of every lane."""
    own_side = 1.0 if drives_on == "right" else -1.0
    if street.lanes == 1:
        return [(0.0, 1.0)]
    found = []
    for index in range(street.lanes):
        lateral = (index + 0.5 - street.lanes / 2) * street.lane_width
        if street.lanes % 2 and index == street.lanes // 2:
            found.append((lateral, 1.0))
            continue
        side = math.copysign(1.0, lateral)
        found.append((lateral + side * street.median / 2, side * own_side))
    return found


def _mark_road(site: Site, draws: Draws, asphalt: RGB) -> None:
    mesh, style, street, sight = site
    wear = style.marking_wear * draws.between((0.4, 1.4))

    def mark(lat0: float, lat1: float, s0: float, s1: float, colour: RGB) -> None:
        mesh.quad(
            street.point(lat0, s0, 0.004),
            street.point(lat1, s0, 0.004),
            street.point(lat1, s1, 0.004),
            street.point(lat0, s1, 0.004),
            look(Material.MARKING, ROAD, colour, asphalt, parameters=(wear,), bias=0.0015),
        )

    def line(lateral: float, colour: RGB, dash: float, gap: float, width: float = 0.13) -> None:
        at = -_MARKED
        while at < _MARKED:
            end = at + dash
            if not street.crossing_at((at + end) / 2, dash / 2) and sight.sees(
                street.point(lateral, at), 6.0
            ):
                mark(lateral - width / 2, lateral + width / 2, at, end, colour)
            at = end + gap

    white, centre = style.marking_colour, style.centre_line_colour
    half = street.lanes * street.lane_width / 2
    for index in range(1, street.lanes):
        lateral = (index - street.lanes / 2) * street.lane_width
        if abs(lateral) < 0.01:
            if not street.median:
                line(0.0, centre, 8.0, 0.0 if street.lanes > 2 else 4.0)
        else:
            line(lateral + math.copysign(street.median / 2, lateral), white, 3.0, 5.0)
    for side, sign in ((LEFT, -1.0), (RIGHT, 1.0)):
        if street.parking[side]:
            line(sign * street.half_lanes, white, 6.0, 0.0, 0.1)
        elif half > 4.5 and draws.chance(0.7):
            line(sign * (street.half_lanes - 0.3), white, 8.0, 0.0, 0.12)
    for low, high in street.crossings:
        _mark_crossing(street, style, draws.chance(style.zebra_chance), low, high, mark)
    if street.tram:
        for track in (-1.5, 1.5):
            for rail in (-0.72, 0.72):
                line(track + rail, (70, 68, 66), 8.0, 0.0, 0.09)


def _mark_crossing(
    street: Street,
    style: CityStyle,
    zebra: bool,
    low: float,
    high: float,
    mark: Callable[[float, float, float, float, RGB], None],
) -> None:
    white = style.marking_colour
    half = street.half_lanes
    for end, outwards in ((low, -1.0), (high, 1.0)):
        if abs(end) > _MARKED:
            continue
        if zebra:
            lateral = -half + 0.3
            s0, s1 = sorted((end + outwards * 0.8, end + outwards * 4.2))
            while lateral < half - 0.5:
                if abs(lateral + 0.25) > street.median / 2:
                    mark(lateral, lateral + 0.5, s0, s1, white)
                lateral += 1.0
        stop = end + outwards * (5.4 if zebra else 1.2)
        own = 1.0 if style.drives_on == "right" else -1.0
        # Traffic comes towards the crossing on its own side.
        side = own if outwards < 0 else -own
        a, b = sorted((side * (0.2 + street.median / 2), side * (half - 0.2)))
        mark(a, b, stop - 0.2, stop + 0.2, white)


def _manholes(mesh: Mesh, street: Street, draws: Draws) -> None:
    for at in draws.spots(-60.0, 60.0, 0.06):
        lateral = draws.between((-street.half_lanes + 0.6, street.half_lanes - 0.6))
        grey = draws.whole((50, 80))
        if abs(lateral) > street.median / 2 + 0.5:
            x, y, z = street.point(lateral, at, 0.005)
            mesh.plate(
                (x, y, z),
                (0.34, 0.0, 0.0),
                (0.0, 0.0, 0.34),
                look(
                    Material.MATT,
                    ROAD,
                    (grey, grey, grey),
                    parameters=(0.5,),
                    shape=1,
                    bias=0.0015,
                ),
            )
