"""Manifests that were read, kept for the process: a manifest of a digest does not change."""

from __future__ import annotations

import threading
from typing import Any, Final

from cachetools import LRUCache

from adapters.store.records import ArtifactRef, Manifest

_MOST_FILES: Final = 100_000
"""Files that the kept manifests may list together: about a hundred megabytes."""

_kept: LRUCache[tuple[str, ArtifactRef], Manifest] = LRUCache(
    _MOST_FILES, getsizeof=lambda manifest: 1 + len(manifest.files)
)
_lock = threading.Lock()


class ManifestCache:
    """The manifests of one store; the least recently used go first.

    Every task opens the store anew, so what is kept belongs to the process and not to the object.

    Args:
        store: What the store was opened with.
    """

    def __init__(self, store: tuple[Any, ...]) -> None:
        self._store = repr(store)

    def get(self, ref: ArtifactRef) -> Manifest | None:
        """The manifest, if it was read and is still kept."""
        with _lock:
            return _kept.get((self._store, ref))

    def keep(self, manifest: Manifest) -> None:
        """Keep a manifest that was read; one with more files than all may have is not kept."""
        if len(manifest.files) < _MOST_FILES:
            with _lock:
                _kept[self._store, manifest.ref] = manifest

    def forget(self, ref: ArtifactRef) -> None:
        """Have it read again."""
        with _lock:
            _kept.pop((self._store, ref), None)
