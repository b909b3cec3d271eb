"""From a panorama or a photograph to a perspective view with a heading, pitch and field of view.

World directions are east, north, up. A camera's heading turns clockwise from north, its pitch up
from the horizon, its roll clockwise as seen from behind it. An equirectangular panorama shows the
direction of its heading in the middle; column c of W looks 360 (c + 1/2) / W - 180 degrees to the
right of it, row r of H 90 - 180 (r + 1/2) / H degrees up.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from crosscity.checks import check_image, number, whole_number

ALGORITHM_VERSION: Final = "1"
"""Raised by hand whenever the same picture gives another view."""

MAX_SAMPLES: Final = 8
"""Most samples along each side of a pixel; a view is at most so much coarser than its source."""
MAX_SOURCE_SIDE: Final = 30_000
"""Pixels; what OpenCV can look up is 32 767 wide, and margins are added."""
MAX_VIEW_SIDE: Final = 16_384
"""Pixels along a side of a view."""
MAX_SPHERE_SIDE: Final = 2**20
"""Pixels along a side of a whole panorama, of which tiles are fetched."""
_ROWS_A_STRIP: Final = 64
_MOST_COLUMNS: Final = 32_766
"""That OpenCV looks up at once, of a source and of a view."""
_MARGIN: Final = 3
"""Source pixels around a strip that interpolation may touch."""

Image = npt.NDArray[np.uint8]
Float = npt.NDArray[np.float64]


@dataclass(frozen=True)
class View:
    """A perspective camera without distortion, upright.

    Attributes:
        heading: Degrees clockwise from north.
        pitch: Degrees above the horizon, -90 to 90.
        fov: Horizontal field of view in degrees, above 0 and below 180.
        height: Of the picture, pixels.
        width: Of the picture, pixels.
    """

    heading: float
    pitch: float
    fov: float
    height: int
    width: int

    def __post_init__(self) -> None:
        number(self.heading, "a view's heading", what="a finite number of degrees")
        number(self.pitch, "a view's pitch", -90, 90, what="a number of degrees")
        _check_fov(self.fov, "a view's field of view")
        for name in ("height", "width"):
            # Python's integers: those of numpy may be eight bits wide.
            side = whole_number(
                getattr(self, name), f"the {name} of a view in pixels", 1, MAX_VIEW_SIDE
            )
            object.__setattr__(self, name, side)

    @property
    def focal(self) -> float:
        """Focal length in pixels."""
        return self.width / 2 / math.tan(math.radians(self.fov) / 2)


@dataclass(frozen=True)
class Equirectangular:
    """How a panorama looks at the world; the picture may be a part of the whole sphere.

    Attributes:
        full_height: Rows of the whole sphere.
        full_width: Columns of the whole sphere.
        left: Column of the whole sphere at which the picture starts; it may run over the seam.
        top: Row of the whole sphere at which the picture starts.
        heading: Degrees clockwise from north of the sphere's middle.
        pitch: Degrees above the horizon of the sphere's middle.
        roll: Degrees clockwise.
    """

    full_height: int
    full_width: int
    left: int = 0
    top: int = 0
    heading: float = 0.0
    pitch: float = 0.0
    roll: float = 0.0

    def __post_init__(self) -> None:
        for name in ("full_height", "full_width"):
            side = whole_number(getattr(self, name), f"a panorama's {name}", 1, MAX_SPHERE_SIDE)
            object.__setattr__(self, name, side)
        for name in ("left", "top"):
            least, most = -MAX_SPHERE_SIDE, MAX_SPHERE_SIDE
            place = whole_number(getattr(self, name), f"a panorama's {name}", least, most)
            object.__setattr__(self, name, place)
        for name in ("heading", "pitch", "roll"):
            number(getattr(self, name), f"a panorama's {name}", what="a finite number of degrees")


@dataclass(frozen=True)
class Perspective:
    """How a photograph looks at the world.

    Attributes:
        fov: Horizontal field of view in degrees, along the middle row.
        heading: Degrees clockwise from north.
        pitch: Degrees above the horizon.
        roll: Degrees clockwise.
        k1: Radial distortion: a point at radius r is drawn at r (1 + k1 r² + k2 r⁴), r in focal
            lengths.
        k2: See `k1`.
    """

    fov: float
    heading: float = 0.0
    pitch: float = 0.0
    roll: float = 0.0
    k1: float = 0.0
    k2: float = 0.0

    def __post_init__(self) -> None:
        _check_fov(self.fov, "a photograph's field of view")
        for name in ("heading", "pitch", "roll"):
            number(getattr(self, name), f"a photograph's {name}", what="a finite number of degrees")
        for name in ("k1", "k2"):
            number(getattr(self, name), f"a photograph's {name}", -1e3, 1e3)


Source = Equirectangular | Perspective


def camera_axes(heading: float, pitch: float, roll: float = 0.0) -> Float:
    """Rows right, up and forward of a camera in east, north, up; float64 (3, 3), orthonormal."""
    h, p, r = (math.radians(angle) for angle in (heading, pitch, roll))
    right = np.array([math.cos(h), -math.sin(h), 0.0])
    forward = np.array([math.sin(h) * math.cos(p), math.cos(h) * math.cos(p), math.sin(p)])
    up = np.cross(right, forward)
    return np.stack(
        [math.cos(r) * right - math.sin(r) * up, math.sin(r) * right + math.cos(r) * up, forward]
    )


def render_view(image: Image, source: Source, view: View) -> tuple[Image, float]:
    """Resamples a picture to a view.

    Every pixel is the mean of n × n bilinear samples spread evenly over it, n being the number of
    source pixels along a pixel where the view is coarsest: a box filter over each pixel's own
    footprint, which neither aliases in the middle nor blurs the edges. Where no pixel of the view
    is coarser than the source, bicubic interpolation is used instead.

    Args:
        image: (H, W, 3) uint8, the whole of the source or (of a panorama) a part of it.
        source: How the picture looks at the world.
        view: What is wanted.

    Returns:
        (view.height, view.width, 3) uint8, black where the picture does not reach, and the share
        of the view that it does reach, 0 to 1.

    Raises:
        ValueError: It is not a picture, or does not fit the sphere it is a part of.
    """
    _check(image, source)
    size = (image.shape[0], image.shape[1])
    samples = _samples(source, size, view)
    how = cv2.INTER_LINEAR if samples > 1 else cv2.INTER_CUBIC
    out = np.empty((view.height, view.width, 3), dtype=np.uint8)
    reached = 0
    for rows, x, y in _strips(source, size, view, samples):
        part, valid = _resample(image, source, x, y, how)
        reached += int(valid.sum())
        count = rows.stop - rows.start
        if samples > 1:
            grouped = part.reshape(count, samples, view.width, samples, 3)
            part = np.rint(grouped.mean(axis=(1, 3), dtype=np.float32)).astype(np.uint8)
        out[rows] = part
    return out, reached / (view.height * view.width * samples**2)


def view_coordinates(source: Source, size: tuple[int, int], view: View) -> tuple[Float, Float]:
    """Where the pixels of a view lie in the source.

    Args:
        source: How the picture looks at the world.
        size: (height, width) of the picture in pixels; of no use for a panorama.
        view: The view.

    Returns:
        Columns and rows, float64 (view.height, view.width), in pixels of the photograph or of the
        whole sphere; columns of a panorama run on over the seam. NaN behind a photograph.
    """
    columns, rows = np.arange(view.width, dtype=float), np.arange(view.height, dtype=float)
    return _project(source, size, view, columns, rows)


def tiles_of_view(
    source: Equirectangular, view: View, tile: tuple[int, int]
) -> list[tuple[int, int]]:
    """The tiles of a whole panorama that a view needs, so that no other is asked for.

    Args:
        source: The whole panorama (its `left` and `top` are ignored).
        view: The view.
        tile: (height, width) of a tile in pixels.

    Returns:
        (column, row) of the tiles, sorted.
    """
    for side, name in zip(tile, ("height", "width"), strict=True):
        whole_number(side, f"the {name} of a tile in pixels", 1, MAX_SPHERE_SIDE)
    x, y = view_coordinates(source, (source.full_height, source.full_width), view)
    found: set[tuple[int, int]] = set()
    # A pixel between two that are examined lies within the margin of one of them.
    step = max(1.0, _coarseness(source, (0, 0), view))
    reach = _MARGIN + step
    for dx in (-reach, 0.0, reach):
        for dy in (-reach, 0.0, reach):
            columns = np.floor((x + dx) % source.full_width / tile[1]).astype(np.int64)
            rows = np.clip(y + dy, 0, source.full_height - 1) // tile[0]
            pairs = np.unique(columns * 1_000_000 + rows.astype(np.int64))
            found |= {(int(p) // 1_000_000, int(p) % 1_000_000) for p in pairs}
    return sorted(found)


def needed_width(view: View) -> int:
    """Columns that a whole panorama has when its middle is as fine as that of a view."""
    return math.ceil(2 * math.pi * view.focal)


def _check_fov(fov: float, name: str) -> None:
    # Nearer to the ends, tangents and focal lengths leave the range of floats.
    if not 0.01 <= number(fov, name, what="a number of degrees") <= 179.99:
        raise ValueError(f"{name} must lie between 0 and 180 degrees, not {fov!r}")


def _check(image: Image, source: Source) -> None:
    check_image(image, "the picture", grey=False)
    if max(image.shape) > MAX_SOURCE_SIDE:
        raise ValueError(
            f"A view is made from a picture of at most {MAX_SOURCE_SIDE} pixels a side, not "
            f"{image.shape[1]}×{image.shape[0]}; make it smaller."
        )
    if isinstance(source, Equirectangular) and (
        image.shape[1] > source.full_width
        or source.top < 0
        or source.top + image.shape[0] > source.full_height
    ):
        raise ValueError(
            f"A picture of {image.shape[0]}×{image.shape[1]} pixels at row {source.top} is not a "
            f"part of a sphere of {source.full_height}×{source.full_width} pixels."
        )


def _project(
    source: Source, size: tuple[int, int], view: View, columns: Float, rows: Float
) -> tuple[Float, Float]:
    """Source coordinates of every combination of view columns and rows (which may be fractions)."""
    turn = camera_axes(view.heading, view.pitch) @ (
        camera_axes(source.heading, source.pitch, source.roll).T
    )
    across = (columns - (view.width - 1) / 2)[None, :] / view.focal
    upward = ((view.height - 1) / 2 - rows)[:, None] / view.focal
    right, up, ahead = (across * turn[0, k] + upward * turn[1, k] + turn[2, k] for k in range(3))
    if isinstance(source, Perspective):
        return _on_photograph(source, size, right, up, ahead)
    # Measured from the middle of the view, so that what is one piece in the view stays one piece.
    middle = math.atan2(turn[2, 0], turn[2, 2])
    cos, sin = math.cos(middle), math.sin(middle)
    longitude = middle + np.arctan2(cos * right - sin * ahead, cos * ahead + sin * right)
    latitude = np.arctan2(up, np.hypot(right, ahead))
    x = (longitude / (2 * math.pi) + 0.5) * source.full_width - 0.5
    y = (0.5 - latitude / math.pi) * source.full_height - 0.5
    return x, y


def _on_photograph(
    source: Perspective, size: tuple[int, int], right: Float, up: Float, ahead: Float
) -> tuple[Float, Float]:
    height, width = size
    # The field of view is that of the drawn edge, so distortion is in it.
    radius = _undistorted(math.tan(math.radians(source.fov) / 2), source)
    focal = width / 2 / radius
    with np.errstate(divide="ignore", invalid="ignore"):
        x, y = right / ahead, up / ahead
        r2 = x * x + y * y
        drawn = 1.0 + r2 * (source.k1 + source.k2 * r2)
        # Beyond the radius where distortion turns back, points are drawn over others.
        slope = 1.0 + r2 * (3 * source.k1 + 5 * source.k2 * r2)
    hidden = (ahead <= 1e-9) | (slope <= 0)
    columns = np.where(hidden, np.nan, (width - 1) / 2 + focal * x * drawn)
    rows = np.where(hidden, np.nan, (height - 1) / 2 - focal * y * drawn)
    return columns, rows


def _undistorted(tangent: float, source: Perspective) -> float:
    """Radius at which a ray of that tangent is drawn, in focal lengths."""
    r2 = tangent * tangent
    return tangent * (1.0 + r2 * (source.k1 + source.k2 * r2))


def _coarseness(source: Source, size: tuple[int, int], view: View) -> float:
    """Most source pixels that lie along one pixel of the view, examined on a grid of points."""
    columns = np.linspace(0, max(view.width - 1, 0), 17)
    rows = np.linspace(0, max(view.height - 1, 0), 9)
    x, y = _project(source, size, view, columns, rows)
    x_right, y_right = _project(source, size, view, columns + 0.5, rows)
    x_below, y_below = _project(source, size, view, columns, rows + 0.5)
    steps = np.stack(
        [np.hypot(x_right - x, y_right - y) * 2, np.hypot(x_below - x, y_below - y) * 2]
    )
    finite = steps[np.isfinite(steps)]
    return float(finite.max()) if finite.size else 1.0


def _samples(source: Source, size: tuple[int, int], view: View) -> int:
    return min(MAX_SAMPLES, max(1, math.ceil(_coarseness(source, size, view) - 0.05)))


def _strips(
    source: Source, size: tuple[int, int], view: View, samples: int
) -> Iterator[tuple[slice, Float, Float]]:
    """Rows of the view with the source coordinates of all their samples."""
    inside = (np.arange(samples) + 0.5) / samples - 0.5
    columns = (np.arange(view.width)[:, None] + inside).ravel()
    for start in range(0, view.height, _ROWS_A_STRIP):
        rows = slice(start, min(start + _ROWS_A_STRIP, view.height))
        fine = (np.arange(rows.start, rows.stop)[:, None] + inside).ravel()
        yield (rows, *_project(source, size, view, columns, fine))


def _resample(
    image: Image, source: Source, x: Float, y: Float, how: int
) -> tuple[Image, npt.NDArray[np.bool_]]:
    """Looks up samples; black and False where the picture does not reach."""
    height, width = image.shape[:2]
    if isinstance(source, Equirectangular):
        y = y - source.top
        start, stop = math.floor(x.min()) - _MARGIN, math.ceil(x.max()) + _MARGIN + 1
        if stop - start > _MOST_COLUMNS:
            raise ValueError(
                f"A view across {stop - start} columns of a panorama is made from {_MOST_COLUMNS} "
                "at most: make the picture smaller, or the field of view."
            )
        columns = (np.arange(start, stop) - source.left) % source.full_width
        x = x - start
        if width == source.full_width:
            held = np.ones(x.shape, dtype=np.bool_)
        else:
            inside = (x + start - source.left + 0.5) % source.full_width
            held = inside <= width
            # Beyond the picture, its nearest column: interpolation at the edges looks at it.
            nearest = np.where(columns < (width + source.full_width) // 2, width - 1, 0)
            columns = np.where(columns < width, columns, nearest)
    else:
        columns = np.arange(width)
        held = (x >= -0.5) & (x <= width - 0.5)
    whole = isinstance(source, Equirectangular) and height == source.full_height
    valid = held if whole else held & (y >= -0.5) & (y <= height - 0.5)
    if not valid.any():
        return np.zeros((*x.shape, 3), dtype=np.uint8), valid
    low = max(0, math.floor(np.nanmin(y[valid])) - _MARGIN)
    high = min(height, math.ceil(np.nanmax(y[valid])) + _MARGIN + 1)
    near = np.ascontiguousarray(np.take(image[low:high], columns, axis=1))
    found = _looked_up(near, x, y - low, how)
    if not valid.all():
        found[~valid] = 0
    return found, valid


def _looked_up(image: Image, x: Float, y: Float, how: int) -> Image:
    """Samples at columns and rows of a picture, so many columns of them at once as OpenCV takes."""
    parts = [
        cv2.remap(
            image,
            np.nan_to_num(x[:, at : at + _MOST_COLUMNS]).astype(np.float32),
            np.nan_to_num(y[:, at : at + _MOST_COLUMNS]).astype(np.float32),
            how,
            borderMode=cv2.BORDER_REPLICATE,
        )
        for at in range(0, x.shape[1], _MOST_COLUMNS)
    ]
    return np.asarray(np.concatenate(parts, axis=1) if len(parts) > 1 else parts[0], dtype=np.uint8)
