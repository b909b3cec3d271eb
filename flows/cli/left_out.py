"""Tells which pictures of a set of one's own are not read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flows.cli.outcome import note
from tasks.steps.counted import counted

if TYPE_CHECKING:
    from tasks.steps.plan import Plan

_NAMED = 3


def tell_left_out(plan: Plan, dataset: str) -> None:
    """Notes on pictures of types that are not read, and folders that do not admit this user.

    Raises:
        DatasetError: The set is not there, or holds no picture.
    """
    from adapters.datasets.image_folder import ImageFolder  # noqa: PLC0415 - as below
    from adapters.file_names import as_text  # noqa: PLC0415
    from tasks.training.labelled import labelled_set  # noqa: PLC0415 - compiled code loads late

    source = labelled_set(plan, dataset, None)
    if not isinstance(source, ImageFolder):
        return
    if source.left_out:
        types = ", ".join(sorted({each.suffix.lower() for each in source.left_out}))
        pictures = counted(len(source.left_out), "picture")
        is_left = "is" if len(source.left_out) == 1 else "are"
        note(
            f"note: {pictures} of {dataset} {is_left} left out, as {types} is not read: make "
            "them JPEG or PNG"
        )
    if source.unreadable:
        some = ", ".join(as_text(str(one)) for one in source.unreadable[:_NAMED])
        note(
            f"note: what is in {some} is left out: {counted(len(source.unreadable), 'folder')} of "
            f"{dataset} cannot be read"
        )
