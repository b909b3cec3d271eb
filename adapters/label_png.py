"""Label maps of others in PNG files: values as their maker meant them, or a refusal that says why.

A PNG can hold the same picture in many ways, and programs that make files smaller change from one
to the other (an 8-bit grey becomes a palette of greys in any order, or has fewer bits). So the
header is read first, and how samples become values follows from it (PNG specification, third
edition, 11.2.1 IHDR, 11.2.2 PLTE; libpng and Pillow scale samples of fewer bits).
"""

from __future__ import annotations

import io
import struct
from dataclasses import dataclass, field
from typing import Any, Final

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from adapters.images import MAX_BYTES, MAX_PIXELS, ImageError, exif_orientation
from adapters.png_chunks import png_fault

_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
_GREY, _RGB, _PALETTE, _GREY_ALPHA, _RGBA = 0, 2, 3, 4, 6
_DEPTHS: Final = {_GREY: (1, 2, 4, 8, 16), _PALETTE: (1, 2, 4, 8), _RGB: (8, 16)} | dict.fromkeys(
    (_GREY_ALPHA, _RGBA), (8, 16)
)
_AS_COLOURS: Final = (
    "if its labels are colours, give them as '#rrggbb' in the label map; else take the files of "
    "values"
)

Colour = tuple[int, int, int]


@dataclass(frozen=True)
class LabelValues:
    """A decoded label map.

    Attributes:
        values: (H, W) uint8.
        colours: The colour of each value that occurs, where they are indices of a palette.
    """

    values: npt.NDArray[np.uint8]
    colours: dict[int, Colour] = field(default_factory=dict)


def decode_label_values(
    data: bytes, name: str, *, max_pixels: int = MAX_PIXELS, max_bytes: int = MAX_BYTES
) -> LabelValues:
    """Decodes label values from a PNG.

    Greys of 1, 2, 4 and 8 bits are their samples, unscaled; of 16 bits, where all are below 256. A
    palette that has colours gives its indices, a palette of greys alone its greys, where they
    tell all indices that occur apart. Pictures of
    colours are refused even where all are greys: black may be a value or the colour of void.

    Args:
        data: The encoded map.
        name: What the error message calls it.
        max_pixels: Largest height × width that is decoded.
        max_bytes: Largest encoded size that is read.

    Raises:
        ImageError: It is not a PNG, is cut short or corrupt, over a limit, or ambiguous.
    """
    depth, colour = _checked(data, name, max_pixels, max_bytes)
    if colour == _PALETTE:
        return _of_palette(data, name)
    if colour in (_RGB, _RGBA):
        raise ImageError(f"{name} holds colours where label values are needed: {_AS_COLOURS}.")
    samples = _samples(data, name)
    if colour == _GREY:
        values = samples // (255 // (2**depth - 1)) if depth in (2, 4) else samples
        return LabelValues(_in_a_byte(values, name))
    if (samples[..., -1] != (255 if depth == 8 else 65535)).any():
        raise ImageError(f"{name} has transparent pixels, which no label has: {_AS_COLOURS}.")
    return LabelValues(_in_a_byte(samples[..., 0], name))


def check_not_turned(data: bytes, name: str) -> None:
    """Refuses a label map with an EXIF orientation, which would leave its image or not.

    Raises:
        ImageError: It carries one.
    """
    turn = exif_orientation(data)
    if turn != 1:
        raise ImageError(
            f"{name} carries the EXIF orientation {turn}, which some programs heed and others do "
            "not: turn its pixels, and remove the orientation."
        )


def decode_first_channel(
    data: bytes, name: str, *, max_pixels: int = MAX_PIXELS, max_bytes: int = MAX_BYTES
) -> npt.NDArray[np.uint16]:
    """The red or only channel of a 16-bit PNG: (H, W) uint16.

    Raises:
        ImageError: It is not such a PNG, is cut short or corrupt, or over a limit.
    """
    depth, _ = _checked(data, name, max_pixels, max_bytes)
    if depth != 16:
        raise ImageError(
            f"{name} has {depth} bits a sample where 16 are needed: take the files of class ids, "
            "not their coloured copies."
        )
    samples = _samples(data, name)
    first = samples if samples.ndim == 2 else samples[..., 0]
    return np.ascontiguousarray(first.astype(np.uint16))


def _checked(data: bytes, name: str, max_pixels: int, max_bytes: int) -> tuple[int, int]:
    """Bits a sample and colour type, once the file is known to be whole and not too large."""
    if not data:
        raise ImageError(f"{name} is empty.")
    if len(data) > max_bytes:
        raise ImageError(f"{name} has {len(data)} bytes, more than the {max_bytes} allowed.")
    if not data.startswith(_SIGNATURE) or len(data) < 26 or data[12:16] != b"IHDR":
        jpeg = data.startswith(b"\xff\xd8")
        why = ": a JPEG changes label values, take the PNG files" if jpeg else ""
        raise ImageError(f"{name} is not a PNG image{why}.")
    width, height, depth, colour = struct.unpack(">IIBB", data[16:26])
    if depth not in _DEPTHS.get(colour, ()):
        raise ImageError(f"{name} has {depth} bits and PNG colour type {colour}, which no PNG has.")
    if height * width > max_pixels:
        raise ImageError(
            f"{name} has more pixels ({height}×{width}) than the {max_pixels} allowed."
        )
    try:
        with Image.open(io.BytesIO(data), formats=("PNG",)) as whole:
            pictures = int(getattr(whole, "n_frames", 1))
            whole.verify()  # every checksum, up to the last chunk
    except Exception as error:  # Pillow's parsers raise a dozen types on hostile bytes
        raise _corrupt(name) from error
    fault = png_fault(data)
    if fault is not None:
        raise ImageError(f"{name} is a corrupt PNG: {fault}.")
    if pictures > 1:
        raise ImageError(
            f"{name} is an animation of {pictures} pictures: a label is one, take its file."
        )
    check_not_turned(data, name)
    return depth, colour


def _of_palette(data: bytes, name: str) -> LabelValues:
    """Indices of a palette that has colours, greys of one that has none."""
    try:
        with Image.open(io.BytesIO(data), formats=("PNG",)) as picture:
            picture.load()
            indices = np.array(picture, dtype=np.uint8)
            flat = picture.getpalette("RGB") or []
    except Exception as error:  # as above
        raise _corrupt(name) from error
    palette = np.array(flat, dtype=np.uint8).reshape(-1, 3)
    used = np.unique(indices)
    if used.size and used[-1] >= len(palette):
        raise ImageError(
            f"{name} is corrupt: it uses entry {used[-1]} of a palette of {len(palette)}."
        )
    if (palette == palette[:, :1]).all():
        if len(np.unique(palette[used])) < used.size:
            raise ImageError(
                f"{name} gives several of its values the same grey in its palette, so nothing "
                "tells which counts: store it as an 8-bit grey PNG of its values."
            )
        return LabelValues(palette[:, 0][indices])
    triples = palette[used].tolist()
    colours = {int(i): (r, g, b) for i, (r, g, b) in zip(used, triples, strict=True)}
    return LabelValues(indices, colours)


def _samples(data: bytes, name: str) -> npt.NDArray[np.unsignedinteger[Any]]:
    """Samples of all but palettes, in the order of the file; fewer bits than 8 come scaled."""
    depth, colour = data[24], data[25]
    if colour == _GREY:
        try:
            with Image.open(io.BytesIO(data), formats=("PNG",)) as picture:
                picture.load()
                return np.array(picture, dtype=np.uint16 if depth == 16 else np.uint8)
        except Exception as error:  # as above
            raise _corrupt(name) from error
    # Pillow keeps 8 of the 16 bits of a colour PNG; OpenCV keeps all, in its own order.
    decoded = cv2.imdecode(np.frombuffer(data, dtype=np.uint8), cv2.IMREAD_UNCHANGED)
    expected = np.uint16 if depth == 16 else np.uint8
    if decoded is None or decoded.dtype != expected or decoded.ndim != 3:
        raise _corrupt(name)
    samples: npt.NDArray[np.unsignedinteger[Any]] = decoded.astype(expected, copy=False)
    return samples[..., [2, 1, 0, *range(3, decoded.shape[2])]]


def _in_a_byte(values: npt.NDArray[np.unsignedinteger[Any]], name: str) -> npt.NDArray[np.uint8]:
    if values.size and values.max() > 255:
        raise ImageError(
            f"{name} holds the 16-bit value {values.max()}: labels are 0 to 255; it may number "
            "instances, take the files of classes."
        )
    return np.ascontiguousarray(values.astype(np.uint8))


def _corrupt(name: str) -> ImageError:
    return ImageError(f"{name} is cut short or corrupt and cannot be decoded.")
