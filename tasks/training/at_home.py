"""What a segmenter has not learned at home, which no adaptation can find again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from adapters.catalog import Transfer
from adapters.store import ArtifactRef
from crosscity.adaptation.training import OutOfMemoryError
from crosscity.evaluation import (
    PROTOCOLS,
    ScoringProtocol,
    evaluate,
    own_protocol,
    unlearned_classes,
)
from crosscity.percentages import percentage
from crosscity.segmenters import Segmenter
from tasks.steps.errors import InputError
from tasks.steps.logs import warn_user
from tasks.steps.plan import Plan
from tasks.training.jobs import Job, home_images
from tasks.training.stored_images import StoredLabelled

TRAINED_ON: Final = 64
"""Images of a source without a validation split that show whether its classes are learned."""

Unlearned = Sequence[tuple[str, float]]
"""Classes, and their share of the pixels at home, in [0, 1]."""


def unlearned(segmenter: Segmenter, job: Job) -> Unlearned:
    """Classes that are not recognised at home after a pre-training.

    Looked for on the source's validation images; where it has none, on up to 64 of the very images
    that were trained on, spread over the set.
    """
    images = home_images(job, segmenter.class_names) or _some_trained_on(job, segmenter.class_names)
    try:
        counts = evaluate(segmenter, images, job.settings.batch_size)
    except OutOfMemoryError:
        return []  # the training is done, and must not be lost for a remark
    return unlearned_classes(counts, segmenter.class_names)


def unlearned_remark(found: Unlearned) -> str:
    """A sentence on classes that a segmenter does not recognise at home."""
    names = ", ".join(f"{name} ({percentage(share, 1)}% of the pixels)" for name, share in found)
    return (
        f"hardly a pixel is recognised of {names} on the source's own images, and no adaptation "
        "learns what the segmenter does not know: train until its plateau, on larger images, or by "
        "another prediction_rule (docs/segmenters.md, Rare classes)"
    )


def unlearned_at_home(plan: Plan, segmenter: ArtifactRef, owner: str) -> Unlearned:
    """Classes that are scored in a city or transfer and that a segmenter has not learned at home.

    Args:
        plan: The run's plan.
        segmenter: A `segmenter` artifact; of weights from elsewhere nothing is known.
        owner: A city or transfer.
    """
    noted = plan.open_store().manifest(segmenter).summary.get("unlearned")
    scored = scored_classes(plan, owner)
    entries = [one for one in noted if isinstance(one, Mapping)] if isinstance(noted, list) else []
    stated = [(one.get("class"), one.get("share")) for one in entries]
    return [
        (name, float(share))
        for name, share in stated
        if isinstance(name, str) and isinstance(share, int | float) and name in scored
    ]


def warn_of_unlearned(plan: Plan, segmenter: ArtifactRef, owner: str) -> None:
    """Warns before an adaptation where scored classes are unlearned at home."""
    found = unlearned_at_home(plan, segmenter, owner)
    if found:
        warn_user(f"adapt {owner}: {unlearned_remark(found)}")


def scored_classes(plan: Plan, owner: str) -> frozenset[str]:
    """Classes of the label space that count where a city or transfer is scored."""
    if owner in plan.transfers:
        name = protocol_of_transfer(plan, plan.transfer(owner))
    else:
        labels = plan.city(owner).labels
        name = "score13" if labels is None else str(labels.protocol)
    protocol = protocol_named(plan, name)
    return frozenset(
        known for known, counted in protocol.truth.items() if counted in protocol.classes
    )


def protocol_of_transfer(plan: Plan, transfer: Transfer) -> str:
    """The protocol that a transfer names, or its target's own."""
    return transfer.protocol or plan.dataset(transfer.target).protocol


def protocol_named(plan: Plan, name: str) -> ScoringProtocol:
    """A protocol of the catalog, or one that is known to all.

    Raises:
        InputError: There is none of this name.
    """
    entry = plan.protocols.get(name)
    if entry is not None:
        return own_protocol(name, entry.scored, entry.truth, entry.prediction)
    known = {str(one.name): one for one in PROTOCOLS.values()}
    if name not in known:
        raise InputError(f"there is no protocol {name!r}; there are {', '.join(known)}")
    return known[name]


def _some_trained_on(job: Job, class_names: Sequence[str]) -> StoredLabelled:
    store = job.plan.open_store()
    count = len(StoredLabelled(store, job.source))
    chosen = sorted({place * count // TRAINED_ON for place in range(TRAINED_ON)})
    return StoredLabelled(store, job.source, chosen=chosen, class_names=class_names)
