"""Entry points of the compiled inner loops, cached on disk under the version of the algorithm."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numba

from simcity import exposure, rasteriser, shading, wires
from simcity.version import ALGORITHM_VERSION

_Kernel = Callable[..., None]

# Bound to names of their own: a compiled function looks its globals up when it is compiled.
_rasterise = rasteriser.rasterise
_shade_samples = shading.shade_samples
_blend_wires = wires.blend_wires
_vote = exposure.vote
_develop = exposure.develop


def _entries(version: int) -> tuple[_Kernel, _Kernel, _Kernel, _Kernel, _Kernel]:
    """The entry points; `version` is in their closure, and closures are in numba's cache key.

    Without it, a change in a file that none of them stands in would go unnoticed, and an upgraded
    checkout would go on drawing the old pictures.
    """

    @numba.njit(cache=True, nogil=True)
    def rasterise(*arguments: Any) -> None:  # noqa: ANN401
        if version:
            _rasterise(*arguments)

    @numba.njit(cache=True, nogil=True)
    def shade(*arguments: Any) -> None:  # noqa: ANN401
        if version:
            _shade_samples(*arguments)

    @numba.njit(cache=True, nogil=True)
    def draw_wires(*arguments: Any) -> None:  # noqa: ANN401
        if version:
            _blend_wires(*arguments)

    @numba.njit(cache=True, nogil=True)
    def vote(*arguments: Any) -> None:  # noqa: ANN401
        if version:
            _vote(*arguments)

    @numba.njit(cache=True, nogil=True)
    def develop(*arguments: Any) -> None:  # noqa: ANN401
        if version:
            _develop(*arguments)

    return rasterise, shade, draw_wires, vote, develop


_ENTRIES: Final = _entries(int(ALGORITHM_VERSION))
rasterise, shade, draw_wires, vote, develop = _ENTRIES
