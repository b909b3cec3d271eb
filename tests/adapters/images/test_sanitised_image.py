"""Stored views: nothing but the picture, and the picture unchanged where that can be."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from adapters.images import decode_image, sanitised_image
from adapters.jpeg_metadata import without_metadata

SECRET = b"GPS 35.6586 N 139.7454 E"


def picture(seed: int = 0) -> Image.Image:
    noise = np.random.default_rng(seed).integers(0, 256, (40, 56, 3), dtype=np.uint8)
    return Image.fromarray(cv2.GaussianBlur(noise, (0, 0), 2))


def saved(image: Image.Image, kind: str = "JPEG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def secret_exif(orientation: int = 1) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    exif[0x010E] = SECRET.decode()
    return exif


def segment(marker: int, payload: bytes) -> bytes:
    return bytes((0xFF, marker)) + struct.pack(">H", len(payload) + 2) + payload


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"progressive": True},
        {"quality": 30, "subsampling": 2},
        {"quality": 95, "subsampling": 0, "optimize": True},
        {"restart_marker_blocks": 2},
        {"keep_rgb": True},
    ],
)
def test_jpeg_keeps_its_pixels_and_loses_the_rest(options: dict[str, object]) -> None:
    plain = saved(picture(), **options)
    rich = saved(
        picture(), exif=secret_exif(), comment=SECRET, icc_profile=SECRET * 9, xmp=SECRET, **options
    )
    rich += b"\xff\xd8" + SECRET  # a second picture behind the first
    assert SECRET in rich
    image = decode_image(rich, "a")
    stored = sanitised_image(rich, image)
    assert SECRET not in stored
    assert len(stored) <= len(plain)
    np.testing.assert_array_equal(decode_image(stored, "a"), image)
    if "keep_rgb" not in options:
        independent = cv2.imdecode(np.frombuffer(stored, np.uint8), cv2.IMREAD_COLOR)
        assert np.abs(independent[..., ::-1].astype(int) - image).max() <= 4


def test_metadata_between_scans_goes_too() -> None:
    data = saved(picture(), progressive=True)
    second_scan = data.index(b"\xff\xda", data.index(b"\xff\xda") + 2)
    hidden = data[:second_scan] + segment(0xE1, SECRET) + segment(0xFE, SECRET) + data[second_scan:]
    stored = sanitised_image(hidden, decode_image(hidden, "a"))
    assert SECRET not in stored
    np.testing.assert_array_equal(decode_image(stored, "a"), decode_image(data, "a"))


def test_thumbnails_in_the_first_segment_go_too() -> None:
    data = saved(picture())
    jfif = b"JFIF\0\x01\x01\0\0\1\0\1" + bytes((3, 3)) + bytes(27) + SECRET
    first = 4 + struct.unpack(">H", data[4:6])[0]
    rich = data[:2] + segment(0xE0, jfif) + segment(0xE0, b"JFXX\0" + SECRET) + data[first:]
    stored = sanitised_image(rich, decode_image(rich, "a"))
    assert SECRET not in stored
    np.testing.assert_array_equal(decode_image(stored, "a"), decode_image(data, "a"))


def test_rotated_jpeg_is_stored_upright() -> None:
    data = saved(picture(), exif=secret_exif(6), quality=95)
    image = decode_image(data, "a")
    stored = sanitised_image(data, image)
    assert SECRET not in stored
    again = decode_image(stored, "a")
    assert again.shape == (56, 40, 3)
    assert np.abs(again.astype(int) - image).mean() < 3


@pytest.mark.parametrize(("kind", "mode"), [("PNG", "RGB"), ("WEBP", "RGB"), ("PNG", "L")])
def test_other_formats_become_jpeg(kind: str, mode: str) -> None:
    data = saved(picture().convert(mode), kind, exif=secret_exif())
    image = decode_image(data, "a")
    stored = sanitised_image(data, image)
    assert SECRET not in stored
    assert Image.open(io.BytesIO(stored)).format == "JPEG"
    assert np.abs(decode_image(stored, "a").astype(int) - image).mean() < 3


def test_cmyk_is_readable_as_rgb_afterwards() -> None:
    data = saved(picture().convert("CMYK"))
    image = decode_image(data, "a")
    assert np.abs(decode_image(sanitised_image(data, image), "a").astype(int) - image).mean() < 3


@pytest.mark.parametrize(
    "data", [b"", b"\xff\xd8", b"\xff\xd8\xff", b"\xff\xd8\xff\xe0\0\0", b"\xff\xd8abcdefgh"]
)
def test_stumps_have_no_known_structure(data: bytes) -> None:
    assert without_metadata(data) is None


@settings(max_examples=200, deadline=None)
@given(cut=st.integers(2, 2000), at=st.integers(2, 2000), value=st.integers(0, 255))
def test_mutated_jpegs_neither_hang_nor_raise(cut: int, at: int, value: int) -> None:
    data = bytearray(saved(picture(), exif=secret_exif())[:cut])
    data[at % len(data)] = value
    result = without_metadata(bytes(data))
    assert result is None or len(result) <= len(data)


def test_views_keep_every_pixel(time_pairs: Path) -> None:
    views = sorted(time_pairs.glob("*/Images/Train/*.jpg"))
    assert len(views) >= 4
    for path in views:
        data = path.read_bytes()
        image = decode_image(data, path.name)
        stored = sanitised_image(data, image)
        assert len(stored) <= len(data), path
        np.testing.assert_array_equal(decode_image(stored, path.name), image)
