"""Which pixels of a provider's pictures show the provider and not the street.

Watermarks, drawn names, the bonnet of the car that took the pictures: they are the same at every
time, so they would count as static things of the city.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from adapters.images import ImageError, decode_image
from crosscity.areas import inside_polygon

Polygon = tuple[tuple[float, float], ...]

_WHITE = 128
_MOST_WHITE = 0.5
"""Share of a drawing; beyond it, one that was drawn the other way round is more likely."""
_SAME_SHAPE = 0.02


@dataclass(frozen=True)
class ImageMask:
    """Pixels to ignore, for pictures of every size.

    Attributes:
        polygons: Corners (x, y) in pixels from the upper left corner of the picture; inside is
            ignored. They may reach beyond the picture, as a bonnet does.
        name: The file of the drawn mask, for errors.
        drawn: (H, W) bool of the drawn mask, True where ignored; ``None`` where there is none.
    """

    polygons: tuple[Polygon, ...] = ()
    name: str = ""
    drawn: npt.NDArray[np.bool_] | None = None
    _made: dict[tuple[int, int], npt.NDArray[np.bool_]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def pixels(self, shape: tuple[int, int]) -> npt.NDArray[np.bool_]:
        """(height, width) bool for pictures of that size, True where ignored; not to be changed.

        A drawn mask is scaled, as views come in the size of the catalog. Made once a size, as the
        pictures of a city have few.

        Raises:
            ImageError: The drawn mask has other proportions than the picture, a polygon lies beside
                it, or all of it would be ignored.
        """
        known = self._made.get(shape)
        if known is None:
            known = self._drawn_for(shape)
            known.flags.writeable = False
            self._made[shape] = known
        return known

    def _drawn_for(self, shape: tuple[int, int]) -> npt.NDArray[np.bool_]:
        height, width = shape
        ignored = np.zeros(shape, dtype=np.bool_)
        rows, columns = np.mgrid[:height, :width] + 0.5
        for number, polygon in enumerate(self.polygons, 1):
            ring = [*polygon, polygon[0]]
            inside = inside_polygon(rows.ravel(), columns.ravel(), [ring])
            if not inside.any():
                raise ImageError(
                    f"Polygon {number} of the mask covers no pixel of a picture that is "
                    f"{height}×{width} pixels high and wide: its corners are [x, y] in pixels of "
                    "the stored images, from the upper left corner."
                )
            ignored |= inside.reshape(shape)
        if self.drawn is not None:
            high, wide = self.drawn.shape
            if abs(wide * height - width * high) > _SAME_SHAPE * width * high:
                raise ImageError(
                    f"The mask {self.name} is {high}×{wide} pixels high and wide and the picture "
                    f"{height}×{width}: draw it on one of the pictures."
                )
            scaled = cv2.resize(
                self.drawn.astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST_EXACT
            )
            ignored |= np.asarray(scaled, dtype=np.bool_)
        if ignored.all():
            raise ImageError(
                f"The mask covers all of a picture that is {height}×{width} pixels high and wide, "
                "so nothing would be left of it: give the parts that show the provider."
            )
        return ignored

    def digest(self) -> str:
        """What changes when other pixels are ignored."""
        digest = hashlib.sha256(repr(self.polygons).encode())
        if self.drawn is not None:
            digest.update(repr(self.drawn.shape).encode() + np.packbits(self.drawn).tobytes())
        return digest.hexdigest()


def drawn_mask(path: Path) -> npt.NDArray[np.bool_]:
    """A mask that was drawn as a picture: (H, W) bool, True where it is white.

    Raises:
        ImageError: There is no such picture, or nothing in it is white, or more than half of it.
    """
    if path.exists() and not path.is_file():
        raise ImageError(f"The mask {path} cannot be read: it is not a file.")
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ImageError(f"The mask {path} cannot be read: {error.strerror}.") from None
    white = (decode_image(data, f"The mask {path}") >= _WHITE).all(axis=2)
    share = float(white.mean())
    if not 0 < share < 1:
        raise ImageError(
            f"The mask {path} is white {'nowhere' if share == 0 else 'everywhere'}: what is to be "
            "ignored is white (255 of 255), the rest black."
        )
    if share > _MOST_WHITE:
        raise ImageError(
            f"The mask {path} is white in {share:.0%} of its pixels, so more than half of every "
            "picture would be ignored: what is to be ignored is white, the rest black; invert it, "
            "or give polygons where so much is meant."
        )
    return np.asarray(white, dtype=np.bool_)
