"""Weights out of a segmenter and into one, with one sentence when they do not fit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import torch
from torch import Tensor, nn

from crosscity.segmenters.base import Segmenter, WeightsError

_NOTHING: Final = 1e-30
"""Weights that are closer to 0 than this move no prediction in single precision."""


def separate_tensors(module: nn.Module) -> dict[str, Tensor]:
    """The `state_dict` of a module as safetensors takes it.

    A network of somebody else may have a tensor under several names: tied weights, or a head that
    is also a part of the module before it. Each name gets its own copy then, so that a file can be
    read without knowing which were one.

    Returns:
        By name; on the processor, contiguous, no two sharing memory. A tensor that is so already
        is not copied.
    """
    found: dict[str, Tensor] = {}
    seen: set[int] = set()
    for name, tensor in module.state_dict().items():
        own = tensor.detach().cpu().contiguous()
        if own.untyped_storage().data_ptr() in seen:
            own = own.clone()
        seen.add(own.untyped_storage().data_ptr())
        found[name] = own
    return found


def load_weights(segmenter: Segmenter, tensors: Mapping[str, Tensor]) -> None:
    """Loads the tensors of a segmenter's `state_dict` into another; the segmenter changes.

    Args:
        segmenter: Receives the weights; untouched if they do not fit.
        tensors: By name, exactly those of `segmenter.state_dict()`.

    Raises:
        WeightsError: A tensor is missing, of another shape, not finite, or has no place in the
            segmenter.
    """
    expected = segmenter.state_dict()
    faults = [f"{name} is missing" for name in expected if name not in tensors]
    faults += [
        f"{name} has shape {tuple(tensors[name].shape)} instead of {tuple(tensor.shape)}"
        for name, tensor in expected.items()
        if name in tensors and tensors[name].shape != tensor.shape
    ]
    faults += [
        f"{name} is of {str(tensors[name].dtype).removeprefix('torch.')} where "
        f"{str(tensor.dtype).removeprefix('torch.')} is needed"
        for name, tensor in expected.items()
        if name in tensors and tensors[name].is_floating_point() != tensor.is_floating_point()
    ]
    faults += [f"{name} has no place in it" for name in tensors if name not in expected]
    if faults:
        more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
        raise WeightsError(
            f"the weights do not fit the segmenter {segmenter.architecture!r} with "
            f"{segmenter.n_classes} classes: {faults[0]}{more}; they are of another architecture, "
            "other options or another label space"
        )
    check_finite(tensors)
    segmenter.load_state_dict(dict(tensors))
    drop_vanishing(segmenter)


def drop_vanishing(module: nn.Module) -> None:
    """Sets weights to 0 that training with weight decay has left at next to nothing.

    What is computed with them is too small for normal numbers of single precision (denormal), with
    which a processor takes many times as long; predictions do not change by it.

    Args:
        module: Changed in place.
    """
    with torch.no_grad():
        for tensor in module.state_dict().values():
            if tensor.is_floating_point():
                tensor.masked_fill_(tensor.abs() < _NOTHING, 0.0)


def check_finite(tensors: Mapping[str, Tensor]) -> None:
    """Refuses weights that are not finite: they make every prediction the same, silently.

    Raises:
        WeightsError: A tensor holds NaN or infinity.
    """
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise WeightsError(
                f"{name} holds NaN or infinity: its training broke down, or it was damaged; take "
                "an earlier checkpoint"
            )
