"""Confusion matrices of label maps."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from crosscity.labels import VOID


def confusion_matrix(
    labels: npt.NDArray[np.uint8], predictions: npt.NDArray[np.uint8], n_classes: int
) -> npt.NDArray[np.int64]:
    """Counts the pixels of every (true class, predicted class).

    Pixels whose label is void (255) are not counted, whatever is predicted there.

    Args:
        labels: The truth: class indices of any shape, 255 where void.
        predictions: Class indices of the same shape.
        n_classes: C.

    Returns:
        (C, C): rows are the truth, columns the predictions. Matrices of several images add up.

    Raises:
        ValueError: Different shapes, or a value that is no class.
    """
    if labels.shape != predictions.shape:
        raise ValueError(
            f"labels {labels.shape} and predictions {predictions.shape} differ in shape: "
            "predict at the size of the labels"
        )
    known = labels != VOID
    truth = labels[known].astype(np.int64)
    predicted = predictions[known].astype(np.int64)
    for name, values in (("label", truth), ("prediction", predicted)):
        if values.size and values.max() >= n_classes:
            wrong = values[values >= n_classes][0]
            raise ValueError(
                f"the {name} value {wrong} is neither void ({VOID}) nor one of the classes 0 to "
                f"{n_classes - 1}: map the {name}s to trainIds first"
            )
    counts = np.bincount(truth * n_classes + predicted, minlength=n_classes**2)
    return counts.reshape(n_classes, n_classes).astype(np.int64)
