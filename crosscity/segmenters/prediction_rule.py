"""Which class a pixel is given: a rule that is fixed at home and stored with the segmenter.

A network that gives the probability p(c | image) is made to prefer rare classes by offsets of its
logits:

    ŷ = argmax_c  x_c + a · (-b log f_c),   a = 0 (plain), 1/2 (half_weighted), 1 (weighted)

with f_c the share of class c among the source's labelled pixels and b the exponent of the class
weights (Menon et al., *Long-tail learning via logit adjustment*, ICLR 2021). What is judged under
one rule and trained under another tells a story of class offsets, so the rule is chosen once, on
validation images of the source, and every arm predicts by it. No loss and no predicted label that
is learned from sees the offsets.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal, get_args

import numpy as np
import numpy.typing as npt

Rule = Literal["plain", "half_weighted", "weighted"]
RULES: Final[tuple[Rule, ...]] = get_args(Rule)
_STRENGTH: Final[dict[Rule, float]] = {"plain": 0.0, "half_weighted": 0.5, "weighted": 1.0}
_RAREST: Final = 1e-4
_USUAL_BALANCE: Final = 0.5


def rule_offsets(
    rule: Rule, counts: npt.NDArray[np.int64], balance: float, *, network_is_weighted: bool = False
) -> tuple[float, ...]:
    """What is added to a network's logits when it predicts.

    Args:
        rule: Of `RULES`.
        counts: (C,) labelled pixels of each class.
        balance: b; 0 is taken for 0.5, as without class weights there is nothing to go by.
        network_is_weighted: Whether the network was trained with `balanced_predictions`, so that
            its own logits are those of the rule "weighted".

    Returns:
        C numbers; all 0 where the rule is the network's own.
    """
    strength = _STRENGTH[rule] - (1.0 if network_is_weighted else 0.0)
    if strength == 0:
        return (0.0,) * len(counts)
    shares = np.maximum(counts / max(1, counts.sum()), _RAREST)
    offsets = -strength * (balance or _USUAL_BALANCE) * np.log(shares)
    return tuple(float(value) for value in offsets - offsets.mean())


def check_offsets(offsets: Sequence[float], n_classes: int) -> None:
    """Raises `ValueError` where offsets do not suit a label space."""
    if len(offsets) != n_classes or not np.isfinite(offsets).all():
        raise ValueError(
            f"a rule of prediction has one finite offset a class: {n_classes}, not {len(offsets)}"
        )
