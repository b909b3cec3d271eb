"""The static prior as evidence about classes, in place of a veto.

Where the prior flags a pixel as static, a class that is often flagged becomes likelier:

    φ̃^c_i = φ^c_i P(flagged | c) / Σ_ĉ φ^ĉ_i P(flagged | ĉ)      for pixels i in P_static(I_T)

which is Bayes' rule with the prior's mask as an observation that depends on the class alone. Eq. 12
is the case in which P is 0 for classes that move and the same for all others; but cars are parked,
and are then flagged too. P is measured on pairs of the source city, whose labels are known, and
hardly differs between cities. Outside of the mask nothing is changed.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from crosscity.adaptation.prior_refinement import check_mask

_LEAST: float = 1e-3
"""No class is ruled out by one observation."""


def flag_rates(
    looks: Iterable[tuple[npt.NDArray[np.bool_], npt.NDArray[np.uint8]]],
    n_classes: int,
    *,
    least_pixels: int = 1000,
) -> npt.NDArray[np.float64]:
    """P(flagged | class) on labelled images with static priors.

    Args:
        looks: (H, W) prior and (H, W) labels of each image; labels of no class are not counted.
        n_classes: C.
        least_pixels: A class with fewer has the rate of all pixels together: it says nothing.

    Returns:
        (C,) in [0.001, 1].

    Raises:
        ValueError: No pixel is labelled, or a prior is not bool or of another shape.
    """
    flagged, every = np.zeros(n_classes), np.zeros(n_classes)
    for prior, labels in looks:
        if prior.dtype != np.bool_ or prior.shape != labels.shape:
            raise ValueError(
                f"a prior must be bool of the labels' shape, not {prior.dtype} of {prior.shape} "
                f"for {labels.shape}"
            )
        known = labels < n_classes
        every += np.bincount(labels[known], minlength=n_classes)
        flagged += np.bincount(labels[known & prior], minlength=n_classes)
    if not every.any():
        raise ValueError("there is no labelled pixel to measure the prior on")
    mean = flagged.sum() / every.sum()
    rates = np.where(every >= least_pixels, flagged / np.maximum(every, 1), mean)
    return np.clip(rates, _LEAST, 1.0)


def weigh_by_prior(phi: Tensor, prior: Tensor, rates: Tensor) -> Tensor:
    """φ̃ of the equation above.

    Args:
        phi: B×C×H×W, ≥ 0, summing to 1 over the classes.
        prior: B×H×W bool, P_static.
        rates: (C,) P(flagged | class), above 0.

    Returns:
        B×C×H×W, summing to 1 over the classes.

    Raises:
        ValueError: The prior is not bool, or has another size than the predictions.
    """
    check_mask(prior, phi)
    weighted = phi * rates.to(phi).reshape(1, -1, 1, 1)
    weighted = weighted / weighted.sum(1, keepdim=True).clamp_min(torch.finfo(phi.dtype).tiny)
    return torch.where(prior.unsqueeze(1), weighted, phi)


def checked_rates(rates: Iterable[float], class_names: Iterable[str]) -> Tensor:
    """Rates as a tensor.

    Raises:
        ValueError: Another number of rates than of classes, or one outside (0, 1].
    """
    found, names = [float(rate) for rate in rates], list(class_names)
    if len(found) != len(names):
        raise ValueError(f"{len(found)} rates of the prior for {len(names)} classes")
    wrong = [name for name, rate in zip(names, found, strict=True) if not 0 < rate <= 1]
    if wrong:
        raise ValueError(f"the rate of the prior for {wrong[0]} must lie in (0, 1]")
    return torch.tensor(found)
