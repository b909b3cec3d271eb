"""What recipes read beside source and target, made or found: a few labels, and a teacher."""

from __future__ import annotations

from adapters.store import ArtifactRef
from flows.labelled import labelled_shards
from flows.pretrain_segmenter import pretrain_by
from tasks.harvesting.current import Harvest, current_harvest
from tasks.judging.label_choice import choose_places
from tasks.priors.identities import extracted
from tasks.steps.plan import Plan
from tasks.training.arms import is_fine_tuned, needs_of_arm
from tasks.training.extras import Extras, labels_of
from tasks.training.flag_rates import measure_rates
from tasks.training.labelled import check_apart, labelled_parts


def check_extras(plan: Plan, owner: str, arm: str, harvest: Harvest | None = None) -> None:
    """Fails before the long work, not after, where extras of an arm are made of what is not there.

    Raises:
        InputError: A split has no labels, or some that are scored on too, or a city has no harvest
            or no priors.
        DatasetError: A set is not there, or has no such split.
    """
    needs = needs_of_arm(arm, plan)
    if needs.rates_of is not None:
        other = current_harvest(needs.rates_of, plan)
        extracted(other.pairs, needs.rates_of, plan)
        labelled_parts(needs.rates_of, "train", other.pairs, plan)
    if needs.labels is not None:
        whose, split = labels_of(needs.labels, owner, plan)
        labelled_parts(whose, split, _pairs_of(whose, harvest, plan), plan)
        if needs.labels.dataset is not None or owner in plan.transfers:
            _check_apart_of(owner, (whose, split), plan)
    elif is_fine_tuned(arm) and owner in plan.transfers:
        sets = plan.transfer(owner)
        _check_apart_of(owner, (sets.target, sets.target_split), plan)


def _check_apart_of(owner: str, learned: tuple[str, str], plan: Plan) -> None:
    """Fails where what an arm learns from is scored on too; of one split, others have said so."""
    scored = _scored_on(owner, plan)
    if scored is not None and scored != learned:
        check_apart(learned, scored, plan)


def extras_by(
    plan: Plan,
    owner: str,
    arm: str,
    seed: int,
    start: ArtifactRef,
    harvest: Harvest | None = None,
) -> Extras:
    """The extras of an arm; none where it does not read any."""
    needs = needs_of_arm(arm, plan)
    teacher = None if needs.teacher is None else pretrain_by(plan, needs.teacher, seed)
    rates = None if needs.rates_of is None else rates_by(plan, needs.rates_of)
    if needs.labels is None:
        return Extras(teacher=teacher, rates=rates)
    whose, split = labels_of(needs.labels, owner, plan)
    labels = labelled_shards(plan, whose, split, _pairs_of(whose, harvest, plan))
    choice = None
    if needs.labels.chosen == "suggested" and harvest is not None:
        imagery = harvest.imagery
        choice = choose_places(start, labels, imagery, harvest.pairs, teacher, arm, owner, plan)
    return Extras(tuple(labels), choice, teacher, rates)


def _scored_on(owner: str, plan: Plan) -> tuple[str, str] | None:
    """Where what a city or transfer is scored on is in files, and its split."""
    if owner in plan.transfers:
        split = plan.scored_split(owner)
        return None if split is None else (plan.transfer(owner).target, split)
    labels = plan.city(owner).labels
    return None if labels is None or labels.kind == "simulated" else (owner, "test")


def _pairs_of(whose: str, harvest: Harvest | None, plan: Plan) -> ArtifactRef | None:
    """The pairs that say where labels of a city are; ``None`` of a data set."""
    return harvest.pairs if harvest is not None and whose in plan.cities else None


def rates_by(plan: Plan, city: str) -> ArtifactRef:
    """How often the static prior of a labelled city flags each class."""
    harvest = current_harvest(city, plan)
    masks = extracted(harvest.pairs, city, plan)
    labels = labelled_shards(plan, city, "train", harvest.pairs)
    return measure_rates(masks, labels, city, plan)
