"""The paper's tables and figures, from what the catalog has."""

from __future__ import annotations

from collections.abc import Sequence

from prefect import flow, unmapped

from adapters.store import ArtifactRef
from flows.adapt_city import adapt_city
from flows.adapt_transfer import adapt_transfer
from flows.evaluate_city import evaluate_city
from flows.extract_priors import extract_priors
from flows.harvest_city import harvest_city
from flows.pretrain_segmenter import pretrain_segmenter
from flows.runner import one_part_at_a_time
from tasks.judging.evaluation import evaluate, evaluate_folds, segmenter_of_arm
from tasks.judging.label_statistics import count_labels
from tasks.pages.feature_maps import draw_features
from tasks.pages.paper_tables import (
    TABLE_3_ARMS,
    Figures,
    check_wanted,
    labelled_cities,
    panels_of,
    source_test_split,
    sources_of,
    write_paper_tables,
)
from tasks.priors.extraction import harvested
from tasks.steps.workspace import DEFAULT_CATALOG, open_workspace
from tasks.training.labelled import labelled_part, labelled_parts
from tasks.training.trainings import fine_tune, segmenter_of, source_of
from tasks.training.transfers import sets_of

CITY_ARMS = ("pretrained", "ga", "ga_ca", "full")


@flow(name="paper-tables", flow_run_name="paper-tables", task_runner=one_part_at_a_time())
def paper_tables(
    cities: Sequence[str] | None = None,
    transfers: Sequence[str] | None = None,
    seeds: Sequence[int] = (0, 1, 2),
    folds: int = 10,
    catalog: str = DEFAULT_CATALOG,
) -> ArtifactRef:
    """Tables 1 to 3, label statistics, t-SNE of features and panels, beside the paper's numbers.

    Args:
        cities: Cities of the catalog with labels; default: all of them.
        transfers: Transfers of the catalog; default: all of them.
        seeds: Of the trainings; numbers are mean ± standard deviation over them.
        folds: Of the fine-tuned arm of the cities: each is trained on the test images but its own.
        catalog: Path of the catalog.

    Returns:
        The `paper_tables` artifact.
    """
    chosen = labelled_cities(catalog) if cities is None else list(cities)
    wanted = list(open_workspace(catalog).catalog.transfers) if transfers is None else transfers
    check_wanted(chosen, wanted, catalog)
    at_home = _at_home(chosen, seeds, catalog)
    evaluations: dict[str, dict[str, list[ArtifactRef]]] = {}
    figures: dict[str, Figures] = {}
    for city in chosen:
        harvest_city(city=city, catalog=catalog)
        extract_priors(city=city, catalog=catalog)
        evaluations[city] = _city_arms(city, seeds, folds, catalog)
        figures[city] = _city_figures(city, seeds[0], catalog)
    for transfer in wanted:
        evaluations[transfer] = {
            arm: [
                adapt_transfer(transfer=transfer, arm=arm, seed=seed, catalog=catalog)
                for seed in seeds
            ]
            for arm in TABLE_3_ARMS
        }
        figures[transfer] = _transfer_figures(transfer, seeds[0], catalog)
    return write_paper_tables(at_home, evaluations, figures, list(seeds), folds, catalog)


def _at_home(
    cities: Sequence[str], seeds: Sequence[int], catalog: str
) -> dict[str, list[ArtifactRef]]:
    """Table 1: by segmenter, its evaluations on its source's test images, one a seed."""
    found: dict[str, list[ArtifactRef]] = {}
    for segmenter, source in sources_of(cities, catalog).items():
        split = source_test_split(source, catalog)
        if split is not None:
            tested = _labelled(source, split, None, catalog)
            found[segmenter] = []
            for seed in seeds:
                trained = pretrain_segmenter(segmenter=segmenter, seed=seed, catalog=catalog)
                scored = evaluate(trained, tested, "pretrained", seed, source, catalog)
                found[segmenter].append(scored)
    return found


def _city_arms(
    city: str, seeds: Sequence[int], folds: int, catalog: str
) -> dict[str, list[ArtifactRef]]:
    """Table 2: the evaluations of every arm, one a seed."""
    _, pairs = harvested(city, catalog)
    tested = _labelled(city, "test", pairs, catalog)
    found: dict[str, list[ArtifactRef]] = {arm: [] for arm in (*CITY_ARMS, "fine_tuned")}
    for seed in seeds:
        for arm in CITY_ARMS:
            if arm != "pretrained":
                adapt_city(city=city, arm=arm, seed=seed, catalog=catalog)
            scored = evaluate_city(city=city, arm=arm, seed=seed, catalog=catalog)
            found[arm].append(scored)
        before = segmenter_of_arm(city, "pretrained", seed, catalog)
        tuned = [
            fine_tune(before, tested, seed, city, catalog, fold=(fold, folds))
            for fold in range(folds)
        ]
        scored = evaluate_folds(tuned, tested, "fine_tuned_folds", seed, city, catalog, folds)
        found["fine_tuned"].append(scored)
    return found


def _city_figures(city: str, seed: int, catalog: str) -> Figures:
    _, pairs = harvested(city, catalog)
    tested = _labelled(city, "test", pairs, catalog)
    source = source_of(segmenter_of(city, catalog), catalog)
    segmenters = {arm: segmenter_of_arm(city, arm, seed, catalog) for arm in CITY_ARMS}
    trained_on = _labelled(source, "train", None, catalog)
    return Figures(
        labels=count_labels(tested, city, catalog),
        features=draw_features(segmenters, trained_on, tested, seed, city, catalog),
        panels=panels_of(city, ("full",), seed, catalog),
    )


def _transfer_figures(transfer: str, seed: int, catalog: str) -> Figures:
    sets = sets_of(transfer, catalog)
    tested = _labelled(sets.target, sets.test_split, None, catalog)
    trained_on = _labelled(source_of(sets.segmenter, catalog), "train", None, catalog)
    arms = ("pretrained", "ga", "ga_ca")
    segmenters = {arm: segmenter_of_arm(transfer, arm, seed, catalog) for arm in arms}
    return Figures(
        labels=count_labels(tested, transfer, catalog),
        features=draw_features(segmenters, trained_on, tested, seed, transfer, catalog),
        panels=panels_of(transfer, ("ga_ca",), seed, catalog),
    )


def _labelled(owner: str, split: str, pairs: ArtifactRef | None, catalog: str) -> list[ArtifactRef]:
    parts: list[ArtifactRef] = labelled_part.map(
        unmapped(owner),
        unmapped(split),
        unmapped(pairs),
        labelled_parts(owner, split, pairs, catalog),
        unmapped(catalog),
    ).result()
    return parts
