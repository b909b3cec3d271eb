"""A segmenter out of a folder that was handed on, or out of a weight file, ready to predict."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from crosscity.device_failures import why_unusable
from crosscity.named_function import function_of, is_plug_in, somebody_elses
from crosscity.segmenters.base import Segmenter, WeightsError
from crosscity.segmenters.harmless import keys_that_name
from crosscity.segmenters.home import checked_size, take_home
from crosscity.segmenters.hugging_face import HuggingFaceSegmenter
from crosscity.segmenters.registry import ARCHITECTURES, build_segmenter
from crosscity.segmenters.tensor_files import TensorFile, read_tensor_file
from crosscity.segmenters.weights import check_finite, load_weights

DESCRIPTION: Final = "model.json"
"""How the network is built: architecture, options, label space, normalisation."""
WEIGHTS: Final = "weights.safetensors"
"""Its `state_dict`."""
TRANSFORMERS_WEIGHTS: Final = "model.safetensors"
"""The same in transformers' names, in its place where the network is one of theirs."""
PROVENANCE: Final = "provenance.json"
"""What it was made of, and the SHA-256 of the files beside it."""
_STREET: Final = Path(__file__).resolve().parents[1] / "weights" / "street.safetensors"
_MOST_BYTES: Final = 4 * 2**20
"""Of a description; the longest configuration known has some 30 kB."""


def load_segmenter(
    place: str | Path | None = None,
    *,
    architecture: str = "efficientnet_lite0",
    options: Mapping[str, Any] | None = None,
    build: Callable[..., Segmenter] | None = None,
    device: str = "cpu",
) -> Segmenter:
    """The segmenter of a folder or a weight file.

    A folder is data: it builds networks of `ARCHITECTURES` only, and runs no code that it names.
    A network of somebody's own (`python:` in a catalog) is built by the function that you give.

    Args:
        place: A folder that `crosscity segmenter export` wrote (or an artifact of the store that
            holds a segmenter), or a `.safetensors` file; default: the weights that come along,
            which have seen simulated streets alone.
        architecture: Of a file; a folder says its own.
        options: Of a file's architecture. Classes that the file states need not be given.
        build: Builds the network of a folder whose network is of none of `ARCHITECTURES`; called
            with the options that the folder states.
        device: Where it shall be, as PyTorch names devices.

    Returns:
        The network, in the mode that predicts.

    Raises:
        WeightsError: There is nothing of this kind, it is damaged, its parts do not agree, or what
            builds it fails.
        ValueError: There is no such device.
    """
    device = str(device)
    why = why_unusable(device)
    if why is not None:
        raise ValueError(f"a segmenter cannot run on {device!r:.60} ({why}): choose 'cpu'")
    path = _STREET if place is None else Path(place)
    if path.is_dir():
        segmenter = _of_folder(path, build)
        take_home(segmenter, _description(path / DESCRIPTION), path / DESCRIPTION)
    else:
        found = read_tensor_file(path)
        segmenter = _with_weights(architecture, _with_classes(options, found), found.tensors, path)
        _check_classes(segmenter, found, path)
        segmenter.trained_size = checked_size(_stated(found, "image_size"))
    return segmenter.to(torch.device(device)).eval()


def _of_folder(folder: Path, build: Callable[..., Segmenter] | None) -> Segmenter:
    description = _description(folder / DESCRIPTION)
    architecture, options = description["architecture"], description["options"]
    if is_plug_in(architecture):
        return _of_function(folder, architecture, options, build)
    if build is not None:
        raise WeightsError(
            f"{folder} is of a network of the architecture {architecture[:80]!r}, which no "
            "function builds: leave out build"
        )
    named = next(keys_that_name(options), None)
    if named is not None:
        raise WeightsError(
            f"{folder / DESCRIPTION} has {named!r}, which would have transformers fetch or run "
            "what it names: refused"
        )
    theirs = folder / TRANSFORMERS_WEIGHTS
    if architecture != HuggingFaceSegmenter.architecture or not theirs.is_file():
        check_provenance(folder, DESCRIPTION, WEIGHTS)
        found = read_tensor_file(folder / WEIGHTS)
        segmenter = _with_weights(architecture, options, found.tensors, folder)
        _check_classes(segmenter, found, folder / WEIGHTS)
        return segmenter
    check_provenance(folder, DESCRIPTION, TRANSFORMERS_WEIGHTS)
    segmenter = _built(architecture, options, folder)
    assert isinstance(segmenter, HuggingFaceSegmenter)  # noqa: S101 - says so to mypy
    give_transformers_weights(segmenter, read_tensor_file(theirs).tensors, description)
    return segmenter


def _of_function(
    folder: Path,
    architecture: str,
    options: Mapping[str, Any],
    build: Callable[..., Segmenter] | None,
) -> Segmenter:
    """The segmenter of a folder whose network a function of somebody's own builds."""
    function = function_of(architecture)[:80]
    if build is None:
        raise WeightsError(
            f"{folder} is of a network that {function!r} builds, and a folder names no code to "
            "run: give the function as build=, or name function and folder in the catalog"
        )
    check_provenance(folder, DESCRIPTION, WEIGHTS)
    found = read_tensor_file(folder / WEIGHTS)
    with somebody_elses(f"{folder}: build", WeightsError):
        segmenter = build(**options)
    if not isinstance(segmenter, Segmenter):
        raise WeightsError(
            f"{folder}: build returned {type(segmenter).__name__}, and {function!r}, which its "
            "network is of, returns a Segmenter"
        )
    _check_classes(segmenter, found, folder / WEIGHTS)
    try:
        load_weights(segmenter, found.tensors)
    except WeightsError as error:
        raise WeightsError(f"{folder}: {error}") from None
    return segmenter


def check_provenance(folder: Path, *names: str) -> None:
    """Holds files of a folder against the digests that its provenance states, where it has one.

    Card, labels and scores of a folder are of the weights that it was written with.

    Args:
        folder: The folder.
        names: The files that are read.

    Raises:
        WeightsError: One of them has another SHA-256.
    """
    path = folder / PROVENANCE
    if not path.is_file():
        return
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        raise WeightsError(
            f"{path} is damaged: fetch the folder again, or remove {PROVENANCE}"
        ) from None
    stated = content.get("sha256") if isinstance(content, dict) else None
    for name in names:
        wanted = stated.get(name) if isinstance(stated, dict) else None
        if isinstance(wanted, str) and _digest(folder / name) != wanted:
            raise WeightsError(
                f"{folder / name} has another SHA-256 than {PROVENANCE} states, so card, labels "
                f"and scores of the folder are of other weights: fetch it again, or remove "
                f"{PROVENANCE} where it was changed on purpose"
            )


def _digest(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise WeightsError(f"{path} cannot be read: {error.strerror or error}") from None


def give_transformers_weights(
    segmenter: HuggingFaceSegmenter, tensors: Mapping[str, Tensor], description: Mapping[str, Any]
) -> None:
    """Weights in transformers' names, and the normalisation that a description states.

    Raises:
        WeightsError: They do not fit, or there is no normalisation.
    """
    segmenter.adopt(tensors, range(segmenter.n_rows))
    config = description.get("config")
    stated = config if isinstance(config, Mapping) else {}
    for name in ("input_mean", "input_std"):
        try:
            values = torch.tensor(stated.get(name), dtype=torch.float32).reshape(1, 3, 1, 1)
            check_finite({name: values})
        except (TypeError, ValueError, RuntimeError):
            raise WeightsError(f"{DESCRIPTION} has no {name} of three numbers") from None
        getattr(segmenter, name).copy_(values)


def _with_weights(
    architecture: str, options: Mapping[str, Any], tensors: Mapping[str, Tensor], where: Path
) -> Segmenter:
    if architecture != HuggingFaceSegmenter.architecture:
        # Sizes that a stranger wrote are held against the weights before memory is asked for.
        with torch.device("meta"):
            planned = _built(architecture, options, where).state_dict()
        for name, tensor in planned.items():
            if name in tensors and tensors[name].shape != tensor.shape:
                raise WeightsError(
                    f"{where}: {name} has shape {tuple(tensors[name].shape)} instead of "
                    f"{tuple(tensor.shape)}: it is of another architecture, other options or "
                    "another label space"
                )
    segmenter = _built(architecture, options, where)
    try:
        load_weights(segmenter, tensors)
    except WeightsError as error:
        raise WeightsError(f"{where}: {error}") from None
    return segmenter


def _built(architecture: str, options: Mapping[str, Any], where: Path) -> Segmenter:
    if architecture not in ARCHITECTURES:
        known = ", ".join(sorted(ARCHITECTURES))
        raise WeightsError(f"{where}: there is no architecture {architecture[:80]!r}, but {known}")
    try:
        return build_segmenter(architecture, options)
    except (ValueError, RuntimeError) as error:
        raise WeightsError(f"{where}: {error}") from None


def _with_classes(options: Mapping[str, Any] | None, found: TensorFile) -> dict[str, Any]:
    """Options of a file with the classes that it states."""
    made = dict(options or {})
    stated = _stated(found, "class_names")
    if isinstance(stated, list) and all(isinstance(name, str) for name in stated):
        made.setdefault("class_names", stated)
    return made


def _check_classes(segmenter: Segmenter, found: TensorFile, where: Path) -> None:
    """Holds the classes of a network against those that its weight file states.

    Raises:
        WeightsError: They are others, or in another order.
    """
    stated = _stated(found, "class_names")
    if isinstance(stated, list) and tuple(stated) != segmenter.class_names:
        raise WeightsError(
            f"{where} states the classes {', '.join(map(str, stated))[:200]}, and the network has "
            f"{', '.join(segmenter.class_names)[:200]}: give it class_names as the file has them"
        )


def _stated(found: TensorFile, key: str) -> object:
    """What a file's metadata say under a key, if anything."""
    try:
        stated: object = json.loads(found.metadata.get(key, "null"))
    except (ValueError, RecursionError):
        return None
    return stated


def _description(path: Path) -> dict[str, Any]:
    try:
        small = path.stat().st_size <= _MOST_BYTES
        content = json.loads(path.read_text(encoding="utf-8")) if small else None
    except OSError as error:
        raise WeightsError(
            f"{path} cannot be read ({error.strerror or error}): a folder that holds a segmenter "
            f"has {DESCRIPTION} and {WEIGHTS}"
        ) from None
    except (ValueError, RecursionError):
        content = None
    description = content if isinstance(content, dict) else {}
    if not isinstance(description.get("architecture"), str) or not isinstance(
        description.get("options"), dict
    ):
        raise WeightsError(
            f"{path} does not describe a network: architecture and options are needed, in at most "
            f"{_MOST_BYTES >> 20} MiB"
        )
    return description
