"""Masks of a provider's own pixels: polygons and drawn pictures."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pydantic import TypeAdapter, ValidationError

from adapters.catalog import CatalogError
from adapters.catalog.masks import Mask, MaskEntry
from adapters.image_masks import ImageMask
from adapters.images import ImageError

CORNER = [[0, 0], [190, 0], [190, 62], [0, 62]]


def entry(value: Any) -> MaskEntry:
    found: MaskEntry = TypeAdapter(Mask).validate_python(value)
    return found


def png(picture: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.mark.parametrize("value", [CORNER, [CORNER], {"polygon": CORNER}, {"polygons": [CORNER]}])
def test_a_rectangle_covers_exactly_its_pixels(value: Any, tmp_path: Path) -> None:
    ignored = entry(value).open(tmp_path, "k").pixels((100, 300))
    expected = np.zeros((100, 300), dtype=bool)
    expected[:62, :190] = True
    assert np.array_equal(ignored, expected)


def test_several_polygons_of_any_form_are_ignored(tmp_path: Path) -> None:
    triangle = [[0, 10], [10, 0], [10, 10]]
    bonnet = [[-5, 30], [50, 26], [50, 99], [-5, 99]]
    ignored = entry([triangle, bonnet]).open(tmp_path, "k").pixels((40, 40))
    assert ignored[9, 9]
    assert not ignored[1, 1]
    assert ignored[39].all()  # beyond the picture is nothing
    assert not ignored[12:26].any()


BESIDE = [
    [[40, 0], [60, 0], [60, 9]],
    [[-9, -9], [0, -9], [0, 0], [-9, 0]],
    [[3, 3], [20, 20], [30, 30]],
    [[5.6, 5.6], [5.9, 5.6], [5.9, 5.9]],
    [[0, 400], [400, 400], [400, 500]],
]
"""Polygons that hold no pixel of a picture of 40 by 40: outside, in line, between middles."""


@pytest.mark.parametrize("polygon", BESIDE)
def test_a_polygon_that_covers_no_pixel_is_reported(polygon: Any, tmp_path: Path) -> None:
    mask = entry([CORNER, polygon]).open(tmp_path, "k")
    with pytest.raises(ImageError, match=r"^Polygon 2 of the mask covers no pixel .* 40×40 pixels"):
        mask.pixels((40, 40))


def test_a_mask_that_covers_all_is_reported(tmp_path: Path) -> None:
    whole = entry([[-1, -1], [99, -1], [99, 50], [-1, 50]]).open(tmp_path, "k")
    with pytest.raises(ImageError, match="covers all of a picture that is 50×99"):
        whole.pixels((50, 99))
    assert not whole.pixels((51, 100)).all()
    drawn = np.zeros((50, 100), dtype=np.uint8)
    drawn[25:] = 255
    (tmp_path / "mask.png").write_bytes(png(drawn))
    upper = [[0, 0], [100, 0], [100, 25], [0, 25]]
    both = entry({"png": "mask.png", "polygons": [upper]}).open(tmp_path, "k")
    with pytest.raises(ImageError, match="covers all of a picture"):
        both.pixels((50, 100))


def test_a_drawn_mask_is_scaled_to_pictures_of_its_proportions(tmp_path: Path) -> None:
    drawn = np.zeros((50, 100), dtype=np.uint8)
    drawn[40:] = 255
    for picture in (drawn, np.stack([drawn] * 3, axis=2), drawn.astype(bool)):
        (tmp_path / "mask.png").write_bytes(png(picture))
        mask = entry("mask.png").open(tmp_path, "k")
        assert mask.pixels((50, 100))[40:].all()
        larger = mask.pixels((647, 1280))
        assert larger[-100:].all()
        assert not larger[:500].any()
        with pytest.raises(ImageError, match="draw it on one of the pictures"):
            mask.pixels((100, 100))


def bonnet() -> np.ndarray:
    drawn = np.zeros((50, 100), dtype=np.uint8)
    drawn[40:] = 255
    return drawn


def paletted(entries: list[int]) -> Image.Image:
    picture = Image.fromarray((bonnet() > 0).astype(np.uint8), "P")
    picture.putpalette(entries)
    return picture


DRAWINGS: dict[str, Image.Image] = {
    "RGBA": Image.fromarray(np.dstack([bonnet()] * 3 + [np.full_like(bonnet(), 255)])),
    "white where it is opaque": Image.fromarray(
        np.dstack([np.full_like(bonnet(), 255)] * 3 + [bonnet()])
    ),
    "LA": Image.fromarray(np.dstack([bonnet(), np.full_like(bonnet(), 255)]), "LA"),
    "16 bits": Image.fromarray(bonnet().astype(np.uint16) * 257),
    "palette": paletted([0, 0, 0, 255, 255, 255]),
    "soft edges": Image.fromarray(np.where(bonnet() > 0, 200, 30).astype(np.uint8)),
    "half the size": Image.fromarray(bonnet()[::2, ::2]),
    "three times the size": Image.fromarray(bonnet().repeat(3, 0).repeat(3, 1)),
}


@pytest.mark.parametrize("name", DRAWINGS)
def test_a_drawing_counts_by_what_is_white_in_whatever_form(name: str, tmp_path: Path) -> None:
    DRAWINGS[name].save(tmp_path / "mask.png")
    ignored = entry("mask.png").open(tmp_path, "k").pixels((50, 100))
    assert np.array_equal(ignored, bonnet() > 0)


def test_a_drawing_may_be_a_jpeg(tmp_path: Path) -> None:
    Image.fromarray(bonnet()).save(tmp_path / "mask.jpg", quality=60)
    ignored = entry("mask.jpg").open(tmp_path, "k").pixels((50, 100))
    assert np.array_equal(ignored, bonnet() > 0)


def test_polygons_and_a_drawing_add_up(tmp_path: Path) -> None:
    drawn = np.zeros((50, 100), dtype=np.uint8)
    drawn[40:] = 255
    (tmp_path / "mask.png").write_bytes(png(drawn))
    both = entry({"png": "mask.png", "polygons": [[[0, 0], [9, 0], [9, 9], [0, 9]]]})
    ignored = both.open(tmp_path, "k").pixels((50, 100))
    assert ignored.sum() == 10 * 100 + 81


def test_other_masks_have_other_digests(tmp_path: Path) -> None:
    drawn = np.zeros((50, 100), dtype=np.uint8)
    drawn[40:] = 255
    (tmp_path / "a.png").write_bytes(png(drawn))
    drawn[39] = 255
    (tmp_path / "b.png").write_bytes(png(drawn))
    masks = [entry(v).open(tmp_path, "k") for v in (CORNER, CORNER[::-1], "a.png", "b.png")]
    assert len({mask.digest() for mask in masks}) == 4
    (tmp_path / "a.png").rename(tmp_path / "c.png")
    assert entry("c.png").open(tmp_path, "k").digest() == masks[2].digest()
    assert ImageMask().pixels((3, 4)).sum() == 0


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "cannot be read"),
        (b"<html>", "not a readable"),
        (png(np.zeros((5, 5), np.uint8)), "white nowhere"),
        (png(np.full((5, 5), 255, np.uint8)), "white everywhere"),
        (png(np.eye(5, dtype=np.uint8)), "white nowhere: .*255 of 255"),  # 0 and 1
        (png(np.eye(5, dtype=np.uint16) * 255), "white nowhere"),  # dark in 16 bits
        (png(255 - 255 * np.eye(5, dtype=np.uint8)), "white in 80% of its pixels.*invert it"),
    ],
)
def test_a_drawing_that_is_none_is_reported_with_its_key(
    content: bytes | None, words: str, tmp_path: Path
) -> None:
    if content is not None:
        (tmp_path / "mask.png").write_bytes(content)
    with pytest.raises(CatalogError, match=rf"cities\.x\.provider\.mask.*mask\.png.*{words}"):
        entry("mask.png").open(tmp_path, "cities.x.provider.mask")


@pytest.mark.parametrize("value", [{}, [], [[0, 0], [1, 1]], {"polygons": [[[0, 0]]]}, 7, [["a"]]])
def test_what_is_not_a_mask_is_refused(value: Any) -> None:
    with pytest.raises(ValidationError):
        entry(value)
