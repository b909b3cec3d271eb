"""Training to the end whatever happens: checkpoints at an interval and on SIGTERM, and resuming."""

from __future__ import annotations

import json
import logging
import multiprocessing
import os
import re
import resource
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, Final

import torch
from safetensors import SafetensorError, safe_open

from adapters.store import Store
from crosscity.adaptation import Training, TrainingState
from tasks.steps import progress
from tasks.steps.errors import InputError
from tasks.steps.logs import log
from tasks.steps.plan import Plan
from tasks.training.history import ROWS_A_STRETCH, History
from tasks.training.tensor_files import write_tensors
from tasks.training.tracking import tracked

CHECKPOINT: Final = "checkpoint.safetensors"
"""Model, discriminators, optimisers, λ and sampler position (the step, on which both depend, as do
the random numbers), and the history so far, in one file: a checkpoint is there whole or not at
all."""
_HISTORY: Final = "history"
"""The history in a checkpoint: bytes of JSON as a tensor, as words for a safetensors file's header
may take 100 MB."""
_LAST: Final = "history_last"
"""The same, where earlier rows lie in stretches of their own: written anew with each checkpoint,
the history of a long training would take more than everything else."""
_STRETCHES: Final = "history_stretches"
"""Their number, in the file's header."""
TAKEN: Final = ("images_per_second", "peak_memory_mib")
"""What a row of a history says of the machine. The peak is, in MiB, what the step had allocated on
a GPU, or the resident set of the process so far on a processor."""
_MIB: Final = 2**20


@dataclass(frozen=True)
class CheckpointPlace:
    """Where a training keeps its checkpoints, and the name of its stage."""

    kind: str
    city: str
    key: str
    stage: str


@dataclass
class Measured:
    """What a run took, for the manifest's summary; `timed_step` has it by step.

    Attributes:
        intervals: Of each stretch between checkpoints: the last step, images a second, the share
            of the time that was spent waiting for images, and the most memory in use, in bytes (of
            the device where that is a GPU, else of the process).
    """

    intervals: list[dict[str, float]] = field(default_factory=list)

    def summary(self) -> dict[str, Any]:
        """For a manifest: the mean speed, the most memory, and its course in 50 rows at most."""
        if not self.intervals:
            return {}
        every = -(-len(self.intervals) // 50)
        names = ("images_per_second", "waiting_share")
        seconds = sum(interval["seconds"] for interval in self.intervals)
        means = {
            name: round(
                sum(interval[name] * interval["seconds"] for interval in self.intervals) / seconds,
                4,
            )
            for name in names
        }
        peak = max(interval["peak_memory_bytes"] for interval in self.intervals)
        return {**means, "peak_memory_bytes": peak, "course": self.intervals[::every]}


def run_resumably(
    training: Training,
    plan: Plan,
    place: CheckpointPlace,
    *,
    every: int,
    measured: Measured | None = None,
) -> History:
    """Trains to the end from the last whole checkpoint, saving one every so many steps.

    SIGTERM saves one more, after the step under way, and is then passed on to whoever handled it
    before.

    Args:
        training: A training at its first step.
        plan: Gives the store and the machine's threads.
        place: Where the checkpoints go.
        every: Steps between checkpoints: what a kill can lose.
        measured: Gets speed and memory.

    Returns:
        The history from the first step on, one row a step; what each step took is in its row
        (`TAKEN`), of which a resumed training knows also what it took before.

    Raises:
        InputError: The checkpoint is of another training.
    """
    torch.set_num_threads(plan.compute.threads)
    history = _restore(training, plan.open_store(), place)
    is_first = training.engine.rank == 0
    progress.advance(place.stage, training.step, training.total_steps)
    # Of several processes one tells, as one saves.
    watched = plan if is_first else plan.model_copy(update={"tracking": None})
    tracking = tracked(
        watched, place.kind, place.city, place.key, training.step, lambda: training.finished
    )
    with _termination() as asked, tracking as tell:
        while not training.finished:
            before, clock = training.step, _Clock(training)
            ends = min(before + every - before % every, training.total_steps)
            # The end may come nearer on the way: a plateau is reached, a last stretch begins.
            while training.step < min(ends, training.total_steps) and not _anyone(training, asked):
                done = training.step
                history.extend(timed_step(training))
                tell(history[-1:])
                # By the step: a checkpoint's worth of steps can take minutes.
                progress.advance(place.stage, training.step - done, training.total_steps)
            if is_first and training.step > before:
                _save(training, history, plan.open_store(), place)
            if measured is not None and training.step > before:
                measured.intervals.append(clock.read(history[before:]))
            if _anyone(training, asked):
                break
    if not training.finished:
        os.kill(os.getpid(), signal.SIGTERM)
        # Who ignores the signal wants no end: the rest is trained after all.
        return run_resumably(training, plan, place, every=every, measured=measured)
    return history


def _save(training: Training, history: History, store: Store, place: CheckpointPlace) -> None:
    # The stretches go first: a checkpoint counts on those that it names.
    for number in range(history.kept, len(history.stretches)):
        stretch = history.stretches[number]
        store.save_progress(place.kind, place.city, place.key, _stretch_name(number), stretch)
    history.kept = len(history.stretches)
    state = training.state()
    notes = {"meta": json.dumps(state.meta)}
    tensors = {name: tensor.contiguous() for name, tensor in state.tensors.items()}
    if history.kept:
        notes[_STRETCHES] = str(history.kept)
    rows = bytearray(json.dumps(history.last).encode())
    # Under another name: who knows no stretches must not take the last rows for all.
    name = _LAST if history.kept else _HISTORY
    tensors[name] = torch.frombuffer(rows, dtype=torch.uint8)
    store.save_progress(
        place.kind,
        place.city,
        place.key,
        CHECKPOINT,
        lambda path: write_tensors(tensors, path, notes),
    )


def _restore(training: Training, store: Store, place: CheckpointPlace) -> History:
    path = store.load_progress(place.kind, place.city, place.key, CHECKPOINT)
    if path is None:
        return History()
    try:
        with safe_open(path, framework="pt") as opened:
            notes = opened.metadata() or {}
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
        kept = int(notes.get(_STRETCHES, 0))
        rows = tensors.pop(_LAST if kept else _HISTORY, None)
        text = notes[_HISTORY] if rows is None else rows.numpy().tobytes()  # as it once was
        stretches = _stretches(store, place, kept)
        if stretches is None:
            return History()
        history = History(json.loads(text), stretches)
        training.restore(TrainingState(tensors=tensors, meta=json.loads(notes["meta"])))
    except (SafetensorError, KeyError, ValueError) as error:
        raise InputError(
            f"the checkpoint {path} does not fit this training ({error}): delete it and run again"
        ) from None
    return history


def _stretches(store: Store, place: CheckpointPlace, count: int) -> list[bytes] | None:
    """The first stretches of a history; ``None``, and a warning, where one is lost."""
    found = []
    for number in range(count):
        path = store.load_progress(place.kind, place.city, place.key, _stretch_name(number))
        if path is None:
            log(
                logging.WARNING,
                f"{place.stage} begins anew: the history of its steps from "
                f"{number * ROWS_A_STRETCH} on is lost or damaged, without which its checkpoint "
                "cannot be gone on from",
            )
            return None
        found.append(path.read_bytes())
    return found


def _stretch_name(number: int) -> str:
    return f"history-{number:05d}"


@contextmanager
def _termination() -> Iterator[threading.Event]:
    """Inside, SIGTERM sets the event instead of ending the process; so in its children."""
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked  # only the main thread may handle signals; the last checkpoint must do
        return

    def note(_number: int, _frame: FrameType | None) -> None:
        asked.set()
        for child in multiprocessing.active_children():
            child.terminate()

    before = signal.signal(signal.SIGTERM, note)
    try:
        yield asked
    finally:
        signal.signal(signal.SIGTERM, before if before is not None else signal.SIG_DFL)


def _anyone(training: Training, asked: threading.Event) -> bool:
    """Whether any process was asked to end: all must stop after the same step."""
    if training.engine.ranks == 1:
        return asked.is_set()
    flag = torch.tensor(float(asked.is_set()), device=training.device)
    return bool(training.engine.mean(flag) > 0)


def timed_step(training: Training) -> list[dict[str, Any]]:
    """One step; its row of the history also says what it took (`TAKEN`).

    The row's other values follow from the inputs. These two are of the machine: no two runs have
    the same.
    """
    if training.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(training.device)
    began = time.perf_counter()
    rows = training.advance(1)
    # A step ends with its losses on the host, so a GPU has done nearly all of it by now.
    speed = training.images_a_step / max(time.perf_counter() - began, 1e-9)
    memory = _peak_memory(training.device) / _MIB
    return [
        {**row, "images_per_second": round(speed, 3), "peak_memory_mib": round(memory, 1)}
        for row in rows
    ]


class _Clock:
    """Speed and memory of the steps up to a checkpoint, which counts too."""

    def __init__(self, training: Training) -> None:
        self._training = training
        self._step = training.step
        self._waited = training.seconds_waited
        self._began = time.perf_counter()

    def read(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
        training = self._training
        seconds = max(time.perf_counter() - self._began, 1e-9)
        images = (training.step - self._step) * training.images_a_step
        return {
            "step": training.step,
            "seconds": round(seconds, 3),
            "images_per_second": round(images / seconds, 3),
            "waiting_share": round((training.seconds_waited - self._waited) / seconds, 4),
            "peak_memory_bytes": round(max(row["peak_memory_mib"] for row in rows) * _MIB),
        }


def _peak_memory(device: torch.device) -> int:
    """Bytes: allocated on a GPU since the last reset, or resident since the process began."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    status = Path("/proc/self/status")
    if status.is_file():
        # Linux's getrusage also counts the process that this one was started by.
        found = re.search(r"^VmHWM:\s*(\d+) kB$", status.read_text(), re.MULTILINE)
        if found:
            return int(found[1]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024  # macOS counts bytes, others kibibytes
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
