"""Draws the pictures of this folder anew: `python tests/data/make.py` (README.md: what they are).

Two times of one place in two simulated cities, in the public layout of the cross-city data set,
with the city's name drawn into the corner as it is in the real ones; of each picture the exact
labels. Nothing here was photographed.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from adapters.images import encode_jpeg
from adapters.street_view.simulated import SimulatedCity, find_style

FOLDER: Final = Path(__file__).parent / "time_pairs"
SIZE: Final = (320, 640)
PLACES: Final = {"Rome": ("rome", 1, 30_000, 180), "Tokyo": ("tokyo", 3, 30_000, 0)}
"""City: style, seed, place and the heading in its name; no catalog here harvests these places."""
CORNER: Final = (34, 108)
"""Height and width of the part that the name is drawn into."""


def main() -> None:
    """Writes pictures and labels."""
    for city, (style, seed, place, heading) in PLACES.items():
        simulated = SimulatedCity(find_style(style), seed, SIZE)
        for time in (0, 1):
            rendering = simulated.render(place, time)
            name = f"pano_{place:05d}_{time}_{heading}"
            picture = FOLDER / city / "Images" / "Train" / f"{name}.jpg"
            labels = FOLDER / "labels" / city / f"{name}.png"
            for path in (picture, labels):
                path.parent.mkdir(parents=True, exist_ok=True)
            picture.write_bytes(encode_jpeg(named(rendering.image, city), quality=88))
            Image.fromarray(rendering.train_ids).save(labels, optimize=True)


def named(image: npt.NDArray[np.uint8], city: str) -> npt.NDArray[np.uint8]:
    """The picture with the city's name on a dark corner."""
    drawn = image.copy()
    height, width = CORNER
    drawn[:height, :width] = drawn[:height, :width] // 3
    cv2.putText(drawn, city, (8, height - 10), cv2.FONT_HERSHEY_SIMPLEX, 0.8, (255,) * 3, 2)
    return drawn


if __name__ == "__main__":
    main()
