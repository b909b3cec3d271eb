"""A segmenter handed on: weights, description, labels, card, ONNX, and what transformers loads."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from adapters.exports import check_licences
from adapters.predictions import class_rows
from adapters.store import ArtifactRef
from crosscity.named_function import function_of, is_plug_in
from crosscity.resizing import resized_image
from crosscity.segmenters import HuggingFaceSegmenter, Segmenter, onnx_bytes
from crosscity.segmenters.delivered import DESCRIPTION, PROVENANCE, WEIGHTS
from crosscity.segmenters.export import OPSET
from crosscity.segmenters.home import home_fields
from tasks.harvesting.current import current_harvest
from tasks.judging.differences import Pictures
from tasks.judging.runtime_agreement import Agreement, agreement
from tasks.judging.segmenter_facts import SegmenterFacts, segmenter_facts
from tasks.judging.set_differences import SetPictures
from tasks.judging.transfer_safeguard import images_of
from tasks.pages.segmenter_card import Delivery, segmenter_card
from tasks.pages.whole_folder import check_empty, whole_folder
from tasks.steps.errors import InputError
from tasks.steps.imagery import Imagery
from tasks.steps.plan import Plan
from tasks.training.identities import network_size
from tasks.training.segmenters import file_digest, stored_segmenter, write_weights
from tasks.training.transformers_folder import transformers_logits, write_transformers

CARD: Final = "README.md"
LABELS: Final = "labels.json"
PREPROCESSING: Final = "preprocessing.json"
ONNX: Final = "model.onnx"
_FATAL: Final = 4
"""Severity that onnxruntime prints from."""
_COMPARED: Final = 4
"""Images of the city that other runtimes are compared on."""

Image = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Exported:
    """What was written.

    Attributes:
        folder: Where.
        files: Its files, by name.
        agreements: How other runtimes agree, in words, by file.
        function: What builds the network, where it is one of the user's own; else "".
    """

    folder: Path
    files: tuple[str, ...]
    agreements: dict[str, str]
    function: str = ""


def export_segmenter(
    plan: Plan,
    city: str,
    ref: ArtifactRef,
    output: Path,
    *,
    onnx: bool = False,
    onnx_size: tuple[int, int] | None = None,
    licence: str = "other",
    allowed: str | None = None,
) -> Exported:
    """Writes a segmenter into a folder that appears whole or not at all.

    Args:
        plan: Of the catalog.
        city: City or transfer whose images other runtimes are compared on; they are in the store.
        ref: A `segmenter` or `adaptation` of the store.
        output: Must not be there, or be empty.
        onnx: Whether to write ONNX too.
        onnx_size: (height, width) where the ONNX model shall take this size alone.
        licence: Identifier of the licence that the weights are handed on under.
        allowed: See `adapters.exports.check_licences`; here of the images it was adapted to.

    Raises:
        ExportError: A licence of these images does not let them be passed on.
        InputError: The folder holds something, or another runtime disagrees: nothing is written.
        StoreError: An artifact is damaged.
    """
    check_empty(output)
    plan.open_store().verify(ref)
    facts = segmenter_facts(plan, ref)
    check_licences(
        (one.licence for one in facts.images for _ in range(max(1, one.images))), allowed=allowed
    )
    model, segmenter = stored_segmenter(plan, ref)
    segmenter.eval()
    named = str(model["architecture"])
    function = function_of(named) if is_plug_in(named) else ""
    size = network_size(plan, city) or segmenter.trained_size
    segmenter.trained_size = size  # whoever reads the folder shows pictures as they were scored
    images = _some_images(plan, city, segmenter, size)
    delivery = Delivery(
        output.absolute().name,
        image_size=size,
        licence=licence,
        allowed=allowed or "",
        function=function,
    )
    agreements: dict[str, Agreement] = {}
    with whole_folder(output) as folder:
        _write_network(folder, segmenter, model)
        _write_json(folder / LABELS, _labels(segmenter))
        _write_json(folder / PREPROCESSING, _preprocessing(segmenter, size))
        if isinstance(segmenter, HuggingFaceSegmenter):
            write_transformers(segmenter, folder)
            agreements["model.safetensors"] = agreement(
                segmenter, transformers_logits(folder), images, "the folder read by transformers"
            )
        if onnx:
            agreements[ONNX] = _write_onnx(folder / ONNX, segmenter, images, onnx_size)
        sentences = {name: found.sentence() for name, found in agreements.items()}
        delivery = replace(
            delivery,
            onnx=sentences.get(ONNX, ""),
            onnx_size=onnx_size or getattr(segmenter, "fixed_size", None),
            transformers=sentences.get("model.safetensors", ""),
        )
        (folder / CARD).write_text(segmenter_card(segmenter, facts, delivery), encoding="utf-8")
        _write_json(folder / PROVENANCE, _provenance(folder, facts, agreements))
        files = tuple(sorted(path.name for path in folder.iterdir()))
    return Exported(output, files, sentences, function)


def _write_network(folder: Path, segmenter: Segmenter, model: dict[str, Any]) -> None:
    """Weights and description; the network of transformers has its weights in their layout."""
    description = {**model, "config": segmenter.config(), **home_fields(segmenter)}
    _write_json(folder / DESCRIPTION, description)
    if not isinstance(segmenter, HuggingFaceSegmenter):
        write_weights(segmenter, folder / WEIGHTS)


def _write_onnx(
    path: Path, segmenter: Segmenter, images: Sequence[Image], size: tuple[int, int] | None
) -> Agreement:
    fixed = getattr(segmenter, "fixed_size", None)
    wanted = size or fixed
    try:
        path.write_bytes(onnx_bytes(segmenter, wanted))
    except ValueError as error:
        raise InputError(f"{error} (--onnx-size HEIGHTxWIDTH)") from None
    compared = [resized_image(image, wanted) for image in images]
    if wanted is None:
        compared.append(_odd(images[0]))
    try:
        return agreement(segmenter, _onnx_logits(path), compared, "the ONNX model", by_rule=True)
    except InputError as error:
        hint = "" if wanted else "; --onnx-size HEIGHTxWIDTH traces it for one size"
        raise InputError(f"{error}{hint}") from None


def _onnx_logits(path: Path) -> Any:  # noqa: ANN401 - a function of arrays; onnxruntime has no types
    try:
        import onnxruntime  # noqa: PLC0415 - an extra
    except ImportError:
        raise InputError(
            "an ONNX model is compared in onnxruntime before it is handed on: pip install "
            "'crosscity[onnx]'"
        ) from None
    options = onnxruntime.SessionOptions()
    options.log_severity_level = _FATAL  # what it raises is said in one sentence
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    def logits(image: Image) -> Any:  # noqa: ANN401
        pixels = (image.astype(np.float32) / np.float32(255)).transpose(2, 0, 1)[None]
        return session.run(["logits"], {"images": pixels})[0][0]

    return logits


def _odd(image: Image) -> Image:
    """The image at another size, with odd sides, so that a size that was traced in is seen."""
    height, width = (max(33, side * 2 // 3 | 1) for side in image.shape[:2])
    return resized_image(image, (height, width))


def _some_images(
    plan: Plan, city: str, segmenter: Segmenter, size: tuple[int, int] | None
) -> list[Image]:
    """Images of the city, spread over it, at the size that they go through the network."""
    imagery: Pictures
    if city in plan.transfers:
        imagery = SetPictures(plan.open_store(), images_of(city, plan))
    else:
        imagery = Imagery(plan.open_store(), current_harvest(city, plan).imagery)
    ids = imagery.ids()
    if not ids:
        raise InputError(f"{city} has no images to compare runtimes on: harvest it first")
    chosen = np.unique(np.linspace(0, len(ids) - 1, _COMPARED).round().astype(int))
    wanted = size or getattr(segmenter, "fixed_size", None)
    return [resized_image(imagery.read(ids[index]), wanted) for index in chosen.tolist()]


def _labels(segmenter: Segmenter) -> dict[str, Any]:
    """The label space: what an index of the logits means, and Cityscapes' ids and colours."""
    ids = class_rows(segmenter.class_names, "labelIds")
    train_ids = class_rows(segmenter.class_names, "trainIds")
    return {
        "classes": [
            {
                "index": index,
                "name": label.name,
                "label_id": label.id,
                "train_id": train.id,
                "colour": list(label.colour),
            }
            for index, (label, train) in enumerate(zip(ids, train_ids, strict=True))
        ],
        "ids": "label_id and train_id are Cityscapes' where it knows the class, else behind them",
    }


def _preprocessing(segmenter: Segmenter, size: tuple[int, int] | None) -> dict[str, Any]:
    return {
        "layout": "N×3×H×W float32",
        "channels": "RGB",
        "range": [0.0, 1.0],
        "normalisation": "inside the network: subtract mean, divide by deviation",
        "mean": segmenter.input_mean.flatten().tolist(),
        "deviation": segmenter.input_std.flatten().tolist(),
        "image_size": None if size is None else list(size),
        "resizing": (
            "pictures go through at image_size, where there is one: averaged where they shrink, "
            "cubic where they grow; logits are taken to the picture's own size bilinearly, before "
            "the class is chosen"
        ),
        "output": "logits of every pixel, N×C×H×W; the class is the index of the largest",
    }


def _provenance(
    folder: Path, facts: SegmenterFacts, agreements: dict[str, Agreement]
) -> dict[str, Any]:
    return {
        "segmenter": facts.as_json(),
        "onnx_opset": OPSET if ONNX in agreements else None,
        "agreement": {name: asdict(found) for name, found in agreements.items()},
        "sha256": {
            path.name: file_digest(path)
            for path in sorted(folder.iterdir())
            if path.is_file() and path.name != PROVENANCE
        },
    }


def _write_json(path: Path, content: object) -> None:
    text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)
    path.write_text(text + "\n", encoding="utf-8")
