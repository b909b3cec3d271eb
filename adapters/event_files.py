"""TensorBoard's event files, by its own writer (the optional extra `[tensorboard]`)."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

_FLUSH_SECONDS: Final = 5
_WAITING: Final = 100
"""Events that are held while the disk is slow."""


class EventFilesError(ValueError):
    """The library is missing, or the folder cannot be written; one sentence."""


class EventFiles:
    """The event files of one training.

    Args:
        folder: The run's folder; made where it is not there.
        first_step: The step that it begins with. What an earlier process wrote for this and later
            steps does not count any more: TensorBoard leaves it out at the start of a session.

    Raises:
        EventFilesError: tensorboard is not installed, or the folder cannot be written.
    """

    def __init__(self, folder: Path, first_step: int) -> None:
        try:
            from tensorboard.compat.proto import event_pb2, summary_pb2  # noqa: PLC0415 - an extra
            from tensorboard.summary.writer.event_file_writer import (  # noqa: PLC0415
                EventFileWriter,
            )
        except ImportError:
            raise EventFilesError(
                "event files need tensorboard: pip install 'crosscity[tensorboard]'"
            ) from None
        self._events: Any = event_pb2
        self._summaries: Any = summary_pb2
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._writer: Any = EventFileWriter(
                str(folder),
                max_queue_size=_WAITING,
                flush_secs=_FLUSH_SECONDS,
                # Names have seconds alone, and are read in their order.
                filename_suffix=f".{first_step:09d}.{os.getpid()}",
            )
        except OSError as error:
            raise EventFilesError(
                f"{folder} cannot be written: {error.strerror or error}"
            ) from None
        begin = self._events.SessionLog(status=self._events.SessionLog.START)
        self._add(first_step, session_log=begin)
        self._writer.flush()

    def write(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Writes the numbers of history rows, each under the quantity's name."""
        for row in rows:
            values = [
                self._summaries.Summary.Value(tag=name, simple_value=value)
                for name, value in row.items()
                if name != "step" and isinstance(value, int | float)
            ]
            self._add(row["step"], summary=self._summaries.Summary(value=values))
        self._writer.flush()

    def close(self, *, finished: bool = True) -> None:  # noqa: ARG002 - event files do not say it
        """Ends the file."""
        self._writer.close()

    def _add(self, step: int, **content: Any) -> None:  # noqa: ANN401 - messages of protobuf
        event = self._events.Event(wall_time=time.time(), step=step, **content)
        self._writer.add_event(event)
