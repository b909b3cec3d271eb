"""One check for each kind of input that public functions take: a ValueError of one sentence.

Compiled loops index without looking, so what reaches them must have been examined before. The
same sentence for the same fault also saves the reader from learning eight.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Sequence
from typing import Any, Final

import numpy as np

MAX_SIDE: Final = 65_535
"""Pixels along a side of a picture: what JPEG can hold; no coordinate lies further out."""
MAX_PIXELS: Final = 2**29 - 1
"""Pixels of a picture: edges between them have 32-bit numbers, up to four a pixel."""


def check_image(
    image: object,
    name: str = "the image",
    *,
    types: Sequence[str] = ("uint8",),
    grey: bool = True,
    least: int = 1,
) -> None:
    """Raises unless this is a picture that can be worked on.

    Args:
        image: What was given.
        name: What the sentence calls it.
        types: The numpy types that are taken.
        grey: Whether (H, W) is taken besides (H, W, 3).
        least: Pixels that each side must have.

    Raises:
        ValueError: One sentence: it is not an array, or of another type or shape, empty, holds NaN,
            or is too small or too large.
    """
    if image is None:
        raise ValueError(f"{name} is None, which is what OpenCV gives for a file it cannot read")
    if not isinstance(image, np.ndarray):
        raise ValueError(  # noqa: TRY004 - one kind of error for whatever is wrong with the input
            f"{name} must be a numpy array, not {type(image).__name__}"
        )
    _check_plain(image, name)
    wanted = " or ".join(types)
    if np.issubdtype(image.dtype, np.floating) and bool(np.isnan(image).any()):
        raise ValueError(f"{name} holds NaN; replace it and convert the image to {wanted}")
    if image.dtype.name not in types:
        raise ValueError(f"{name} must be {wanted}, not {image.dtype}; scale and convert it first")
    shapes = "(H, W) or (H, W, 3)" if grey else "(H, W, 3)"
    if not (image.ndim == 3 and image.shape[2] == 3) and not (grey and image.ndim == 2):
        raise ValueError(f"{name} must have shape {shapes}, not {tuple(image.shape)}")
    _check_extent(image, name)
    if min(image.shape[:2]) < least:
        raise ValueError(
            f"{name} of {image.shape[1]}×{image.shape[0]} pixels is too small: each side must have "
            f"at least {least}"
        )


def check_map(
    values: object,
    name: str,
    *,
    kinds: str = "iu",
    types: Sequence[str] = (),
    like: tuple[int, ...] | None = None,
) -> None:
    """Raises unless this is an (H, W) map of labels or a mask.

    Args:
        values: What was given.
        name: What the sentence calls it.
        kinds: Letters of the numpy kinds that are taken: "iu" whole numbers, "b" bool.
        types: The numpy types that are taken, where only some are.
        like: (H, W) that it must have.

    Raises:
        ValueError: One sentence.
    """
    if not isinstance(values, np.ndarray):
        raise ValueError(  # noqa: TRY004
            f"the {name} must be a numpy array, not {type(values).__name__}"
        )
    _check_plain(values, f"the {name}")
    wanted = " or ".join(types) or {"iu": "whole numbers", "b": "bool"}.get(kinds, "numbers")
    fits = values.dtype.name in types if types else values.dtype.kind in kinds
    if not fits or values.ndim != 2:
        raise ValueError(
            f"the {name} must be {wanted} of shape (H, W), not {values.dtype} of shape "
            f"{tuple(values.shape)}"
        )
    _check_extent(values, f"the {name}")
    if like is not None and values.shape != like:
        raise ValueError(
            f"the {name} must be {wanted} of shape {tuple(like)}, the picture's, not of shape "
            f"{tuple(values.shape)}"
        )


def check_matches(matches: object) -> None:
    """Raises unless these are `crosscity.matching.Matches`, told by their columns.

    Their class is not looked at, as to import it loads the compiler.
    """
    columns = (getattr(matches, name, None) for name in ("x_a", "y_a", "x_b", "y_b", "score"))
    if not all(isinstance(column, np.ndarray) for column in columns):
        raise ValueError(f"matches must be crosscity.matching.Matches, not {_kind(matches)}")


def check_list(values: object, name: str) -> None:
    """Raises unless this is a list or a tuple."""
    if not isinstance(values, (list, tuple)):
        raise ValueError(  # noqa: TRY004
            f"the {name} must be a list, not {_kind(values)}"
        )


def _kind(value: object) -> str:
    return type(value).__name__


def check_row(values: object, name: str, *, dtype: str, length: int | None = None) -> None:
    """Raises unless this is a row of numbers of one type.

    Args:
        values: What was given.
        name: What the sentence calls it.
        dtype: The numpy type that is taken.
        length: How many there must be.

    Raises:
        ValueError: One sentence.
    """
    if not isinstance(values, np.ndarray) or values.dtype.name != dtype or values.ndim != 1:
        found = getattr(values, "dtype", type(values).__name__)
        shape = getattr(values, "shape", ())
        raise ValueError(f"{name} must be a row of {dtype}, not {found} of shape {shape}")
    _check_plain(values, name)
    if length is not None and len(values) != length:
        raise ValueError(f"{name} must have {length} values, not {len(values)}")


def _check_plain(values: np.ndarray[Any, Any], name: str) -> None:
    """Raises unless an array is a plain one, of numbers as this machine has them."""
    if isinstance(values, (np.ma.MaskedArray, np.matrix)):
        raise ValueError(  # noqa: TRY004
            f"{name} must be a plain numpy array, not a {type(values).__name__}, in which indexing "
            "means something else: give np.asarray of it"
        )
    if not values.dtype.isnative:
        raise ValueError(
            f"{name} has the byte order of another machine ({values.dtype.str}): give "
            "values.astype(values.dtype.newbyteorder('='))"
        )


def same_size(image_a: np.ndarray[Any, Any], image_b: np.ndarray[Any, Any]) -> None:
    """Raises a ValueError unless both pictures have the same height and width."""
    if image_a.shape[:2] != image_b.shape[:2]:
        sizes = " and ".join(f"{image.shape[1]}×{image.shape[0]}" for image in (image_a, image_b))
        raise ValueError(f"the two images differ in size ({sizes}): resize one of them")


def picture_shape(shape: object) -> tuple[int, int]:
    """(height, width) of a picture, or a ValueError of one sentence."""
    if not isinstance(shape, tuple) or len(shape) != 2:
        raise ValueError(f"the shape of a picture must be (height, width), not {shape!r:.60}")
    height, width = (whole_number(each, "a side of a picture", 1, MAX_SIDE) for each in shape)
    if height * width > MAX_PIXELS:
        raise ValueError(f"a picture of {width}×{height} pixels is too large: {MAX_PIXELS} at most")
    return height, width


def whole_number(value: object, name: str, least: int, most: int) -> int:
    """The value as an int, or a ValueError of one sentence: bool, 2.0 and "2" are refused."""
    if (
        isinstance(value, (bool, np.bool_))
        or not isinstance(value, (int, np.integer))
        or not least <= value <= most
    ):
        raise ValueError(f"{name} must be a whole number from {least} to {most}, not {value!r}")
    return int(value)


def number(
    value: object,
    name: str,
    least: float = -math.inf,
    most: float = math.inf,
    *,
    above: bool = False,
    what: str = "a finite number",
) -> float:
    """The value as a float, or a ValueError of one sentence.

    Args:
        value: What was given; bool and strings are not numbers.
        name: What the sentence calls it.
        least: Smallest value.
        most: Largest value.
        above: Whether the smallest value itself is too small.
        what: What the sentence asks for.

    Raises:
        ValueError: It is not a number, not finite, or out of the range.
    """
    wanted = what
    if math.isfinite(least):
        wanted += f" {'above' if above else 'from'} {least:g}"
    if math.isfinite(most):
        wanted += f" to {most:g}" if math.isfinite(least) and not above else f", at most {most:g}"
    fault = ValueError(f"{name} must be {wanted}, not {value!r}")
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (numbers.Real, np.number)):
        raise fault
    try:
        found = float(value)
    except (OverflowError, TypeError):
        raise fault from None
    if not math.isfinite(found) or not least <= found <= most or (above and found == least):
        raise fault
    return found


def _check_extent(values: np.ndarray[Any, Any], name: str) -> None:
    height, width = values.shape[:2]
    if values.size == 0:
        raise ValueError(f"{name} is empty: its shape is {tuple(values.shape)}")
    if height * width > MAX_PIXELS or max(height, width) > MAX_SIDE:
        raise ValueError(
            f"{name} of {width}×{height} pixels is too large ({MAX_PIXELS} pixels, {MAX_SIDE} a "
            "side at most); cut it into parts"
        )
