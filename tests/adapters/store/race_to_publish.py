"""Script: processes publish different content under the same keys at once; one whole one is kept.

Usage: race_to_publish.py PLACE FOLDER.
"""

from __future__ import annotations

import multiprocessing
import sys
from pathlib import Path

from object_files import url_of

from adapters.store import SINGLE, Selection, Store

PROCESSES = 3
ROUNDS = 25


def take_part(number, kind, folder, barrier, results):
    store = Store(url_of(kind, folder), cache_dir=folder / f"cache-{number}")
    for turn in range(ROUNDS):
        with store.draft("a", "rome", f"k{turn}", inputs=[], parameters={}, version="1") as draft:
            for name in ("x", "y/z"):
                draft.file(name).write_bytes(f"{number} {name}".encode() * 1000)
            barrier.wait()
        store.save_progress("a", "rome", "shared", "step", str(number).encode() * 100)
        store.switch("best", "rome", Selection({SINGLE: draft.ref}))
        if store.selected("best", "rome") is None:
            raise AssertionError("a pointer that was set must not be seen missing")
        store.verify(draft.ref)
        first = store.path(draft.ref, "x").read_bytes()[:1]
        assert store.path(draft.ref, "y/z").read_bytes()[:1] == first
        results.put((turn, draft.ref.digest))


def main():
    kind, folder = sys.argv[1], Path(sys.argv[2])
    context = multiprocessing.get_context("fork")
    barrier, results = context.Barrier(PROCESSES), context.Queue()
    workers = [
        context.Process(target=take_part, args=(number, kind, folder, barrier, results))
        for number in range(PROCESSES)
    ]
    for worker in workers:
        worker.start()
    found = [results.get(timeout=900) for _ in range(PROCESSES * ROUNDS)]
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0
    for turn in range(ROUNDS):
        assert len({digest for number, digest in found if number == turn}) == 1, turn
    store = Store(url_of(kind, folder), cache_dir=folder / "cache")
    assert len(list(store.artifacts())) == ROUNDS
    for drafts in folder.rglob(".drafts"):
        assert list(drafts.iterdir()) == []


main()
