"""Segmenters that the command line names by itself, without a catalog."""

from __future__ import annotations

import importlib
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from adapters.store import Draft
from crosscity.adaptation import TargetArrays
from crosscity.adaptation.shown_size import choose_size
from crosscity.evaluation import predict
from crosscity.segmenters import Segmenter, build_segmenter, load_segmenter
from flows.cli.first_look import bundled_weights
from flows.cli.main import main
from tasks.judging import size_to_predict
from tasks.judging.given_segmenter import given_segmenter
from tasks.steps.errors import InputError
from tasks.training.segmenters import write_segmenter
from tests.colours_learned import IMAGENET, learned, views

NAMES = ("road", "sky", "car")
OPTIONS: dict[str, Any] = {"width": 8, "class_names": list(NAMES)}
OWN = """
from crosscity.segmenters import build_segmenter

def build(width=8):
    segmenter = build_segmenter("compact", {"width": width}, seed=3)
    segmenter.options = lambda: {"width": width}
    return segmenter
"""


def picture(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (48, 80, 3), dtype=np.uint8)


def ended(*words: str) -> Any:
    """The exit code of a command."""
    with pytest.raises(SystemExit) as found:
        main([*words])
    return found.value.code


def same(one: Segmenter, other: Segmenter) -> bool:
    """Whether they predict the same bytes."""
    return predict(one.eval(), picture()).tobytes() == predict(other.eval(), picture()).tobytes()


@pytest.fixture
def handed_on(tmp_path: Path) -> Path:
    """A folder of a small segmenter that saw images of 64×96."""
    folder = tmp_path / "lisbon-segmenter"
    folder.mkdir()
    segmenter = build_segmenter("compact", OPTIONS, seed=1)
    segmenter.trained_size = (64, 96)
    draft = cast("Draft", SimpleNamespace(path=folder))
    write_segmenter(draft, segmenter, {"architecture": "compact", "options": OPTIONS})
    return folder


def test_a_folder_that_was_handed_on_is_what_python_reads(handed_on: Path) -> None:
    found = given_segmenter(handed_on, None)
    ours = load_segmenter(handed_on)
    assert found.segmenter.trained_size == ours.trained_size == (64, 96)
    assert found.segmenter.class_names == NAMES
    assert same(found.segmenter, ours)
    assert found.made_by["architecture"] == "compact"
    assert found.words == "lisbon-segmenter"


def test_a_file_is_built_in_the_classes_that_it_states(tmp_path: Path) -> None:
    segmenter = build_segmenter("efficientnet_lite0", {"class_names": list(NAMES)}, seed=2)
    path = tmp_path / "w.safetensors"
    save_file(segmenter.state_dict(), path, {"class_names": json.dumps(NAMES)})
    found = given_segmenter(path, None)
    assert found.segmenter.class_names == NAMES
    assert same(found.segmenter, segmenter)


def test_predictions_by_the_weights_that_come_along_go_on_as_before() -> None:
    """A folder of predictions that an earlier release began is known by these two."""
    path = bundled_weights()
    assert path is not None
    assert given_segmenter(path, None).made_by.keys() == {"architecture", "weights_sha256"}


def test_a_function_of_ones_own_brings_its_network(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "own_net_of_given.py").write_text(OWN, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    found = given_segmenter(None, "python:own_net_of_given:build")
    expected = build_segmenter("compact", {"width": 8}, seed=3).eval()
    assert same(found.segmenter, expected)
    folder = tmp_path / "theirs"
    folder.mkdir()
    model = {"architecture": "python:own_net_of_given:build", "options": {"width": 8}}
    write_segmenter(cast("Draft", SimpleNamespace(path=folder)), found.segmenter, model)
    with pytest.raises(InputError, match=r"does not decide which code is run.*--architecture"):
        given_segmenter(folder, None)
    again = given_segmenter(folder, "python:own_net_of_given:build")
    assert same(again.segmenter, expected)
    sys.modules.pop("own_net_of_given", None)


THEIRS = """
from torch import nn
from crosscity.segmenters import whole_network

class Theirs(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.backbone = nn.Conv2d(3, 4, 8, stride=8)
        self.head = nn.Conv2d(4, classes, 1)

    def forward(self, images):
        return self.head(self.backbone(images))

def build(classes=19):
    return whole_network(Theirs(classes))
"""


@pytest.fixture
def theirs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A module with a network of somebody's own."""
    (tmp_path / "their_net_of_given.py").write_text(THEIRS, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield importlib.import_module("their_net_of_given")
    sys.modules.pop("their_net_of_given", None)


def test_a_file_of_ones_own_program_is_taken_by_the_names_that_fit(
    theirs: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    """As the documents have it, without a catalog, in which a `rename` could stand."""
    architecture = "python:their_net_of_given:build"
    network = theirs.Theirs(19)
    torch.save({"state_dict": network.state_dict()}, tmp_path / "mine.pth")
    found = given_segmenter(tmp_path / "mine.pth", architecture)
    assert torch.equal(
        found.segmenter.state_dict()["extractor.network.head.weight"], network.head.weight
    )
    (said,) = (one for one in found.remarks if "another program" in one)
    assert '`rename: {"": extractor.network.}`' in said

    monkeypatch.chdir(tmp_path)
    (tmp_path / "in").mkdir()
    Image.fromarray(picture()).save(tmp_path / "in" / "a.png")
    command = ("predict", "in", "--weights", "mine.pth", "--architecture", architecture)
    assert ended(*command, "-o", "masks") == 0
    assert "names of another program" in capsys.readouterr().err


def test_a_file_of_other_classes_is_not_sent_to_a_catalog(theirs: Any, tmp_path: Path) -> None:
    torch.save(theirs.Theirs(7).state_dict(), tmp_path / "seven.pth")
    with pytest.raises(InputError, match=r"has the shape .* other classes or options$"):
        given_segmenter(tmp_path / "seven.pth", "python:their_net_of_given:build")


def test_what_does_not_fit_is_one_sentence(handed_on: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    foreign = tmp_path / "foreign.safetensors"
    save_file({"their.layer.weight": torch.zeros(3, 3)}, foreign)
    for weights, architecture, sentence in (
        (None, "compact", "compact has no weights of its own: name a file with --weights"),
        (tmp_path / "none.pt", None, "none.pt"),
        (tmp_path / "empty", None, "has no model.json: name a weight file, or a folder"),
        (handed_on, "dilated_vgg16", "holds the architecture 'compact', not 'dilated_vgg16'"),
        (foreign, "hf:somewhere", "brings its own weights: leave --weights out"),
        (foreign, None, "of a catalog: `crosscity init --weights .*` writes one"),
        (None, "python:no_such_module_here:build", "no_such_module_here"),
    ):
        with pytest.raises(InputError, match=sentence) as refused:
            given_segmenter(weights, architecture)
        assert not re.search(r"segmenters\.given", str(refused.value))
        assert "\n" not in str(refused.value)


def test_masks_need_no_catalog(handed_on: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    """What somebody has who was given a folder, and pictures."""
    transformers = pytest.importorskip("transformers", reason="the extra [hf] is not installed")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in").mkdir()
    Image.fromarray(picture()).save(tmp_path / "in" / "a.png")
    assert ended("predict", "in", "--weights", str(handed_on), "-o", "one") == 0
    described = json.loads((tmp_path / "one" / "prediction.json").read_text(encoding="utf-8"))
    assert described["image_size"] == [64, 96]
    config = transformers.SegformerConfig(
        depths=[1, 1, 1, 1],
        hidden_sizes=[8, 8, 16, 16],
        num_attention_heads=[1, 1, 2, 2],
        decoder_hidden_size=16,
        id2label=dict(enumerate([*load_segmenter().class_names])),
    )
    transformers.SegformerForSemanticSegmentation(config).save_pretrained(tmp_path / "net")
    assert ended("predict", "in", "--architecture", "hf:net", "-o", "two") == 0
    assert (tmp_path / "two" / "labels" / "a.png").is_file()
    assert "1 image with hf:net" in capsys.readouterr().err
    both = ("--architecture", "hf:net", "--segmenter", "x")
    assert ended("predict", "in", *both, "-o", "three") == 2
    assert "name two segmenters: give one" in capsys.readouterr().err


def test_a_size_is_chosen_where_nobody_knows_one(tmp_path: Path, monkeypatch, capsys) -> None:
    """As `choose_size` chooses it on the pictures of the most frequent size."""
    monkeypatch.chdir(tmp_path)
    segmenter = build_segmenter("efficientnet_lite0", {}, seed=2)
    save_file(segmenter.state_dict(), tmp_path / "w.safetensors")
    for number in range(3):
        image = np.random.default_rng(number).integers(0, 256, (240, 320, 3), dtype=np.uint8)
        Image.fromarray(image).save(tmp_path / f"{number}.png")
    Image.fromarray(picture()).save(tmp_path / "other.png")
    (tmp_path / "broken.png").write_bytes(b"none")
    given = ("--weights", "w.safetensors")
    assert ended("predict", "0.png", *given, "-o", "own") == 0
    assert "nothing says at which size" in capsys.readouterr().err
    assert ended("predict", ".", *given, "--size", "auto", "-o", "auto") == 0
    said = capsys.readouterr().err
    images = np.stack([np.asarray(Image.open(tmp_path / f"{number}.png")) for number in range(3)])
    expected = choose_size(segmenter.eval(), TargetArrays(images))
    assert expected is not None
    described = json.loads((tmp_path / "auto" / "prediction.json").read_text(encoding="utf-8"))
    assert described["image_size"] == list(expected.chosen)
    assert "--size HEIGHTxWIDTH sets another" in said
    assert "the images have 2 sizes" in said
    assert ended("predict", "broken.png", *given, "--size", "auto", "-o", "none") == 2
    assert "none of the pictures that --size auto looked at" in capsys.readouterr().err
    assert ended("predict", ".", *given, "--size", "auto", "-o", "auto") == 0, "it goes on"
    monkeypatch.setattr(size_to_predict, "size_to_predict", None)
    capsys.readouterr()
    for folder, further in (("mine", ()), ("auto", ("--ids", "trainIds"))):
        (tmp_path / folder).mkdir(exist_ok=True)
        (tmp_path / folder / "thesis.txt").touch()
        words = (*given, "--size", "auto", "-o", folder, *further)
        assert ended("predict", "0.png", *words) == 2
        assert f"{folder} holds something else" in capsys.readouterr().err


FORM = """
import torch
from crosscity.segmenters import whole_network
from tests.colours_learned import IMAGENET, NAMES, network

def _read():
    made = network()
    made.load_state_dict(torch.load("colours.pth", weights_only=True))
    return made

def right():
    return whole_network(_read(), NAMES)

def wrong():
    return whole_network(_read(), NAMES, mean=(0, 0, 0), std=(1, 1, 1))
"""


def test_pixels_in_another_form_than_the_networks_own_are_told(
    tmp_path: Path, monkeypatch, capsys
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "form_of_pixels.py").write_text(FORM, encoding="utf-8")
    torch.save(learned(*IMAGENET).state_dict(), "colours.pth")
    for number, view in enumerate(views(2, seed=3)[0]):
        Image.fromarray(view).save(tmp_path / f"{number}.png")
    said = {}
    for name in ("right", "wrong"):
        words = ("--architecture", f"python:form_of_pixels:{name}")
        assert ended("predict", "0.png", "1.png", *words, "-o", name) == 0
        said[name] = capsys.readouterr().err
        assert ended("try", "0.png", "1.png", *words, "-o", f"try-{name}") == 0
        assert ("if its pixels come" in capsys.readouterr().err) == (name == "wrong")
        init = ("init", "--city", "lisbon", "--folder", ".", *words, "-o", f"{name}.yaml")
        assert ended(*init) == 0
        assert ("if its pixels come" in capsys.readouterr().err) == (name == "wrong")
    assert "if its pixels come less ImageNet's mean and divided by its deviation" in said["wrong"]
    assert "if its pixels come" not in said["right"]
