"""Finding the trained segmenters that are of what the catalog says now."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property

from adapters.store import ArtifactRef
from crosscity.adaptation import ARMS_WITH_PRIOR
from tasks.harvesting.current import Harvest, current_harvest
from tasks.priors.identities import extracted
from tasks.steps.artifact_task import digests
from tasks.steps.errors import InputError
from tasks.steps.identity import required
from tasks.steps.plan import Plan
from tasks.training.arms import ARM_NAMES, SOURCELESS_ARMS
from tasks.training.identities import (
    adaptation_inputs,
    adaptation_verb,
    adapted_identity,
    looks_at_home,
    no_segmenter,
    pretrained_identity,
    pretraining_verb,
    segmenter_of,
    source_of,
    transfer_inputs,
)
from tasks.training.labelled import Missing, find_labelled, find_unlabelled, home_split
from tasks.training.segmenters import starting_segmenter


class TrainedSegmenters:
    """The segmenters of a city or transfer, each found by the key that making it would give.

    What several of them are made of is looked for once.

    Args:
        owner: A city or transfer of the catalog.
        seed: Of the trainings.
        plan: Of the catalog.
    """

    def __init__(self, owner: str, seed: int, plan: Plan) -> None:
        self.owner, self.seed, self.plan = owner, seed, plan
        self._labelled: dict[tuple[str, str], list[ArtifactRef]] = {}

    owner: str
    seed: int
    plan: Plan

    @cached_property
    def harvest(self) -> Harvest:
        """The city's harvest; `InputError` where there is none, or it is stale."""
        return current_harvest(self.owner, self.plan)

    @cached_property
    def static_prior(self) -> ArtifactRef:
        """The city's priors; `InputError` where there are none, or they are stale."""
        return extracted(self.harvest.pairs, self.owner, self.plan)

    @cached_property
    def start(self) -> ArtifactRef:
        """The segmenter that adaptations begin with.

        Raises:
            InputError: It is not there; the sentence says why, and what to run.
        """
        name, plan = segmenter_of(self.owner, self.plan), self.plan
        starting = starting_segmenter(plan, name, self.seed)
        absent = no_segmenter("pretrained", self.owner)
        said = Missing(absent, pretraining_verb(name, self.seed))
        parts, home = [], []
        if not starting.is_trained:
            source = source_of(name, plan)
            parts = self.labelled(source, "train", said)
            split = home_split(source, plan) if looks_at_home(name, plan) else None
            home = [] if split is None else self.labelled(source, split, said)
        identity = pretrained_identity(starting, parts, home, name, self.seed, plan)
        words = replace(identity.words, absent=absent)
        return required(plan.open_store(), replace(identity, words=words))

    def of_arm(self, arm: str) -> ArtifactRef:
        """The segmenter that an arm left.

        Raises:
            InputError: It is not there; the sentence says why, and what to run.
        """
        if arm not in ARM_NAMES:
            raise InputError(f"there is no arm {arm!r}; arms are {', '.join(ARM_NAMES)}")
        if arm == "pretrained":
            return self.start
        inputs = self._inputs(arm)
        identity = adapted_identity(inputs, arm, self.seed, self.owner, self.plan)
        return required(self.plan.open_store(), identity)

    def _inputs(self, arm: str) -> Mapping[str, ArtifactRef]:
        """What an arm is made of, by role; looked for in the order in which it is made."""
        start, plan = self.start, self.plan
        verb = adaptation_verb(self.owner, arm, self.seed, plan)
        said = Missing(no_segmenter(arm, self.owner), verb)
        if self.owner in plan.transfers:
            sets = plan.transfer(self.owner)
            if arm == "fine_tuned":
                parts = self.labelled(sets.target, sets.target_split, said)
                return {"segmenter": start, **digests(parts)}
            target = find_unlabelled(sets.target, sets.target_split, plan, said)
            return transfer_inputs(start, self._source(arm, said), target)
        pairs = self.harvest.pairs
        if arm == "fine_tuned":
            parts = self.labelled(self.owner, "train", said)
            return {"segmenter": start, **digests(parts)}
        masks = self.static_prior if arm in ARMS_WITH_PRIOR else None
        source = self._source(arm, said)
        return adaptation_inputs(start, source, self.harvest.imagery, pairs, masks)

    def labelled(self, owner: str, split: str, said: Missing) -> list[ArtifactRef]:
        """The labelled shards of a data set, or of this city; see `find_labelled`."""
        if (owner, split) not in self._labelled:
            pairs = self.harvest.pairs if owner in self.plan.cities else None
            found = find_labelled(owner, split, pairs, self.plan, said)
            self._labelled[owner, split] = found
        return self._labelled[owner, split]

    def _source(self, arm: str, said: Missing) -> list[ArtifactRef]:
        if arm in SOURCELESS_ARMS:
            return []
        name = segmenter_of(self.owner, self.plan)
        return self.labelled(source_of(name, self.plan), "train", said)
