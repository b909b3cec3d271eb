"""Script: does one thing after the other in a store, each in a child that is killed in its middle.

Usage: die_in_the_middle.py JSON, which says the store. Each line that it prints says which case it
was, and which files (or uploads in parts) lie in the store after it that did not before.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from adapters.store import Store, local, remote, turns

REPORTED = json.loads(sys.argv[1])
FACTS: dict[str, Any] = {"inputs": [], "parameters": {}, "version": "1"}
WHOLE = ("pairs", "rome", "whole")
BIG = 5 * 2**20
"""More than lies in the record of a checkpoint."""


def opened(*, pack: bool = False) -> Store:
    return Store(
        REPORTED["url"],
        options=REPORTED.get("options"),
        cache_dir=Path(REPORTED["cache"]),
        pack=pack,
    )


def die(*_: object, **__: object) -> NoReturn:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


def make(store: Store, key: str, size: int = 10) -> None:
    with store.draft("pairs", "rome", key, **FACTS) as draft:
        draft.file("images/x").write_bytes(b"x" * size)
        draft.file("y").write_bytes(b"y" * 10)


def drafting() -> None:
    with opened().draft("pairs", "rome", "drafting", **FACTS) as draft:
        draft.file("x").write_bytes(b"x")
        die()


def publishing() -> None:
    local.sync_tree = die  # type: ignore[assignment]
    remote.RemotePlace._create = die  # type: ignore[assignment,method-assign]
    make(opened(), "publishing")


def packing() -> None:
    local.sync_tree = die  # type: ignore[assignment]
    remote.RemotePlace._create = die  # type: ignore[assignment,method-assign]
    make(opened(pack=True), "packing")


def sending_parts() -> None:
    import s3fs  # type: ignore[import-untyped]

    names = s3fs.S3FileSystem._put_file.__code__.co_varnames
    given = s3fs.S3FileSystem._put_file.__defaults__
    first = s3fs.S3FileSystem._put_file.__code__.co_argcount - len(given)
    by_name = dict(zip(names[first:], given, strict=False)) | {"chunksize": BIG}
    s3fs.S3FileSystem._put_file.__defaults__ = tuple(by_name.values())
    sent = s3fs.S3FileSystem._call_s3

    first_is_there = asyncio.Event()

    async def call(self: Any, method: str, *words: Any, **options: Any) -> Any:
        if method == "upload_part" and options["PartNumber"] > 1:
            await first_is_there.wait()
            die()
        answer = await sent(self, method, *words, **options)
        if method == "upload_part":
            first_is_there.set()
        return answer

    s3fs.S3FileSystem._call_s3 = call
    make(opened(), "parts", 3 * BIG)


def holding() -> None:
    with opened().lease("pairs", "rome", "holding"):
        die()


def waiting() -> None:
    turns.time.sleep = die  # type: ignore[assignment]
    first, second = (opened().turns("waiting", "it", 1) for _ in range(2))
    with first.turn(), second.turn():
        pass


def having_a_turn() -> None:
    with opened().turns("gpu", "the GPU", 2).turn():
        die()


def die_at_the_record(store: Store) -> None:
    """Dies once the data of the next checkpoint are written, before what says that they count."""
    replace = store._place.replace

    def dying(path: str, data: bytes) -> None:
        if path.endswith("record.json"):
            die()
        replace(path, data)

    store._place.replace = dying  # type: ignore[method-assign]


def saving() -> None:
    store = opened()
    die_at_the_record(store)
    store.save_progress("pairs", "rome", "saving", "step", b"x" * BIG)


def saving_again() -> None:
    store = opened()
    store.save_progress("pairs", "rome", "again", "step", b"x" * BIG)
    die_at_the_record(store)
    store.save_progress("pairs", "rome", "again", "step", b"y" * BIG)


def finishing() -> None:
    store = opened()
    store.save_progress("pairs", "rome", "finishing", "step", b"x")
    make(store, "finishing")
    die()


def trying_to_write() -> None:
    local.write_probe = die
    remote.RemotePlace._remove_file = die  # type: ignore[assignment,method-assign]
    opened().check_writable()


def removing() -> None:
    store = opened()
    make(store, "removing")
    folder = "pairs/rome/removing"
    remove = store._place.remove

    def dying(path: str) -> None:
        if path == folder or path.startswith(".drafts/"):
            die()
        remove(path)

    store._place.remove = dying  # type: ignore[method-assign]
    ref = store.find("pairs", "rome", "removing")
    assert ref is not None
    store.remove(ref)


def quarantining() -> None:
    store = opened()
    ref = store.find(*WHOLE)
    assert ref is not None
    store._place.move = die  # type: ignore[method-assign]
    store._into_quarantine(store._damaged_error("pairs/rome/whole", "it was altered"))


def listing() -> set[str]:
    store = opened()
    there = {file.path for file in store.files()}
    return there | {f"{one.path} (in parts)" for one in store._place.unfinished()}


def killed(work: Callable[[], None]) -> list[str]:
    """What a child leaves that works until it dies."""
    before = listing()
    child = os.fork()
    if child == 0:
        work()
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status), f"{work.__name__} was not killed"
    assert os.WTERMSIG(status) == signal.SIGKILL
    return sorted(listing() - before)


def main() -> None:
    cases = [drafting, publishing, packing, holding, waiting, having_a_turn, saving, saving_again]
    cases += [finishing, trying_to_write, removing, quarantining]
    if REPORTED["url"].startswith("s3:"):
        cases.append(sending_parts)
    make(opened(), "whole")
    for one in cases:
        print(json.dumps({"case": one.__name__, "left": killed(one)}), flush=True)


main()
