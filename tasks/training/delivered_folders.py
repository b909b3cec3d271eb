"""A segmenter of a folder that was handed on (`crosscity segmenter export`), named as weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crosscity.named_function import function_of, is_plug_in
from crosscity.segmenters import HuggingFaceSegmenter, Segmenter, WeightsError, build_segmenter
from crosscity.segmenters.delivered import (
    TRANSFORMERS_WEIGHTS,
    WEIGHTS,
    check_provenance,
    give_transformers_weights,
)
from tasks.steps.errors import InputError
from tasks.training.stored_networks import DESCRIPTION, check_options, read_model_file
from tasks.training.weight_files import read_weight_file


@dataclass(frozen=True)
class Folder:
    """A delivered folder, examined and found harmless; nothing is built yet.

    Attributes:
        path: The folder.
        model: Architecture and options, as `build_segmenter` takes them.
        content: The whole description.
        weights: The file that holds its weights.
    """

    path: Path
    model: dict[str, Any]
    content: Mapping[str, Any]
    weights: Path


def described(folder: Path, key: str) -> dict[str, Any]:
    """What the description of a delivered folder says, nothing of which is believed yet.

    Args:
        folder: The folder.
        key: Where it was named.

    Raises:
        InputError: There is no description, or it does not describe a network.
    """
    path = folder / DESCRIPTION
    if not path.is_file():
        raise InputError(
            f"{key}: the folder {folder} has no {DESCRIPTION}: name a weight file, or a folder "
            "that `crosscity segmenter export` wrote"
        )
    return read_model_file(path, str(path))


def look_into(
    folder: Path, architecture: str | None, options: Mapping[str, Any], key: str
) -> Folder:
    """Reads the description of a delivered folder.

    Args:
        folder: The folder.
        architecture: What the catalog's entry says, `python:…` included; ``None``: the folder's.
        options: Of the entry.
        key: Of the entry.

    Raises:
        InputError: It is not one, names code that the catalog does not, or the catalog says
            something else.
    """
    path, content = folder / DESCRIPTION, described(folder, key)
    theirs = str(content["architecture"])
    if architecture is not None and architecture != theirs:
        raise InputError(
            f"{key}: {folder} holds the architecture {theirs[:80]!r} and the catalog says "
            f"{architecture!r}: remove it from the catalog, or name another folder"
        )
    if architecture is not None and dict(options) not in ({}, content["options"]):
        raise InputError(f"{key}: the catalog's options are not those of {path}: remove them")
    if is_plug_in(theirs):
        if architecture is None or dict(options) != content["options"]:
            raise InputError(
                f"{key}: {folder} is of a network of {function_of(theirs)[:80]!r}, and a "
                "folder does not decide which code is run: if you trust it, name it as `python` "
                f"with the options of {DESCRIPTION} beside `weights`"
            )
    else:
        check_options(theirs, content["options"], str(path))
    in_their_names = theirs == "hf" and (folder / TRANSFORMERS_WEIGHTS).is_file()
    weights = folder / (TRANSFORMERS_WEIGHTS if in_their_names else WEIGHTS)
    try:
        check_provenance(folder, DESCRIPTION, weights.name)
    except WeightsError as error:
        raise InputError(f"{key}: {error}") from None
    model = {"architecture": theirs, "options": dict(content["options"])}
    return Folder(folder, model, content, weights)


def transformers_segmenter(found: Folder) -> Segmenter:
    """The network of a folder whose weights have transformers' names.

    Raises:
        InputError: They do not fit.
    """
    tensors = read_weight_file(found.weights).tensors
    try:
        segmenter = build_segmenter("hf", found.model["options"])
        assert isinstance(segmenter, HuggingFaceSegmenter)  # noqa: S101 - says so to mypy
        give_transformers_weights(segmenter, tensors, found.content)
    except (WeightsError, ValueError) as error:
        raise InputError(f"{found.path}: {error}") from None
    return segmenter
