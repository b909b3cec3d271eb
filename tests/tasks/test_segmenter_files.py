"""Weights of others: read without running code, mapped to our classes, refused by a sentence."""

from __future__ import annotations

import json
import pickle
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from adapters.store import Store
from crosscity.labels import CLASSES
from crosscity.segmenters import build_segmenter
from crosscity.segmenters.home import home_fields
from tasks.steps.errors import InputError
from tasks.steps.plan import Plan, open_plan
from tasks.training.identities import pretrained_identity
from tasks.training.segmenters import (
    fresh_segmenter,
    load_checked,
    read_segmenter,
    starting_segmenter,
    stored_segmenter,
    write_segmenter,
)
from tasks.training.stored_networks import CatalogNetworks
from tasks.training.trainings import pretrain
from tasks.training.transformers_folder import write_transformers
from tasks.training.weight_files import read_tensors
from tests.harvested import ref_of

NAMES = [road_class.name for road_class in CLASSES]
SMALL = {"architecture": "compact", "options": {"width": 8}}
VGG = {"width": 4, "fc_width": 16}


def open_with(write_catalog, tmp_path: Path, **segmenters) -> Plan:
    return open_plan(write_catalog(tmp_path, segmenters=segmenters))


class RunsCode:
    """An object whose unpickling would make a file."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self):
        return (Path.touch, (self.trace,))


def test_a_pth_that_needs_unpickling_is_refused_and_runs_nothing(tmp_path):
    path, trace = tmp_path / "weights.pth", tmp_path / "trace"
    for content in ({"state_dict": {"a": torch.zeros(2)}, "e": RunsCode(trace)}, RunsCode(trace)):
        torch.save(content, path)
        with pytest.raises(InputError) as caught:
            read_tensors(path)
        text = str(caught.value)
        assert str(path) in text
        assert "run code from the file, which is refused" in text
        assert "\n" not in text
        assert not trace.exists()
    path.write_bytes(pickle.dumps(RunsCode(trace), protocol=2))
    with pytest.raises(InputError, match=r"weights\.pth"):
        read_tensors(path)
    assert not trace.exists()


@pytest.mark.parametrize("key", [None, "state_dict", "model"])
def test_a_pth_of_tensors_is_read(tmp_path, key):
    path = tmp_path / "weights.pth"
    tensors = {"layer.weight": torch.arange(6.0).reshape(2, 3)}
    torch.save(tensors if key is None else {key: tensors, "epoch": 3}, path)
    found, _ = read_tensors(path)
    assert list(found) == ["layer.weight"]
    assert torch.equal(found["layer.weight"], tensors["layer.weight"])


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("gone.safetensors", None, "no weight file"),
        ("cut.safetensors", b"123", "not a weight file"),
        ("cut.pth", b"123", "cut.pth"),
        ("list.pth", [torch.zeros(1)], "no state_dict"),
        ("number.pth", {"a": 3}, "no state_dict"),
    ],
)
def test_files_that_hold_no_weights_are_named(tmp_path, name, content, said):
    path = tmp_path / name
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        torch.save(content, path)
    with pytest.raises(InputError, match=said) as caught:
        read_tensors(path)
    assert "\n" not in str(caught.value)


def imagenet(width: int, fc_width: int) -> dict[str, torch.Tensor]:
    segmenter = build_segmenter("dilated_vgg16", {"width": width, "fc_width": fc_width}, seed=9)
    numbers = iter((0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28))
    tensors = {}
    for name, layer in segmenter.named_modules():
        if isinstance(layer, torch.nn.Conv2d) and name.startswith("convolutions"):
            number = next(numbers)
            tensors[f"features.{number}.weight"] = layer.weight.detach().clone()
            tensors[f"features.{number}.bias"] = layer.bias.detach().clone()
    for theirs, ours in (("classifier.0", "fc6"), ("classifier.3", "fc7")):
        layer = segmenter.get_submodule(ours)
        tensors[f"{theirs}.weight"] = layer.weight.detach().reshape(fc_width, -1).clone()
        tensors[f"{theirs}.bias"] = layer.bias.detach().clone()
    return tensors


@pytest.mark.parametrize("ending", ["safetensors", "pth"])
def test_pretraining_starts_from_imagenet_weights(write_catalog, tmp_path, ending):
    tensors = imagenet(4, 16)
    path = tmp_path / f"vgg16.{ending}"
    save_file(tensors, path) if ending == "safetensors" else torch.save(tensors, path)
    entry = {
        "architecture": "dilated_vgg16",
        "options": VGG,
        "source": "frankfurt",
        "backbone_weights": path.name,
    }
    plan = open_with(write_catalog, tmp_path, vgg=entry)
    starting = starting_segmenter(plan, "vgg", seed=0)
    assert not starting.is_trained
    assert "backbone_sha256" in starting.made_of
    fc6 = starting.segmenter.state_dict()["fc6.weight"]
    assert torch.equal(fc6.reshape(16, -1), tensors["classifier.0.weight"])


def test_weights_of_an_installed_package_are_found_without_running_it(
    write_catalog, tmp_path, monkeypatch
):
    package = tmp_path / "site" / "weights_of_vgg"
    (package / "models").mkdir(parents=True)
    (package / "__init__.py").write_text("raise RuntimeError('it was run')")
    tensors = imagenet(4, 16)
    torch.save(tensors, package / "models" / "vgg.pth")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    entry = {"architecture": "dilated_vgg16", "options": VGG, "source": "frankfurt"}
    for number, (given, reason) in enumerate(
        {
            "package:weights_of_vgg/models/vgg.pth": None,
            "package:weights_of_vgg/vgg.pth": "there is no weight file",
            "package:weights_of_vgg/../../vgg.pth": "names no file of a package",
            "package:not_there/vgg.pth": "'not_there' that carries the weights is not installed",
        }.items()
    ):
        entries = {"vgg": {**entry, "backbone_weights": given}}
        root = tmp_path / str(number)
        root.mkdir()
        plan = open_with(write_catalog, root, **entries)
        if reason is None:
            segmenter = starting_segmenter(plan, "vgg", seed=0).segmenter
            fc6 = segmenter.state_dict()["fc6.weight"]
            assert torch.equal(fc6.reshape(16, -1), tensors["classifier.0.weight"])
        else:
            with pytest.raises(InputError, match=reason):
                starting_segmenter(plan, "vgg", seed=0)


def test_weights_of_our_own_are_taken_as_a_whole(write_catalog, tmp_path):
    trained = build_segmenter("dilated_vgg16", VGG, seed=5)
    save_file(trained.state_dict(), tmp_path / "cityscapes.safetensors")
    entry = {
        "architecture": "dilated_vgg16",
        "options": VGG,
        "source": "frankfurt",
        "weights": "cityscapes.safetensors",
    }
    starting = starting_segmenter(open_with(write_catalog, tmp_path, vgg=entry), "vgg", seed=0)
    assert starting.is_trained
    for name, tensor in trained.state_dict().items():
        assert torch.equal(tensor, starting.segmenter.state_dict()[name])


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (NAMES[:13], "it has 13 classes, the segmenter 19"),
        ([*NAMES[:2], "bridge", *NAMES[3:]], "its class 2 is 'bridge', the segmenter's 'building'"),
        ([NAMES[1], NAMES[0], *NAMES[2:]], "its class 0 is 'sidewalk', the segmenter's 'road'"),
    ],
)
def test_class_lists_that_do_not_match_the_checkpoint_are_reported(tmp_path, names, said):
    """Also where the tensors would fit: 19 classes in another order."""
    store = Store(tmp_path / "store")
    model = {"architecture": "compact", "options": {"width": 8, "class_names": names}}
    with store.draft("segmenter", "x", "akey", inputs={}, parameters={}, version="1") as draft:
        write_segmenter(draft, fresh_segmenter(model, 0), model)
    path = store.path(draft.ref, "weights.safetensors")
    with pytest.raises(InputError) as caught:
        load_checked(fresh_segmenter(SMALL, 0), path)
    assert said in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    _, network = read_segmenter(store, draft.ref, CatalogNetworks.of([], tmp_path))
    assert network.class_names == tuple(names)


@pytest.mark.parametrize("given", [None, [96, 192], [64, 128]])
def test_a_size_that_weights_and_catalog_state_otherwise_is_said(write_catalog, tmp_path, given):
    network = fresh_segmenter(SMALL, 0)
    save_file(
        network.state_dict(), tmp_path / "w.safetensors", metadata={"image_size": "[64, 128]"}
    )
    entry = {**SMALL, "source": "frankfurt", "weights": "w.safetensors"}
    entry |= {} if given is None else {"image_size": given}
    found = starting_segmenter(open_with(write_catalog, tmp_path, small=entry), "small", seed=0)
    said = [one for one in found.remarks if "64×128 pixels" in one]
    assert len(said) == (given == [96, 192])
    assert found.segmenter.trained_size == tuple(given or (64, 128))
    of_the_catalog = {"image_size": given} if given == [96, 192] else {}
    assert {k: v for k, v in found.made_of.items() if k == "image_size"} == of_the_catalog


def test_another_size_of_given_weights_is_another_segmenter(write_catalog, tmp_path):
    """It is stored with them: a stored one was found, and went on at the size before."""
    save_file(fresh_segmenter(SMALL, 0).state_dict(), tmp_path / "w.safetensors")

    def key(**size):
        entry = {**SMALL, "weights": "w.safetensors", **size}
        plan = open_with(write_catalog, tmp_path, small=entry)
        starting = starting_segmenter(plan, "small", seed=0)
        return pretrained_identity(starting, [], [], "small", 0, plan).key

    keys = [key(), key(image_size=[64, 128]), key(image_size=[96, 192]), key()]
    assert len(set(keys)) == 3
    assert keys[0] == keys[3]


@pytest.mark.parametrize(
    "changed",
    [
        {"trained_size": [96, 192]},
        {"prediction_offsets": [0.5, *[0.0] * (len(NAMES) - 1)]},
    ],
)
def test_what_a_folder_says_beside_its_weights_is_of_its_segmenter(
    write_catalog, tmp_path, changed
):
    """The rule of one that had the same weights was found in the store, and predicted by."""
    network = fresh_segmenter(SMALL, 0)
    network.trained_size = (64, 128)
    folder = tmp_path / "theirs"
    folder.mkdir()
    write_segmenter(SimpleNamespace(path=folder), network, SMALL)
    plan = open_with(write_catalog, tmp_path, theirs={"weights": "theirs"})

    def given():
        made = ref_of(pretrain.fn([], [], "theirs", 0, plan))
        return made.key, home_fields(stored_segmenter(plan, made)[1])

    before = given()
    assert given() == before
    description = json.loads((folder / "model.json").read_text())
    (folder / "model.json").write_text(json.dumps({**description, **changed}))
    key, home = given()
    assert key != before[0]
    assert home == {**before[1], **changed}


@pytest.mark.usefixtures("segformer")
def test_normalisation_beside_weights_in_other_names_is_of_the_segmenter(write_catalog, tmp_path):
    network = starting_segmenter(
        open_with(write_catalog, tmp_path, theirs=hub_entry(labels={"Egg": "car"})), "theirs", 0
    )
    folder = tmp_path / "delivered"
    folder.mkdir()
    write_segmenter(SimpleNamespace(path=folder), network.segmenter, network.model)
    write_transformers(network.segmenter, folder)
    (folder / "weights.safetensors").unlink()
    plan = open_with(write_catalog, tmp_path, theirs={"weights": "delivered"})

    def key():
        starting = starting_segmenter(plan, "theirs", seed=0)
        return pretrained_identity(starting, [], [], "theirs", 0, plan).key

    before = key()
    assert key() == before
    description = json.loads((folder / "model.json").read_text())
    description["config"]["input_mean"] = [0.4, 0.4, 0.4]
    (folder / "model.json").write_text(json.dumps(description))
    assert key() != before


def test_classes_that_are_none_of_the_19_are_named(write_catalog, tmp_path):
    """Misspelt, they were classes of their own without a word: void in exports, never scored."""
    names = ["road", "Traffic_Light", "pavement", "sky"]
    model = {"architecture": "compact", "options": {"width": 8, "class_names": names}}
    save_file(fresh_segmenter(model, 0).state_dict(), tmp_path / "w.safetensors")
    plan = open_with(write_catalog, tmp_path, small={**model, "weights": "w.safetensors"})
    said = starting_segmenter(plan, "small", seed=0).remarks
    assert any("2 of its 4 classes" in one and "(traffic light?), pavement;" in one for one in said)
    model["options"]["class_names"] = ["sky", "road"]
    save_file(fresh_segmenter(model, 0).state_dict(), tmp_path / "w.safetensors")
    plan = open_with(write_catalog, tmp_path, small={**model, "weights": "w.safetensors"})
    assert not any("Cityscapes" in one for one in starting_segmenter(plan, "small", 0).remarks)


@pytest.mark.parametrize("names", ["car", [1, 2, 3]])
def test_class_names_are_a_list_of_names(names):
    model = {"architecture": "compact", "options": {"width": 8, "class_names": names}}
    with pytest.raises(InputError, match="class_names is a list of the names of classes, not"):
        fresh_segmenter(model, 0)


def test_a_checkpoint_of_another_size_is_reported_where_it_names_no_classes(tmp_path):
    path = tmp_path / "thirteen.safetensors"
    other = fresh_segmenter(
        {"architecture": "compact", "options": {"width": 8, "class_names": NAMES[:13]}}, 0
    )
    save_file(other.state_dict(), path)
    with pytest.raises(
        InputError, match=r"\(13, 8, 1, 1\) instead of \(19, 8, 1, 1\).*label space"
    ):
        load_checked(fresh_segmenter(SMALL, 0), path)


@pytest.fixture
def segformer(tmp_path: Path):
    """A tiny SegFormer of random weights on disk, whose labels are ours under other names."""
    transformers = pytest.importorskip("transformers", reason="the extra [hf] is not installed")
    labels = ["Traffic_Light", *(name for name in NAMES if name != "traffic light"), "Egg"]
    config = transformers.SegformerConfig(
        depths=[1, 1, 1, 1],
        hidden_sizes=[8, 8, 16, 16],
        num_attention_heads=[1, 1, 2, 2],
        decoder_hidden_size=16,
        id2label=dict(enumerate(labels)),
        label2id={label: index for index, label in enumerate(labels)},
    )
    torch.manual_seed(0)
    network = transformers.SegformerForSemanticSegmentation(config).eval()
    folder = tmp_path / "segformer"
    network.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(
        json.dumps({"image_mean": [0.1, 0.2, 0.3], "image_std": [0.5, 0.6, 0.7]})
    )
    return network, labels, folder


def hub_entry(**options) -> dict[str, object]:
    return {"architecture": "hf:segformer", "source": "frankfurt", "options": options}


def test_a_network_of_transformers_predicts_what_it_did_in_our_classes(
    write_catalog, tmp_path, segformer
):
    network, labels, _ = segformer
    plan = open_with(write_catalog, tmp_path, their=hub_entry())
    starting = starting_segmenter(plan, "their", seed=0)
    assert starting.is_trained
    ours = starting.segmenter.eval()
    image = torch.rand((1, 3, 64, 96))
    mean, std = torch.tensor([0.1, 0.2, 0.3]), torch.tensor([0.5, 0.6, 0.7])
    with torch.no_grad():
        pixels = (image - mean.reshape(1, 3, 1, 1)) / std.reshape(1, 3, 1, 1)
        expected = network(pixel_values=pixels).logits
        found = ours.classify(ours.features(image))
    assert found.shape[1] == 19
    for index, name in enumerate(NAMES):
        theirs = labels.index("Traffic_Light" if name == "traffic light" else name)
        torch.testing.assert_close(found[:, index], expected[:, theirs], rtol=1e-4, atol=1e-5)


def test_its_artifact_needs_neither_hub_nor_folder(write_catalog, tmp_path, segformer):
    _, _, folder = segformer
    plan = open_with(write_catalog, tmp_path, their=hub_entry())
    starting = starting_segmenter(plan, "their", seed=0)
    store = plan.open_store()
    with store.draft("segmenter", "x", "akey", inputs={}, parameters={}, version="1") as draft:
        write_segmenter(draft, starting.segmenter, starting.model)
    folder.rename(tmp_path / "elsewhere")
    _, again = stored_segmenter(plan, draft.ref)
    image = torch.rand((1, 3, 40, 56))
    with torch.no_grad():
        assert torch.equal(again.eval()(image), starting.segmenter.eval()(image))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            {"class_names": ["road", "lane"]},
            "`labels: {theirs: ours}`, name in `class_names` those that it has, or",
        ),
        ({"labels": {"sky": "road"}}, "class 'sky' is not among"),
        ({"labels": {"Egg": "void", "bus": "car", "car": "void"}}, "class 'bus' is not among"),
        ({"layers": 3}, "options has 'layers'; a network of Hugging Face takes class_names"),
    ],
)
@pytest.mark.usefixtures("segformer")
def test_labels_that_do_not_match_are_reported(write_catalog, tmp_path, options, said):
    plan = open_with(write_catalog, tmp_path, their=hub_entry(**options))
    with pytest.raises(InputError) as caught:
        starting_segmenter(plan, "their", seed=0)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_labels_are_mapped_by_the_catalog(write_catalog, tmp_path, segformer):
    _, labels, _ = segformer
    options = {"labels": {"Egg": "bus", "bus": "truck", "truck": "void"}}
    plan = open_with(write_catalog, tmp_path, their=hub_entry(**options))
    ours = starting_segmenter(plan, "their", seed=0).segmenter
    plain = open_with(
        write_catalog,
        tmp_path / "b",
        their={**hub_entry(), "architecture": f"hf:{tmp_path / 'segformer'}"},
    )
    theirs = starting_segmenter(plain, "their", seed=0).segmenter
    rows = dict(zip(NAMES, ours.classifier.weight, strict=True))
    known = dict(zip(NAMES, theirs.classifier.weight, strict=True))
    assert torch.equal(rows["truck"], known["bus"])
    assert not any(torch.equal(rows["bus"], row) for row in known.values())
    assert labels[-1] == "Egg"


def test_a_new_classifier_keeps_the_rest_and_is_to_be_trained(write_catalog, tmp_path, segformer):
    network, _, _ = segformer
    options = {"class_names": ["road", "lane"], "new_classifier": True}
    plan = open_with(write_catalog, tmp_path, their=hub_entry(**options))
    starting = starting_segmenter(plan, "their", seed=0)
    assert not starting.is_trained
    assert starting.segmenter.n_classes == 2
    state = starting.segmenter.state_dict()
    for name, tensor in network.state_dict().items():
        if "classifier" not in name:
            assert torch.equal(state[f"model.{name}"], tensor), name


def test_a_network_that_enlarges_its_logits_keeps_its_coarse_features(write_catalog, tmp_path):
    """UperNet upsamples to the size of the image; adaptation needs the grid before that."""
    transformers = pytest.importorskip("transformers", reason="the extra [hf] is not installed")
    backbone = transformers.ConvNextConfig(
        hidden_sizes=[8, 16, 24, 32],
        depths=[1, 1, 1, 1],
        out_features=["stage1", "stage2", "stage3", "stage4"],
    )
    config = transformers.UperNetConfig(
        backbone_config=backbone,
        hidden_size=16,
        pool_scales=[1, 2],
        auxiliary_in_channels=24,
        auxiliary_channels=8,
        id2label=dict(enumerate(NAMES)),
        label2id={name: index for index, name in enumerate(NAMES)},
    )
    torch.manual_seed(0)
    network = transformers.UperNetForSemanticSegmentation(config).eval()
    network.save_pretrained(tmp_path / "upernet")
    entry = {"architecture": "hf:upernet", "source": "frankfurt"}
    plan = open_with(write_catalog, tmp_path, their=entry)
    ours = starting_segmenter(plan, "their", seed=0).segmenter.eval()
    assert ours.stride == 4
    assert not any("auxiliary" in name for name in ours.state_dict())
    image = torch.rand((1, 3, 64, 96))
    with torch.no_grad():
        assert ours.features(image).shape == (1, 16, 16, 24)
        expected = network(pixel_values=ours.normalise(image)).logits
        torch.testing.assert_close(ours(image), expected, rtol=1e-4, atol=1e-5)


def test_what_is_not_a_network_of_transformers_is_reported(write_catalog, tmp_path):
    pytest.importorskip("transformers", reason="the extra [hf] is not installed")
    (tmp_path / "segformer").mkdir()
    plan = open_with(write_catalog, tmp_path, their=hub_entry())
    with pytest.raises(InputError, match=r"segmenters\.their: hf:segformer"):
        starting_segmenter(plan, "their", seed=0)


MODULE = """
import torch
from crosscity.segmenters import ComposedSegmenter

def build(channels):
    return ComposedSegmenter(
        torch.nn.Conv2d(3, channels, 8, stride=8, padding=4)
        if channels == 5 else
        torch.nn.Sequential(torch.nn.Conv2d(3, channels, 9, stride=8, padding=4)),
        torch.nn.Conv2d(channels, 19, 1),
        n_features=channels, stride=8,
    )

def nothing():
    return torch.nn.Linear(2, 2)

three = 3
"""


@pytest.fixture
def users_package(tmp_path, monkeypatch):
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "my_networks.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path / "package")
    yield
    sys.modules.pop("my_networks", None)


def plug_in(function: str, **options) -> dict[str, object]:
    return {"python": function, "options": options, "source": "frankfurt"}


@pytest.mark.usefixtures("users_package")
def test_a_users_network_is_built_stored_and_read(write_catalog, tmp_path):
    entry = plug_in("my_networks:build", channels=6)
    plan = open_with(write_catalog, tmp_path, mine=entry)
    starting = starting_segmenter(plan, "mine", seed=1)
    assert starting.model["architecture"] == "python:my_networks:build"
    store = plan.open_store()
    with store.draft("segmenter", "x", "akey", inputs={}, parameters={}, version="1") as draft:
        write_segmenter(draft, starting.segmenter, starting.model)
    _, again = stored_segmenter(plan, draft.ref)
    image = torch.rand((1, 3, 32, 48))
    assert torch.equal(again.eval()(image), starting.segmenter.eval()(image))


@pytest.mark.usefixtures("users_package")
def test_weights_of_a_users_network_need_no_normalisation(write_catalog, tmp_path, monkeypatch):
    """Files of others hold neither our buffers nor, if old, batch norm's counters; the network's
    code says how images are normalised, and another code is another segmenter."""
    import my_networks

    network = my_networks.build(6)
    parts = {"backbone": network.extractor, "head": network.classifier}
    theirs = {
        f"module.{part}.{name}": tensor
        for part, module in parts.items()
        for name, tensor in module.state_dict().items()
    }
    torch.save({"state_dict": theirs}, tmp_path / "theirs.pth")
    rename = {"backbone.": "extractor.", "head.": "classifier."}
    entry = {"python": "my_networks:build", "options": {"channels": 6}, "rename": rename}
    plan = open_with(write_catalog, tmp_path, mine={**entry, "weights": "theirs.pth"})
    starting = starting_segmenter(plan, "mine", seed=1)
    image = torch.rand((1, 3, 32, 48))
    assert torch.equal(starting.segmenter.eval()(image), network.eval()(image))
    assert any("does not say how images are normalised" in each for each in starting.remarks)

    build = my_networks.build

    def otherwise(channels):
        made = build(channels)
        made.input_mean.add_(0.25)
        return made

    monkeypatch.setattr(my_networks, "build", otherwise)
    changed = starting_segmenter(plan, "mine", seed=1)
    assert changed.made_of != starting.made_of
    assert not torch.equal(changed.segmenter.eval()(image), network(image))


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        (plug_in("no_such_package:build"), "cannot be imported.*PYTHONPATH"),
        (plug_in("my_networks:biuld"), "has no function 'biuld'"),
        (plug_in("my_networks:three"), "has no function 'three'"),
        (plug_in("my_networks:nothing"), "returned Linear: it must return a Segmenter"),
        (plug_in("my_networks"), "names no function"),
        (plug_in("my_networks:build"), "options do not suit .*channels"),
        (plug_in("my_networks:build", channels=5), r"features .* are \(2, 5, 9, 13\) instead of"),
    ],
)
@pytest.mark.usefixtures("users_package")
def test_faults_of_a_users_network_are_reported(write_catalog, tmp_path, entry, said):
    plan = open_with(write_catalog, tmp_path, mine=entry)
    with pytest.raises(InputError, match=said) as caught:
        starting_segmenter(plan, "mine", seed=1)
    assert "\n" not in str(caught.value)


def test_statistics_of_random_images_differ_by_seed(write_catalog, tmp_path):
    plan = open_with(write_catalog, tmp_path)
    one, other, same = (
        starting_segmenter(plan, "compact", seed=seed).segmenter for seed in (1, 2, 1)
    )
    image = torch.from_numpy(np.random.default_rng(0).random((1, 3, 16, 16), dtype=np.float32))
    assert torch.equal(one.eval()(image), same.eval()(image))
    assert not torch.equal(one.eval()(image), other.eval()(image))
