"""Which parameters of a segmenter an adaptation moves."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn
from torch.optim import Adam

from crosscity.segmenters import Segmenter, evaluating, grey_image


def trainable_parameters(segmenter: Segmenter, trainable: str) -> list[nn.Parameter]:
    """The parameters that move; all others are frozen by it.

    Args:
        segmenter: Loses the gradients of what does not move.
        trainable: "all"; "head": what `classify` alone uses; "last: N": the head, and the N layers
            of the features that come last when an image goes through. A layer is a module with
            parameters of its own, as a convolution or a norm.

    Raises:
        ValueError: Nothing would move, or the features have fewer layers.
    """
    if trainable == "all":
        return list(segmenter.parameters())
    order = feature_layers(segmenter)
    features = {id(p) for layer in order for p in layer.parameters(recurse=False)}
    chosen = [p for p in segmenter.parameters() if id(p) not in features]
    if trainable.startswith("last"):
        count = int(trainable.partition(":")[2])
        if count > len(order):
            raise ValueError(
                f"trainable is 'last: {count}', and the features of {segmenter.architecture!r} "
                f"have {len(order)} layers: write a smaller number, or all"
            )
        last = {id(p) for layer in order[-count:] for p in layer.parameters(recurse=False)}
        chosen = [p for p in segmenter.parameters() if id(p) not in features or id(p) in last]
    if not chosen:
        raise ValueError(
            f"the segmenter {segmenter.architecture!r} has no parameters behind its features, so "
            "a head alone has nothing to train: take last: N, or all"
        )
    kept = {id(p) for p in chosen}
    for parameter in segmenter.parameters():
        parameter.requires_grad_(id(parameter) in kept)
    return chosen


def adam_of(
    parameters: list[nn.Parameter], learning_rate: float, betas: tuple[float, float]
) -> Adam:
    """Adam over these parameters."""
    # One kernel for all parameters where there are kernels to launch.
    fused = True if parameters[0].device.type == "cuda" else None
    return Adam(parameters, lr=learning_rate, betas=betas, fused=fused)


@torch.no_grad()
def feature_layers(segmenter: Segmenter) -> list[nn.Module]:
    """Modules with parameters of their own that the features go through, in that order."""
    seen: list[nn.Module] = []

    def noting(module: nn.Module) -> Callable[..., None]:
        def note(*_: object) -> None:
            if module not in seen:
                seen.append(module)

        return note

    hooks = [
        module.register_forward_hook(noting(module))
        for module in segmenter.modules()
        if next(module.parameters(recurse=False), None) is not None
    ]
    try:
        with evaluating(segmenter):
            segmenter.features(grey_image(segmenter))
    finally:
        for hook in hooks:
            hook.remove()
    return seen
