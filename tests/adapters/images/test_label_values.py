"""Label maps in every way a PNG can hold them give the values that were meant, or are refused.

How a lossless optimiser changes a grey PNG is written as zopflipng and oxipng do it (lodepng's
`auto_convert` chooses palette, bit depth and grey by the colours that occur; oxipng's
`--nx`-less default reduces colour type, palette and bit depth), with the chunks of the PNG
specification, third edition: 11.2.1 IHDR, 11.2.2 PLTE, 11.2.3 IDAT.
"""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from adapters.images import ImageError, decode_image
from adapters.label_png import decode_first_channel, decode_label_values

VALUES = np.random.default_rng(3).integers(0, 12, (24, 33)).astype(np.uint8)


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(rows: np.ndarray, depth: int, colour: int, palette: np.ndarray | None = None) -> bytes:
    """A PNG of samples as they are: (H, W) or (H, W, channels)."""
    height, width = rows.shape[:2]
    flat = rows.reshape(height, -1)
    if depth == 16:
        lines = [line.astype(">u2").tobytes() for line in flat]
    elif depth == 8:
        lines = [line.astype(np.uint8).tobytes() for line in flat]
    else:
        bits = np.unpackbits(flat.astype(np.uint8)[..., None], axis=2)[..., -depth:]
        lines = [line.tobytes() for line in np.packbits(bits.reshape(height, -1), axis=1)]
    body = zlib.compress(b"".join(b"\0" + line for line in lines))
    plte = b"" if palette is None else chunk(b"PLTE", palette.astype(np.uint8).tobytes())
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
        + plte
        + chunk(b"IDAT", body)
        + chunk(b"IEND", b"")
    )


def as_grey_palette(values: np.ndarray, seed: int, depth: int = 8) -> bytes:
    """A palette of the greys that occur, in an order that has nothing to do with them."""
    used = np.random.default_rng(seed).permutation(np.unique(values))
    places = np.zeros(256, dtype=np.uint8)
    places[used] = np.arange(len(used))
    return png(places[values], depth, 3, np.repeat(used[:, None], 3, axis=1))


@pytest.mark.parametrize("depth", [4, 8])
def test_a_palette_of_greys_is_the_greys(depth):
    data = as_grey_palette(VALUES, 5, depth)
    with Image.open(io.BytesIO(data)) as picture:
        assert not np.array_equal(np.array(picture), VALUES)  # what was read before
        assert np.array_equal(np.array(picture.convert("L")), VALUES)
    found = decode_label_values(data, "x")
    assert np.array_equal(found.values, VALUES)
    assert found.colours == {}


@pytest.mark.parametrize("depth", [1, 2, 4, 8, 16])
def test_greys_of_every_depth_are_their_samples(depth):
    values = VALUES % min(2**depth, 12)
    assert np.array_equal(decode_label_values(png(values, depth, 0), "x").values, values)


def test_indices_of_a_palette_with_colours_stay():
    palette = np.random.default_rng(1).integers(0, 256, (12, 3))
    for depth in (4, 8):
        found = decode_label_values(png(VALUES, depth, 3, palette), "x")
        assert np.array_equal(found.values, VALUES)
        assert found.colours[3] == tuple(palette[3].tolist())


@pytest.mark.parametrize("depth", [8, 16])
def test_an_opaque_grey_is_its_values_and_colours_are_none(depth):
    rows = np.repeat(VALUES[..., None].astype(np.uint16), 4, axis=2)
    rows[..., 1::2] = 2**depth - 1
    assert np.array_equal(decode_label_values(png(rows[..., :2], depth, 4), "x").values, VALUES)
    rows[2, 3, 1] -= 1
    for colour, wrong in ((4, rows[..., :2]), (2, rows[..., :3] * 0), (6, rows)):
        with pytest.raises(ImageError, match=r"^x .*(colours|transparent).*#rrggbb"):
            decode_label_values(png(wrong, depth, colour), "x")


def test_numbers_of_instances_are_not_labels():
    with pytest.raises(ImageError, match=r"16-bit value 26001.*instances"):
        decode_label_values(png(np.full((3, 4), 26001), 16, 0), "x")


def test_an_index_behind_the_palette_is_reported():
    with pytest.raises(ImageError, match=r"uses entry 11 of a palette of 2|corrupt"):
        decode_label_values(png(VALUES, 8, 3, np.array([[1, 2, 3], [4, 5, 6]])), "x")


def test_every_flipped_byte_and_every_cut_is_reported_or_changes_nothing():
    data, reported = as_grey_palette(VALUES, 5), set()
    for place in range(len(data)):
        for wrong in (data[:place] + bytes([data[place] ^ 0x21]) + data[place + 1 :], data[:place]):
            try:
                values = decode_label_values(wrong, "x").values
            except ImageError as error:
                reported.add(str(error))
            else:
                assert np.array_equal(values, VALUES), place
    assert reported
    assert all(text.startswith("x ") and "\n" not in text for text in reported)


def test_what_is_not_a_png_of_labels_is_reported():
    jpeg = io.BytesIO()
    Image.fromarray(VALUES).save(jpeg, "JPEG")
    for data, said in (
        (b"", "empty"),
        (jpeg.getvalue(), "a JPEG changes label values"),
        (png(VALUES, 8, 0)[:40], "cut short or corrupt"),
        (png(VALUES, 8, 1), "no PNG has"),
    ):
        with pytest.raises(ImageError, match=said):
            decode_label_values(data, "x")
    with pytest.raises(ImageError, match="more pixels"):
        decode_label_values(png(VALUES, 8, 0), "x", max_pixels=10)


@pytest.mark.parametrize("colour", [0, 2, 6])
def test_the_first_of_sixteen_bit_channels(colour):
    rows = np.random.default_rng(0).integers(0, 60000, (5, 7, {0: 1, 2: 3, 6: 4}[colour]))
    found = decode_first_channel(png(rows, 16, colour), "x")
    assert np.array_equal(found, rows[..., 0])
    with pytest.raises(ImageError, match="8 bits a sample where 16"):
        decode_first_channel(png(VALUES, 8, 0), "x")
    data = png(rows, 16, colour)
    with pytest.raises(ImageError, match="corrupt"):
        decode_first_channel(data[:60] + bytes([data[60] ^ 1]) + data[61:], "x")


def test_a_real_map_that_an_optimiser_has_rewritten(shared_data: Path):
    path = shared_data / "cases" / "label_optimised_to_palette.png"
    if not path.is_file():
        pytest.skip(f"{path.name} is not among the real images")
    with Image.open(path) as picture:
        expected = np.array(picture.convert("L"))
    assert np.array_equal(decode_label_values(path.read_bytes(), "x").values, expected)


def with_chunk(body: bytes) -> bytes:
    """The map with another chunk before its samples."""
    whole = png(VALUES, 8, 0)
    return whole[:33] + body + whole[33:]


def exif(orientation: int) -> bytes:
    """The eXIf chunk of an orientation (PNG extensions 1.5, TIFF 6.0)."""
    entry = struct.pack(">HHHIHH", 1, 0x0112, 3, 1, orientation, 0)
    return chunk(b"eXIf", b"MM\0*" + struct.pack(">I", 8) + entry + bytes(4))


@pytest.mark.parametrize(
    "ancillary",
    [
        chunk(b"gAMA", struct.pack(">I", 45455)),
        chunk(b"sRGB", b"\0"),
        chunk(b"iCCP", b"x\0\0" + zlib.compress(b"profile")),
        chunk(b"sBIT", b"\4"),
        chunk(b"tRNS", struct.pack(">H", 3)),
        chunk(b"bKGD", struct.pack(">H", 3)),
        chunk(b"pHYs", struct.pack(">IIB", 3, 5, 1)),
        exif(1),
    ],
)
def test_what_tells_how_a_map_is_shown_changes_no_value(ancillary):
    found = decode_label_values(with_chunk(ancillary), "x")
    np.testing.assert_array_equal(found.values, VALUES)


@pytest.mark.parametrize("orientation", [2, 3, 4, 5, 6, 7, 8])
def test_a_turned_map_is_refused(orientation):
    with pytest.raises(ImageError, match=f"x carries the EXIF orientation {orientation}"):
        decode_label_values(with_chunk(exif(orientation)), "x")


def test_an_animation_is_not_a_map():
    buffer = io.BytesIO()
    first, second = Image.fromarray(VALUES), Image.fromarray(VALUES[::-1].copy())
    first.save(buffer, "PNG", save_all=True, append_images=[second])
    with pytest.raises(ImageError, match="x is an animation of 2 pictures"):
        decode_label_values(buffer.getvalue(), "x")


def rebuilt(rows: int, *, interlaced: bool = False) -> bytes:
    """The map with the compressed data of so many rows of it, each chunk with a right checksum."""
    body = zlib.compress(b"".join(b"\0" + line.tobytes() for line in VALUES[:rows]))
    height, width = VALUES.shape
    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, int(interlaced))
    parts = (chunk(b"IHDR", head), chunk(b"IDAT", body), chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


@pytest.mark.parametrize("decode", [decode_label_values, decode_image])
def test_rows_that_are_not_there_are_not_class_0(decode):
    # Decoders fill them with 0: half a map of roads.
    assert decode(rebuilt(24), "x") is not None
    for rows in (0, 1, 12, 23):
        with pytest.raises(ImageError, match=r"x is .*(announces 816|cut short)"):
            decode(rebuilt(rows), "x")
    with pytest.raises(ImageError, match="x is"):  # seven passes need more than the plain rows
        decode(rebuilt(24, interlaced=True), "x")


def again(data: bytes, *, after_header: bytes = b"", at_end: bytes = b"") -> bytes:
    """A file with more chunks behind its header, or bytes behind its end."""
    return data[:33] + after_header + data[33:] + at_end


OF_COLOURS = np.random.default_rng(1).integers(0, 256, (256, 3))
HAND_MADE: dict[str, tuple[bytes, np.ndarray]] = {
    "palette longer than the indices": (png(VALUES, 8, 3, OF_COLOURS), VALUES),
    "palette of just the indices": (png(VALUES, 8, 3, OF_COLOURS[:12]), VALUES),
    "unused entries have colours, used ones are greys": (
        png(VALUES, 8, 3, np.vstack([np.repeat(np.arange(12)[:, None], 3, 1), OF_COLOURS[12:]])),
        VALUES,
    ),
    "transparent palette": (
        png(VALUES, 8, 3, OF_COLOURS).replace(
            chunk(b"PLTE", OF_COLOURS.astype(np.uint8).tobytes()),
            chunk(b"PLTE", OF_COLOURS.astype(np.uint8).tobytes())
            + chunk(b"tRNS", bytes(range(12))),
        ),
        VALUES,
    ),
    "transparent grey of 2 bits": (
        again(png(VALUES % 4, 2, 0), after_header=chunk(b"tRNS", struct.pack(">H", 1))),
        VALUES % 4,
    ),
    "transparent grey of 16 bits": (
        again(png(VALUES, 16, 0), after_header=chunk(b"tRNS", struct.pack(">H", 3))),
        VALUES,
    ),
    "bytes behind its end": (again(png(VALUES, 8, 0), at_end=png(VALUES[::-1], 8, 0)), VALUES),
}


@pytest.mark.parametrize("name", HAND_MADE)
def test_hand_made_maps_are_their_values(name):
    data, values = HAND_MADE[name]
    np.testing.assert_array_equal(decode_label_values(data, "x").values, values)


def cmyk() -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.zeros((5, 5, 4), dtype=np.uint8), "CMYK").save(buffer, "JPEG")
    return buffer.getvalue()


def under_another_ending(kind: str) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(VALUES).save(buffer, kind)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (png(VALUES + 4, 4, 3, OF_COLOURS[:12]), "uses entry 15 of a palette of 12"),
        (png(VALUES, 4, 3, OF_COLOURS[:17]), "palette has 51 bytes, where 4 bits .* 3 to 48"),
        (png(VALUES, 8, 3, OF_COLOURS[:0]), "palette has 0 bytes"),
        (png(VALUES, 8, 3, np.zeros((37, 1))), "palette has 37 bytes"),
        (png(VALUES.astype(int) * 256, 16, 0), "16-bit value 2816"),
        (png(VALUES.astype(int) * 257, 16, 0), "16-bit value 2827"),
        (cmyk(), "a JPEG changes label values"),
        (under_another_ending("GIF"), "not a PNG image"),
        (under_another_ending("BMP"), "not a PNG image"),
        (under_another_ending("TIFF"), "not a PNG image"),
        (again(png(VALUES, 8, 0), after_header=chunk(b"acTL", struct.pack(">II", 2, 0))), "x is "),
        (b"\x89PNG\r\n\x1a\n" + chunk(b"CgBI", b"\x50\0\x20\2") + png(VALUES, 8, 0)[8:], "not a P"),
    ],
)
def test_hand_made_maps_that_nothing_tells_how_to_read_are_refused(data, said):
    with pytest.raises(ImageError, match=said) as caught:
        decode_label_values(data, "x")
    assert str(caught.value).startswith("x ")
    assert "\n" not in str(caught.value)


def passes(values: np.ndarray) -> bytes:
    """An interlaced PNG (specification, 8.1: Adam7), which neither Pillow nor OpenCV writes."""
    starts = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2))
    parts = [values[y::down, x::across] for x, y, across, down in (*starts, (0, 1, 1, 2))]
    lines = [b"\0" + line.tobytes() for part in parts if part.size for line in part]
    height, width = values.shape
    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 1)
    body = chunk(b"IDAT", zlib.compress(b"".join(lines)))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + body + chunk(b"IEND", b"")


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (5, 4), (9, 17), (24, 33)])
def test_an_interlaced_map_is_its_values(size):
    values = np.ascontiguousarray(VALUES[: size[0], : size[1]])
    np.testing.assert_array_equal(decode_label_values(passes(values), "x").values, values)


@pytest.mark.parametrize("depth", [1, 2, 4, 8])
@pytest.mark.parametrize("colour", [0, 3])
def test_interlaced_maps_of_every_depth_are_their_values(depth, colour):
    values = VALUES % min(2**depth, 12)
    whole = png(values, depth, colour, OF_COLOURS[: 2**depth] if colour else None)
    lines = [
        b"\0" + np.packbits(np.unpackbits(row[:, None], axis=1)[:, -depth:].ravel()).tobytes()
        for x, y, across, down in (
            (0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2),
            (0, 1, 1, 2),
        )
        for row in values[y::down, x::across]
    ]  # fmt: skip
    head = bytearray(whole[16:29])
    head[12] = 1
    palette = chunk(b"PLTE", OF_COLOURS[: 2**depth].astype(np.uint8).tobytes()) if colour else b""
    body = chunk(b"IDAT", zlib.compress(b"".join(lines))) + chunk(b"IEND", b"")
    data = whole[:8] + chunk(b"IHDR", bytes(head)) + palette + body
    np.testing.assert_array_equal(decode_label_values(data, "x").values, values)


def test_greys_that_do_not_tell_indices_apart_are_refused():
    black = np.zeros((12, 3))
    with pytest.raises(ImageError, match="several of its values the same grey"):
        decode_label_values(png(VALUES, 8, 3, black), "x")
    plain = np.full_like(VALUES, 3)  # one value alone is told
    assert (decode_label_values(png(plain, 8, 3, black), "x").values == 0).all()


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (png(VALUES, 8, 0, np.zeros((2, 3))), "one beside greys"),
        (with_chunk(chunk(b"ABCD", b"x")), "critical chunk b'ABCD'"),
        (png(VALUES, 8, 3), "indices of a palette, and none before them"),
    ],
)
def test_chunks_that_contradict_the_header_are_told(data, said):
    with pytest.raises(ImageError, match=said):
        decode_label_values(data, "x")
