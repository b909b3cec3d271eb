"""Where a store lies: the few operations that folders and object stores do differently."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from cachetools import LRUCache

from adapters.store.errors import DamagedFileError
from adapters.store.records import FileEntry, Manifest

_MOST_HASHED: Final = 250_000
"""Files that are remembered as hashed: some 50 MB."""
_hashed: LRUCache[tuple[int, int, int, str], bool] = LRUCache(_MOST_HASHED)
_lock = threading.Lock()
TRANSFERS: Final = 8
"""Files that are sent or fetched at once: a transfer mostly waits for the network."""


@dataclass(frozen=True)
class StoredFile:
    """A file as a listing of the store gives it.

    Attributes:
        path: Below the store's root.
        bytes: Its size.
        written: When it was written last, in seconds since 1970; 0 where nothing says it.
        upload: What the store calls an upload in parts that has not ended; empty for a file.
    """

    path: str
    bytes: int
    written: float
    upload: str = ""

    def is_older(self, moment: float) -> bool:
        """Whether it was written before a moment; not where nothing says when it was."""
        return 0.0 < self.written < moment


class Place(Protocol):
    """Root of a store. Paths are relative to it, with `/`, and made of checked names."""

    label: str
    publishes_by_rename: bool  # so that files without `artifact.json` cannot be by its doing
    is_far: bool  # so that each operation is a request over a network
    on_this_machine: Path  # a folder for what says which processes of this machine live

    def describe(self, path: str) -> str:
        """The full place of `path`, as people write it."""

    def read(self, path: str) -> bytes | None:
        """The bytes of a small file, or None where there is none."""

    def read_lasting(self, path: str) -> bytes | None:
        """As `read`, of a file that does not change; a far place keeps it for `recall`."""

    def recall(self, path: str) -> bytes | None:
        """What this machine kept of such a file, without a request; None where it has nothing."""

    def forget(self, path: str) -> None:
        """Have `recall` give nothing of a file, as it is another one now."""

    def files(self, path: str) -> Iterator[StoredFile]:
        """All files below `path`, sorted; a listing, which costs little for each of them."""

    def now(self) -> float:
        """The moment, in seconds since 1970, by the clock that dates what `files` lists."""

    def unfinished(self) -> Iterator[StoredFile]:
        """Uploads in parts that have not ended, which no listing of files shows."""

    def abandon(self, file: StoredFile) -> None:
        """Remove what was sent of an upload in parts; none there is no error."""

    def replace(self, path: str, data: bytes) -> None:
        """Write a file so that every reader sees the old or the new bytes, also after a crash."""

    def swap(self, path: str, before: bytes | None, after: bytes | None) -> bool:
        """Replace a small file where its bytes are `before`; False, and nothing, where not.

        None is a file that is not there. Of several that swap the same bytes at once, one succeeds.
        No two writes of a file may have the same bytes.
        """

    def replace_from(self, path: str, source: Path) -> None:
        """As `replace`, from a local file in a scratch folder, which may be moved away."""

    def remove(self, path: str) -> None:
        """Remove a file or folder with all that is in it; none there is no error."""

    def move(self, path: str, target: str) -> bool:
        """Move a folder to where nothing is; False if it is not there (any more).

        Where it takes several steps, what makes the folder an artifact goes first.
        """

    def children(self, path: str) -> list[str]:
        """Sorted names directly below `path`; empty where there is nothing."""

    def scratch(self) -> AbstractContextManager[Path]:
        """A local folder that is gone after the block, or after the next sweep."""

    def check_writable(self) -> None:
        """Write something and remove it again; raise `StoreError` if that is refused."""

    def publish(
        self, source: Path, manifest: Manifest, linked: Mapping[str, str] | None = None
    ) -> bool:
        """Make the files in `source` the artifact `manifest`; False if there is one already.

        `linked` says of which file of the store one in `source` is a link, so that a far place can
        copy it there instead of sending it.
        """

    def file_folders(self, manifest: Manifest) -> Sequence[str]:
        """Folders to look for the artifact's files in, the one it is published to first.

        The second is that of the other kind of place: a store may be copied to a bucket and back.
        """

    def local_path(
        self, path: str, entry: FileEntry, *, afresh: bool = False, packed: Manifest | None = None
    ) -> Path:
        """Path of a local file with the content of `path`.

        The size is checked each time, the SHA-256 once per process, or now if `afresh`; then a
        place on disk gives the pack's own path where the file has none.

        Args:
            path: The file.
            entry: What it must fit.
            afresh: Check it now.
            packed: The manifest, if the file is a part of its pack.

        Raises:
            DamagedFileError: if the file is missing, cut short or altered.
        """

    def local_copy(self, path: str, entry: FileEntry, data: bytes) -> Path:
        """Path of a local file with bytes that were read as a part of another file.

        Args:
            path: What the file would be called in the store.
            entry: What the bytes must fit.
            data: The bytes.

        Raises:
            DamagedFileError: if they do not.
        """


class FileChecks:
    """Checks files against their entries, hashing each only once per process.

    A file that was written or replaced since is hashed again: its time of change or number differs.
    """

    def check(self, path: Path, entry: FileEntry, *, afresh: bool = False) -> None:
        """Raise `DamagedFileError` unless the file at `path` has the entry's size and SHA-256."""
        try:
            status = path.stat()
        except (FileNotFoundError, NotADirectoryError):
            raise DamagedFileError("is missing") from None
        if status.st_size != entry.bytes:
            raise DamagedFileError(f"has {status.st_size} bytes instead of {entry.bytes}")
        mark = (status.st_dev, status.st_ino, status.st_mtime_ns, entry.sha256)
        with _lock:
            known = mark in _hashed
        if known and not afresh:
            return
        found = file_sha256(path)
        if found != entry.sha256:
            raise DamagedFileError(f"has SHA-256 {found} instead of {entry.sha256}")
        with _lock:
            _hashed[mark] = True


def file_sha256(path: Path) -> str:
    """SHA-256 (hexadecimal) of a local file."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
