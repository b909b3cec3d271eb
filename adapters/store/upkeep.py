"""Looking after a store: whether it is whole, and what nobody needs any more."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from adapters.store.left import Left
from adapters.store.names import PROGRESS_FOLDER
from adapters.store.places import StoredFile
from adapters.store.records import ArtifactRef, Manifest, is_artifact_folder
from adapters.store.store import Store

HARVEST: Final = "harvest"
PROMOTED: Final = "promoted"
EARLIER: Final = "earlier"
"""Names of the selections whose artifacts count, and the key of those in use before."""
_OF_A_HARVEST: Final = "pairs"
"""The kind that stands for a harvest: all else of it is reached from there."""
_FOLLOWING: Final = frozenset(
    {
        "captures_slice",
        "imagery_slice",
        "pairs_slice",
        "static_prior_part",
        "static_prior",
        "prior_quality",
        "safeguard",
        "evaluation",
        "label_statistics",
        "predictions_part",
        "predictions",
        "illustration",
        "report",
    }
)
"""Kinds that are kept with what they are made of: small, looked for by runs, or products."""
_OF_NOTHING: Final = frozenset({"labelled", "unlabelled"})
"""Kinds that are made of no other artifact, so that nothing but what uses them says they count:
what is scored on test images is kept with its segmenter, and the images with it."""


@dataclass(frozen=True)
class Kept:
    """What stays in a store.

    Attributes:
        harvests: How many of the last harvests of each city, beside the one in use.
        earlier: How many segmenters of each city that were in use before, for a rollback.
        days: Nothing that was made since is removed.
    """

    harvests: int = 2
    earlier: int = 3
    days: float = 30.0


_OF_ANOTHER_WRITER: Final = "a file of a writer that came second"
_OF_THE_UNFINISHED: Final = "files of an upload that did not end"
_OF_THE_FINISHED: Final = "checkpoints of what is finished"
_NOT_WHOLE: Final = "a checkpoint that was not written whole"
_DEPTH: Final = 3
"""Names in the place of an artifact: `<kind>/<city>/<key>`."""


def sampled(places: Iterable[str], share: float, seed: int) -> Iterator[str]:
    """Those places that fall into a sample: the same ones for a seed, others for another."""
    for place in places:
        digest = hashlib.sha256(f"{seed}/{place}".encode()).digest()
        if int.from_bytes(digest[:8], "big") < share * 2.0**64:
            yield place


def removable(store: Store, kept: Kept, now: datetime | None = None) -> list[Manifest]:
    """Artifacts that nothing reaches which counts, the oldest first.

    What counts are the harvest and the segmenter in use (a pinned one is in use), the last harvests
    and the segmenters before; each with all that it was made of, and what belongs to these.

    Args:
        store: The store.
        kept: What stays.
        now: The moment from which days are counted back.

    Raises:
        StoreError: A selection is damaged: nobody knows then what counts.
    """
    manifests = {ref: store.manifest(ref) for ref in store.artifacts()}
    since = (now or datetime.now(UTC)) - timedelta(days=kept.days)
    roots = {ref for ref, one in manifests.items() if one.made_at >= since}
    cities = {ref.city for ref in manifests} | set(store.selection_owners())
    harvested: dict[str, list[Manifest]] = {}
    for one in manifests.values():
        if one.kind == _OF_A_HARVEST:
            harvested.setdefault(one.city, []).append(one)
    for city in sorted(cities):
        roots |= _in_use(store, city, kept.earlier)
        harvests = harvested.get(city, [])
        harvests.sort(key=lambda one: (one.made_at, one.key))
        roots |= {one.ref for one in harvests[max(0, len(harvests) - kept.harvests) :]}
    stay = _reached(roots, manifests)
    left = [one for ref, one in manifests.items() if ref not in stay]
    return sorted(left, key=lambda one: (one.made_at, one.folder))


def _in_use(store: Store, city: str, earlier: int) -> set[ArtifactRef]:
    found: set[ArtifactRef] = set()
    for name in (HARVEST, PROMOTED):
        state = store.selected(name, city)
        if state is None:
            continue
        found |= set(state.refs.values())
        before = state.notes.get(EARLIER, [])
        if name == PROMOTED and isinstance(before, list) and earlier > 0:
            refs = [ArtifactRef.from_dict(one) for one in before if isinstance(one, dict)]
            found |= set(refs[-earlier:])
    return found


def _reached(
    roots: Collection[ArtifactRef], manifests: Mapping[ArtifactRef, Manifest]
) -> set[ArtifactRef]:
    """Roots, all that they were made of, and what follows from these alone."""
    by_digest: dict[str, set[ArtifactRef]] = {}
    for ref in manifests:
        by_digest.setdefault(ref.digest, set()).add(ref)
    inputs = {ref: _digests(one) for ref, one in manifests.items()}
    free = {ref.digest for ref in manifests if ref.kind in _OF_NOTHING}
    stay: set[ArtifactRef] = set()
    pending = [ref for ref in roots if ref in manifests]
    while pending:
        while pending:
            ref = pending.pop()
            if ref in stay:
                continue
            stay.add(ref)
            for digest in inputs[ref]:
                pending.extend(by_digest.get(digest, ()))
        digests = {ref.digest for ref in stay}
        known = digests | free
        pending = [
            ref
            for ref in manifests
            if ref not in stay
            and ref.kind in _FOLLOWING
            and not inputs[ref].isdisjoint(digests)
            and inputs[ref] <= known
        ]
    return stay


def _digests(manifest: Manifest) -> frozenset[str]:
    inputs = manifest.inputs
    return frozenset(inputs.values() if isinstance(inputs, Mapping) else inputs)


def orphans(store: Store, older_than: timedelta, now: datetime) -> list[Left]:
    """What processes that died have left, sorted by place.

    In an object store the files of an artifact go first and its manifest last. Files that no
    manifest came to, what a writer that was not the first has sent, and checkpoints of what was
    finished since or that were not written whole are of no use to anyone. What somebody may be
    writing just now is younger than the limit. Beside that: `adapters.store.left`.

    Args:
        store: The store.
        older_than: Nothing of an artifact that was written within it is an orphan.
        now: The moment from which it is counted, by the clock that dates the store's files
            (`Store.now`): the one of this machine may be years off.

    Raises:
        StoreError: The store cannot be read.
    """
    oldest = now.timestamp() - older_than.total_seconds()
    found = list(store.left_by_the_dead(now))
    groups: dict[str, list[StoredFile]] = {}
    for file in store.files():
        place = _loose(store, file.path)
        if place is not None:
            groups.setdefault(place, []).append(file)
    for place, files in groups.items():
        if not all(one.is_older(oldest) for one in files):
            continue
        loose = store.unneeded(place, files)
        is_progress = place.startswith(f"{PROGRESS_FOLDER}/")
        if len(loose) == len(files):
            what = _OF_THE_FINISHED if is_progress else _OF_THE_UNFINISHED
            found.append(Left(place, sum(one.bytes for one in files), what))
        else:
            what = _NOT_WHOLE if is_progress else _OF_ANOTHER_WRITER
            found += [Left(one.path, one.bytes, what) for one in loose]
    return sorted(found, key=lambda one: (one.place, one.upload))


def _loose(store: Store, path: str) -> str | None:
    """The folder of a file that only some manifest or record can save."""
    parts = path.split("/")
    if parts[0] == PROGRESS_FOLDER and len(parts) > _DEPTH + 1:
        return "/".join(parts[: _DEPTH + 1])
    if store.is_far and len(parts) > _DEPTH + 1 and is_artifact_folder(parts[:_DEPTH]):
        return "/".join(parts[: _DEPTH + 1])
    return None


def size_of(manifest: Manifest) -> int:
    """Bytes of an artifact's files; what it shares with others by hard links counts in each."""
    return sum(entry.bytes for entry in manifest.files.values())
