"""Checkpoints of Hugging Face: their weights, labels and preprocessing, without running their code.

What a checkpoint says in one file is held against what it says in another: its label names against
the rows of its classifier, its weights against its architecture.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from crosscity.segmenters.hugging_face import first_line, transformers_library
from tasks.steps.errors import InputError
from tasks.training.image_processors import InputStatistics, input_statistics
from tasks.training.weight_files import read_tensors

_NOT_OF_THE_NETWORK: Final = (
    "id2label",
    "label2id",
    "num_labels",
    "_name_or_path",
    "dtype",
    "torch_dtype",
)
_ADAPTER: Final = "adapter_config.json"
_BY_QUERIES: Final = ("detr", "eomt", "mask2former", "maskformer", "oneformer")
"""What the types of networks begin with that give masks and classes of queries, and no logits of
pixels: transformers combines these into a label map after the network."""
_LISTED: Final = 3
"""Tensors that a message names."""
_NUMBER: Final = re.compile(r"(?<=\.)[0-9]+(?=\.)")
_MOST_LABELS: Final = 10_000


@dataclass(frozen=True)
class Checkpoint:
    """A trained network of transformers.

    Attributes:
        config: Its configuration as JSON, without labels and places.
        tensors: Its weights by name, in single precision.
        labels: The names of its logits, "" where one has none.
        statistics: How it takes images.
        remarks: What was assumed or changed.
    """

    config: dict[str, Any]
    tensors: Mapping[str, Tensor]
    labels: tuple[str, ...]
    statistics: InputStatistics
    remarks: tuple[str, ...]


def open_checkpoint(place: str, revision: str | None, *, needs_classifier: bool) -> Checkpoint:
    """Reads a checkpoint of a folder or of the hub.

    Args:
        place: The folder, or the name on the hub.
        revision: Of the hub; ``None``: the newest.
        needs_classifier: Whether its last layers must be trained ones.

    Raises:
        OSError: It is not there.
        ValueError: It is not a network for semantic segmentation, or its files do not agree.
    """
    transformers = transformers_library()
    stated: Any = None
    try:
        stated, _ = transformers.PretrainedConfig.get_config_dict(place, revision=revision)
    except (AttributeError, TypeError):  # it holds a list, a text or a number
        stated = None
    if not isinstance(stated, Mapping):
        raise ValueError(  # noqa: TRY004 - of what a checkpoint says
            "its config.json holds no mapping of settings to values"
        )
    model_type: Any = stated.get("model_type")
    known = transformers.models.auto.modeling_auto.MODEL_FOR_SEMANTIC_SEGMENTATION_MAPPING_NAMES
    if model_type is None and (Path(place) / _ADAPTER).is_file():
        raise ValueError(
            f"it holds an adapter alone ({_ADAPTER}): merge it into its base network "
            "(merge_and_unload of peft), and save that"
        )
    if str(model_type).startswith(_BY_QUERIES):
        raise ValueError(
            f"its type {model_type!r} gives masks of queries and no logits of pixels: a function "
            "of yours combines them (`python:` with whole_network; docs/segmenters.md, 'Networks "
            "of queries', has it)"
        )
    if model_type not in known:
        raise ValueError(
            f"its type {model_type!r} is none that transformers segments classes with; these are "
            f"{', '.join(sorted(known))}"
        )
    labels = _labels(stated)
    settings = {key: value for key, value in stated.items() if key not in _NOT_OF_THE_NETWORK}
    settings.pop("model_type", None)
    if labels:
        settings["id2label"] = {index: label or str(index) for index, label in enumerate(labels)}
        settings["label2id"] = {name: index for index, name in settings["id2label"].items()}
    try:
        config = transformers.AutoConfig.for_model(model_type, **settings)
    except Exception as error:  # each configuration checks itself in its own way
        raise ValueError(f"its config.json is refused: {first_line(error)}") from None
    labels = labels or tuple(str(config.id2label[index]) for index in range(config.num_labels))
    try:
        network, info = transformers.AutoModelForSemanticSegmentation.from_pretrained(
            place,
            config=config,
            revision=revision,
            use_safetensors=True,
            trust_remote_code=False,
            dtype=torch.float32,
            ignore_mismatched_sizes=True,
            output_loading_info=True,
        )
    except OSError:
        _check_files(place)
        raise
    except Exception as error:  # what is in its files is not ours
        _check_files(place)
        raise ValueError(f"its weights cannot be read: {first_line(error)}") from None
    _check_loaded(info, needs_classifier=needs_classifier, n_labels=len(labels))
    _check_nothing_left(info.get("unexpected_keys") or [], network.state_dict())
    statistics = input_statistics(place, revision, model_type)
    made = json.loads(network.config.to_json_string(use_diff=False))
    for key in _NOT_OF_THE_NETWORK:
        made.pop(key, None)
    precision = str(stated.get("dtype") or stated.get("torch_dtype") or "float32")
    widened = precision.removeprefix("torch.") not in ("float32", "float", "auto")
    remarks = [f"its {precision} weights are read as float32"] if widened else []
    nameless = [str(index) for index, label in enumerate(labels) if not label]
    if nameless:
        remarks.append(f"its logits {', '.join(nameless)} have no name and are left out")
    return Checkpoint(
        made, network.state_dict(), labels, statistics, (*remarks, *statistics.remarks)
    )


def _check_files(place: str) -> None:
    """Says which of a folder's weight files is none, and what it is.

    Raises:
        ValueError: One is empty, a pointer of Git LFS, a web page or such, a part is not there, or
            there are pickles alone.
    """
    folder = Path(place)
    pickles = sorted(path.name for path in folder.glob("pytorch_model*.bin"))
    if pickles and not any(folder.glob("*.safetensors*")):
        raise ValueError(
            f"its weights are {', '.join(pickles[:_LISTED])} alone, a format that can hold code "
            "and is not read: save them as model.safetensors (save_pretrained of transformers does)"
        )
    for path in sorted(folder.glob("*.safetensors")):
        try:
            read_tensors(path)
        except InputError as error:
            raise ValueError(f"its weights cannot be read: {error}") from None
    for index in folder.glob("*.safetensors.index.json"):
        try:
            parts = json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()
            lost = sorted({str(part) for part in parts if not (folder / str(part)).is_file()})
        except (ValueError, LookupError, AttributeError, TypeError):
            raise ValueError(f"its {index.name} does not say where its weights are") from None
        if lost:
            raise ValueError(f"its weights lack {', '.join(lost[:_LISTED])}: fetch it again")


def _labels(stated: Mapping[str, Any]) -> tuple[str, ...]:
    """The names in the order of the logits, "" where an id is left out; none where none is said."""
    given = stated.get("id2label")
    if not isinstance(given, Mapping) or not given:
        return ()
    names: dict[int, str] = {}
    for key, name in given.items():
        try:
            index = int(key)
        except (TypeError, ValueError):
            index = -1
        if not 0 <= index < _MOST_LABELS:
            raise ValueError(
                f"its id2label has the id {key!r}: ids are the numbers of the logits, from 0"
            )
        names[index] = str(name)
    _check_inverse(names, stated.get("label2id"))
    return tuple(names.get(index, "") for index in range(max(names) + 1))


def _check_inverse(names: Mapping[int, str], told: object) -> None:
    """Holds `label2id` against `id2label`, where both know a name that stands there once.

    Raises:
        ValueError: They give it two numbers.
    """
    counts = Counter(names.values())
    for index, name in names.items():
        other = told.get(name) if isinstance(told, Mapping) and counts[name] == 1 else None
        if isinstance(other, int | str) and str(other) != str(index):
            raise ValueError(
                f"its id2label gives {name!r} the number {index}, and its label2id {other}: "
                "correct the one that is wrong in its config.json"
            )


def _check_nothing_left(left: Iterable[str], taken: Mapping[str, Tensor]) -> None:
    """Refuses weights of layers that the configuration counts fewer of; transformers drops them.

    Raises:
        ValueError: A tensor that has no place differs from one that has by a number alone.
    """
    known = {_NUMBER.sub("#", name) for name in taken}
    dropped = sorted(name for name in left if _NUMBER.sub("#", name) in known)
    if dropped:
        more = f" and {len(dropped) - _LISTED} more" if len(dropped) > _LISTED else ""
        raise ValueError(
            f"its configuration has no place for {', '.join(dropped[:_LISTED])}{more} of its "
            "weights: config.json and weights are of different networks"
        )


def _check_loaded(info: Mapping[str, Any], *, needs_classifier: bool, n_labels: int) -> None:
    """Reports weights that were not there, or of another shape, and are random ones now."""
    mismatched = sorted(info.get("mismatched_keys") or [], key=str)
    for name, found, wanted in mismatched:
        if found[1:] == wanted[1:] and wanted[0] == n_labels:
            if not needs_classifier:
                continue
            raise ValueError(
                f"its id2label names the logits 0 to {n_labels - 1}, but its classifier {name} has "
                f"the {found[0]} rows 0 to {found[0] - 1}: ids are the numbers of the rows; "
                "correct id2label in its config.json"
            )
        raise ValueError(
            f"its {name} is {tuple(found)} where its configuration asks for {tuple(wanted)}: "
            "config.json and weights are of different networks"
        )
    missing = sorted(name for name in info.get("missing_keys") or [] if "auxiliary" not in name)
    if missing and needs_classifier:
        more = f" and {len(missing) - _LISTED} more" if len(missing) > _LISTED else ""
        raise ValueError(
            f"its weights lack {', '.join(missing[:_LISTED])}{more}: it is a backbone or was "
            "trained for something else; with `new_classifier: true` what lacks is trained"
        )
