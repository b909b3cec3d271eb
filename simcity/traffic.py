"""Everything that moves: other vehicles and other people at every time."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Final

from simcity import people, vehicles
from simcity.draws import Draws, key_of
from simcity.mesh import Mesh, Rows
from simcity.street import LEFT, RIGHT, Sight, Street, lane_centres
from simcity.style import RGB, CityStyle

_TRAFFIC_KEY: Final = 0x7AF
_PARKED, _LANES, _TWO_WHEELERS, _WALKERS, _RACKS, _TRAM = range(6)
_RANGE: Final = 120.0
_SLOT: Final = 5.8
_CLEAR: Final = 5.0
"""Nothing that moves is nearer to the camera than this, metres along its lane."""

CAR, TAXI, VAN, TRUCK, BUS = range(5)
_SMALL: Final = ("hatch", "mini", "hatch")
_LARGE: Final = ("sedan", "estate", "suv", "minivan", "sedan")


@dataclass
class Footprints:
    """Rectangles that hide the sky from the ground: centre x, z, yaw, half width, half length."""

    boxes: list[tuple[float, float, float, float, float]] = field(default_factory=list)


class _Stage:
    """Puts things on the street."""

    def __init__(self, style: CityStyle, street: Street, sight: Sight) -> None:
        self.style, self.street, self.sight = style, street, sight
        self.mesh, self.footprints = Mesh(), Footprints()

    def put(
        self,
        rows: Rows,
        lateral: float,
        along: float,
        turn: float,
        colours: tuple[RGB, ...],
        half: tuple[float, float],
        *,
        lift: float = 0.0,
        scale: float = 1.0,
    ) -> None:
        """An object at street coordinates, turned by radians from the street's direction."""
        spot = self.street.point(lateral, along, lift)
        if not self.sight.sees(spot, half[1] + 2.0):
            return
        yaw = self.street.yaw(along) + turn
        self.mesh.place(rows, spot, yaw, scale=scale, colours=colours)
        self.footprints.boxes.append((spot[0], spot[2], yaw, *half))


def build_moving(
    style: CityStyle, street: Street, sight: Sight, seed: int, place: int, time: int
) -> tuple[Rows, Footprints]:
    """Polygons of what moves at a time, and what they cover of the ground."""
    key = Draws(_TRAFFIC_KEY, key_of(style.name), seed, place, time)
    stage = _Stage(style, street, sight)
    busy = key.between((0.35, 1.65))
    sides = ((LEFT, -1.0), (RIGHT, 1.0))
    for side, sign in sides:
        _park(stage, key.child(_PARKED, side), side, sign)
        _stand(stage, key.child(_RACKS, side), side, sign)
    tram_at = _tram(stage, key.child(_TRAM))
    for index, (lateral, direction) in enumerate(lane_centres(street, style.drives_on)):
        _drive(stage, key.child(_LANES, index), lateral, direction, busy, tram_at)
    # Those who give way come last.
    _ride(stage, key.child(_TWO_WHEELERS), busy)
    for side, sign in sides:
        _walk(stage, key.child(_WALKERS, side), side, sign, key.between((0.4, 1.6)))
    return stage.mesh.rows(), stage.footprints


def _vehicle(
    style: CityStyle, draws: Draws, kind: int
) -> tuple[Rows, tuple[RGB, ...], tuple[float, float]]:
    """Rows, colours and half size of a vehicle of a kind."""
    white: RGB = (226, 226, 222)
    if kind in (CAR, TAXI):
        names = _SMALL if draws.chance(style.small_car_share) and kind == CAR else _LARGE
        name = draws.pick(names) if kind == CAR else "sedan"
        colour = draws.pick(style.car_colours if kind == CAR else style.taxi_colours)
        body = vehicles.BODIES[name]
        return vehicles.car(name, kind == TAXI), (colour,), (body.width / 2, body.length / 2)
    colour = draws.pick(style.truck_colours)
    if kind == VAN:
        return vehicles.van(), (colour, white), (0.98, 2.6)
    if kind == TRUCK:
        open_bed = int(draws.chance(0.35))
        return vehicles.truck(open_bed), (colour, draws.pick(style.truck_colours)), (1.15, 3.3)
    colour = draws.pick(style.bus_colours)
    stripe = draws.pick((*style.bus_colours, white))
    if draws.chance(0.25):
        return vehicles.minibus(), (colour, stripe), (1.15, 3.7)
    return vehicles.bus(), (colour, stripe), (1.25, 5.8)


def _park(stage: _Stage, draws: Draws, side: int, sign: float) -> None:
    """Vehicles in the slots of a parking strip, or here and there at the kerb."""
    style, street = stage.style, stage.street
    weights = (
        style.vehicle_weights[0],
        0.15 * style.vehicle_weights[1],
        style.vehicle_weights[2],
        0.4 * style.vehicle_weights[3],
        0.0,
    )
    if street.parking[side]:
        share = min(1.0, style.parked_share * draws.between((0.6, 1.25)))
        slots = [at * _SLOT for at in range(-12, 21)]
        taken = [at for at in slots if draws.chance(share)]
        lateral = sign * (street.edge(side) - 1.05)
    else:
        # A car at the kerb of a street without slots stands half on the sidewalk.
        taken = draws.spots(-60.0, 100.0, style.kerb_parking / 100.0)
        taken = [b for a, b in zip([-999.0, *taken], taken, strict=False) if b - a > _SLOT]
        lateral = sign * (street.edge(side) - (0.2 if street.lanes < 2 else 0.75))
    own = (sign > 0) == (style.drives_on == "right")
    for index, at in enumerate(taken):
        car = draws.child(index)
        kind = car.weighted(weights) if any(weights) else CAR
        rows, colours, half = _vehicle(style, car, kind)
        turn = 0.0 if own != car.chance(0.1) else math.pi
        shift, skew = car.between((-0.25, 0.25)), car.between((-0.04, 0.04))
        if street.crossing_at(at, 5.0) or (abs(at) < half[1] + 1.6 and abs(lateral) < 3.0):
            continue
        stage.put(rows, lateral + 0.4 * shift, at + shift, turn + skew, colours, half)


def _drive(
    stage: _Stage, draws: Draws, lateral: float, direction: float, busy: float, tram: float | None
) -> None:
    style = stage.style
    free = _CLEAR + (3.0 if direction > 0 else 1.0)
    own_lane = stage.street.lanes == 1 or (
        (lateral > 0) == (style.drives_on == "right")
        and abs(lateral) < 1.1 * stage.street.lane_width + stage.street.median / 2
    )
    reach = -_RANGE * 0.6
    for index, at in enumerate(
        draws.spots(-_RANGE * 0.6, _RANGE, busy * style.traffic_density / 100.0)
    ):
        each = draws.child(index)
        rows, colours, half = _vehicle(style, each, each.weighted(style.vehicle_weights))
        jitter, skew = each.between((-0.25, 0.25)), each.between((-0.03, 0.03))
        if at - half[1] < reach or (own_lane and abs(at) < half[1] + free):
            continue
        if abs(at) < half[1] + 1.5 and abs(lateral) < 2.6:
            continue
        if tram is not None and abs(at - tram) < half[1] + 14.0:
            continue
        reach = at + half[1] + 2.0
        turn = 0.0 if direction > 0 else math.pi
        stage.put(rows, lateral + jitter, at, turn + skew, colours, half)


def _tram(stage: _Stage, draws: Draws) -> float | None:
    if not stage.street.tram or not draws.chance(0.6):
        return None
    track = draws.pick((-1.5, 1.5))
    own = (track > 0) == (stage.style.drives_on == "right")
    at = draws.between((24.0, 80.0))
    colours = (draws.pick(stage.style.bus_colours), (225, 225, 220))
    stage.put(vehicles.tram(), track, at, 0.0 if own else math.pi, colours, (1.25, 12.0))
    return at


def _ride(stage: _Stage, draws: Draws, busy: float) -> None:
    """Riders on motorcycles between the lanes and on bicycles at the edge."""
    style, street = stage.style, stage.street
    own_side = 1.0 if style.drives_on == "right" else -1.0
    for kind, density in ((0, style.motorcycle_density), (1, style.bicycle_density)):
        for index, at in enumerate(draws.spots(-50.0, 90.0, busy * density / 100.0)):
            each = draws.child(kind, index)
            side = RIGHT if each.chance(0.5) else LEFT
            sign = 1.0 if side == RIGHT else -1.0
            inner = street.median / 2 + 0.6
            outer = max(inner + 0.1, street.half_lanes - 0.5)
            if kind:
                lateral = sign * each.between((max(inner, outer - 0.9), outer + 0.5))
            else:
                lateral = sign * each.between((inner, outer))
            turn = 0.0 if (sign == own_side) != each.chance(0.06) else math.pi
            skew = each.between((-0.12, 0.12))
            if abs(at) < 4.5 and abs(lateral) < 5.0:
                continue
            if _blocked(stage, lateral, at):
                continue
            helmet = kind == 0 and each.chance(style.helmet_chance)
            upright = kind == 1
            model = vehicles.bicycle() if kind else vehicles.motorcycle(int(each.chance(0.3)))
            paint = each.pick(style.car_colours)
            clothes = people.dressed(style, each, helmet=helmet)
            stage.put(model, lateral, at, turn + skew, (paint,), (0.3, 0.8))
            stage.put(people.rider(upright, helmet), lateral, at, turn + skew, clothes, (0.3, 0.5))


def _blocked(stage: _Stage, lateral: float, at: float) -> bool:
    x, _, z = stage.street.point(lateral, at)
    return any(
        abs(x - bx) < half_width + 0.5 and abs(z - bz) < half_length + 1.2
        for bx, bz, _, half_width, half_length in stage.footprints.boxes
        if half_length > 1.2
    )


def _stand(stage: _Stage, draws: Draws, side: int, sign: float) -> None:
    """Parked motorcycles and bicycles, in groups along the kerb or at the houses."""
    style, street = stage.style, stage.street
    for kind, density in (
        (0, style.parked_motorcycle_density),
        (1, style.parked_bicycle_density),
    ):
        group = 5.0 if density > 3 else 2.5
        for index, start in enumerate(draws.spots(-40.0, 75.0, density / group / 100.0)):
            cluster = draws.child(kind, index)
            count = 1 + cluster.whole((0, 2 * group - 2))
            at_kerb = cluster.chance(0.75)
            lateral = street.edge(side) + 0.8 if at_kerb else street.front(side) - 0.7
            on_road = kind == 0 and at_kerb and not street.parking[side] and cluster.chance(0.6)
            if on_road:
                lateral = street.edge(side) - 1.0
            across = cluster.chance(0.8)
            for number in range(count):
                each = cluster.child(number)
                at = start + number * (0.72 if across else 2.0)
                turn = (math.pi / 2 * sign if across else 0.0) + each.between((-0.25, 0.25))
                if street.crossing_at(at, 1.5) or (abs(at) < 2.0 and on_road):
                    continue
                model = vehicles.bicycle() if kind else vehicles.motorcycle(int(each.chance(0.2)))
                lift = 0.0 if on_road else street.kerb
                paint = each.pick(style.car_colours)
                stage.put(model, sign * lateral, at, turn, (paint,), (0.3, 0.8), lift=lift)


def _walk(stage: _Stage, draws: Draws, side: int, sign: float, busy: float) -> None:
    """Persons on a sidewalk, now and then in pairs, and some who cross at crossings."""
    style, street = stage.style, stage.street
    low = street.edge(side) + street.verge[side] + 0.4
    high = max(low + 0.1, street.front(side) - 0.4)
    for index, at in enumerate(draws.spots(-40.0, 85.0, busy * style.pedestrian_density / 100.0)):
        each = draws.child(index)
        lateral = sign * each.between((low, high))
        turn = each.pick((0.0, math.pi)) + each.between((-0.4, 0.4))
        for number in range(1 + int(each.chance(0.25))):
            on_kerb = 0.0 if street.crossing_at(at) else street.kerb
            _person(stage, each.child(number), lateral + 0.6 * number, at, turn, on_kerb)
    for index, (near, far) in enumerate(street.crossings):
        each = draws.child(1000 + index)
        for number in range(each.around(0.12 * style.pedestrian_density * busy)):
            one = each.child(number)
            end = near - 2.5 if one.chance(0.5) else far + 2.5
            lateral = sign * one.between((0.5, street.edge(side)))
            turn = one.pick((-0.5, 0.5)) * math.pi + one.between((-0.3, 0.3))
            spot = end + one.between((-1.3, 1.3))
            if abs(end) > 6.0 and not _blocked(stage, lateral, spot):
                _person(stage, one, lateral, spot, turn, 0.0)


def _person(
    stage: _Stage, draws: Draws, lateral: float, at: float, turn: float, lift: float
) -> None:
    rows = people.person(draws.whole((0, people.POSES - 1)))
    colours = people.dressed(stage.style, draws)
    scale = draws.between((0.9, 1.07)) if not draws.chance(0.07) else draws.between((0.6, 0.8))
    stage.put(rows, lateral, at, turn, colours, (0.22, 0.22), lift=lift, scale=scale)
