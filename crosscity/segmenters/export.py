"""Segmenters for other runtimes."""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import torch
from torch import Tensor, nn

from crosscity.resizing import checked_size
from crosscity.segmenters.base import Segmenter, evaluating

OPSET: Final = 18
"""Version of ONNX's operators that is written; runtimes since 2023 know it."""
_TRACED_SIZE: Final = (96, 160)
"""Of the images that a network of any size is traced with: the sides differ, and neither is 1."""
_LARGEST_SIDE: Final = 16384
_WHERE: Final = "Caused by: ("
"""How the line of PyTorch's messages begins that names the line of the network's program."""
_COLOURS: Final = re.compile("\x1b\\[[0-9;]*m")
_LOGGERS: Final = ("torch.onnx", "torch.fx.experimental.symbolic_shapes", "onnx_ir")


def onnx_bytes(
    segmenter: Segmenter, size: tuple[int, int] | None = None, *, opset: int = OPSET
) -> bytes:
    """A segmenter as an ONNX model: images in, class logits of every pixel out.

    The graph holds normalisation, upsampling and the rule of prediction: its input "images"
    is N×3×H×W float32 RGB in [0, 1], its output "logits" N×C×H×W. N is free, and so are H and W
    (from 32) unless a size is given. Whether a network traces for sizes that it was not traced
    with, only a runtime tells: compare its logits before you pass the model on.

    Args:
        segmenter: Left as it was.
        size: (height, width) of the images, where only this size shall do; some networks with
            attention trace for one size alone.
        opset: Version of ONNX's operators.

    Raises:
        ValueError: The onnx packages are not installed, PyTorch cannot trace this network, or that
            is not a size.
    """
    size = None if size is None else checked_size(size)
    device = segmenter.input_mean.device
    # Two images: an exporter takes a batch of one for a constant.
    images = torch.zeros((2, 3, *(size or _TRACED_SIZE)), device=device)
    free = {0: torch.export.Dim("batch", min=1, max=4096)}
    if size is None:
        free[2] = torch.export.Dim("height", min=32, max=_LARGEST_SIDE)
        free[3] = torch.export.Dim("width", min=32, max=_LARGEST_SIDE)
    with evaluating(segmenter), torch.no_grad(), _without_its_remarks():
        try:
            program = torch.onnx.export(
                _Predicting(segmenter) if any(segmenter.prediction_offsets) else segmenter,
                (images,),
                input_names=["images"],
                output_names=["logits"],
                opset_version=opset,
                dynamic_shapes=(free,),
                dynamo=True,
                verbose=False,
            )
        except ImportError as error:
            raise ValueError(
                "an ONNX export needs the onnx packages, in versions that know PyTorch "
                f"{torch.__version__} ({error}): pip install --upgrade 'crosscity[onnx]'"
            ) from error
        except Exception as error:
            # What cannot be traced raises one of a dozen types of PyTorch's.
            wanted = "" if size is not None else "; give the one size of its images"
            raise ValueError(
                f"PyTorch cannot trace this network as ONNX ({_reason(error)}){wanted}"
            ) from error
    if program is None:
        raise ValueError("PyTorch could not export this segmenter to ONNX")
    model = program.model_proto
    if model.graph.input[0].type.tensor_type.shape.dim[0].dim_value:
        raise ValueError(
            "PyTorch traced this network for a batch of two images alone: somewhere it takes their "
            "number for a constant, as len(x) and int(x.shape[0]) do; write x.shape[0]"
        )
    exported: bytes = model.SerializeToString()
    return exported


def _reason(error: BaseException) -> str:
    """What the exporter stumbled over, and where: its own headline is the same for everything."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    where = next((line for line in lines[1:] if line.startswith(_WHERE)), "")
    said = " ".join(
        [type(error).__name__ + ":", *(part[:160] for part in (*lines[:1], where) if part)]
    )
    return " ".join(_COLOURS.sub("", said).split())


@contextmanager
def _without_its_remarks() -> Iterator[None]:
    """Keeps the exporter quiet about its future, torchvision and what it tries in vain first."""
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


class _Predicting(nn.Module):
    """A segmenter that predicts by its rule."""

    def __init__(self, segmenter: Segmenter) -> None:
        super().__init__()
        self.segmenter = segmenter
        self.train(segmenter.training)

    def forward(self, images: Tensor) -> Tensor:
        height, width = images.shape[-2:]
        return self.segmenter.predicted_logits(images, (height, width))
