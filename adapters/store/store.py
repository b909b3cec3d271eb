"""The store of artifacts."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from adapters.store.code_version import code_version
from adapters.store.draft import Draft, file_entries
from adapters.store.errors import (
    DamagedFileError,
    StoreError,
    full_store,
    means_full,
)
from adapters.store.names import (
    CURRENT_FOLDER,
    MANIFEST_NAME,
    check_city,
    check_file_name,
    check_key,
    check_kind,
    check_name,
)
from adapters.store.opening import open_place
from adapters.store.progress import Progress
from adapters.store.records import (
    ArtifactRef,
    FileEntry,
    Manifest,
    artifact_folder,
    plain_inputs,
    plain_object,
)

_MANIFESTS_KEPT = 64


class Store:
    """Immutable artifacts in `<kind>/<city>/<key>/`, each published whole or not at all.

    A store may be used from several threads and processes at once, and pickled.

    Args:
        url: a folder, or an fsspec URL (`file://`, `memory://`, `s3://bucket/prefix`).
        options: fsspec options of the URL's protocol; secrets among them are never shown.
        cache_dir: folder for local copies of a remote store's files;
            default `$XDG_CACHE_HOME/crosscity/store`.

    Raises:
        StoreError: if the URL's protocol or its package is not there.
    """

    def __init__(
        self,
        url: str | Path,
        *,
        options: Mapping[str, Any] | None = None,
        cache_dir: Path | None = None,
    ) -> None:
        self._arguments = (url, dict(options or {}), cache_dir)
        self._place = open_place(url, dict(options or {}), cache_dir)
        self._manifests: dict[ArtifactRef, Manifest] = {}

    def __repr__(self) -> str:
        return f"Store({self._place.label!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        return _restored, self._arguments

    def find(self, kind: str, city: str, key: str) -> ArtifactRef | None:
        """Reference to the published artifact, or None if there is none.

        Raises:
            StoreError: if its `artifact.json` is damaged, or missing beside other files.
        """
        manifest = self._read_manifest(kind, city, key)
        return manifest.ref if manifest else None

    def manifest(self, ref: ArtifactRef) -> Manifest:
        """The artifact's `artifact.json`.

        Raises:
            StoreError: if it is gone, damaged, or has other content than when it was referred to.
        """
        manifest = self._read_manifest(ref.kind, ref.city, ref.key)
        folder = artifact_folder(ref.kind, ref.city, ref.key)
        if manifest is None:
            raise StoreError(
                f"{self._place.describe(folder)} is not there any more: "
                f"run the step that makes the {ref.kind} of {ref.city} again"
            )
        if manifest.digest != ref.digest:
            raise StoreError(
                f"{self._place.describe(folder)} has other content than when it was referred to "
                f"(digest {manifest.digest[:12]}, expected {ref.digest[:12]}): "
                "run the steps that use it again"
            )
        return manifest

    @contextmanager
    def draft(
        self,
        kind: str,
        city: str,
        key: str,
        *,
        inputs: Mapping[str, str] | Sequence[str],
        parameters: Mapping[str, Any],
        version: str,
    ) -> Iterator[Draft]:
        """Make an artifact: write files into the draft's `path`; leaving the block publishes it.

        An exception in the block publishes nothing and removes what was written. If another process
        published the same key first, its artifact is kept and the draft's `ref` refers to it.

        Args:
            kind: kind of artifact.
            city: the catalog's name of the city.
            key: `artifact_key` of the arguments below.
            inputs: digests of the inputs.
            parameters: JSON values.
            version: version of the algorithm.

        Raises:
            StoreError: for bad names or values, and if the store is read-only or full.
        """
        folder = artifact_folder(kind, city, key)
        inputs, parameters = plain_inputs(inputs), plain_object(parameters)
        with self._place.scratch() as scratch:
            draft = Draft(scratch, self._locate)
            with self._full_explained(scratch):
                yield draft
                manifest = Manifest(
                    kind=kind,
                    city=city,
                    key=key,
                    inputs=inputs,
                    parameters=parameters,
                    version=version,
                    code_version=code_version(),
                    made_at=datetime.now(UTC),
                    rows=None if draft.rows is None else int(draft.rows),
                    files=file_entries(draft),
                    measured=tuple(sorted(draft.measured)),
                    summary=plain_object(draft.summary, nan_as_null=True),
                )
                published = self._place.publish(scratch, manifest)
        ref = manifest.ref if published else self.find(kind, city, key)
        if ref is None:
            raise self._damaged(folder, f"{MANIFEST_NAME} is missing")
        self._manifests.pop(ref, None)  # measured files of one digest may differ
        draft._published_as(ref)

    def path(self, ref: ArtifactRef, name: str) -> Path:
        """Local path of a file of the artifact, to be read only.

        Remote files are downloaded to the cache. The size is checked each time, the SHA-256 once
        per process (`verify` checks it at once).

        Raises:
            StoreError: if the artifact has no such file, or it is missing, cut short or altered.
        """
        return self._locate(ref, name)[0]

    def verify(self, ref: ArtifactRef) -> None:
        """Check size and SHA-256 of every file of the artifact.

        Raises:
            StoreError: naming the first file that is missing, cut short or altered.
        """
        manifest = self.manifest(ref)
        for name in sorted(manifest.files):
            self._checked_path(manifest, name, afresh=True)

    def set_current(self, name: str, city: str, ref: ArtifactRef) -> None:
        """Point `name` of `city` (such as its segmenter in use) to a published artifact."""
        self.manifest(ref)
        data = json.dumps(ref.to_dict(), indent=1, sort_keys=True).encode()
        self._place.replace(_pointer(name, city), data)

    def current(self, name: str, city: str) -> ArtifactRef | None:
        """What `set_current` pointed to last; None if that never was, or is not there any more.

        Raises:
            StoreError: if the pointer or the artifact is damaged.
        """
        path = _pointer(name, city)
        data = self._place.read(path)
        if data is None:
            return None
        try:
            ref = ArtifactRef.from_dict(json.loads(data))
        except (ValueError, TypeError, StoreError):
            raise StoreError(
                f"{self._place.describe(path)} is damaged: delete it and run again"
            ) from None
        return ref if self.find(ref.kind, ref.city, ref.key) == ref else None

    def save_progress(
        self, kind: str, city: str, key: str, name: str, write: Callable[[Path], object] | bytes
    ) -> None:
        """Replace a checkpoint of work in flight, by bytes or by what `write(path)` writes.

        A crash at any moment leaves the old or the new one. One writer per name at a time.

        Raises:
            StoreError: for bad names, and if the store is read-only or full.
        """
        progress = Progress(self._place, kind, city, key)
        with self._full_explained(None):
            progress.save(name, write)

    def load_progress(self, kind: str, city: str, key: str, name: str) -> Path | None:
        """Local path of a checkpoint, good until the next save; None if absent or damaged."""
        return Progress(self._place, kind, city, key).load(name)

    def list_progress(self, kind: str, city: str, key: str) -> list[str]:
        """Sorted names of the checkpoints that can be loaded."""
        return Progress(self._place, kind, city, key).names()

    def clear_progress(self, kind: str, city: str, key: str) -> None:
        """Remove all checkpoints of an artifact; none there is no error."""
        Progress(self._place, kind, city, key).clear()

    def artifacts(self, kind: str | None = None, city: str | None = None) -> Iterator[ArtifactRef]:
        """All published artifacts, or those of a kind or city, sorted by kind, city and key.

        Raises:
            StoreError: at an artifact that is damaged.
        """
        kinds = [check_kind(kind)] if kind is not None else self._names("", check_kind)
        for one_kind in kinds:
            cities = [check_city(city)] if city is not None else self._names(one_kind, check_city)
            for one_city in cities:
                for key in self._names(f"{one_kind}/{one_city}", check_key):
                    ref = self.find(one_kind, one_city, key)
                    if ref is not None:
                        yield ref

    def check_writable(self) -> None:
        """Make sure, before any work, that artifacts can be written.

        Raises:
            StoreError: one sentence, if the store is read-only, forbidden, full or unreachable.
        """
        self._place.check_writable()

    def _read_manifest(self, kind: str, city: str, key: str) -> Manifest | None:
        folder = artifact_folder(kind, city, key)
        data = self._place.read(f"{folder}/{MANIFEST_NAME}")
        if data is None:
            if not (self._place.publishes_by_rename and self._place.children(folder)):
                return None
            data = self._place.read(f"{folder}/{MANIFEST_NAME}")  # published since the first look
            if data is None:
                raise self._damaged(folder, f"{MANIFEST_NAME} is missing")
        try:
            manifest = Manifest.from_json(data)
        except ValueError as error:
            raise self._damaged(folder, f"{MANIFEST_NAME} is damaged: {error}") from None
        if manifest.folder != folder:
            raise self._damaged(folder, f"{MANIFEST_NAME} belongs to {manifest.folder}")
        return manifest

    def _known_manifest(self, ref: ArtifactRef) -> Manifest:
        """The manifest as it was read last: one of thousands of files is not parsed for each."""
        manifest = self._manifests.get(ref)
        if manifest is None:
            manifest = self.manifest(ref)
            if len(self._manifests) >= _MANIFESTS_KEPT:
                self._manifests.clear()
            self._manifests[ref] = manifest
        return manifest

    def _locate(self, ref: ArtifactRef, name: str) -> tuple[Path, FileEntry]:
        check_file_name(name)
        manifest = self._known_manifest(ref)
        if name not in manifest.files:
            some = ", ".join(sorted(manifest.files)[:5]) or "none"
            raise StoreError(
                f"{self._place.describe(manifest.folder)} has no file {name!r}; it has {some}"
            )
        return self._checked_path(manifest, name), manifest.files[name]

    def _checked_path(self, manifest: Manifest, name: str, *, afresh: bool = False) -> Path:
        faults = []
        for folder in self._place.file_folders(manifest):
            try:
                entry = manifest.files[name]
                return self._place.local_path(f"{folder}/{name}", entry, afresh=afresh)
            except DamagedFileError as error:
                faults.append(str(error))
        # "is missing", the shortest, says least: it also holds for the folder not in use.
        raise self._damaged(manifest.folder, f"{name} {max(faults, key=len)}")

    def _damaged(self, folder: str, what: str) -> StoreError:
        place = self._place.describe(folder)
        return StoreError(f"{place} is damaged ({what}): delete {place} and run again")

    def _names(self, folder: str, check: Callable[[str], str]) -> Iterator[str]:
        """Names below `folder` that the store could have made; others are not its own."""
        for name in self._place.children(folder):
            try:
                yield check(name)
            except StoreError:
                continue

    @contextmanager
    def _full_explained(self, scratch: Path | None) -> Iterator[None]:
        """Say that the store is full when whatever library writes into it meets that."""
        try:
            yield
        except StoreError:
            raise
        except Exception as error:
            named = getattr(error, "filename", None)
            elsewhere = (
                scratch is not None
                and isinstance(named, str | Path)
                and not Path(named).is_relative_to(scratch)
            )
            if means_full(error) and not elsewhere:
                raise full_store(f"the store at {self._place.label}") from error
            raise


def _pointer(name: str, city: str) -> str:
    return f"{CURRENT_FOLDER}/{check_city(city)}/{check_name(name)}.json"


def _restored(url: str | Path, options: dict[str, Any], cache_dir: Path | None) -> Store:
    return Store(url, options=options, cache_dir=cache_dir)
