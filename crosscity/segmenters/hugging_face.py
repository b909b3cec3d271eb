"""Any `AutoModelForSemanticSegmentation` of Hugging Face transformers (optional extra `[hf]`)."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from crosscity.segmenters.base import (
    ROAD_CLASS_NAMES,
    Segmenter,
    WeightsError,
    evaluating,
)
from crosscity.segmenters.weights import check_finite

if TYPE_CHECKING:
    from types import ModuleType

IMAGENET_MEAN: Final = (0.485, 0.456, 0.406)
IMAGENET_STD: Final = (0.229, 0.224, 0.225)
_TRIED_SIZE: Final = (224, 448)
"""(height, width) of the image that tells stride and channels: large enough for every published
network, and a multiple of the patches in use (14, 16, 32)."""
_ODD_SIZE: Final = (97, 131)
_LARGEST_MULTIPLE: Final = 64


class HuggingFaceSegmenter(Segmenter):
    """A network of the transformers library, cut before the last layer onto its classes.

    M_F is the network up to its classifier, M_Y the classifier: a 1×1 convolution, or a linear
    layer, which is one. The network is built from a configuration alone: no file is read and
    nothing is fetched here. An auxiliary head, which only pre-training uses, is left out. A
    network that drops the rest of an image whose sides are not multiples of its patches gets the
    image with its last row and column repeated.

    Args:
        config: The network's configuration as JSON (`PretrainedConfig.to_dict`), with its
            `model_type`.
        class_names: The label space.
        input_mean: RGB mean to subtract, for images in [0, 1].
        input_std: RGB standard deviation to divide by.
        channel_order: In which order the network takes the channels of an image.
        row_classes: For each logit of the network the index of its class, ascending; of several
            logits of a class the highest counts. ``None``: one each.

    Attributes:
        n_rows: Logits of the network itself.

    Raises:
        ValueError: transformers is not installed, or the network is none for semantic
            segmentation that ends in such a classifier.
    """

    architecture = "hf"

    def __init__(
        self,
        *,
        config: Mapping[str, Any],
        class_names: Sequence[str] = ROAD_CLASS_NAMES,
        input_mean: Sequence[float] = IMAGENET_MEAN,
        input_std: Sequence[float] = IMAGENET_STD,
        channel_order: str = "rgb",
        row_classes: Sequence[int] | None = None,
    ) -> None:
        if channel_order not in ("rgb", "bgr"):
            raise ValueError(f"the channels come as rgb or bgr, not as {channel_order!r}")
        groups = _groups(row_classes, len(class_names))
        n_rows = groups[-1].stop
        model = _network(config, n_rows)
        place, layer = _classifier(model, n_rows)
        parent = model.get_submodule(place.rpartition(".")[0])
        tap = _Tap(channels_last=isinstance(layer, nn.Linear))
        behind = _after_logits(parent, layer)
        setattr(parent, place.rpartition(".")[2], tap)
        classifier = layer if isinstance(layer, nn.Conv2d) else _as_convolution(layer)
        stride, fixed_size = _stride(model, tap, classifier.in_channels)
        super().__init__(
            class_names=class_names,
            n_features=classifier.in_channels,
            stride=stride,
            input_mean=input_mean,
            input_std=input_std,
        )
        self.model = model
        self.classifier = classifier
        self.fixed_size = fixed_size
        self._tap = [tap]  # in a list, as it is a part of the network already
        self._behind = [behind]  # likewise
        self._config = dict(config)
        self._place = place
        self._order = channel_order
        self._groups = groups
        self.n_rows = n_rows
        self._row_classes = None if row_classes is None else list(row_classes)
        self._multiple = 1 if fixed_size else _multiple(model, tap, stride)

    def extract(self, normalised: Tensor) -> Tensor:
        """What the network's head gives to its classifier.

        Raises:
            ValueError: The network takes another size only.
        """
        height, width = normalised.shape[-2:]
        if self.fixed_size is not None and (height, width) != self.fixed_size:
            wanted = self.fixed_size
            raise ValueError(
                f"the network {type(self.model).__name__} takes images of {wanted[0]}×{wanted[1]} "
                f"pixels only, not of {height}×{width}: set image_size: [{wanted[0]}, {wanted[1]}] "
                "for its source and its training"
            )
        pixels = normalised.flip(1) if self._order == "bgr" else normalised
        if self._multiple == 1:
            return self._tap[0].of(self.model, pixels)
        # Without divisions of negative numbers and without branches: ONNX has neither.
        below, right = (self._padding(side) for side in (height, width))
        pixels = functional.pad(pixels, (0, right, 0, below), mode="replicate")
        rows, columns = ((side + self.stride - 1) // self.stride for side in (height, width))
        return self._tap[0].of(self.model, pixels)[..., :rows, :columns]

    def _padding(self, side: int) -> int:
        """Pixels that a side lacks to a multiple of the patches."""
        whole: int = (side + self._multiple - 1) // self._multiple * self._multiple
        return whole - side

    def classify(self, features: Tensor) -> Tensor:
        """The network's own classifier; the highest logit where several are of one class."""
        logits: Tensor = self.classifier(features)
        if self._row_classes is None:
            return logits
        return torch.stack([logits[:, rows].amax(1) for rows in self._groups], dim=1)

    def upsample(self, logits: Tensor, size: tuple[int, int]) -> Tensor:
        """As the network enlarges its logits, and from there as every segmenter."""
        return super().upsample(self._behind[0](logits), size)

    def options(self) -> dict[str, Any]:
        """Arguments of the constructor; the normalisation is in the weights."""
        options: dict[str, Any] = {"config": self._config, "class_names": list(self.class_names)}
        if self._order != "rgb":
            options["channel_order"] = self._order
        if self._row_classes is not None:
            options["row_classes"] = self._row_classes
        return options

    def as_transformers(self) -> nn.Module:
        """The whole network as transformers has it, with these weights and the names of its logits.

        Of several logits of one class each has that class's name.
        """
        model = _network(self._config, self.n_rows)
        classes = [index for index, rows in enumerate(self._groups) for _ in _numbers(rows)]
        names = {row: self.class_names[index] for row, index in enumerate(classes)}
        config: Any = model.config
        config.id2label, config.label2id = names, {name: row for row, name in names.items()}
        ours, theirs = self.state_dict(), model.state_dict()
        filled = {name: ours[f"model.{name}"] for name in theirs if f"model.{name}" in ours}
        for kind in ("weight", "bias"):
            name = f"{self._place}.{kind}"
            if name in theirs:
                filled[name] = ours[f"classifier.{kind}"].reshape(theirs[name].shape)
        model.load_state_dict(filled)
        return model.eval()

    def adopt(
        self, tensors: Mapping[str, Tensor], rows: Sequence[int], *, new_classifier: bool = False
    ) -> None:
        """Takes the weights of a trained network with another label space.

        Args:
            tensors: Its `state_dict`.
            rows: Which of its logits become ours, in the order of ours.
            new_classifier: Keep the random classifier and take the rest.

        Raises:
            WeightsError: A tensor is missing, of another shape, or not finite.
        """
        taken = dict(tensors)
        theirs = [taken.pop(f"{self._place}.{kind}", None) for kind in ("weight", "bias")]
        own = {f"model.{name}": tensor for name, tensor in taken.items()}
        expected = self.state_dict()
        for name, tensor in expected.items():
            if name.startswith("model.") and (name not in own or own[name].shape != tensor.shape):
                raise WeightsError(f"the checkpoint has no {name[6:]} of {tuple(tensor.shape)}")
        if not new_classifier:
            for kind, tensor in zip(("weight", "bias"), theirs, strict=True):
                name = f"classifier.{kind}"
                if name not in expected:
                    continue
                if tensor is None or len(tensor) <= max(rows):
                    raise WeightsError(f"the checkpoint's classifier has no {max(rows) + 1} rows")
                expected[name] = tensor[list(rows)].reshape(expected[name].shape)
        filled = {**expected, **{name: own[name] for name in own if name in expected}}
        check_finite(filled)
        self.load_state_dict(filled)


class _Tap(nn.Module):
    """Stands where a network's classifier stood, and keeps what comes there.

    Some networks enlarge their logits to the size of the image: of what they would enlarge, one
    channel is left. It has the sizes of a 1×1 convolution, as some ask for them.
    """

    kernel_size = stride = dilation = (1, 1)

    def __init__(self, *, channels_last: bool) -> None:
        super().__init__()
        self._seen: list[Tensor] = []
        self._channels_last = channels_last

    def forward(self, features: Tensor) -> Tensor:
        self._seen.append(features.movedim(-1, 1) if self._channels_last else features)
        return features[..., :1] if self._channels_last else features[:, :1]

    def of(self, model: nn.Module, pixels: Tensor) -> Tensor:
        """What comes to the classifier for these pixels."""
        self._seen.clear()
        model(pixel_values=pixels)
        return self._seen.pop()


def matched_labels(
    class_names: Sequence[str], labels: Sequence[str], renamed: Mapping[str, str] | None = None
) -> list[list[int]]:
    """For each of our classes, the indices of theirs: one, or several that are merged.

    Args:
        class_names: Ours.
        labels: Theirs, in the order of their logits; an empty one is none.
        renamed: Our name by theirs. Two of theirs that are given to one of ours are merged.

    Raises:
        WeightsError: Some of ours are not among theirs, or are there more than once without being
            told to merge, or a renamed one is not there. All names are listed.
    """
    ours_by_theirs = {
        _plain_name(str(theirs)): str(ours) for theirs, ours in (renamed or {}).items()
    }
    theirs = [_plain_name(label) for label in labels]
    listed = ", ".join(label for label in labels if label)
    lost = [name for name in renamed or {} if _plain_name(str(name)) not in theirs]
    if lost:
        raise WeightsError(
            f"`labels` renames {_quoted(map(str, lost))}, which the checkpoint does not have; its "
            f"labels are {listed}"
        )
    names = [_plain_name(ours_by_theirs.get(label, label)) for label in theirs]
    rows, missing, twice = [], [], []
    for name in class_names:
        found = [index for index, label in enumerate(names) if label and label == _plain_name(name)]
        unasked = [index for index in found if theirs[index] not in ours_by_theirs]
        if not found:
            missing.append(name)
        if len(unasked) > 1:
            twice.append(name)
        rows.append(found)
    faults = [f"{_classes_in_words(missing)} not among"] if missing else []
    faults += [f"{_classes_in_words(twice)} more than once among"] if twice else []
    if faults:
        fewer = ", name in `class_names` those that it has" if missing else ""
        raise WeightsError(
            # What to do comes first: lists of 150 names are cut where messages are.
            f"{' and '.join(faults)} the checkpoint's labels: in `options:` of its entry of a "
            f"catalog map them with `labels: {{theirs: ours}}`{fewer}, or train a new classifier "
            f"with `new_classifier: true`; its labels are {listed}"
        )
    return rows


def _classes_in_words(names: Sequence[str]) -> str:
    one = len(names) == 1
    return f"the class{'' if one else 'es'} {_quoted(names)} {'is' if one else 'are'}"


def _quoted(names: Iterable[str]) -> str:
    return ", ".join(repr(name) for name in names)


def transformers_library() -> ModuleType:
    """The transformers package; `ValueError` where it is not installed."""
    try:
        import transformers  # noqa: PLC0415 - an extra, and it takes seconds to import
    except ImportError as error:
        raise ValueError(
            "segmenters of Hugging Face need the transformers package: pip install 'crosscity[hf]'"
        ) from error
    # Reading weights drew a bar at each start.
    transformers.utils.logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    return transformers


def _network(config: Mapping[str, Any], n_rows: int) -> nn.Module:
    transformers = transformers_library()
    settings = {**config, "id2label": {index: str(index) for index in range(n_rows)}}
    settings["label2id"] = {str(index): index for index in range(n_rows)}
    for name in ("num_labels", "dtype", "torch_dtype"):
        settings.pop(name, None)
    if "use_auxiliary_head" in settings:
        settings["use_auxiliary_head"] = False
    model_type = settings.pop("model_type", None)
    try:
        made = transformers.AutoConfig.for_model(model_type, **settings)
        model: nn.Module = transformers.AutoModelForSemanticSegmentation.from_config(
            made, dtype=torch.float32
        )
    except Exception as error:  # each configuration checks itself in its own way
        raise ValueError(
            f"transformers knows no network for semantic segmentation of the type {model_type!r} "
            f"with this configuration ({first_line(error)})"
        ) from None
    return model


def first_line(error: Exception) -> str:
    """The first line of what a library says, short enough for one sentence."""
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0][:160]


def _groups(row_classes: Sequence[int] | None, n_classes: int) -> list[slice]:
    """The rows of each class."""
    given = list(range(n_classes) if row_classes is None else row_classes)
    if given != sorted(given) or set(given) != set(range(n_classes)):
        raise ValueError(f"row_classes must name the classes 0 to {n_classes - 1} in their order")
    return [slice(bisect_left(given, c), bisect_right(given, c)) for c in range(n_classes)]


def _numbers(rows: slice) -> range:
    return range(rows.start, rows.stop)


def _classifier(model: nn.Module, n_rows: int) -> tuple[str, nn.Conv2d | nn.Linear]:
    """The last layer onto the classes, and its place."""
    found: list[tuple[str, nn.Conv2d | nn.Linear]] = []
    for name, layer in model.named_modules():
        if isinstance(layer, nn.Conv2d):
            fits = layer.kernel_size == (1, 1) and layer.out_channels == n_rows
        else:
            fits = isinstance(layer, nn.Linear) and layer.out_features == n_rows
        if fits and "auxiliary" not in name:
            assert isinstance(layer, nn.Conv2d | nn.Linear)  # noqa: S101 - says so to mypy
            found.append((name, layer))
    if not found:
        raise ValueError(
            f"the network {type(model).__name__} does not end in a 1×1 convolution onto its "
            "classes, so it cannot be cut into features and classifier"
        )
    return found[-1]


def _as_convolution(layer: nn.Linear) -> nn.Conv2d:
    made = nn.Conv2d(layer.in_features, layer.out_features, 1, bias=layer.bias is not None)
    with torch.no_grad():
        made.weight.copy_(layer.weight[:, :, None, None])
        if made.bias is not None:
            made.bias.copy_(layer.bias)
    return made


def _after_logits(parent: nn.Module, layer: nn.Module) -> nn.Module:
    """What a network does to its logits, where that is a part of it: DPT enlarges them."""
    if not isinstance(parent, nn.Sequential):
        return nn.Identity()
    steps = list(parent)
    return nn.Sequential(*steps[steps.index(layer) + 1 :])


def _stride(model: nn.Module, tap: _Tap, n_features: int) -> tuple[int, tuple[int, int] | None]:
    """The stride, and the only size that the network takes, if there is one."""
    fixed_size = None
    try:
        size, features = _TRIED_SIZE, _try_size(model, tap, _TRIED_SIZE)
    except (ValueError, RuntimeError, TypeError) as error:
        fixed_size = _stated_size(model)
        if fixed_size is None:
            raise ValueError(
                f"the network {type(model).__name__} takes no image of "
                f"{_TRIED_SIZE[0]}×{_TRIED_SIZE[1]} pixels ({first_line(error)}), and its "
                "configuration has no image_size"
            ) from None
        size, features = fixed_size, _try_size(model, tap, fixed_size)
    strides = {size[0] / features.shape[-2], size[1] / features.shape[-1]}
    stride = int(min(strides))
    if features.shape[1] != n_features or strides != {float(stride)}:
        raise ValueError(
            f"the network {type(model).__name__} gives {tuple(features.shape)} before its "
            f"classifier for an image of {size[0]}×{size[1]}, where {n_features} channels on a "
            "grid of whole pixels are needed"
        )
    return stride, fixed_size


def _stated_size(model: nn.Module) -> tuple[int, int] | None:
    """The size of the configuration, where the network takes it."""
    config: Any = model.config
    for holder in (config, getattr(config, "backbone_config", None)):
        stated = getattr(holder, "image_size", None)
        if isinstance(stated, int):
            return stated, stated
        if isinstance(stated, list | tuple) and len(stated) == 2:
            return int(stated[0]), int(stated[1])
    return None


def _multiple(model: nn.Module, tap: _Tap, stride: int) -> int:
    """What the sides of an image must be multiples of for a grid of ceil(side / stride) cells."""
    if _is_regular(model, tap, stride, _ODD_SIZE):
        return 1
    multiple = stride
    while multiple <= _LARGEST_MULTIPLE:
        sides = [multiple * times for times in range(1, 256, 2) if multiple * times >= 64][:2]
        if _is_regular(model, tap, stride, (sides[0], sides[1])):
            return multiple
        multiple *= 2
    raise ValueError(
        f"the network {type(model).__name__} gives no regular grid for images of other sizes than "
        f"{_TRIED_SIZE[0]}×{_TRIED_SIZE[1]}"
    )


def _is_regular(model: nn.Module, tap: _Tap, stride: int, size: tuple[int, int]) -> bool:
    try:
        found = tuple(_try_size(model, tap, size).shape[-2:])
    except (ValueError, RuntimeError, TypeError):
        return False
    return found == (-(-size[0] // stride), -(-size[1] // stride))


def _try_size(model: nn.Module, tap: _Tap, size: tuple[int, int]) -> Tensor:
    with evaluating(model), torch.no_grad():
        return tap.of(model, torch.zeros((1, 3, *size)))


def _plain_name(name: str) -> str:
    return " ".join(name.replace("_", " ").replace("-", " ").casefold().split())
