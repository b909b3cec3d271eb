"""The exchangeable parts of the static prior, by name: matchers and superpixel methods.

Names stand here and not beside the code, so that a catalog can be checked without loading it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

import numpy as np
import numpy.typing as npt

from crosscity.checks import check_image, check_map, same_size, whole_number
from crosscity.named_function import (
    PREFIX,
    function_of,
    is_plug_in,
    named_function,
    somebody_elses,
)

if TYPE_CHECKING:
    from crosscity.matching import Matches

MATCHERS: Final = {
    "deep_matching": "crosscity.matching.by_deep_matching:build",
    "deep_matching_refined": "crosscity.matching.by_refined:build",
    "dis": "crosscity.matching.by_dis:build",
}
"""By name, a function from `MatcherSettings` to a `Matcher`."""

SUPERPIXEL_METHODS: Final = {
    "ers": "crosscity.partitioning.entropy_rate:entropy_rate_superpixels",
    "slic": "crosscity.partitioning.by_slic:slic_superpixels",
    "none": "crosscity.partitioning.by_squares:squares",
}
"""By name, a `SuperpixelMethod`."""

Image = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class MatcherSettings:
    """What a matcher is built with.

    Attributes:
        downscale: 1, 2 or 4; matches lie 4 · downscale pixels apart in the first image.
        search_radius: Largest displacement along each axis, in pixels; ``None`` for any.
        device: Where to match, for matchers that run on more than the processor.
    """

    downscale: int = 4
    search_radius: float | None = None
    device: str = "cpu"


class Matcher(Protocol):
    """Matches two images of one place.

    The same input gives the same matches, from any thread. At most one match lies in each cell of
    4 · downscale pixels of the first image, none outside either image; a higher score is surer.
    """

    def __call__(self, image_a: Image, image_b: Image) -> Matches:
        """Matches two (H, W, 3) uint8 images of one size; raises ValueError for others."""


class MatcherFaultError(ValueError):
    """A matcher of somebody else's is wrong, and will hardly do better on the next pair."""


class SuperpixelMethod(Protocol):
    """Cuts an image into regions: the same input gives the same labels, from any thread."""

    def __call__(self, image: Image, n_superpixels: int, /) -> npt.NDArray[np.int32]:
        """(H, W) int32 labels 0 to K - 1, all there; K is `n_superpixels` or near it."""


def check_matcher(name: str) -> str:
    """The name itself, or a ValueError of one sentence with the names that there are."""
    if isinstance(name, str) and (name in MATCHERS or (is_plug_in(name) and name.count(":") == 2)):
        return name
    known = ", ".join(sorted(MATCHERS))
    raise ValueError(
        f"there is no matcher {name!r}; there are: {known}, and {PREFIX}package.module:function"
    )


def check_superpixel_method(name: str) -> str:
    """The name itself, or a ValueError of one sentence with the names that there are."""
    if isinstance(name, str) and name in SUPERPIXEL_METHODS:
        return name
    known = ", ".join(sorted(SUPERPIXEL_METHODS))
    raise ValueError(f"there is no superpixel method {name!r}; there are: {known}")


def build_matcher(name: str, settings: MatcherSettings) -> Matcher:
    """The matcher of a name.

    Args:
        name: In `MATCHERS`, or `python:package.module:function`: a function from two (H, W, 3)
            uint8 images to `Matches`, whose result is checked.
        settings: For the matchers of `MATCHERS`; a function of one's own does not get them.

    Raises:
        ValueError: There is no such matcher or function.
    """
    check_matcher(name)
    if is_plug_in(name):
        return _Checked(name, named_function(function_of(name)))
    made: Matcher = named_function(MATCHERS[name])(settings)
    return made


def superpixel_method(name: str) -> SuperpixelMethod:
    """The superpixel method of a name; raises ValueError if there is none."""
    found: SuperpixelMethod = named_function(SUPERPIXEL_METHODS[check_superpixel_method(name)])
    return found


def check_pair(image_a: Image, image_b: Image) -> None:
    """Raises a ValueError of one sentence unless these are two pictures of one size."""
    check_image(image_a, "the first image")
    check_image(image_b, "the second image")
    same_size(image_a, image_b)


def check_superpixel_input(image: Image, n_superpixels: int) -> int:
    """The number; or a ValueError of one sentence: no picture, or one with fewer pixels."""
    check_image(image)
    return whole_number(n_superpixels, "n_superpixels", 1, image.shape[0] * image.shape[1])


def check_labels(labels: npt.NDArray[np.int32], shape: tuple[int, ...]) -> None:
    """Raises a ValueError of one sentence unless these are labels from 0 of that shape."""
    check_map(labels, "superpixels", types=("int32",), like=shape)
    if labels.min() < 0:
        raise ValueError(f"superpixel labels start at 0, but {labels.min()} is among them")


class _Checked:
    """A matcher of somebody else's, whose matches are examined before they index anything."""

    def __init__(self, name: str, match: Callable[[Image, Image], object]) -> None:
        self._name = name
        self._match = match

    def __call__(self, image_a: Image, image_b: Image) -> Matches:
        """As `Matcher`.

        Raises:
            MatcherFaultError: The function fails, or gives something else than matches.
            ValueError: It says so of these two images, by a ValueError of its own.
        """
        from crosscity.matching.matches import Matches, MatchesError  # noqa: PLC0415 - slow

        check_pair(image_a, image_b)
        try:
            with somebody_elses(f"the matcher {self._name!r}", MatcherFaultError):
                found = self._match(image_a, image_b)
        except MatcherFaultError as error:
            cause = error.__cause__
            if isinstance(cause, ValueError) and not isinstance(cause, MatchesError):
                raise ValueError(str(error)) from cause  # noqa: TRY004 - of these two images
            raise
        if not isinstance(found, Matches):
            raise MatcherFaultError(
                f"the matcher {self._name!r} returned {type(found).__name__}: it must return "
                "crosscity.matching.Matches"
            )
        height, width = image_a.shape[:2]
        for name, most in (("x_a", width), ("y_a", height), ("x_b", width), ("y_b", height)):
            at = getattr(found, name)
            if len(at) and not (at.min() >= 0 and at.max() <= most - 1):
                raise MatcherFaultError(
                    f"the matcher {self._name!r} returned matches with {name} outside the image, "
                    f"from {at.min():g} to {at.max():g} where 0 to {most - 1} are inside"
                )
        return found
