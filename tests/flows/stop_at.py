"""Runs a `crosscity` command line that stops still at one moment, waiting to be killed there.

    python stop_at.py MOMENT MARKER words of the command line

The file MARKER appears when the moment has come. It goes on once a file of this name and ".go" is
there.
"""

import itertools
import sys
import threading
import time
from pathlib import Path

moment, marker, words = sys.argv[1], Path(sys.argv[2]), sys.argv[3:]


def stand_still() -> None:
    marker.touch()
    told = marker.with_name(f"{marker.name}.go")
    while not told.exists():
        time.sleep(0.05)


def nth(module: object, name: str, n: int) -> None:
    """Stops before the n-th call of a function of a module."""
    original, calls, lock = getattr(module, name), itertools.count(1), threading.Lock()

    def counted(*arguments: object, **options: object) -> object:
        with lock:
            call = next(calls)
        if call == n:
            stand_still()
        return original(*arguments, **options)

    setattr(module, name, counted)


if moment == "harvest":
    from tasks.harvesting import fetching

    nth(fetching, "_fetch_one", 7)  # in the second of four parts
elif moment == "priors":
    from tasks.priors import extraction as priors

    nth(priors, "extract_prior", 4)  # in the second of three parts
elif moment == "predict":
    from tasks.judging import predictions

    nth(predictions, "_decoded", 6)  # in the second of four parts
elif moment == "after a checkpoint":
    from tasks.training import checkpoints

    nth(checkpoints, "_save", 2)  # with what the first saved
elif moment == "in a checkpoint":
    from safetensors.torch import save

    from tasks.training import checkpoints

    saves = itertools.count(1)

    def half(tensors: object, path: Path, metadata: dict[str, str] | None = None) -> None:
        data = save(tensors, metadata=metadata)
        if metadata and next(saves) == 2:
            with Path(path).open("wb") as file:
                file.write(data[: len(data) // 2])
                file.flush()
                stand_still()
        Path(path).write_bytes(data)

    if not callable(getattr(checkpoints, "write_tensors", None)):
        raise SystemExit("checkpoints are written by another function now: stop in that")
    checkpoints.write_tensors = half
else:
    raise SystemExit(f"no moment {moment!r}")

from flows.cli.main import main  # noqa: E402 - after the science was changed

main(words)
