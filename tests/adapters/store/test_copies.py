"""The local copies of a remote store: bounded, the longest unused go first, others' files stay."""

from __future__ import annotations

import hashlib
import os
import time
import uuid
from pathlib import Path

import pytest

from adapters.store import Store
from adapters.store.copies import Kept, LocalCopies, evict

SIZE = 1000


def added(copies: LocalCopies, folder: Path, number: int, used: float | None = None) -> Path:
    """Puts a copy there that was used so many seconds ago."""
    temporary = folder / "temporary"
    temporary.write_bytes(bytes([number % 256]) * SIZE)
    copy = copies.path(hashlib.sha256(str(number).encode()).hexdigest(), f"{number}.jpg")
    ago = time.time() - (3600 - number if used is None else used)
    os.utime(temporary, (ago, ago))
    copies.put(temporary, copy)
    return copy


def taken(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.glob("??/*/*"))


def test_what_was_used_longest_ago_makes_room(tmp_path: Path):
    copies = LocalCopies(tmp_path, 10 * SIZE)
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "mine").write_bytes(b"x" * 50 * SIZE)  # not the cache's own
    put = [added(copies, tmp_path, number) for number in range(40)]
    assert taken(tmp_path) <= 11 * SIZE  # a twentieth of the limit is added before a look
    assert (tmp_path / "notes" / "mine").exists()
    left = [path for path in put if path.exists()]
    assert left == put[-len(left) :]
    assert len(left) >= 8
    assert [one for one in tmp_path.glob("??/*") if not any(one.iterdir())] == []


def test_a_use_saves_a_copy_and_does_not_make_it_another(tmp_path: Path):
    copies = LocalCopies(tmp_path, 4 * SIZE)
    first = added(copies, tmp_path, 0)
    before = first.stat()
    copies.touch(first)
    after = first.stat()
    assert after.st_atime > time.time() - 60
    assert (after.st_mtime_ns, after.st_ino) == (before.st_mtime_ns, before.st_ino)
    for number in range(1, 9):
        added(copies, tmp_path, number)
    assert first.exists()


def test_what_was_just_asked_for_is_not_taken_away(tmp_path: Path, caplog):
    copies = LocalCopies(tmp_path, 2 * SIZE)
    put = [added(copies, tmp_path, number, used=0) for number in range(5)]
    assert all(path.exists() for path in put)
    assert "cache_gigabytes" in caplog.text


def test_processes_count_together(tmp_path: Path):
    for number in range(40):  # each process adds one file, less than makes it look by itself
        added(LocalCopies(tmp_path, 20 * SIZE), tmp_path, number)
    assert taken(tmp_path) <= 22 * SIZE


def test_without_a_limit_nothing_is_looked_at(tmp_path: Path, monkeypatch):
    monkeypatch.setattr("adapters.store.copies.evict", lambda *_: pytest.fail("looked"))
    copies = LocalCopies(tmp_path, float("inf"))
    assert all(added(copies, tmp_path, number).exists() for number in range(5))


def test_what_is_kept_is_whole_or_not_there(tmp_path: Path):
    copies = LocalCopies(tmp_path, float("inf"))
    kept = Kept(b'{"a": 1}\nand\nmore', '"tag"')
    copies.keep("s3://store/artifact.json", kept, tmp_path / "temporary")
    assert copies.kept("s3://store/artifact.json") == kept
    assert copies.kept("s3://other/artifact.json") is None
    (path,) = tmp_path.glob("??/*/kept")
    whole = path.read_bytes()
    for cut in range(len(whole)):
        path.write_bytes(whole[:cut])
        assert copies.kept("s3://store/artifact.json") is None
    path.write_bytes(whole)
    copies.forget("s3://store/artifact.json")
    assert copies.kept("s3://store/artifact.json") is None


def test_a_store_fetches_again_what_was_evicted(tmp_path: Path, publish):
    cache = tmp_path / "cache"
    url = f"memory://{uuid.uuid4().hex}/store"
    store = Store(url, cache_dir=cache, cache_bytes=5 * SIZE)
    files = {f"{number}.jpg": bytes([number]) * SIZE for number in range(12)}
    ref = publish(store, files)
    for name, data in files.items():
        path = store.path(ref, name)
        assert path.read_bytes() == data
        ago = time.time() - 3600
        os.utime(path, (ago, path.stat().st_mtime))
        os.utime(path, (ago, ago))
    evict(cache, 5 * SIZE)
    assert taken(cache) <= 5 * SIZE
    assert [store.path(ref, name).read_bytes() for name in files] == list(files.values())
