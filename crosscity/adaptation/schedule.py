"""How λ and the learning rate move with the step."""

from __future__ import annotations

import math

from crosscity.adaptation.settings import Schedule


def ramp(step: int, total_steps: int, *, steepness: float = 10.0, start: float = 0.0) -> float:
    """The "gradual" rise of λ from 0 to 1: 2 / (1 + exp(-k t)) - 1.

    The paper (Sec. 5.1) says only that λ changes gradually; this is the curve of Ganin et al.
    (JMLR 2016), whose work the paper builds on.

    Args:
        step: From 0.
        total_steps: Length of the training.
        steepness: k.
        start: Fraction of the training before which the value is 0; t runs from 0 to 1 over what is
            left.

    Returns:
        A value in [0, 1).
    """
    begin = start * total_steps
    if step < begin:
        return 0.0
    t = (step - begin) / (total_steps - begin)
    return 2.0 / (1.0 + math.exp(-steepness * t)) - 1.0


def learning_rate_factor(
    step: int, total_steps: int, *, schedule: Schedule, warm_up: float
) -> float:
    """What the highest learning rate is multiplied by at a step, in (0, 1].

    Args:
        step: From 0.
        total_steps: Length of the training.
        schedule: "constant", "cosine" or "poly" (power 0.9).
        warm_up: Fraction of the steps of the linear rise.
    """
    rising = int(warm_up * total_steps)
    if step < rising:
        return (step + 1) / (rising + 1)
    t = (step - rising) / (total_steps - rising)
    if schedule == "cosine":
        return 0.5 * (1.0 + math.cos(math.pi * t))
    if schedule == "poly":
        return float((1.0 - t) ** 0.9)
    return 1.0
