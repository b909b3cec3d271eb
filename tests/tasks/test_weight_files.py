"""Weight files as they are found: any ending, wrappers of training programs, and odd ones.

Written by the libraries' own code: `torch.save` in both of its formats (torch/serialization.py,
`_use_new_zipfile_serialization`), DistributedDataParallel and torch.compile, whose names are
`module.` (torch/nn/parallel/distributed.py) and `_orig_mod.` (torch/_dynamo/eval_frame.py,
OptimizedModule), and safetensors. A pointer of Git LFS is that of its specification
(git-lfs, docs/spec.md).
"""

from __future__ import annotations

import re
import struct
import zipfile
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import save_file
from torch import nn

from crosscity.segmenters import build_segmenter
from tasks.steps.errors import InputError
from tasks.steps.plan import open_plan
from tasks.training.foreign_names import UnfitError, fitting_rename, rename_as_yaml
from tasks.training.segmenters import fresh_segmenter, load_checked, starting_segmenter
from tasks.training.weight_files import read_tensors, read_weight_file, renamed

SMALL = {"architecture": "compact", "options": {"width": 8}}
TENSORS = {"layer.weight": torch.arange(6.0).reshape(2, 3), "layer.bias": torch.ones(2)}
LFS = (
    b"version https://git-lfs.github.com/spec/v1\n"
    b"oid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\nsize 12345\n"
)
ENDINGS = ["safetensors", "pth", "pt", "PTH", "bin", "ckpt", "pth.tar", "pkl", "model", ""]


def saved(path: Path, form: str, content: object = None) -> Path:
    if form == "safetensors":
        save_file(TENSORS if content is None else content, path)
    else:
        torch.save(
            TENSORS if content is None else content,
            path,
            _use_new_zipfile_serialization=form == "zip",
        )
    return path


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("form", ["safetensors", "zip", "legacy"])
def test_a_file_is_known_by_its_content(tmp_path, ending, form):
    found, _ = read_tensors(saved(tmp_path / f"weights.{ending}", form))
    assert found.keys() == TENSORS.keys()
    assert all(torch.equal(found[name], TENSORS[name]) for name in TENSORS)


@pytest.mark.parametrize("ending", ["safetensors", "pth", "bin"])
@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (LFS, r"pointer of Git LFS .*git lfs pull"),
        (b"../../.git/annex/objects/zz/SHA256E-s1--ab.pth", "git-annex"),
        (b"\n<!DOCTYPE html><html><title>Sign in</title>", "is a web page"),
        (b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>", "is a web page"),
        (b"\x1f\x8b\x08\x00" + bytes(40), "is an archive"),
        (b"\x89HDF\r\n\x1a\n" + bytes(40), "Keras"),
        (b"PK\x03\x04" + bytes(60), "not a weight file, or cut short"),
        (b"\x80\x02" + bytes(60), "cut short|more than tensors"),
        (b'{"message": "Not Found"}', r"is JSON and not weights.*\{.message"),
        (b'  {"weight_map": {"a": "model-00001-of-00002.safetensors"}}', "the index of weights"),
        (b"<Error><Code>AccessDenied</Code></Error>", "is a web page"),
        (b"Rar!\x1a\x07\x00" + bytes(40), "is an archive"),
        (b"7z\xbc\xaf\x27\x1c" + bytes(40), "is an archive"),
        (b"\xfd7zXZ\x00" + bytes(40), "is an archive"),
        (b"\x28\xb5\x2f\xfd" + bytes(40), "is an archive"),
        (b"\x08\x08\x12\x07pytorch\x1a\x052.0.0" + bytes(40), "is an ONNX model.*`python:`"),
        (b"\x08\x0a\x3a\x90\x01" + bytes(40), "is an ONNX model"),
        (b"GGUF" + bytes(40), "not a weight file: it begins with"),
        (b"\x93NUMPY\x01\x00" + bytes(40), "not a weight file: it begins with"),
        (b"123", "not a weight file: it begins with"),
        (bytes(100), "not a weight file: it begins with"),
    ],
)
def test_what_is_not_a_weight_file_is_reported(tmp_path, ending, content, said):
    path = tmp_path / f"weights.{ending}"
    path.write_bytes(content)
    with pytest.raises(InputError, match=said) as caught:
        read_tensors(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("form", ["safetensors", "zip", "legacy"])
def test_a_file_that_is_cut_anywhere_is_reported(tmp_path, form):
    whole = saved(tmp_path / "whole", form).read_bytes()
    path = tmp_path / "cut.safetensors"
    for length in range(0, len(whole), 7):
        path.write_bytes(whole[:length])
        with pytest.raises(InputError, match=r"cut\.safetensors") as caught:
            read_tensors(path)
        assert "\n" not in str(caught.value)


def test_a_folder_and_a_missing_file_are_told_apart(tmp_path):
    with pytest.raises(InputError, match="it is a folder"):
        read_tensors(tmp_path)
    with pytest.raises(InputError, match="it is not there"):
        read_tensors(tmp_path / "gone")


@pytest.mark.parametrize(
    "wrap",
    [
        lambda t: {"state_dict": t, "epoch": 3, "optimizer": {"lr": 0.1}},
        lambda t: {"model": {"state_dict": t}},
        lambda t: {"model_state_dict": t, "loss": torch.zeros(1)},
        lambda t: {"net": t},
        lambda t: {"ema_state_dict": t, "epoch": 3},
    ],
)
def test_what_training_programs_wrap_around_is_taken_off(tmp_path, wrap):
    found, remarks = read_tensors(saved(tmp_path / "w.pth.tar", "zip", wrap(TENSORS)))
    assert found.keys() == TENSORS.keys()
    assert not remarks


def test_what_is_chosen_among_several_is_said(tmp_path):
    slow = {name: tensor + 1 for name, tensor in TENSORS.items()}
    path = saved(tmp_path / "w.pth", "zip", {"state_dict_ema": slow, "state_dict": TENSORS})
    found, (remark,) = read_tensors(path)
    assert torch.equal(found["layer.bias"], TENSORS["layer.bias"])
    assert "taken from 'state_dict'; it has 'state_dict_ema' too" in remark
    path = saved(tmp_path / "w.pth", "zip", {**TENSORS, "version": 3})
    found = read_weight_file(path)
    assert found.tensors.keys() == TENSORS.keys()
    assert "version are not tensors" in found.remarks[0]


@pytest.mark.parametrize(
    ("form", "tensor", "said"),
    [
        ("safetensors", torch.ones(2).to(torch.float8_e4m3fn), "is of the type float8_e4m3fn"),
        ("zip", torch.ones(2, dtype=torch.complex64), "is of the type complex64"),
        ("zip", torch.eye(2).to_sparse(), "is sparse"),
        ("zip", torch.ones(2, device="meta"), r"is without its numbers .on the device meta."),
        ("zip", torch.ones([1] * 40), "has 40 dimensions"),
    ],
)
def test_tensors_that_are_not_plain_numbers_are_named(tmp_path, form, tensor, said):
    path = saved(tmp_path / "w.bin", form, {"layer.weight": tensor})
    with pytest.raises(InputError, match=rf"w\.bin: layer\.weight {said}: save it as plain"):
        read_weight_file(path)


def test_whole_numbers_are_not_taken_for_weights(tmp_path):
    segmenter = fresh_segmenter(SMALL, 0)
    tensors = dict(segmenter.state_dict())
    name = next(name for name in tensors if name.endswith("weight"))
    path = saved(tmp_path / "w.pth", "zip", {**tensors, name: tensors[name].to(torch.int8)})
    with pytest.raises(InputError, match=rf"{name} is of int8 where float32 is needed"):
        load_checked(segmenter, path)


def of_zip(path: Path, files: dict[str, bytes], how: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", how) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def test_other_archives_and_those_that_grow_are_reported_before_they_are_read(tmp_path):
    inside = saved(tmp_path / "whole.pth", "zip", {"a": torch.zeros(1_000_000)})
    with zipfile.ZipFile(inside) as archive:
        files = {file.filename: archive.read(file) for file in archive.infolist()}
    path = tmp_path / "w.pth"
    for content, how, said in (
        ({"weights/model.pth": inside.read_bytes()}, zipfile.ZIP_STORED, "archive of other files"),
        ({"word/document.xml": b"<x/>"}, zipfile.ZIP_STORED, "archive of other files"),
        ({"a.npy": b"x"}, zipfile.ZIP_DEFLATED, "archive of other files"),
        ({}, zipfile.ZIP_STORED, "an empty zip archive"),
        (files, zipfile.ZIP_DEFLATED, "was compressed after torch.save"),
    ):
        with pytest.raises(InputError, match=rf"w\.pth (is|was) .*{said}|w\.pth {said}"):
            read_tensors(of_zip(path, content, how))
    assert read_tensors(of_zip(path, files))[0].keys() == {"a"}


def header(content: bytes, body: bytes = b"") -> bytes:
    return struct.pack("<Q", len(content)) + content + body


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (struct.pack("<Q", 2**62) + b"{}", "not a weight file"),
        (struct.pack("<Q", 99_000_000) + b"{" + b" " * 100, "cut short or damaged"),
        (header(b"{}"), "holds no tensor"),
        (header(b'{"__metadata__":{"a":"b"}}'), "holds no tensor"),
        (header(b'{"a":{"dtype":"F32","shape":[1099511627776],"data_offsets":[0,8]}}', bytes(8)),
         "cut short or damaged"),
        (header(b'{"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}}', bytes(4)), "damaged"),
        (header(b'{"a":{"dtype":"F3","shape":[1],"data_offsets":[0,4]}}', bytes(4)), "damaged"),
        (header(b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},'
                b'"b":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}}', bytes(12)), "damaged"),
        (header(b'{"a":{"dtype":"F32","shape":[' + b"1," * 1999 + b'1],"data_offsets":[0,4]}}',
                bytes(4)), "damaged|dimensions"),
    ],
)  # fmt: skip
def test_headers_of_safetensors_that_lie_are_reported(tmp_path, content, said):
    path = tmp_path / "w.safetensors"
    path.write_bytes(content)
    with pytest.raises(InputError, match=said) as caught:
        read_weight_file(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_wrapped_networks_lose_the_names_of_their_wrappers(tmp_path):
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 1), torch.nn.Conv2d(4, 2, 1))
    expected = network.state_dict()
    inner = torch.nn.Sequential(torch.compile(network[0]), network[1])
    for wrapped in (
        {f"module.{name}": tensor for name, tensor in expected.items()},
        torch.compile(network).state_dict(),
        inner.state_dict(),
        {f"module._orig_mod.{name}": tensor for name, tensor in expected.items()},
        {f"_orig_mod.module.{name}": tensor for name, tensor in expected.items()},
        # torch/distributed/fsdp/_common_utils.py, FSDP_PREFIX; its checkpoint_wrapper
        {f"_fsdp_wrapped_module.{name}": tensor for name, tensor in expected.items()},
        {
            f"{name[0]}._checkpoint_wrapped_module{name[1:]}": tensor
            for name, tensor in expected.items()
        },
        torch.optim.swa_utils.AveragedModel(network).state_dict(),
    ):
        assert wrapped.keys() != expected.keys()
        found = read_weight_file(saved(tmp_path / "w.pth", "zip", dict(wrapped)))
        assert found.tensors.keys() == expected.keys()
        assert any("taken off" in remark for remark in found.remarks)
    names = {"submodule.module_list.0": torch.zeros(1), "my_module.x": torch.zeros(1)}
    found = read_weight_file(saved(tmp_path / "w.pth", "zip", names))
    assert found.tensors.keys() == names.keys()
    assert not found.remarks


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
def test_numbers_that_are_none_are_refused_in_weights_of_every_kind(
    write_catalog, tmp_path, number
):
    tensors = build_segmenter("compact", {"width": 8}, seed=1).state_dict()
    name = next(name for name in tensors if name.endswith("weight"))
    tensors[name].view(-1)[-1] = number
    path = saved(tmp_path / "w.pth", "zip", dict(tensors))
    with pytest.raises(InputError, match=rf"w\.pth: {name} holds NaN or infinity"):
        load_checked(fresh_segmenter(SMALL, 0), path)
    entry = {"architecture": "dilated_vgg16", "options": {"width": 4, "fc_width": 16}}
    entry |= {"source": "frankfurt", "backbone_weights": "w.pth"}
    plan = open_plan(write_catalog(tmp_path, segmenters={"vgg": entry}))
    with pytest.raises(InputError, match="holds NaN or infinity"):
        starting_segmenter(plan, "vgg", seed=0)


@pytest.mark.parametrize(
    ("theirs", "fits"),
    [
        ({"net.body.0.w": (4, 3), "net.head.w": (2, 4)}, {"net.body.": "e.", "net.head.": "c."}),
        ({"body.0.w": (4, 3), "body.0.num_batches_tracked": (), "head.w": (2, 4), "n": ()},
         {"body.": "e.", "head.": "c.", "n": None}),
        ({"body.0.w": (4, 3), "head.w": (3, 4)}, None),  # of other classes
        ({"body.0.w": (4, 3), "head.w": (2, 4), "auxiliary.w": (2, 4)}, None),  # which of the two
        ({"body.0.w": (4, 3), "body.1.w": (4, 4), "head.w": (2, 4)}, None),  # of another depth
        ({"0.w": (4, 3), "head.w": (2, 4)}, {"0.": "e.0.", "head.": "c."}),
    ],
)  # fmt: skip
def test_names_are_told_by_what_stands_behind_them_where_one_way_fits(theirs, fits):
    ours = {"input_mean": (3,), "input_std": (3,), "e.0.w": (4, 3), "c.w": (2, 4)}
    held, wanted = (
        {name: torch.zeros(shape) for name, shape in one.items()} for one in (theirs, ours)
    )
    assert fitting_rename(held, wanted) == fits


class Parts(nn.Module):
    """A module with parts of these names."""

    def __init__(self, **parts):
        super().__init__()
        for name, part in parts.items():
            self.add_module(name, part)


def given(classes: int = 3, **more: nn.Module) -> Parts:
    """A network as a program of somebody else has it: nothing stands before all of its names."""
    body = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    return Parts(**{"in": body, "1": nn.Conv2d(4, 4, 3), "out": nn.Conv2d(4, classes, 1)}, **more)


@pytest.mark.parametrize(
    ("segmenter", "fits"),
    [
        (Parts(extractor=given(), classifier=nn.Identity()), {"": "extractor."}),
        (Parts(extractor=Parts(network=given())), {"": "extractor.network."}),
        (
            Parts(
                extractor=Parts(**{"in": given().get_submodule("in"), "1": nn.Conv2d(4, 4, 3)}),
                classifier=Parts(last=nn.Conv2d(4, 3, 1)),
            ),
            {"in.": "extractor.in.", "1.": "extractor.1.", "out.": "classifier.last."},
        ),
    ],
    ids=["whole", "wrapped", "head apart"],
)
def test_a_network_that_is_given_whole_or_part_by_part_is_renamed(segmenter, fits):
    file, expected = given().state_dict(), segmenter.state_dict()
    assert fitting_rename(file, expected) == fits
    assert yaml.safe_load(rename_as_yaml(fits)) == fits  # without quotes 1. is a number
    assert renamed(file, fits).keys() == expected.keys()
    stages = given(stage=nn.Conv2d(4, 4, 1)).state_dict()  # one that ours lacks is not dropped
    assert fitting_rename(stages, expected) is None
    assert fitting_rename(given(classes=5).state_dict(), expected) is None
    by_name = None if len(fits) > 1 else fits  # without shapes, two parts are alike
    assert fitting_rename(given(classes=5).state_dict(), expected, shapes=False) == by_name


def test_names_that_fit_with_shapes_that_do_not_say_which(tmp_path):
    trained = build_segmenter("compact", {"width": 8, "class_names": ["road", "sky"]}, seed=5)
    foreign = {f"net.{name}": tensor for name, tensor in trained.state_dict().items()}
    path = saved(tmp_path / "w.pth", "zip", foreign)
    with pytest.raises(UnfitError, match=r"fits the names, but .* has the shape \(2, .*\(19, "):
        load_checked(fresh_segmenter(SMALL, 0), path)


@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")
def test_torchscript_is_named_and_not_run(tmp_path):
    path = tmp_path / "w.pt"
    torch.jit.save(torch.jit.trace(nn.Conv2d(3, 4, 1), torch.zeros(1, 3, 2, 2)), path)
    with pytest.raises(InputError, match=r"w\.pt is a TorchScript program"):
        read_weight_file(path)


def test_foreign_names_are_explained_and_renamed(write_catalog, tmp_path):
    trained = build_segmenter("compact", {"width": 8}, seed=5).state_dict()
    ours = sorted({name.partition(".")[0] for name in trained})
    foreign = {f"module.their_{name}": tensor for name, tensor in trained.items()}
    foreign["aux.weight"] = torch.zeros(3)
    saved(tmp_path / "theirs.ckpt", "zip", {"state_dict": foreign})
    entry = {**SMALL, "source": "frankfurt", "weights": "theirs.ckpt"}
    plan = open_plan(write_catalog(tmp_path, segmenters={"mine": entry}))
    fitting = {**{f"their_{part}.": f"{part}." for part in ours if "input" not in part}}
    fitting |= {"their_input_mean": None, "their_input_std": None, "aux.": None}
    with pytest.raises(InputError, match="names of another program") as caught:
        starting_segmenter(plan, "mine", seed=0)
    told = yaml.safe_load(re.search(r"`rename: (.*?)`", str(caught.value))[1])
    assert told == fitting
    entry["rename"] = fitting
    starting_segmenter(open_plan(write_catalog(tmp_path, segmenters={"mine": entry})), "mine", 0)
    entry["rename"] = {**{f"their_{part}": part for part in ours}, "aux.": None}
    plan = open_plan(write_catalog(tmp_path, segmenters={"mine": entry}))
    starting = starting_segmenter(plan, "mine", seed=0)
    for name, tensor in trained.items():
        assert torch.equal(tensor, starting.segmenter.state_dict()[name])
    assert any("'module.their_" in remark for remark in starting.remarks)
    entry["rename"] = {**entry["rename"], "nothing.": "x."}
    plan = open_plan(write_catalog(tmp_path, segmenters={"mine": entry}))
    with pytest.raises(InputError, match=r"no name in it begins with 'nothing\.' of `rename`"):
        starting_segmenter(plan, "mine", seed=0)
    entry["rename"] = {f"their_{ours[0]}": ours[1], f"their_{ours[1]}": ours[1]}
    # Only where two tensors would become one: names alike behind the renamed beginning.
    tensors = {f"their_{ours[0]}.weight": torch.zeros(1), f"their_{ours[1]}.weight": torch.ones(1)}
    with pytest.raises(InputError, match="gives two tensors the name"):
        read_weight_file(saved(tmp_path / "two.pth", "zip", tensors), entry["rename"])


@pytest.mark.parametrize("length", [0x3C20, 0x7B20, 0x5B20, 0x3C08])
def test_a_length_that_looks_like_a_web_page_or_json_is_a_length(tmp_path, length):
    # A header of 15 392 bytes begins with a blank and "<"; the library pads it with blanks.
    told = b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'
    path = tmp_path / "w.safetensors"
    path.write_bytes(header(told.ljust(length), bytes(4)))
    assert list(read_weight_file(path).tensors) == ["a"]


def test_a_map_of_names_that_leaves_nothing_is_told(tmp_path):
    with pytest.raises(InputError, match="`rename` leaves out all that it holds"):
        read_weight_file(saved(tmp_path / "w.pth", "zip"), {"layer.": None})


def test_weights_below_the_key_of_deepspeed_are_found(tmp_path):
    # deepspeed/runtime/engine.py, `_save_checkpoint`: the weights are under `module`
    path = saved(tmp_path / "w.pt", "zip", {"module": TENSORS, "dp_world_size": 2})
    assert read_weight_file(path).tensors.keys() == TENSORS.keys()
