"""The arms that are compared: rows of the paper's Table 2, and the two cheap baselines."""

from __future__ import annotations

from typing import Final

from tasks.steps.errors import InputError
from tasks.steps.plan import Plan

ARM_NAMES: Final = {
    "pretrained": "Pre-trained",
    "control": "Source training continued",
    "bn": "Batch-norm statistics",
    "ga": "GA",
    "ga_ca": "GA+CA",
    "full": "Full method",
    "self_training": "Full + self-training",
    "source_free": "Source-free",
    "fine_tuned": "Fine-tuned",
}
"""Every arm, in the order of a table, under the name that people read."""

DEMO_ARMS: Final = ("pretrained", "ga", "ga_ca", "full", "self_training", "fine_tuned")
"""What the demo compares: Table 2, and what goes beyond it."""

UNLABELLED_ARMS: Final = tuple(arm for arm in ARM_NAMES if arm != "fine_tuned")
"""Arms that saw no label of the target city."""

SOURCELESS_ARMS: Final = ("pretrained", "source_free", "fine_tuned")
"""Arms that read no image of the source set."""

ADAPTED_ARMS: Final = tuple(arm for arm in ARM_NAMES if arm != "pretrained")
"""What `adapt-city` can run."""


def check_arm(arm: str) -> None:
    """Fails before any work; `InputError` tells the arms that `adapt-city` can run."""
    if arm not in ADAPTED_ARMS:
        raise InputError(f"there is no arm {arm!r} to adapt by; arms are {', '.join(ADAPTED_ARMS)}")


def check_source(arm: str, segmenter: str, plan: Plan) -> None:
    """Fails before any work where an arm trains on a source set that the segmenter has not."""
    if arm not in SOURCELESS_ARMS and plan.segmenter(segmenter).source is None:
        raise InputError(
            f"segmenters.{segmenter} has no source, and the arm {arm!r} trains on its images: "
            "adapt by --arm source_free, or name the source set in the catalog"
        )
