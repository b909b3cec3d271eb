"""Whether a PNG holds the picture that its header announces.

Decoders fill what a file lacks with black and overlook what they do not know, so a label map that
lacks half its rows would be read as half a map of class 0 (PNG specification, third edition: 5.3
chunks, 5.6 their order, 8.1 interlacing, 10.1 and 11.2.3 image data, 11.2.2 the palette).
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import Final

_SIGNATURE_BYTES: Final = 8
_CHANNELS: Final = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_PALETTED: Final = 3
_OF_GREYS: Final = (0, 4)
_KNOWN: Final = (b"IHDR", b"PLTE", b"IDAT", b"IEND")
_PASSES: Final = (
    (0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)
)  # fmt: skip
"""Adam7: first column, first row, and the steps to the next."""
_STEP: Final = 1 << 20
_TEXTS: Final = (b"tEXt", b"zTXt", b"iTXt")
_ORIENTED: Final = (b"Raw profile type exif\0", b"XML:com.adobe.xmp\0")
"""Keywords of the texts in which programs keep EXIF and XMP (11.3.3)."""


def png_fault(data: bytes) -> str | None:
    """What is ambiguous in a PNG, or missing; ``None``: nothing.

    Args:
        data: The file; its signature, header and checksums are checked.
    """
    kinds = [kind for kind, _ in _chunks(data)]
    colour, palettes = data[25], kinds.count(b"PLTE")
    unknown = [kind for kind in kinds if kind[:1].isupper() and kind not in _KNOWN]
    if unknown:
        return f"it has the critical chunk {unknown[0]!r}, which no reader knows"
    if palettes > 1 or (palettes and colour in _OF_GREYS):
        return "it has a palette more than once, or one beside greys"
    if colour == _PALETTED and b"PLTE" not in kinds[: kinds.index(b"IDAT")]:
        return "it has indices of a palette, and none before them"
    if colour == _PALETTED:
        size = next(len(body) for kind, body in _chunks(data) if kind == b"PLTE")
        if size % 3 or not 3 <= size <= 3 << data[24]:
            most = 3 << data[24]
            return f"its palette has {size} bytes, where {data[24]} bits a pixel allow 3 to {most}"
    return missing_data(data)


def may_be_turned(data: bytes) -> bool:
    """Whether a PNG has a chunk that can hold an orientation; readers look for one to its end.

    Args:
        data: The file; nothing of it is checked.
    """
    return any(
        kind == b"eXIf" or (kind in _TEXTS and body.startswith(_ORIENTED))
        for kind, body in _chunks(data)
    )


def missing_data(data: bytes) -> str | None:
    """How much of a PNG's picture is not there; ``None``: it is whole.

    Args:
        data: The file; its signature, header and checksums are checked.
    """
    width, height, depth, colour, _, _, interlaced = struct.unpack(">IIBBBBB", data[16:29])
    bits = depth * _CHANNELS.get(colour, 0)
    expected = _bytes_of((width, height), bits, interlaced=bool(interlaced))
    found = _inflated([body for kind, body in _chunks(data) if kind == b"IDAT"], expected + 1)
    if found < expected:
        return f"its picture has {found} bytes where its header announces {expected}"
    return None


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Type and content of each chunk, up to the one that ends the picture."""
    at = _SIGNATURE_BYTES
    while at + 8 <= len(data):
        (length,) = struct.unpack(">I", data[at : at + 4])
        kind = data[at + 4 : at + 8]
        yield kind, data[at + 8 : at + 8 + length]
        if kind == b"IEND":
            return
        at += 12 + length


def _bytes_of(size: tuple[int, int], bits: int, *, interlaced: bool) -> int:
    """Bytes of the filtered rows of a picture; `bits` of a pixel."""
    width, height = size
    if not interlaced:
        return height * (1 + (width * bits + 7) // 8)
    total = 0
    for left, top, across, down in _PASSES:
        columns = max(0, -(-(width - left) // across))
        rows = max(0, -(-(height - top) // down))
        total += rows * (1 + (columns * bits + 7) // 8) if columns else 0
    return total


def _inflated(parts: list[bytes], most: int) -> int:
    """How many bytes compressed parts hold, counted up to a limit and kept nowhere."""
    reader = zlib.decompressobj()
    count = 0
    try:
        for part in parts:
            rest = part
            while rest and count < most:
                count += len(reader.decompress(rest, _STEP))
                rest = reader.unconsumed_tail
    except zlib.error:  # the decoder tells
        return count
    return count
