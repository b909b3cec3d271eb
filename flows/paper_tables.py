"""The paper's tables and figures, from what the catalog has."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from prefect import flow

from adapters.store import ArtifactRef
from flows.adapt_city import Adapted, adapt_by
from flows.adapt_transfer import Transferred, transfer_by
from flows.beginning import BEGINNING
from flows.evaluate_city import evaluate_by
from flows.extract_priors import priors_by
from flows.extras import check_extras
from flows.harvest_city import harvest_by
from flows.labelled import labelled_shards
from flows.pretrain_segmenter import pretrain_by
from flows.runner import one_part_at_a_time
from tasks.harvesting.current import Harvest
from tasks.judging.evaluated import scored_split
from tasks.judging.evaluation import evaluate, evaluate_folds
from tasks.judging.label_statistics import count_labels
from tasks.pages.feature_maps import draw_features
from tasks.pages.paper_scope import (
    check_wanted,
    each_once,
    reportable,
    source_test_split,
    sources_of,
    table_3_arms,
)
from tasks.pages.paper_tables import Figures, write_paper_tables
from tasks.steps.defaults import DEFAULT_CATALOG
from tasks.steps.plan import Plan, open_plan
from tasks.training.arms import BOUND, START, is_trained
from tasks.training.identities import segmenter_of, source_of
from tasks.training.labelled import check_tested
from tasks.training.trainings import check_folds, fine_tune
from tasks.training.transfers import check_splits

CITY_ARMS = (START, "ga", "ga_ca", "full")
PICTURED_ARM = "full"
TRANSFER_FIGURE_ARMS = (START, "ga", "ga_ca")


@dataclass(frozen=True)
class Shown:
    """What of a city or transfer is shown.

    Attributes:
        evaluations: By arm, one a seed.
        figures: What is not a score.
    """

    evaluations: dict[str, list[ArtifactRef]]
    figures: Figures


@flow(
    name="paper-tables",
    flow_run_name="paper-tables",
    task_runner=one_part_at_a_time(),
    on_running=BEGINNING,
)
def paper_tables(
    cities: Sequence[str] | None = None,
    transfers: Sequence[str] | None = None,
    seeds: Sequence[int] = (0, 1, 2),
    folds: int = 10,
    catalog: str = DEFAULT_CATALOG,
    compute: str | None = None,
) -> ArtifactRef:
    """Tables 1 to 3, label statistics, t-SNE of features and panels, beside the paper's numbers.

    Args:
        cities: Cities of the catalog with labels; default: all of them.
        transfers: Transfers of the catalog; default: all that are scored.
        seeds: Of the trainings; numbers are mean ± standard deviation over them.
        folds: Of the fine-tuned arm of the cities: each is trained on the test places but its own.
        catalog: Path of the catalog.
        compute: A compute profile of the catalog; default: the machine's.

    Returns:
        The `paper_tables` artifact.
    """
    plan = open_plan(catalog, compute)
    seeds = each_once(seeds)
    all_cities, all_transfers = reportable(plan) if None in (cities, transfers) else ([], [])
    chosen = all_cities if cities is None else list(cities)
    wanted = all_transfers if transfers is None else list(transfers)
    check_wanted(chosen, wanted, plan)
    # All of it is there, and enough of it, before hours of training begin.
    for city in chosen:
        check_tested(city, plan)
    for transfer in wanted:
        check_splits("ga", transfer, plan)
        check_extras(plan, transfer, BOUND)
    harvests = {city: harvest_by(plan, city) for city in chosen}
    tested = {city: labelled_shards(plan, city, "test", harvests[city].pairs) for city in chosen}
    check_folds(folds, tested, {city: harvests[city].pairs for city in chosen}, plan)
    at_home = _at_home(chosen, seeds, plan)
    shown = {city: _city(city, seeds, folds, harvests[city], tested[city], plan) for city in chosen}
    shown |= {transfer: _transfer(transfer, seeds, plan) for transfer in wanted}
    evaluations = {owner: one.evaluations for owner, one in shown.items()}
    figures = {owner: one.figures for owner, one in shown.items()}
    return write_paper_tables(at_home, evaluations, figures, seeds, folds, plan)


def _at_home(
    cities: Sequence[str], seeds: Sequence[int], plan: Plan
) -> dict[str, list[ArtifactRef]]:
    """Table 1: by segmenter, its evaluations on its source's test images, one a seed."""
    found: dict[str, list[ArtifactRef]] = {}
    for segmenter, source in sources_of(cities, plan).items():
        split = source_test_split(source, plan)
        if split is not None:
            tested = labelled_shards(plan, source, split)
            found[segmenter] = []
            for seed in seeds:
                trained = pretrain_by(plan, segmenter, seed)
                scored = evaluate(trained, tested, START, seed, source, plan)
                found[segmenter].append(scored)
    return found


def _city(
    city: str,
    seeds: Sequence[int],
    folds: int,
    harvest: Harvest,
    tested: Sequence[ArtifactRef],
    plan: Plan,
) -> Shown:
    """Table 2, and the figures of the first seed."""
    masks = priors_by(plan, city, harvest).masks
    found: dict[str, list[ArtifactRef]] = {arm: [] for arm in (*CITY_ARMS, BOUND)}
    segmenters: dict[str, ArtifactRef] = {}
    panels: dict[str, ArtifactRef] = {}
    for seed in seeds:
        start = pretrain_by(plan, segmenter_of(city, plan), seed)
        for arm in CITY_ARMS:
            adapted = Adapted(start, start)
            if is_trained(arm):
                adapted = adapt_by(plan, city, arm, seed, harvest, masks)
            scored = evaluate_by(plan, city, arm, seed, harvest.pairs, adapted)
            found[arm].append(scored.evaluation)
            segmenters.setdefault(arm, adapted.segmenter)
            if arm == PICTURED_ARM and scored.panels is not None:
                panels.setdefault(arm, scored.panels)
        tuned = [
            fine_tune(start, tested, seed, city, plan, (fold, folds), harvest.pairs)
            for fold in range(folds)
        ]
        in_folds = evaluate_folds(
            tuned, tested, "fine_tuned_folds", city, plan, folds, harvest.pairs
        )
        found[BOUND].append(in_folds)
    trained_on = labelled_shards(plan, source_of(segmenter_of(city, plan), plan), "train")
    figures = Figures(
        labels=count_labels(tested, city, plan),
        features=draw_features(segmenters, trained_on, tested, seeds[0], city, plan),
        panels=panels,
    )
    return Shown(found, figures)


def _transfer(transfer: str, seeds: Sequence[int], plan: Plan) -> Shown:
    """Table 3, and the figures of the first seed."""
    made: dict[str, list[Transferred]] = {
        arm: [transfer_by(plan, transfer, arm, seed) for seed in seeds]
        for arm in table_3_arms(transfer, plan)
    }
    sets = plan.transfer(transfer)
    tested = labelled_shards(plan, sets.target, scored_split(transfer, plan))
    trained_on = labelled_shards(plan, source_of(sets.segmenter, plan), "train")
    segmenters = {arm: made[arm][0].segmenter for arm in TRANSFER_FIGURE_ARMS}
    panels = made["ga_ca"][0].panels
    figures = Figures(
        labels=count_labels(tested, transfer, plan),
        features=draw_features(segmenters, trained_on, tested, seeds[0], transfer, plan),
        panels={} if panels is None else {"ga_ca": panels},
    )
    scored = {arm: [one.scored() for one in refs] for arm, refs in made.items()}
    return Shown(scored, figures)
