"""How a city, a data set or a transfer is scored: the protocol, the split and the sizes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from crosscity.evaluation import PROTOCOLS, ScoringProtocol
from tasks.steps.errors import InputError
from tasks.steps.plan import Plan
from tasks.training.at_home import protocol_named, protocol_of_transfer
from tasks.training.identities import network_size


@dataclass(frozen=True)
class Rules:
    """How a city, a data set or a transfer is scored.

    Attributes:
        protocol: What each class counts as.
        split: What is scored on; ``None``: nothing is, and classes count so all the same.
        label_size: (height, width) that labels are scored at; ``None``: their own.
        image_size: (height, width) at which images go through the network; ``None``: what each
            network was trained at, else their own.
    """

    protocol: ScoringProtocol
    label_size: tuple[int, int] | None
    image_size: tuple[int, int] | None
    split: str | None = "test"

    def parameters(self) -> dict[str, Any]:
        """What of it an evaluation depends on; JSON-able."""
        sizes = {"label_size": self.label_size, "image_size": self.image_size}
        given = {name: list(size) for name, size in sizes.items() if size is not None}
        return {**protocol_parameters(self.protocol), "split": self.split, **given}


def protocol_parameters(protocol: ScoringProtocol) -> dict[str, Any]:
    """What an artifact depends on that counts classes by a protocol; JSON-able."""
    if protocol in PROTOCOLS.values():
        return {"protocol": protocol.name}
    return {
        "protocol": protocol.name,
        "protocol_classes": list(protocol.classes),
        "protocol_truth": dict(protocol.truth),
        "protocol_prediction": dict(protocol.prediction),
    }


def rules_of(plan: Plan, owner: str) -> Rules:
    """The scoring rules of a city or a transfer; a data set is scored as the cities are."""
    if owner in plan.transfers:
        transfer = plan.transfer(owner)
        size = network_size(plan, owner)
        protocol = protocol_named(plan, protocol_of_transfer(plan, transfer))
        return Rules(protocol, transfer.evaluation_size, size, plan.scored_split(owner))
    if owner in plan.datasets:
        # As in the cities that its segmenter is compared with.
        split = plan.dataset(owner).scored_split or "test"
        return Rules(PROTOCOLS["score13"], None, None, split)
    labels = plan.city(owner).labels
    if labels is None:
        raise InputError(f"cities.{owner} has no labels in the catalog, so it cannot be scored")
    size = network_size(plan, owner)
    return Rules(protocol_named(plan, labels.protocol), labels.evaluation_size, size)
