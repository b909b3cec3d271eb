"""Tensors of a safetensors file, where the package of that name is not installed.

The format (https://huggingface.co/docs/safetensors, "Format"): eight bytes with the length N of the
header, little-endian; N bytes of JSON from names to dtype, shape and place; the tensors' bytes, one
behind the other. The science depends on no file format's library, so this reads it, and refuses
what the library refuses.
"""

from __future__ import annotations

import json
import math
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from crosscity.segmenters.base import WeightsError

METADATA: Final = "__metadata__"
_LARGEST_HEADER: Final = 100_000_000
"""As the format's own library limits it."""
_TYPES: Final = {
    "BOOL": torch.bool,
    "U8": torch.uint8,
    "I8": torch.int8,
    "I16": torch.int16,
    "I32": torch.int32,
    "I64": torch.int64,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F32": torch.float32,
    "F64": torch.float64,
}


_OTHERS: Final = {
    (b"PK", b"\x80"): "a file of torch.save, which can hold code: save its state_dict by "
    "safetensors.torch.save_file, or name it as weights of a segmenter in a catalog",
    (b"version https://git-lfs",): "a pointer of Git LFS and not the file itself: run `git lfs "
    "pull` where it comes from",
    (b"<",): "a web page and not weights: download the file itself",
}
"""What is taken for weights, by how it begins."""


@dataclass(frozen=True)
class TensorFile:
    """The content of a safetensors file.

    Attributes:
        tensors: By name.
        metadata: What else it says, strings by name.
    """

    tensors: dict[str, Tensor]
    metadata: dict[str, str]


def read_tensor_file(path: Path) -> TensorFile:
    """Reads a safetensors file.

    Raises:
        WeightsError: It is not there, is none, or is cut short or damaged.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise WeightsError(f"{path} cannot be read: {error.strerror or error}") from None
    try:
        return _content(data)
    except _DamagedError as error:
        other = next((what for begins, what in _OTHERS.items() if data.startswith(begins)), None)
        if other is not None:
            raise WeightsError(f"{path} is {other}") from None
        raise WeightsError(
            f"{path} is not a whole safetensors file ({error}): download or export it again"
        ) from None


class _DamagedError(ValueError):
    pass


def _content(data: bytes) -> TensorFile:
    header, start = _header(data)
    stated = header.pop(METADATA, {})
    if not isinstance(stated, dict) or not all(isinstance(one, str) for one in stated.values()):
        raise _DamagedError("its metadata is not a mapping of strings")
    places = {name: _place(name, entry) for name, entry in header.items()}
    tensors: dict[str, Tensor] = {}
    end = 0
    for name in sorted(places, key=lambda one: places[one][2:]):
        kind, shape, first, last = places[name]
        if first != end:
            raise _DamagedError(f"{name} begins at {first} where the one before it ends at {end}")
        end = last
        if start + last > len(data):
            raise _DamagedError(f"{name} ends beyond the file")
        tensors[name] = _tensor(data[start + first : start + last], kind, shape)
    if start + end != len(data):
        raise _DamagedError(f"it has {len(data)} bytes instead of {start + end}")
    return TensorFile({name: tensors[name] for name in header}, dict(stated))


def _header(data: bytes) -> tuple[dict[str, Any], int]:
    """The header, and where the tensors begin."""
    if len(data) < 8:
        raise _DamagedError("it has less than eight bytes")
    (length,) = struct.unpack("<Q", data[:8])
    if length > min(_LARGEST_HEADER, len(data) - 8):
        raise _DamagedError("its header is longer than the file")
    try:
        header = json.loads(data[8 : 8 + length].decode("utf-8"))
    except (ValueError, RecursionError):
        header = None
    if not isinstance(header, dict):
        raise _DamagedError("its header is not a JSON mapping")
    return header, 8 + length


def _place(name: str, entry: object) -> tuple[torch.dtype, tuple[int, ...], int, int]:
    """Type, shape, first byte and the byte behind the last of a tensor."""
    stated = entry if isinstance(entry, dict) else {}
    kind = stated.get("dtype")
    shape, offsets = _counts(stated.get("shape")), _counts(stated.get("data_offsets"))
    if shape is None or offsets is None or len(offsets) != 2:
        raise _DamagedError(f"{name[:80]} has no shape or no place")
    if not isinstance(kind, str) or kind not in _TYPES:
        raise _DamagedError(
            f"{name[:80]} has the type {kind!r}, which is not one of {', '.join(_TYPES)}"
        )
    first, last = offsets
    if last - first != math.prod(shape) * _TYPES[kind].itemsize:
        raise _DamagedError(f"{name[:80]} has {last - first} bytes, which its shape does not")
    return _TYPES[kind], tuple(shape), first, last


def _counts(values: object) -> list[int] | None:
    """A list of whole numbers from 0, or ``None``."""
    if not isinstance(values, list):
        return None
    counts = [one for one in values if isinstance(one, int) and not isinstance(one, bool)]
    return counts if len(counts) == len(values) and min(counts, default=0) >= 0 else None


def _tensor(data: bytes, kind: torch.dtype, shape: tuple[int, ...]) -> Tensor:
    if not data:
        return torch.empty(shape, dtype=kind)
    return torch.frombuffer(bytearray(data), dtype=kind).reshape(shape)
