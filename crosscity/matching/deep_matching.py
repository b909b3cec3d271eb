"""DeepMatching: dense matching that bends (Revaud, Weinzaepfel, Harchaoui, Schmid, IJCV 2016)."""

from __future__ import annotations

import logging
import math
import threading
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from crosscity.checks import check_image, number, same_size, whole_number
from crosscity.device_failures import first_line, is_device_error, why_unusable
from crosscity.matching.backtracking import backtrack
from crosscity.matching.correlation import (
    PATCH,
    AtomicPatches,
    SecondImage,
    atomic_patches,
    correlate,
    second_image,
)
from crosscity.matching.descriptors import grey_image, halve, pixel_descriptors
from crosscity.matching.matches import Matches, no_matches
from crosscity.matching.pyramid import build_pyramid, level_count
from crosscity.matching.reciprocal import AtomicMatches, reciprocal_matches
from crosscity.matching.refining import refined
from crosscity.matching.windows import Search
from crosscity.matching.workers import Workers, workers

log = logging.getLogger(__name__)

HALVINGS: Final = {1: 0, 2: 1, 4: 2}
_worked: set[str] = set()
_gone: set[str] = set()
"""Devices that this process had, and those of them that failed."""
_left = 0
_lock = threading.Lock()


def deep_matching(
    image_a: npt.NDArray[np.uint8],
    image_b: npt.NDArray[np.uint8],
    *,
    downscale: int = 2,
    search_radius: float | None = None,
    rectification: float = 1.4,
    refine: bool = False,
    device: str = "cpu",
    threads: int | None = None,
) -> Matches:
    """Matches two images densely.

    Descriptors, correlation of atomic patches, bottom-up aggregation, backtracking from the maxima
    of the largest patches, reciprocal filter; each in a module of its own. The same input gives
    the same bytes, from any thread.

    Args:
        image_a: (H, W, 3) or (H, W) uint8. Its last rows and columns beyond a multiple of
            4 · downscale are not matched.
        image_b: The same size and kind.
        downscale: 1, 2 or 4: divides the side of the descriptor maps. At 2 (the published default)
            matches lie on a grid of 8 pixels in the first image and of 2 in the second.
        search_radius: Largest displacement along each axis, in pixels of the images as given;
            ``None`` searches everywhere. A radius below the true displacement ruins the result.
        rectification: Exponent λ of the power rectification.
        refine: Match at half the density first, and at the whole one only near what was found
            (`crosscity.matching.refining`). On a device the first alone runs there.
        device: "cpu", or a torch device such as "cuda" or "cuda:1". A pair that does not fit into a
            device's memory is matched on the processor instead, and so are all others once a device
            has failed. Deviations: docs/matching.md.
        threads: How many threads to work with; ``None`` for one a core. Callers that match several
            pairs at a time pass 1.

    Returns:
        The matches; none where an image has no gradient at all, so that one blank picture among
        thousands is not an error.

    Raises:
        ValueError: The images differ in size, are too small for two levels of patches, are not
            uint8, or a setting is out of range.
    """
    _check(image_a, image_b, downscale, search_radius, rectification, refine, threads, device)
    # Those of numpy may be eight bits wide.
    downscale, rectification = int(downscale), float(rectification)
    threads = None if threads is None else int(threads)
    grid = PATCH * downscale
    height, width = (side // grid * grid for side in image_a.shape[:2])
    grey_a, grey_b = grey_image(image_a)[:height, :width], grey_image(image_b)
    if _is_blank(grey_a) or _is_blank(grey_b):
        return no_matches()
    radius = None
    if search_radius is not None:
        # Nothing moves further than the picture reaches, and indices are 32 bits wide.
        radius = math.ceil(min(float(search_radius), max(height, width)) / downscale)
    pair = _Pair(grey_a, grey_b, HALVINGS[downscale], rectification, radius, device)
    with workers(threads) as team:
        found = (_refined if refine else _match_anywhere)(pair, team)
    columns = width // grid
    return Matches(
        x_a=_pixels(found.patch % columns * grid + grid // 2),
        y_a=_pixels(found.patch // columns * grid + grid // 2),
        # The last window is centred on the rim, just beyond the last pixel.
        x_b=_pixels(np.minimum(found.x * downscale, image_b.shape[1] - 1)),
        y_b=_pixels(np.minimum(found.y * downscale, image_b.shape[0] - 1)),
        score=found.score,
        entry=found.entry,
    )


def pairs_left_to_the_processor() -> int:
    """How many pairs this process was to match on a device and matched on the processor instead.

    Matches do not tell, and are right either way; the log says why. Whoever measures a device, or
    pays for one, looks here.
    """
    return _left


@dataclass(frozen=True)
class _Pair:
    """What is matched, and how.

    Attributes:
        grey_a: (H, W) uint8, cut to whole patches.
        grey_b: (H', W') uint8.
        halvings: How often descriptors are halved.
        power: Exponent of the rectification.
        radius: Largest displacement in cells along each axis; ``None`` for any.
        device: "cpu", or as torch names it.
    """

    grey_a: npt.NDArray[np.uint8]
    grey_b: npt.NDArray[np.uint8]
    halvings: int
    power: float
    radius: int | None
    device: str


def _match_anywhere(pair: _Pair, team: Workers) -> AtomicMatches:
    """On the device, or on the processor where there is none."""
    found = _match_on_device(pair)
    if found is not None:
        return found
    # Nothing holds descriptors any longer where correlation holds the most.
    patches = atomic_patches(pixel_descriptors(pair.grey_a, pair.halvings))
    image = second_image(pixel_descriptors(pair.grey_b, pair.halvings))
    return _match(patches, image, pair.power, pair.radius, team)


def _refined(pair: _Pair, team: Workers) -> AtomicMatches:
    """At half the density, then near what was found."""
    power, radius = pair.power, pair.radius
    descriptors = [pixel_descriptors(grey, pair.halvings) for grey in (pair.grey_a, pair.grey_b)]
    halved = [halve(each) for each in descriptors]
    # Sides that are no multiple of eight cells: the last patches follow those beside them.
    grid = halved[0].shape[1] // PATCH, halved[0].shape[2] // PATCH
    half = None if radius is None else math.ceil(radius / 2)
    twice = PATCH << (pair.halvings + 1)
    cropped = pair.grey_a[: grid[0] * twice, : grid[1] * twice]
    found = _match_on_device(replace(pair, grey_a=cropped, halvings=pair.halvings + 1, radius=half))
    if found is None:
        patches, image = atomic_patches(halved[0]), second_image(halved[1])
        found = _match(patches, image, power, half, team)
    del halved
    if not len(found.patch):
        return found
    patches, image = atomic_patches(descriptors[0]), second_image(descriptors[1])
    del descriptors
    return refined(patches, image, found, grid, power=power, radius=radius, workers=team)


def _match(
    patches: AtomicPatches,
    image: SecondImage,
    power: float,
    radius: int | None,
    team: Workers,
) -> AtomicMatches:
    atoms = correlate(patches, image, power=power, radius=radius, workers=team)
    search = Search(patches.rows, patches.columns, image.whole, radius)
    levels = level_count(patches.rows * PATCH, patches.columns * PATCH)
    pyramid = build_pyramid(atoms, search, levels, power, workers=team)
    return reciprocal_matches(pyramid.levels[0], backtrack(pyramid, team), team)


def _match_on_device(pair: _Pair) -> AtomicMatches | None:
    """The same on an accelerator; nothing if its memory does not suffice, or there is none."""
    global _left  # noqa: PLW0603 - a count of the process, as `_gone` is its devices
    if pair.device == "cpu":
        return None
    found = None if pair.device in _gone else _tried_on_device(pair)
    if found is None:
        with _lock:
            _left += 1
    return found


def _tried_on_device(pair: _Pair) -> AtomicMatches | None:
    device = pair.device
    # Torch is large; who matches on the processor need not load it.
    import torch  # noqa: PLC0415

    from crosscity.matching.on_device import match_on_device  # noqa: PLC0415

    # Asked once: a device that answered before is no mistake in a name, it has failed.
    with _lock:
        if device not in _worked:
            why = why_unusable(device)
            if why is not None:
                raise ValueError(f"matching cannot run on {device!r:.60} ({why}): choose 'cpu'")
            _worked.add(device)
    where = torch.device(device)
    try:
        return match_on_device(
            pair.grey_a, pair.grey_b, halvings=pair.halvings, power=pair.power, radius=pair.radius,
            device=where,
        )  # fmt: skip
    except torch.OutOfMemoryError:
        log.warning(
            "%s has too little memory for this pair: it is matched on the processor", device
        )
        return None
    except RuntimeError as error:
        if not is_device_error(error):
            raise
        # Whatever it was, nothing of this process runs there any more.
        _give_up(device, error)
        return None


def _give_up(device: str, error: BaseException) -> None:
    with _lock:
        if device in _gone:
            return
        _gone.add(device)
    log.warning(
        "%s has failed (%s): this process matches on the processor from now on",
        device,
        first_line(error),
    )


def _pixels(values: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
    return values.astype(np.float32)


def _is_blank(grey: npt.NDArray[np.uint8]) -> bool:
    return bool(grey.min() == grey.max())


def _check(
    image_a: npt.NDArray[Any],
    image_b: npt.NDArray[Any],
    downscale: int,
    search_radius: float | None,
    rectification: float,
    refine: bool,
    threads: int | None,
    device: str,
) -> None:
    for name, image in (("the first image", image_a), ("the second image", image_b)):
        check_image(image, name)
    same_size(image_a, image_b)
    if whole_number(downscale, "downscale", 1, 4) not in HALVINGS:
        raise ValueError(f"downscale must be 1, 2 or 4, not {downscale}")
    if not isinstance(refine, bool):
        raise ValueError(f"refine must be True or False, not {refine!r}")  # noqa: TRY004 - as below
    # Refining matches at half the density first. A larger patch is two smaller ones wide, and less
    # than the longer side.
    patch = (2 if refine else 1) * PATCH * downscale
    shorter, longer = sorted(image_a.shape[:2])
    if shorter < 2 * patch or longer < 3 * patch:
        raise ValueError(
            f"images of {image_a.shape[1]}×{image_a.shape[0]} pixels are too small to match at "
            f"downscale {downscale}{', refined' if refine else ''}: each side must have at least "
            f"{2 * patch}, one of them {3 * patch}"
        )
    if search_radius is not None:
        number(
            search_radius,
            "the search radius (left out, to search everywhere)",
            0,
            above=True,
            what="a positive number of pixels",
        )
    number(rectification, "the rectification", 0, 64, above=True, what="a positive exponent")
    if threads is not None:
        whole_number(threads, "threads (left out, one a core)", 1, 1024)
    if not isinstance(device, str):
        raise ValueError(  # noqa: TRY004 - one kind of error for whatever is wrong with the input
            f"the device must be a name such as 'cpu' or 'cuda', not {device!r}"
        )
