"""Fixed copies of a segmenter, and a teacher that follows its student."""

from __future__ import annotations

import copy

import torch

from crosscity.segmenters import Segmenter


def fixed_copy(segmenter: Segmenter) -> Segmenter:
    """A copy that predicts and does not learn: in evaluation mode, without gradients."""
    copied = copy.deepcopy(segmenter).eval()
    copied.requires_grad_(False)
    return copied


@torch.no_grad()
def follow(teacher: Segmenter, student: Segmenter, momentum: float) -> None:
    """Moves the teacher's weights to ``momentum · teacher + (1 - momentum) · student``.

    Statistics of batch norm stay as they are (Tarvainen & Valpola, NeurIPS 2017, eq. 2).

    Args:
        teacher: A copy of the student as it was.
        student: The segmenter that learns.
        momentum: In [0, 1].
    """
    for mine, its in zip(teacher.parameters(), student.parameters(), strict=True):
        mine.lerp_(its, 1 - momentum)


__all__ = ["fixed_copy", "follow"]
