"""The static prior as a probability: a weight in place of a mask.

With p_i the calibrated probability that pixel i is static (`crosscity.static_probability`) and b
the share of all pixels that are, where p_i > b

    φ̃^c_i ∝ φ^c_i                                        for c ∈ C_static
    φ̃^c_i ∝ φ^c_i · (1 - p_i) / p_i · b / (1 - b)        for all others

which is Bayes' rule with the matches as an observation beside what the network sees: they turn the
odds of b into those of p_i. Where p_i ≤ b nothing changes, for not having been matched does not
make a pixel moving. Eq. 12 is the threshold of this: p_i = 1 for what reaches it, and 0 elsewhere.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from crosscity.adaptation.prior_refinement import check_prior_size
from crosscity.static_probability import static_share


def weigh_by_probability(
    phi: Tensor,
    probability: Tensor,
    static_classes: Sequence[int],
    *,
    static_from: float | None = None,
    share: float | None = None,
) -> Tensor:
    """φ̃ of the equations above.

    Args:
        phi: B×C×H×W, ≥ 0, summing to 1 over the classes.
        probability: B×H×W float in [0, 1]; 0 where nothing is known.
        static_classes: Indices of C_static.
        static_from: Probability from which on a pixel is of P_static, which is eq. 12; ``None``
            weighs by the probability itself.
        share: b, above 0 and below 1; default: of the pictures that the probability was fitted to.

    Returns:
        B×C×H×W, summing to 1 over the classes. A pixel that would be left without any class
        keeps its φ.

    Raises:
        ValueError: The probability is no floats, or has another size than the predictions, or the
            share is out of range.
    """
    if not probability.is_floating_point():
        kind = str(probability.dtype).removeprefix("torch.")
        raise ValueError(f"the prior's probability must be floats, not {kind}")
    if share is not None and not 0 < share < 1:
        raise ValueError(f"the share that is static anywhere must lie between 0 and 1, not {share}")
    check_prior_size(probability, phi)
    moving = moving_weights(probability, static_from=static_from, share=share)
    is_static = torch.zeros(phi.shape[1], dtype=phi.dtype, device=phi.device)
    is_static[list(static_classes)] = 1.0
    weights = torch.lerp(
        moving.to(phi.dtype)[:, None], torch.ones_like(phi[:, :1]), is_static[None, :, None, None]
    )
    kept = phi * weights
    mass = kept.sum(1, keepdim=True)
    has_mass = mass > torch.finfo(phi.dtype).tiny
    refined = kept / torch.where(has_mass, mass, 1.0)
    return torch.where((moving < 1).unsqueeze(1) & has_mass, refined, phi)


def moving_weights(
    probability: Tensor, *, static_from: float | None = None, share: float | None = None
) -> Tensor:
    """What classes that move are multiplied by at each pixel, in [0, 1]: B×H×W.

    Arguments are those of `weigh_by_probability`.
    """
    if static_from is not None:
        return (probability < static_from).to(probability.dtype)
    base = static_share() if share is None else share
    odds = (1 - probability) / probability.clamp_min(torch.finfo(probability.dtype).tiny)
    return (odds * (base / (1 - base))).clamp(max=1)
