"""Types of the renderer's arrays, and how its inner loops are compiled."""

from __future__ import annotations

from typing import Final

import numba
import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
"""Geometry, and vectors of settings."""
Singles = npt.NDArray[np.float32]
"""Pictures, depth maps and noise."""
Indices = npt.NDArray[np.int32]
"""Which row a sample shows."""
Colour = tuple[float, float, float]
"""Linear red, green, blue."""
Surface = tuple[float, float, float, float, float]
"""Albedo (3), share of the mirror, glow."""

kernel: Final = numba.njit(nogil=True, error_model="numpy")
"""Compiles a function that other compiled functions call.

It is not cached by itself: numba takes a cached function for current as long as its own file is
unchanged, whatever became of the functions that it calls. `compiled.py` holds the entry points,
which are cached, under a digest of all that they call.
"""

inlined: Final = numba.njit(nogil=True, error_model="numpy", forceinline=True)
"""The same for small functions that every sample goes through: calls would cost more than they."""
