"""Whether pixels reach a network in the form that it was trained with, seen without a label.

A network of others wants its pixels in some form: red or blue first, from 0 to 1 or to 255, less
some mean. Nothing in a weight file says which. A wrong one is no error: the network predicts, and
worse. Two signs tell without a label:

- Batch norms remember mean μ and variance σ² of each channel in training. What they see of images,
  m and v, is another city's, and yet near them; pixels 255 times too large are not:

      surprise = median over layers, of the median over channels, of KL(N(m, v) ‖ N(μ, σ²))

  Statistics that differ are the shift which Schneider et al., *Improving robustness against common
  corruptions by covariate shift adaptation* (NeurIPS 2020), measure and correct.
- Of forms that do not surprise, the right one makes predictions sure and varied (`sureness`): J is
  higher. Alone it would not do: it may be highest where pixels are too large by far.

A network without batch norm tells of red and blue alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from crosscity.adaptation.sureness import sureness
from crosscity.adaptation.training import batch_norms
from crosscity.resizing import resized_image
from crosscity.segmenters import Segmenter, image_tensor

MOST_IMAGES: Final = 4
MOST_PIXELS: Final = 2**19
"""Of an image: 512×1024."""
FAR: Final = 10.0
"""Nats of surprise; another city's images in the right form surprise by a tenth of one."""
NEARER: Final = 10.0
"""How many times less a form must surprise to be named instead, or may more to be compared."""
LEAST_GAIN: Final = 0.08
"""Nats of J."""

Size = tuple[int, int]
Triple = tuple[float, float, float]


@dataclass(frozen=True)
class PixelForm:
    """A form that networks of streets are trained with.

    Attributes:
        words: How it is spoken of.
        mean: Subtracted from pixels of 0 to 1, red first.
        std: Divided by then.
    """

    words: str
    mean: Triple
    std: Triple


FORMS: Final = (
    PixelForm(
        "less ImageNet's mean and divided by its deviation",
        (0.485, 0.456, 0.406),
        (0.229, 0.224, 0.225),
    ),
    PixelForm("from 0 to 1", (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
    PixelForm("from -1 to 1", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    PixelForm("from 0 to 255", (0.0, 0.0, 0.0), (1 / 255, 1 / 255, 1 / 255)),
    PixelForm(
        "from 0 to 255 less ImageNet's mean of 255",
        (0.485, 0.456, 0.406),
        (1 / 255, 1 / 255, 1 / 255),
    ),
)


@dataclass(frozen=True)
class TriedForm:
    """What a network makes of images in a form.

    Attributes:
        words: Of the form; empty for the one that it is given.
        swapped: Whether red and blue are swapped against that.
        surprise: Of its batch norms, in nats; ``None`` without any.
        information: J, in nats.
    """

    words: str
    swapped: bool
    surprise: float | None
    information: float


def remark_on_form(
    segmenter: Segmenter,
    pictures: Sequence[npt.NDArray[np.uint8]],
    size: Size | None,
    *,
    on_tried: Callable[[int], None] = lambda _: None,
) -> str:
    """One sentence where another form suits a network better than the one it is given, else empty.

    Args:
        segmenter: Is left as it is.
        pictures: H×W×3 uint8 RGB each; `MOST_IMAGES` are enough.
        size: (height, width) at which it is shown them; ``None``: their own, reduced to
            `MOST_PIXELS`.
        on_tried: Called after each form with how many there are.
    """
    if not pictures:
        return ""
    try:
        return form_remark(try_forms(segmenter, pictures, size, on_tried=on_tried))
    except (RuntimeError, ValueError):
        return ""  # memory, or a network that takes no such size: whoever predicts says so


def try_forms(
    segmenter: Segmenter,
    pictures: Sequence[npt.NDArray[np.uint8]],
    size: Size | None,
    *,
    on_tried: Callable[[int], None] = lambda _: None,
) -> list[TriedForm]:
    """What a network makes of images in the form that it is given, which comes first, and others.

    Red and blue are swapped in the form that it is given and in the best of the others.

    Args:
        segmenter: Is left as it is.
        pictures: H×W×3 uint8 RGB each; some of them are enough.
        size: (height, width) at which it is shown them; ``None``: their own, reduced to
            `MOST_PIXELS`.
        on_tried: Called after each form with how many there are.

    Raises:
        RuntimeError: Or whatever the network raises at such a size.
    """
    device = segmenter.input_mean.device
    shown = [image_tensor(_shown(each, size)[None], device) for each in pictures]
    others: dict[str, PixelForm] = {}
    if _remembering(segmenter):
        others = {form.words: form for form in FORMS if not _is_given(form, segmenter)}
    wanted = [(None, False), (None, True), *((form, False) for form in others.values())]
    tried = []
    for form, swapped in wanted:
        tried.append(try_form(segmenter, shown, form, swapped=swapped))
        on_tried(len(wanted))
    best = best_form(tried)
    if best.words:
        tried.append(try_form(segmenter, shown, others[best.words], swapped=True))
    return tried


def best_form(tried: Sequence[TriedForm]) -> TriedForm:
    """The form of the highest J, of those that surprise little, or hardly more than the least.

    Args:
        tried: The one that the network is given comes first.
    """
    given = tried[0].surprise
    if given is not None and not given <= FAR:
        given = min((one.surprise or 0.0 for one in tried[1:]), default=0.0)
    limit = max(1.0, NEARER * (given or 0.0))
    near = [one for one in tried if one.surprise is None or one.surprise <= limit]
    return max(near or tried[:1], key=lambda one: one.information)


def form_remark(tried: Sequence[TriedForm]) -> str:
    """One sentence where another form suits a network better than the one it is given, else empty.

    Args:
        tried: Of `try_forms`.
    """
    given, best = tried[0], best_form(tried)
    asked = "look up what its own program does with an image"
    if given.surprise is not None and not given.surprise <= FAR:
        said = (
            "the network's batch norms see nothing like what they saw in training (a surprise of "
            f"{given.surprise:.3g} nats, where images of another city make one below 1), as if "
            "its pixels came in another form than it was trained with"
        )
        if best is given or not NEARER * (best.surprise or 0.0) <= given.surprise:
            return f"{said}: {asked} (mean, deviation, 1 or 255, RGB or BGR)"
        return f"{said}; if they come {_words(best)} it is {best.surprise:.3g}: {asked}"
    if not best.information > given.information + LEAST_GAIN:
        return ""
    return (
        f"the network's predictions are surer and more varied if its pixels come {_words(best)} "
        f"({best.information:.2f} nats instead of {given.information:.2f}), as if it had been "
        f"trained so: {asked} and say it with `channels`, `mean`, `std` and `white` of "
        "whole_network"
    )


def _shown(picture: npt.NDArray[np.uint8], size: Size | None) -> npt.NDArray[np.uint8]:
    """A picture at a size, or at its own if that is not large."""
    height, width = picture.shape[:2]
    reduced = math.sqrt(MOST_PIXELS / (height * width))
    if size is None and reduced >= 1:
        return picture
    return resized_image(picture, size or (round(reduced * height), round(reduced * width)))


def _words(form: TriedForm) -> str:
    order = "with red and blue swapped" if form.swapped else ""
    return " and ".join(part for part in (form.words, order) if part)


def _is_given(form: PixelForm, segmenter: Segmenter) -> bool:
    """Whether the network is given this form already, or one that can hardly be told from it."""
    mean, std = segmenter.input_mean.flatten().tolist(), segmenter.input_std.flatten().tolist()
    return all(
        math.isclose(a, b, abs_tol=0.05 * max(c, d)) and math.isclose(c, d, rel_tol=0.15)
        for a, b, c, d in zip(form.mean, mean, form.std, std, strict=True)
    )


def try_form(
    segmenter: Segmenter, shown: Sequence[Tensor], form: PixelForm | None, *, swapped: bool
) -> TriedForm:
    """What a network makes of images in a form.

    Args:
        segmenter: Is left as it is.
        shown: 1×3×H×W floats in [0, 1] each, on its device.
        form: ``None``: the one that it is given.
        swapped: Swap red and blue then.
    """
    given = [_in_form(segmenter, image, form, swapped=swapped) for image in shown]
    sizes = [tuple(image.shape[-2:]) for image in shown]
    with _watched(segmenter) as seen:
        found = sureness(segmenter, given, sizes, [None] * len(given))
    surprise = _surprise(seen)
    return TriedForm("" if form is None else form.words, swapped, surprise, found.information)


def _in_form(
    segmenter: Segmenter, image: Tensor, form: PixelForm | None, *, swapped: bool
) -> Tensor:
    """An image that is in this form once the segmenter has normalised it."""
    if form is None:
        return image.flip(1) if swapped else image
    mean, std = (image.new_tensor(each).reshape(1, 3, 1, 1) for each in (form.mean, form.std))
    wanted = (image - mean) / std
    wanted = wanted.flip(1) if swapped else wanted
    return wanted * segmenter.input_std + segmenter.input_mean


Moments = list[tuple[Tensor, Tensor]]
"""Mean and variance of each channel, of each image."""
Remembering = torch.nn.modules.batchnorm._BatchNorm


def _remembering(segmenter: Segmenter) -> list[Remembering]:
    """The batch norms that carry statistics."""
    return [each for each in batch_norms(segmenter) if each.running_mean is not None]


@contextmanager
def _watched(segmenter: Segmenter) -> Iterator[dict[Remembering, Moments]]:
    """Inside, what comes to each batch norm is kept."""
    seen: dict[Remembering, Moments] = {}

    def look(layer: Remembering, given: tuple[Tensor, ...]) -> None:
        values = given[0].float()
        others = [axis for axis in range(values.ndim) if axis != 1]
        mean = values.mean(others, keepdim=True)
        # Twice through the values: `torch.var_mean` takes nine times as long on a processor.
        variance = (values - mean).square_().mean(others)
        seen.setdefault(layer, []).append((mean.flatten(), variance))

    hooks = [each.register_forward_pre_hook(look) for each in _remembering(segmenter)]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


def _surprise(seen: dict[Remembering, Moments]) -> float | None:
    """Median over layers of the median over channels of the divergence; ``None`` without any."""
    found = []
    for layer, moments in seen.items():
        assert layer.running_mean is not None and layer.running_var is not None  # noqa: S101, PT018
        means = torch.stack([mean for mean, _ in moments])
        mean, between = means.mean(0), means.var(0, unbiased=False)
        # eps: a channel that is always 0 has no variance, then and now.
        variance = torch.stack([within for _, within in moments]).mean(0) + between + layer.eps
        stored = layer.running_var.float() + layer.eps
        off = (mean - layer.running_mean.float()).square()
        divergence = ((variance + off) / stored - 1 - (variance / stored).log()) / 2
        found.append(float(divergence.median()))
    return float(np.median(found)) if found else None


__all__ = [
    "FORMS",
    "MOST_IMAGES",
    "PixelForm",
    "TriedForm",
    "best_form",
    "form_remark",
    "remark_on_form",
    "try_form",
    "try_forms",
]
