"""A store in anything that fsspec opens: S3 and other object stores, memory.

An object store has no rename, but puts each object at once or not at all. So the files go first,
into a folder named by the artifact's digest, and `artifact.json` last: it is the commit. Two
writers of different content do not mix, because they write to different folders, and the one whose
`artifact.json` came first is kept.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, suppress
from datetime import datetime
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

import fsspec
from cachetools import LRUCache

from adapters.store import s3
from adapters.store.copies import Kept, LocalCopies
from adapters.store.durable import write_probe
from adapters.store.errors import (
    DamagedFileError,
    StoreAwayError,
    StoreError,
    StoreRefusesError,
    explained,
)
from adapters.store.names import MANIFEST_NAME, SCRATCH_FOLDER
from adapters.store.packs import Asked, stretch_of, write_pack
from adapters.store.patience import is_passing
from adapters.store.places import TRANSFERS, FileChecks, StoredFile
from adapters.store.records import FileEntry, Manifest
from adapters.store.scratch import ScratchArea

_SHORTEST_SECRET = 4
_BLOCK = 2**20
_MOST_TAGS: Final = 4096
"""Small files whose tag is remembered, so that a swap need not read them again."""
_WRITABLE_SECONDS: Final = 300.0
"""For how long it need not be asked again whether the store can be written to."""
_IN_THIS_PROCESS = threading.RLock()
"""Where a protocol has no conditional write, at least the threads of a process do not mix."""
_BUCKETS = frozenset({"s3", "s3a", "gs", "gcs", "az", "abfs", "adl", "oci", "oss"})


class RemotePlace:
    """`Place` behind an fsspec URL, with local copies in a cache folder by content."""

    publishes_by_rename = False
    is_far = True

    def __init__(
        self, url: str, options: Mapping[str, Any], cache: Path, limit: float = float("inf")
    ) -> None:
        self._secrets = sorted(_texts(options), key=len, reverse=True)
        self.label = self._redacted(re.sub(r"//[^/@]*@", "//***@", url)).rstrip("/")
        self._cache = cache
        self._cache_named = f"the cache folder {cache} of {self.label}"
        self._area = ScratchArea(cache / SCRATCH_FOLDER, self._cache_named)
        self._copies = LocalCopies(cache, limit)
        self._checks = FileChecks()
        self._asked = Asked()
        self._tags: LRUCache[str, tuple[str, bytes]] = LRUCache(_MOST_TAGS)
        self._tags_lock = threading.Lock()
        self._found_writable = float("-inf")
        try:
            self._files, self._root = fsspec.core.url_to_fs(url, **options)
        except ImportError as error:
            raise StoreError(
                f"the store at {self.label} needs a package that is not installed "
                f"({self._redacted(str(error))}): for s3:// install 'crosscity[s3]'"
            ) from None
        except Exception as error:
            raise self._error("opened", error) from None
        self._root = self._root.rstrip("/")
        self._in_bucket = url.partition("://")[0] in _BUCKETS
        self._is_s3 = s3.is_s3(self._files)
        self.on_this_machine = cache

    def describe(self, path: str) -> str:
        """See `Place`."""
        return f"{self.label}/{path}"

    def read(self, path: str) -> bytes | None:
        """See `Place`."""
        found = self._fetch(path)
        if found is None or found.data is None:
            return None
        with self._tags_lock:
            self._tags[path] = (found.tag, hashlib.sha256(found.data).digest())
        return found.data

    def read_lasting(self, path: str) -> bytes | None:
        """See `Place`. What was kept is sent again only where the store's tag is another one."""
        name = self.describe(path)
        kept = self._copies.kept(name)
        found = self._fetch(path, unless="" if kept is None else kept.tag)
        if found is None:
            self.forget(path)
            return None
        if found.data is None:
            return None if kept is None else kept.data
        if kept is None or (kept.data, kept.tag) != (found.data, found.tag):
            self._keep(name, Kept(found.data, found.tag))
        return found.data

    def recall(self, path: str) -> bytes | None:
        """See `Place`."""
        kept = self._copies.kept(self.describe(path))
        return None if kept is None else kept.data

    def forget(self, path: str) -> None:
        """See `Place`."""
        self._copies.forget(self.describe(path))

    def files(self, path: str) -> Iterator[StoredFile]:
        """See `Place`."""
        with self._explained("read"):
            self._files.invalidate_cache()
            try:
                found = self._files.find(self._full(path), detail=True)
            except (FileNotFoundError, NotADirectoryError):
                return
        for name, facts in sorted(found.items()):
            inside = str(name)[len(self._root) :].lstrip("/")
            yield StoredFile(inside, int(facts.get("size") or 0), _seconds(facts))

    def now(self) -> float:
        """See `Place`."""
        probe = self._probe()
        try:
            return next(self.files(probe), StoredFile(probe, 0, 0.0)).written or time.time()
        finally:
            self._remove_file(probe)

    def unfinished(self) -> Iterator[StoredFile]:
        """See `Place`. On S3; others end them by themselves (GCS: after a week)."""
        if not self._is_s3:
            return
        with self._explained("read"):
            found = s3.unfinished(self._files, self._root)
        for one in found:
            inside = f"{one.bucket}/{one.key}"[len(self._root) :].lstrip("/")
            yield StoredFile(inside, one.bytes, one.written, one.name)

    def abandon(self, file: StoredFile) -> None:
        """See `Place`."""
        if self._is_s3:
            with self._explained("written"):
                s3.abandon(self._files, self._full(file.path), file.upload)

    def replace(self, path: str, data: bytes) -> None:
        """See `Place`."""
        self._write(path, lambda full: self._files.pipe_file(full, data))

    def swap(self, path: str, before: bytes | None, after: bytes | None) -> bool:
        """See `Place`. On S3 by conditional writes; elsewhere a look before takes their place."""
        if before is None:
            if after is None:
                return self.read(path) is None
            return self._create(path, after) or self.read(path) == after
        with _IN_THIS_PROCESS:
            tag = "" if after is None else self._tag_of(path, before)
            if not tag:
                now = self.read(path)
                if now != before:
                    return now == after  # it was made, and the answer was lost
                tag = self._tag_of(path, before)
            if after is None:
                self._remove_file(path)
                return True
            return self._replace_tagged(path, tag, after) or self.read(path) == after

    def replace_from(self, path: str, source: Path) -> None:
        """See `Place`."""
        self._write(path, lambda full: self._files.put_file(str(source), full))

    def remove(self, path: str) -> None:
        """See `Place`."""
        self.forget(path)
        with self._explained("written"):
            if self._is_s3:
                s3.remove(self._files, self._full(path))
                return
            self._files.invalidate_cache()
            try:
                self._files.rm(self._full(path), recursive=True)
            except FileNotFoundError:
                return

    def move(self, path: str, target: str) -> bool:
        """See `Place`."""
        source, destination = self._full(path), self._full(target)
        with self._explained("written"):
            self._files.invalidate_cache()
            names = sorted(self._files.find(source))
            if not names:  # by a try before this one, whose answer was lost, or by another process
                return bool(self._files.find(destination))
            for name in names:
                inside = str(name).partition(f"{path}/")[2]
                if not self._in_bucket:
                    self._files.makedirs(
                        f"{destination}/{inside}".rpartition("/")[0], exist_ok=True
                    )
                self._files.cp_file(str(name), f"{destination}/{inside}")
            # Without its manifest it is not an artifact any more, whatever is still to be removed.
            self.remove(f"{path}/{MANIFEST_NAME}")
            self.remove(path)
        return True

    def children(self, path: str) -> list[str]:
        """See `Place`."""
        with self._explained("read"):
            self._files.invalidate_cache()
            try:
                found = self._files.ls(self._full(path), detail=False)
            except (FileNotFoundError, NotADirectoryError) as error:
                if s3.lacks_bucket(error):
                    raise
                return []
        names = {str(name).rstrip("/").rpartition("/")[2] for name in found}
        return sorted(names - {path.rpartition("/")[2], ""})

    def scratch(self) -> AbstractContextManager[Path]:
        """See `Place`."""
        return self._area.folder()

    def check_writable(self) -> None:
        """See `Place`."""
        with explained(self._cache_named), self.scratch() as folder:
            write_probe(folder)
        if time.monotonic() - self._found_writable < _WRITABLE_SECONDS:
            return
        self._remove_file(self._probe())
        self._found_writable = time.monotonic()

    def _probe(self) -> str:
        """Writes a small file, and gives its path."""
        probe = f"{SCRATCH_FOLDER}/probe-{secrets.token_hex(8)}"
        self.replace(probe, b"probe")
        return probe

    def publish(
        self, source: Path, manifest: Manifest, linked: Mapping[str, str] | None = None
    ) -> bool:
        """See `Place`."""
        # No look before: who publishes has looked, and the conditional write decides.
        folder = self.file_folders(manifest)[0]
        there = linked or {}
        packed = set(manifest.packed)

        def send(name: str) -> None:
            if not (name in there and self._copy(there[name], f"{folder}/{name}", manifest, name)):
                self.replace_from(f"{folder}/{name}", source / name)

        # A transfer mostly waits for the network. The manifest comes after all of them.
        with ThreadPoolExecutor(TRANSFERS) as pool:
            alone = [name for name in sorted(manifest.files) if name not in packed]
            sent = [pool.submit(send, name) for name in alone]
            if packed:
                sent.append(pool.submit(self._send_pack, source, manifest))
            try:
                for one in sent:
                    one.result()
            finally:
                pool.shutdown(cancel_futures=True)
        return self._create(f"{manifest.folder}/{MANIFEST_NAME}", manifest.to_json())

    def _send_pack(self, source: Path, manifest: Manifest) -> None:
        with explained(self._cache_named), self.scratch() as folder:
            write_pack(source, manifest, folder / "pack")
            self.replace_from(manifest.pack, folder / "pack")

    def file_folders(self, manifest: Manifest) -> Sequence[str]:
        """See `Place`."""
        return manifest.digest_folder, manifest.folder

    def local_path(
        self, path: str, entry: FileEntry, *, afresh: bool = False, packed: Manifest | None = None
    ) -> Path:
        """See `Place`."""
        if afresh and packed is not None:
            return self.local_copy(path, entry, self._part(packed.pack, entry))
        if afresh:
            self._check_far(path, entry)
        copy = self._copies.path(entry.sha256, path.rpartition("/")[2])
        self._copies.touch(copy)  # first: what is being checked must not be removed
        try:
            self._checks.check(copy, entry)
        except DamagedFileError:  # absent, or the cache's own fault: the store has the last word
            if packed is not None:
                return self._out_of_pack(path, entry, packed)
            self._download(path, entry, copy)
        return copy

    def _out_of_pack(self, path: str, entry: FileEntry, packed: Manifest) -> Path:
        """The file, and its whole stretch of the pack where that is due."""
        same = (one for one in packed.packed if packed.files[one] == entry)
        name = next(one for one in same if path.endswith(f"/{one}"))
        stretch = stretch_of(packed, name)
        if not self._asked.is_whole_due(packed, stretch, name):
            return self.local_copy(path, entry, self._part(packed.pack, entry))
        copy = self._copies.path(entry.sha256, name.rpartition("/")[2])
        with self._asked.fetching(packed.pack, stretch):  # others of this process wait for it
            try:
                self._checks.check(copy, entry)
            except DamagedFileError:
                return self._unpacked(packed, stretch, name)
            return copy

    def _unpacked(self, packed: Manifest, stretch: Sequence[str], name: str) -> Path:
        """Copies all files of a stretch; gives the one that was asked for."""
        entries = [packed.files[one] for one in stretch]
        start, size = entries[0].at or 0, sum(one.bytes for one in entries)
        data = self._range(packed.pack, start, size)
        for one, entry in zip(stretch, entries, strict=True):
            if one != name:
                at = (entry.at or 0) - start
                with suppress(DamagedFileError):  # whoever asks for it is told
                    self.local_copy(one, entry, data[at : at + entry.bytes])
        entry = packed.files[name]
        at = (entry.at or 0) - start
        return self.local_copy(name, entry, data[at : at + entry.bytes])

    def _part(self, pack: str, entry: FileEntry) -> bytes:
        return self._range(pack, entry.at or 0, entry.bytes)

    def _range(self, pack: str, start: int, size: int) -> bytes:
        if not size:
            return b""
        with self._explained("read"):
            if self._is_s3:
                found = s3.get(self._files, self._full(pack), part=(start, size))
                if found is None:
                    raise DamagedFileError("is missing")
                return found.data or b""
            try:
                return bytes(self._files.cat_file(self._full(pack), start=start, end=start + size))
            except FileNotFoundError:
                raise DamagedFileError("is missing") from None

    def local_copy(self, path: str, entry: FileEntry, data: bytes) -> Path:
        """See `Place`."""
        copy = self._copies.path(entry.sha256, path.rpartition("/")[2])
        with explained(self._cache_named), self.scratch() as folder:
            temporary = folder / "data"
            temporary.write_bytes(data)
            self._checks.check(temporary, entry)
            self._copies.put(temporary, copy)
        return copy

    def _download(self, path: str, entry: FileEntry, copy: Path) -> None:
        with explained(self._cache_named), self.scratch() as folder:
            temporary = folder / "data"
            with self._explained("read"):
                try:
                    self._files.get_file(self._full(path), str(temporary))
                except FileNotFoundError:
                    raise DamagedFileError("is missing") from None
            # The file stays the same one when it is moved: it need not be hashed again.
            self._checks.check(temporary, entry)
            self._copies.put(temporary, copy)

    def _keep(self, name: str, kept: Kept) -> None:
        with explained(self._cache_named), self.scratch() as folder:
            self._copies.keep(name, kept, folder / "kept")

    def _fetch(self, path: str, *, unless: str = "") -> s3.Fetched | None:
        with self._explained("read"):
            if self._is_s3:
                return s3.get(self._files, self._full(path), unless=unless)
            try:
                return s3.Fetched(bytes(self._files.cat_file(self._full(path))), "")
            except FileNotFoundError:
                return None

    def _copy(self, source: str, target: str, manifest: Manifest, name: str) -> bool:
        """Copies a file inside of the store; False where that cannot be done."""
        if not self._is_s3 or manifest.files[name].bytes > s3.LARGEST_COPY:
            return False
        with self._explained("written"):
            try:
                s3.copy(self._files, self._full(source), self._full(target))
            except FileNotFoundError:  # it lies where the other kind of place has it
                return False
        return True

    def _check_far(self, path: str, entry: FileEntry) -> None:
        digest, size = hashlib.sha256(), 0
        with self._explained("read"):
            try:
                with self._files.open(self._full(path), "rb") as stream:
                    while block := stream.read(_BLOCK):
                        digest.update(block)
                        size += len(block)
            except FileNotFoundError:
                raise DamagedFileError("is missing") from None
        if size != entry.bytes:
            raise DamagedFileError(f"has {size} bytes instead of {entry.bytes}")
        if digest.hexdigest() != entry.sha256:
            raise DamagedFileError(f"has SHA-256 {digest.hexdigest()} instead of {entry.sha256}")

    def _create(self, path: str, data: bytes) -> bool:
        """Write an object unless it exists; False if it does.

        Where the protocol has no conditional write, a look before takes its place: then the last of
        two racing writers may win, still with whole content.
        """
        try:
            self._write(path, lambda full: self._files.pipe_file(full, data, mode="create"))
        except FileExistsError:
            return False
        except (TypeError, NotImplementedError):
            if self.read(path) is not None:
                return False
            self.replace(path, data)
        return True

    def _tag_of(self, path: str, data: bytes) -> str:
        """The tag that S3 gave with these bytes when they were read; empty where it did not."""
        with self._tags_lock:
            tag, digest = self._tags.get(path, ("", b""))
        return tag if digest == hashlib.sha256(data).digest() else ""

    def _remove_file(self, path: str) -> None:
        with self._explained("written"):
            try:
                self._files.rm_file(self._full(path))
            except FileNotFoundError:
                return

    def _replace_tagged(self, path: str, tag: str, data: bytes) -> bool:
        if not tag:
            self.replace(path, data)
            return True
        with self._explained("written"):
            try:
                self._files.pipe_file(self._full(path), data, IfMatch=tag)
            except FileNotFoundError:
                return False
            except OSError as error:
                if s3.status_of(error) == HTTPStatus.PRECONDITION_FAILED:
                    return False
                raise
        return True

    def _write(self, path: str, write: Callable[[str], object]) -> None:
        full = f"{self._root}/{path}"
        with self._explained("written", (FileExistsError, TypeError, NotImplementedError)):
            try:
                write(full)
            except FileNotFoundError:
                if self._in_bucket:  # makedirs would make a bucket of a misspelt name
                    raise
                self._files.makedirs(full.rpartition("/")[0], exist_ok=True)
                write(full)

    def _full(self, path: str) -> str:
        return f"{self._root}/{path}"

    @contextmanager
    def _explained(self, done: str, expected: tuple[type[Exception], ...] = ()) -> Iterator[None]:
        try:
            yield
        except (StoreError, DamagedFileError):
            raise
        except expected:
            raise
        except Exception as error:
            # No `from error`: its text and traceback may hold a secret option.
            raise self._error(done, error) from None

    def _error(self, done: str, error: Exception) -> StoreError:
        if isinstance(error, PermissionError):
            return StoreRefusesError(
                f"the store at {self.label} does not admit these credentials: check the options "
                "and environment variables of the catalog's store, and its permissions"
            )
        if s3.lacks_bucket(error):
            return StoreRefusesError(
                f"the store at {self.label} has no bucket: make it, or correct the url of the "
                "catalog's store"
            )
        reason = self._redacted(f"{type(error).__name__}: {error}")
        if is_passing(error):
            return StoreAwayError(
                f"the store at {self.label} does not answer ({reason}): see that it and the "
                "network are up, and run again"
            )
        return StoreError(
            f"the store at {self.label} could not be {done} ({reason}): check its url, its options "
            "and the network, and run again"
        )

    def _redacted(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return text


def _seconds(facts: Mapping[str, Any]) -> float:
    """When an object was written last, in seconds since 1970; 0 where the store does not say."""
    for name in ("LastModified", "last_modified", "mtime", "created"):  # s3fs, adlfs, gcsfs, memory
        moment = facts.get(name)
        if isinstance(moment, datetime):
            return moment.timestamp()
        if isinstance(moment, int | float):
            return float(moment)
    return 0.0


def _texts(options: object) -> set[str]:
    """All texts in nested options that are long enough to be a secret."""
    if isinstance(options, str):
        return {options} if len(options) >= _SHORTEST_SECRET else set()
    if isinstance(options, Mapping):
        return {text for value in options.values() for text in _texts(value)}
    if isinstance(options, list | tuple):
        return {text for value in options for text in _texts(value)}
    return set()
