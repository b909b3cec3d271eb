"""A store in a folder.

Order of a publication: every file is on disk, then `artifact.json`, then one rename makes all of it
visible, then the parent folder is on disk. A crash before the rename leaves only a scratch folder.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from adapters.store.copies import LocalCopies
from adapters.store.durable import make_folders, sync, sync_tree, write_probe
from adapters.store.errors import DamagedFileError, StoreError, explained
from adapters.store.names import LOCKS_FOLDER, MANIFEST_NAME, SCRATCH_FOLDER
from adapters.store.places import FileChecks, StoredFile
from adapters.store.records import FileEntry, Manifest
from adapters.store.scratch import ScratchArea, locked

_TAKEN = frozenset({errno.ENOTEMPTY, errno.EEXIST})


class LocalPlace:
    """`Place` in a folder of this machine or of a network file system."""

    publishes_by_rename = True
    is_far = False

    def __init__(self, root: Path, cache: Path) -> None:
        self._root = root
        self._copies = LocalCopies(cache, float("inf"))
        self._cache_named = f"the cache folder {cache} of the store at {root}"
        self._cache_area = ScratchArea(cache / SCRATCH_FOLDER, self._cache_named)
        self._checks = FileChecks()
        self.label = str(root)
        self._named = f"the store at {root}"
        self.on_this_machine = root
        self._area = ScratchArea(root / SCRATCH_FOLDER, self._named)

    def describe(self, path: str) -> str:
        """See `Place`."""
        return str(self._root / path)

    def read(self, path: str) -> bytes | None:
        """See `Place`."""
        with explained(self._named):
            try:
                return (self._root / path).read_bytes()
            except FileNotFoundError:
                return None

    def read_lasting(self, path: str) -> bytes | None:
        """See `Place`."""
        return self.read(path)

    def recall(self, path: str) -> bytes | None:
        """See `Place`. Asking costs nothing here, so nothing is kept beside."""
        del path
        return None

    def forget(self, path: str) -> None:
        """See `Place`."""

    def files(self, path: str) -> Iterator[StoredFile]:
        """See `Place`."""
        for folder, folders, names in os.walk(self._root / path):
            folders.sort()
            for name in sorted(names):
                one = Path(folder) / name
                with explained(self._named):
                    try:
                        status = one.lstat()
                    except FileNotFoundError:  # removed meanwhile
                        continue
                inside = one.relative_to(self._root).as_posix()
                yield StoredFile(inside, status.st_size, status.st_mtime)

    def now(self) -> float:
        """See `Place`. Of a shared folder, it is the file server's clock; sweeps what died."""
        with self.scratch() as folder:
            return folder.stat().st_mtime

    def unfinished(self) -> Iterator[StoredFile]:
        """See `Place`. A file has its name when it is whole."""
        return iter(())

    def abandon(self, file: StoredFile) -> None:
        """See `Place`."""

    def replace(self, path: str, data: bytes) -> None:
        """See `Place`."""
        with explained(self._named), self.scratch() as folder:
            temporary = folder / "data"
            temporary.write_bytes(data)
            self.replace_from(path, temporary)

    def swap(self, path: str, before: bytes | None, after: bytes | None) -> bool:
        """See `Place`. A lock of the system keeps others out for the moment that it takes."""
        number = hashlib.sha256(path.encode()).hexdigest()[:2]
        with explained(self._named):
            make_folders(self._root / LOCKS_FOLDER)
            with locked(self._root / LOCKS_FOLDER / f"{number}.lock"):
                if self.read(path) != before:
                    return False
                if after is not None:
                    self.replace(path, after)
                else:
                    self.remove(path)
        return True

    def replace_from(self, path: str, source: Path) -> None:
        """See `Place`."""
        target = self._root / path
        with explained(self._named):
            sync(source)
            make_folders(target.parent)
            try:
                source.replace(target)
            except FileNotFoundError:  # another process has just removed the empty folder
                make_folders(target.parent)
                source.replace(target)
            sync(target.parent)

    def remove(self, path: str) -> None:
        """See `Place`."""
        target = self._root / path
        with explained(self._named):
            try:
                if target.is_dir():
                    shutil.rmtree(target)
                else:
                    target.unlink()
                sync(target.parent)
            except FileNotFoundError:  # also where another process removes the same
                return

    def move(self, path: str, target: str) -> bool:
        """See `Place`."""
        source, destination = self._root / path, self._root / target
        with explained(self._named):
            make_folders(destination.parent)
            try:
                source.rename(destination)
            except FileNotFoundError:
                return False
            sync(destination.parent)
            sync(source.parent)
        return True

    def children(self, path: str) -> list[str]:
        """See `Place`."""
        with explained(self._named):
            try:
                return sorted(os.listdir(self._root / path))  # noqa: PTH208 - names, not paths
            except (FileNotFoundError, NotADirectoryError):
                return []

    def scratch(self) -> AbstractContextManager[Path]:
        """See `Place`."""
        return self._area.folder()

    def check_writable(self) -> None:
        """See `Place`."""
        with explained(self._named), self.scratch() as folder:
            write_probe(folder)

    def publish(
        self, source: Path, manifest: Manifest, linked: Mapping[str, str] | None = None
    ) -> bool:
        """See `Place`."""
        del linked  # they are hard links, where the file system has them
        target = self._root / manifest.folder
        with explained(self._named):
            (source / MANIFEST_NAME).write_bytes(manifest.to_json())
            sync_tree(source)
            make_folders(target.parent)
            try:
                source.rename(target)
            except OSError as error:
                if error.errno in _TAKEN and target.is_dir():
                    return False
                raise
            sync(target.parent)
        return True

    def file_folders(self, manifest: Manifest) -> Sequence[str]:
        """See `Place`."""
        return manifest.folder, manifest.digest_folder

    def local_path(
        self, path: str, entry: FileEntry, *, afresh: bool = False, packed: Manifest | None = None
    ) -> Path:
        """See `Place`.

        What lies in a pack, in a copy of a far place, gets a file of its own: there, or where that
        cannot be written to, in the cache folder.
        """
        own = self._root / path
        if packed is None or (own.is_file() and not afresh):
            with explained(self._named):
                self._checks.check(own, entry, afresh=afresh)
            return own
        if afresh:
            _check_bytes(self._part(packed.pack, entry), entry)
            if not own.is_file():
                return self._root / packed.pack
            with explained(self._named):
                self._checks.check(own, entry, afresh=True)
            return own
        copy = self._copies.path(entry.sha256, own.name)
        try:
            self._checks.check(copy, entry)
        except DamagedFileError:
            return self.local_copy(path, entry, self._part(packed.pack, entry))
        self._copies.touch(copy)
        return copy

    def _part(self, pack: str, entry: FileEntry) -> bytes:
        try:
            with explained(self._named), (self._root / pack).open("rb") as stream:
                stream.seek(entry.at or 0)
                return stream.read(entry.bytes)
        except FileNotFoundError:
            raise DamagedFileError("is missing") from None

    def local_copy(self, path: str, entry: FileEntry, data: bytes) -> Path:
        """See `Place`. Of a store that was copied from a far place: the file gets its own place."""
        _check_bytes(data, entry)
        own = self._root / path
        if not own.is_file():
            try:
                self.replace(path, data)
            except StoreError:  # a copy that is mounted read-only
                return self._copy_elsewhere(own.name, entry, data)
        return self.local_path(path, entry)

    def _copy_elsewhere(self, name: str, entry: FileEntry, data: bytes) -> Path:
        copy = self._copies.path(entry.sha256, name)
        with explained(self._cache_named), self._cache_area.folder() as folder:
            (folder / "data").write_bytes(data)
            self._checks.check(folder / "data", entry)
            self._copies.put(folder / "data", copy)
        return copy


def _check_bytes(data: bytes, entry: FileEntry) -> None:
    if len(data) != entry.bytes or hashlib.sha256(data).hexdigest() != entry.sha256:
        raise DamagedFileError(f"has {len(data)} bytes that are not those of its record")
