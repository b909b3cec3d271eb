"""Several pairs in flight, timed, and what they really ran on.

`deep_matching` goes on on the processor where a device fails or has too little memory: a harvest
must end. A figure of that is no figure of the device, so a measurement ends there instead.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import cycle, islice
from typing import Any, Final, TypeVar

import torch

from crosscity.matching import pairs_left_to_the_processor
from crosscity.matching.on_device import VALUES_AT_A_TIME, stages_for
from crosscity.matching.tensor_stages import TensorStages

Item = TypeVar("Item")

ROUNDS: Final = 4
"""Items of each thread, at least: with fewer, threads that have none left are timed as well."""


@dataclass(frozen=True)
class Flight:
    """What a number of items took.

    Attributes:
        items: How many.
        workers: Threads.
        wall: Seconds of the clock.
        processor: Seconds of all cores.
        warned: What the library warned of meanwhile, each sentence once.
    """

    items: int
    workers: int
    wall: float
    processor: float
    warned: list[str]


def timed_in_flight(
    work: Callable[[Item], object],
    items: Sequence[Item],
    workers: int,
    begin: Callable[[], None] = lambda: None,
) -> Flight:
    """Works on all items with so many threads, each of which has had one before the clock starts.

    A thread has a stream and its memory on a device, so the first item of each is of another kind.

    Args:
        work: Is called with an item.
        items: At least one; they are gone through as often as `ROUNDS` asks for.
        workers: Threads.
        begin: Is called when the clock starts.

    Raises:
        SystemExit: A pair was matched on the processor that should have been on the device.
    """
    every = list(islice(cycle(items), max(len(items), ROUNDS * workers)))
    all_there = threading.Barrier(workers)

    def first(item: Item) -> None:
        all_there.wait()  # or a quick thread would take the first item of another
        work(item)

    with _nothing_left() as warned, ThreadPoolExecutor(workers) as pool:
        list(pool.map(first, every[:workers]))
        begin()
        wall, processor = time.perf_counter(), time.process_time()
        list(pool.map(work, every))
        wall, processor = time.perf_counter() - wall, time.process_time() - processor
    return Flight(len(every), workers, wall, processor, warned)


@contextmanager
def _nothing_left() -> Iterator[list[str]]:
    """Gives what the library warns of meanwhile; ends the program where a device was left."""
    warned: list[str] = []

    class Kept(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.getMessage() not in warned:
                warned.append(record.getMessage())

    kept, library = Kept(logging.WARNING), logging.getLogger("crosscity")
    left = pairs_left_to_the_processor()
    library.addHandler(kept)
    try:
        yield warned
    finally:
        library.removeHandler(kept)
    left = pairs_left_to_the_processor() - left
    if left:
        raise SystemExit(
            f"{left} pairs were matched on the processor and not on the device, so nothing is "
            f"reported of this setting: {'; '.join(warned) or 'the device had failed before'}"
        )


def ran_on(device: str) -> dict[str, Any]:
    """The device's name, and on CUDA whether the kernels were trusted or tensor operations ran."""
    where = torch.device(device)
    if where.type != "cuda":
        return {"device": device}
    return {
        "device": torch.cuda.get_device_name(where),
        "kernels": not isinstance(stages_for(where, VALUES_AT_A_TIME), TensorStages),
    }
