"""Checkpoints of work in flight: replaced as it goes on, removed when its artifact is published.

A checkpoint `name` lies in `.progress/<kind>/<city>/<key>/<name>/` as `<hash>-<name>` beside
`record.json`, which says which hash counts. The data goes first and the record is replaced last, so
a crash in between leaves the previous checkpoint in force; the record's SHA-256 finds torn files.

In a far place each object is put whole or not at all, and each costs a request: there a small
checkpoint is one object, its bytes behind the line of its record. An earlier release takes such a
one for none.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from adapters.store.errors import DamagedFileError, StoreError
from adapters.store.names import PROGRESS_FOLDER, check_name
from adapters.store.places import Place, file_sha256
from adapters.store.records import FileEntry, artifact_folder

_RECORD = "record.json"
_LARGEST_INLINE: Final = 2**22
"""Bytes of a checkpoint up to which it lies in its record; an image of a service has less."""


class Progress:
    """The checkpoints of one artifact in the making."""

    def __init__(self, place: Place, kind: str, city: str, key: str) -> None:
        self._place = place
        self._folder = f"{PROGRESS_FOLDER}/{artifact_folder(kind, city, key)}"

    def save(self, name: str, write: Callable[[Path], object] | bytes) -> None:
        """Replace the checkpoint `name` by what `write` writes."""
        folder = f"{self._folder}/{check_name(name)}"
        with self._place.scratch() as scratch:
            temporary = scratch / name
            if isinstance(write, bytes):
                temporary.write_bytes(write)
            else:
                write(temporary)
            if not temporary.is_file():
                raise StoreError(f"nothing was written for the checkpoint {name!r}")
            entry = FileEntry(bytes=temporary.stat().st_size, sha256=file_sha256(temporary))
            if self._place.is_far and entry.bytes <= _LARGEST_INLINE:
                record = entry.model_dump_json().encode() + b"\n" + temporary.read_bytes()
                self._place.replace(f"{folder}/{_RECORD}", record)
                return
            data = _data_name(name, entry)
            self._place.replace_from(f"{folder}/{data}", temporary)
        self._place.replace(f"{folder}/{_RECORD}", entry.model_dump_json().encode())
        for old in self._place.children(folder):
            if old not in {data, _RECORD}:
                self._place.remove(f"{folder}/{old}")

    def load(self, name: str) -> Path | None:
        """Local path of the checkpoint `name`; None if there is none or it is damaged."""
        folder = f"{self._folder}/{check_name(name)}"
        record = self._place.read(f"{folder}/{_RECORD}")
        if record is None:
            return None
        head, is_inline, data = record.partition(b"\n")
        try:
            entry = FileEntry.model_validate(json.loads(head))
            path = f"{folder}/{_data_name(name, entry)}"
            if is_inline:
                return self._place.local_copy(path, entry, data)
            return self._place.local_path(path, entry)
        except (ValueError, ValidationError, DamagedFileError):
            return None

    def names(self) -> list[str]:
        """Sorted names of the checkpoints that can be loaded."""
        return [name for name in self._place.children(self._folder) if self.load(name) is not None]

    def unneeded(self, names: Collection[str]) -> set[str]:
        """Of the files that lie here, those that no checkpoint counts on.

        A process that died between the two writes of a checkpoint leaves such a one.

        Args:
            names: `<checkpoint>/<file>` of all files.
        """
        found = {one for one in names if one.count("/") == 1 and not one.endswith(f"/{_RECORD}")}
        for name in {one.partition("/")[0] for one in found}:
            record = self._place.read(f"{self._folder}/{name}/{_RECORD}")
            if record is None:
                continue
            try:
                head, is_inline, _ = record.partition(b"\n")
                entry = FileEntry.model_validate(json.loads(head))
            except (ValueError, ValidationError):  # which file it counts on cannot be told
                found = {one for one in found if not one.startswith(f"{name}/")}
                continue
            if not is_inline:
                found.discard(f"{name}/{_data_name(name, entry)}")
        return found

    def clear(self) -> None:
        """Remove all checkpoints."""
        self._place.remove(self._folder)


def _data_name(name: str, entry: FileEntry) -> str:
    return f"{entry.sha256[:16]}-{name}"
