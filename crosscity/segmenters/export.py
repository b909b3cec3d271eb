"""Segmenters for other runtimes."""

from __future__ import annotations

import warnings

import torch

from crosscity.segmenters.base import Segmenter, evaluating


def onnx_bytes(segmenter: Segmenter, size: tuple[int, int]) -> bytes:
    """A segmenter as an ONNX model: images in, class logits of every pixel out.

    The graph holds normalisation and upsampling: its input "images" is N×3×H×W float32 RGB in
    [0, 1], its output "logits" N×C×H×W. N is free; H and W are fixed, since networks with
    attention or pyramids do not trace otherwise.

    Args:
        segmenter: Left as it was.
        size: (height, width) of the images.

    Raises:
        ValueError: The onnx packages are not installed.
    """
    device = segmenter.input_mean.device
    # Two images: an exporter takes a batch of one for a constant.
    images = torch.zeros((2, 3, *size), device=device)
    with evaluating(segmenter), torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporter, about its own future
        try:
            program = torch.onnx.export(
                segmenter,
                (images,),
                input_names=["images"],
                output_names=["logits"],
                dynamic_shapes=({0: torch.export.Dim("batch", min=1, max=4096)},),
                dynamo=True,
                verbose=False,
            )
        except ImportError as error:
            raise ValueError(
                "an ONNX export needs the onnx packages: pip install 'crosscity[onnx]'"
            ) from error
    if program is None:
        raise ValueError("PyTorch could not export this segmenter to ONNX")
    exported: bytes = program.model_proto.SerializeToString()
    return exported
