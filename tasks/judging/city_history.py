"""What was adapted to a city, what became of it, and which segmenter is in use."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from adapters.store import ArtifactRef, Manifest, Store
from tasks.judging.promotion import (
    evidence_by_digest,
    pinned,
    promoted_segmenter,
    promotion_log,
)

IN_USE: Final = "in use"
WAS_IN_USE: Final = "was in use"
REJECTED: Final = "rejected"
NOT_PROMOTED: Final = "not promoted"


@dataclass(frozen=True)
class Adapted:
    """A segmenter that was made for a city.

    Attributes:
        uri: Where it lies in the store.
        key: Its key.
        arm: How it was adapted; "pretrained" of one that was promoted as it came.
        seed: Of its training; ``None`` where none is noted.
        made_at: UTC, ISO 8601.
        state: `IN_USE`, `WAS_IN_USE`, `REJECTED` (the safeguard saw harm) or `NOT_PROMOTED`.
        miou: On the city's labels, in [0, 1]; ``None`` where it was not scored.
        verdict: The safeguard's sentence; ``None`` where it did not look.
    """

    uri: str
    key: str
    arm: str
    seed: int | None
    made_at: str
    state: str
    miou: float | None
    verdict: str | None

    @property
    def is_adaptation(self) -> bool:
        """Whether it was adapted; a segmenter that was promoted as it came was not."""
        return self.uri.startswith("adaptation/")


@dataclass(frozen=True)
class CityHistory:
    """What became of a city's adaptations.

    Attributes:
        segmenters: Adaptations, and what else was in use, the newest first.
        changes: The log of promotions, the newest first; see `promotion_log`.
        in_use: Place of the segmenter that is in use; ``None`` without one.
        pinned: When and why it was pinned; ``None`` where runs may change it.
    """

    segmenters: Sequence[Adapted]
    changes: Sequence[Mapping[str, Any]]
    in_use: str | None
    pinned: Mapping[str, Any] | None

    def used(self) -> Adapted | None:
        """The segmenter that is in use."""
        return next((one for one in self.segmenters if one.uri == self.in_use), None)


def city_history(store: Store, city: str, limits: Mapping[str, Any] | None = None) -> CityHistory:
    """Reads the history of a city; artifacts that are damaged are left out, as the store does.

    Args:
        store: The store.
        city: The city, or transfer.
        limits: As of `evidence_of`.

    Raises:
        StoreError: The note of what is in use is damaged.
    """
    promoted, changes = promoted_segmenter(store, city), promotion_log(store, city)
    evidence = evidence_by_digest(store, city, limits)
    used_before = {str(change["segmenter"]["digest"]) for change in changes}
    there = list(store.artifacts("adaptation", city))
    if promoted is not None and promoted not in there:
        there.append(promoted)
    manifests = sorted(map(store.manifest, there), key=lambda one: (one.made_at, one.ref.key))
    return CityHistory(
        segmenters=[
            _adapted(one, promoted, used_before, evidence.get(one.ref.digest, {}))
            for one in reversed(manifests)
        ],
        changes=changes[::-1],
        in_use=None if promoted is None else promoted.uri,
        pinned=pinned(store, city),
    )


def _adapted(
    manifest: Manifest,
    promoted: ArtifactRef | None,
    used_before: set[str],
    evidence: Mapping[str, Any],
) -> Adapted:
    seed = manifest.parameters.get("seed")
    return Adapted(
        uri=manifest.ref.uri,
        key=manifest.ref.key,
        arm=str(manifest.parameters.get("arm", "pretrained")),
        seed=seed if isinstance(seed, int) else None,
        made_at=manifest.made_at.isoformat(timespec="seconds"),
        state=_state(manifest.ref, promoted, used_before, evidence.get("keep")),
        miou=evidence.get("miou"),
        verdict=evidence.get("verdict"),
    )


def _state(
    ref: ArtifactRef, promoted: ArtifactRef | None, used_before: set[str], keep: object
) -> str:
    if ref == promoted:
        return IN_USE
    if ref.digest in used_before:
        return WAS_IN_USE
    return REJECTED if keep == "before" else NOT_PROMOTED
