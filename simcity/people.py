"""Persons and riders: rods and balls. Slots: 0 upper clothes, 1 lower clothes, 2 skin, 3 hair."""

from __future__ import annotations

import functools
import math
from typing import Final

from crosscity.labels import TRAIN_ID
from simcity.draws import Draws
from simcity.mesh import Material, Mesh, Rows, look
from simcity.style import RGB, CityStyle

PERSON, RIDER = TRAIN_ID["person"], TRAIN_ID["rider"]

POSES: Final = 8
_SKIN: Final[tuple[RGB, ...]] = ((206, 160, 134), (186, 138, 110), (150, 104, 80), (110, 76, 58))
_HAIR: Final[tuple[RGB, ...]] = ((40, 32, 28), (24, 22, 22), (96, 70, 46), (150, 140, 130))


def _cloth(label: int, slot: int) -> tuple[float, ...]:
    return look(
        Material.MATT,
        label,
        (0, 0, 0),
        parameters=(0.25,),
        moving=True,
        slots=(float(slot), float(slot)),
    )


@functools.cache
def person(pose: int) -> Rows:
    """A person of 1.75 m who walks or stands, facing +z."""
    mesh = Mesh()
    top, trousers, skin, hair = (_cloth(PERSON, slot) for slot in range(4))
    stride = 0.32 * math.sin(2 * math.pi * pose / POSES) if pose != POSES - 1 else 0.06
    for x, swing in ((-0.1, stride), (0.1, -stride)):
        knee = (x, 0.48, 0.5 * swing + 0.05)
        mesh.capsule((x, 0.90, 0.0), knee, 0.105, 0.075, trousers)
        mesh.capsule(knee, (x, 0.07, swing), 0.072, 0.05, trousers)
        mesh.capsule(
            (x, 0.05, swing - 0.05),
            (x, 0.05, swing + 0.13),
            0.05,
            0.045,
            look(Material.MATT, PERSON, (30, 28, 28), moving=True),
        )
        arm = (1.9 * x, 0.92, -0.8 * swing)
        mesh.capsule((2.1 * x, 1.38, 0.0), (2.35 * x, 1.12, -0.3 * swing - 0.03), 0.06, 0.052, top)
        mesh.capsule(
            (2.35 * x, 1.12, -0.3 * swing - 0.03), (2.2 * x, arm[1], arm[2] + 0.06), 0.05, 0.04, top
        )
        mesh.sphere((2.2 * x, 0.86, arm[2] + 0.06), 0.05, 0.06, skin)
    mesh.capsule((0.0, 0.95, 0.0), (0.0, 1.36, 0.0), 0.165, 0.185, top)
    mesh.capsule((-0.12, 1.38, 0.0), (0.12, 1.38, 0.0), 0.09, 0.09, top)
    mesh.capsule((0.0, 1.42, 0.0), (0.0, 1.56, 0.01), 0.055, 0.055, skin)
    mesh.sphere((0.0, 1.62, 0.02), 0.098, 0.125, skin)
    mesh.sphere((0.0, 1.67, -0.02), 0.104, 0.095, hair)
    if pose % 3 == 1:  # a coat
        mesh.capsule((0.0, 0.62, 0.0), (0.0, 1.0, 0.0), 0.2, 0.17, top)
    if pose % 4 == 2:  # a bag
        mesh.sphere(
            (0.3, 0.8, 0.0),
            0.13,
            0.16,
            look(Material.MATT, PERSON, (70, 50, 40), parameters=(0.2,), moving=True),
        )
    rows = mesh.rows()
    rows.setflags(write=False)
    return rows


@functools.cache
def rider(upright: bool, helmet: bool) -> Rows:
    """A rider in the saddle of a bicycle (upright) or a motorcycle, without it."""
    mesh = Mesh()
    top, trousers, skin, hair = (_cloth(RIDER, slot) for slot in range(4))
    hip = 0.98 if upright else 0.86
    hip_z = -0.22 if upright else -0.18
    lean = 0.22 if upright else 0.12
    neck = (0.0, hip + 0.52, hip_z + lean)
    for x, phase in ((-0.12, 0.16), (0.12, -0.1)):
        knee = (1.3 * x, hip - 0.22 + (phase if upright else 0.02), hip_z + 0.42)
        foot = (x, 0.28 + (phase if upright else 0.05), hip_z + 0.28)
        mesh.capsule((x, hip, hip_z), knee, 0.1, 0.075, trousers)
        mesh.capsule(knee, foot, 0.07, 0.05, trousers)
        mesh.capsule(
            foot,
            (foot[0], foot[1] - 0.02, foot[2] + 0.14),
            0.05,
            0.045,
            look(Material.MATT, RIDER, (32, 30, 30), moving=True),
        )
        elbow = (2.6 * x, neck[1] - 0.26, neck[2] + 0.14)
        mesh.capsule((1.7 * x, neck[1], neck[2]), elbow, 0.06, 0.05, top)
        mesh.capsule(elbow, (2.3 * x, 1.03, 0.28), 0.048, 0.042, top)
    mesh.capsule((0.0, hip, hip_z), (0.0, neck[1] - 0.06, neck[2]), 0.17, 0.19, top)
    mesh.sphere((0.0, neck[1] + 0.22, neck[2] + 0.05), 0.098, 0.125, skin)
    radius = 0.15 if helmet else 0.106
    mesh.sphere((0.0, neck[1] + 0.26, neck[2] + 0.02), radius, radius * 0.95, hair)
    rows = mesh.rows()
    rows.setflags(write=False)
    return rows


def dressed(style: CityStyle, draws: Draws, *, helmet: bool = False) -> tuple[RGB, RGB, RGB, RGB]:
    """Colours of a person's four slots."""
    hair = draws.pick(style.car_colours) if helmet else draws.pick(_HAIR)
    return (
        draws.pick(style.clothing_colours),
        draws.pick(style.clothing_colours),
        draws.pick(_SKIN),
        hair,
    )
