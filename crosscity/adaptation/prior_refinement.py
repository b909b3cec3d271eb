"""Refining predictions by the static prior: eq. 12."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from crosscity.labels import CLASSES


def static_class_indices(class_names: Sequence[str]) -> tuple[int, ...]:
    """C_static of eq. 12 as indices into a label space; unknown names are not static."""
    static = {road_class.name for road_class in CLASSES if road_class.static}
    return tuple(index for index, name in enumerate(class_names) if name in static)


def refine_by_prior(phi: Tensor, prior: Tensor, static_classes: Sequence[int]) -> Tensor:
    """Suppresses, where the prior says static, the probability of classes that move (eq. 12).

    For pixels i in P_static(I_T): φ̃^c_i = φ^c_i / Σ_{ĉ ∈ C_static} φ^ĉ_i if c ∈ C_static, else 0.
    A pixel whose static mass is 0 keeps its φ; so do all pixels outside the prior, for not having
    been matched does not make a pixel dynamic.

    Args:
        phi: B×C×H×W, ≥ 0, summing to 1 over the classes.
        prior: B×H×W bool, P_static.
        static_classes: Indices of C_static.

    Returns:
        B×C×H×W, summing to 1 over the classes.

    Raises:
        ValueError: The prior is not bool, or has another size than the predictions.
    """
    check_mask(prior, phi)
    is_static = torch.zeros(phi.shape[1], dtype=phi.dtype, device=phi.device)
    is_static[list(static_classes)] = 1.0
    kept = phi * is_static[None, :, None, None]
    mass = kept.sum(1, keepdim=True)
    has_mass = mass > torch.finfo(phi.dtype).tiny
    refined = kept / torch.where(has_mass, mass, 1.0)
    return torch.where(prior.unsqueeze(1) & has_mass, refined, phi)


def check_mask(prior: Tensor, phi: Tensor) -> None:
    """That a static prior, B×H×W, is bool and has the size of predictions, B×C×H×W.

    Raises:
        ValueError: It is of another type or size.
    """
    if prior.dtype != torch.bool:
        kind = str(prior.dtype).removeprefix("torch.")
        raise ValueError(f"the static prior must be bool, not {kind}: give it as `prior > 0`")
    check_prior_size(prior, phi)


def check_prior_size(prior: Tensor, phi: Tensor) -> None:
    """That a prior, B×H×W, has the size of predictions, B×C×H×W.

    Raises:
        ValueError: It has another size.
    """
    if prior.shape != phi.shape[:1] + phi.shape[2:]:
        raise ValueError(
            f"the static prior {tuple(prior.shape)} has another size than the predictions "
            f"{tuple(phi.shape)}: extract the priors from images of this size"
        )
