"""A segmenter that the command line names by itself: no catalog says what it is."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from adapters.catalog import HUB_PREFIX, ComputeProfile, SegmenterEntry, StoreEntry
from crosscity.named_function import PREFIX, function_of, is_plug_in
from tasks.judging.chosen_segmenter import Chosen
from tasks.steps.errors import InputError
from tasks.steps.plan import Plan
from tasks.training.delivered_folders import described
from tasks.training.foreign_names import ForeignNamesError, rename_as_yaml
from tasks.training.segmenters import Starting, is_from_elsewhere, starting_segmenter
from tasks.training.weight_files import stated_class_names

ARCHITECTURE: Final = "efficientnet_lite0"
"""Of a weight file, where nothing else is said."""
_NAME: Final = "given"
_KEY: Final = f"segmenters.{_NAME}"
_IN_AN_ENTRY: Final = "in its entry"
"""How the sentence ends that asks for a setting of a catalog."""


def given_segmenter(weights: Path | None, architecture: str | None) -> Chosen:
    """The segmenter of a weight file, of a folder that was handed on, or of an architecture alone.

    It is what an entry of a catalog with these two keys would be.

    Args:
        weights: A file, or a folder of `crosscity segmenter export`.
        architecture: Of the file (default: `ARCHITECTURE`); a folder says its own, and that of a
            network of one's own (`python:…`) is named beside it. `hf:…` and `python:…` bring their
            own weights where none are given.

    Raises:
        InputError: There is nothing of this kind, or its parts do not agree.
    """
    entry, words = _entry(weights, architecture)
    try:
        starting, remarks = _starting(entry)
    except InputError as error:
        raise InputError(_in_words_of_the_command(str(error), weights)) from None
    made_by = {"architecture": architecture or starting.model["architecture"], **starting.made_of}
    foreign = is_from_elsewhere(entry)
    return Chosen(starting.segmenter, words, made_by, (*remarks, *starting.remarks), foreign)


def _starting(entry: SegmenterEntry) -> tuple[Starting, tuple[str, ...]]:
    """The segmenter, and what was taken for what: a file's own names where one way alone fits.

    Raises:
        InputError: Nothing fits, or more than one way.
    """
    try:
        return starting_segmenter(_plan_of(entry), _NAME, seed=0), ()
    except ForeignNamesError as error:
        if error.rename is None:
            raise
        rename = error.rename
    renamed = entry.model_copy(update={"rename": rename})
    said = (
        "the weights have names of another program, of which "
        f"`rename: {rename_as_yaml(rename)}` fits"
    )
    return starting_segmenter(_plan_of(renamed), _NAME, seed=0), (said,)


def _entry(weights: Path | None, architecture: str | None) -> tuple[SegmenterEntry, str]:
    """The entry, and how the segmenter is spoken of."""
    if weights is None:
        if architecture is None or not architecture.startswith((HUB_PREFIX, PREFIX)):
            raise InputError(
                f"--architecture {architecture} has no weights of its own: name a file with "
                f"--weights; {HUB_PREFIX}NAME and {PREFIX}module:function bring theirs"
            )
        return SegmenterEntry(architecture=architecture), architecture
    where: dict[str, Any] = {"weights": str(weights.absolute())}
    if weights.is_dir():
        where |= _of_a_folder(weights, architecture)
    else:
        where |= _of_a_file(weights, architecture or ARCHITECTURE)
    return SegmenterEntry(**where), weights.name or str(weights)


def _of_a_file(path: Path, architecture: str) -> Mapping[str, Any]:
    """The architecture, in the classes that the file states."""
    if architecture.startswith(HUB_PREFIX):
        raise InputError(
            f"--architecture {architecture} brings its own weights: leave --weights out, or name "
            f"the folder that holds both as {HUB_PREFIX}FOLDER"
        )
    stated = stated_class_names(path) if path.is_file() else None
    if stated is None or is_plug_in(architecture):
        return {"architecture": architecture}
    return {"architecture": architecture, "options": {"class_names": list(stated)}}


def _of_a_folder(folder: Path, architecture: str | None) -> Mapping[str, Any]:
    """What a catalog would say beside the folder: nothing, or whose code is run."""
    content = described(folder, "--weights")
    theirs = str(content["architecture"])
    if is_plug_in(theirs) and architecture is None:
        raise InputError(
            f"--weights {folder}: it is of a network of {function_of(theirs)[:80]!r}, and "
            "a folder does not decide which code is run: if you trust it, name it with "
            f"--architecture {theirs[:80]}"
        )
    if architecture not in (None, theirs):
        raise InputError(
            f"--weights {folder}: it holds the architecture {theirs[:80]!r}, not {architecture!r}: "
            "leave --architecture out, or name another folder"
        )
    if not is_plug_in(theirs):
        return {}
    return {"architecture": theirs, "options": content["options"]}


def _plan_of(entry: SegmenterEntry) -> Plan:
    """A plan with this entry alone; relative paths start where the command does."""
    return Plan(
        catalog="the command line",
        root=Path.cwd(),
        store_name="none",
        store=StoreEntry(url="none"),
        compute=ComputeProfile(),
        segmenters={_NAME: entry},
    )


def _in_words_of_the_command(sentence: str, weights: Path | None) -> str:
    if sentence.endswith(_IN_AN_ENTRY):
        sentence += f" of a catalog: `crosscity init --weights {weights}` writes one"
    return sentence.replace(f"{_KEY}.weights", "--weights").replace(_KEY, "the segmenter given")
