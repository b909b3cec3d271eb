"""Prefect's server, whose garbage is collected beside its event loop.

    python -m flows.prefect_server server start --port 4200      # what `python -m prefect` does

On SQLite, a server that is started as it is comes to a stand for a minute at a time once several
runs tell it things at once. A statement that SQLite refused ("database is locked") leaves its
cursor in the traceback's cycle of references. The collector, which runs in whatever thread asks for
memory, mostly that of the event loop, resets the cursor's statement, and for that waits until the
connection is free. If that connection waits for the database's lock, and whoever has the lock
waits for the event loop, all wait for `busy_timeout`, which Prefect sets to 60 seconds. In a thread
of its own the collector waits alone, and the event loop goes on.

Nothing else runs while a collection goes through what is alive. Of a server nearly all of that are
the modules and classes that it has loaded, which stay as long as it does: they are set aside once.
"""

from __future__ import annotations

import gc
import runpy
import threading
import time
from typing import Final

SECONDS: Final = 1.0
"""Between two collections of what was made lately."""
WHOLE: Final = 30
"""Of so many collections, one is of everything."""


def collect_in_a_thread() -> threading.Thread:
    """From now on, cycles of references are found by a thread of their own, and by no other."""
    gc.disable()
    thread = threading.Thread(target=_collect, daemon=True, name="garbage")
    thread.start()
    return thread


def _collect() -> None:
    done = 0
    while True:
        time.sleep(SECONDS)
        done += 1
        collect_for_the_time(done)


def collect_for_the_time(done: int) -> None:
    """The collection of one second, counted from 1, since the server was started."""
    gc.collect(2 if done % WHOLE == 0 else 1)
    if done == WHOLE:  # by now it has loaded what it needs, and answers
        gc.freeze()


def main() -> None:
    """Runs Prefect's command line with the arguments of this process."""
    collect_in_a_thread()
    runpy.run_module("prefect", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
