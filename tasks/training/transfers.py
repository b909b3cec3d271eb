"""What a transfer of the catalog names."""

from __future__ import annotations

from typing import Final

from adapters.catalog import Transfer
from tasks.steps.errors import InputError
from tasks.steps.workspace import open_workspace

TRANSFER_ARMS: Final = (
    "pretrained",
    "control",
    "bn",
    "ga",
    "ga_ca",
    "self_training",
    "fine_tuned",
)
"""Every arm but `full`: the static prior needs pairs of images. Self-training takes the predicted
labels as they are."""


def sets_of(transfer: str, catalog: str) -> Transfer:
    """The catalog's entry of a transfer; `InputError` where there is none."""
    return open_workspace(catalog).transfer(transfer)


def check_transfer_arm(arm: str, transfer: str, catalog: str) -> None:
    """Fails before any work where the transfer or the arm is not there."""
    open_workspace(catalog).transfer(transfer)
    if arm == "full":
        raise InputError(
            f"transfers.{transfer} has no pairs of images and so no static prior: the arm {arm!r} "
            "is for cities"
        )
    if arm not in TRANSFER_ARMS:
        raise InputError(f"there is no arm {arm!r}; arms are {', '.join(TRANSFER_ARMS)}")
