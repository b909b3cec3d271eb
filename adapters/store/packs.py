"""Many small files of an artifact as one object: each object of a far store costs a request.

A pack is what its files hold, one after the other, in the order of their names; the manifest says
of each where it begins. A reader asks for the part of the pack that is the file.
"""

from __future__ import annotations

import shutil
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Final

from adapters.store.records import FileEntry, Manifest

LARGEST: Final = 2**22
"""Bytes of a file up to which it goes into a pack; an image of a street has less."""
_FEWEST: Final = 2


def packed_entries(
    entries: Mapping[str, FileEntry], apart: Collection[str]
) -> dict[str, FileEntry]:
    """The entries of an artifact's files, those that go into its pack with their place in it.

    Args:
        entries: Of all files, by name.
        apart: Files that stay objects of their own, as the store can copy them from others.
    """
    small = [name for name in sorted(entries) if entries[name].bytes <= LARGEST]
    small = [name for name in small if name not in apart]
    if len(small) < _FEWEST:
        return dict(entries)
    placed, at = dict(entries), 0
    for name in small:
        placed[name] = entries[name].model_copy(update={"at": at})
        at += entries[name].bytes
    return placed


def write_pack(folder: Path, manifest: Manifest, target: Path) -> None:
    """Writes the pack of an artifact whose files lie in a folder.

    Raises:
        OSError: It cannot be written.
    """
    with target.open("wb") as pack:
        for name in manifest.packed:
            with (folder / name).open("rb") as file:
                shutil.copyfileobj(file, pack)
