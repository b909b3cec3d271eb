"""Takes everything out of a JPEG that is not needed to decode it, without recompressing it.

Segment structure: ITU-T T.81, annex B; JFIF: ITU-T T.871.
"""

from __future__ import annotations

import re
from typing import Final

_START: Final = 0xD8
_END: Final = 0xD9
_START_OF_SCAN: Final = 0xDA
_NEEDED: Final = frozenset({0xC0, 0xC1, 0xC2, 0xC4, 0xDB, 0xDD, _START_OF_SCAN})
"""Frame headers (baseline, extended, progressive), Huffman and quantisation tables, restarts."""
_COMMENT: Final = 0xFE
_APPLICATION: Final = range(0xE0, 0xF0)
_JFIF: Final = (0xE0, b"JFIF\0", 14)
_ADOBE: Final = (0xEE, b"Adobe", 12)
"""The two application segments that say how colours are stored: marker, name, useful bytes."""
_NEXT_MARKER: Final = re.compile(rb"\xff+[^\x00\xff\xd0-\xd7]", re.DOTALL)
"""Ends a scan's data, in which FF00 is a stuffed byte and FFD0 to FFD7 are restarts."""


def without_metadata(data: bytes) -> bytes | None:
    """Drops EXIF, XMP, comments, profiles, thumbnails and whatever follows the picture.

    Args:
        data: A JPEG file.

    Returns:
        The same compressed picture without them, or ``None`` where the file has a structure that
        is not known here (it must then be decoded and encoded again).
    """
    if data[:2] != bytes((0xFF, _START)):
        return None
    kept = [data[:2]]
    at = 2
    while at + 4 <= len(data) or data[at : at + 2] == bytes((0xFF, _END)):
        if data[at] != 0xFF:
            return None
        marker = data[at + 1]
        if marker == 0xFF:  # fill byte
            at += 1
            continue
        if marker == _END:
            return b"".join([*kept, data[at : at + 2]])
        end = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        payload = data[at + 4 : end]
        if marker in _NEEDED:
            if marker == _START_OF_SCAN:
                end = _end_of_scan(data, end)
            kept.append(data[at:end])
        elif marker in _APPLICATION:
            kept.append(_colour_segment(marker, payload))
        elif marker != _COMMENT:
            return None
        at = end
    return None


def _end_of_scan(data: bytes, start: int) -> int:
    match = _NEXT_MARKER.search(data, start)
    return match.start() if match else len(data)


def _colour_segment(marker: int, payload: bytes) -> bytes:
    """The segment cut down to what says how colours are stored, or nothing."""
    for known, name, length in (_JFIF, _ADOBE):
        if marker == known and payload.startswith(name) and len(payload) >= length:
            useful = payload[:length]
            if known == _JFIF[0]:
                useful = useful[:-2] + b"\0\0"  # the thumbnail's size, which is cut off
            return bytes((0xFF, marker)) + (length + 2).to_bytes(2, "big") + useful
    return b""
