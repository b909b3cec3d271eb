"""The model card of a segmenter that is handed on, in the layout of the Hugging Face hub."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Any

import jinja2
import yaml

from crosscity.segmenters import Segmenter
from crosscity.segmenters.export import OPSET
from tasks.judging.segmenter_facts import SegmenterFacts
from tasks.training.arms import arm_name, is_fine_tuned, is_trained


@dataclass(frozen=True)
class Delivery:
    """What of a card is about the folder and not about the training.

    Attributes:
        name: What the folder is called.
        image_size: (height, width) at which images went through the network; ``None``: their own.
        licence: Identifier of the licence of the weights; "other" where nobody said.
        allowed: The user's word on why the images' terms allow it, if it was asked for.
        onnx: How `model.onnx` agrees, in words; "" without one.
        onnx_size: The one size that it takes; ``None``: any.
        transformers: How transformers agrees, in words; "" where the network is none of theirs.
        function: "module:name" of what builds the network, where it is one of a user's own.
    """

    name: str
    image_size: tuple[int, int] | None = None
    licence: str = "other"
    allowed: str = ""
    onnx: str = ""
    onnx_size: tuple[int, int] | None = None
    transformers: str = ""
    function: str = ""


def segmenter_card(segmenter: Segmenter, facts: SegmenterFacts, delivery: Delivery) -> str:
    """The card: YAML that the hub reads (its "Model Cards" page), and Markdown that people read."""
    environment = jinja2.Environment(
        autoescape=False,  # noqa: S701 - Markdown: what others wrote goes through `cell`
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
    )
    environment.filters |= {"cell": _cell, "quoted": _quoted, "yaml": yaml_word}
    template = environment.from_string(
        resources.files("tasks.pages").joinpath("segmenter_card.md.j2").read_text(encoding="utf-8")
    )
    config = segmenter.config()
    return template.render(
        front=f"---\n{yaml.safe_dump(_front(facts, delivery), sort_keys=False)}---\n",
        name=delivery.name,
        about=_about(facts),
        architecture=_architecture(config),
        stride=segmenter.stride,
        parameters=f"{sum(each.numel() for each in segmenter.parameters()):,}",
        classes=list(segmenter.class_names),
        mean=_rounded(config["input_mean"]),
        std=_rounded(config["input_std"]),
        image_size=delivery.image_size,
        facts=facts,
        arm_name=arm_name(facts.arm),
        place=", ".join(_places(facts)),
        adapted=is_trained(facts.arm),
        unlabelled=is_trained(facts.arm) and not facts.saw_labels,
        licence=delivery.licence,
        allowed=delivery.allowed,
        from_elsewhere=not any(one.labelled for one in facts.sets),
        simulated=[one.name for one in facts.sets if one.kind == "simulated"],
        transformers=delivery.transformers,
        function=tuple(delivery.function.split(":")) if delivery.function else (),
        options=json.dumps(config["options"], ensure_ascii=False),
        onnx=delivery.onnx,
        onnx_sizes=_sizes(delivery.onnx_size),
        shown_size=delivery.onnx_size or delivery.image_size,
        opset=OPSET,
    )


def _front(facts: SegmenterFacts, delivery: Delivery) -> dict[str, Any]:
    scores = [score for score in facts.scores if score.of == "this segmenter"]
    front: dict[str, Any] = {"license": delivery.licence}
    if delivery.licence == "other":
        front["license_name"] = "not-stated"
    front |= {
        "library_name": "transformers" if delivery.transformers else "crosscity",
        "pipeline_tag": "image-segmentation",
        "tags": ["semantic-segmentation", "domain-adaptation", "street-view", "crosscity"],
    }
    if scores:
        front["model-index"] = [
            {
                "name": delivery.name,
                "results": [
                    {
                        "task": {"type": "image-segmentation", "name": "Semantic segmentation"},
                        "dataset": {
                            "type": score.place,
                            "name": f"{score.place}, {score.split} ({score.images} images)",
                            "split": score.split,
                        },
                        "metrics": [
                            {
                                "type": "mean_iou",
                                "value": round(score.miou, 4),
                                "name": f"mIoU ({score.protocol})",
                            }
                        ],
                    }
                    for score in scores
                ],
            }
        ]
    return front


def _about(facts: SegmenterFacts) -> str:
    city = _cell(facts.city)
    if not is_trained(facts.arm):
        places = ", ".join(f"`{_cell(name)}`" for name in _places(facts))
        trained = f"trained on {places}" if places else "as its weights came from elsewhere"
        return f"A segmenter of road scenes, {trained}."
    if is_fine_tuned(facts.arm):
        return f"A segmenter of road scenes, fine-tuned on labels of `{city}`."
    seen = "pairs of street views of the same places at two times" if facts.images else "images"
    labels = ""
    if facts.saw_labels:
        recipe: Any = facts.parameters.get("recipe") or {}
        places = recipe.get("labels", {}).get("places", "some")
        seen += f" and the labels of {places} places"
    else:
        labels = " without a label of it"
    return f"A segmenter of road scenes, adapted to `{city}`{labels}, by CrossCity from {seen}."


def _places(facts: SegmenterFacts) -> list[str]:
    """Whose streets it is for: what it was adapted to, else the sets that it was trained on."""
    return [facts.city] if is_trained(facts.arm) else list(facts.trained_on)


def _architecture(config: Mapping[str, Any]) -> str:
    inner = config["options"].get("config")
    kind = inner.get("model_type") if isinstance(inner, Mapping) else None
    return f"{config['architecture']} ({kind})" if kind else str(config["architecture"])


def _sizes(size: tuple[int, int] | None) -> str:
    if size is None:
        return "N, H and W (from 32 pixels) are free."
    return f"N is free; images have {size[0]}×{size[1]} pixels."


def _rounded(values: list[float]) -> str:
    return "(" + ", ".join(f"{value:.4g}" for value in values) + ")"


def yaml_word(text: str) -> str:
    """Text as a value of the catalog: plain where YAML reads it as the same text, else quoted."""
    plain = re.fullmatch(r"[A-Za-z0-9_./~-]+", text) and yaml.safe_load(text) == text
    return text if plain else _quoted(text)


def _quoted(text: str) -> str:
    """Text between quotes, as Python and YAML read it."""
    return json.dumps(text, ensure_ascii=False)


def _cell(value: object) -> str:
    """Text of others in one line of Markdown, in which it means nothing but itself."""
    text = " ".join(str(value).split())
    for mark, written in (
        ("&", "&amp;"),
        ("<", "&lt;"),
        (">", "&gt;"),
        ("|", "\\|"),
        ("[", "\\["),
        ("`", "'"),
    ):
        text = text.replace(mark, written)
    return text
