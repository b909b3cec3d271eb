"""Any `AutoModelForSemanticSegmentation` of Hugging Face transformers (optional extra `[hf]`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import torch
from torch import Tensor, nn

from crosscity.segmenters.base import (
    ROAD_CLASS_NAMES,
    Segmenter,
    WeightsError,
    evaluating,
)

if TYPE_CHECKING:
    from types import ModuleType

IMAGENET_MEAN: Final = (0.485, 0.456, 0.406)
IMAGENET_STD: Final = (0.229, 0.224, 0.225)
_TRIED_SIDE: Final = 256
"""Side of the image that tells stride and channels: large enough for every published network."""


class HuggingFaceSegmenter(Segmenter):
    """A network of the transformers library, cut before its last 1×1 convolution.

    M_F is the network up to its classifier, M_Y the classifier, a 1×1 convolution. The network is
    built from a configuration alone: no file is read and nothing is fetched here. An auxiliary
    head, which only pre-training uses, is left out.

    Args:
        config: The network's configuration as JSON (`PretrainedConfig.to_dict`), with its
            `model_type`.
        class_names: The label space.
        input_mean: RGB mean to subtract, for images in [0, 1].
        input_std: RGB standard deviation to divide by.

    Raises:
        ValueError: transformers is not installed, or the network is none for semantic
            segmentation that ends in a 1×1 convolution.
    """

    architecture = "hf"

    def __init__(
        self,
        *,
        config: Mapping[str, Any],
        class_names: Sequence[str] = ROAD_CLASS_NAMES,
        input_mean: Sequence[float] = IMAGENET_MEAN,
        input_std: Sequence[float] = IMAGENET_STD,
    ) -> None:
        model = _network(config, class_names)
        place, classifier = _classifier(model, len(class_names))
        parent = model.get_submodule(place.rpartition(".")[0])
        tap = _Tap()
        setattr(parent, place.rpartition(".")[2], tap)
        super().__init__(
            class_names=class_names,
            n_features=classifier.in_channels,
            stride=_stride(model, tap, classifier.in_channels),
            input_mean=input_mean,
            input_std=input_std,
        )
        self.model = model
        self.classifier = classifier
        self._tap = [tap]  # in a list, as it is a part of the network already
        self._config = dict(config)
        self._place = place

    def extract(self, normalised: Tensor) -> Tensor:
        """What the network's head gives to its classifier."""
        return self._tap[0].of(self.model, normalised)

    def classify(self, features: Tensor) -> Tensor:
        """The network's own 1×1 convolution."""
        logits: Tensor = self.classifier(features)
        return logits

    def options(self) -> dict[str, Any]:
        """Arguments of the constructor; the normalisation is in the weights."""
        return {"config": self._config, "class_names": list(self.class_names)}

    def adopt(
        self,
        tensors: Mapping[str, Tensor],
        labels: Sequence[str],
        renamed: Mapping[str, str] | None = None,
        *,
        new_classifier: bool = False,
    ) -> None:
        """Takes the weights of a trained network with another label space.

        Args:
            tensors: Its `state_dict`.
            labels: Its class names, in the order of its logits.
            renamed: Our class name by theirs, where they differ in more than case and dashes.
            new_classifier: Keep the random classifier and take the rest.

        Raises:
            WeightsError: One of our classes is not among theirs, or is twice, or a tensor is
                missing or of another shape.
        """
        taken = dict(tensors)
        theirs = [taken.pop(f"{self._place}.{kind}", None) for kind in ("weight", "bias")]
        own = {f"model.{name}": tensor for name, tensor in taken.items()}
        expected = self.state_dict()
        for name, tensor in expected.items():
            if name.startswith("model.") and (name not in own or own[name].shape != tensor.shape):
                raise WeightsError(f"the checkpoint has no {name[6:]} of {tuple(tensor.shape)}")
        if not new_classifier:
            rows = matched_labels(self.class_names, labels, renamed)
            for kind, tensor in zip(("weight", "bias"), theirs, strict=True):
                if f"classifier.{kind}" not in expected:
                    continue
                if tensor is None or len(tensor) != len(labels):
                    raise WeightsError(
                        f"the checkpoint's classifier does not have its {len(labels)} labels"
                    )
                expected[f"classifier.{kind}"] = tensor[rows]
        self.load_state_dict({**expected, **{k: v for k, v in own.items() if k in expected}})


class _Tap(nn.Module):
    """Stands where a network's classifier stood, and keeps what comes there.

    Some networks enlarge their logits to the size of the image: of what they would enlarge, one
    channel is left.
    """

    def __init__(self) -> None:
        super().__init__()
        self._seen: list[Tensor] = []

    def forward(self, features: Tensor) -> Tensor:
        self._seen.append(features)
        return features[:, :1]

    def of(self, model: nn.Module, pixels: Tensor) -> Tensor:
        """What comes to the classifier for these pixels."""
        model(pixel_values=pixels)
        return self._seen.pop()


def matched_labels(
    class_names: Sequence[str], labels: Sequence[str], renamed: Mapping[str, str] | None = None
) -> list[int]:
    """For each of our classes, the index of theirs.

    Args:
        class_names: Ours.
        labels: Theirs, in the order of their logits.
        renamed: Our name by theirs.

    Raises:
        WeightsError: One of ours is not among theirs, or is there more than once.
    """
    ours_by_theirs = {_plain(theirs): ours for theirs, ours in (renamed or {}).items()}
    names = [_plain(ours_by_theirs.get(_plain(label), label)) for label in labels]
    rows = []
    for name in class_names:
        found = [index for index, label in enumerate(names) if label == _plain(name)]
        if len(found) != 1:
            fault = "is not among" if not found else "is more than once among"
            raise WeightsError(
                f"the class {name!r} {fault} the checkpoint's labels ({', '.join(labels)}): map "
                "its labels with `labels: {theirs: ours}`, or train a new classifier with "
                "`new_classifier: true`"
            )
        rows.append(found[0])
    return rows


def transformers_library() -> ModuleType:
    """The transformers package; `ValueError` where it is not installed."""
    try:
        import transformers  # noqa: PLC0415 - an extra, and it takes seconds to import
    except ImportError as error:
        raise ValueError(
            "segmenters of Hugging Face need the transformers package: pip install 'crosscity[hf]'"
        ) from error
    return transformers


def _network(config: Mapping[str, Any], class_names: Sequence[str]) -> nn.Module:
    transformers = transformers_library()
    settings = {**config, "id2label": dict(enumerate(class_names))}
    settings["label2id"] = {name: index for index, name in enumerate(class_names)}
    settings.pop("num_labels", None)
    if "use_auxiliary_head" in settings:
        settings["use_auxiliary_head"] = False
    model_type = settings.pop("model_type", None)
    try:
        made = transformers.AutoConfig.for_model(model_type, **settings)
        model: nn.Module = transformers.AutoModelForSemanticSegmentation.from_config(made)
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"transformers knows no network for semantic segmentation of the type {model_type!r} "
            f"with this configuration ({str(error).splitlines()[0][:160]})"
        ) from None
    return model


def _classifier(model: nn.Module, n_classes: int) -> tuple[str, nn.Conv2d]:
    """The last 1×1 convolution onto the classes, and its place."""
    found = [
        (name, layer)
        for name, layer in model.named_modules()
        if isinstance(layer, nn.Conv2d)
        and layer.kernel_size == (1, 1)
        and layer.out_channels == n_classes
        and "auxiliary" not in name
    ]
    if not found:
        raise ValueError(
            f"the network {type(model).__name__} does not end in a 1×1 convolution onto its "
            "classes, so it cannot be cut into features and classifier"
        )
    return found[-1]


def _stride(model: nn.Module, tap: _Tap, n_features: int) -> int:
    image = torch.zeros((1, 3, _TRIED_SIDE, _TRIED_SIDE))
    with evaluating(model), torch.no_grad():
        features = tap.of(model, image)
    side = features.shape[-1]
    if features.shape[1] != n_features or _TRIED_SIDE % side:
        raise ValueError(
            f"the network {type(model).__name__} gives {tuple(features.shape)} before its "
            f"classifier where {n_features} channels on a regular grid are needed"
        )
    return int(_TRIED_SIDE // side)


def _plain(name: str) -> str:
    return " ".join(name.replace("_", " ").replace("-", " ").casefold().split())
