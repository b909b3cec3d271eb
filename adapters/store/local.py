"""A store in a folder.

Order of a publication: every file is on disk, then `artifact.json`, then one rename makes all of it
visible, then the parent folder is on disk. A crash before the rename leaves only a scratch folder.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path

from adapters.store.errors import explained
from adapters.store.names import MANIFEST_NAME, SCRATCH_FOLDER
from adapters.store.places import FileChecks
from adapters.store.records import FileEntry, Manifest
from adapters.store.scratch import scratch_folder, sweep

_TAKEN = frozenset({errno.ENOTEMPTY, errno.EEXIST})
_PROBE_BYTES = 2**20


class LocalPlace:
    """`Place` in a folder of this machine or of a network file system."""

    publishes_by_rename = True

    def __init__(self, root: Path) -> None:
        self._root = root
        self._checks = FileChecks()
        self.label = str(root)

    def describe(self, path: str) -> str:
        """See `Place`."""
        return str(self._root / path)

    def read(self, path: str) -> bytes | None:
        """See `Place`."""
        with explained(self.label):
            try:
                return (self._root / path).read_bytes()
            except FileNotFoundError:
                return None

    def replace(self, path: str, data: bytes) -> None:
        """See `Place`."""
        with explained(self.label), self.scratch() as folder:
            temporary = folder / "data"
            temporary.write_bytes(data)
            self.replace_from(path, temporary)

    def replace_from(self, path: str, source: Path) -> None:
        """See `Place`."""
        target = self._root / path
        with explained(self.label):
            sync(source)
            make_folders(target.parent, self._root)
            source.replace(target)
            sync(target.parent)

    def remove(self, path: str) -> None:
        """See `Place`."""
        target = self._root / path
        with explained(self.label):
            try:
                if target.is_dir():
                    shutil.rmtree(target)
                else:
                    target.unlink()
            except FileNotFoundError:  # also where another process removes the same
                return
            sync(target.parent)

    def children(self, path: str) -> list[str]:
        """See `Place`."""
        with explained(self.label):
            try:
                return sorted(os.listdir(self._root / path))  # noqa: PTH208 - names, not paths
            except (FileNotFoundError, NotADirectoryError):
                return []

    def scratch(self) -> AbstractContextManager[Path]:
        """See `Place`."""
        return explained_scratch(self._root / SCRATCH_FOLDER, self.label)

    def sweep(self) -> None:
        """See `Place`."""
        sweep(self._root / SCRATCH_FOLDER)

    def check_writable(self) -> None:
        """See `Place`."""
        with explained(self.label), self.scratch() as folder:
            write_probe(folder)

    def publish(self, source: Path, manifest: Manifest) -> bool:
        """See `Place`."""
        target = self._root / manifest.folder
        with explained(self.label):
            (source / MANIFEST_NAME).write_bytes(manifest.to_json())
            for folder, _, names in os.walk(source, topdown=False):
                for name in names:
                    sync(Path(folder) / name)
                sync(Path(folder))
            make_folders(target.parent, self._root)
            try:
                source.rename(target)
            except OSError as error:
                if error.errno in _TAKEN and target.is_dir():
                    return False
                raise
            sync(target.parent)
        return True

    def files_folder(self, manifest: Manifest) -> str:
        """See `Place`."""
        return manifest.folder

    def local_path(self, path: str, entry: FileEntry, *, afresh: bool = False) -> Path:
        """See `Place`."""
        with explained(self.label):
            self._checks.check(self._root / path, entry, afresh=afresh)
        return self._root / path


def sync(path: Path) -> None:
    """Have the content of a file, or the names in a folder, on disk before going on."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some network file systems cannot sync a folder; their own protocol orders the names.
        if error.errno not in {errno.EINVAL, errno.ENOTSUP} or not path.is_dir():
            raise
    finally:
        os.close(descriptor)


def make_folders(folder: Path, root: Path) -> None:
    """Make `folder` and its parents down from `root`, each name on disk."""
    if folder.is_dir():
        return
    if folder != root:
        make_folders(folder.parent, root)
    folder.mkdir(parents=folder == root, exist_ok=True)
    sync(folder.parent)


@contextmanager
def explained_scratch(parent: Path, label: str) -> Iterator[Path]:
    """`scratch_folder` whose own failures are explained; those of the block have their words."""
    with ExitStack() as stack:
        with explained(label):
            folder = stack.enter_context(scratch_folder(parent))
        yield folder


def write_probe(folder: Path) -> None:
    """Write a mebibyte to disk: what a store that is full or read-only refuses.

    Raises:
        OSError: if it is refused.
    """
    probe = folder / "probe"
    probe.write_bytes(b"\0" * _PROBE_BYTES)
    sync(probe)
