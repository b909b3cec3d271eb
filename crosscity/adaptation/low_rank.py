"""Low-rank changes of a large backbone: W + B A, of which A and B alone are trained.

Hu et al., *LoRA* (ICLR 2022), by the library peft, which is loaded where it is asked for. When the
training ends the changes are added to the weights, and the network is what it was before.
"""

from __future__ import annotations

from typing import Any

from torch import nn

from crosscity.adaptation.trainable import feature_layers, trainable_parameters
from crosscity.segmenters import Segmenter

_RANK = 8


def rank_of(trainable: str) -> int:
    """The rank that "lora" or "lora: R" asks for."""
    return int(trainable.partition(":")[2] or _RANK)


def add_low_rank(segmenter: Segmenter, rank: int) -> list[nn.Parameter]:
    """Puts A and B beside every linear layer of the features; the process's random state is used.

    Args:
        segmenter: Is changed in place; predicts as before.
        rank: Rows of A and columns of B.

    Returns:
        What moves: A, B, and the head.

    Raises:
        ValueError: The features have no linear layer, or peft is not installed.
    """
    try:
        from peft import LoraConfig, inject_adapter_in_model  # noqa: PLC0415 - an extra, slow
    except ImportError as error:
        raise ValueError(
            "trainable: lora needs the package peft: pip install 'crosscity[lora]'"
        ) from error
    names = {id(module): name for name, module in segmenter.named_modules()}
    linear = [
        f"network.{names[id(layer)]}"
        for layer in feature_layers(segmenter)
        if isinstance(layer, nn.Linear)
    ]
    if not linear:
        raise ValueError(
            f"the features of {segmenter.architecture!r} have no linear layer, and lora is for "
            "networks with attention: take last: N, or all"
        )
    head = trainable_parameters(segmenter, "head")
    config = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=linear, bias="none")
    inject_adapter_in_model(config, _Holder(segmenter))
    for parameter in head:
        parameter.requires_grad_(True)
    return [parameter for parameter in segmenter.parameters() if parameter.requires_grad]


def merge_low_rank(segmenter: Segmenter) -> None:
    """Adds B A to the weights and takes A and B away; does nothing where there are none."""
    for parent in list(segmenter.modules()):
        for name, child in list(parent.named_children()):
            base = getattr(child, "base_layer", None)
            if isinstance(base, nn.Module) and hasattr(child, "lora_A"):
                merge: Any = child.merge  # of peft's layers, which have no types
                merge()
                setattr(parent, name, base)


class _Holder(nn.Module):
    """A segmenter inside of a plain module: its `config` is a function, and peft would read it."""

    def __init__(self, network: Segmenter) -> None:
        super().__init__()
        self.network = network
