"""Names of weights in another program, told by what stands behind them."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from torch import Tensor

from tasks.steps.errors import InputError
from tasks.training.weight_files import NORMALISATION

Shapes = dict[str, tuple[int, ...]]
_COUNTER = "num_batches_tracked"
"""Of batch norm; old files lack it, and it moves no prediction."""


class ForeignNamesError(InputError):
    """No name of a weight file is one of the segmenter's.

    Attributes:
        rename: What maps them, where one way alone fits.
    """

    def __init__(self, sentence: str, rename: dict[str, str | None] | None) -> None:
        super().__init__(sentence)
        self.rename = rename


def fitting_rename(
    theirs: Mapping[str, Tensor], ours: Mapping[str, Tensor]
) -> dict[str, str | None] | None:
    """The `rename` of a catalog that gives a file the names of a segmenter.

    A part of the segmenter (all names with one beginning) is a part of the file where the names
    behind the beginnings and the shapes are the same. Nothing is tried on images: two parts that
    are alike are no answer.

    Args:
        theirs: Tensors of the file by name.
        ours: Those of the segmenter.

    Returns:
        Beginnings with their dot; ``None`` for what is left out. ``None`` where a part fits
        nothing, or more than one.
    """
    found: dict[str, str | None] = {}
    parts = dict.fromkeys(name.partition(".")[0] for name in ours if name not in NORMALISATION)
    for part in parts:
        wanted = _behind(f"{part}.", ours)
        fitting = [begin for begin in _begins(theirs) if _behind(begin, theirs) == wanted]
        if len(fitting) != 1 or fitting[0] in found:
            return None
        found[fitting[0]] = f"{part}."
    rest = [name for name in theirs if not name.startswith(tuple(found))]
    firsts = (first + dot for first, dot, _ in (name.partition(".") for name in rest))
    return found | dict.fromkeys(firsts)


def rename_as_yaml(rename: Mapping[str, str | None]) -> str:
    """A `rename` as a catalog writes it, on one line."""
    pairs = (f"{theirs}: {'null' if ours is None else ours}" for theirs, ours in rename.items())
    return f"{{{', '.join(pairs)}}}"


def _begins(names: Collection[str]) -> Iterator[str]:
    """Each beginning of dotted names, with its dot, once."""
    seen: set[str] = set()
    for name in names:
        parts = name.split(".")
        for depth in range(1, len(parts)):
            begin = ".".join(parts[:depth]) + "."
            if begin not in seen:
                seen.add(begin)
                yield begin


def _behind(begin: str, tensors: Mapping[str, Tensor]) -> Shapes:
    """Shapes by what stands behind a beginning."""
    return {
        name.removeprefix(begin): tuple(tensor.shape)
        for name, tensor in tensors.items()
        if name.startswith(begin) and not name.endswith(_COUNTER)
    }
