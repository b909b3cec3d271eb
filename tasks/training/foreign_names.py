"""Names of weights in another program, told by what stands behind them."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping
from typing import Final

from torch import Tensor

from tasks.steps.errors import InputError
from tasks.training.weight_files import NORMALISATION

Shapes = dict[str, tuple[int, ...]]
_COUNTER = "num_batches_tracked"
"""Of batch norm; old files lack it, and it moves no prediction."""
_PLAIN: Final = re.compile(r"[A-Za-z_][\w.-]*\.")
"""Beginnings of names that YAML takes for text without quotes."""


class UnfitError(InputError):
    """The weights of a file are none of the segmenter's."""


class ForeignNamesError(UnfitError):
    """No name of a weight file is one of the segmenter's.

    Attributes:
        rename: What maps them, where one way alone fits.
    """

    def __init__(self, sentence: str, rename: dict[str, str | None] | None) -> None:
        super().__init__(sentence)
        self.rename = rename


def fitting_rename(
    theirs: Mapping[str, Tensor], ours: Mapping[str, Tensor], *, shapes: bool = True
) -> dict[str, str | None] | None:
    """The `rename` of a catalog that gives a file the names of a segmenter.

    A part of the segmenter (all names with one beginning) is a part of the file, or all of it,
    where the names behind the beginnings and the shapes are the same. What is no part of the file
    as a whole is looked for part by part, under the names that these have. Nothing is tried on
    images: two parts that are alike are no answer.

    Args:
        theirs: Tensors of the file by name.
        ours: Those of the segmenter.
        shapes: Whether shapes count beside the names.

    Returns:
        Beginnings with their dot, "" for the whole file; ``None`` for what is left out. ``None``
        where a part fits nothing, or more than one.
    """
    held, wanted = (_shapes(tensors, shapes=shapes) for tensors in (theirs, ours))
    places = {begin: _behind(begin, held) for begin in _begins(held)}
    found: dict[str, str | None] = {}
    parts = dict.fromkeys(name.partition(".")[0] for name in wanted)
    for part in parts:
        fitting = _fitting(f"{part}.", wanted, places)
        if fitting is None or not found.keys().isdisjoint(fitting):
            return None
        found |= fitting
    rest = [name for name in theirs if not name.startswith(tuple(found))]
    if rest and not set(found.values()) <= {f"{part}." for part in parts}:
        return None  # it may be stages that the segmenter lacks, and not a head beside it
    firsts = (first + dot for first, dot, _ in (name.partition(".") for name in rest))
    return found | dict.fromkeys(firsts)


def rename_as_yaml(rename: Mapping[str, str | None]) -> str:
    """A `rename` as a catalog writes it, on one line."""
    pairs = (
        f"{theirs if _PLAIN.fullmatch(theirs) else json.dumps(theirs)}: {ours or 'null'}"
        for theirs, ours in rename.items()
    )
    return f"{{{', '.join(pairs)}}}"


def _fitting(
    part: str, wanted: Shapes, places: Mapping[str, Shapes], *, of_its_name: bool = False
) -> dict[str, str | None] | None:
    """Where in a file a part of the segmenter is, or each part of it."""
    inside = _behind(part, wanted)
    there = [begin for begin, held in places.items() if held == inside]
    if of_its_name or len(there) > 1:
        there = [begin for begin in there if not begin or f".{part}".endswith(f".{begin}")]
    if there:
        return {there[0]: part} if len(there) == 1 else None
    children = dict.fromkeys(part + "".join(name.partition(".")[:2]) for name in inside)
    found: dict[str, str | None] = {}
    for child in children:
        named = of_its_name or len(children) > 1  # an only child holds all that the part does
        whole = child.endswith(".")
        fitting = _fitting(child, wanted, places, of_its_name=named) if whole else None
        if fitting is None or not found.keys().isdisjoint(fitting):
            return None
        found |= fitting
    return found


def _shapes(tensors: Mapping[str, Tensor], *, shapes: bool) -> Shapes:
    """Shapes by name, or nothing by name, of what moves a prediction."""
    return {
        name: tuple(tensor.shape) if shapes else ()
        for name, tensor in tensors.items()
        if name not in NORMALISATION and not name.endswith(_COUNTER)
    }


def _begins(names: Collection[str]) -> Iterator[str]:
    """Each beginning of dotted names, with its dot, once; first of all that of all of them."""
    yield ""
    seen: set[str] = set()
    for name in names:
        parts = name.split(".")
        for depth in range(1, len(parts)):
            begin = ".".join(parts[:depth]) + "."
            if begin not in seen:
                seen.add(begin)
                yield begin


def _behind(begin: str, shapes: Shapes) -> Shapes:
    """Shapes by what stands behind a beginning."""
    return {
        name.removeprefix(begin): shape for name, shape in shapes.items() if name.startswith(begin)
    }
