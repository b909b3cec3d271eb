"""Artifacts: made in a temporary place, checked, published whole, never changed afterwards."""

from adapters.store.draft import Draft
from adapters.store.errors import StoreAwayError, StoreError, StoreRefusesError
from adapters.store.records import ArtifactRef, FileEntry, Manifest, artifact_key
from adapters.store.selection import SINGLE, Selection
from adapters.store.shared import SharedRecord
from adapters.store.store import Store

__all__ = [
    "SINGLE",
    "ArtifactRef",
    "Draft",
    "FileEntry",
    "Manifest",
    "Selection",
    "SharedRecord",
    "Store",
    "StoreAwayError",
    "StoreError",
    "StoreRefusesError",
    "artifact_key",
]
