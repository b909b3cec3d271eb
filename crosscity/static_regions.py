"""The static prior: which regions of a picture are there at another time too."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
import numpy.typing as npt

from crosscity.checks import (
    MAX_PIXELS,
    MAX_SIDE,
    check_list,
    check_map,
    check_matches,
    number,
    picture_shape,
    whole_number,
)
from crosscity.numbering import renumbered

if TYPE_CHECKING:
    from crosscity.matching import Matches

ALGORITHM_VERSION: Final = "2"
"""Raised by hand whenever the mask of some input changes."""

DOUBT: Final = 0.05
"""ε of `static_prior_of_times`: how much a time without any match counts."""


def static_prior(
    matches: Matches,
    superpixels: npt.NDArray[np.int32],
    *,
    k: int = 3,
    coverage: float = 0.0,
    spacing: int = 1,
    side: Literal["a", "b"] = "a",
) -> npt.NDArray[np.bool_]:
    """Marks the superpixels with more than `k` matched pixels as static.

    Chen et al. (ICCV 2017), Sec. 4.3. A match counts for the pixel whose centre is nearest (of two
    equally near, the right or lower one). Several matches of one pixel count once: the paper
    counts matched pixels, not matches. A match whose pixel lies outside the picture, as the
    half-pixel rim of a matching grid may, counts for no superpixel.

    A fixed count asks much of a small superpixel and little of a large one, and means another thing
    at every density of matches. `coverage` asks for a share of the area instead; 0 is the paper.

    False means "nothing known", not "moving": half of what stands still finds no match.

    Args:
        matches: Matches between the pictures a and b, in pixels of the pictures as given, the
            centre of the first pixel at 0.
        superpixels: (H, W) int32 labels of the picture on `side`, zero or more.
        k: A static superpixel has at least k + 1 matched pixels.
        coverage: And this share of its pixels covered, 0 to 1, where a matched pixel stands for
            `spacing` × `spacing`.
        spacing: Pixels between neighbouring matches; 4 · downscale for `deep_matching`.
        side: Whether `superpixels` divide picture a or picture b.

    Returns:
        (H, W) bool, True where static.

    Raises:
        ValueError: If the superpixels are not an int32 map of labels from zero, or a setting is out
            of range.
    """
    superpixels = superpixels_in_order(superpixels)
    k, coverage, spacing = _checked_rule(k, coverage, spacing)
    counts = matched_counts(matches, superpixels, side)
    return _static_where(counts, superpixels, k, coverage, spacing)


def static_prior_of_times(
    matches: Sequence[Matches],
    superpixels: npt.NDArray[np.int32],
    *,
    sides: Sequence[Literal["a", "b"]] | None = None,
    k: int = 3,
    coverage: float = 0.0,
    spacing: int = 1,
) -> npt.NDArray[np.bool_]:
    """Marks the superpixels of one picture that are static against its other times together.

    Two times cannot tell a parked car that is there both times from a bench; a third can. What
    `static_prior` asks of one pair is asked here of the geometric mean over the picture's pairs
    with each other time:

        Π_j (c_j + ε) ≥ (coverage + ε)^n   and   Π_j (m_j + 1) > (k + 1)^n

    c_j is the covered share of a superpixel and m_j the number of its matched pixels in pair j.
    A time that finds nothing lowers the mean much, so of two others both must speak for it; of
    four, one that was taken from too far away may be silent if the rest are sure.

    Args:
        matches: Of the picture with each of its other times.
        superpixels: (H, W) int32 labels of the picture, zero or more.
        sides: Whether the picture is a or b of each pair; all a by default.
        k: As in `static_prior`.
        coverage: As there.
        spacing: As there.

    Returns:
        (H, W) bool, True where static. With one other time this is `static_prior`.

    Raises:
        ValueError: There is no other time, there is another number of sides, or as `static_prior`.
    """
    superpixels = superpixels_in_order(superpixels)
    k, coverage, spacing = _checked_rule(k, coverage, spacing)
    counts = counts_by_time(matches, superpixels, sides)
    if len(matches) == 1:
        return _static_where(counts[0], superpixels, k, coverage, spacing)
    enough = np.prod(counts + 1.0, axis=0) > float(k + 1) ** len(matches)
    if coverage > 0:
        covered = _shares(counts, superpixels, spacing)
        least = (coverage + DOUBT) ** len(matches)
        # A mean that is the least to the last digit is enough.
        enough &= np.prod(covered + DOUBT, axis=0) >= least * (1 - 1e-9)
    static: npt.NDArray[np.bool_] = enough[superpixels]
    return static


def covered_shares(
    matches: Sequence[Matches],
    superpixels: npt.NDArray[np.int32],
    *,
    sides: Sequence[Literal["a", "b"]] | None = None,
    spacing: int = 1,
) -> npt.NDArray[np.float64]:
    """Which share of each superpixel is matched at each other time: (times, labels) in [0, 1].

    Arguments and errors are those of `static_prior_of_times`.
    """
    spacing = whole_number(spacing, "spacing", 1, MAX_SIDE)
    return _shares(counts_by_time(matches, superpixels, sides), superpixels, spacing)


def counts_by_time(
    matches: Sequence[Matches],
    superpixels: npt.NDArray[np.int32],
    sides: Sequence[Literal["a", "b"]] | None = None,
) -> npt.NDArray[np.int64]:
    """`matched_counts` of each other time: (times, labels) int64."""
    check_list(matches, "matches with other times")
    if sides is not None:
        check_list(sides, "sides")
    sides = ["a"] * len(matches) if sides is None else sides
    if not matches:
        raise ValueError("a picture without another time has no static prior; give its matches")
    if len(sides) != len(matches):
        raise ValueError(f"there are {len(sides)} sides for the matches with {len(matches)} times")
    _check_numbering(superpixels)
    pairs = zip(matches, sides, strict=True)
    return np.stack([matched_counts(of_pair, superpixels, side) for of_pair, side in pairs])


def _shares(
    counts: npt.NDArray[np.int64], superpixels: npt.NDArray[np.int32], spacing: int
) -> npt.NDArray[np.float64]:
    area = np.bincount(superpixels.ravel(), minlength=counts.shape[1])
    shares: npt.NDArray[np.float64] = np.minimum(counts * spacing**2 / np.maximum(area, 1), 1.0)
    return shares


def matched_counts(
    matches: Matches, superpixels: npt.NDArray[np.int32], side: Literal["a", "b"]
) -> npt.NDArray[np.int64]:
    """How many pixels of each superpixel are matched: (labels,) int64.

    Args:
        matches: As in `static_prior`.
        superpixels: (H, W) int32 labels of the picture on `side`, zero or more.
        side: Of which picture the superpixels are.
    """
    _check_numbering(superpixels)
    matched = matched_pixels(matches, superpixels.shape, side)
    return np.bincount(superpixels[matched], minlength=int(superpixels.max()) + 1)


def _static_where(
    counts: npt.NDArray[np.int64],
    superpixels: npt.NDArray[np.int32],
    k: int,
    coverage: float,
    spacing: int,
) -> npt.NDArray[np.bool_]:
    enough = counts > k
    if coverage > 0:
        enough &= counts * spacing**2 >= coverage * np.bincount(
            superpixels.ravel(), minlength=len(counts)
        )
    static: npt.NDArray[np.bool_] = enough[superpixels]
    return static


def _checked_rule(k: int, coverage: float, spacing: int) -> tuple[int, float, int]:
    """The settings as Python's numbers: those of numpy may be eight bits wide."""
    return (
        whole_number(k, "k", 0, MAX_PIXELS),
        number(coverage, "coverage", 0, 1, what="a share"),
        whole_number(spacing, "spacing", 1, MAX_SIDE),
    )


def matched_pixels(
    matches: Matches, shape: tuple[int, ...], side: Literal["a", "b"]
) -> npt.NDArray[np.bool_]:
    """Pixels of a picture of that shape that are matched: bool.

    Args:
        matches: As in `static_prior`.
        shape: (H, W) of the picture on `side`.
        side: Which of the two pictures it is.

    Raises:
        ValueError: What is given is no matches, two sides in pixels, or one of the sides.
    """
    if side not in ("a", "b"):
        raise ValueError(f"side must be 'a' or 'b', not {side!r}")
    check_matches(matches)
    x, y = (matches.x_a, matches.y_a) if side == "a" else (matches.x_b, matches.y_b)
    height, width = picture_shape(shape)
    column = np.floor(x.astype(np.float64) + 0.5)
    row = np.floor(y.astype(np.float64) + 0.5)
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    matched = np.zeros((height, width), dtype=np.bool_)
    matched[row[inside].astype(np.int64), column[inside].astype(np.int64)] = True
    return matched


def superpixels_in_order(superpixels: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
    """The same superpixels, numbered below the number of pixels: (H, W) int32.

    Raises:
        ValueError: They are not an int32 map of labels from zero.
    """
    _check_superpixels(superpixels)
    return renumbered(superpixels).astype(np.int32, copy=False)


def _check_superpixels(superpixels: npt.NDArray[Any]) -> None:
    check_map(superpixels, "superpixels", types=("int32",))
    low = int(superpixels.min())
    if low < 0:
        raise ValueError(f"superpixel labels start at 0, but {low} is among them")


def _check_numbering(superpixels: npt.NDArray[Any]) -> None:
    _check_superpixels(superpixels)
    high = int(superpixels.max())
    if high >= superpixels.size:
        raise ValueError(
            f"superpixels of {superpixels.size} pixels are numbered from 0 to "
            f"{superpixels.size - 1} at most, but {high} is among them: number them in order"
        )
