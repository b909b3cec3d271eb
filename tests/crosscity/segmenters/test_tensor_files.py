"""Our reader of safetensors against the format's own library: the same tensors and refusals."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import SafetensorError, safe_open
from safetensors.torch import load, save

from crosscity.segmenters import WeightsError
from crosscity.segmenters.tensor_files import read_tensor_file

TYPES = [
    torch.bool,
    torch.uint8,
    torch.int8,
    torch.int16,
    torch.int32,
    torch.int64,
    torch.float16,
    torch.bfloat16,
    torch.float32,
    torch.float64,
]
SHAPES = [(), (0,), (1,), (7,), (3, 5), (2, 0, 3), (1, 1, 2, 3)]


def tensors() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {
        f"{kind}.{place}": (torch.rand(shape, generator=generator) * 100).to(kind)
        for place, shape in enumerate(SHAPES)
        for kind in TYPES
    }


def test_all_types_and_shapes_are_read_as_the_library_reads_them(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(save(tensors(), metadata={"class_names": '["a"]', "ü": "ö"}))
    found = read_tensor_file(path)
    expected = load(path.read_bytes())
    assert found.tensors.keys() == expected.keys()
    for name, tensor in expected.items():
        assert found.tensors[name].dtype == tensor.dtype
        assert found.tensors[name].shape == tensor.shape
        assert torch.equal(found.tensors[name], tensor)
    with safe_open(path, framework="pt") as opened:
        assert found.metadata == opened.metadata()


def file_of(header: Any, data: bytes = b"") -> bytes:
    written = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(written)) + written + data


def entry(shape: list[int], first: int, last: int, kind: str = "F32") -> dict[str, Any]:
    return {"dtype": kind, "shape": shape, "data_offsets": [first, last]}


DAMAGED = {
    "empty": b"",
    "short": b"\x01\x00",
    "header beyond the file": struct.pack("<Q", 2**60) + b"{}",
    "no json": file_of(b"{not json"),
    "no utf-8": file_of(b'{"\xff": 1}'),
    "a list": file_of([]),
    "deep": file_of(b"[" * 200_000),
    "bytes left over": file_of({"a": entry([1], 0, 4)}, b"\0" * 9),
    "bytes missing": file_of({"a": entry([3], 0, 12)}, b"\0" * 8),
    "shape of another size": file_of({"a": entry([2], 0, 4)}, b"\0" * 4),
    "two at one place": file_of({"a": entry([1], 0, 4), "b": entry([1], 0, 4)}, b"\0" * 4),
    "a hole": file_of({"a": entry([1], 4, 8)}, b"\0" * 8),
    "negative": file_of({"a": entry([-1], 0, -4)}),
    "huge shape": file_of({"a": entry([2**62, 2**62], 0, 0)}),
    "unknown type": file_of({"a": entry([1], 0, 4, "Q4")}, b"\0" * 4),
    "no offsets": file_of({"a": {"dtype": "F32", "shape": [1]}}, b"\0" * 4),
    "metadata of numbers": file_of({"__metadata__": {"a": 1}}),
}


@pytest.mark.parametrize("zipped", [True, False])
def test_a_file_of_pytorch_is_called_so(tmp_path: Path, zipped: bool) -> None:
    """Nothing is wrong with it, so to fetch it again would help nobody."""
    path = tmp_path / "w.pth"
    torch.save(tensors(), path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(WeightsError, match=r"w\.pth is a file of torch\.save, .*save_file"):
        read_tensor_file(path)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (
            "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
            "run `git lfs pull`",
        ),
        ("<!DOCTYPE html><html><body>Sign in</body></html>", "is a web page and not weights"),
    ],
)
def test_what_was_downloaded_instead_of_weights_is_named(
    tmp_path: Path, content: str, said: str
) -> None:
    path = tmp_path / "w.safetensors"
    path.write_text(content)
    with pytest.raises(WeightsError, match=said):
        read_tensor_file(path)


@pytest.mark.parametrize("name", DAMAGED)
def test_what_the_library_refuses_is_refused_in_a_sentence(name: str, tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(DAMAGED[name])
    with pytest.raises((SafetensorError, KeyError)):
        load(path.read_bytes())
    with pytest.raises(WeightsError) as caught:
        read_tensor_file(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(place=st.integers(0, 400), value=st.integers(0, 255), cut=st.integers(0, 40))
def test_a_damaged_file_is_read_as_the_library_reads_it_or_refused(
    place: int, value: int, cut: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    data = bytearray(save({"a": torch.arange(6.0).reshape(2, 3), "b": torch.ones(2)}))
    data[place % len(data)] = value
    path = tmp_path_factory.mktemp("damaged") / "a.safetensors"
    path.write_bytes(data[: len(data) - cut])
    try:
        found = read_tensor_file(path).tensors
    except WeightsError:
        return
    expected = load(path.read_bytes())
    assert found.keys() == expected.keys()
    assert all(
        torch.equal(found[name], expected[name]) or found[name].isnan().any() for name in found
    )
