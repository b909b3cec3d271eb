"""Trees, palms, pines, bushes: rods for the wood, balls of leaves with ragged outlines."""

from __future__ import annotations

import functools
import math
from typing import Final

from crosscity.labels import TRAIN_ID
from simcity.draws import Draws
from simcity.mesh import Material, Mesh, Point, Rows, Shape, look
from simcity.style import RGB, CityStyle

VEGETATION: Final = TRAIN_ID["vegetation"]
ROUND, COLUMNAR, PALM, PINE = range(4)

_VARIANTS: Final = 6
_TREE_KEY: Final = 0x7EE
_BARK: Final[RGB] = (92, 78, 64)
_PALM_BARK: Final[RGB] = (136, 122, 104)


def _leaves(seed: float) -> tuple[float, ...]:
    return look(
        Material.LEAF,
        VEGETATION,
        (0, 0, 0),
        shape=Shape.LEAVES,
        seed=seed,
        slots=(0.0, 1.0),
    )


def _bark(colour: RGB) -> tuple[float, ...]:
    return look(Material.MATT, VEGETATION, colour, parameters=(0.5,))


@functools.cache
def tree(kind: int, variant: int) -> Rows:
    """A tree of about 10 m; slots 0 and 1 are its leaves' colours."""
    draws = Draws(_TREE_KEY, kind, variant)
    mesh = Mesh()
    if kind == PALM:
        _palm(mesh, draws)
    elif kind == PINE:
        _pine(mesh, draws)
    else:
        _broadleaf(mesh, draws, 1.45 if kind == ROUND else 0.72, kind)
    rows = mesh.rows()
    rows.setflags(write=False)
    return rows


def _broadleaf(mesh: Mesh, draws: Draws, wide: float, kind: int) -> None:
    fork = draws.between((2.8, 3.6)) if kind == ROUND else 2.5
    lean = draws.between((-0.3, 0.3))
    mesh.capsule((0.0, -0.3, 0.0), (lean, fork, 0.0), 0.2, 0.15, _bark(_BARK))
    centre = (fork + 10.0) / 2
    half = (10.0 - fork) / 2
    for _ in range(4):
        angle = draws.between((0.0, 2 * math.pi))
        reach = draws.between((0.3, 0.6)) * wide * 2.4
        tip = (reach * math.cos(angle), draws.between((centre - 0.5, 8.5)), reach * math.sin(angle))
        mesh.capsule((lean, fork, 0.0), tip, 0.12, 0.04, _bark(_BARK))
    for index in range(17):
        # Evenly over a spheroid (a golden spiral), jittered.
        t = (index + 0.5) / 17
        angle = index * 2.39996 + draws.between((-0.4, 0.4))
        up = (1 - 2 * t) * 0.78
        around = math.sqrt(1 - up * up) * draws.between((0.45, 0.82))
        radius = draws.between((0.9, 1.5)) * (0.75 + 0.25 * wide)
        mesh.sphere(
            (
                lean + around * wide * 2.5 * math.cos(angle),
                centre + up * half * 0.95,
                around * wide * 2.5 * math.sin(angle),
            ),
            radius,
            radius * draws.between((0.75, 1.0)),
            _leaves(draws.between((0.0, 40.0))),
        )


def _palm(mesh: Mesh, draws: Draws) -> None:
    lean = draws.between((-0.9, 0.9))
    mesh.capsule((0.0, -0.3, 0.0), (0.4 * lean, 4.5, 0.0), 0.24, 0.18, _bark(_PALM_BARK))
    mesh.capsule((0.4 * lean, 4.5, 0.0), (lean, 8.6, 0.0), 0.18, 0.15, _bark(_PALM_BARK))
    for index in range(13):
        angle = index * 2.39996
        lift = draws.between((-0.25, 0.9))
        length = draws.between((1.3, 1.8))
        cos, sin = math.cos(angle), math.sin(angle)
        a: Point = (lean + cos * length, 8.7 + lift * length, sin * length)
        drop = lift - 1.1
        frond = look(
            Material.LEAF,
            VEGETATION,
            (0, 0, 0),
            shape=Shape.FROND,
            seed=draws.between((0.0, 40.0)),
            slots=(0.0, 1.0),
        )
        middle: Point = (lean + cos * length * 0.5, 8.7 + lift * length * 0.5, sin * length * 0.5)
        mesh.plate(
            middle,
            (cos * length * 0.55, lift * length * 0.55, sin * length * 0.55),
            (-sin * 0.42, 0.3, cos * 0.42),
            frond,
        )
        end = (a[0] + cos * length * 0.4, a[1] + drop * length * 0.4, a[2] + sin * length * 0.4)
        mesh.plate(
            end,
            (cos * length * 0.5, drop * length * 0.5, sin * length * 0.5),
            (-sin * 0.42, 0.3, cos * 0.42),
            frond,
        )


def _pine(mesh: Mesh, draws: Draws) -> None:
    """An umbrella pine: a high trunk that forks under a flat crown."""
    lean = draws.between((-0.6, 0.6))
    mesh.capsule((0.0, -0.3, 0.0), (lean, 6.2, 0.0), 0.3, 0.2, _bark((104, 78, 62)))
    for index in range(14):
        angle = index * 2.39996
        reach = 3.6 * math.sqrt((index + 0.5) / 14)
        top: Point = (
            lean + reach * math.cos(angle),
            8.9 - 0.07 * reach * reach + draws.between((-0.2, 0.3)),
            reach * math.sin(angle),
        )
        if index % 3 == 0:
            mesh.capsule((lean, 6.2, 0.0), top, 0.12, 0.05, _bark((104, 78, 62)))
        radius = draws.between((1.1, 1.5))
        mesh.sphere(top, radius, radius * 0.62, _leaves(draws.between((0.0, 40.0))))


@functools.cache
def bush(variant: int) -> Rows:
    """A bush of about 1 m."""
    draws = Draws(_TREE_KEY, 99, variant)
    mesh = Mesh()
    for _ in range(6):
        radius = draws.between((0.35, 0.6))
        mesh.sphere(
            (draws.between((-0.5, 0.5)), draws.between((0.2, 0.6)), draws.between((-0.4, 0.4))),
            radius,
            radius * 0.9,
            _leaves(draws.between((0.0, 40.0))),
        )
    rows = mesh.rows()
    rows.setflags(write=False)
    return rows


def leaf_colours(style: CityStyle, draws: Draws) -> tuple[RGB, RGB]:
    """Dark and light leaves of one plant."""
    r, g, b = draws.pick(style.foliage_colours)
    k = draws.between((0.85, 1.15))
    dark = (int(min(255, r * k * 0.8)), int(min(255, g * k * 0.8)), int(min(255, b * k * 0.8)))
    light = (int(min(255, r * k * 1.2)), int(min(255, g * k * 1.2)), int(min(255, b * k * 1.1)))
    return dark, light


def plant_tree(mesh: Mesh, style: CityStyle, position: Point, kind: int, draws: Draws) -> None:
    """A tree of the style at a position."""
    height = draws.between(style.tree_height)
    mesh.place(
        tree(kind, draws.whole((0, _VARIANTS - 1))),
        position,
        draws.between((0.0, 2 * math.pi)),
        scale=height / 10.0,
        colours=leaf_colours(style, draws),
        seed=draws.between((0.0, 60.0)),
    )


def plant_bush(mesh: Mesh, style: CityStyle, position: Point, size: float, draws: Draws) -> None:
    """A bush of a size in metres."""
    mesh.place(
        bush(draws.whole((0, _VARIANTS - 1))),
        position,
        draws.between((0.0, 2 * math.pi)),
        scale=size,
        colours=leaf_colours(style, draws),
        seed=draws.between((0.0, 60.0)),
    )
