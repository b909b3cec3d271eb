"""An artifact in the making."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from adapters.store.errors import StoreError
from adapters.store.names import check_file_name
from adapters.store.places import file_sha256
from adapters.store.records import ArtifactRef, FileEntry

Locate = Callable[[ArtifactRef, str], tuple[Path, FileEntry, str]]
"""Gives the checked local path, the entry, and the path in the store of a published file."""


class Draft:
    """Files and facts of an artifact that `Store.draft` publishes when its block ends.

    Attributes:
        path: local folder to write the files into, directly or one folder deep.
        rows: rows of the whole artifact, where that means something.
        file_rows: rows by file name, where that means something.
        summary: JSON for people: counts, failures by reason. NaN becomes null.
        measured: names of files that also hold what a run took, and so differ between runs: they
            do not count in the artifact's digest.
        linked: of which files of the store those are links that `add_link` has added, by name.
    """

    def __init__(self, path: Path, locate: Locate) -> None:
        self.path = path
        self.rows: int | None = None
        self.file_rows: dict[str, int] = {}
        self.summary: dict[str, Any] = {}
        self.measured: set[str] = set()
        self.linked: dict[str, str] = {}
        self._locate = locate
        self._ref: ArtifactRef | None = None

    @property
    def ref(self) -> ArtifactRef:
        """Reference to the published artifact.

        Raises:
            StoreError: before the block of `Store.draft` has ended.
        """
        if self._ref is None:
            raise StoreError("the artifact is not published yet: leave the draft's block first")
        return self._ref

    def file(self, name: str) -> Path:
        """Path to write the file `name` ("x" or "folder/x") to; its folder is made."""
        path = self.path / check_file_name(name)
        path.parent.mkdir(exist_ok=True)
        return path

    def add_link(self, name: str, ref: ArtifactRef, source_name: str | None = None) -> None:
        """Include a file of another artifact without rewriting it.

        Args:
            name: its name in this artifact.
            ref: the other artifact.
            source_name: its name there; the same by default.
        """
        source, entry, stored = self._locate(ref, source_name or name)
        self.add_file(name, source)
        if stored:
            self.linked[name] = stored
        if entry.rows is not None:
            self.file_rows[name] = entry.rows

    def add_file(self, name: str, source: Path) -> None:
        """Include a finished local file, such as saved progress; it must not change afterwards.

        It is hard-linked where the file system can, and copied otherwise.
        """
        target = self.file(name)
        try:
            os.link(source, target)  # follows no symbolic link, so look below
            linked = not target.is_symlink()
        except FileExistsError:
            raise StoreError(f"the draft has a file {name!r} already: give another name") from None
        except FileNotFoundError:
            raise StoreError(f"there is no file {source} to include as {name!r}") from None
        except OSError:  # another file system, too many links, or links not admitted
            linked = False
        if not linked:
            target.unlink(missing_ok=True)
            shutil.copyfile(source, target)

    def _published_as(self, ref: ArtifactRef) -> None:
        self._ref = ref


def file_entries(draft: Draft) -> dict[str, FileEntry]:
    """Size, SHA-256 and rows of every file in the draft's folder, by name.

    Raises:
        StoreError: for a name that the store does not admit, a link or a special file, and rows
            given, or measurements named, for a file that is not there.
    """
    entries: dict[str, FileEntry] = {}
    for path in sorted(draft.path.rglob("*")):
        if path.is_dir() and not path.is_symlink():
            continue
        name = check_file_name(path.relative_to(draft.path).as_posix())
        if path.is_symlink() or not path.is_file():
            raise StoreError(f"{name!r} in the draft is not a plain file: write it or use add_file")
        entries[name] = FileEntry(
            bytes=path.stat().st_size, sha256=file_sha256(path), rows=draft.file_rows.get(name)
        )
    unknown = sorted(set(draft.file_rows) - set(entries))
    if unknown:
        raise StoreError(f"the draft gives rows for {unknown[0]!r}, which it does not hold")
    unknown = sorted(draft.measured - set(entries))
    if unknown:
        raise StoreError(f"the draft calls {unknown[0]!r} measured, which it does not hold")
    return entries
