"""Labels that are taken for Cityscapes labelIds, and are trainIds by all that is seen of them."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from adapters.datasets.base import LabelledDataset
from adapters.datasets.files import FileDataset
from crosscity.labels import CLASSES, VOID

_TRAIN_IDS_AS_LABEL_IDS: Final = frozenset(
    each.train_id for each in CLASSES if each.label_id < len(CLASSES)
)
"""What trainIds (0 to 18) become where they are taken for labelIds."""


def remark_on_ids(source: LabelledDataset, train_ids: Collection[int]) -> str:
    """What is to be said where streets have nothing but what trainIds are as labelIds.

    Args:
        source: The set.
        train_ids: What some of its labels became.

    Returns:
        A sentence without capital and full stop; empty where there is nothing to say.
    """
    seen = set(train_ids) - {VOID}
    if not isinstance(source, FileDataset) or not source.reads_label_ids:
        return ""
    if not seen or not seen <= _TRAIN_IDS_AS_LABEL_IDS:
        return ""
    names = ", ".join(each.name for each in CLASSES if each.train_id in seen)
    return (
        f"as labelIds, all that was examined is {names} or void, nothing is sky, vegetation or a "
        "car: if the files hold trainIds, say labelTrainIds, or make labelIds of them"
    )
