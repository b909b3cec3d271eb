"""Confusion matrices of label maps."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from crosscity.labels import VOID


class ConfusionMatrix:
    """Counts the pixels of every (true class, predicted class), on the device of the predictions.

    Nothing but the C×C counts ever leaves the device, and nothing waits for it before `counts`.

    Args:
        n_classes: C.
        device: Where the labels and predictions are.
    """

    def __init__(self, n_classes: int, device: torch.device | str = "cpu") -> None:
        self._n_classes = n_classes
        # One row and one column more, for values that are not a class: an error when the counts
        # are asked for.
        self._counts = torch.zeros((n_classes + 1) ** 2, dtype=torch.int64, device=device)

    def add(self, labels: Tensor, predictions: Tensor) -> None:
        """Adds the pixels of label maps; those whose label is void (255) are not counted.

        Args:
            labels: The truth: integer class indices of any shape, 255 where void.
            predictions: Integer class indices of the same shape, on the matrix's device.

        Raises:
            ValueError: Different shapes, or values that are no whole numbers.
        """
        if labels.shape != predictions.shape:
            raise ValueError(
                f"labels {tuple(labels.shape)} and predictions {tuple(predictions.shape)} differ "
                "in shape: predict at the size of the labels"
            )
        truth, predicted = _whole(labels, "labels"), _whole(predictions, "predictions")
        side = self._n_classes + 1
        pairs = (self._places(truth) * side + self._places(predicted))[truth != VOID]
        self._counts += torch.bincount(pairs, minlength=side**2)

    def _places(self, values: Tensor) -> Tensor:
        """Rows or columns of values; of those that are not a class the last, also below 0."""
        is_class = (values >= 0) & (values < self._n_classes)
        return torch.where(is_class, values, self._n_classes)

    def counts(self) -> npt.NDArray[np.int64]:
        """(C, C): rows are the truth, columns the predictions.

        Raises:
            ValueError: A label or prediction was not a class.
        """
        side = self._n_classes + 1
        counts: npt.NDArray[np.int64] = self._counts.reshape(side, side).cpu().numpy()
        for name, wrong in (("label", counts[-1].sum()), ("prediction", counts[:, -1].sum())):
            if wrong:
                raise ValueError(
                    f"{wrong} {name}s are neither void ({VOID}) nor one of the classes 0 to "
                    f"{self._n_classes - 1}: map the {name}s to trainIds first"
                )
        return counts[:-1, :-1].copy()


def confusion_matrix(
    labels: npt.NDArray[np.uint8], predictions: npt.NDArray[np.uint8], n_classes: int
) -> npt.NDArray[np.int64]:
    """Counts the pixels of every (true class, predicted class) of arrays.

    Pixels whose label is void (255) are not counted, whatever is predicted there.

    Args:
        labels: The truth: class indices of any shape, 255 where void.
        predictions: Class indices of the same shape.
        n_classes: C.

    Returns:
        (C, C): rows are the truth, columns the predictions. Matrices of several images add up.

    Raises:
        ValueError: Different shapes, no whole numbers, or a value that is not a class.
    """
    if labels.shape != predictions.shape:
        raise ValueError(
            f"labels {labels.shape} and predictions {predictions.shape} differ in shape: "
            "predict at the size of the labels"
        )
    known = labels != VOID
    for name, values in (("label", labels[known]), ("prediction", predictions[known])):
        if values.dtype.kind not in "iub":
            raise ValueError(f"{name}s are whole numbers, not {values.dtype}")
        if values.size and not (values.min() >= 0 and values.max() < n_classes):
            wrong = values[(values < 0) | (values >= n_classes)][0]
            raise ValueError(
                f"the {name} value {wrong} is neither void ({VOID}) nor one of the classes 0 to "
                f"{n_classes - 1}: map the {name}s to trainIds first"
            )
    matrix = ConfusionMatrix(n_classes)
    matrix.add(
        torch.from_numpy(np.ascontiguousarray(labels)),
        torch.from_numpy(np.ascontiguousarray(predictions)),
    )
    return matrix.counts()


def _whole(values: Tensor, name: str) -> Tensor:
    """The values as int64, in which 255 is no -1 of a narrower type."""
    if values.is_floating_point() or values.is_complex():
        raise ValueError(
            f"{name} are whole numbers, not {str(values.dtype).removeprefix('torch.')}"
        )
    return values.long()
