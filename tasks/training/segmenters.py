"""Segmenters of the catalog and of artifacts: built, loaded from files of others, written."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import pickle
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save, save_file
from torch import Tensor

from adapters.catalog import SegmenterEntry
from adapters.store import ArtifactRef, Draft, Store
from crosscity.segmenters import HuggingFaceSegmenter, Segmenter, build_segmenter, load_weights
from crosscity.segmenters.base import ROAD_CLASS_NAMES
from crosscity.segmenters.hugging_face import IMAGENET_MEAN, IMAGENET_STD, transformers_library
from tasks.steps.errors import InputError
from tasks.steps.plan import Plan
from tasks.training.stored_networks import (
    DESCRIPTION,
    HUB_PREFIX,
    CatalogNetworks,
    check_options,
    read_description,
)

PACKAGE_PREFIX: Final = "package:"
"""Before the path of a weight file that an installed Python package carries."""
WEIGHTS: Final = "weights.safetensors"
_CLASS_NAMES: Final = "class_names"
"""Key of a weight file's metadata: the label space, which the tensors alone do not tell."""


@dataclass(frozen=True)
class Starting:
    """What pre-training starts from.

    Attributes:
        model: Architecture and options, as artifacts describe them.
        segmenter: The network.
        made_of: What its weights came from beside the seed; JSON-able.
        is_trained: Whether it segments already.
    """

    model: dict[str, Any]
    segmenter: Segmenter
    made_of: dict[str, Any] = field(default_factory=dict)
    is_trained: bool = False


def starting_segmenter(plan: Plan, name: str, seed: int) -> Starting:
    """The segmenter of a catalog entry before pre-training.

    Args:
        plan: Gives the catalog.
        name: A segmenter of the catalog.
        seed: Fixes the weights that are random.

    Raises:
        InputError: The entry describes no network, or its weights do not fit.
    """
    entry = plan.segmenter(name)
    architecture = f"python:{entry.python}" if entry.python else str(entry.architecture)
    if architecture.startswith(HUB_PREFIX):
        return _of_the_hub(plan, name, entry, architecture.removeprefix(HUB_PREFIX), seed)
    model = {"architecture": architecture, "options": entry.options}
    segmenter = fresh_segmenter(model, seed)
    made_of: dict[str, Any] = {}
    if entry.weights is not None:
        path = _weight_file(plan, entry.weights, f"segmenters.{name}.weights")
        load_checked(segmenter, path)
        made_of["weights_sha256"] = file_digest(path)
    if entry.backbone_weights is not None:
        key = f"segmenters.{name}.backbone_weights"
        path = _weight_file(plan, entry.backbone_weights, key)
        try:
            segmenter.load_backbone(read_tensors(path))
        except ValueError as error:
            raise InputError(f"{path}: {error}") from None
        made_of["backbone_sha256"] = file_digest(path)
    return Starting(model, segmenter, made_of, is_trained=entry.weights is not None)


def fresh_segmenter(model: Mapping[str, Any], seed: int) -> Segmenter:
    """A randomly initialised segmenter; the seed fixes the weights."""
    try:
        return build_segmenter(model["architecture"], model["options"], seed=seed)
    except ValueError as error:
        raise InputError(str(error)) from None


def write_segmenter(draft: Draft, segmenter: Segmenter, model: Mapping[str, Any]) -> None:
    """Writes weights and description: `weights.safetensors`, `model.json`."""
    weights = {
        name: tensor.detach().cpu().contiguous() for name, tensor in segmenter.state_dict().items()
    }
    names = {_CLASS_NAMES: json.dumps(segmenter.class_names)}
    save_file(weights, draft.path / WEIGHTS, metadata=names)
    description = {**model, "config": segmenter.config()}
    (draft.path / DESCRIPTION).write_text(
        json.dumps(description, indent=2, sort_keys=True) + "\n", encoding="utf-8"
    )


def stored_segmenter(plan: Plan, ref: ArtifactRef) -> tuple[dict[str, Any], Segmenter]:
    """`read_segmenter` with the networks that the plan's catalog names."""
    networks = CatalogNetworks.of(plan.segmenters.values(), plan.root)
    return read_segmenter(plan.open_store(), ref, networks)


def read_segmenter(
    store: Store, ref: ArtifactRef, networks: CatalogNetworks
) -> tuple[dict[str, Any], Segmenter]:
    """The description and the network of a `segmenter` or `adaptation` artifact.

    Its weights are checked against their SHA-256 before they are read, and its description against
    the catalog before anything is built.

    Args:
        store: Holds the artifact.
        ref: The artifact.
        networks: What the present catalog names.

    Raises:
        InputError: It would run code that the catalog does not name, or does not fit its weights.
        StoreError: It is damaged.
    """
    model = read_description(store, ref, networks).model
    segmenter = fresh_segmenter(model, seed=0)
    load_checked(segmenter, store.path(ref, WEIGHTS))
    return model, segmenter


def load_checked(segmenter: Segmenter, path: Path) -> None:
    """Loads a weight file into a segmenter.

    Raises:
        InputError: The file is none, or is of another architecture or label space.
    """
    names = _class_names(path)
    if names is not None and names != segmenter.class_names:
        raise InputError(
            f"{path} is of another label space: {_first_difference(names, segmenter.class_names)}; "
            "set class_names in the segmenter's options to those of the file"
        )
    try:
        load_weights(segmenter, read_tensors(path))
    except ValueError as error:
        raise InputError(f"{path}: {error}") from None


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file, or of a `.pth` or `.pt` file without code in it.

    Raises:
        InputError: The file is not there or damaged, or could only be read by running code.
    """
    if not path.is_file():
        raise InputError(f"there is no weight file {path}")
    if path.suffix not in (".pth", ".pt"):
        try:
            return load_file(path)
        except (SafetensorError, OSError) as error:
            raise InputError(f"{path} is no safetensors file: {error}") from None
    try:
        content: object = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise InputError(
            f"{path} holds more than tensors: reading it would run code from the file, which is "
            "refused; where it comes from, save its state_dict as safetensors"
        ) from None
    except (RuntimeError, OSError, EOFError, ValueError) as error:
        raise InputError(f"{path} is no weight file: {str(error).splitlines()[0]}") from None
    for key in ("state_dict", "model"):
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    if not isinstance(content, Mapping) or not all(
        isinstance(value, Tensor) for value in content.values()
    ):
        raise InputError(f"{path} holds no state_dict: tensors by name are needed")
    return {str(name): tensor for name, tensor in content.items()}


def file_digest(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _weight_file(plan: Plan, given: str, key: str) -> Path:
    """The weight file that an entry names, on disk or in an installed package."""
    if not given.startswith(PACKAGE_PREFIX):
        return plan.folder(given, key=key)
    package, _, inside = given.removeprefix(PACKAGE_PREFIX).strip().partition("/")
    if not package.isidentifier() or not inside or ".." in Path(inside).parts:
        raise InputError(
            f"{key}: {given!r} names no file of a package: write "
            f"{PACKAGE_PREFIX}<importable name>/<path in it>"
        )
    found = importlib.util.find_spec(package)  # finds it without running any of it
    if found is None or not found.submodule_search_locations:
        raise InputError(
            f"{key}: the package {package!r} that carries the weights is not installed here "
            "(docs/segmenters.md says which extra brings it)"
        )
    return Path(next(iter(found.submodule_search_locations))) / inside


def _of_the_hub(
    plan: Plan, name: str, entry: SegmenterEntry, reference: str, seed: int
) -> Starting:
    """A network of transformers with its weights, its labels mapped to ours."""
    options = dict(entry.options)
    class_names = list(options.pop("class_names", ROAD_CLASS_NAMES))
    renamed = options.pop("labels", None)
    new_classifier = bool(options.pop("new_classifier", False))
    revision = options.pop("revision", None)
    if options:
        raise InputError(
            f"segmenters.{name}.options has {sorted(options)[0]!r}; a network of Hugging Face "
            "takes class_names, labels, new_classifier and revision"
        )
    folder = plan.root / reference
    place = str(folder) if folder.is_dir() else reference
    try:
        theirs, mean, std = _from_hub(place, revision)
        config = json.loads(theirs.config.to_json_string(use_diff=False))
        for key in ("id2label", "label2id", "num_labels", "_name_or_path"):
            config.pop(key, None)
        built = {"config": config, "class_names": class_names}
        check_options("hf", built, f"{HUB_PREFIX}{reference}")
        model = {"architecture": "hf", "options": built}
        segmenter = fresh_segmenter(model, seed)
        assert isinstance(segmenter, HuggingFaceSegmenter)  # noqa: S101 - says so to mypy
        labels = [theirs.config.id2label[index] for index in range(theirs.config.num_labels)]
        segmenter.adopt(theirs.state_dict(), labels, renamed, new_classifier=new_classifier)
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:400]
        raise InputError(f"segmenters.{name}: {HUB_PREFIX}{reference}: {reason}") from None
    segmenter.input_mean.copy_(torch.tensor(mean).reshape(1, 3, 1, 1))
    segmenter.input_std.copy_(torch.tensor(std).reshape(1, 3, 1, 1))
    weights = {key: tensor.contiguous() for key, tensor in segmenter.state_dict().items()}
    made_of = {"hf_sha256": hashlib.sha256(save(weights)).hexdigest()}
    return Starting(model, segmenter, made_of, not new_classifier and not entry.pretraining)


def _from_hub(place: str, revision: str | None) -> tuple[Any, Sequence[float], Sequence[float]]:
    """The network of a folder or of the hub, and its input statistics; no code of others runs."""
    transformers = transformers_library()
    fetched = {"revision": revision} if revision else {}
    network = transformers.AutoModelForSemanticSegmentation.from_pretrained(
        place, use_safetensors=True, trust_remote_code=False, **fetched
    )
    found = transformers.utils.hub.cached_file(
        place,
        "preprocessor_config.json",
        _raise_exceptions_for_missing_entries=False,
        **fetched,
    )
    settings = json.loads(Path(found).read_text(encoding="utf-8")) if found else {}
    return (
        network,
        settings.get("image_mean", IMAGENET_MEAN),
        settings.get("image_std", IMAGENET_STD),
    )


def _class_names(path: Path) -> tuple[str, ...] | None:
    """The label space that a safetensors file states, if any."""
    if path.suffix in (".pth", ".pt") or not path.is_file():
        return None
    try:
        with safe_open(path, framework="pt") as opened:
            stated = (opened.metadata() or {}).get(_CLASS_NAMES)
        return None if stated is None else tuple(str(name) for name in json.loads(stated))
    except (SafetensorError, OSError, ValueError):
        return None  # told when the tensors are read


def _first_difference(theirs: Sequence[str], ours: Sequence[str]) -> str:
    if len(theirs) != len(ours):
        return f"it has {len(theirs)} classes, the segmenter {len(ours)}"
    index = next(i for i, pair in enumerate(zip(theirs, ours, strict=True)) if pair[0] != pair[1])
    return f"its class {index} is {theirs[index]!r}, the segmenter's {ours[index]!r}"
