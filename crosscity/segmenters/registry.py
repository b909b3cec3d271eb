"""Segmenters by the name that the catalog gives them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from crosscity.named_function import PREFIX, is_plug_in
from crosscity.segmenters.base import Segmenter
from crosscity.segmenters.compact import CompactSegmenter
from crosscity.segmenters.dilated_vgg16 import DilatedVgg16
from crosscity.segmenters.efficientnet_lite0 import EfficientNetLite0
from crosscity.segmenters.hugging_face import HuggingFaceSegmenter
from crosscity.segmenters.plug_in import build_plug_in
from crosscity.segmenters.seeding import seeded_randomness

ARCHITECTURES: Final[dict[str, type[Segmenter]]] = {
    CompactSegmenter.architecture: CompactSegmenter,
    DilatedVgg16.architecture: DilatedVgg16,
    EfficientNetLite0.architecture: EfficientNetLite0,
    HuggingFaceSegmenter.architecture: HuggingFaceSegmenter,
}
"""Every architecture of our own that `build_segmenter` knows."""


def build_segmenter(
    architecture: str, options: Mapping[str, Any] | None = None, *, seed: int = 0
) -> Segmenter:
    """A randomly initialised segmenter.

    Args:
        architecture: A name in `ARCHITECTURES`, or `python:package.module:function`.
        options: Arguments of the architecture's constructor or of the function; a segmenter's
            `options()`.
        seed: Fixes the weights; the process's own random state is neither used nor changed.

    Raises:
        ValueError: No such architecture, or options that it does not take.
    """
    if not is_plug_in(architecture) and architecture not in ARCHITECTURES:
        known = ", ".join(sorted(ARCHITECTURES))
        raise ValueError(
            f"there is no segmenter {architecture!r}; there are: {known}, and "
            f"{PREFIX}package.module:function"
        )
    try:
        with seeded_randomness(seed):
            if is_plug_in(architecture):
                return build_plug_in(architecture, options or {})
            return ARCHITECTURES[architecture](**dict(options or {}))
    except TypeError as error:
        raise ValueError(
            f"the options do not suit the segmenter {architecture!r}: {error}"
        ) from None
