# ruff: noqa: RUF009, ANN401  (the functions that make the defaults return dataclass fields)
"""`CityStyle`: everything that tells one simulated city from another, in one typed record."""

from __future__ import annotations

import math
import numbers
from dataclasses import dataclass, field, fields
from typing import Any, Final, Literal

RGB = tuple[int, int, int]
"""An sRGB colour, 0 to 255."""
Palette = tuple[RGB, ...]
"""Colours that are drawn with equal chance; repeat one to make it more frequent."""
Range = tuple[float, float]
"""(low, high): a value is drawn uniformly between the two."""

SIGN_DESIGNS: Final = (
    "limit",
    "no_entry",
    "mandatory",
    "warning_triangle",
    "stop",
    "parking",
    "priority",
    "warning_diamond",
)
"""Traffic sign designs that a style can choose from."""


def _number(default: float, low: float, high: float) -> Any:
    return field(default=default, metadata={"kind": "number", "low": low, "high": high})


def _chance(default: float) -> Any:
    return _number(default, 0.0, 1.0)


def _range(default: Range, low: float, high: float) -> Any:
    return field(default=default, metadata={"kind": "range", "low": low, "high": high})


def _weights(default: tuple[float, ...]) -> Any:
    return field(default=default, metadata={"kind": "weights", "length": len(default)})


def _palette(*default: RGB) -> Any:
    return field(default=tuple(default), metadata={"kind": "palette"})


def _one_of(default: str, *choices: str) -> Any:
    return field(default=default, metadata={"kind": "choice", "choices": choices})


@dataclass(frozen=True)
class CityStyle:
    """The look of a city: layout, architecture, vegetation, traffic, camera and light.

    Every field but the name has a default (a central-European city), so that a new city states
    only what is its own; `dataclasses.replace` makes one from another. Metres, degrees and sRGB
    colours of 0 to 255 throughout. A *range* is (low, high), drawn uniformly; a *palette* is a
    tuple of colours, drawn evenly; *weights* need not sum to one; a *chance* lies in 0 to 1.

    Attributes:
        name: Lower-case name; enters the random numbers, so two cities never share a street.

        drives_on: Side of the road that traffic keeps to, "left" or "right".
        lanes: Range of the number of lanes, both directions together (rounded to integers).
        lane_width: Range of lane widths, metres.
        parking_chance: Chance that a side of the road has a strip of parking slots.
        median_chance: Chance that a street of four lanes or more has a planted median.
        verge_chance: Chance that a side has a strip of grass between kerb and sidewalk.
        tram_chance: Chance that a street has tram tracks (and so, at times, a tram: class train).
        sidewalk_width: Range, metres.
        kerb_height: Metres.
        slope: Largest longitudinal grade of a street, as a fraction (0.1 = 10 %).
        curvature: Largest curvature of a street, 1/metres.
        crossing_spacing: Range of metres between two cross streets.
        asphalt_colours: Palette of the road surface.
        sidewalk_colours: Palette of the sidewalk surface.
        paver_size: Range of paving slab sizes, metres.
        marking_colour: Lane markings.
        centre_line_colour: Markings between opposite directions.
        marking_wear: Share of the markings' paint that is worn off, 0 to 1.
        zebra_chance: Chance that a crossing has zebra markings.

        storeys: Range of the number of storeys (rounded).
        storey_height: Range, metres.
        tower_chance: Chance that a lot has a tower instead.
        tower_storeys: Range of the storeys of towers and of the skyline behind the first row.
        lot_width: Range of building widths, metres.
        gap_chance: Chance that a lot is an open yard behind a wall or fence.
        park_chance: Chance that a lot is a small park.
        setback: Range of metres between sidewalk and facade; above 1.5 m there is a front garden.
        facade_weights: Weights of facade kinds: plaster, brick, ceramic tiles, glass, concrete.
        facade_colours: Palette of walls.
        trim_colours: Palette of window frames, sills and cornices.
        roof_colours: Palette of roofs.
        pitched_roof_chance: Chance that a roof is pitched.
        window_spacing: Range of metres from window to window.
        window_width: Range of the share of that which is window, 0 to 1.
        window_height: Range of the share of a storey which is window, 0 to 1.
        window_shutter_chance: Chance that a building's windows have outside shutters.
        window_shutter_colours: Palette of these.
        balcony_chance: Chance that a building has balconies.
        shop_chance: Chance that a building has shops in its ground floor.
        shop_sign_density: Mean number of signs that stick out of a building with shops.
        shop_sign_colours: Palette of shop signs.
        shop_sign_size: Range of their heights, metres.
        awning_chance: Chance that a shop has an awning.
        air_conditioner_density: Share of windows with a unit on the wall beside it.
        grime: Strength of dirt on walls, 0 to 1.

        wall_chance: Chance that a yard or garden is bounded by a wall (of class wall).
        fence_chance: Chance that it is bounded by a fence, where it has no wall.
        wall_colours: Palette of garden and retaining walls.
        fence_colours: Palette of fences.
        guard_rail_chance: Chance that a side has a pedestrian rail along its kerb (class fence).

        tree_chance: Chance that a side of the street has a row of trees.
        tree_spacing: Range of metres between trees of a row.
        tree_height: Range, metres.
        tree_weights: Weights of the kinds: round, columnar, palm, umbrella pine.
        foliage_colours: Palette of leaves in summer.
        bush_density: Bushes and hedges on a 10 m lot front, mean number.
        season_change: How far foliage yellows and thins over the year, 0 to 1.
        grass_colours: Palette of lawns and of bare soil.
        hill_height: Range of the heights of wooded hills behind the city, metres; (0, 0) for none.

        lamp_spacing: Range of metres between street lamps.
        utility_pole_chance: Chance that a side has utility poles with wires.
        wires: Range of wires on these (rounded).
        pole_colours: Palette of poles.
        bollard_chance: Chance that a side has bollards along its kerb.
        sign_density: Traffic signs on 100 m of one side, mean number.
        sign_designs: Names out of `SIGN_DESIGNS`.
        direction_board_chance: Chance that a crossing has a large direction board.
        board_colours: Palette of direction boards.
        traffic_light_chance: Chance that a crossing has traffic lights.
        horizontal_lights: Whether traffic lights lie on an arm instead of standing.

        traffic_density: Vehicles on 100 m of a lane, mean number.
        parked_share: Share of parking slots that are taken.
        kerb_parking: Vehicles that stand at the kerb of 100 m without slots, mean number.
        vehicle_weights: Weights of car, taxi, van, truck, bus in moving traffic.
        car_colours: Palette of cars.
        taxi_colours: Palette of taxis.
        truck_colours: Palette of trucks and vans.
        bus_colours: Palette of buses and trams.
        small_car_share: Share of cars that are small hatchbacks or box-shaped minis.
        pedestrian_density: Persons on 100 m of one sidewalk, mean number.
        motorcycle_density: Riders on motorcycles on 100 m of street, mean number.
        bicycle_density: Riders on bicycles on 100 m of street, mean number.
        parked_motorcycle_density: Parked motorcycles on 100 m of one side, mean number.
        parked_bicycle_density: Parked bicycles on 100 m of one side, mean number.
        clothing_colours: Palette of clothes.
        helmet_chance: Chance that the rider of a motorcycle wears a helmet.

        camera_height: Range of metres above the road.
        camera_pitch: Range of degrees, upwards positive.
        fov_degrees: Horizontal field of view.

        weather_weights: Weights of sun, overcast and dusk.
        sun_elevation: Range of degrees, for sunny weather.
        cloudiness: Range of the share of the sky under cloud in sunny weather, 0 to 1.
        visibility: Range of metres at which haze has taken most of the contrast.
        exposure: Range of factors on the light.
        warmth: Range of the white balance, -1 (blue) to 1 (orange).
        saturation: Factor on the colours' distance from grey.
        contrast: Strength of the tone curve, 0 (none) to 1.
        vignetting: Share of light lost in the corners, 0 to 1.
        noise: Standard deviation of sensor noise in mid grey, in steps of 255.
        blur: Standard deviation of the lens's blur in thousandths of the image's width.
        jpeg_quality: Quality of the JPEG that the camera stores, 1 to 100 (the caller encodes).
    """

    name: str

    drives_on: Literal["left", "right"] = _one_of("right", "left", "right")
    lanes: Range = _range((2, 4), 1, 8)
    lane_width: Range = _range((3.0, 3.5), 2.2, 5.0)
    parking_chance: float = _chance(0.5)
    median_chance: float = _chance(0.3)
    verge_chance: float = _chance(0.3)
    tram_chance: float = _chance(0.15)
    sidewalk_width: Range = _range((3.0, 5.5), 0.8, 12.0)
    kerb_height: float = _number(0.12, 0.0, 0.5)
    slope: float = _number(0.015, 0.0, 0.3)
    curvature: float = _number(0.0012, 0.0, 0.01)
    crossing_spacing: Range = _range((45.0, 95.0), 30.0, 400.0)
    asphalt_colours: Palette = _palette((92, 92, 95), (104, 103, 103), (84, 85, 90))
    sidewalk_colours: Palette = _palette((140, 136, 132), (128, 126, 126), (150, 142, 134))
    paver_size: Range = _range((0.3, 0.6), 0.05, 3.0)
    marking_colour: RGB = field(default=(215, 215, 212), metadata={"kind": "colour"})
    centre_line_colour: RGB = field(default=(215, 215, 212), metadata={"kind": "colour"})
    marking_wear: float = _chance(0.2)
    zebra_chance: float = _chance(0.5)

    storeys: Range = _range((3, 6), 1, 60)
    storey_height: Range = _range((3.0, 3.6), 2.2, 6.0)
    tower_chance: float = _chance(0.04)
    tower_storeys: Range = _range((8, 16), 1, 80)
    lot_width: Range = _range((11.0, 24.0), 3.0, 60.0)
    gap_chance: float = _chance(0.12)
    park_chance: float = _chance(0.08)
    setback: Range = _range((0.0, 2.5), 0.0, 15.0)
    facade_weights: tuple[float, ...] = _weights((0.62, 0.14, 0.02, 0.1, 0.12))
    facade_colours: Palette = _palette(
        (196, 186, 168),
        (178, 168, 152),
        (206, 198, 182),
        (170, 140, 116),
        (150, 96, 80),
        (186, 184, 180),
    )
    trim_colours: Palette = _palette((214, 212, 206), (120, 112, 104), (230, 228, 222))
    roof_colours: Palette = _palette((112, 62, 50), (70, 70, 76), (92, 58, 48))
    pitched_roof_chance: float = _chance(0.75)
    window_spacing: Range = _range((2.3, 3.4), 1.0, 10.0)
    window_width: Range = _range((0.38, 0.55), 0.1, 0.98)
    window_height: Range = _range((0.48, 0.6), 0.1, 0.95)
    window_shutter_chance: float = _chance(0.08)
    window_shutter_colours: Palette = _palette((92, 98, 88), (120, 96, 80))
    balcony_chance: float = _chance(0.2)
    shop_chance: float = _chance(0.45)
    shop_sign_density: float = _number(0.5, 0.0, 12.0)
    shop_sign_colours: Palette = _palette(
        (168, 40, 38), (40, 66, 120), (225, 222, 214), (50, 50, 54)
    )
    shop_sign_size: Range = _range((0.5, 1.2), 0.2, 8.0)
    awning_chance: float = _chance(0.25)
    air_conditioner_density: float = _chance(0.01)
    grime: float = _chance(0.25)

    wall_chance: float = _chance(0.45)
    fence_chance: float = _chance(0.6)
    wall_colours: Palette = _palette((150, 146, 138), (160, 120, 96), (176, 172, 160))
    fence_colours: Palette = _palette((60, 64, 62), (110, 92, 70), (120, 124, 126))
    guard_rail_chance: float = _chance(0.08)

    tree_chance: float = _chance(0.6)
    tree_spacing: Range = _range((9.0, 16.0), 3.0, 80.0)
    tree_height: Range = _range((7.0, 13.0), 2.0, 35.0)
    tree_weights: tuple[float, ...] = _weights((0.85, 0.15, 0.0, 0.0))
    foliage_colours: Palette = _palette((74, 98, 46), (86, 108, 52), (64, 88, 44))
    bush_density: float = _number(0.7, 0.0, 10.0)
    season_change: float = _chance(0.5)
    grass_colours: Palette = _palette((96, 112, 58), (108, 110, 66), (124, 112, 84))
    hill_height: Range = _range((0.0, 0.0), 0.0, 800.0)

    lamp_spacing: Range = _range((24.0, 34.0), 8.0, 200.0)
    utility_pole_chance: float = _chance(0.02)
    wires: Range = _range((0, 2), 0, 16)
    pole_colours: Palette = _palette((110, 114, 112), (84, 90, 88), (140, 142, 142))
    bollard_chance: float = _chance(0.15)
    sign_density: float = _number(4.0, 0.0, 20.0)
    sign_designs: tuple[str, ...] = field(
        default=(
            "limit",
            "no_entry",
            "mandatory",
            "warning_triangle",
            "parking",
            "priority",
            "stop",
        ),
        metadata={"kind": "designs"},
    )
    direction_board_chance: float = _chance(0.2)
    board_colours: Palette = _palette((228, 200, 40), (30, 70, 150))
    traffic_light_chance: float = _chance(0.7)
    horizontal_lights: bool = field(default=False, metadata={"kind": "flag"})

    traffic_density: float = _number(1.5, 0.0, 12.0)
    parked_share: float = _chance(0.6)
    kerb_parking: float = _number(0.6, 0.0, 16.0)
    vehicle_weights: tuple[float, ...] = _weights((0.73, 0.03, 0.08, 0.07, 0.09))
    car_colours: Palette = _palette(
        (28, 29, 32),
        (60, 62, 66),
        (150, 153, 156),
        (190, 192, 194),
        (34, 46, 84),
        (120, 24, 28),
        (226, 226, 224),
    )
    taxi_colours: Palette = _palette(
        (222, 210, 168),
    )
    truck_colours: Palette = _palette((220, 220, 216), (190, 60, 40), (60, 90, 150), (200, 180, 60))
    bus_colours: Palette = _palette((40, 104, 150), (186, 48, 40), (210, 210, 206))
    small_car_share: float = _chance(0.4)
    pedestrian_density: float = _number(11.0, 0.0, 60.0)
    motorcycle_density: float = _number(0.5, 0.0, 30.0)
    bicycle_density: float = _number(2.0, 0.0, 30.0)
    parked_motorcycle_density: float = _number(1.5, 0.0, 60.0)
    parked_bicycle_density: float = _number(4.0, 0.0, 60.0)
    clothing_colours: Palette = _palette(
        (38, 40, 48),
        (60, 66, 92),
        (120, 36, 36),
        (150, 146, 136),
        (92, 84, 70),
        (200, 198, 192),
        (44, 70, 60),
    )
    helmet_chance: float = _chance(0.9)

    camera_height: Range = _range((1.35, 1.65), 0.5, 6.0)
    camera_pitch: Range = _range((-3.0, 0.0), -30.0, 30.0)
    fov_degrees: float = _number(64.0, 20.0, 130.0)

    weather_weights: tuple[float, ...] = _weights((0.45, 0.48, 0.07))
    sun_elevation: Range = _range((22.0, 52.0), 3.0, 88.0)
    cloudiness: Range = _range((0.1, 0.7), 0.0, 1.0)
    visibility: Range = _range((1000.0, 3500.0), 60.0, 20000.0)
    exposure: Range = _range((0.85, 1.15), 0.2, 5.0)
    warmth: Range = _range((-0.15, 0.1), -1.0, 1.0)
    saturation: float = _number(0.85, 0.0, 2.0)
    contrast: float = _chance(0.35)
    vignetting: float = _chance(0.12)
    noise: float = _number(3.0, 0.0, 40.0)
    blur: float = _number(1.0, 0.0, 20.0)
    jpeg_quality: int = field(default=92, metadata={"kind": "quality"})

    def __post_init__(self) -> None:
        """Checks every field.

        Raises:
            ValueError: A field is out of range or of a wrong shape; the sentence names it.
        """
        if not isinstance(self.name, str) or not self.name or self.name != self.name.lower():
            raise ValueError(f"The name of a city style is a lower-case word, not {self.name!r}.")
        for each in fields(self):
            if each.name != "name":
                _CHECKS[each.metadata["kind"]](self, each.name, each.metadata)


def _real(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, numbers.Real) or not math.isfinite(value):
        return None
    return float(value)


def _fail(style: CityStyle, name: str, wanted: str) -> None:
    raise ValueError(
        f"City style {style.name!r}: {name} must be {wanted}, not {getattr(style, name)!r}."
    )


def _check_number(style: CityStyle, name: str, limits: Any) -> None:
    value = _real(getattr(style, name))
    if value is None or not limits["low"] <= value <= limits["high"]:
        _fail(style, name, f"a number from {limits['low']:g} to {limits['high']:g}")


def _check_range(style: CityStyle, name: str, limits: Any) -> None:
    value = getattr(style, name)
    wanted = f"(low, high) within {limits['low']:g} to {limits['high']:g}"
    if not isinstance(value, tuple) or len(value) != 2:
        _fail(style, name, wanted)
    low, high = (_real(each) for each in value)
    if low is None or high is None or not limits["low"] <= low <= high <= limits["high"]:
        _fail(style, name, wanted)


def _check_weights(style: CityStyle, name: str, limits: Any) -> None:
    value = getattr(style, name)
    wanted = f"{limits['length']} weights of 0 or more, one of them above 0"
    if not isinstance(value, tuple) or len(value) != limits["length"]:
        _fail(style, name, wanted)
    numbers_ = [_real(each) for each in value]
    if any(each is None or each < 0 for each in numbers_) or not any(numbers_):
        _fail(style, name, wanted)


def _is_colour(value: object) -> bool:
    return (
        isinstance(value, tuple)
        and len(value) == 3
        and all(isinstance(c, int) and not isinstance(c, bool) and 0 <= c <= 255 for c in value)
    )


def _check_palette(style: CityStyle, name: str, _: Any) -> None:
    value = getattr(style, name)
    if not isinstance(value, tuple) or not value or not all(_is_colour(each) for each in value):
        _fail(style, name, "a tuple of one or more (red, green, blue) of integers from 0 to 255")


def _check_colour(style: CityStyle, name: str, _: Any) -> None:
    if not _is_colour(getattr(style, name)):
        _fail(style, name, "one (red, green, blue) of integers from 0 to 255")


def _check_choice(style: CityStyle, name: str, limits: Any) -> None:
    if getattr(style, name) not in limits["choices"]:
        _fail(style, name, " or ".join(repr(choice) for choice in limits["choices"]))


def _check_designs(style: CityStyle, name: str, _: Any) -> None:
    value = getattr(style, name)
    if not isinstance(value, tuple) or not value or not set(value) <= set(SIGN_DESIGNS):
        _fail(style, name, f"one or more of {', '.join(SIGN_DESIGNS)}")


def _check_flag(style: CityStyle, name: str, _: Any) -> None:
    if not isinstance(getattr(style, name), bool):
        _fail(style, name, "True or False")


def _check_quality(style: CityStyle, name: str, _: Any) -> None:
    value = getattr(style, name)
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 100:
        _fail(style, name, "an integer from 1 to 100")


_CHECKS: Final = {
    "number": _check_number,
    "range": _check_range,
    "weights": _check_weights,
    "palette": _check_palette,
    "colour": _check_colour,
    "choice": _check_choice,
    "designs": _check_designs,
    "flag": _check_flag,
    "quality": _check_quality,
}
