"""What the store knows of a segmenter: what it was made of, under which terms, its scores."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any, Final

from adapters.store import ArtifactRef, Store
from tasks.judging.evaluation import read_evaluation
from tasks.judging.promotion import evidence_of, limits_now
from tasks.steps.plan import Plan
from tasks.steps.schemas import IMAGERY, IMAGES_OF_PAIR, OK, PAIRS, images_of
from tasks.steps.tables import read_rows
from tasks.training.arms import is_fine_tuned
from tasks.training.extras import made_with_labels

UNKNOWN: Final = "unknown: these images are not in the store any more"
_OF_IMAGES: Final = frozenset({"imagery", "labelled", "unlabelled"})
"""Kinds of artifacts that hold what a segmenter has learned from."""
_OF_TERMS: Final = ("image_id", "licence", "attribution", "status")


@dataclass(frozen=True)
class Terms:
    """Images that a segmenter has seen, and the terms they are under."""

    city: str
    licence: str
    attribution: str
    images: int


@dataclass(frozen=True)
class SetSeen:
    """A set that a segmenter has seen: the catalog's name, its kind, its images.

    Attributes:
        labelled: Whether it has seen their labels too.
    """

    name: str
    kind: str
    images: int
    labelled: bool = True


@dataclass(frozen=True)
class SegmenterScore:
    """How a segmenter scores on labelled images.

    Attributes:
        place: The city or set.
        split: Its images.
        protocol: Which classes are scored, and as what.
        miou: In [0, 1].
        per_class: IoU by class in [0, 1]; ``None`` where it does not occur.
        not_in_truth: Classes that the images do not have.
        images: How many they are.
        of: "this segmenter", or "the segmenter before".
        artifact: Where the evaluation lies.
    """

    place: str
    split: str
    protocol: str
    miou: float
    per_class: dict[str, float | None]
    not_in_truth: tuple[str, ...]
    images: int
    of: str
    artifact: str


@dataclass(frozen=True)
class SegmenterFacts:
    """All that a card says of a segmenter; JSON-able by `asdict`.

    Attributes:
        artifact: Where it lies in the store.
        digest: Of its files.
        city: Whose it is.
        arm: How it was made; "pretrained" for what was not adapted.
        saw_labels: Whether it has seen labels of the city, or of the set, that it was adapted to.
        trained_on: Sets whose labels it was trained on, as far as the store or the catalog names
            them.
        made_at: UTC.
        version: Of the algorithm.
        code_version: Of the program.
        parameters: What it was trained with.
        images: Unlabelled images that it was adapted to.
        sets: Sets that it was trained on or adapted to.
        scores: Of it, and of the segmenter that it was adapted from.
        verdict: Of the safeguard, where it looked.
        remarks: What its training said.
        lineage: Every artifact behind it: kind, place, digest.
    """

    artifact: str
    digest: str
    city: str
    arm: str
    saw_labels: bool
    trained_on: tuple[str, ...]
    made_at: str
    version: str
    code_version: str
    parameters: dict[str, Any]
    images: tuple[Terms, ...]
    sets: tuple[SetSeen, ...]
    scores: tuple[SegmenterScore, ...]
    verdict: str | None
    remarks: tuple[str, ...]
    lineage: tuple[dict[str, str], ...]

    def as_json(self) -> dict[str, Any]:
        """The facts in plain values."""
        return asdict(self)


def segmenter_facts(plan: Plan, ref: ArtifactRef) -> SegmenterFacts:
    """Collects the facts of a `segmenter` or `adaptation` of the store.

    Raises:
        StoreError: It, or an artifact behind it, is damaged.
    """
    store = plan.open_store()
    manifest = store.manifest(ref)
    behind = dict(_artifacts_behind(store, ref))
    arm = str(manifest.parameters.get("arm", "pretrained"))
    inputs = store.inputs_of(ref)
    start = inputs.get("segmenter")
    scores = list(_scores(store, ref, "this segmenter"))
    if start is not None:
        places = {score.place for score in scores}
        before = _scores(store, start, "the segmenter before")
        scores += [score for score in before if score.place in places or not places]
    sets = tuple(_sets(store, plan, behind))
    trained_on = [one.name for one in sets if one.labelled]
    origin = ref if start is None else start
    if not trained_on and origin.city in plan.datasets:
        trained_on = [origin.city]  # weights from elsewhere, of which the catalog names the source
    remarks = manifest.summary.get("remarks", [])
    return SegmenterFacts(
        artifact=ref.uri,
        digest=ref.digest,
        city=ref.city,
        arm=arm,
        saw_labels=is_fine_tuned(arm) or made_with_labels(inputs, ref.city),
        trained_on=tuple(trained_on),
        made_at=manifest.made_at.isoformat(timespec="seconds"),
        version=manifest.version,
        code_version=manifest.code_version,
        parameters=dict(manifest.parameters),
        images=tuple(_terms(store, behind)),
        sets=sets,
        scores=tuple(scores),
        verdict=_verdict(plan, ref),
        remarks=tuple(map(str, remarks)) if isinstance(remarks, list) else (),
        lineage=tuple(
            {"kind": one.kind, "artifact": one.uri, "digest": one.digest}
            for one in behind.values()
            if one is not None
        ),
    )


def _verdict(plan: Plan, ref: ArtifactRef) -> str | None:
    """What the safeguard says of a segmenter; its city may have left the catalog."""
    known = ref.city in plan.cities or ref.city in plan.transfers
    limits = limits_now(ref.city, plan) if known else None
    found: str | None = evidence_of(plan.open_store(), ref.city, ref, limits).get("verdict")
    return found


def _artifacts_behind(store: Store, ref: ArtifactRef) -> Iterator[tuple[str, ArtifactRef | None]]:
    """Every artifact that one was made of, once, by its place; lost ones by role and digest."""
    waiting, seen = [ref], {ref.uri}
    while waiting:
        one = waiting.pop()
        manifest = store.manifest(one)
        for role, found in sorted(store.inputs_of(one).items()):
            if found is None:
                inputs = manifest.inputs
                digest = inputs[role] if isinstance(inputs, dict) else role
                yield f"{role} {digest} of {one.uri}", None
            elif found.uri not in seen:
                seen.add(found.uri)
                waiting.append(found)
                yield found.uri, found


def _terms(store: Store, behind: dict[str, ArtifactRef | None]) -> Iterator[Terms]:
    """The images that were learned from: those of training pairs, where the pairs are there.

    An imagery that another was grown from has the first of its images.
    """
    there = [ref for ref in behind.values() if ref is not None]
    grown = {store.inputs_of(ref).get("before") for ref in there if ref.kind == "imagery"}
    learned = _images_of_pairs(store, [ref for ref in there if ref.kind == "pairs"])
    for place, ref in behind.items():
        if ref is None and place.partition(" ")[0] == "imagery":
            yield Terms(place.rpartition("/")[0].rpartition("/")[2], UNKNOWN, UNKNOWN, 0)
        if ref is None or ref.kind != "imagery" or ref in grown:
            continue
        rows = read_rows(store, ref, "imagery.parquet", IMAGERY, _OF_TERMS)
        ids = learned.get(ref)
        counts = Counter(
            (str(row["licence"]), str(row["attribution"]))
            for row in rows
            if row["status"] == OK and (ids is None or row["image_id"] in ids)
        )
        for (licence, whom), count in sorted(counts.items()):
            yield Terms(ref.city, licence, whom, count)


def _images_of_pairs(
    store: Store, pairs: Iterable[ArtifactRef]
) -> dict[ArtifactRef | None, set[str]]:
    """Images of the training pairs, by the imagery that the pairs are of."""
    return {
        store.inputs_of(ref).get("imagery"): {
            image_id
            for row in read_rows(store, ref, "pairs.parquet", PAIRS, (*IMAGES_OF_PAIR, "split"))
            if row["split"] == "train"
            for image_id in images_of(row)
        }
        for ref in pairs
    }


def _sets(store: Store, plan: Plan, behind: dict[str, ArtifactRef | None]) -> Iterator[SetSeen]:
    counts: Counter[tuple[str, bool]] = Counter()
    for ref in behind.values():
        if ref is not None and ref.kind in _OF_IMAGES - {"imagery"}:
            counts[ref.city, ref.kind == "labelled"] += store.manifest(ref).rows or 0
    for (name, labelled), images in sorted(counts.items()):
        entry = plan.datasets.get(name)
        kind = entry.kind if entry is not None else "labels of the city"
        yield SetSeen(name, str(kind), images, labelled)


def _scores(store: Store, ref: ArtifactRef, of: str) -> Iterator[SegmenterScore]:
    for one in store.artifacts("evaluation"):
        manifest = store.manifest(one)
        inputs = manifest.inputs
        if not isinstance(inputs, dict) or inputs.get("segmenter") != ref.digest:
            continue
        found = read_evaluation(store, one)
        yield SegmenterScore(
            place=one.city,
            split=str(manifest.parameters.get("split", "test")),
            protocol=found.protocol,
            miou=found.miou,
            per_class={
                name: None if value != value else value  # noqa: PLR0124 - NaN
                for name, value in found.per_class.items()
            },
            not_in_truth=found.not_in_truth,
            images=found.images,
            of=of,
            artifact=one.uri,
        )
