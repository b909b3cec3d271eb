"""Entry points of the compiled inner loops, cached on disk under a digest of what they are."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Any, Final

import numba

from crosscity.compiled_loops import sources_digest
from simcity import exposure, rasteriser, shading, wires

_Kernel = Callable[..., None]

# Bound to names of their own: a compiled function looks its globals up when it is compiled.
_rasterise = rasteriser.rasterise
_shade_samples = shading.shade_samples
_blend_wires = wires.blend_wires
_vote = exposure.vote
_develop = exposure.develop


def _entries(sources: int) -> tuple[_Kernel, _Kernel, _Kernel, _Kernel, _Kernel]:
    """The entry points; `sources` is in their closure, and closures are in numba's cache key.

    Without it, a change in a file that none of them stands in would go unnoticed, and an upgraded
    checkout would go on drawing the old pictures.

    Args:
        sources: Changes with the files of what they call; not 0.
    """

    @numba.njit(cache=True, nogil=True)
    def rasterise(*arguments: Any) -> None:  # noqa: ANN401
        if sources:
            _rasterise(*arguments)

    @numba.njit(cache=True, nogil=True)
    def shade(*arguments: Any) -> None:  # noqa: ANN401
        if sources:
            _shade_samples(*arguments)

    @numba.njit(cache=True, nogil=True)
    def draw_wires(*arguments: Any) -> None:  # noqa: ANN401
        if sources:
            _blend_wires(*arguments)

    @numba.njit(cache=True, nogil=True)
    def vote(*arguments: Any) -> None:  # noqa: ANN401
        if sources:
            _vote(*arguments)

    @numba.njit(cache=True, nogil=True)
    def develop(*arguments: Any) -> None:  # noqa: ANN401
        if sources:
            _develop(*arguments)

    return rasterise, shade, draw_wires, vote, develop


_SOURCES: Final = "".join(
    sources_digest(module.__name__) for module in (rasteriser, shading, wires, exposure)
)
_ENTRIES: Final = _entries(1 + zlib.crc32(_SOURCES.encode()))
rasterise, shade, draw_wires, vote, develop = _ENTRIES
