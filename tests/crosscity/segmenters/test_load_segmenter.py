"""`load_segmenter`: folders and files become networks that predict; strangers' are only data."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from crosscity.evaluation import predict
from crosscity.segmenters import (
    ComposedSegmenter,
    Segmenter,
    WeightsError,
    build_segmenter,
    load_segmenter,
)
from crosscity.segmenters.home import home_fields

OPTIONS: dict[str, Any] = {"class_names": ["road", "sky", "dog"], "width": 8, "dilations": [1, 2]}


def written(folder: Path, segmenter: Segmenter, **changes: Any) -> Path:
    folder.mkdir(exist_ok=True)
    weights = {name: tensor.contiguous() for name, tensor in segmenter.state_dict().items()}
    names = {"class_names": json.dumps(segmenter.class_names)}
    save_file(weights, folder / "weights.safetensors", metadata=names)
    description = {
        "architecture": segmenter.architecture,
        "options": segmenter.options(),
        "config": segmenter.config(),
        **changes,
    }
    (folder / "model.json").write_text(json.dumps(description), encoding="utf-8")
    return folder


@pytest.fixture
def image() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (37, 51, 3)).astype(np.uint8)


def test_a_folder_predicts_what_was_written(tmp_path: Path, image: np.ndarray) -> None:
    made = build_segmenter("compact", OPTIONS, seed=4)
    loaded = load_segmenter(written(tmp_path / "a", made))
    assert loaded.class_names == ("road", "sky", "dog")
    assert not loaded.training
    assert np.array_equal(predict(loaded, image), predict(made, image))
    for name, tensor in made.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor)


def test_a_file_takes_the_architecture_that_is_said_and_the_classes_that_it_states(
    tmp_path: Path, image: np.ndarray
) -> None:
    made = build_segmenter("compact", OPTIONS, seed=4)
    file = written(tmp_path / "a", made) / "weights.safetensors"
    options = {"width": 8, "dilations": [1, 2]}
    loaded = load_segmenter(str(file), architecture="compact", options=options)
    assert loaded.class_names == made.class_names
    assert np.array_equal(predict(loaded, image), predict(made, image))


def test_classes_that_file_and_description_name_otherwise_are_reported(tmp_path: Path) -> None:
    """Nothing else would tell: the shapes fit, and every name is one of its classes."""
    made = build_segmenter("compact", OPTIONS, seed=4)
    swapped = {**OPTIONS, "class_names": ["sky", "road", "dog"]}
    folder = written(tmp_path / "a", made, options=swapped)
    with pytest.raises(WeightsError, match=r"states the classes road, sky, dog, .* sky, road, dog"):
        load_segmenter(folder)
    file = folder / "weights.safetensors"
    with pytest.raises(WeightsError, match="give it class_names as the file has them"):
        load_segmenter(file, architecture="compact", options=swapped)


def with_provenance(folder: Path, *names: str) -> Path:
    digests = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in names}
    (folder / "provenance.json").write_text(json.dumps({"sha256": digests}))
    return folder


def test_files_that_are_not_those_of_the_provenance_are_reported(tmp_path: Path) -> None:
    made = build_segmenter("compact", OPTIONS, seed=4)
    files = ("model.json", "weights.safetensors")
    folder = with_provenance(written(tmp_path / "a", made), *files)
    assert load_segmenter(folder).class_names == made.class_names
    for name in files:
        other = with_provenance(written(tmp_path / name, made), *files)
        if name == "model.json":
            (other / name).write_text((other / name).read_text() + " ")
        else:
            written(other, build_segmenter("compact", OPTIONS, seed=5))
            (other / "model.json").write_bytes((folder / "model.json").read_bytes())
        with pytest.raises(WeightsError, match=rf"{name} has another SHA-256 .* fetch it again"):
            load_segmenter(other)
        (other / "provenance.json").unlink()
        assert load_segmenter(other).class_names == made.class_names
    for odd in ("{", "[]", '{"sha256": 3}', '{"sha256": {"model.json": 3}}'):
        (folder / "provenance.json").write_text(odd)
        if odd == "{":
            with pytest.raises(WeightsError, match=r"provenance\.json is damaged"):
                load_segmenter(folder)
        else:
            assert load_segmenter(folder).class_names == made.class_names


def test_without_a_place_it_is_the_network_that_comes_along() -> None:
    assert len(load_segmenter().class_names) == 19


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"architecture": "python:os:system"}, "names no code to run"),
        ({"architecture": "nothing"}, "there is no architecture"),
        ({"architecture": 3}, "does not describe a network"),
        ({"options": {"config": {"model_type": "segformer", "auto_map": {"a": "b"}}}}, "auto_map"),
        ({"options": {**OPTIONS, "width": 10**5}}, "shape"),
        ({"options": {**OPTIONS, "class_names": ["road", "sky"]}}, "shape"),
        ({"options": {**OPTIONS, "depth": 3}}, "depth"),
    ],
)
def test_a_folder_of_a_stranger_runs_no_code_and_takes_no_memory(
    changes: dict[str, Any], said: str, tmp_path: Path
) -> None:
    folder = written(tmp_path / "a", build_segmenter("compact", OPTIONS), **changes)
    with pytest.raises(WeightsError, match=said):
        load_segmenter(folder)


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"model\.json"):
        load_segmenter(tmp_path)
    with pytest.raises(WeightsError, match=r"lost\.safetensors cannot be read"):
        load_segmenter(tmp_path / "lost.safetensors")
    (tmp_path / "model.json").write_text("[" * 100_000)
    with pytest.raises(WeightsError, match="does not describe"):
        load_segmenter(tmp_path)


def test_a_network_of_ones_own_is_built_by_the_function_that_is_given(
    tmp_path: Path, image: np.ndarray
) -> None:
    """The folder names no code; what it says beside the weights counts: size and rule."""

    def build(width: int) -> ComposedSegmenter:
        extractor = torch.nn.Conv2d(3, width, 8, stride=8)
        classifier = torch.nn.Sequential(torch.nn.Dropout2d(0.5), torch.nn.Conv2d(width, 2, 1))
        return ComposedSegmenter(
            extractor, classifier, n_features=width, stride=8, class_names=("sky", "road")
        )

    made = build(6)
    made.set_prediction_offsets([5.0, -5.0])
    made.trained_size = (64, 96)
    named = {"architecture": "python:theirs:build", "options": {"width": 6}}
    folder = written(tmp_path / "a", made, **named, **home_fields(made))
    with pytest.raises(WeightsError, match="give the function as build="):
        load_segmenter(folder)
    loaded = load_segmenter(folder, build=build)
    assert loaded.trained_size == (64, 96)
    assert np.array_equal(predict(loaded, image), predict(made.eval(), image))
    with pytest.raises(WeightsError, match="build returned Conv2d"):
        load_segmenter(folder, build=lambda width: torch.nn.Conv2d(3, width, 1))
    ours = written(tmp_path / "b", build_segmenter("compact", OPTIONS, seed=4))
    with pytest.raises(WeightsError, match="which no function builds: leave out build"):
        load_segmenter(ours, build=build)


@pytest.mark.parametrize("device", ["graphics", "cuda:77", "meta", "", None, 3])
def test_a_device_that_there_is_not_is_one_sentence(device: Any) -> None:
    with pytest.raises(ValueError, match=r"cannot run on '.*' \(.*\): choose 'cpu'") as caught:
        load_segmenter(device=device)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("fault", [TypeError("no width"), KeyError("x"), SystemExit(2)])
def test_what_a_function_of_ones_own_raises_names_folder_and_function(
    tmp_path: Path, fault: BaseException
) -> None:
    named = {"architecture": "python:theirs:build", "options": {"width": 6}}
    folder = written(tmp_path / "a", build_segmenter("compact", OPTIONS), **named)

    def build(**_options: Any) -> Segmenter:
        raise fault

    with pytest.raises(WeightsError, match=rf"a: build raised {type(fault).__name__}"):
        load_segmenter(folder, build=build)
    with pytest.raises(WeightsError, match=r"a: build raised TypeError: .*'width'"):
        load_segmenter(folder, build=lambda: build_segmenter("compact", OPTIONS))


@pytest.mark.parametrize("dilations", [[0], [513], [1, -2], [1.5], ["2"], 3, [True]])
def test_dilations_of_the_compact_network_are_whole_numbers_from_one(dilations: Any) -> None:
    with pytest.raises(ValueError, match="dilations"):
        build_segmenter("compact", {"dilations": dilations})
