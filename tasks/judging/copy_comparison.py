"""What any two segmenters show on images of a transfer's target and copies of them, unjudged."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from adapters.store import ArtifactRef, Draft, Store
from tasks.judging.copies_seen import FIRST_LOOK, copies_parameters, look_at_copies
from tasks.judging.pairs_seen import signals_as_json
from tasks.judging.set_differences import shown_images
from tasks.judging.transfer_safeguard import JUDGEMENT_VERSION
from tasks.steps.artifact_task import Made, artifact_task
from tasks.steps.identity import Identity, Words, make
from tasks.steps.plan import Plan

COPY_COMPARISON_VERSION: Final = f"1-{JUDGEMENT_VERSION}"


@artifact_task("compare on copies", run_name="compare two segmenters on copies, {transfer}")
def compare_on_copies(
    first: ArtifactRef,
    second: ArtifactRef,
    images: Sequence[ArtifactRef],
    transfer: str,
    plan: Plan,
) -> Made:
    """Agreement of each of two segmenters on images and copies of them: there are no pairs.

    It is not a judgement: nothing that promotes reads it.

    Args:
        first: The first segmenter.
        second: The second.
        images: `unlabelled` or `labelled` shards of the target; no label is read.
        transfer: Of the catalog.
        plan: The run's plan.
    """
    stage = f"compare on copies of {transfer}"

    def write(draft: Draft, _key: str) -> None:
        seen = look_at_copies(draft, (first, second), images, transfer, plan, stage=stage)
        looks = {look: signals_as_json(each) for look, each in seen.signals.items()}
        draft.summary = {"signals": looks[FIRST_LOOK], "looks": looks, "failed": seen.failed}

    identity = copy_comparison_identity(first, second, images, transfer, plan)
    return make(plan.open_store(), identity, write)


def copy_comparison_identity(
    first: ArtifactRef,
    second: ArtifactRef,
    images: Sequence[ArtifactRef],
    transfer: str,
    plan: Plan,
) -> Identity:
    """What decides a comparison on copies; arguments as of `compare_on_copies`."""
    return Identity(
        "pair_comparison",
        transfer,
        inputs={"first": first, "second": second, **shown_images(images)},
        parameters=copies_parameters(plan, transfer),
        version=COPY_COMPARISON_VERSION,
        words=Words(
            what=f"the comparison of two segmenters on copies of images of {transfer} was",
            absent=f"no two segmenters have been compared on copies of images of {transfer} yet",
            verb=f"crosscity compare {first.key[:12]} {second.key[:12]} --on {transfer}",
        ),
    )


def read_looks(store: Store, ref: ArtifactRef) -> dict[str, dict[str, Any]]:
    """The signals of a comparison on copies, by copy; `before` is of the first segmenter."""
    found: Any = store.manifest(ref).summary["looks"]
    return dict(found)
