"""From one labelled set to another, without pairs: the paper's Table 3, and any two sets."""

from __future__ import annotations

from prefect import flow, unmapped

from adapters.store import ArtifactRef
from flows.pretrain_segmenter import pretrain_segmenter
from flows.runner import one_part_at_a_time
from tasks.judging.evaluation import draw_panels, evaluate
from tasks.steps.workspace import DEFAULT_CATALOG
from tasks.training.labelled import labelled_part, labelled_parts, unlabelled_part, unlabelled_parts
from tasks.training.trainings import adapt_transfer as adapt
from tasks.training.trainings import fine_tune, source_of
from tasks.training.transfers import check_transfer_arm, sets_of


@flow(
    name="adapt-transfer",
    flow_run_name="adapt-{transfer}-{arm}",
    task_runner=one_part_at_a_time(),
)
def adapt_transfer(
    transfer: str, arm: str = "ga_ca", seed: int = 0, catalog: str = DEFAULT_CATALOG
) -> ArtifactRef:
    """Adapts a segmenter to another set's images and scores it there.

    Args:
        transfer: A transfer of the catalog.
        arm: "pretrained" (nothing is adapted), "control", "bn", "ga", "ga_ca",
            "self_training" (with predicted labels that no prior refines), or "fine_tuned", which
            trains on the target's labels as the upper bound.
        seed: Fixes the trainings.
        catalog: Path of the catalog.

    Returns:
        The `evaluation` artifact.
    """
    check_transfer_arm(arm, transfer, catalog)
    sets = sets_of(transfer, catalog)
    source = source_of(sets.segmenter, catalog)
    segmenter = before = pretrain_segmenter(segmenter=sets.segmenter, seed=seed, catalog=catalog)
    if arm == "fine_tuned":
        parts = labelled_part.map(
            unmapped(sets.target),
            unmapped(sets.target_split),
            unmapped(None),
            labelled_parts(sets.target, sets.target_split, None, catalog),
            unmapped(catalog),
        ).result()
        segmenter = fine_tune(before, parts, seed, transfer, catalog)
    elif arm != "pretrained":
        labelled = labelled_part.map(
            unmapped(source),
            unmapped("train"),
            unmapped(None),
            labelled_parts(source, "train", None, catalog),
            unmapped(catalog),
        ).result()
        images = unlabelled_part.map(
            unmapped(sets.target),
            unmapped(sets.target_split),
            unlabelled_parts(sets.target, sets.target_split, catalog),
            unmapped(catalog),
        ).result()
        segmenter = adapt(before, labelled, images, arm, seed, transfer, catalog)
    tested = labelled_part.map(
        unmapped(sets.target),
        unmapped(sets.test_split),
        unmapped(None),
        labelled_parts(sets.target, sets.test_split, None, catalog),
        unmapped(catalog),
    ).result()
    if arm != "pretrained":
        draw_panels(before, segmenter, tested, arm, seed, transfer, catalog)
    return evaluate(segmenter, tested, arm, seed, transfer, catalog)
