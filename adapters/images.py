"""Images from outside become arrays, arrays become image files.

Whatever a service or a folder hands over is untrusted: the size in the header is checked before
a pixel is decoded, only three formats are tried, and everything that goes wrong is one
`ImageError` whose sentence names the image. Pictures leave as JPEG (views) or PNG (labels and
masks), and nothing but the picture leaves: no EXIF, no comments, no colour profiles.
"""

from __future__ import annotations

import io
import struct
from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image

from adapters.jpeg_metadata import without_metadata
from adapters.png_chunks import may_be_turned, missing_data

FORMATS: Final = ("JPEG", "PNG", "WEBP")
"""The formats that are tried; Pillow's many others are attack surface without use here."""
OTHER_ENDINGS: Final = frozenset(
    {".avif", ".bmp", ".dng", ".gif", ".heic", ".heif", ".jp2", ".jxl", ".tif", ".tiff"}
)
"""Endings of files that are pictures of types that are not read, in lower case."""
MAX_PIXELS: Final = 1 << 26
"""Default limit: 67 million pixels, an 11 584 × 5 792 panorama, 200 MB as an array."""
MAX_BYTES: Final = 1 << 26
"""Default limit on the encoded size: 64 MiB."""

STORED_QUALITY: Final = 95
"""JPEG quality of a stored view that cannot keep the bytes it came with."""

_PNG_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
_PNG_GREY: Final = 0
_PNG_PALETTE: Final = 3
_MODES: Final = {_PNG_GREY: "L", _PNG_PALETTE: "P"}
_KINDS: Final = {_PNG_GREY: "greyscale", _PNG_PALETTE: "palette"}
_EXIF_ORIENTATION: Final = 0x0112
_PNG_COMPRESSION: Final = 6
_JPEG_MAX_SIDE: Final = 65_500
"""libjpeg's own limit, a little below the format's."""


class ImageError(ValueError):
    """An image cannot be used; the message is one sentence that names it and what is wrong."""


def decode_image(
    data: bytes, name: str, *, max_pixels: int = MAX_PIXELS, max_bytes: int = MAX_BYTES
) -> npt.NDArray[np.uint8]:
    """Decodes a JPEG, PNG or WebP of any colour mode into upright RGB.

    Grey, palette and CMYK images are converted, 16-bit samples keep their high byte, transparent
    pixels are laid over black, the EXIF orientation is applied, colour profiles are ignored, and
    of several pictures in a file (an animation, a stereo pair) the first is taken.

    Args:
        data: The encoded image.
        name: What the error message calls it (a file name, an image id).
        max_pixels: Largest height × width that is decoded.
        max_bytes: Largest encoded size that is read.

    Returns:
        (H, W, 3) uint8 RGB, C-contiguous and writable.

    Raises:
        ImageError: The bytes are not such an image, are cut short or corrupt, or exceed a limit.
    """
    _check_byte_count(data, name, max_bytes)
    try:
        picture = Image.open(io.BytesIO(data), formats=FORMATS)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise _too_many_pixels(name, "", max_pixels) from error
    except Exception as error:  # Pillow's parsers raise a dozen types on hostile bytes
        raise ImageError(f"{name} is not a readable JPEG, PNG or WebP image.") from error
    with picture:
        _check_pixel_count((picture.height, picture.width), name, max_pixels)
        try:
            picture.load()
            upright = _upright(_as_rgb(picture), _orientation(picture))
        except Exception as error:  # as above
            raise ImageError(
                f"{name} is cut short or corrupt and cannot be decoded ({_reason(error)})."
            ) from error
    fault = missing_data(data) if picture.format == "PNG" else None
    if fault is not None:
        raise ImageError(f"{name} is cut short or corrupt and cannot be decoded ({fault}).")
    return np.array(upright, order="C")  # a copy: Pillow's own buffer is read-only


def image_size(
    data: bytes, name: str, *, max_pixels: int = MAX_PIXELS, max_bytes: int = MAX_BYTES
) -> tuple[int, int]:
    """(height, width) of what `decode_image` would give, from the header alone.

    Raises:
        ImageError: It is not the header of such an image, or exceeds a limit.
    """
    _check_byte_count(data, name, max_bytes)
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as picture:
            height, width = picture.height, picture.width
            _check_pixel_count((height, width), name, max_pixels)
            turned = _stated_orientation(picture, data) >= 5  # columns are the rows of the scene
    except ImageError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise _too_many_pixels(name, "", max_pixels) from error
    except Exception as error:  # as in decode_image
        raise ImageError(f"{name} is not a readable JPEG, PNG or WebP image.") from error
    return (width, height) if turned else (height, width)


def exif_orientation(data: bytes) -> int:
    """The EXIF orientation of an encoded image, 1 (upright) to 8; 1 where none can be read."""
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as picture:
            return _stated_orientation(picture, data)
    except Exception:  # Pillow's parsers raise a dozen types on hostile bytes
        return 1


def encode_jpeg(image: npt.NDArray[np.uint8], quality: int) -> bytes:
    """Encodes an RGB image as a JPEG without metadata; the same array gives the same bytes.

    Args:
        image: (H, W, 3) uint8 RGB, each side 1 to 65 500.
        quality: 1 (worst) to 100; colour is subsampled 4:2:0.

    Returns:
        The JPEG file.

    Raises:
        ImageError: The array is not such an image, or the quality is out of range.
    """
    _check_rgb(image, "A JPEG")
    if max(image.shape) > _JPEG_MAX_SIDE:
        raise ImageError(
            f"A JPEG has sides up to {_JPEG_MAX_SIDE} pixels, not {_described(image)}."
        )
    if not 1 <= quality <= 100:
        raise ImageError(f"JPEG quality lies between 1 and 100, not {quality}.")
    buffer = io.BytesIO()
    picture = Image.fromarray(np.ascontiguousarray(image))
    picture.save(buffer, "JPEG", quality=quality, subsampling="4:2:0", optimize=False)
    return buffer.getvalue()


def encode_png(image: npt.NDArray[np.uint8]) -> bytes:
    """Encodes an RGB image as a PNG, without loss.

    Args:
        image: (H, W, 3) uint8 RGB.

    Returns:
        The PNG file; `decode_image` gives the same array back.

    Raises:
        ImageError: The array is not such an image.
    """
    _check_rgb(image, "A PNG view")
    return _png(image)


def sanitised_image(data: bytes, image: npt.NDArray[np.uint8]) -> bytes:
    """A JPEG of a decoded image with no metadata, and with no second loss where it can be helped.

    A JPEG keeps its compressed picture and loses the rest (EXIF, comments, profiles, what follows
    the picture). Anything else, and a JPEG that decodes to other pixels without its metadata (a
    rotation), is encoded anew at `STORED_QUALITY`.

    Args:
        data: The encoded image.
        image: What `decode_image` made of it.

    Returns:
        The JPEG file.

    Raises:
        ImageError: The array is not an image.
    """
    stripped = without_metadata(data)
    if stripped is not None:
        try:
            same = np.array_equal(decode_image(stripped, "the image"), image)
        except ImageError:
            same = False
        if same:
            return stripped
    return encode_jpeg(image, STORED_QUALITY)


def encode_label_png(labels: npt.NDArray[np.uint8]) -> bytes:
    """Encodes a map of class ids as an 8-bit greyscale PNG.

    Args:
        labels: (H, W) uint8.

    Returns:
        The PNG file; `decode_label_png` gives the same array back.

    Raises:
        ImageError: The array is not such a map.
    """
    return _map_png(labels, "label", "uint8")


def decode_label_png(
    data: bytes,
    name: str,
    *,
    size: tuple[int, int] | None = None,
    palette: bool = False,
    max_pixels: int = MAX_PIXELS,
    max_bytes: int = MAX_BYTES,
) -> npt.NDArray[np.uint8]:
    """Decodes a map of class ids from an 8-bit greyscale PNG, values untouched.

    Other modes are refused rather than converted: Pillow scales 2- and 4-bit greys and blends
    colours, which would turn ids into other ids without a word.

    Args:
        data: The encoded map.
        name: What the error message calls it.
        size: (height, width) that the map must have, where known.
        palette: Whether its ids are the indices of a palette instead.
        max_pixels: Largest height × width that is decoded.
        max_bytes: Largest encoded size that is read.

    Returns:
        (H, W) uint8.

    Raises:
        ImageError: Not an 8-bit greyscale PNG, of another size, cut short, or over a limit.
    """
    _check_byte_count(data, name, max_bytes)
    colour = _PNG_PALETTE if palette else _PNG_GREY
    return np.array(_load_png(data, name, 8, size, max_pixels, colour), dtype=np.uint8)


def encode_mask_png(mask: npt.NDArray[np.bool_]) -> bytes:
    """Encodes a mask as a 1-bit PNG (white where true).

    Args:
        mask: (H, W) bool.

    Returns:
        The PNG file; `decode_mask_png` gives the same array back.

    Raises:
        ImageError: The array is not such a mask.
    """
    return _map_png(mask, "mask", "bool")


def decode_mask_png(
    data: bytes,
    name: str,
    *,
    size: tuple[int, int] | None = None,
    max_pixels: int = MAX_PIXELS,
    max_bytes: int = MAX_BYTES,
) -> npt.NDArray[np.bool_]:
    """Decodes a mask from a 1-bit PNG.

    Args:
        data: The encoded mask.
        name: What the error message calls it.
        size: (height, width) that the mask must have, where known.
        max_pixels: Largest height × width that is decoded.
        max_bytes: Largest encoded size that is read.

    Returns:
        (H, W) bool.

    Raises:
        ImageError: Not a 1-bit greyscale PNG, of another size, cut short, or over a limit.
    """
    _check_byte_count(data, name, max_bytes)
    return np.array(_load_png(data, name, 1, size, max_pixels), dtype=np.bool_)


def _as_rgb(picture: Image.Image) -> npt.NDArray[np.uint8]:
    if picture.mode.startswith("I"):  # 16-bit grey; Pillow's own conversion would clip at 255
        high = (np.asarray(picture).astype(np.int64) >> 8).clip(0, 255).astype(np.uint8)
        return np.repeat(high[:, :, None], 3, axis=2)
    if picture.has_transparency_data:
        rgba = picture.convert("RGBA")
        ground = Image.new("RGBA", rgba.size, (0, 0, 0, 255))
        return np.asarray(Image.alpha_composite(ground, rgba).convert("RGB"))
    return np.asarray(picture.convert("RGB"))


def _stated_orientation(picture: Image.Image, data: bytes) -> int:
    """As `_orientation`; a PNG, of which Pillow decodes all to look for one, only where needed."""
    return 1 if picture.format == "PNG" and not may_be_turned(data) else _orientation(picture)


def _orientation(picture: Image.Image) -> int:
    try:
        value = picture.getexif().get(_EXIF_ORIENTATION, 1)
    except Exception:  # broken metadata must not cost a good image
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _upright(image: npt.NDArray[np.uint8], orientation: int) -> npt.NDArray[np.uint8]:
    """Undoes an EXIF orientation (1 to 8: where the stored first row and column belong)."""
    if orientation >= 5:  # stored columns are the rows of the scene
        image = image.transpose(1, 0, 2)
    if orientation in (3, 4, 7, 8):
        image = image[::-1]
    if orientation in (2, 3, 6, 7):
        image = image[:, ::-1]
    return image


def _load_png(
    data: bytes,
    name: str,
    bits: int,
    size: tuple[int, int] | None,
    max_pixels: int,
    colour: int = _PNG_GREY,
) -> Image.Image:
    found = _check_png_header(data, name, bits, max_pixels, colour)
    if size is not None and found != tuple(size):
        raise ImageError(
            f"{name} is {found[0]}×{found[1]} pixels high and wide where "
            f"{size[0]}×{size[1]} is needed."
        )
    try:
        with Image.open(io.BytesIO(data), formats=("PNG",)) as whole:
            whole.verify()  # every checksum, up to the last chunk; the file must be opened again
        with Image.open(io.BytesIO(data), formats=("PNG",)) as picture:
            picture.load()
    except Exception as error:  # as in decode_image
        raise ImageError(
            f"{name} is cut short or corrupt and cannot be decoded ({_reason(error)})."
        ) from error
    mode = "1" if bits == 1 else _MODES[colour]
    if picture.mode != mode or (picture.height, picture.width) != found:
        raise ImageError(f"{name} is a corrupt PNG: its content contradicts its header.")
    return picture


def _check_png_header(
    data: bytes, name: str, bits: int, max_pixels: int, wanted: int
) -> tuple[int, int]:
    """Reads (height, width) from the first chunk; refuses other colour types and bits."""
    if not data.startswith(_PNG_SIGNATURE) or len(data) < 26 or data[12:16] != b"IHDR":
        raise ImageError(f"{name} is not a PNG image.")
    width, height, depth, colour = struct.unpack(">IIBB", data[16:26])
    if (depth, colour) != (bits, wanted):
        raise ImageError(
            f"{name} is not a {bits}-bit {_KINDS[wanted]} PNG "
            f"(it has {depth} bits a sample and PNG colour type {colour})."
        )
    _check_pixel_count((height, width), name, max_pixels)
    return height, width


def _check_rgb(image: npt.NDArray[np.uint8], what: str) -> None:
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or image.size == 0:
        raise ImageError(
            f"{what} is made from a uint8 array of shape (H, W, 3), not from {_described(image)}."
        )


def _check_byte_count(data: bytes, name: str, max_bytes: int) -> None:
    if not data:
        raise ImageError(f"{name} is empty.")
    if len(data) > max_bytes:
        raise ImageError(f"{name} has {len(data)} bytes, more than the {max_bytes} allowed.")


def _check_pixel_count(size: tuple[int, int], name: str, max_pixels: int) -> None:
    height, width = size
    if height * width > max_pixels:
        raise _too_many_pixels(name, f" ({height}×{width})", max_pixels)


def _too_many_pixels(name: str, size: str, max_pixels: int) -> ImageError:
    return ImageError(f"{name} has more pixels{size} than the {max_pixels} allowed.")


def _map_png(values: npt.NDArray[np.generic], what: str, wanted: str) -> bytes:
    """A PNG of a map of that numpy type, or an `ImageError` that says what it is instead."""
    if values.dtype != np.dtype(wanted) or values.ndim != 2 or values.size == 0:
        raise ImageError(
            f"A {what} PNG is made from a {wanted} array of shape (H, W), not from "
            f"{_described(values)}."
        )
    return _png(values)


def _png(array: npt.NDArray[np.generic]) -> bytes:
    buffer = io.BytesIO()
    picture = Image.fromarray(np.ascontiguousarray(array))
    picture.save(buffer, "PNG", compress_level=_PNG_COMPRESSION)
    return buffer.getvalue()


def _described(array: npt.NDArray[np.generic]) -> str:
    return f"{array.dtype} of shape {array.shape}"


def _reason(error: Exception) -> str:
    """The first line of a decoder's message, short enough for one sentence."""
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0][:120].rstrip(".")
