"""Segmenters of the user's own package: `python:my_pkg.my_module:build`."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, cast

import torch
from torch import Tensor, nn

from crosscity.named_function import PREFIX, function_of, named_function, somebody_elses
from crosscity.segmenters.base import ROAD_CLASS_NAMES, Segmenter, evaluating
from crosscity.segmenters.weights import drop_vanishing

_TRIED_SIZES: Final = ((64, 96), (97, 131), (360, 480))
"""(height, width) of the images that a plugged-in segmenter is tried on when it is built."""


class ComposedSegmenter(Segmenter):
    """A segmenter made of two modules of any kind.

    What a user's `build` function returns: their network cut into what makes features and what
    turns features into class logits.

    Args:
        extractor: Normalised images B×3×H×W to features B×D×h×w, h = ceil(H / stride).
        classifier: Features to logits B×C×h×w.
        n_features: D.
        stride: Pixels of the image a cell has in each direction.
        class_names: The label space, in the order of the logits.
        input_mean: RGB mean to subtract, for images in [0, 1].
        input_std: RGB standard deviation to divide by.
    """

    architecture = "composed"

    def __init__(
        self,
        extractor: nn.Module,
        classifier: nn.Module,
        *,
        n_features: int,
        stride: int,
        class_names: Sequence[str] = ROAD_CLASS_NAMES,
        input_mean: Sequence[float] = (0.485, 0.456, 0.406),
        input_std: Sequence[float] = (0.229, 0.224, 0.225),
    ) -> None:
        super().__init__(
            class_names=class_names,
            n_features=n_features,
            stride=stride,
            input_mean=input_mean,
            input_std=input_std,
        )
        self.extractor = extractor
        self.classifier = classifier
        self.built_with: dict[str, Any] = {}

    def extract(self, normalised: Tensor) -> Tensor:
        """What the extractor gives."""
        features: Tensor = self.extractor(normalised)
        return features

    def classify(self, features: Tensor) -> Tensor:
        """What the classifier gives."""
        logits: Tensor = self.classifier(features)
        return logits

    def options(self) -> dict[str, Any]:
        """The arguments that `build` was called with."""
        return dict(self.built_with)


def build_plug_in(architecture: str, options: Mapping[str, Any]) -> Segmenter:
    """Calls a user's `build(**options)` and checks what it returns.

    The package must be importable: installed in the environment, or on PYTHONPATH. The catalog
    decides which code is run here, as it decides what is installed; nothing is fetched.

    Args:
        architecture: `python:` and the function, as `package.module:function`.
        options: Keyword arguments of the function; JSON-able.

    Raises:
        TypeError: The function does not take the options.
        ValueError: There is no such module or function, it fails, or what it returns is not a
            segmenter.
    """
    name = function_of(architecture).strip()
    build = named_function(name)
    inspect.signature(build).bind(**options)
    with somebody_elses(repr(architecture)):
        segmenter = build(**dict(options))
    if not isinstance(segmenter, Segmenter):
        raise ValueError(  # noqa: TRY004 - a wrong catalog entry, like the others
            f"{architecture!r} returned {type(segmenter).__name__}: it must return a Segmenter "
            "(crosscity.segmenters.whole_network makes one of a network as it is, "
            "ComposedSegmenter one of two modules)"
        )
    segmenter.architecture = f"{PREFIX}{name}"
    if isinstance(segmenter, ComposedSegmenter):
        segmenter.built_with = dict(options)
    _check_precision(segmenter)
    drop_vanishing(segmenter)
    check_shapes(segmenter)
    _check_prediction(segmenter)
    _check_in_training(segmenter)
    return segmenter


def check_shapes(segmenter: Segmenter, sizes: Sequence[tuple[int, int]] = _TRIED_SIZES) -> None:
    """Tries a segmenter on grey images of each size: two of the first size, one of the others.

    Args:
        segmenter: The segmenter.
        sizes: (height, width) of the images; by default a small one, one of odd sides and one of a
            real data set, which is not a multiple of 16.

    Raises:
        ValueError: It does not take an image, or features or logits are not of the shape that it
            promises, or not finite.
    """
    for number, size in enumerate(sizes):
        images = 2 if number == 0 else 1
        grid = (-(-size[0] // segmenter.stride), -(-size[1] // segmenter.stride))
        with evaluating(segmenter), torch.no_grad():
            grey = torch.full((images, 3, *size), 0.5)
            features = _made(segmenter.features, grey, images, size)
            _check("features", features, (images, segmenter.n_features, *grid), size)
            logits = _made(segmenter.classify, cast("Tensor", features), images, size)
            _check("logits", logits, (images, segmenter.n_classes, *grid), size)


def _check_precision(segmenter: Segmenter) -> None:
    """Refuses weights of half precision, whose steps of training are rounded to nothing or NaN."""
    for name, weight in segmenter.named_parameters():
        if weight.dtype in (torch.float16, torch.bfloat16):
            raise ValueError(
                f"its weight {name} is {str(weight.dtype).removeprefix('torch.')}: return the "
                "segmenter in single precision (.float()); a compute profile's `precision` has it "
                "computed in bf16"
            )


def _check_prediction(segmenter: Segmenter) -> None:
    """Holds two predictions of one image against each other, and looks for a softmax.

    Raises:
        ValueError: They differ, parts of the segmenter train while it predicts, or what it calls
            logits are probabilities.
    """
    height, width = _TRIED_SIZES[0]
    noise = torch.rand((1, 3, height, width), generator=torch.Generator().manual_seed(0))
    # A copy, as a part that trains has its statistics moved by what it is shown.
    tried = _copied(segmenter)
    with evaluating(tried), torch.no_grad(), torch.random.fork_rng(devices=[]):
        first, again = (tried.classify(tried.features(noise)) for _ in range(2))
        training = next((name for name, part in tried.named_modules() if part.training), None)
    if training is not None:
        raise ValueError(
            f"its forward puts {training or 'itself'} into training mode while it predicts: leave "
            "train() and eval() to whoever calls it"
        )
    if not torch.allclose(first, again, rtol=1e-3, atol=1e-3 * float(first.abs().max())):
        raise ValueError(
            "it predicts one image twice otherwise: in evaluation mode nothing may be drawn or "
            "counted (functional.dropout needs training=self.training)"
        )
    if bool((first >= 0).all()) and torch.allclose(first.sum(1), torch.ones(()), atol=1e-4):
        raise ValueError(
            "its logits are probabilities, they add up to 1 in every cell: return what stands "
            "before the softmax"
        )


def _check_in_training(segmenter: Segmenter) -> None:
    """Tries a copy in training mode, where networks drop, normalise and return otherwise."""
    size, when = _TRIED_SIZES[0], " in training mode"
    grid = (-(-size[0] // segmenter.stride), -(-size[1] // segmenter.stride))
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        tried = _copied(segmenter).train()
        noise = torch.rand((2, 3, *size), generator=torch.Generator().manual_seed(0))
        moved = _trainable_parts_used(tried)
        features = _made(tried.features, noise, 2, size, when)
        _check("features", features, (2, segmenter.n_features, *grid), size, when)
        found = cast("Tensor", features)
        if moved and not found.requires_grad:
            raise ValueError(
                f"no gradient reaches {moved[0]} of it: its features are made without one "
                "(no_grad, inference_mode, detach, numpy), so an adaptation would not move them; "
                "freeze what is to stay as it is (requires_grad_(False))"
            )
        logits = cast("Tensor", _made(tried.classify, found, 2, size, when))
        _check("logits", logits, (2, segmenter.n_classes, *grid), size, when)
        if moved:  # what is frozen whole can predict, and a training refuses it
            _check_gradient(logits)


def _trainable_parts_used(tried: Segmenter) -> list[str]:
    """Will name the parts with weights to train that the next images go through, in that order."""
    used: list[str] = []

    def noting(name: str) -> Callable[..., None]:
        return lambda *_: used.append(name)

    for name, part in tried.named_modules():
        if any(weight.requires_grad for weight in part.parameters(recurse=False)):
            part.register_forward_hook(noting(name))
    return used


def _check_gradient(logits: Tensor) -> None:
    if not logits.requires_grad:
        raise ValueError(
            "no gradient reaches its weights: its logits are made without one (no_grad, "
            "inference_mode, detach, numpy); freeze what is to stay as it is "
            "(requires_grad_(False))"
        )
    try:
        torch.autograd.backward(logits.float().square().mean())
    except Exception as error:  # code of somebody else's
        reason = " ".join(str(error).split())[:160]
        raise ValueError(f"no gradient can be computed through it ({reason})") from error


def _copied(segmenter: Segmenter) -> Segmenter:
    try:
        return copy.deepcopy(segmenter)
    except Exception as error:  # of what somebody else keeps in it
        reason = " ".join(str(error).split())[:160]
        raise ValueError(
            f"it cannot be copied, which trainings with a slow teacher do ({reason})"
        ) from error


def _made(
    part: Callable[[Tensor], object],
    given: Tensor,
    images: int,
    size: tuple[int, int],
    when: str = "",
) -> object:
    """What a part of a segmenter makes; its errors as one sentence, whatever their type."""
    try:
        return part(given)
    except (Exception, SystemExit) as error:  # code of somebody else's
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:160]
        many = "image" if images == 1 else f"batch of {images} images"
        raise ValueError(
            f"the segmenter takes no {many} of {size[0]}×{size[1]} pixels{when} ({reason}): images "
            "may have any size; pad them in the extractor to what it needs, as multiple_of and "
            "smallest of whole_network do"
        ) from error


def _check(
    what: str, found: object, shape: tuple[int, ...], size: tuple[int, int], when: str = ""
) -> None:
    if not isinstance(found, Tensor) or found.shape != shape:
        described = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
        enlarged = (
            "; where the head enlarges the grid, make the whole network the extractor, at the "
            "stride of what it returns, and the classifier one that picks the classes"
            if what == "logits" and isinstance(found, Tensor) and found.shape[:2] == shape[:2]
            else ""
        )
        raise ValueError(
            f"the {what} of {_images(shape)} of {size[0]}×{size[1]} pixels{when} are {described} "
            f"instead of {shape}: n_features, stride and class_names must say what the modules do, "
            f"and a grid has ceil(side / stride) cells{enlarged}"
        )
    if not bool(torch.isfinite(found).all()):
        raise ValueError(
            f"the {what} of {_images(shape)} of {size[0]}×{size[1]} pixels{when} are not finite: "
            "look for a division by the image's own deviation, or for weights that are NaN"
        )


def _images(shape: tuple[int, ...]) -> str:
    return "an image" if shape[0] == 1 else f"{shape[0]} images"
