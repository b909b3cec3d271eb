"""What a checkpoint of Hugging Face wants done to an image, as mean, deviation and channel order.

A processor's configuration and its class can say two things (a class may ignore a key, and has
defaults of its own), so the processor of transformers is asked: what it makes of known colours must
be what its configuration says. Its resizing and cropping is left out, as images go through our
networks at the sizes that the catalog names.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt

from crosscity.segmenters.hugging_face import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    first_line,
    transformers_library,
)

_FILES: Final = ("preprocessor_config.json", "processor_config.json")
_KNOWN_STEPS: Final = frozenset(
    {"do_normalize", "do_rescale", "do_flip_channel_order", "do_convert_rgb", "do_reduce_labels"}
)
"""Steps that are represented, or that change nothing of an RGB image."""
_GEOMETRY: Final = frozenset({"do_resize", "do_center_crop", "do_pad"})
_SIZED_BY: Final = ("size", "crop_size", "pad_size")


@dataclass(frozen=True)
class InputStatistics:
    """How a network takes RGB images in [0, 1].

    Attributes:
        mean: Subtracted, in the order red, green, blue.
        std: Divided by, likewise.
        channel_order: `rgb` or `bgr`.
        remarks: What was assumed, and what is done otherwise.
    """

    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    channel_order: str = "rgb"
    remarks: tuple[str, ...] = ()


class _Processor(Protocol):
    """What is used of an image processor of transformers."""

    def to_dict(self) -> dict[str, Any]: ...

    def __call__(
        self,
        images: npt.NDArray[np.uint8],
        *,
        return_tensors: str,
        do_resize: bool,
        do_center_crop: bool,
        do_pad: bool,
    ) -> Mapping[str, Sequence[npt.NDArray[np.float32]]]: ...


def input_statistics(place: str, revision: str | None, model_type: str) -> InputStatistics:
    """The input statistics of a checkpoint, from its image processor.

    Args:
        place: Its folder, or its name on the hub.
        revision: Of the hub; ``None``: the newest.
        model_type: Of its configuration.

    Raises:
        ValueError: The processor does something that mean, deviation and channel order do not
            represent, or that contradicts its configuration; what it is is named.
        OSError: A file cannot be fetched or read.
    """
    given = _configuration(place, revision)
    if given is None:
        return _assumed(model_type)
    if "auto_map" in given:
        raise ValueError(
            "its image processor is code of its own (auto_map), which is not run: remove the key "
            "and say mean and deviation in preprocessor_config.json"
        )
    for key, on in given.items():
        if key.startswith("do_") and on not in (None, True, False):
            raise ValueError(f"{key} is {on!r}: true or false is needed, without quotes")
    unknown = [
        key for key, on in given.items() if key.startswith("do_") and on and key not in _steps()
    ]
    if unknown:
        raise ValueError(
            f"its image processor asks for {', '.join(unknown)}, which is not represented here: "
            "prepare images like that yourself and remove the key"
        )
    processor = _processor(place, revision)
    settings = given if processor is None else {**_settings(processor), **given}
    stated = _stated(settings, is_complete=processor is not None)
    if processor is not None:
        _compare(processor, stated, settings)
    return InputStatistics(*stated, remarks=_geometry(settings))


def _steps() -> frozenset[str]:
    return _KNOWN_STEPS | _GEOMETRY


def _configuration(place: str, revision: str | None) -> dict[str, Any] | None:
    """What the checkpoint's file says; ``None`` where it has none."""
    transformers = transformers_library()
    for name in _FILES:
        found = transformers.utils.hub.cached_file(
            place, name, revision=revision, _raise_exceptions_for_missing_entries=False
        )
        if found is None:
            continue
        try:
            content = json.loads(Path(found).read_text(encoding="utf-8"))
        except ValueError as error:
            raise ValueError(f"its {name} is not JSON ({first_line(error)})") from None
        if isinstance(content, dict):
            inner = content.get("image_processor")
            return dict(inner) if isinstance(inner, dict) else content
        raise ValueError(f"its {name} holds no mapping")
    return None


def _processor(place: str, revision: str | None) -> _Processor | None:
    """The processor; ``None`` where its class needs packages that are not installed."""
    transformers = transformers_library()
    try:
        found: _Processor = transformers.AutoImageProcessor.from_pretrained(
            place, revision=revision, trust_remote_code=False
        )
    except ImportError:
        return None
    except Exception as error:  # transformers raises a dozen types for a configuration it dislikes
        if "could be imported" in str(error) or "requires" in str(error):
            return None
        raise ValueError(
            f"transformers makes no image processor of its configuration ({first_line(error)})"
        ) from None
    return found


def _settings(processor: _Processor) -> dict[str, Any]:
    """A processor's configuration with the defaults of its class."""
    settings: dict[str, Any] = dict(processor.to_dict())
    for name in (*_steps(), "rescale_factor", "image_mean", "image_std"):
        if hasattr(processor, name):
            settings.setdefault(name, getattr(processor, name))
    return settings


def _stated(
    settings: Mapping[str, Any], *, is_complete: bool
) -> tuple[tuple[float, float, float], tuple[float, float, float], str]:
    """Mean, deviation and order that a configuration says."""
    if not is_complete:
        absent = [name for name in ("do_rescale", "do_normalize") if name not in settings]
        if absent:
            raise ValueError(
                f"its image processor does not say {' and '.join(absent)}, and transformers' own "
                "defaults for it need torchvision: add the keys to preprocessor_config.json"
            )
    scale = 255.0  # images come here in [0, 1], to a processor in 0 to 255
    if settings.get("do_rescale"):
        scale *= _number(settings.get("rescale_factor", 1 / 255), "rescale_factor")
    if scale <= 0:
        raise ValueError(f"rescale_factor is {settings.get('rescale_factor')}: it must be above 0")
    mean, std = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
    if settings.get("do_normalize"):
        mean = _three(settings.get("image_mean"), "image_mean")
        std = _three(settings.get("image_std"), "image_std")
        if min(std) <= 0:
            raise ValueError(f"image_std is {list(std)}: deviations must be above 0")
    flips = bool(settings.get("do_flip_channel_order"))
    # The processor flips last: its statistics are those of the channels as they come.
    scaled = tuple(value / scale for value in mean), tuple(value / scale for value in std)
    return _triple(scaled[0]), _triple(scaled[1]), "bgr" if flips else "rgb"


def _triple(values: tuple[float, ...]) -> tuple[float, float, float]:
    return values[0], values[1], values[2]


def _number(value: object, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not np.isfinite(value):
        raise ValueError(f"{name} is {value!r}: a number is needed")
    return float(value)


def _three(value: object, name: str) -> tuple[float, float, float]:
    if value is None:
        raise ValueError(
            f"{name} is null although do_normalize is on: give three numbers, or set do_normalize "
            "to false"
        )
    given = value if isinstance(value, list | tuple) else [value] * 3
    if len(given) != 3:
        raise ValueError(f"{name} has {len(given)} values: three are needed for an RGB image")
    numbers = [_number(one, name) for one in given]
    return numbers[0], numbers[1], numbers[2]


def _compare(
    processor: _Processor,
    stated: tuple[tuple[float, float, float], tuple[float, float, float], str],
    settings: Mapping[str, Any],
) -> None:
    """Holds what a configuration says against what its processor does to known colours."""
    mean, std, order = (np.asarray(stated[0]), np.asarray(stated[1]), stated[2])
    image = _colours()
    expected = (image / 255.0 - mean) / std
    if order == "bgr":
        expected = expected[..., ::-1]
    try:
        made = processor(
            image, return_tensors="np", do_resize=False, do_center_crop=False, do_pad=False
        )["pixel_values"][0]
    except Exception as error:  # whatever its class raises for such settings
        raise ValueError(
            f"its image processor takes no image with these settings ({first_line(error)})"
        ) from None
    found = np.moveaxis(np.asarray(made, dtype=np.float64), 0, -1)
    spread = float(np.abs(expected).max())
    if found.shape != expected.shape or np.abs(found - expected).max() > 1e-4 * spread:
        asked = ", ".join(
            f"{name}: {settings[name]}"
            for name in (*sorted(_KNOWN_STEPS), "rescale_factor", "image_mean", "image_std")
            if settings.get(name) is not None
        )
        raise ValueError(
            f"its image processor {type(processor).__name__.removesuffix('Pil')} does not do what "
            f"its configuration says ({asked}): remove the keys that it ignores"
        )


def _colours() -> npt.NDArray[np.uint8]:
    """A small image in which every channel takes many values, and none goes with another."""
    return np.random.default_rng(0).integers(0, 256, (32, 48, 3), dtype=np.uint8)


def _geometry(settings: Mapping[str, Any]) -> tuple[str, ...]:
    """A remark where the checkpoint was made for images of another size or cut."""
    asked = [name for name in sorted(_GEOMETRY) if settings.get(name)]
    if not asked:
        return ()
    sizes = ", ".join(f"{name} {settings[name]}" for name in _SIZED_BY if settings.get(name))
    return (
        f"its image processor asks for {', '.join(asked)} ({sizes}), which is left out: images go "
        "through the network at the image_size of the catalog",
    )


def _assumed(model_type: str) -> InputStatistics:
    """What the processors of a type of network do where its checkpoint says nothing."""
    transformers = transformers_library()
    names = transformers.models.auto.image_processing_auto.IMAGE_PROCESSOR_MAPPING_NAMES
    known = names.get(model_type, {})
    name = known.get("pil") or known.get("torchvision") if isinstance(known, dict) else None
    try:
        processor = getattr(transformers, name)() if name else None
    except ImportError:
        raise ValueError(
            "it has no preprocessor_config.json, and what its type's image processor does by "
            "default needs torchvision to be known: install torchvision, or write do_rescale, "
            "do_normalize, image_mean and image_std into a preprocessor_config.json"
        ) from None
    if processor is None:
        mean, std, order, whose = IMAGENET_MEAN, IMAGENET_STD, "rgb", "ImageNet's mean"
    else:
        (mean, std, order) = _stated(_settings(processor), is_complete=True)
        whose = f"what {str(name).removesuffix('Pil')} does by default, mean"
    remark = (
        f"it has no preprocessor_config.json, so {whose} {_rounded(mean)} and deviation "
        f"{_rounded(std)} of {order.upper()} in [0, 1] are assumed"
    )
    return InputStatistics(mean, std, order, (remark,))


def _rounded(values: tuple[float, float, float]) -> str:
    return "(" + ", ".join(f"{value:.3g}" for value in values) + ")"
