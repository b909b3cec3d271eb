"""A network of somebody else as it is, images in and logits out, as a segmenter."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from crosscity.checks import MAX_SIDE, number, whole_number
from crosscity.segmenters.base import ROAD_CLASS_NAMES, channel_values, evaluating
from crosscity.segmenters.plug_in import ComposedSegmenter

_TRIED_SIDE: Final = 64
_OUT: Final = "out"
"""What torchvision's networks call the output that counts."""


def whole_network(
    network: nn.Module,
    outputs: Sequence[str | None] = ROAD_CLASS_NAMES,
    *,
    mean: Sequence[float] = (0.485, 0.456, 0.406),
    std: Sequence[float] = (0.229, 0.224, 0.225),
    white: float = 1.0,
    channels: Literal["RGB", "BGR"] = "RGB",
    multiple_of: int = 1,
    smallest: int = 1,
    head: int | str | None = None,
) -> ComposedSegmenter:
    """Makes a segmenter of a network as it is, which is the extractor: its logits are the features.

    The stride is found by trying it: logits have the size of the images, or a whole fraction of it.

    Args:
        network: Normalised images N×3×H×W to class logits, or to several in a tuple or a dict.
        outputs: The class of each channel of the logits, in their order; ``None`` for one that is
            left out, as a background is. Classes that are not left out are the label space.
        mean: What the network's own program subtracts, a channel each, in the order of `channels`.
        std: What it divides by.
        white: Largest value of a pixel where `mean` is subtracted: 1, or 255.
        channels: The order that the network was trained with: BGR where OpenCV read the images.
        multiple_of: Images are continued at the right and below, by what is at their edge, to
            sides that are multiples of this and of the stride.
        smallest: And to sides that are at least this.
        head: The output that counts, by number or key; default: the first, or "out" of a dict.

    Raises:
        ValueError: An argument is out of range, or the network gives no such output.
    """
    if channels not in ("RGB", "BGR"):
        raise ValueError(f"channels are 'RGB' or 'BGR', not {channels!r}")
    if isinstance(outputs, str):
        raise ValueError(  # noqa: TRY004 - as whatever else is wrong with an argument
            f"outputs are a list of the names of classes, not {outputs!r:.60}"
        )
    multiple_of = whole_number(multiple_of, "multiple_of", 1, MAX_SIDE)
    smallest = whole_number(smallest, "smallest", 1, MAX_SIDE)
    white = number(white, "white", 0, above=True)
    whole = _Whole(network, channels == "BGR", multiple_of, smallest, head)
    made, whole.stride = _tried(whole)
    whole.multiple_of = math.lcm(multiple_of, whole.stride)
    if made != len(outputs):
        raise ValueError(
            f"the network gives {made} outputs and {len(outputs)} are named: say the class of "
            "each in their order, None for what is left out, as a background is"
        )
    order = slice(None, None, -1 if channels == "BGR" else 1)
    return ComposedSegmenter(
        whole,
        _Picked([index for index, name in enumerate(outputs) if name is not None], made),
        n_features=made,
        stride=whole.stride,
        class_names=[name for name in outputs if name is not None],
        input_mean=[value / white for value in channel_values(mean, "mean")][order],
        input_std=[value / white for value in channel_values(std, "deviation")][order],
    )


class _Whole(nn.Module):
    """The network behind what its images need."""

    def __init__(
        self, network: nn.Module, bgr: bool, multiple_of: int, smallest: int, head: int | str | None
    ) -> None:
        super().__init__()
        self.network = network
        self.bgr = bgr
        self.multiple_of = multiple_of
        self.smallest = smallest
        self.head = head
        self.stride = 1

    def forward(self, images: Tensor) -> Tensor:
        """Logits of each cell that has a pixel of the images."""
        height, width = images.shape[-2:]
        if self.multiple_of > 1 or self.smallest > 1:
            below, right = self._lacking(height), self._lacking(width)
            images = functional.pad(images, (0, right, 0, below), mode="replicate")
        logits = self.logits(images.flip(1) if self.bgr else images)
        rows, columns = (_parts(side, self.stride) for side in (height, width))
        return logits[..., :rows, :columns]

    def logits(self, images: Tensor) -> Tensor:
        """The output that counts."""
        made: Any = self.network(images)
        wanted = self.head
        try:
            if isinstance(made, Mapping):
                wanted = _OUT if wanted is None else wanted
                made = made[wanted]
            elif isinstance(made, (tuple, list)):
                made = made[self.head or 0]  # type: ignore[index] # told below
        except (LookupError, TypeError):
            keyed = isinstance(made, Mapping)
            there = ", ".join(map(repr, made)) if keyed else len(made)
            raise ValueError(
                f"the network has no output {wanted!r}: it gives {there}; say with `head` which "
                "counts"
            ) from None
        if not isinstance(made, Tensor) or made.ndim != 4:
            what = tuple(made.shape) if isinstance(made, Tensor) else type(made).__name__
            raise ValueError(
                f"the network gives {what} instead of logits N×C×h×w: say with `head` which of "
                "several outputs counts"
            )
        return made

    def _lacking(self, side: int) -> int:
        wanted: int = side
        if self.smallest > 1:
            wanted = torch.sym_max(side, self.smallest)  # type: ignore[no-untyped-call]
        return _parts(wanted, self.multiple_of) * self.multiple_of - side


class _Picked(nn.Module):
    """The logits of the classes that are not left out."""

    def __init__(self, kept: Sequence[int], outputs: int) -> None:
        super().__init__()
        self.kept = list(kept)
        self.all = len(kept) == outputs

    def forward(self, logits: Tensor) -> Tensor:
        """N×outputs×h×w to N×C×h×w."""
        return logits if self.all else logits[:, self.kept]


def _tried(whole: _Whole) -> tuple[int, int]:
    """How many outputs the network has, and how many pixels of the image a cell of them."""
    least = max(_TRIED_SIDE, whole.smallest)
    side = _parts(least, whole.multiple_of) * whole.multiple_of
    height, width = side, 2 * side
    device = next((each.device for each in whole.parameters()), torch.device("cpu"))
    try:
        with evaluating(whole), torch.no_grad():
            made = whole.logits(torch.zeros((1, 3, height, width), device=device))
    except ValueError:
        raise  # which output counts
    except Exception as error:  # code of somebody else's
        reason = " ".join(str(error).split())[:160]
        raise ValueError(
            f"the network takes no image of {height}×{width} pixels ({reason}): say with "
            "multiple_of and smallest which sides it needs"
        ) from error
    rows, columns = made.shape[-2:]
    stride = max(1, round(height / rows))
    if (_parts(height, stride), _parts(width, stride)) != (rows, columns):
        raise ValueError(
            f"the logits of an image of {height}×{width} pixels are {rows}×{columns}, no whole "
            "fraction of it: have the network enlarge them to the image's size"
        )
    return made.shape[1], stride


def _parts(side: int, of: int) -> int:
    """ceil(side / of), of positive numbers alone: ONNX rounds quotients of others to 0."""
    return (side + of - 1) // of
