"""The store of artifacts."""

from __future__ import annotations

import json
import logging
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from adapters.store.code_version import code_version
from adapters.store.draft import Draft, file_entries
from adapters.store.errors import (
    DamagedArtifactError,
    DamagedFileError,
    NewerReleaseError,
    StoreError,
    full_store,
)
from adapters.store.left import Left, left_by_the_dead, remove_left
from adapters.store.living import Census, Watch, kept_young, sign_of_life
from adapters.store.manifests import ManifestCache
from adapters.store.names import (
    CURRENT_FOLDER,
    LEASES_FOLDER,
    MANIFEST_NAME,
    NEWEST_FOLDER,
    PROGRESS_FOLDER,
    QUARANTINE_FOLDER,
    SCRATCH_FOLDER,
    SHARED_FOLDER,
    check_city,
    check_file_name,
    check_key,
    check_kind,
    check_name,
)
from adapters.store.opening import open_place
from adapters.store.packs import packed_entries
from adapters.store.places import TRANSFERS, StoredFile
from adapters.store.pointers import Pointers, Repaired
from adapters.store.progress import Progress
from adapters.store.quarantine import SHARED, Quarantined, read_record, record
from adapters.store.records import (
    FORMAT,
    PACKED_FORMAT,
    ArtifactRef,
    FileEntry,
    Manifest,
    artifact_folder,
    artifact_place,
    plain_inputs,
    plain_object,
)
from adapters.store.selection import Selection
from adapters.store.shared import DamagedRecordError, SharedRecord
from adapters.store.turns import Timing, Turns
from adapters.unwritable import means_full

_LOG = logging.getLogger("crosscity.store")


class Store:
    """Immutable artifacts in `<kind>/<city>/<key>/`, each published whole or not at all.

    A store may be used from several threads and processes at once, and pickled.

    Args:
        url: a folder, or an fsspec URL (`file://`, `memory://`, `s3://bucket/prefix`).
        options: fsspec options of the URL's protocol; secrets among them are never shown.
        cache_dir: folder for local copies of a remote store's files;
            default `$XDG_CACHE_HOME/crosscity/store`.
        patience: seconds for which a remote store that is away is asked again.
        cache_bytes: what the local copies of a remote store's files may take together.
        pack: whether small files of an artifact become one object of a remote store. What is in
            the store already is read either way.

    Raises:
        StoreError: if the URL's protocol or its package is not there.
    """

    def __init__(
        self,
        url: str | Path,
        *,
        options: Mapping[str, Any] | None = None,
        cache_dir: Path | None = None,
        patience: float = 0.0,
        cache_bytes: float = float("inf"),
        pack: bool = False,
    ) -> None:
        place = (url, dict(options or {}), cache_dir, patience, cache_bytes)
        self._arguments = (*place, pack)
        self._place = open_place(*place)
        self._packs = pack and self._place.is_far
        self._manifests = ManifestCache(self._arguments)
        self._pointers = Pointers(self._place)

    def __repr__(self) -> str:
        return f"Store({self._place.label!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        return _restore_store, self._arguments

    @property
    def is_far(self) -> bool:
        """Whether each look into the store is a request over a network."""
        return self._place.is_far

    def find(self, kind: str, city: str, key: str) -> ArtifactRef | None:
        """Reference to the published artifact, or None if there is none.

        One whose `artifact.json` is damaged, or missing beside other files, is put into quarantine
        and logged; there is none then, so that it is made again.

        Raises:
            DamagedArtifactError: if it is damaged and cannot be moved, as in a read-only store.
            NewerReleaseError: if a newer release made it.
        """
        try:
            manifest = self._read_manifest(kind, city, key)
        except DamagedArtifactError as error:
            place = self._into_quarantine(error)
            _LOG.warning("%s: it was moved to %s and is made again", error.args[0], place)
            return None
        return manifest.ref if manifest else None

    def find_ref(self, ref: ArtifactRef) -> bool:
        """Whether the artifact of a reference is there, with the content that it refers to."""
        return self.find(ref.kind, ref.city, ref.key) == ref

    def find_at(self, uri: str) -> ArtifactRef | None:
        """`find` for `<kind>/<city>/<key>` out of a stored table.

        Raises:
            StoreError: if it is not such a place.
        """
        return self.find(*artifact_place(uri))

    def known_at(self, uri: str) -> ArtifactRef | None:
        """`find_at`, without a request where this machine has read that manifest before.

        Such an artifact may have been removed since: its files are then missing.
        """
        kind, city, key = artifact_place(uri)
        known = self._recalled(kind, city, key)
        return self.find(kind, city, key) if known is None else known.ref

    def manifest(self, ref: ArtifactRef) -> Manifest:
        """The artifact's `artifact.json`, read once a machine: it does not change.

        Raises:
            StoreError: if it is gone, damaged, or has other content than when it was referred to.
        """
        known = self._manifests.get(ref)
        if known is not None:
            return known
        recalled = self._recalled(ref.kind, ref.city, ref.key)
        if recalled is not None and recalled.digest == ref.digest:
            self._manifests.keep(recalled)
            return recalled
        folder = artifact_folder(ref.kind, ref.city, ref.key)
        try:
            manifest = self._read_manifest(ref.kind, ref.city, ref.key)
        except DamagedArtifactError as error:
            raise self._quarantined_error(error) from None
        if manifest is None:
            raise self._gone_error(ref.kind, ref.city, folder)
        if manifest.digest != ref.digest:
            raise StoreError(
                f"{self._place.describe(folder)} has other content than when it was referred to "
                f"(digest {manifest.digest[:12]}, expected {ref.digest[:12]}): "
                "run the steps that use it again"
            )
        return manifest

    def inputs_of(self, ref: ArtifactRef) -> dict[str, ArtifactRef | None]:
        """What an artifact was made of, by role; None where an input is not there any more.

        Inputs are looked up where the manifest says that they lie. Manifests of older releases do
        not say it: for these alone, the store is searched.

        Raises:
            StoreError: if the artifact itself is gone or damaged.
        """
        manifest = self.manifest(ref)
        inputs = manifest.inputs
        by_role = inputs if isinstance(inputs, dict) else {str(i): d for i, d in enumerate(inputs)}
        found: dict[str, ArtifactRef | None] = {}
        searched: dict[str, ArtifactRef] | None = None
        for role, digest in by_role.items():
            place = manifest.inputs_at.get(role)
            if place is None and searched is None:
                searched = {one.digest: one for one in self.artifacts()}
            there = self._find_or_log(place) if place else (searched or {}).get(digest)
            found[role] = there if there is not None and there.digest == digest else None
        return found

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
        inputs_at: Mapping[str, ArtifactRef] | None = None,
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
            inputs_at: the inputs themselves, by role, so that `inputs_of` finds them at once.

        Raises:
            StoreError: for bad names or values, and if the store is read-only or full.
        """
        folder = artifact_folder(kind, city, key)
        inputs, parameters = plain_inputs(inputs), plain_object(parameters)
        with self._place.scratch() as scratch, kept_young(scratch):
            draft = Draft(scratch, self._locate)
            with self._full_explained(scratch):
                yield draft
                files = file_entries(draft)
                if self._packs:
                    files = packed_entries(files, draft.linked)
                is_packed = any(entry.at is not None for entry in files.values())
                manifest = Manifest(
                    format=PACKED_FORMAT if is_packed else FORMAT,
                    kind=kind,
                    city=city,
                    key=key,
                    inputs=inputs,
                    inputs_at={role: one.uri for role, one in (inputs_at or {}).items()},
                    parameters=parameters,
                    version=version,
                    code_version=code_version(),
                    made_at=datetime.now(UTC),
                    rows=None if draft.rows is None else int(draft.rows),
                    files=files,
                    measured=tuple(sorted(draft.measured)),
                    summary=plain_object(draft.summary, nan_as_null=True),
                )
                published = self._place.publish(scratch, manifest, draft.linked)
        ref = manifest.ref if published else self.find(kind, city, key)
        if ref is None:
            raise self._gone_error(kind, city, folder)
        # Measured files of one digest may differ.
        self._manifests.forget(ref)
        self._place.forget(f"{folder}/{MANIFEST_NAME}")
        draft._published_as(ref)

    @contextmanager
    def lease(
        self, kind: str, city: str, key: str, timing: Timing | None = None
    ) -> Iterator[ArtifactRef | None]:
        """Have an artifact to make alone, or wait for whoever makes it and get theirs.

        Gives the artifact where it is there by then, and None to the one that is to make it now. A
        holder that dies is followed by another: at once on its machine, elsewhere once its mark has
        not changed for `EXPIRY_SECONDS`.

        Args:
            kind: kind of artifact.
            city: the catalog's name of the city.
            key: key of the artifact.
            timing: other waiting times than the default.

        Raises:
            StoreError: for bad names, and if the store is read-only or full.
        """
        folder = artifact_folder(kind, city, key)
        what = f"{kind.replace('_', ' ')} of {city}"
        turns = Turns(self._place, f"{LEASES_FOLDER}/{folder}.json", what, timing=timing)
        with turns.turn(lambda: self.find(kind, city, key)) as there:
            yield there

    def turns(self, name: str, what: str, limit: int, timing: Timing | None = None) -> Turns:
        """Something that only so many may do at once, whatever process or machine they are on.

        Args:
            name: its name in the store.
            what: what it is, for the log.
            limit: how many at once.
            timing: other waiting times than the default.
        """
        path = f"{SHARED_FOLDER}/turns/{check_name(name)}.json"
        return Turns(self._place, path, what, limit, timing)

    def census(self, expiry: float) -> Census:
        """Tells who is dead of those that show marks in a shared file, and `sign_of_life` there.

        Args:
            expiry: seconds for which a mark stood still at two looks.
        """
        watch = Watch(expiry, longest_gap=float("inf"))
        return Census(self._place.on_this_machine, watch)

    def sign_of_life(self) -> str:
        """What tells others of this machine, in a shared file, that this process lives."""
        return sign_of_life(self._place.on_this_machine)

    def shared(self, folder: str, name: str) -> SharedRecord:
        """A small JSON object that processes and machines change together."""
        path = f"{SHARED_FOLDER}/{check_name(folder)}/{check_name(name)}.json"
        return SharedRecord(self._place, path)

    def path(self, ref: ArtifactRef, name: str) -> Path:
        """Local path of a file of the artifact, to be read only.

        Remote files are downloaded to the cache. The size is checked each time, the SHA-256 once
        per process (`verify` checks it at once).

        Raises:
            StoreError: if the artifact has no such file, or it is missing, cut short or altered.
        """
        return self._locate(ref, name)[0]

    def paths(self, ref: ArtifactRef, names: Sequence[str]) -> list[Path]:
        """`path` of several files; those of a remote store are fetched side by side."""
        if not self._place.is_far or len(names) < 2:
            return [self.path(ref, name) for name in names]
        self.manifest(ref)  # once, and not once a thread
        with ThreadPoolExecutor(TRANSFERS) as pool:
            return list(pool.map(lambda name: self.path(ref, name), names))

    def verify(self, ref: ArtifactRef) -> None:
        """Check size and SHA-256 of every file of the artifact.

        Raises:
            StoreError: naming the first file that is missing, cut short or altered.
        """
        manifest = self.manifest(ref)
        for name in sorted(manifest.files):
            self._checked_path(manifest, name, afresh=True)

    def switch(self, name: str, city: str, state: Selection) -> None:
        """Point `name` of `city` to several artifacts at once, with notes, in one atomic write.

        Readers see the state before or this one, never a mixture, also after a crash.

        Raises:
            StoreError: if one of the artifacts is not there, what it pointed to is damaged, or the
                store cannot be written to.
        """
        self._pointers.alter(name, city, lambda _: state, self.manifest)

    def selected(self, name: str, city: str) -> Selection | None:
        """What `switch` pointed to last; None if it never did.

        Whether the artifacts are still there is not checked.

        Raises:
            StoreError: if the pointer is damaged, or of a newer release.
        """
        return self._pointers.read(name, city)

    def alter(
        self, name: str, city: str, change: Callable[[Selection | None], Selection | None]
    ) -> Selection | None:
        """Switch to what `change` makes of the state, so that no other's switch is lost.

        Args:
            name: of the selection.
            city: the catalog's name of the city.
            change: gets the state that is there and gives the new one, or None to leave it. It is
                called again where another was quicker, so it must do nothing else.

        Returns:
            The state that is there now.

        Raises:
            StoreError: if one of the artifacts is not there, the pointer is damaged, or the store
                cannot be written to.
        """
        return self._pointers.alter(name, city, change, self.manifest)

    def pointer_faults(self) -> Iterator[tuple[str, str, StoreError | None]]:
        """City and name of every selection, and what is wrong with its pointer; nothing changes."""
        for city, name in self._pointers.all():
            yield city, name, self._pointers.fault(name, city, self.find_ref)

    def repair_pointer(self, name: str, city: str) -> Repaired:
        """Moves a damaged pointer to quarantine, and restores the newest sound state of it.

        Raises:
            StoreError: a newer release kept that state, or the store cannot be written to.
        """
        return self._pointers.repair(name, city)

    def damaged_records(self) -> Iterator[tuple[str, StoreError]]:
        """Places of shared files that do not hold what was written, and why; nothing changes."""
        for folder in (LEASES_FOLDER, SHARED_FOLDER):
            for file in self._place.files(folder):
                if not file.path.endswith(".json"):
                    continue
                try:
                    SharedRecord(self._place, file.path).read()
                except DamagedRecordError as error:
                    yield file.path, error

    def put_record_away(self, path: str) -> str:
        """Moves a damaged shared file to quarantine; what it counts begins anew.

        Args:
            path: Out of `damaged_records`.

        Returns:
            Where it lies now.

        Raises:
            StoreError: another changed it meanwhile, or the store cannot be written to.
        """
        data = self._place.read(path)
        *_, parent, name = path.split("/")
        place = f"{QUARANTINE_FOLDER}/{SHARED}/{parent}/{name}.{secrets.token_hex(4)}"
        if data is not None:
            self._place.replace(f"{place}.json", record(path, "it is not a JSON object"))
            self._place.replace(f"{place}/{name}", data)
            if not self._place.swap(path, data, None):
                raise StoreError(
                    f"{self._place.describe(path)} was changed by another meanwhile: run again"
                )
        return place

    def note_newest(self, producer: str, ref: ArtifactRef) -> None:
        """Note an artifact as the last that a producer made of its kind and city.

        It is a hint for people, who are told what is there instead of what they look for. Nothing
        is found by it, and what cannot be written is left.

        Args:
            producer: what tells its artifacts from others of their kind and city.
            ref: a published artifact.
        """
        data = json.dumps(ref.to_dict(), indent=1, sort_keys=True).encode()
        try:
            self._place.replace(_newest(ref.kind, ref.city, producer), data)
        except StoreError as error:
            _LOG.warning("%s is not noted as the newest: %s", ref.uri, error)

    def newest(self, kind: str, city: str, producer: str) -> ArtifactRef | None:
        """What `note_newest` noted last; None if nothing was, or it is gone or cannot be read."""
        try:
            data = self._place.read(_newest(kind, city, producer))
            ref = None if data is None else ArtifactRef.from_dict(json.loads(data))
            there = ref is not None and (ref.kind, ref.city) == (kind, city) and self.find_ref(ref)
        except (StoreError, ValueError, TypeError):
            return None
        return ref if there else None

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

        One that is damaged, or of a newer release, is logged and left out: it does not concern
        whoever looks for another.
        """
        for one in self._places(kind, city):
            ref = self._read_or_log(*one)
            if ref is not None:
                yield ref

    def check_all(self) -> Iterator[tuple[str, StoreError | None]]:
        """Checks every file of every artifact; what is damaged is put into quarantine.

        Yields:
            The place of each artifact, and what is wrong with it; None where it is whole.
        """
        for one in self._places(None, None):
            try:
                manifest = self._read_manifest(*one)
            except DamagedArtifactError as error:
                yield artifact_folder(*one), self._quarantined_error(error)
                continue
            except StoreError as error:
                yield artifact_folder(*one), error
                continue
            if manifest is None:
                continue
            try:
                self.verify(manifest.ref)
                yield manifest.folder, None
            except StoreError as error:
                yield manifest.folder, error

    def places(self) -> list[str]:
        """Where artifacts lie, damaged ones included: `<kind>/<city>/<key>`, sorted."""
        return [artifact_folder(*one) for one in self._places(None, None)]

    def fault_at(self, place: str) -> StoreError | None:
        """What is wrong with the artifact at a place, every file hashed; nothing is changed.

        Raises:
            StoreError: if it is not such a place, or the store cannot be read.
        """
        kind, city, key = artifact_place(place)
        try:
            manifest = self._read_manifest(kind, city, key)
            for name in sorted(manifest.files) if manifest is not None else ():
                fault = self._fault(manifest, name, afresh=True) if manifest is not None else ""
                if not isinstance(fault, Path):
                    return self._damaged_error(place, f"{name} {fault}")
        except (DamagedArtifactError, NewerReleaseError) as error:
            return error
        return None

    def remove(self, ref: ArtifactRef) -> None:
        """Remove an artifact; whoever needs it makes it again.

        A crash at any moment leaves it whole or gone, never half under its name.
        """
        folder = artifact_folder(ref.kind, ref.city, ref.key)
        self._manifests.forget(ref)
        if self._place.publishes_by_rename:
            with self._place.scratch() as scratch:  # who is killed leaves it to the next sweep
                away = f"{SCRATCH_FOLDER}/{scratch.name}/removed"
                if self._place.move(folder, away):
                    self._place.remove(away)
            return
        self._place.remove(f"{folder}/{MANIFEST_NAME}")  # it is not an artifact any more
        self._place.remove(folder)

    def files(self) -> Iterator[StoredFile]:
        """All files of the store, sorted by path; a remote one lists a thousand a request."""
        return self._place.files("")

    def unneeded(self, place: str, files: Sequence[StoredFile]) -> Sequence[StoredFile]:
        """Those of the files in a folder that nothing counts on.

        Args:
            place: `<kind>/<city>/<key>/<folder>` of files, or `.progress/<kind>/<city>/<key>`.
            files: All files there.
        """
        if place.startswith(f"{PROGRESS_FOLDER}/"):
            artifact = place.removeprefix(f"{PROGRESS_FOLDER}/")
            if self._place.read(f"{artifact}/{MANIFEST_NAME}") is not None:
                return files
            inside = {one.path.removeprefix(f"{place}/"): one for one in files}
            loose = Progress(self._place, *artifact.split("/")).unneeded(inside)
            return [inside[name] for name in sorted(loose)]
        data = self._place.read(f"{place.rpartition('/')[0]}/{MANIFEST_NAME}")
        if data is None:
            return files
        try:
            manifest = Manifest.from_json(data)
        except (NewerReleaseError, ValueError):  # whose files they are cannot be told
            return ()
        # In the artifact's folder itself, where the store was copied from a disk.
        names = {f"{manifest.folder}/{name}" for name in manifest.files}
        names |= {f"{manifest.digest_folder}/{name}" for name in manifest.files}
        if manifest.packed:
            # Of a writer who does not pack, and came second: nobody reads them.
            names -= {f"{manifest.digest_folder}/{name}" for name in manifest.packed}
            names.add(manifest.pack)
        return [one for one in files if one.path not in names]

    def now(self) -> datetime:
        """The moment by the clock of the store, which dates its files; something is written.

        Raises:
            StoreError: if the store is read-only or unreachable.
        """
        return datetime.fromtimestamp(self._place.now(), UTC)

    def left_by_the_dead(self, now: datetime) -> Iterator[Left]:
        """See `adapters.store.left.left_by_the_dead`."""
        return left_by_the_dead(self._place, now.timestamp())

    def remove_left(self, left: Left) -> None:
        """Remove what `left_by_the_dead` or `adapters.store.upkeep.orphans` found."""
        remove_left(self._place, left)

    def selection_owners(self) -> list[str]:
        """Cities that have a selection, sorted."""
        return self._pointers.owners()

    def quarantined(self) -> list[Quarantined]:
        """What was found damaged and moved away, sorted by place."""
        found = []
        for kind in (*self._names(QUARANTINE_FOLDER, check_kind), CURRENT_FOLDER):
            for city in self._names(f"{QUARANTINE_FOLDER}/{kind}", check_city):
                folder = f"{QUARANTINE_FOLDER}/{kind}/{city}"
                names = self._place.children(folder)
                for name in (one for one in names if f"{one}.json" in names):
                    place = f"{folder}/{name}"
                    one = read_record(self._place.read(f"{place}.json"), place)
                    if one is not None:
                        found.append(one)
        return found

    def check_writable(self) -> None:
        """Make sure, before any work, that artifacts can be written.

        Raises:
            StoreError: one sentence, if the store is read-only, forbidden, full or unreachable.
        """
        self._place.check_writable()

    def _recalled(self, kind: str, city: str, key: str) -> Manifest | None:
        """A manifest that this machine has kept, if it is whole and belongs there."""
        folder = artifact_folder(kind, city, key)
        data = self._place.recall(f"{folder}/{MANIFEST_NAME}")
        if data is None:
            return None
        try:
            manifest = Manifest.from_json(data)
        except (NewerReleaseError, ValueError):  # the store has the last word
            return None
        return manifest if manifest.folder == folder else None

    def _read_manifest(self, kind: str, city: str, key: str) -> Manifest | None:
        folder = artifact_folder(kind, city, key)
        data = self._place.read_lasting(f"{folder}/{MANIFEST_NAME}")
        if data is None:
            if not (self._place.publishes_by_rename and self._place.children(folder)):
                return None
            data = self._place.read_lasting(f"{folder}/{MANIFEST_NAME}")  # published since then
            if data is None:
                raise self._damaged_error(folder, f"{MANIFEST_NAME} is missing")
        try:
            manifest = Manifest.from_json(data)
        except NewerReleaseError as error:
            raise NewerReleaseError(
                f"{self._place.describe(folder)} {error}: run it with that version, or choose "
                "another store"
            ) from None
        except ValueError as error:
            raise self._damaged_error(folder, f"{MANIFEST_NAME} is damaged: {error}") from None
        if manifest.folder != folder:
            raise self._damaged_error(folder, f"{MANIFEST_NAME} belongs to {manifest.folder}")
        self._manifests.keep(manifest)
        return manifest

    def _read_or_log(self, kind: str, city: str, key: str) -> ArtifactRef | None:
        try:
            manifest = self._read_manifest(kind, city, key)
        except (DamagedArtifactError, NewerReleaseError) as error:
            _LOG.warning("left out: %s", error)
            return None
        return manifest.ref if manifest else None

    def _find_or_log(self, uri: str) -> ArtifactRef | None:
        try:
            return self.find_at(uri)
        except (DamagedArtifactError, NewerReleaseError) as error:
            _LOG.warning("left out: %s", error)
            return None

    def _locate(self, ref: ArtifactRef, name: str) -> tuple[Path, FileEntry, str]:
        check_file_name(name)
        manifest = self.manifest(ref)
        if name not in manifest.files:
            some = ", ".join(sorted(manifest.files)[:5]) or "none"
            raise StoreError(
                f"{self._place.describe(manifest.folder)} has no file {name!r}; it has {some}"
            )
        entry = manifest.files[name]
        # What lies in a pack is no object that the store could copy.
        stored = f"{self._place.file_folders(manifest)[0]}/{name}" if entry.at is None else ""
        return self._checked_path(manifest, name), entry, stored

    def _checked_path(self, manifest: Manifest, name: str, *, afresh: bool = False) -> Path:
        fault = self._fault(manifest, name, afresh=afresh)
        if isinstance(fault, Path):
            return fault
        # The last word is what the store says now: it may have been made again since it was read.
        self._manifests.forget(manifest.ref)
        try:
            now = self._read_manifest(manifest.kind, manifest.city, manifest.key)
        except DamagedArtifactError as error:
            raise self._quarantined_error(error) from None
        if now is None:
            raise self._gone_error(manifest.kind, manifest.city, manifest.folder)
        if now.files.get(name) != manifest.files[name] and now.digest == manifest.digest:
            fault = self._fault(now, name, afresh=afresh)
            if isinstance(fault, Path):
                return fault
        raise self._quarantined_error(self._damaged_error(manifest.folder, f"{name} {fault}"))

    def _fault(self, manifest: Manifest, name: str, *, afresh: bool) -> Path | str:
        """The checked file, or what is wrong with it."""
        faults = []
        for folder in self._place.file_folders(manifest):
            try:
                entry = manifest.files[name]
                packed = None if entry.at is None else manifest
                path = f"{folder}/{name}"
                return self._place.local_path(path, entry, afresh=afresh, packed=packed)
            except DamagedFileError as error:
                faults.append(str(error))
        # "is missing", the shortest, says least: it also holds for the folder not in use.
        return max(faults, key=len)

    def _damaged_error(self, folder: str, what: str) -> DamagedArtifactError:
        place = self._place.describe(folder)
        return DamagedArtifactError(f"{place} is damaged ({what})", folder, what)

    def _gone_error(self, kind: str, city: str, folder: str) -> StoreError:
        return StoreError(
            f"{self._place.describe(folder)} is not there any more: "
            f"run the step that makes the {kind} of {city} again"
        )

    def _quarantined_error(self, error: DamagedArtifactError) -> DamagedArtifactError:
        """Move a damaged artifact away; the error for whoever asked for it, to be raised."""
        place = self._into_quarantine(error)
        message = f"{error}: it was moved to {place}; run again, and it is made anew"
        # Not a warning too: whoever asked is told by the error, once.
        _LOG.info("%s", message)
        return DamagedArtifactError(message, error.folder, error.what)

    def _into_quarantine(self, error: DamagedArtifactError) -> str:
        """Move a damaged artifact away; where it is now.

        Raises:
            DamagedArtifactError: if the store does not let it be moved.
        """
        place = f"{QUARANTINE_FOLDER}/{error.folder}.{secrets.token_hex(4)}"
        try:
            # What says why goes first: what lies in quarantine is listed by it.
            self._place.replace(f"{place}.json", record(error.folder, error.what))
            if not self._place.move(error.folder, place):  # another process was quicker
                self._place.remove(f"{place}.json")
        except StoreError as refused:
            described = self._place.describe(error.folder)
            raise DamagedArtifactError(
                f"{error}, and it cannot be moved away ({refused}): where the store is writable, "
                f"run again or move {described} away",
                error.folder,
                error.what,
            ) from None
        return self._place.describe(place)

    def _places(self, kind: str | None, city: str | None) -> Iterator[tuple[str, str, str]]:
        """Kind, city and key of every folder that an artifact may lie in, sorted."""
        kinds = [check_kind(kind)] if kind is not None else self._names("", check_kind)
        for one_kind in kinds:
            cities = [check_city(city)] if city is not None else self._names(one_kind, check_city)
            for one_city in cities:
                for key in self._names(f"{one_kind}/{one_city}", check_key):
                    yield one_kind, one_city, key

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


def _newest(kind: str, city: str, producer: str) -> str:
    return f"{NEWEST_FOLDER}/{check_kind(kind)}/{check_city(city)}/{check_name(producer)}.json"


def _restore_store(
    url: str | Path,
    options: dict[str, Any],
    cache_dir: Path | None,
    patience: float,
    cache_bytes: float,
    pack: bool,
) -> Store:
    return Store(
        url,
        options=options,
        cache_dir=cache_dir,
        patience=patience,
        cache_bytes=cache_bytes,
        pack=pack,
    )
