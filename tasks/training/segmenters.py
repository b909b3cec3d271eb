"""Segmenters of the catalog and of artifacts: built, loaded from files of others, written."""

from __future__ import annotations

import hashlib
import importlib.util
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import torch
from safetensors.torch import save

from adapters.catalog import HUB_PREFIX, SegmenterEntry
from adapters.file_digests import file_digests
from adapters.store import ArtifactRef, Draft, Store
from crosscity.named_function import PREFIX
from crosscity.segmenters import (
    HuggingFaceSegmenter,
    Segmenter,
    WeightsError,
    build_segmenter,
    load_weights,
    separate_tensors,
)
from crosscity.segmenters.base import ROAD_CLASS_NAMES
from crosscity.segmenters.home import checked_size, home_fields, take_home
from crosscity.segmenters.hugging_face import matched_labels
from crosscity.segmenters.label_space import foreign_classes
from tasks.steps.errors import InputError
from tasks.steps.plan import Plan
from tasks.training.delivered_folders import Folder, look_into, transformers_segmenter
from tasks.training.foreign_names import (
    ForeignNamesError,
    UnfitError,
    fitting_rename,
    rename_as_yaml,
)
from tasks.training.hub_networks import open_checkpoint
from tasks.training.stored_networks import (
    DESCRIPTION,
    CatalogNetworks,
    check_options,
    read_description,
)
from tasks.training.tensor_files import write_tensors
from tasks.training.weight_files import (
    CLASS_NAMES,
    NORMALISATION,
    WeightFile,
    beginnings,
    read_weight_file,
    renamed,
    stated_class_names,
    stated_image_size,
)

PACKAGE_PREFIX: Final = "package:"
"""Before the path of a weight file that an installed Python package carries."""
WEIGHTS: Final = "weights.safetensors"
ADAPTATION: Final = "adaptation"
MOST_FOREIGN: Final = 12
"""Classes that a remark lists."""


@dataclass(frozen=True)
class Starting:
    """What pre-training starts from.

    Attributes:
        model: Architecture and options, as artifacts describe them.
        segmenter: The network.
        made_of: What its weights came from beside the seed; JSON-able.
        is_trained: Whether it segments already.
        remarks: What was assumed of weights that come from elsewhere.
    """

    model: dict[str, Any]
    segmenter: Segmenter
    made_of: dict[str, Any] = field(default_factory=dict)
    is_trained: bool = False
    remarks: tuple[str, ...] = ()


def starting_segmenter(plan: Plan, name: str, seed: int) -> Starting:
    """The segmenter of a catalog entry before pre-training.

    Args:
        plan: Gives the catalog.
        name: A segmenter of the catalog.
        seed: Fixes the weights that are random.

    Raises:
        InputError: The entry describes no network, or its weights do not fit.
    """
    starting = _starting_segmenter(plan, name, seed)
    given, told = plan.segmenter(name).image_size, starting.segmenter.trained_size
    if given is not None and told is not None and tuple(given) != tuple(told):
        remark = (
            f"its weights say that they were trained on images of {told[0]}×{told[1]} pixels, and "
            f"the catalog's image_size {given[0]}×{given[1]} is taken"
        )
        starting = replace(starting, remarks=(*starting.remarks, remark))
    foreign = foreign_remark(starting.segmenter.class_names)
    if foreign is not None:
        starting = replace(starting, remarks=(*starting.remarks, foreign))
    starting.segmenter.trained_size = _stated_size(plan, name, starting)
    return _of_its_size(starting, told)


def is_from_elsewhere(entry: SegmenterEntry) -> bool:
    """Whether weights of an entry are of somebody else's program, and so the form of their pixels.

    What comes along or is trained here has ours, and transformers' checkpoints say theirs.
    """
    if entry.weights is not None:
        return not entry.weights.startswith(PACKAGE_PREFIX)
    brings = entry.python or str(entry.architecture).startswith(PREFIX)
    return bool(brings) and entry.source is None


def foreign_remark(class_names: Sequence[str]) -> str | None:
    """What to say of classes that are none of Cityscapes' 19; ``None`` where there are none."""
    foreign = foreign_classes(class_names)
    if not foreign:
        return None
    names = [f"{name} ({near}?)" if near else name for name, near in sorted(foreign.items())]
    listed = ", ".join(names[:MOST_FOREIGN]) + (", …" if len(names) > MOST_FOREIGN else "")
    return (
        f"{len(foreign)} of its {len(class_names)} classes are none of Cityscapes' 19: {listed}; "
        "no label is of them, and exports have them as void: give what is one of the 19 its name "
        "there (`class_names`)"
    )


def _of_its_size(starting: Starting, told: tuple[int, int] | None) -> Starting:
    """A segmenter of given weights at another size than its file tells is another segmenter.

    The size is stored with it and decides what it predicts, and the catalog alone says it.
    """
    segmenter = starting.segmenter
    if told is None and isinstance(segmenter, HuggingFaceSegmenter):
        told = segmenter.fixed_size
    size = segmenter.trained_size
    if not starting.is_trained or size is None or (told is not None and tuple(told) == tuple(size)):
        return starting
    return replace(starting, made_of={**starting.made_of, "image_size": list(size)})


def _starting_segmenter(plan: Plan, name: str, seed: int) -> Starting:
    entry = plan.segmenter(name)
    delivered = _delivered(plan, name, entry)
    if delivered is not None:
        return _of_a_folder(delivered)
    architecture = f"{PREFIX}{entry.python}" if entry.python else str(entry.architecture)
    if architecture.startswith(HUB_PREFIX):
        return _of_the_hub(plan, name, entry, architecture.removeprefix(HUB_PREFIX), seed)
    model = {"architecture": architecture, "options": entry.options}
    segmenter = fresh_segmenter(model, seed)
    made_of: dict[str, Any] = {}
    remarks: tuple[str, ...] = ()
    if entry.weights is not None:
        path = _weight_file(plan, entry.weights, f"segmenters.{name}.weights")
        found = _load(segmenter, path, entry.rename)
        remarks = found.remarks
        made_of["weights_sha256"] = file_digest(path)
        if found.tensors.keys().isdisjoint(NORMALISATION):
            # Then the network's code decides it, which no digest of a file can tell.
            made_of["normalisation"] = [_three(segmenter, name) for name in NORMALISATION]
    if entry.backbone_weights is not None:
        key = f"segmenters.{name}.backbone_weights"
        path = _weight_file(plan, entry.backbone_weights, key)
        found = read_weight_file(path, entry.rename)
        remarks = found.remarks
        try:
            segmenter.load_backbone(found.tensors)
        except ValueError as error:
            raise InputError(f"{path}: {error}") from None
        made_of["backbone_sha256"] = file_digest(path)
    if entry.rename and made_of:
        made_of["rename"] = dict(entry.rename)
    if entry.source is None and entry.weights is None:
        # The user's function brings the weights: what it gave tells one segmenter from another.
        made_of["built_sha256"] = _digest_of(segmenter)
    is_trained = entry.weights is not None or entry.source is None
    return Starting(model, segmenter, made_of, is_trained, remarks)


def _delivered(plan: Plan, name: str, entry: SegmenterEntry) -> Folder | None:
    """The delivered folder that an entry names as weights, if it is one."""
    if entry.weights is None or entry.weights.startswith(PACKAGE_PREFIX):
        path = None
    else:
        path = plan.folder(entry.weights, key=f"segmenters.{name}.weights")
    architecture = f"{PREFIX}{entry.python}" if entry.python else entry.architecture
    if path is not None and path.is_dir():
        return look_into(path, architecture, entry.options, f"segmenters.{name}")
    if architecture is None:
        raise InputError(
            f"segmenters.{name}: the weights {entry.weights} are not a folder of `crosscity "
            "segmenter export`, so nothing says their architecture: give architecture or python"
        )
    return None


def _of_a_folder(found: Folder) -> Starting:
    """The segmenter of a delivered folder."""
    if found.weights.name == WEIGHTS:
        segmenter = fresh_segmenter(found.model, seed=0)
        load_checked(segmenter, found.weights)
    else:
        segmenter = transformers_segmenter(found)
    _take_home(segmenter, found.content, str(found.path / DESCRIPTION))
    # Size and rule stand beside the weights, and weights in transformers' names lack the rest.
    stated = home_fields(segmenter) | {name: _three(segmenter, name) for name in NORMALISATION}
    made_of = {"weights_sha256": file_digest(found.weights), "folder": stated}
    return Starting(found.model, segmenter, made_of, is_trained=True)


def _three(segmenter: Segmenter, name: str) -> list[float]:
    values: list[float] = getattr(segmenter, name).flatten().tolist()
    return values


def _take_home(segmenter: Segmenter, content: Mapping[str, Any], where: str) -> None:
    try:
        take_home(segmenter, content, where)
    except WeightsError as error:
        raise InputError(str(error)) from None


def _stated_size(plan: Plan, name: str, starting: Starting) -> tuple[int, int] | None:
    """The size that weights from elsewhere were trained at, as far as anything says so.

    The entry's `image_size`, what the weight file states, the one size that the network takes, or
    that of the source set, whose images are what it is trained further on.
    """
    entry, segmenter = plan.segmenter(name), starting.segmenter
    if entry.image_size is not None:
        return entry.image_size
    if not starting.is_trained:
        return None  # the pre-training will report it
    found = segmenter.trained_size
    if found is None and isinstance(segmenter, HuggingFaceSegmenter):
        found = segmenter.fixed_size
    if found is None and entry.source is not None:
        found = plan.dataset(entry.source).stored_size
    return found


def fresh_segmenter(model: Mapping[str, Any], seed: int) -> Segmenter:
    """A randomly initialised segmenter; the seed fixes the weights."""
    try:
        return build_segmenter(model["architecture"], model["options"], seed=seed)
    except ValueError as error:
        raise InputError(str(error)) from None


def write_segmenter(draft: Draft, segmenter: Segmenter, model: Mapping[str, Any]) -> None:
    """Writes weights and description: `weights.safetensors`, `model.json`."""
    write_weights(segmenter, draft.path / WEIGHTS)
    description = {**model, "config": segmenter.config(), **home_fields(segmenter)}
    (draft.path / DESCRIPTION).write_text(
        json.dumps(description, indent=2, sort_keys=True) + "\n", encoding="utf-8"
    )


def write_weights(segmenter: Segmenter, path: Path) -> None:
    """Writes the weights with the label space that they belong to."""
    names = {CLASS_NAMES: json.dumps(segmenter.class_names)}
    write_tensors(separate_tensors(segmenter), path, names)


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
    description = read_description(store, ref, networks)
    segmenter = fresh_segmenter(description.model, seed=0)
    load_checked(segmenter, store.path(ref, WEIGHTS))
    _take_home(segmenter, description.content, f"{ref.uri}/{DESCRIPTION}")
    segmenter.trained_size = _adapted_size(store, ref) or segmenter.trained_size
    return description.model, segmenter


def _adapted_size(store: Store, ref: ArtifactRef) -> tuple[int, int] | None:
    """The size that the settings of an adaptation had its images go through the network at.

    Its description says the same, but for those that several processes made with releases that left
    the size of the segmenter before in it.
    """
    if ref.kind != ADAPTATION:
        return None
    return checked_size(store.manifest(ref).parameters.get("image_size"))


def load_checked(
    segmenter: Segmenter, path: Path, rename: Mapping[str, str | None] | None = None
) -> tuple[str, ...]:
    """Loads a weight file into a segmenter; gives remarks on what was changed of its names.

    Args:
        segmenter: Receives the weights.
        path: The file.
        rename: As `read_weight_file` takes it.

    Raises:
        InputError: It is not a file of weights, or is of another architecture or label space.
    """
    return _load(segmenter, path, rename).remarks


def _load(segmenter: Segmenter, path: Path, rename: Mapping[str, str | None] | None) -> WeightFile:
    """Loads a weight file into a segmenter; gives what the file holds, and all remarks."""
    names = stated_class_names(path) if path.is_file() else None
    if names is not None and names != segmenter.class_names:
        raise InputError(
            f"{path} is of another label space: {_first_difference(names, segmenter.class_names)}; "
            "set class_names in the segmenter's options to those of the file"
        )
    segmenter.trained_size = stated_image_size(path)
    found = read_weight_file(path, rename)
    expected = segmenter.state_dict()
    if not expected.keys() & found.tensors.keys():
        fitting = fitting_rename(found.tensors, expected)
        raise ForeignNamesError(
            f"{path} has names of another program: its begin with "
            f"{', '.join(beginnings(found.tensors))}, the segmenter's with "
            f"{', '.join(beginnings(expected))}; {_how_to_rename(found, expected, fitting)}",
            fitting,
        )
    tensors, remarks = _completed(found.tensors, segmenter, path)
    try:
        load_weights(segmenter, tensors)
    except ValueError as error:
        raise UnfitError(f"{path}: {error}") from None
    return replace(found, remarks=(*found.remarks, *remarks))


def _how_to_rename(
    found: WeightFile,
    expected: Mapping[str, torch.Tensor],
    fitting: Mapping[str, str | None] | None,
) -> str:
    """What to write, or what keeps names that fit from being enough."""
    if fitting is not None:
        return (
            f"say which is which with `rename: {rename_as_yaml(fitting)}`, which fits, in its entry"
        )
    by_name = fitting_rename(found.tensors, expected, shapes=False)
    if by_name is None:
        return "say which is which with `rename: {theirs: ours}` in its entry"
    named = renamed(found.tensors, by_name)
    ours = {name: tuple(tensor.shape) for name, tensor in expected.items()}
    other = [
        f"{name} has the shape {tuple(tensor.shape)} and the segmenter {ours[name]}"
        for name, tensor in named.items()
        if ours.get(name, tensor.shape) != tensor.shape
    ]
    more = f", and {len(other) - 1} more differ" if len(other) > 1 else ""
    return (
        f"`rename: {rename_as_yaml(by_name)}` fits the names, but {other[0]}{more}: "
        "it was trained with other classes or options"
    )


def _completed(
    tensors: Mapping[str, torch.Tensor], segmenter: Segmenter, path: Path
) -> tuple[dict[str, torch.Tensor], tuple[str, ...]]:
    """The tensors of a file with what files of others lack: our normalisation, and counters.

    Only a file of this project holds the normalisation, as only its networks normalise inside.
    The counters of batches (`num_batches_tracked`) move no prediction, and old files lack them.
    """
    ours = segmenter.state_dict()
    counters = [name for name in ours if name.endswith(".num_batches_tracked")]
    lacking = {name: ours[name] for name in counters if name not in tensors}
    if tensors.keys().isdisjoint(NORMALISATION):
        lacking |= {name: ours[name] for name in NORMALISATION}
        mean, std = (
            ", ".join(f"{value:.4g}" for value in ours[name].flatten().tolist())
            for name in NORMALISATION
        )
        remark = (
            f"{path.name} does not say how images are normalised: mean ({mean}) and standard "
            f"deviation ({std}) of {segmenter.architecture} are taken, of RGB in [0, 1]"
        )
        return {**lacking, **tensors}, (remark,)
    return {**lacking, **tensors}, ()


def file_digest(path: Path) -> str:
    """SHA-256 of a file."""
    found = file_digests({path.name: path})[path.name]
    if found is None:
        raise InputError(f"{path} cannot be read")
    return found


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
    where = f"segmenters.{name}: {HUB_PREFIX}{reference}"
    if renamed is not None and not isinstance(renamed, Mapping):
        raise InputError(f"segmenters.{name}.options.labels maps their names to ours")
    folder = plan.root / reference
    place = str(folder) if folder.is_dir() else reference
    if revision is not None and folder.is_dir():
        raise InputError(
            f"segmenters.{name}.options.revision: {folder} is a folder, which has no revisions: "
            "remove it"
        )
    try:
        found = open_checkpoint(place, revision, needs_classifier=not new_classifier)
        rows = [[index] for index in range(len(class_names))]
        if not new_classifier:
            rows = matched_labels(class_names, found.labels, renamed)
        built: dict[str, Any] = {"config": found.config, "class_names": class_names}
        if found.statistics.channel_order != "rgb":
            built["channel_order"] = found.statistics.channel_order
        if any(len(of_class) > 1 for of_class in rows):
            built["row_classes"] = [index for index, many in enumerate(rows) for _ in many]
        check_options("hf", built, f"{HUB_PREFIX}{reference}")
        model = {"architecture": "hf", "options": built}
        segmenter = fresh_segmenter(model, seed)
        assert isinstance(segmenter, HuggingFaceSegmenter)  # noqa: S101 - says so to mypy
        taken = [row for of_class in rows for row in of_class]
        segmenter.adopt(found.tensors, taken, new_classifier=new_classifier)
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:1000]
        raise InputError(f"{where}: {reason}") from None
    segmenter.input_mean.copy_(torch.tensor(found.statistics.mean).reshape(1, 3, 1, 1))
    segmenter.input_std.copy_(torch.tensor(found.statistics.std).reshape(1, 3, 1, 1))
    _check_fixed_size(plan, entry, segmenter, where)
    if new_classifier and entry.source is None:
        raise InputError(
            f"segmenters.{name}: a new_classifier has learned nothing yet, and there is no source "
            "to train it on: give source"
        )
    made_of = {"hf_sha256": _digest_of(segmenter)}
    is_trained = not new_classifier and not entry.pretraining
    return Starting(model, segmenter, made_of, is_trained, found.remarks)


def _digest_of(segmenter: Segmenter) -> str:
    """SHA-256 of all weights of a network."""
    return hashlib.sha256(save(separate_tensors(segmenter))).hexdigest()


def _check_fixed_size(
    plan: Plan, entry: SegmenterEntry, segmenter: HuggingFaceSegmenter, where: str
) -> None:
    """A network that takes one size only is reported before a training with another begins."""
    wanted = segmenter.fixed_size
    given = None if entry.source is None else plan.dataset(entry.source).image_size
    if wanted is not None and given is not None and tuple(given) != wanted:
        raise InputError(
            f"{where}: its network takes images of {wanted[0]}×{wanted[1]} pixels only, but "
            f"datasets.{entry.source} gives {given[0]}×{given[1]}: set image_size: "
            f"[{wanted[0]}, {wanted[1]}] there and in its trainings"
        )


def _first_difference(theirs: Sequence[str], ours: Sequence[str]) -> str:
    if len(theirs) != len(ours):
        return f"it has {len(theirs)} classes, the segmenter {len(ours)}"
    index = next(i for i, pair in enumerate(zip(theirs, ours, strict=True)) if pair[0] != pair[1])
    return f"its class {index} is {theirs[index]!r}, the segmenter's {ours[index]!r}"
