"""IoU by class and mIoU from a confusion matrix."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from crosscity.evaluation.protocols import IGNORED, MISSED, PROTOCOLS, ProtocolName, ScoringProtocol
from crosscity.segmenters.base import ROAD_CLASS_NAMES


@dataclass(frozen=True)
class Scores:
    """The scores of one confusion matrix under one protocol.

    Attributes:
        protocol: How the classes of the label space were reduced to those scored.
        per_class: IoU by class name in [0, 1], in the protocol's order; NaN where the class occurs
            neither in truth nor in prediction.
        miou: Mean over the classes that are not NaN, in [0, 1]; NaN if there is none.
        not_in_truth: Scored classes that no pixel of the truth is of. One that is predicted all the
            same counts as 0 in `miou`, so segmenters may be averaged over different classes.
        miou_of_truth: Mean over the classes that the truth has: the same for every segmenter.
    """

    protocol: str
    per_class: dict[str, float]
    miou: float
    not_in_truth: tuple[str, ...] = ()
    miou_of_truth: float = math.nan

    @property
    def n_counted(self) -> int:
        """Over how many classes `miou` is."""
        return sum(not math.isnan(iou) for iou in self.per_class.values())


def score(
    confusion: npt.NDArray[np.int64],
    protocol: ProtocolName | ScoringProtocol,
    *,
    class_names: Sequence[str] = ROAD_CLASS_NAMES,
) -> Scores:
    """IoU = TP / (TP + FP + FN) of each scored class, and their mean.

    Args:
        confusion: (C, C) pixel counts, rows truth, columns predictions.
        protocol: Says how truth and predictions are treated: one of `PROTOCOLS` by name, or any.
        class_names: The label space of the matrix.

    Raises:
        ValueError: No such protocol, or a matrix of another size than the label space.
    """
    if isinstance(protocol, ScoringProtocol):
        rules = protocol
    elif protocol in PROTOCOLS:
        rules = PROTOCOLS[protocol]
    else:
        known = ", ".join(PROTOCOLS)
        raise ValueError(f"there is no scoring protocol {protocol!r}; there are: {known}")
    expected = (len(class_names), len(class_names))
    if confusion.shape != expected:
        raise ValueError(
            f"the confusion matrix has shape {confusion.shape}, its label space asks for {expected}"
        )
    counts, missed = scored_counts(confusion, rules, class_names)
    hits = np.diag(counts).astype(np.float64)
    union = counts.sum(0) + counts.sum(1) + missed - np.diag(counts)
    with np.errstate(invalid="ignore"):
        ious = np.where(union > 0, hits / union, np.nan)
    occurring = ious[~np.isnan(ious)]
    miou = float(occurring.mean()) if occurring.size else float("nan")
    in_truth = counts.sum(1) + missed > 0
    of_truth = float(ious[in_truth].mean()) if in_truth.any() else float("nan")
    absent = tuple(name for name, there in zip(rules.classes, in_truth, strict=True) if not there)
    per_class = dict(zip(rules.classes, ious.tolist(), strict=True))
    return Scores(rules.name, per_class, miou, absent, of_truth)


def scored_counts(
    confusion: npt.NDArray[np.int64],
    rules: ScoringProtocol,
    class_names: Sequence[str] = ROAD_CLASS_NAMES,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """What of a confusion matrix a protocol scores.

    Args:
        confusion: (C, C) pixel counts, rows truth, columns predictions.
        rules: The protocol, with S scored classes.
        class_names: The label space of the matrix, C names.

    Returns:
        (S, S) counts among the scored classes, and (S,) for each the pixels that are lost to
        predictions of no scored class.
    """
    place = {name: index for index, name in enumerate(rules.classes)}
    counts = np.zeros((len(place), len(place)), dtype=np.int64)
    missed = np.zeros(len(place), dtype=np.int64)
    for row, true_name in enumerate(class_names):
        truth = rules.truth.get(true_name, IGNORED)
        if truth == IGNORED:
            continue
        for column, predicted_name in enumerate(class_names):
            prediction = rules.prediction.get(predicted_name, MISSED)
            if prediction == MISSED:
                missed[place[truth]] += confusion[row, column]
            elif prediction != IGNORED:
                counts[place[truth], place[prediction]] += confusion[row, column]
    return counts, missed
