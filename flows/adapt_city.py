"""Adapt the pre-trained segmenter to a city, without a single label of it."""

from __future__ import annotations

from prefect import flow, unmapped

from adapters.store import ArtifactRef
from crosscity.adaptation import ARMS_WITH_PRIOR
from flows.pretrain_segmenter import pretrain_segmenter
from flows.runner import one_part_at_a_time
from tasks.priors.extraction import extracted, harvested
from tasks.steps.workspace import DEFAULT_CATALOG
from tasks.training.arms import check_arm
from tasks.training.labelled import labelled_part, labelled_parts
from tasks.training.trainings import adapt, check_fine_tuning, fine_tune, segmenter_of, source_of


@flow(name="adapt-city", flow_run_name="adapt-{city}-{arm}", task_runner=one_part_at_a_time())
def adapt_city(
    city: str, arm: str = "full", seed: int = 0, catalog: str = DEFAULT_CATALOG
) -> ArtifactRef:
    """Adapts to the pairs of the last harvest and, where the arm uses them, their static priors.

    Args:
        city: A city of the catalog that was harvested.
        arm: "control", "bn", "ga", "ga_ca", "full" or "self_training"; "fine_tuned" trains on
            labels of the city instead, where the catalog has them, as the upper bound.
        seed: Fixes discriminators, order of images and dropout.
        catalog: Path of the catalog.

    Returns:
        The `adaptation` artifact, which holds the adapted segmenter.
    """
    check_arm(arm)
    if arm == "fine_tuned":
        check_fine_tuning(city, catalog)
    imagery, pairs = harvested(city, catalog)
    priors = extracted(pairs, city, catalog) if arm in ARMS_WITH_PRIOR else None
    name = segmenter_of(city, catalog)
    owner, of_pairs = (city, pairs) if arm == "fine_tuned" else (source_of(name, catalog), None)
    parts = labelled_parts(owner, "train", of_pairs, catalog)
    segmenter = pretrain_segmenter(segmenter=name, seed=seed, catalog=catalog)
    labelled = labelled_part.map(
        unmapped(owner),
        unmapped("train"),
        unmapped(of_pairs),
        parts,
        unmapped(catalog),
    ).result()
    if arm == "fine_tuned":
        return fine_tune(segmenter, labelled, seed, city, catalog)
    return adapt(segmenter, labelled, imagery, pairs, priors, arm, seed, city, catalog)
