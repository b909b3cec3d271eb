"""The science of cross-city adaptation: arrays and tensors in, arrays and tensors out.

Nothing here knows of orchestration, networks or the store. Every module imports where only NumPy,
PyTorch, Numba and OpenCV are installed.

What most people need is here by the name of its verb; the modules have the rest:

    import crosscity

    matches = crosscity.match(before, after)  # dense matches of two pictures of one place
    regions = crosscity.superpixels(before, 200)  # (H, W) labels 0 to 199
    static = crosscity.static_prior(matches, regions)  # (H, W) True where nothing changed
    segmenter = crosscity.load_segmenter("lisbon-segmenter")  # a delivered folder, or a file
    classes = crosscity.predict(segmenter, before)  # (H, W) indices into its class_names
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from crosscity.loaded_late import loaded_late

if TYPE_CHECKING:
    from crosscity.evaluation import predict
    from crosscity.matching import deep_matching as match
    from crosscity.partitioning import entropy_rate_superpixels as superpixels
    from crosscity.segmenters import load_segmenter
    from crosscity.static_regions import static_prior

__all__ = ["load_segmenter", "match", "predict", "static_prior", "superpixels"]

_OFFERED: Final = {
    "load_segmenter": ("crosscity.segmenters", "load_segmenter"),
    "match": ("crosscity.matching", "deep_matching"),
    "predict": ("crosscity.evaluation", "predict"),
    "static_prior": ("crosscity.static_regions", "static_prior"),
    "superpixels": ("crosscity.partitioning", "entropy_rate_superpixels"),
}
"""Where each function is. None of them may share its name with a module of this package: the
import of that module would put it in the function's place."""

if not TYPE_CHECKING:  # a checker knows the names from the imports above, and no others
    __getattr__, __dir__ = loaded_late(__name__, _OFFERED)
