"""The server of SQLite does not come to a stand where a refused statement is cleared away."""

from __future__ import annotations

import subprocess
import sys
import textwrap

from flows.cli.server import server_command

REFUSED = """
    import sqlite3, sys, threading, time
    from flows.prefect_server import collect_in_a_thread

    collect_in_a_thread()
    holder = sqlite3.connect(sys.argv[1], isolation_level=None)
    holder.execute("PRAGMA journal_mode = WAL")
    holder.execute("CREATE TABLE t (x)")
    waiter = sqlite3.connect(sys.argv[1], isolation_level=None, check_same_thread=False)
    holder.execute("BEGIN IMMEDIATE")

    class Traceback:
        pass

    left = Traceback()
    left.itself, left.cursor = left, waiter.cursor()
    waiter.execute("PRAGMA busy_timeout = 0")
    try:
        left.cursor.execute("INSERT INTO t VALUES (1)")
    except sqlite3.OperationalError as error:
        print(error)
    waiter.execute("PRAGMA busy_timeout = 300000")

    def wait():
        waiter.execute("INSERT INTO t VALUES (2)")
        print("written")

    waiting = threading.Thread(target=wait)
    waiting.start()
    time.sleep(0.5)
    del left
    kept = []
    for number in range(300_000):  # asks for memory, as an event loop does
        cycle = []
        cycle.append(cycle)
        kept += [cycle] * (number % 3 == 0)
    time.sleep(3)  # a collection beside it has begun
    holder.execute("COMMIT")
    waiting.join()
"""
"""A refused statement's cursor is in a cycle, its connection waits for a lock, and whoever holds
the lock asks for memory before he lets it go."""


def test_what_a_refused_statement_leaves_does_not_stop_whoever_holds_the_lock(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(REFUSED), str(tmp_path / "database")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout + done.stderr == "database is locked\nwritten\n"


def test_servers_are_started_so_and_run_what_prefect_runs():
    words = server_command(4200)
    assert words[1:5] == ["-m", "flows.prefect_server", "server", "start"]
    done = subprocess.run([*words[:3], "version"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "API version" in done.stdout


SET_ASIDE = """
    import gc, weakref
    from flows.prefect_server import WHOLE, collect_for_the_time

    class Cycle:
        def __init__(self):
            self.itself = self

    loaded = [[] for number in range(50_000)]
    for second in range(1, WHOLE + 1):
        collect_for_the_time(second)
    print(len(gc.get_objects()) < 1000 < 50_000 < gc.get_freeze_count())
    aside = gc.get_freeze_count()
    later = weakref.ref(Cycle())
    old = Cycle()
    gc.collect(1)  # has become old
    later_and_old = weakref.ref(old)
    del old
    for second in range(WHOLE + 1, 2 * WHOLE + 1):
        collect_for_the_time(second)
    print(later(), later_and_old(), gc.get_freeze_count() <= aside)
"""


def test_what_a_server_has_loaded_is_gone_through_once():
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(SET_ASIDE)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout + done.stderr == "True\nNone None True\n"
