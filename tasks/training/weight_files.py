"""Weight files of others: known by their content, read without running code, named when odd."""

from __future__ import annotations

import json
import pickle
import re
import struct
import warnings
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor

from crosscity.segmenters.home import checked_size
from crosscity.segmenters.weights import check_finite
from tasks.steps.errors import InputError

CLASS_NAMES: Final = "class_names"
"""Key of a weight file's metadata: the label space, which the tensors alone do not tell."""
IMAGE_SIZE: Final = "image_size"
"""Key of a weight file's metadata: [height, width] of the images that it was trained on."""
NORMALISATION: Final = ("input_mean", "input_std")
"""Buffers of every segmenter, which weight files of others lack."""
_HOLDERS: Final = (
    "state_dict",
    "model_state_dict",
    "model_state",
    "model",
    "network",
    "net",
    "module",
    "weights",
    "params",
    "ema_state_dict",
    "state_dict_ema",
    "model_ema",
    "ema",
)
"""Keys that training programs keep the weights under, beside optimiser and epoch; the first counts.
Slow averages of weights come last: a program that keeps both starts again from the others."""
_ARCHIVES: Final = (b"Rar!", b"7z\xbc\xaf", b"\xfd7zXZ", b"BZh", b"\x28\xb5\x2f\xfd", b"\x1f\x8b")
_AFTER_VERSION_OF_ONNX: Final = (b"\x12", b"\x3a", b"\x42")
"""What follows the version that an ONNX file begins with (field 1, one byte, of ModelProto): the
producer's name, the graph, or the operator sets (onnx/onnx.proto)."""
_PLAIN: Final = frozenset(
    {
        *(torch.float64, torch.float32, torch.float16, torch.bfloat16),
        *(torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool),
    }
)
"""Types of numbers that a network's weights and counters may have."""
_DEEPEST: Final = 3
_MOST_DIMENSIONS: Final = 16
_WRAPPED: Final = re.compile(
    r"(?:^(?:module\.)+)"
    r"|(?:(?<![^.])(?:_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.)"
)
"""What PyTorch's wrappers put before the names of what they wrap: DistributedDataParallel and
AveragedModel, torch.compile, FullyShardedDataParallel, checkpoint_wrapper."""
_AVERAGED: Final = "n_averaged"
"""The counter of torch.optim.swa_utils.AveragedModel, beside the weights."""
_LARGEST_HEADER: Final = 100_000_000
"""Of a safetensors file, as the format's own library limits it."""


@dataclass(frozen=True)
class WeightFile:
    """The content of a weight file.

    Attributes:
        tensors: By name.
        remarks: What was changed of the names.
    """

    tensors: dict[str, Tensor]
    remarks: tuple[str, ...] = ()


def read_weight_file(path: Path, rename: Mapping[str, str | None] | None = None) -> WeightFile:
    """The tensors of a safetensors or PyTorch file, whatever it is called.

    Args:
        path: The file.
        rename: For what a name begins with, what it shall begin with; ``None`` leaves it out. The
            longest that fits counts.

    Raises:
        InputError: The file is not there, is something else, cut short or damaged, could only be
            read by running code, holds NaN, or an entry of `rename` fits no name.
    """
    tensors, remarks = read_tensors(path)
    plain = {_unwrapped(name): tensor for name, tensor in tensors.items()}
    if plain.keys() != tensors.keys() and len(plain) == len(tensors):
        first = next(name for name in tensors if name not in plain)
        remarks.append(
            f"{path.name}: what wrappers put before its names is taken off ({first!r} becomes "
            f"{_unwrapped(first)!r})"
        )
        tensors = plain
    if _AVERAGED in tensors and len(tensors) > 1:
        tensors = {name: one for name, one in tensors.items() if name != _AVERAGED}
        remarks.append(f"{path.name}: the counter {_AVERAGED} of averaged weights is left out")
    if rename:
        try:
            tensors = renamed(tensors, rename)
        except InputError as error:
            raise InputError(f"{path}: {error}") from None
    for name, tensor in tensors.items():
        _check_plain(path, name, tensor)
    try:
        check_finite(tensors)
    except ValueError as error:
        raise InputError(f"{path}: {error}") from None
    return WeightFile(tensors, tuple(remarks))


def _check_plain(path: Path, name: str, tensor: Tensor) -> None:
    """Refuses tensors that are not plain numbers in memory, by name."""
    what = None
    if tensor.is_quantized or tensor.dtype not in _PLAIN:
        what = f"of the type {str(tensor.dtype).removeprefix('torch.')}"
    elif tensor.ndim > _MOST_DIMENSIONS:
        raise InputError(
            f"{path}: {name} has {tensor.ndim} dimensions: save it as plain float32 or float16 "
            "where it comes from"
        )
    elif tensor.layout != torch.strided:
        what = "sparse"
    elif tensor.is_meta:
        what = "without its numbers (on the device meta)"
    if what is not None:
        raise InputError(
            f"{path}: {name} is {what}: save it as plain float32 or float16 where it comes from"
        )


def read_tensors(path: Path) -> tuple[dict[str, Tensor], list[str]]:
    """The tensors of a file under the names that it has, and remarks on what was chosen in it.

    Raises:
        InputError: As of `read_weight_file`.
    """
    if not path.is_file():
        what = "it is a folder" if path.is_dir() else "it is not there"
        raise InputError(f"there is no weight file {path}: {what}")
    try:
        with path.open("rb") as file:
            head = file.read(1024)
        size = path.stat().st_size
    except OSError as error:
        raise InputError(f"the weight file {path} cannot be read: {error.strerror}") from None
    if _is_safetensors(head, size):  # its first bytes are a number, which may look like text
        return _of_safetensors(path), []
    _check_head(path, head, size)
    if head.startswith((b"PK", b"\x80")):
        if head.startswith(b"PK"):
            _check_zip(path, size)
        return _of_pytorch(path)
    raise InputError(
        f"{path} is not a weight file: it begins with {head[:8]!r}, as neither safetensors nor a "
        "file of torch.save does"
    )


def stated_class_names(path: Path) -> tuple[str, ...] | None:
    """The label space that a safetensors file states, if any."""
    stated = _stated(path, CLASS_NAMES)
    return tuple(str(name) for name in stated) if isinstance(stated, list) else None


def stated_image_size(path: Path) -> tuple[int, int] | None:
    """(height, width) of the images that a safetensors file says it was trained on, if any."""
    return checked_size(_stated(path, IMAGE_SIZE))


def _stated(path: Path, key: str) -> object:
    """What the metadata of a safetensors file say under a key."""
    try:
        with safe_open(path, framework="pt") as opened:
            stated = (opened.metadata() or {}).get(key)
        return None if stated is None else json.loads(stated)
    except (SafetensorError, OSError, ValueError, RecursionError):
        return None  # reported when the tensors are read


def _unwrapped(name: str) -> str:
    """A name without what wrappers put before it, in any order."""
    while (shorter := _WRAPPED.sub("", name)) != name:
        name = shorter
    return name


def _check_head(path: Path, head: bytes, size: int) -> None:
    """Says what a file is that was downloaded wrongly."""
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if not size:
        raise InputError(f"{path} is empty: download it again")
    if start.startswith(b"version https://git-lfs"):
        raise InputError(
            f"{path} is a pointer of Git LFS and not the file itself: run `git lfs pull` where it "
            "comes from"
        )
    if b"/annex/objects/" in start[:200]:
        raise InputError(f"{path} is a pointer of git-annex: run `git annex get` where it is from")
    if start.startswith(b"<"):
        raise InputError(
            f"{path} is a web page and not weights: the address leads to a page (a login, a "
            "warning before large files, an error), download the file itself"
        )
    if start.startswith(b"{") and b'"weight_map"' in head:
        raise InputError(
            f"{path} is the index of weights in several files: load them where they come from, and "
            "save them as one safetensors file"
        )
    if start.startswith((b"{", b"[")):
        raise InputError(
            f"{path} is JSON and not weights, as services answer with an error: it begins with "
            f"{start[:60].decode(errors='replace')!r}"
        )
    if head.startswith(_ARCHIVES) or head[257:262] == b"ustar":
        raise InputError(f"{path} is an archive: unpack it and name the weight file in it")
    if head[:1] == b"\x08" and head[2:3] in _AFTER_VERSION_OF_ONNX:
        raise InputError(
            f"{path} is an ONNX model, which cannot be trained further: name the weights that it "
            "was exported from (.pt, .pth, .safetensors), and with `python:` the network's own code"
        )
    if start.startswith(b"\x89hdf"):
        raise InputError(f"{path} holds weights of Keras (HDF5): export them as safetensors")


def _is_safetensors(head: bytes, size: int) -> bool:
    if len(head) < 10:
        return False
    (length,) = struct.unpack("<Q", head[:8])
    return bool(head[8:9] == b"{" and 2 <= length <= max(size, _LARGEST_HEADER))


def _of_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        found = load_file(path)
    except (SafetensorError, OSError, ValueError, KeyError, RuntimeError) as error:
        raise InputError(
            f"{path} is cut short or damaged, no whole safetensors file ({error}): download it "
            "again"
        ) from None
    if not found:
        raise InputError(f"{path} holds no tensor")
    return found


def _check_zip(path: Path, size: int) -> None:
    """Tells other archives from what torch.save writes, and refuses those that grow when read."""
    try:
        with zipfile.ZipFile(path) as archive:
            files = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return  # cut short: reported when it is read
    if any(file.filename.endswith("/constants.pkl") for file in files):
        raise InputError(
            f"{path} is a TorchScript program, whose code would be run: save the state_dict() of "
            "what torch.jit.load gives as safetensors, and name the network's own code beside it"
        )
    if not any(file.filename.endswith("/data.pkl") for file in files):
        raise InputError(
            f"{path} is a zip archive of other files (it begins with {files[0].filename!r}): "
            "unpack it and name the weight file in it"
            if files
            else f"{path} is an empty zip archive"
        )
    compressed = any(file.compress_type != zipfile.ZIP_STORED for file in files)
    if compressed or sum(file.file_size for file in files) > size:
        raise InputError(
            f"{path} was compressed after torch.save wrote it, or holds parts more than once: "
            "unpack it, and save its state_dict as safetensors"
        )


def _of_pytorch(path: Path) -> tuple[dict[str, Tensor], list[str]]:
    try:
        # By its name, torch would take some for safetensors; what it warns of is said here.
        with path.open("rb") as file, warnings.catch_warnings(action="ignore"):
            content: object = torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if any(word in str(error) for word in ("Unsupported", "GLOBAL", "WeightsUnpickler")):
            raise InputError(
                f"{path} holds more than tensors: reading it would run code from the file, which "
                "is refused; where it comes from, save its state_dict as safetensors"
            ) from None
        raise InputError(f"{path} is cut short or damaged: download it again") from None
    except Exception as error:  # a damaged file has its reader raise a dozen types
        reason = (str(error) or type(error).__name__).splitlines()[0]
        if "TorchScript" in reason:
            raise InputError(
                f"{path} is a TorchScript program, which would run code: save its state_dict as "
                "safetensors"
            ) from None
        raise InputError(
            f"{path} is not a weight file, or cut short ({reason[:120]}): download it again"
        ) from None
    return _state_dict(content, path)


def _state_dict(content: object, path: Path) -> tuple[dict[str, Tensor], list[str]]:
    """The tensors by name, from below the keys that training programs use, and what was chosen."""
    remarks: list[str] = []
    for _ in range(_DEEPEST):
        if not isinstance(content, Mapping) or _holds_tensors(content):
            break
        held = [key for key in _HOLDERS if isinstance(content.get(key), Mapping)]
        if not held:
            break
        if len(held) > 1:
            remarks.append(
                f"{path.name}: its weights are taken from {held[0]!r}; it has "
                f"{', '.join(map(repr, held[1:]))} too"
            )
        content = content[held[0]]
    if isinstance(content, Mapping):
        others = [str(name) for name, value in content.items() if not isinstance(value, Tensor)]
        if others and 2 * len(others) <= len(content):
            remarks.append(f"{path.name}: {', '.join(others[:3])} are not tensors and are left out")
            content = {name: v for name, v in content.items() if isinstance(v, Tensor)}
    if not isinstance(content, Mapping) or not _holds_tensors(content):
        keys = [str(key) for key in content][:5] if isinstance(content, Mapping) else []
        raise InputError(
            f"{path} holds no state_dict: tensors by name are needed"
            + (f"; it has {', '.join(keys)}" if keys else "")
        )
    return {str(name): tensor for name, tensor in content.items()}, remarks


def _holds_tensors(content: Mapping[object, object]) -> bool:
    return bool(content) and all(isinstance(value, Tensor) for value in content.values())


def renamed(tensors: Mapping[str, Tensor], rename: Mapping[str, str | None]) -> dict[str, Tensor]:
    """Tensors under other names.

    Args:
        tensors: By name.
        rename: As `read_weight_file` takes it.

    Raises:
        InputError: Two get one name, none is left, or an entry fits no name.
    """
    used: set[str] = set()
    made: dict[str, Tensor] = {}
    by_length = sorted(rename, key=len, reverse=True)
    for name, tensor in tensors.items():
        begin = next((one for one in by_length if name.startswith(one)), None)
        ours: str | None = name
        if begin is not None:
            used.add(begin)
            start = rename[begin]
            ours = None if start is None else start + name.removeprefix(begin)
        if ours in made:
            raise InputError(f"`rename` gives two tensors the name {ours!r}")
        if ours is not None:
            made[ours] = tensor
    if not made:
        raise InputError("`rename` leaves out all that it holds: name what is kept")
    idle = [begin for begin in rename if begin not in used]
    if idle:
        raise InputError(
            f"no name in it begins with {idle[0]!r} of `rename`; they begin with "
            f"{', '.join(beginnings(tensors))}"
        )
    return made


def beginnings(names: Sequence[str] | Mapping[str, Tensor]) -> list[str]:
    """The first parts of dotted names, each once, at most eight."""
    return list(dict.fromkeys(name.partition(".")[0] for name in names))[:8]
