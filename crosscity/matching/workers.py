"""Threads for one pair of images."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Lock
from typing import TypeVar

from threadpoolctl import ThreadpoolController, threadpool_limits

Item = TypeVar("Item")
Result = TypeVar("Result")


class Workers:
    """So many threads; with one, the calling thread itself.

    The compiled loops and the matrix products give up the interpreter's lock, so threads suffice.
    """

    def __init__(self, threads: int, pool: ThreadPoolExecutor | None) -> None:
        self.threads = threads
        self._pool = pool

    def each(self, work: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
        """Does the work for every item; results in the order of the items."""
        if self._pool is None:
            return [work(item) for item in items]
        return list(self._pool.map(work, items))

    def chunks(self, count: int, per_thread: int = 8) -> list[tuple[int, int]]:
        """Splits 0 … count into ranges, more than threads so that none waits long for another."""
        pieces = min(count, 1 if self.threads == 1 else self.threads * per_thread)
        ends = [count * (k + 1) // pieces for k in range(pieces)]
        return list(zip([0, *ends[:-1]], ends, strict=True))


@contextmanager
def workers(threads: int | None) -> Iterator[Workers]:
    """Threads for the duration of a block, in which matrix products use one thread each.

    Args:
        threads: How many; ``None`` for one a core that this process may use.
    """
    count = threads or usable_cores()
    with _single_threaded_products:
        if count == 1:
            yield Workers(1, None)
            return
        with ThreadPoolExecutor(count, thread_name_prefix="matching") as pool:
            yield Workers(count, pool)


def usable_cores() -> int:
    """Cores that this process may use; where the system does not say (macOS), the machine's."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class _SingleThreadedProducts:
    """Keeps the BLAS library from starting threads of its own while anybody is inside.

    The limit is one of the whole process, so it is lifted by the last to leave.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._inside = 0
        self._controller: ThreadpoolController | None = None
        self._limits: threadpool_limits | None = None

    def __enter__(self) -> None:
        with self._lock:
            if self._inside == 0:
                self._controller = self._controller or ThreadpoolController()
                self._limits = self._controller.limit(limits=1, user_api="blas")
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0 and self._limits is not None:
                self._limits.restore_original_limits()
                self._limits = None


_single_threaded_products = _SingleThreadedProducts()
