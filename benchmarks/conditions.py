"""Under what a figure was measured: processor, load, and the kernel of the matrix products.

The same code takes several times as long with another BLAS kernel (AVX-512, AVX2), so a time
without it compares with nothing.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
from pathlib import Path
from typing import Any, Final

import numpy as np
from threadpoolctl import threadpool_info

VERSIONS: Final = (
    "numpy",
    "numba",
    "torch",
    "triton",
    "opencv-contrib-python-headless",
    "opencv-python-headless",
)
"""Of what is installed of these."""


def conditions() -> dict[str, Any]:
    """Processor, cores, load average, versions, and of each loaded BLAS its kernel and threads."""
    np.ones((2, 2)) @ np.ones((2, 2))  # so that the library is loaded
    libraries = [
        {
            "library": str(found.get("internal_api")),
            "version": str(found.get("version")),
            "kernel": str(found.get("architecture", "unknown")),
            "threads": int(found.get("num_threads", 0)),
        }
        for found in threadpool_info()
        if found.get("user_api") == "blas"
    ]
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "load_average": [round(load, 1) for load in os.getloadavg()],
        "blas": libraries,
        "blas_kernel_asked_for": os.environ.get("OPENBLAS_CORETYPE"),
        "versions": {
            name: importlib.metadata.version(name) for name in VERSIONS if _installed(name)
        },
    }


def _processor() -> str:
    """The processor's name, as the kernel knows it."""
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _installed(name: str) -> bool:
    try:
        importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True
