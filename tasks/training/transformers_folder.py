"""Writing a network of transformers so that transformers itself loads it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from crosscity.segmenters import HuggingFaceSegmenter, separate_tensors
from crosscity.segmenters.delivered import TRANSFORMERS_WEIGHTS
from crosscity.segmenters.hugging_face import transformers_library
from tasks.training.tensor_files import write_tensors

PROCESSOR: Final = "preprocessor_config.json"

Logits = npt.NDArray[np.float32]
Image = npt.NDArray[np.uint8]


def write_transformers(segmenter: HuggingFaceSegmenter, folder: Path) -> None:
    """Writes `config.json`, `model.safetensors` and `preprocessor_config.json`.

    The processor is the one that transformers has for this type of network; it normalises as ours
    does and leaves sizes alone.

    Args:
        segmenter: The network.
        folder: Is there.
    """
    network: Any = segmenter.as_transformers()
    network.config.architectures = [type(network).__name__]
    network.config.save_pretrained(folder)
    # Not `network.save_pretrained`: it gives tensors the names of older releases, and
    # `load_segmenter` wants those that the network has. `from_pretrained` knows both.
    write_tensors(separate_tensors(network), folder / TRANSFORMERS_WEIGHTS, {"format": "pt"})
    settings = {
        "image_processor_type": _processor_name(network.config.model_type),
        "do_resize": False,
        "do_center_crop": False,
        "do_pad": False,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": not _is_plain(segmenter),
        "image_mean": segmenter.input_mean.flatten().tolist(),
        "image_std": segmenter.input_std.flatten().tolist(),
        "do_flip_channel_order": segmenter.options().get("channel_order") == "bgr",
    }
    text = json.dumps(settings, indent=2)
    (folder / PROCESSOR).write_text(text + "\n", encoding="utf-8")


def transformers_logits(folder: Path) -> Callable[[Image], Logits]:
    """What `AutoImageProcessor` and `AutoModelForSemanticSegmentation` make of an image.

    Args:
        folder: That `write_transformers` wrote.

    Returns:
        A function from an (H, W, 3) uint8 image to C×H×W logits, upsampled as transformers'
        `post_process_semantic_segmentation` does.
    """
    transformers = transformers_library()
    place = str(folder)
    # A folder of this machine: nothing is downloaded that a revision would pin.
    processor = transformers.AutoImageProcessor.from_pretrained(  # nosec B615
        place, trust_remote_code=False
    )
    network = transformers.AutoModelForSemanticSegmentation.from_pretrained(  # nosec B615
        place, use_safetensors=True, trust_remote_code=False, dtype=torch.float32
    ).eval()

    def logits(image: Image) -> Logits:
        values = processor(image, return_tensors="pt")["pixel_values"].float()
        with torch.no_grad():
            found = network(pixel_values=values).logits
        size = (image.shape[0], image.shape[1])
        large = functional.interpolate(found, size=size, mode="bilinear", align_corners=False)
        made: Logits = large[0].numpy()
        return made

    return logits


def _processor_name(model_type: str) -> str:
    """The image processor of a type of network, by the name that files have."""
    transformers = transformers_library()
    names = transformers.models.auto.image_processing_auto.IMAGE_PROCESSOR_MAPPING_NAMES
    known = names.get(model_type, {})
    found = known.get("torchvision") or known.get("pil") if isinstance(known, dict) else None
    return str(found or "SegformerImageProcessor").removesuffix("Pil").removesuffix("Fast")


def _is_plain(segmenter: HuggingFaceSegmenter) -> bool:
    """Whether images in [0, 1] go in as they are; some processors know no normalisation."""
    mean, std = segmenter.input_mean, segmenter.input_std
    return bool((mean == 0).all() and (std == 1).all())
