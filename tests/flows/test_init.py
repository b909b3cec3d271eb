"""A newcomer's catalog is good as it is written, whatever was answered."""

from __future__ import annotations

import os
import pty
import shutil
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Final

import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import load_file, save_file

from crosscity.segmenters import build_segmenter
from flows.cli.first_look import bundled_weights
from flows.cli.main import main
from tasks.steps.settings import open_catalog

ROOT: Final = Path(__file__).resolve().parents[2]


def _images(folder, city="Lisbon", places=1):
    train = folder / city / "Images" / "Train"
    train.mkdir(parents=True)
    for place in range(1, places + 1):
        for time in (0, 1):
            Image.new("RGB", (64, 48), "grey").save(train / f"pano_{place:05}_{time}_090.jpg")
    return folder


def test_a_folder_becomes_a_catalog_that_is_good(crosscity, tmp_path) -> None:
    folder = _images(tmp_path / "it's: mine")
    (tmp_path / "elsewhere").mkdir()
    path = tmp_path / "data_catalog.yaml"
    roundabout = folder.parent / "elsewhere" / ".." / folder.name
    done = crosscity("init", "--city", "lisbon", "--folder", roundabout, "-o", path)
    assert done.returncode == 0, done.stderr
    assert "next: crosscity harvest lisbon" in done.stderr
    city = yaml.safe_load(path.read_text(encoding="utf-8"))["cities"]["lisbon"]
    assert city["provider"] == {
        "kind": "folder",
        "root": str(folder),
        "city": "Lisbon",
        "licence": "unknown",
        "attribution": "unknown",
    }
    assert "nothing of an unknown one is exported" in path.read_text(encoding="utf-8")
    checked = crosscity("catalog", "check", "--catalog", path)
    assert checked.returncode == 0, checked.stderr
    again = crosscity("init", "--city", "lisbon", "--folder", folder, "-o", path)
    assert again.returncode == 2
    assert "is there already" in again.stderr


def test_the_next_command_names_a_catalog_that_it_would_not_find(
    tmp_path, capsys, monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my sub").mkdir()

    def next_step(output: str) -> str:
        with pytest.raises(SystemExit) as ended:
            main(["init", "--city", "x", "--bbox", "1,2,3,4", "-o", output])
        assert not ended.value.code
        return capsys.readouterr().err.splitlines()[-1]

    assert next_step("data_catalog.yaml") == "next: crosscity harvest x"
    there = "next: crosscity harvest x --catalog 'my sub/data_catalog.yaml'"
    assert next_step("my sub/data_catalog.yaml") == there
    monkeypatch.setenv("CROSSCITY_CATALOG", "mine.yaml")
    assert next_step("mine.yaml") == "next: crosscity harvest x"
    assert next_step("other.yaml") == "next: crosscity harvest x --catalog other.yaml"


@pytest.mark.parametrize(("places", "steps"), [(4, 40), (6, None)])
def test_few_images_take_few_steps(crosscity, tmp_path, places, steps) -> None:
    folder = _images(tmp_path / "mine", places=places)
    done = crosscity("init", "--city", "lisbon", "--folder", folder, "-o", tmp_path / "x.yaml")
    assert done.returncode == 0, done.stderr
    catalog = open_catalog(tmp_path / "x.yaml")
    changed = {} if steps is None else {"steps": steps}
    assert catalog.trainings["own"].adaptation == changed
    assert catalog.trainings["own"].preset == "best"
    assert catalog.cities["lisbon"].arm == "self_training"


def test_a_terminal_is_asked_for_the_licence(tmp_path) -> None:
    folder = _images(tmp_path / "mine")
    asked = (folder, "CC-BY-4.0", "City of Lisbon")
    said = _at_a_terminal(tmp_path, "init", "--city", "lisbon", answers=asked)
    assert "Under which licence are the pictures" in said
    provider = open_catalog(tmp_path / "data_catalog.yaml").cities["lisbon"].provider
    assert (provider.licence, provider.attribution) == ("CC-BY-4.0", "City of Lisbon")


def test_pictures_of_an_unknown_licence_ask_for_nobody_to_credit(tmp_path) -> None:
    folder = _images(tmp_path / "mine")
    said = _at_a_terminal(tmp_path, "init", "--city", "lisbon", answers=(folder, ""))
    assert "credit" not in said
    provider = open_catalog(tmp_path / "data_catalog.yaml").cities["lisbon"].provider
    assert (provider.licence, provider.attribution) == ("unknown", "unknown")


def _at_a_terminal(folder, *words, answers) -> str:
    """What a command says at a terminal where each question gets the next answer."""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        [sys.executable, "-m", "flows.cli.main", *words],
        cwd=folder,
        env=environment,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    said, left = "", [str(each) for each in answers]
    with suppress(OSError):  # so ends a terminal whose other side is closed
        while part := os.read(ours, 4096).decode():
            said += part
            if left and said.endswith(": "):
                os.write(ours, f"{left.pop(0)}\n".encode())
    os.close(ours)
    assert process.wait() == 0, said
    assert not left, said
    return said


def test_an_area_and_weights_of_ones_own(crosscity, tmp_path) -> None:
    path = tmp_path / "paris.yaml"
    shutil.copyfile(str(bundled_weights()), tmp_path / "mine.safetensors")
    words = ("--bbox", "2.34,48.85,2.36,48.86", "--weights", "mine.safetensors")
    done = crosscity("init", "--city", "paris", *words, "-o", path)
    assert done.returncode == 0, done.stderr
    assert f"next: crosscity harvest paris --catalog {path}" in done.stderr
    catalog = open_catalog(path)
    assert catalog.cities["paris"].provider.kind == "panoramax"
    assert catalog.segmenters["street"].weights == "mine.safetensors"
    assert catalog.segmenters["street"].source is None
    assert not catalog.datasets
    assert catalog.cities["paris"].arm == "source_free"


@pytest.mark.parametrize(("images", "steps"), [(8, 40), (50, None)])
def test_a_network_of_the_hub_is_adapted_from_the_pictures_alone(
    crosscity, tmp_path, images, steps
) -> None:
    folder = _images(tmp_path / "mine", places=images // 2)
    hub = "hf:nvidia/segformer-b0-finetuned-cityscapes-512-1024"
    words = ("--city", "lisbon", "--folder", folder, "--architecture", hub)
    done = crosscity("init", *words, "-o", tmp_path / "x.yaml")
    assert done.returncode == 0, done.stderr
    catalog = open_catalog(tmp_path / "x.yaml")
    assert catalog.segmenters["street"].architecture == hub
    assert catalog.cities["lisbon"].arm == "source_free"
    assert catalog.trainings["own"].source_free == ({} if steps is None else {"steps": steps})
    assert catalog.trainings["own"].image_size is None


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ((), "there is no terminal to ask at: give --city"),
        (("--city", "lisbon"), "there is no terminal to ask at: give --folder or --bbox"),
        (("--city", "São Paulo", "--bbox", "1,2,3,4"), "is not a name for a city here"),
        (("--city", "lisbon", "--folder", "nowhere"), "there is no folder nowhere"),
        (("--city", "lisbon", "--bbox", "1,2,3"), "--bbox is west,south,east,north"),
        (("--city", "lisbon", "--bbox", "3,2,1,4"), "west 3.0 not below east 1.0"),
        (("--city", "a", "--folder", ".", "--places", "9"), "--places says nothing beside"),
        (("--city", "a", "--bbox", "1,2,3,4", "--licence", "x"), "--licence says nothing beside"),
        (("--city", "a", "--bbox", "1,2,3,4", "--attribution", "x"), "--attribution says nothing"),
        (("--city", "a", "--bbox", "1,2,3,4", "--architecture", "compact"), "without --weights"),
        (
            ("--city", "a", "--bbox", "1,2,3,4", "--architecture", "hf:b0", "--weights", "x"),
            "--weights says nothing beside hf:b0, which brings its own",
        ),
    ],
)
def test_wrong_answers_write_nothing(crosscity, tmp_path, words, sentence) -> None:
    path = tmp_path / "x.yaml"
    done = crosscity("init", *words, "-o", path)
    assert done.returncode == 2
    assert sentence in done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("files", [[], ["notes.txt"]])
def test_a_folder_without_pictures_names_both_ways(crosscity, tmp_path, files) -> None:
    (tmp_path / "flat").mkdir()
    for name in files:
        (tmp_path / "flat" / name).write_text("no picture", encoding="utf-8")
    path = tmp_path / "x.yaml"
    done = crosscity("init", "--city", "lisbon", "--folder", tmp_path / "flat", "-o", path)
    assert done.returncode == 2
    assert "holds no picture" in done.stderr
    assert "put pictures into it, of any names, or images of every place at two" in done.stderr
    assert not path.exists()


def _pictures(folder, number):
    for each in range(number):
        place = folder / f"Straße {each % 3}"
        place.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (64, 48), (each, 9, 9)).save(place / f"Foto {each} ä.jpg")
    return folder


@pytest.mark.parametrize(("number", "steps"), [(7, 35), (60, None)])
def test_pictures_alone_and_weights_become_a_transfer(crosscity, tmp_path, number, steps) -> None:
    folder, path = _pictures(tmp_path / "it's: mine", number), tmp_path / "data_catalog.yaml"
    shutil.copyfile(str(bundled_weights()), tmp_path / "mine.safetensors")
    words = ("--city", "lisbon", "--folder", folder, "--weights", "mine.safetensors")
    done = crosscity("init", *words, "-o", path)
    assert done.returncode == 0, done.stderr
    assert "next: crosscity transfer lisbon" in done.stderr
    assert "simulated" not in done.stderr
    catalog = open_catalog(path)
    assert not catalog.cities
    (name,) = catalog.datasets
    assert catalog.datasets[name].root == str(folder)
    transfer = catalog.transfers["lisbon"]
    assert (transfer.target, transfer.arm, transfer.training) == (name, "source_free", "own")
    assert catalog.trainings["own"].source_free == ({} if steps is None else {"steps": steps})
    checked = crosscity("catalog", "check", "--catalog", path)
    assert checked.returncode == 0, checked.stderr
    assert "next: `crosscity plan lisbon`" in checked.stderr


def test_a_network_of_ones_own_is_named_and_can_be_built(crosscity, tmp_path) -> None:
    folder, path = _pictures(tmp_path / "mine", 4), tmp_path / "data_catalog.yaml"
    (tmp_path / "given_net.py").write_text(
        "from crosscity.segmenters import build_segmenter\n"
        "def build(**options):\n"
        "    return build_segmenter('compact', {'width': 16}, seed=0)\n"
    )
    torch.save(build_segmenter("compact", {"width": 16}, seed=4).state_dict(), tmp_path / "w.pth")
    words = ("--city", "lisbon", "--folder", folder, "--weights", "w.pth")
    network = ("--architecture", "python:given_net:build")
    environment = {"PYTHONPATH": str(tmp_path)}
    done = crosscity("init", *words, *network, "-o", path, environment=environment)
    assert done.returncode == 0, done.stderr
    built = crosscity("catalog", "check", "--deep", "--catalog", path, environment=environment)
    assert built.returncode == 0, built.stderr
    assert "segmenters.street: 19 classes, trained" in built.stdout


def test_a_function_that_brings_its_weights_needs_no_file(crosscity, tmp_path) -> None:
    folder, path = _pictures(tmp_path / "mine", 4), tmp_path / "data_catalog.yaml"
    (tmp_path / "bringing_net.py").write_text(
        "from crosscity.segmenters import build_segmenter\n"
        "def build():\n"
        "    return build_segmenter('compact', {'width': 16}, seed=0)\n"
    )
    words = ("init", "--city", "lisbon", "--folder", folder, "-o", path)
    environment = {"PYTHONPATH": str(tmp_path)}
    absent = crosscity(*words, "--architecture", "python:bringing_nets:build")
    assert absent.returncode == 2
    assert "'bringing_nets:build' cannot be imported" in absent.stderr
    assert not path.exists()
    network = ("--architecture", "python:bringing_net:build")
    done = crosscity(*words, *network, environment=environment)
    assert done.returncode == 0, done.stderr
    entry = open_catalog(path).segmenters["street"]
    assert (entry.python, entry.weights) == ("bringing_net:build", None)


def test_weights_of_another_network_say_how_it_is_named(crosscity, tmp_path) -> None:
    torch.save({"stem.weight": torch.ones(3)}, tmp_path / "w.pth")
    words = ("--folder", _pictures(tmp_path / "mine", 4), "--weights", tmp_path / "w.pth")
    done = crosscity("init", "--city", "lisbon", *words, "-o", tmp_path / "catalog.yaml")
    assert done.returncode == 2
    assert "--architecture names another network" in done.stderr


def test_weights_with_the_names_of_their_own_program_are_renamed(crosscity, tmp_path) -> None:
    """`ComposedSegmenter(network.backbone, network.head, ...)`: the file has backbone and head."""
    folder, path = _pictures(tmp_path / "mine", 4), tmp_path / "data_catalog.yaml"
    (tmp_path / "composed_net.py").write_text(
        "from torch import nn\n"
        "from crosscity.segmenters import ComposedSegmenter\n"
        "class Network(nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.backbone = nn.Conv2d(3, 4, 3, 8, 1)\n"
        "        self.head = nn.Sequential(nn.BatchNorm2d(4), nn.Conv2d(4, 19, 1))\n"
        "def build():\n"
        "    network = Network()\n"
        "    return ComposedSegmenter(network.backbone, network.head, n_features=4, stride=8)\n"
    )
    program = "import torch, composed_net as net; torch.save(net.Network().state_dict(), 'w.pth')"
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, check=True)
    words = ("--city", "lisbon", "--folder", folder, "--weights", "w.pth")
    network = ("--architecture", "python:composed_net:build")
    environment = {"PYTHONPATH": str(tmp_path)}
    done = crosscity("init", *words, *network, "-o", path, environment=environment)
    assert done.returncode == 0, done.stderr
    assert "of which `rename: {backbone.: extractor., head.: classifier.}` fits" in done.stderr
    entry = yaml.safe_load(path.read_text(encoding="utf-8"))["segmenters"]["street"]
    assert entry["rename"] == {"backbone.": "extractor.", "head.": "classifier."}
    assert entry["python"] == "composed_net:build"


@pytest.mark.parametrize(
    ("case", "said"),
    [
        ("missing", "there is no weight file {path}: it is not there"),
        ("no weights", "{path} is not a weight file: it begins with b'hello'"),
        ("a page", "{path} is a web page and not weights"),
        ("cut short", "{path} is cut short or damaged, no whole safetensors file"),
        (
            "of another network",
            "{path}: the weights do not fit the segmenter 'compact' with 19 classes",
        ),
        ("of other shapes", "(1, 3, 1, 1)"),
    ],
)
def test_weights_that_cannot_be_used_are_told_and_no_catalog_is_written(
    crosscity, tmp_path, case, said
) -> None:
    folder, path = _pictures(tmp_path / "mine", 4), tmp_path / "w.safetensors"
    whole = Path(str(bundled_weights())).read_bytes()
    network = "compact" if case.startswith("of another") else "efficientnet_lite0"
    if case == "no weights":
        path.write_bytes(b"hello")
    elif case == "a page":
        path.write_bytes(b"<html>sign in first</html>")
    elif case == "of other shapes":
        tensors = {
            name: torch.zeros(2, *tensor.shape) if tensor.ndim == 4 else tensor
            for name, tensor in load_file(str(bundled_weights())).items()
        }
        save_file(tensors, path)
    elif case != "missing":
        path.write_bytes(whole[: len(whole) // 2] if case == "cut short" else whole)
    words = ("--weights", path, "--architecture", network, "-o", tmp_path / "catalog.yaml")
    done = crosscity("init", "--city", "lisbon", "--folder", folder, *words)
    assert done.returncode == 2, done.stderr
    assert said.format(path=path) in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "catalog.yaml").exists()
    assert not list(tmp_path.glob(".*"))


def test_weights_beside_the_user_are_found_by_a_catalog_elsewhere(crosscity, tmp_path) -> None:
    folder, elsewhere = _pictures(tmp_path / "mine", 4), tmp_path / "elsewhere"
    elsewhere.mkdir()
    shutil.copyfile(str(bundled_weights()), tmp_path / "w.safetensors")
    path = elsewhere / "data_catalog.yaml"
    words = ("--folder", folder, "--weights", "w.safetensors", "-o", path)
    done = crosscity("init", "--city", "lisbon", *words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert open_catalog(path).segmenters["street"].weights == str(tmp_path / "w.safetensors")


def test_pictures_with_the_segmenter_that_comes_along_say_what_to_expect(
    crosscity, tmp_path
) -> None:
    folder, path = _pictures(tmp_path / "mine", 4), tmp_path / "x.yaml"
    done = crosscity("init", "--city", "lisbon", "--folder", folder, "-o", path)
    assert done.returncode == 0, done.stderr
    assert f"next: crosscity transfer lisbon --catalog {path}" in done.stderr
    assert "segmenter street has seen simulated streets alone and lisbon's are real" in done.stderr
    catalog = open_catalog(path)
    assert catalog.transfers["lisbon"].arm == "teacher"
    assert set(catalog.datasets) == {"source", "lisbon-pictures"}
    refused = crosscity("init", "--city", "b", "--folder", folder, "--licence", "x", "-o", "y.yaml")
    assert refused.returncode == 2
    assert "--licence says nothing beside pictures alone" in refused.stderr
