"""Keeping memory that is freed and wanted again in every step, with every pair or image."""

from __future__ import annotations

import ctypes
import platform

# Names and limits of glibc's <malloc.h>; a larger mmap threshold is refused.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_LARGEST_MMAP_THRESHOLD = 32 * 2**20
_KEPT = 2**30


def keep_freed_memory() -> bool:
    """Lets this process keep up to 1 GiB that it frees, instead of handing it back at once.

    A step on a processor, or a prediction, makes and drops dozens of arrays of some 10 MiB. glibc
    gives the memory of each back to the system, which must clear every page of it when the next
    array comes: a tenth to a fifth of a step of training or a prediction, a quarter of a prior in
    the worker processes of dask, whose `MALLOC_TRIM_THRESHOLD_` has glibc hand back all of it. No
    result changes.

    Returns:
        Whether the C library is one that can be set (glibc).
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    mallopt.argtypes = (ctypes.c_int, ctypes.c_int)
    return bool(
        mallopt(_M_MMAP_THRESHOLD, _LARGEST_MMAP_THRESHOLD) and mallopt(_M_TRIM_THRESHOLD, _KEPT)
    )
