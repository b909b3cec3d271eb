"""What a transfer of the catalog names."""

from __future__ import annotations

from typing import Final

from tasks.steps.errors import InputError
from tasks.steps.plan import Plan
from tasks.training.arms import check_source

TRANSFER_ARMS: Final = (
    "pretrained",
    "control",
    "bn",
    "ga",
    "ga_ca",
    "self_training",
    "source_free",
    "fine_tuned",
)
"""Every arm but `full`: the static prior needs pairs of images. Self-training takes the predicted
labels as they are."""


def check_transfer_arm(arm: str, transfer: str, plan: Plan) -> None:
    """Fails before any work where the transfer or the arm is not there."""
    sets = plan.transfer(transfer)
    if arm == "full":
        raise InputError(
            f"transfers.{transfer} has no pairs of images and so no static prior: the arm {arm!r} "
            "is for cities"
        )
    if arm not in TRANSFER_ARMS:
        raise InputError(f"there is no arm {arm!r}; arms are {', '.join(TRANSFER_ARMS)}")
    check_source(arm, sets.segmenter, plan)
