"""Untrusted images: every colour mode becomes upright RGB, everything else one clear sentence."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps
from PIL.PngImagePlugin import PngImageFile, PngInfo

from adapters.images import (
    ImageError,
    decode_image,
    encode_jpeg,
    encode_png,
    exif_orientation,
    image_size,
)

ORIENTATION = 0x0112


def scene(height: int = 24, width: int = 40, seed: int = 0) -> npt.NDArray[np.uint8]:
    """Smooth enough that JPEG hardly changes it, and different in all four corners."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float64)
    shift = np.random.default_rng(seed).uniform(0, 60)
    channels = [40 + shift + 2 * x, 30 + 3 * y + x, 200 - 2 * x - y]
    return np.stack(channels, axis=-1).clip(0, 255).astype(np.uint8)


def saved(picture: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def png_of(samples: npt.NDArray[np.generic], depth: int, colour: int) -> bytes:
    """A PNG written by hand: Pillow cannot write 16-bit colour."""
    big_endian = samples.astype(">u2" if depth == 16 else "u1")
    raw = b"".join(b"\0" + row.tobytes() for row in big_endian)

    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    header = struct.pack(">IIBBBBB", samples.shape[1], samples.shape[0], depth, colour, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(raw))
        + chunk(b"IEND", b"")
    )


def check_error(data: bytes, *needles: str, **limits: int) -> None:
    with pytest.raises(ImageError) as caught:
        decode_image(data, "view-17", **limits)
    sentence = str(caught.value)
    assert "view-17" in sentence
    assert sentence.endswith(".")
    assert "\n" not in sentence
    for needle in needles:
        assert needle in sentence


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_lossless_rgb_comes_back_exactly(kind: str) -> None:
    image = scene()
    data = saved(Image.fromarray(image), kind, **({"lossless": True} if kind == "WEBP" else {}))
    decoded = decode_image(data, "a")
    assert decoded.dtype == np.uint8
    assert decoded.flags.c_contiguous
    assert decoded.flags.writeable
    np.testing.assert_array_equal(decoded, image)


def test_grey_is_repeated() -> None:
    grey = scene()[..., 0]
    for mode, kind in (("L", "PNG"), ("L", "JPEG")):
        decoded = decode_image(saved(Image.fromarray(grey).convert(mode), kind, quality=100), "a")
        assert decoded.shape == (*grey.shape, 3)
        assert np.abs(decoded.astype(int) - grey[..., None]).max() <= 2


def test_one_bit_image_is_black_and_white() -> None:
    mask = scene()[..., 1] > 80
    decoded = decode_image(saved(Image.fromarray(mask), "PNG"), "a")
    np.testing.assert_array_equal(decoded, np.repeat(mask[..., None] * np.uint8(255), 3, axis=2))


def test_cmyk_jpeg_has_the_colours_of_the_rgb_image() -> None:
    image = scene()
    data = saved(Image.fromarray(image).convert("CMYK"), "JPEG", quality=100)
    assert np.abs(decode_image(data, "a").astype(int) - image).mean() < 4


def test_palette_and_palette_with_transparency() -> None:
    image = np.zeros((8, 12, 3), dtype=np.uint8)
    image[:, 4:] = (200, 30, 60)
    image[:, 8:] = (10, 220, 90)
    palette = Image.fromarray(image).quantize(8)
    np.testing.assert_array_equal(decode_image(saved(palette, "PNG"), "a"), image)
    clear = palette.getpixel((11, 0))
    decoded = decode_image(saved(palette, "PNG", transparency=clear), "a")
    np.testing.assert_array_equal(decoded[:, :8], image[:, :8])
    assert not decoded[:, 8:].any()


def test_transparent_pixels_are_laid_over_black() -> None:
    rgba = np.dstack([scene(), np.full((24, 40), 255, dtype=np.uint8)])
    rgba[:12, :, 3] = 0
    rgba[12:16, :, 3] = 128
    decoded = decode_image(saved(Image.fromarray(rgba), "PNG"), "a")
    weight = rgba[..., 3:].astype(float) / 255
    assert np.abs(decoded - rgba[..., :3] * weight).max() <= 1
    grey_alpha = Image.fromarray(rgba).convert("LA")
    assert not decode_image(saved(grey_alpha, "PNG"), "a")[:12].any()


def test_sixteen_bits_keep_the_high_byte() -> None:
    grey = (np.arange(24 * 40, dtype=np.uint16) * 67).reshape(24, 40)
    expected = (grey >> 8).astype(np.uint8)
    decoded = decode_image(png_of(grey, 16, 0), "a")
    np.testing.assert_array_equal(decoded, np.repeat(expected[..., None], 3, axis=2))
    colour = np.stack([grey, grey[::-1], grey[:, ::-1]], axis=-1)
    decoded = decode_image(png_of(colour, 16, 2), "a")
    np.testing.assert_array_equal(decoded, (colour >> 8).astype(np.uint8))


def turned_png(way: str) -> bytes:
    """A PNG that is to be turned by a quarter, as programs write it (PNG specification, 11.3)."""
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    info = PngInfo()
    if way == "text":  # as ImageMagick
        profile = exif.tobytes()
        info.add_text(
            "Raw profile type exif", f"\nexif\n{len(profile):8d}\n{profile.hex()}\n", zip=True
        )
    if way == "xmp":
        xmp = '<x:xmpmeta xmlns:x="adobe:ns:meta/" tiff:Orientation="6"></x:xmpmeta>'
        info.add_itxt("XML:com.adobe.xmp", xmp)
    more = {"exif": exif} if way == "exif" else {}
    data = saved(Image.fromarray(scene()), "PNG", pnginfo=info, **more)
    if way != "exif at the end":
        return data
    body = exif.tobytes().removeprefix(b"Exif\0\0")
    checksum = zlib.crc32(b"eXIf" + body)
    late = struct.pack(">I", len(body)) + b"eXIf" + body + struct.pack(">I", checksum)
    return data[:-12] + late + data[-12:]


@pytest.mark.parametrize("way", ["exif", "exif at the end", "text", "xmp"])
def test_a_png_is_turned_wherever_it_says_so(way: str) -> None:
    data = turned_png(way)
    assert exif_orientation(data) == 6
    assert image_size(data, "a") == decode_image(data, "a").shape[:2] == (40, 24)


def test_the_size_of_a_png_is_told_without_a_pixel_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    info = PngInfo()
    info.add_text("Software", "a program")
    plain = saved(Image.fromarray(scene()), "PNG", pnginfo=info)
    loaded = []

    def load(self: PngImageFile) -> None:
        loaded.append(self)

    monkeypatch.setattr(PngImageFile, "load", load)
    assert image_size(plain, "a") == (24, 40)
    assert exif_orientation(plain) == 1
    with pytest.raises(ImageError, match="more pixels"):
        image_size(turned_png("exif at the end"), "a", max_pixels=24 * 40 - 1)
    assert not loaded


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_exif_rotation_is_applied_as_pillow_would(kind: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    data = saved(Image.fromarray(scene()), kind, exif=exif)
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB")
    np.testing.assert_array_equal(decode_image(data, "a"), np.asarray(upright))
    assert image_size(data, "a") == np.asarray(upright).shape[:2]
    with pytest.raises(ImageError, match="pixels"):
        image_size(data, "a", max_pixels=24 * 40 - 1)


def test_the_size_of_what_is_not_an_image_is_refused() -> None:
    for data in (b"", b"no image", b"\x89PNG\r\n\x1a\n"):
        with pytest.raises(ImageError, match="a "):
            image_size(data, "a")


@pytest.mark.parametrize(
    "block", [b"Exif\0\0", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0MM" * 9]
)
def test_broken_exif_does_not_cost_the_image(block: bytes) -> None:
    data = saved(Image.fromarray(scene()), "JPEG", exif=block)
    assert decode_image(data, "a").shape == (24, 40, 3)


def test_first_frame_of_an_animation() -> None:
    frames = [Image.fromarray(scene(seed=seed)) for seed in (1, 2)]
    data = saved(frames[0], "PNG", save_all=True, append_images=frames[1:])
    np.testing.assert_array_equal(decode_image(data, "a"), scene(seed=1))


def test_first_picture_of_a_stereo_jpeg() -> None:
    """Phones and stereo cameras append pictures to a JPEG; Pillow then opens it as MPO."""
    pictures = [Image.fromarray(scene(seed=seed)) for seed in (1, 2)]
    data = saved(pictures[0], "MPO", save_all=True, append_images=pictures[1:], quality=97)
    assert Image.open(io.BytesIO(data)).format == "MPO"
    assert np.abs(decode_image(data, "a").astype(int) - scene(seed=1)).mean() < 3


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0",
        b"<html><body>quota exceeded</body></html>",
        b'{"error": "not found"}',
        b"\xff\xd8\xff",
        b"\x89PNG\r\n\x1a\n",
        b"RIFF\0\0\0\0WEBP",
        b"GIF89a",
    ],
)
def test_what_is_not_an_image(data: bytes) -> None:
    check_error(data)


@pytest.mark.parametrize("kind", ["GIF", "BMP", "TIFF", "PPM"])
def test_other_formats_are_refused(kind: str) -> None:
    check_error(saved(Image.fromarray(scene()), kind), "JPEG, PNG or WebP")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_truncated_image(kind: str, share: float) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    data = saved(Image.fromarray(noise), kind)
    check_error(data[: int(len(data) * share)])


def test_size_is_checked_before_decoding() -> None:
    """A bomb: 400 million pixels in a few bytes, whose data would not decode at all."""
    bomb = bytearray(png_of(np.zeros((1, 1, 3), dtype=np.uint8), 8, 2))
    bomb[16:24] = struct.pack(">II", 20_000, 20_000)
    bomb[29:33] = struct.pack(">I", zlib.crc32(bomb[12:29]))
    check_error(bytes(bomb), "pixels", "allowed")
    bomb[16:24] = struct.pack(">II", 9_000, 9_000)
    bomb[29:33] = struct.pack(">I", zlib.crc32(bomb[12:29]))
    check_error(bytes(bomb), "9000×9000", "allowed")


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_size_between_the_default_limit_and_pillows_own() -> None:
    data = saved(Image.new("1", (9_000, 8_000)), "PNG")
    assert len(data) < 20_000
    check_error(data, "8000×9000", "67108864")


@pytest.mark.filterwarnings("error")
def test_pillows_warning_as_an_error_is_an_image_error() -> None:
    data = saved(Image.new("1", (10_000, 10_000)), "PNG")
    check_error(data, "pixels")


def test_limits_are_inclusive() -> None:
    data = saved(Image.fromarray(scene()), "PNG")
    assert decode_image(data, "a", max_pixels=24 * 40, max_bytes=len(data)).shape == (24, 40, 3)
    check_error(data, "24×40", "959", max_pixels=24 * 40 - 1)
    check_error(data, str(len(data)), "bytes", max_bytes=len(data) - 1)


@pytest.fixture(scope="module")
def originals() -> list[bytes]:
    noise = np.random.default_rng(1).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    picture = Image.fromarray(noise)
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    return [
        saved(picture, "JPEG", exif=exif),
        saved(picture, "JPEG", progressive=True),
        saved(picture.convert("CMYK"), "JPEG"),
        saved(picture, "PNG", exif=exif),
        saved(picture.quantize(16), "PNG", transparency=3),
        saved(picture, "WEBP"),
        saved(picture, "WEBP", lossless=True, exif=exif),
    ]


@settings(max_examples=400, deadline=None)
@given(data=st.data())
def test_mutated_bytes_give_an_image_or_an_image_error(
    originals: list[bytes], data: st.DataObject
) -> None:
    original = bytearray(data.draw(st.sampled_from(originals)))
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(0, len(original) - 1))
        match data.draw(st.sampled_from(["set", "delete", "insert", "cut"])):
            case "set":
                original[at] = data.draw(st.integers(0, 255))
            case "delete":
                del original[at : at + data.draw(st.integers(1, 8))]
            case "insert":
                original[at:at] = data.draw(st.binary(min_size=1, max_size=8))
            case _:
                del original[max(at, 1) :]
        if not original:
            break
    try:
        decoded = decode_image(bytes(original), "mutant", max_pixels=1 << 16)
    except ImageError as error:
        assert "mutant" in str(error)  # noqa: PT017 - both outcomes are right
    else:
        assert decoded.dtype == np.uint8
        assert decoded.ndim == 3
        assert decoded.shape[2] == 3


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=200), st.sampled_from([b"", b"\xff\xd8\xff\xe0", b"\x89PNG\r\n\x1a\n"]))
def test_arbitrary_bytes_are_not_an_image(tail: bytes, head: bytes) -> None:
    check_error(head + tail)


@pytest.mark.parametrize("quality", [1, 50, 90, 100])
def test_jpeg_is_deterministic_and_bare(quality: int) -> None:
    image = scene()
    data = encode_jpeg(image, quality)
    assert data == encode_jpeg(np.asfortranarray(image), quality)
    picture = Image.open(io.BytesIO(data))
    assert picture.size == (40, 24)
    assert not picture.getexif()
    np.testing.assert_array_equal(decode_image(data, "a"), np.asarray(picture))


def test_png_is_lossless_deterministic_and_checked() -> None:
    image = np.random.default_rng(0).integers(0, 256, (17, 23, 3), dtype=np.uint8)
    data = encode_png(image)
    assert data == encode_png(np.asfortranarray(image))
    np.testing.assert_array_equal(decode_image(data, "a"), image)
    with pytest.raises(ImageError, match="A PNG view"):
        encode_png(image[..., 0])


def test_longest_jpeg() -> None:
    assert decode_image(encode_jpeg(np.zeros((65_500, 1, 3), np.uint8), 90), "a").shape[0] == 65_500


def test_jpeg_at_high_quality_is_close() -> None:
    assert np.abs(decode_image(encode_jpeg(scene(), 97), "a").astype(int) - scene()).mean() < 3


@pytest.mark.parametrize(
    ("image", "quality"),
    [
        (np.zeros((4, 4), dtype=np.uint8), 90),
        (np.zeros((4, 4, 4), dtype=np.uint8), 90),
        (np.zeros((4, 4, 3), dtype=np.float32), 90),
        (np.zeros((0, 4, 3), dtype=np.uint8), 90),
        (np.zeros((65_501, 1, 3), dtype=np.uint8), 90),
        (np.zeros((4, 4, 3), dtype=np.uint8), 0),
        (np.zeros((4, 4, 3), dtype=np.uint8), 101),
    ],
)
def test_what_is_not_a_jpeg(image: npt.NDArray[np.uint8], quality: int) -> None:
    with pytest.raises(ImageError):
        encode_jpeg(image, quality)
