"""Work on many images or pairs at once, inside one task."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_parallel(
    work: Callable[[Item], Result], items: Sequence[Item], *, workers: int
) -> list[Result]:
    """Results of the work on each item, in their order; the first error ends it.

    The threads know the run that they work for, so that the progress they make is shown in its
    dashboard: Prefect keeps the run in context variables, which new threads do not inherit.
    """
    contexts = [copy_context() for _ in items]
    with ThreadPoolExecutor(workers) as pool:
        return list(pool.map(lambda context, item: context.run(work, item), contexts, items))
