"""Labels and masks keep every value, or are refused."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from adapters.images import (
    ImageError,
    decode_label_png,
    decode_mask_png,
    encode_label_png,
    encode_mask_png,
)

SHAPES = hnp.array_shapes(min_dims=2, max_dims=2, max_side=40)


def saved(picture: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


@settings(max_examples=60, deadline=None)
@given(hnp.arrays(np.uint8, SHAPES))
def test_labels_survive(labels: npt.NDArray[np.uint8]) -> None:
    data = encode_label_png(labels)
    np.testing.assert_array_equal(decode_label_png(data, "a", size=labels.shape), labels)
    assert data == encode_label_png(np.asfortranarray(labels))
    picture = Image.open(io.BytesIO(data))  # another reader agrees
    assert picture.mode == "L"
    np.testing.assert_array_equal(np.asarray(picture), labels)


@settings(max_examples=60, deadline=None)
@given(hnp.arrays(np.bool_, SHAPES))
def test_masks_survive_in_one_bit(mask: npt.NDArray[np.bool_]) -> None:
    data = encode_mask_png(mask)
    assert data[24] == 1  # bit depth in the header
    decoded = decode_mask_png(data, "a", size=mask.shape)
    assert decoded.dtype == np.bool_
    np.testing.assert_array_equal(decoded, mask)


def test_decoded_arrays_are_plain() -> None:
    labels = np.arange(12, dtype=np.uint8).reshape(3, 4)
    for decoded in (
        decode_label_png(encode_label_png(labels), "a"),
        decode_mask_png(encode_mask_png(labels > 4), "a"),
    ):
        assert decoded.flags.c_contiguous
        assert decoded.flags.writeable


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"not an image",
        saved(Image.new("RGB", (4, 4))),
        saved(Image.new("L", (4, 4)), "JPEG"),
        saved(Image.new("P", (4, 4))),
        saved(Image.new("LA", (4, 4))),
        saved(Image.new("I;16", (4, 4))),
        saved(Image.new("1", (4, 4))),
        encode_label_png(np.zeros((4, 4), dtype=np.uint8))[:-20],
    ],
)
def test_labels_of_another_mode_are_refused(data: bytes) -> None:
    with pytest.raises(ImageError, match=r"labels/x\.png.*\.$"):
        decode_label_png(data, "labels/x.png")


def test_two_bit_greys_are_refused_as_pillow_would_scale_them() -> None:
    header = struct.pack(">IIBBBBB", 4, 1, 2, 0, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(b"\0\x1b")), (b"IEND", b"")]
    data = b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in chunks
    )
    assert np.asarray(Image.open(io.BytesIO(data))).tolist() == [[0, 85, 170, 255]]
    with pytest.raises(ImageError, match="2 bits"):
        decode_label_png(data, "a")


def test_an_eight_bit_mask_is_refused() -> None:
    with pytest.raises(ImageError, match="1-bit"):
        decode_mask_png(encode_label_png(np.zeros((4, 4), dtype=np.uint8)), "a")


def test_wrong_size_names_both() -> None:
    with pytest.raises(ImageError, match=r"m\.png is 3×5.*5×3"):
        decode_label_png(encode_label_png(np.zeros((3, 5), dtype=np.uint8)), "m.png", size=(5, 3))
    with pytest.raises(ImageError, match=r"m\.png is 3×5.*3×6"):
        decode_mask_png(encode_mask_png(np.zeros((3, 5), dtype=bool)), "m.png", size=(3, 6))


def test_limits() -> None:
    data = encode_label_png(np.zeros((30, 50), dtype=np.uint8))
    with pytest.raises(ImageError, match="30×50"):
        decode_label_png(data, "a", max_pixels=1499)
    with pytest.raises(ImageError, match="bytes"):
        decode_label_png(data, "a", max_bytes=len(data) - 1)


@settings(max_examples=200, deadline=None)
@given(at=st.integers(0, 10_000), value=st.integers(0, 255), mask=st.booleans())
def test_mutated_bytes_raise_nothing_but_image_errors(at: int, value: int, mask: bool) -> None:
    labels = np.random.default_rng(0).integers(0, 20, (12, 17), dtype=np.uint8)
    data = bytearray(encode_mask_png(labels > 9) if mask else encode_label_png(labels))
    data[at % len(data)] = value
    try:
        decoded = (decode_mask_png if mask else decode_label_png)(
            bytes(data), "a", max_pixels=1 << 16
        )
    except ImageError:
        return
    assert decoded.ndim == 2


@pytest.mark.parametrize(
    "labels",
    [
        np.zeros((4, 4), dtype=np.int32),
        np.zeros((4, 4, 3), dtype=np.uint8),
        np.zeros((0, 4), dtype=np.uint8),
    ],
)
def test_what_is_not_a_label_map(labels: npt.NDArray[np.uint8]) -> None:
    with pytest.raises(ImageError):
        encode_label_png(labels)
    with pytest.raises(ImageError):
        encode_mask_png(labels)
