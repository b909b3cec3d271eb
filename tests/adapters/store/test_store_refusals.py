"""Stores that are read-only, forbidden, full, unreachable or no store at all; secrets."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from adapters.store import Store, StoreError

FACTS = {"inputs": [], "parameters": {}, "version": "1"}
SECRET = "s3cr3t-value"  # noqa: S105 - none


def draft_one(store: Store, size: int = 10) -> None:
    with store.draft("a", "rome", "k", **FACTS) as draft:
        draft.file("x").write_bytes(b"x" * size)


WRITES = {
    "check": lambda store: store.check_writable(),
    "draft": draft_one,
    "progress": lambda store: store.save_progress("a", "rome", "k", "step", b"1"),
}


def one_sentence(error: pytest.ExceptionInfo[StoreError]) -> str:
    message = str(error.value)
    assert "\n" not in message
    assert ". " not in message
    return message


@pytest.mark.parametrize("write", WRITES)
def test_a_path_below_a_file_is_explained(write, tmp_path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(StoreError) as caught:
        WRITES[write](Store(tmp_path / "file" / "store"))
    message = one_sentence(caught)
    assert str(tmp_path / "file" / "store") in message
    assert "is a file" in message


@pytest.mark.parametrize("write", WRITES)
@pytest.mark.parametrize(
    ("code", "said"),
    [
        (errno.ENOSPC, "the disk is full: free some space"),
        (errno.EDQUOT, "the disk is full: free some space"),
        (errno.EROFS, "read-only file system: mount it writable"),
        (errno.EACCES, "grant read and write permission"),
        (errno.EIO, "check the disk or mount"),
    ],
)
@pytest.mark.parametrize("call", ["fsync", "mkdir", "open"])
def test_what_the_system_refuses_is_explained(
    write, code, said, call, tmp_path, monkeypatch
) -> None:
    store = Store(tmp_path / "store")
    if call == "fsync":
        store.check_writable()  # so that it is the data that meets the refusal

    def refuse(*_: object, **__: object) -> None:
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as patch:
        patch.setattr(os, call, refuse)
        with pytest.raises(StoreError) as caught:
            WRITES[write](store)
    message = one_sentence(caught)
    assert said in message
    assert str(tmp_path / "store") in message
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    WRITES[write](store)


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        RuntimeError("I/O error: No space left on device (os error 28)"),
    ],
)
@pytest.mark.parametrize("write", ["draft", "progress"])
def test_a_full_disk_is_explained_whatever_library_meets_it(error, write, tmp_path) -> None:
    store = Store(tmp_path / "store")

    def fill(_: Path) -> None:
        raise error

    with pytest.raises(StoreError, match="is full") as caught:  # noqa: PT012 - two blocks
        if write == "progress":
            store.save_progress("a", "rome", "k", "step", fill)
        else:
            with store.draft("a", "rome", "k", **FACTS) as draft:
                fill(draft.path)
    assert caught.value.__cause__ is error
    assert list((tmp_path / "store" / ".drafts").iterdir()) == []


def test_another_disk_that_is_full_is_not_blamed_on_the_store(tmp_path) -> None:
    error = OSError(errno.ENOSPC, "No space left on device", "/elsewhere/x")
    with (
        pytest.raises(OSError, match="elsewhere"),
        Store(tmp_path / "store").draft("a", "rome", "k", **FACTS),
    ):
        raise error


IN_A_SMALL_FILE_SYSTEM = """
import subprocess, sys
from pathlib import Path
from adapters.store import SINGLE, Selection, Store, StoreError
root = Path(sys.argv[1])
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "none", root], check=True)
store = Store(root / "store")
facts = {"inputs": [], "parameters": {}, "version": "1"}
def publish(size, key):
    with store.draft("a", "rome", key, **facts) as draft:
        draft.file("x").write_bytes(b"x" * size)
    return draft.ref
def told(work, *arguments):
    try:
        work(*arguments)
    except StoreError as error:
        print(error)
    else:
        raise AssertionError("this must be refused")
ref = publish(1000, "small")
store.save_progress("a", "rome", "large", "step", b"1")
store.check_writable()
told(publish, 3_000_000, "large")
told(store.save_progress, "a", "rome", "large", "step", b"x" * 3_000_000)
assert list((root / "store" / ".drafts").iterdir()) == []
assert store.find("a", "rome", "large") is None
assert store.load_progress("a", "rome", "large", "step").read_bytes() == b"1"
(root / "ballast").write_bytes(b"x" * 1_500_000)
told(store.check_writable)
(root / "ballast").unlink()
store.verify(ref)
large = publish(1000, "large")
damaged = publish(1000, "damaged")
store.switch("x", "rome", Selection({SINGLE: large}))
(root / "store" / damaged.uri / "x").write_bytes(b"y" * 1000)
subprocess.run(["mount", "-o", "remount,bind,ro", root], check=True)
store = Store(root / "store")
store.verify(ref)
assert len(list(store.artifacts())) == 3
assert store.selected("x", "rome") == Selection({SINGLE: large})
store.switch("x", "rome", Selection({SINGLE: large}))
told(store.path, damaged, "x")
assert store.find("a", "rome", "damaged") == damaged
told(store.check_writable)
told(publish, 10, "more")
told(store.save_progress, "a", "rome", "large", "step", b"2")
told(store.clear_progress, "a", "rome", "large")
told(store.switch, "x", "rome", Selection({SINGLE: ref}))
"""


def test_a_file_system_that_is_really_full_then_really_read_only(tmp_path) -> None:
    unshare = shutil.which("unshare")
    own = [unshare or "unshare", "--mount"] + ([] if os.geteuid() == 0 else ["--map-root-user"])
    probe = [*own, "mount", "-t", "tmpfs", "none", str(tmp_path)]
    if unshare is None or subprocess.run(probe, capture_output=True, check=False).returncode:
        pytest.skip("mounting in an own namespace is not permitted here")
    done = subprocess.run(
        [*own, sys.executable, "-c", IN_A_SMALL_FILE_SYSTEM, str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    reported = done.stdout.splitlines()
    assert len(reported) == 9
    assert "cannot be moved away" in reported[3]
    assert all("is full" in line for line in reported[:3])
    assert all("read-only file system" in line for line in reported[3:])
    assert all(f"the store at {tmp_path}/store" in line for line in reported)


def test_a_file_size_limit_is_explained(tmp_path) -> None:
    script = """
import resource, sys
sys.dont_write_bytecode = True  # of a module, it would keep a part
from adapters.store import Store, StoreError
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
store = Store(sys.argv[1])
try:
    with store.draft("a", "rome", "k", inputs=[], parameters={}, version="1") as draft:
        (draft.path / "x").write_bytes(b"x" * 10000)
except StoreError as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert "is full" in done.stdout
    assert list((tmp_path / ".drafts").iterdir()) == []


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("", "empty"),
        ("nothing-like-it://x", "could not be opened"),
        ("s3:/bucket", "lacks slashes: write s3://"),
        ("file:/folder", "lacks slashes: write file://"),
    ],
)
def test_urls_that_lead_nowhere_are_explained(url, said) -> None:
    with pytest.raises(StoreError, match=said):
        Store(url)


class Unreachable(MemoryFileSystem):
    """Refuses everything, and says its secret in each error."""

    protocol = ("unreachable",)
    cachable = False

    def __init__(self, secret: str, fault: str = "fault", **options: object) -> None:
        super().__init__(**options)
        self.secret, self.fault = secret, fault

    def _refuse(self, *_: object, **__: object) -> None:
        if self.fault == "forbidden":
            raise PermissionError(f"no entry with {self.secret}")
        raise ConnectionError(f"no answer to {self.secret}")

    cat_file = pipe_file = put_file = get_file = ls = rm = _open = _refuse


fsspec.register_implementation("unreachable", Unreachable)


@pytest.mark.parametrize("fault", ["fault", "forbidden"])
def test_secrets_are_never_shown(fault, tmp_path) -> None:
    options = {"secret": SECRET, "fault": fault, "client_kwargs": {"also": [f"{SECRET}-2"]}}
    url = f"unreachable://user:{SECRET}@host/bucket"
    store = Store(url, options=options, cache_dir=tmp_path / "cache")
    assert SECRET not in repr(store)
    looks = {
        **WRITES,
        "find": lambda store: store.find("a", "rome", "k"),
        "list": lambda store: list(store.artifacts()),
        "selected": lambda store: store.selected("x", "rome"),
    }
    for look in looks.values():
        with pytest.raises(StoreError) as caught:
            look(store)
        assert SECRET not in one_sentence(caught)
        assert "unreachable://***@host/bucket" in str(caught.value)
        assert caught.value.__cause__ is None
        assert caught.value.__suppress_context__


def test_an_option_that_the_protocol_refuses_does_not_show_the_others() -> None:
    with pytest.raises(StoreError, match="could not be opened") as caught:
        Store("unreachable://bucket", options={"token": SECRET})
    assert SECRET not in str(caught.value)


def test_secrets_are_not_in_what_is_written(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    store = Store("memory://with-options", options={"secret": SECRET})
    draft_one(store)
    ref = store.find("a", "rome", "k")
    store.path(ref, "x")
    assert SECRET not in store.manifest(ref).to_json().decode() + str(ref) + repr(store)
    assert all(
        SECRET.encode() not in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()
    )


def test_a_far_store_that_no_extra_was_installed_for_is_told_what_it_lacks(tmp_path, monkeypatch):
    """Packages of other clouds bring no `tenacity`, which `crosscity[s3]` does."""
    monkeypatch.setitem(sys.modules, "tenacity", None)
    with pytest.raises(StoreError, match="pip install tenacity") as error:
        Store(f"memory://{tmp_path.name}", cache_dir=tmp_path / "cache", patience=60.0)
    one_sentence(error)
    Store(f"memory://{tmp_path.name}", cache_dir=tmp_path / "cache", patience=0.0)
