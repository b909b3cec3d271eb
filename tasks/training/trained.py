"""Finding the trained segmenters that are of what the catalog says now."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property

from adapters.store import ArtifactRef
from tasks.harvesting.current import Harvest, current_harvest
from tasks.priors.identities import extracted
from tasks.steps.artifact_task import digests
from tasks.steps.identity import required
from tasks.steps.plan import Plan
from tasks.training.arms import START, is_fine_tuned, is_trained, needs_of_arm
from tasks.training.extras import Extras, labels_of
from tasks.training.flag_rates import rates_identity
from tasks.training.identities import (
    adaptation_inputs,
    adaptation_verb,
    adapted_identity,
    choice_identity,
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
        absent = no_segmenter(START, self.owner)
        return self.pretrained(segmenter_of(self.owner, self.plan), absent)

    def pretrained(self, name: str, absent: str) -> ArtifactRef:
        """A segmenter of the catalog before any adaptation.

        Args:
            name: Its name.
            absent: That there is none, for the sentence.

        Raises:
            InputError: It is not there; the sentence says why, and what to run.
        """
        plan = self.plan
        starting = starting_segmenter(plan, name, self.seed)
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
        needs_of_arm(arm, self.plan)
        if not is_trained(arm):
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
            if is_fine_tuned(arm):
                parts = self.labelled(sets.target, sets.target_split, said)
                return {"segmenter": start, **digests(parts)}
            target = find_unlabelled(sets.target, sets.target_split, plan, said)
            extras = self._extras(arm, said)
            return transfer_inputs(start, self._source(arm, said), target, extras)
        pairs = self.harvest.pairs
        if is_fine_tuned(arm):
            parts = self.labelled(self.owner, "train", said)
            return {"segmenter": start, **digests(parts)}
        masks = self.static_prior if needs_of_arm(arm, plan).prior else None
        source = self._source(arm, said)
        extras = self._extras(arm, said)
        return adaptation_inputs(start, source, self.harvest.imagery, pairs, masks, extras)

    def _extras(self, arm: str, said: Missing) -> Extras:
        """Labels of a few places and a teacher, where a recipe reads them."""
        needs, plan = needs_of_arm(arm, self.plan), self.plan
        teacher = None if needs.teacher is None else self.pretrained(needs.teacher, said.absent)
        rates = None if needs.rates_of is None else self._rates(needs.rates_of, said)
        if needs.labels is None:
            return Extras(teacher=teacher, rates=rates)
        owner, split = labels_of(needs.labels, self.owner, plan)
        parts = self.labelled(owner, split, said)
        choice = None
        if needs.labels.chosen == "suggested":
            imagery, pairs = self.harvest.imagery, self.harvest.pairs
            made = (self.start, parts, imagery, pairs, teacher, arm, self.owner, plan)
            choice = required(plan.open_store(), choice_identity(*made))
        return Extras(tuple(parts), choice, teacher, rates)

    def _rates(self, city: str, said: Missing) -> ArtifactRef:
        """How often the prior of a labelled city flags each class."""
        harvest, plan = current_harvest(city, self.plan), self.plan
        masks = extracted(harvest.pairs, city, plan)
        parts = find_labelled(city, "train", harvest.pairs, plan, said)
        identity = rates_identity(masks, parts, city)
        return required(plan.open_store(), identity)

    def labelled(self, owner: str, split: str, said: Missing) -> list[ArtifactRef]:
        """The labelled shards of a data set, or of this city; see `find_labelled`."""
        if (owner, split) not in self._labelled:
            pairs = self.harvest.pairs if owner in self.plan.cities else None
            found = find_labelled(owner, split, pairs, self.plan, said)
            self._labelled[owner, split] = found
        return self._labelled[owner, split]

    def _source(self, arm: str, said: Missing) -> list[ArtifactRef]:
        if not needs_of_arm(arm, self.plan).source:
            return []
        name = segmenter_of(self.owner, self.plan)
        return self.labelled(source_of(name, self.plan), "train", said)
