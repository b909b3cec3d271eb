"""Label spaces of road scenes: the one place where classes, ids, colours and protocols stand.

Sources: the Cityscapes label definitions (Cordts et al., CVPR 2016) and the thirteen classes of
Chen et al., ICCV 2017, Sec. 3.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

VOID: Final = 255
"""The id of pixels that belong to no class; they enter no loss and no score."""


@dataclass(frozen=True)
class RoadClass:
    """One of the 19 Cityscapes evaluation classes.

    Attributes:
        name: The Cityscapes name.
        label_id: Cityscapes *labelId*.
        train_id: Cityscapes *trainId*, 0 to 18.
        cross_city_id: Index among the paper's thirteen classes, or ``None``.
        static: Whether the class is in C_static (method, eq. 12).
        colour: RGB colour of the Cityscapes palette.
        short: Column heading of the paper's Table 2 (the name where the paper has none).
    """

    name: str
    label_id: int
    train_id: int
    cross_city_id: int | None
    static: bool
    colour: tuple[int, int, int]
    short: str


CLASSES: Final[tuple[RoadClass, ...]] = (
    RoadClass("road", 7, 0, 0, True, (128, 64, 128), "Road"),
    RoadClass("sidewalk", 8, 1, 1, True, (244, 35, 232), "SW"),
    RoadClass("building", 11, 2, 2, True, (70, 70, 70), "BLDG"),
    RoadClass("wall", 12, 3, None, True, (102, 102, 156), "Wall"),
    RoadClass("fence", 13, 4, None, True, (190, 153, 153), "Fence"),
    RoadClass("pole", 17, 5, None, True, (153, 153, 153), "Pole"),
    RoadClass("traffic light", 19, 6, 3, True, (250, 170, 30), "TL"),
    RoadClass("traffic sign", 20, 7, 4, True, (220, 220, 0), "TS"),
    RoadClass("vegetation", 21, 8, 5, True, (107, 142, 35), "VEG"),
    RoadClass("terrain", 22, 9, None, True, (152, 251, 152), "Terrain"),
    RoadClass("sky", 23, 10, 6, True, (70, 130, 180), "Sky"),
    RoadClass("person", 24, 11, 7, False, (220, 20, 60), "Person"),
    RoadClass("rider", 25, 12, 8, False, (255, 0, 0), "Rider"),
    RoadClass("car", 26, 13, 9, False, (0, 0, 142), "Car"),
    RoadClass("truck", 27, 14, None, False, (0, 0, 70), "Truck"),
    RoadClass("bus", 28, 15, 10, False, (0, 60, 100), "Bus"),
    RoadClass("train", 31, 16, None, False, (0, 80, 100), "Train"),
    RoadClass("motorcycle", 32, 17, 11, False, (0, 0, 230), "Motor."),
    RoadClass("bicycle", 33, 18, 12, False, (119, 11, 32), "Bicycle"),
)
"""The 19 classes, at the index of their trainId."""

CATEGORIES: Final[dict[str, tuple[str, ...]]] = {
    "flat": ("road", "sidewalk"),
    "construction": ("building", "wall", "fence"),
    "object": ("pole", "traffic light", "traffic sign"),
    "nature": ("vegetation", "terrain"),
    "sky": ("sky",),
    "human": ("person", "rider"),
    "vehicle": ("car", "truck", "bus", "train", "motorcycle", "bicycle"),
}
"""The categories of Cityscapes and their classes."""
CATEGORY: Final[dict[str, str]] = {
    name: category for category, names in CATEGORIES.items() for name in names
}
"""The category of each class by its name."""

TRAIN_ID: Final[dict[str, int]] = {c.name: c.train_id for c in CLASSES}
STATIC_TRAIN_IDS: Final[tuple[int, ...]] = tuple(c.train_id for c in CLASSES if c.static)
"""C_static of eq. 12, as trainIds."""

CROSS_CITY_CLASSES: Final[tuple[RoadClass, ...]] = tuple(
    sorted(
        (c for c in CLASSES if c.cross_city_id is not None),
        key=lambda c: c.cross_city_id if c.cross_city_id is not None else VOID,
    )
)
"""The paper's thirteen classes, in its column order."""


def _lookup(pairs: dict[int, int]) -> npt.NDArray[np.uint8]:
    table = np.full(256, VOID, dtype=np.uint8)
    for key, value in pairs.items():
        table[key] = value
    table.setflags(write=False)
    return table


LABEL_ID_TO_TRAIN_ID: Final = _lookup({c.label_id: c.train_id for c in CLASSES})
"""256-entry table; every labelId that is not evaluated becomes `VOID`."""
TRAIN_ID_TO_LABEL_ID: Final = _lookup({c.train_id: c.label_id for c in CLASSES})
"""256-entry table; `VOID`, not labelId 0 ("unlabeled"), for values that are not a trainId."""


def palette() -> npt.NDArray[np.uint8]:
    """The Cityscapes palette as a (256, 3) uint8 RGB table indexed by trainId; void is black."""
    table = np.zeros((256, 3), dtype=np.uint8)
    for road_class in CLASSES:
        table[road_class.train_id] = road_class.colour
    return table


def colourise(train_ids: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Paints a (H, W) uint8 map of trainIds in the Cityscapes palette: (H, W, 3) uint8 RGB."""
    coloured: npt.NDArray[np.uint8] = palette()[train_ids]
    return coloured


def told_apart(names: Sequence[str], short: Callable[[str], str]) -> list[str]:
    """Short forms of names, no two of which are the same.

    Args:
        names: All different, such as a segmenter's classes.
        short: A name as a column or a figure is called; it may call several alike, as
            "traffic light" and "traffic_light".

    Returns:
        The short forms, in order; behind one that an earlier name has stands a number.
    """
    plain = [short(name) for name in names]
    made: list[str] = []
    for form in plain:
        number, chosen = 2, form
        while chosen in made or (chosen != form and chosen in plain):
            chosen, number = f"{form}_{number}", number + 1
        made.append(chosen)
    return made
