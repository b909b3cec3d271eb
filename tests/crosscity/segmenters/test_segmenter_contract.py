"""What every segmenter must do; a new architecture is one more entry in `SEGMENTERS`."""

from __future__ import annotations

import importlib.util
import json
import logging
import shutil
import sys
import types
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load, save

from crosscity.labels import CLASSES
from crosscity.segmenters import (
    ARCHITECTURES,
    ComposedSegmenter,
    Segmenter,
    WeightsError,
    build_segmenter,
    image_tensor,
    load_weights,
    onnx_bytes,
)

NAMES = [road_class.name for road_class in CLASSES]
SEGFORMER: dict[str, Any] = {
    "model_type": "segformer",
    "depths": [1, 1, 1, 1],
    "hidden_sizes": [8, 8, 16, 16],
    "num_attention_heads": [1, 1, 2, 2],
    "sr_ratios": [2, 1, 1, 1],
    "decoder_hidden_size": 16,
    "classifier_dropout_prob": 0.3,
    # A block that is left out by chance, in both images, has no gradient: one run in a hundred.
    "drop_path_rate": 0.0,
}
SEGMENTERS: list[tuple[str, dict[str, Any]]] = [
    ("compact", {}),
    ("compact", {"width": 16, "dropout": 0.5, "dilations": [1, 2]}),
    ("dilated_vgg16", {"width": 4, "fc_width": 24}),
    ("efficientnet_lite0", {"stages": 4, "width": 24}),
    ("hf", {"config": SEGFORMER}),
    ("python:a_users_package.networks:build", {"width": 12}),
]
SIZES = [(64, 128), (37, 51), (8, 9), (65, 63)]


def build(width: int, class_names: list[str] | None = None) -> ComposedSegmenter:
    """What a user's package may hold."""
    names = NAMES if class_names is None else class_names
    layers = [
        torch.nn.Conv2d(3, width, 3, stride=2, padding=1),
        torch.nn.GELU(),
        torch.nn.Conv2d(width, width, 3, stride=2, padding=1),
        torch.nn.GroupNorm(2, width),
    ]
    return ComposedSegmenter(
        torch.nn.Sequential(*layers),
        torch.nn.Conv2d(width, len(names), 1),
        n_features=width,
        stride=4,
        class_names=names,
    )


@pytest.fixture(autouse=True)
def a_users_package(monkeypatch: pytest.MonkeyPatch) -> Iterator[types.ModuleType]:
    package = types.ModuleType("a_users_package")
    package.__path__ = []  # type: ignore[attr-defined]
    networks = types.ModuleType("a_users_package.networks")
    networks.build = build  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "a_users_package", package)
    monkeypatch.setitem(sys.modules, "a_users_package.networks", networks)
    return networks


def test_every_architecture_is_held_to_the_contract() -> None:
    assert set(ARCHITECTURES) <= {name for name, _ in SEGMENTERS}


def named(entry: tuple[str, dict[str, Any]]) -> str:
    return f"{entry[0].partition(':')[0]}-{len(entry[1])}"


def built(entry: tuple[str, dict[str, Any]]) -> Segmenter:
    architecture, options = entry
    if architecture == "hf":
        pytest.importorskip("transformers", reason="the extra [hf] is not installed")
    return build_segmenter(architecture, options, seed=3)


@pytest.fixture(params=SEGMENTERS, ids=named)
def segmenter(request: pytest.FixtureRequest) -> Segmenter:
    return built(request.param)


_LONGEST = ("hf", "efficientnet_lite0")
TRACED = [
    pytest.param(entry, id=named(entry), marks=[pytest.mark.slow] if entry[0] in _LONGEST else [])
    for entry in SEGMENTERS[1:]  # of the two sizes of `compact` one will do
]


@pytest.fixture(params=TRACED)
def traced(request: pytest.FixtureRequest) -> Segmenter:
    """For what takes seconds; those that take the longest are traced by the slow tests."""
    return built(request.param)


def random_images(height: int, width: int, number: int = 2) -> torch.Tensor:
    pixels = np.random.default_rng(height * 1000 + width).integers(
        0, 256, (number, height, width, 3), dtype=np.uint8
    )
    return image_tensor(pixels)


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_shapes_at_any_resolution(segmenter: Segmenter, height: int, width: int) -> None:
    segmenter.eval()
    images = random_images(height, width)
    features = segmenter.features(images)
    grid = (-(-height // segmenter.stride), -(-width // segmenter.stride))
    assert features.shape == (2, segmenter.n_features, *grid)
    assert segmenter.classify(features).shape == (2, segmenter.n_classes, *grid)
    logits = segmenter(images)
    assert logits.shape == (2, segmenter.n_classes, height, width)
    assert torch.isfinite(logits).all()


@pytest.mark.parametrize(("height", "width"), SIZES[:2])
def test_gradient_reaches_the_features_and_every_parameter(
    segmenter: Segmenter, height: int, width: int
) -> None:
    segmenter.train()
    features = segmenter.features(random_images(height, width))
    features.retain_grad()
    logits = segmenter.upsample(segmenter.classify(features), (height, width))
    logits.square().mean().backward()
    assert features.grad is not None
    assert features.grad.abs().sum() > 0
    for name, parameter in segmenter.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        # A bias of the keys adds the same to every score of a softmax: its gradient is 0.
        assert parameter.grad.abs().sum() > 0 or "key" in name or "k_proj" in name, name


def test_forward_is_features_then_classifier_then_bilinear(segmenter: Segmenter) -> None:
    segmenter.eval()
    images = random_images(40, 56)
    coarse = segmenter.classify(segmenter.features(images))
    expected = torch.nn.functional.interpolate(
        coarse, size=(40, 56), mode="bilinear", align_corners=False
    )
    torch.testing.assert_close(segmenter(images), expected, rtol=0, atol=0)


def test_images_of_a_batch_do_not_see_each_other(segmenter: Segmenter) -> None:
    segmenter.eval()
    images = random_images(32, 48, number=3)
    alone = torch.cat([segmenter(image[None]) for image in images])
    torch.testing.assert_close(segmenter(images), alone, rtol=1e-4, atol=1e-5)


def test_saved_weights_come_back(segmenter: Segmenter) -> None:
    """Through safetensors, which refuses tensors that share memory."""
    twin = build_segmenter(segmenter.architecture, segmenter.options(), seed=4)
    images = random_images(32, 48)
    segmenter.train()
    segmenter(images)  # moves the batch-norm statistics
    segmenter.eval()
    twin.eval()
    assert not torch.equal(segmenter(images), twin(images))
    load_weights(twin, load(save(segmenter.state_dict())))
    assert torch.equal(segmenter(images), twin(images))


def test_config_is_json_and_builds_the_same_network(segmenter: Segmenter) -> None:
    config = json.loads(json.dumps(segmenter.config()))
    twin = build_segmenter(config["architecture"], config["options"])
    assert twin.config() == config
    assert config["class_names"] == NAMES
    shapes = {name: tensor.shape for name, tensor in segmenter.state_dict().items()}
    assert shapes == {name: tensor.shape for name, tensor in twin.state_dict().items()}


def test_seed_fixes_the_weights_and_leaves_the_random_state_alone(segmenter: Segmenter) -> None:
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    twin = build_segmenter(segmenter.architecture, segmenter.options(), seed=3)
    assert torch.equal(torch.rand(3), expected)
    for name, tensor in segmenter.state_dict().items():
        assert torch.equal(tensor, twin.state_dict()[name]), name


def test_label_space_sets_the_channels(segmenter: Segmenter) -> None:
    options = {**segmenter.options(), "class_names": ["road", "sky", "car"]}
    small = build_segmenter(segmenter.architecture, options)
    assert small.n_classes == 3
    assert small(random_images(16, 16)).shape == (2, 3, 16, 16)


def test_normalisation_is_a_buffer_that_counts(segmenter: Segmenter) -> None:
    assert {"input_mean", "input_std"} <= set(segmenter.state_dict())
    assert not {"input_mean", "input_std"} & dict(segmenter.named_parameters()).keys()
    segmenter.eval()
    images = random_images(24, 24)
    before = segmenter(images)
    segmenter.input_mean.add_(0.25)
    torch.testing.assert_close(segmenter(images + 0.25), before, rtol=1e-3, atol=1e-4)


def test_weights_that_do_not_fit_are_named_and_change_nothing(segmenter: Segmenter) -> None:
    before = {name: tensor.clone() for name, tensor in segmenter.state_dict().items()}
    other = build_segmenter(
        segmenter.architecture, {**segmenter.options(), "class_names": ["road", "sky"]}, seed=9
    )
    with pytest.raises(WeightsError, match=r"has shape \(2,.* instead of \(19,.*label space"):
        load_weights(segmenter, other.state_dict())
    lacking = dict(before)
    lacking.pop(next(iter(before)))
    with pytest.raises(WeightsError, match="is missing"):
        load_weights(segmenter, lacking)
    with pytest.raises(WeightsError, match=r"fc9\.weight has no place"):
        load_weights(segmenter, {**before, "fc9.weight": torch.zeros(1)})
    for name, tensor in segmenter.state_dict().items():
        assert torch.equal(tensor, before[name])


def test_bfloat16_gives_nearly_the_same(segmenter: Segmenter) -> None:
    segmenter.eval()
    images = random_images(32, 64)
    with torch.no_grad():
        exact = segmenter(images)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            rounded = segmenter(images).float()
    scale = exact.abs().max()
    assert (rounded - exact).abs().max() < 0.1 * scale


def test_compiles_into_one_graph(traced: Segmenter) -> None:
    """The graph without code made of it, which needs no compiler."""
    traced.eval()
    images = random_images(32, 64)
    torch._dynamo.reset()
    compiled = torch.compile(traced, backend="aot_eager")
    with torch.no_grad():
        torch.testing.assert_close(compiled(images), traced(images), rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@pytest.mark.skipif(
    not any(shutil.which(name) for name in ("c++", "g++", "clang++")),
    reason="torch.compile makes C++ of a network, and there is no C++ compiler here",
)
def test_compiled_code_agrees(traced: Segmenter) -> None:
    traced.eval()
    images = random_images(32, 64)
    torch._dynamo.reset()
    compiled = torch.compile(traced)
    with torch.no_grad():
        torch.testing.assert_close(compiled(images), traced(images), rtol=1e-3, atol=1e-4)


@pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("onnx", "onnxscript", "onnxruntime")),
    reason="the extra [onnx] and onnxruntime are not installed",
)
def test_onnx_agrees_for_any_number_of_images_of_any_size(
    traced: Segmenter, logged_here: Callable[[], list[logging.LogRecord]]
) -> None:
    import onnxruntime

    traced.train()
    exported = onnx_bytes(traced)
    assert traced.training
    # It warned of torchvision, which is not needed.
    assert not [each for each in logged_here() if each.levelno >= logging.WARNING]
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(exported, options, providers=["CPUExecutionProvider"])
    traced.eval()
    for number, size in ((1, (32, 64)), (3, (32, 64)), (2, (37, 51)), (1, (97, 131))):
        images = random_images(*size, number)
        (logits,) = session.run(["logits"], {"images": images.numpy()})
        with torch.no_grad():
            expected = traced(images)
        torch.testing.assert_close(torch.from_numpy(logits), expected, rtol=1e-3, atol=1e-4)


def test_unknown_architectures_and_options_are_refused() -> None:
    with pytest.raises(ValueError, match=r"no segmenter 'huge'; there are: .*compact"):
        build_segmenter("huge", {})
    with pytest.raises(ValueError, match="options do not suit the segmenter 'compact'"):
        build_segmenter("compact", {"depth": 9})
    with pytest.raises(ValueError, match="width must be"):
        build_segmenter("compact", {"width": 10})
    with pytest.raises(ValueError, match="different names"):
        build_segmenter("compact", {"class_names": ["road", "road"]})


@pytest.mark.parametrize(
    "wrong",
    [
        np.zeros((2, 8, 8, 3), dtype=np.float32),
        np.zeros((8, 8, 3), dtype=np.uint8),
        np.zeros((2, 3, 8, 8), dtype=np.uint8),
        np.zeros((0, 8, 8, 3), dtype=np.uint8),
    ],
)
def test_only_uint8_image_batches_become_tensors(wrong: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"uint8 of shape \(N, H, W, 3\)"):
        image_tensor(wrong)


def test_image_tensor_scales_to_one() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (2, 5, 7, 3), dtype=np.uint8)
    expected = pixels.astype(np.float32).transpose(0, 3, 1, 2) / 255
    np.testing.assert_allclose(image_tensor(pixels).numpy(), expected, rtol=1e-6)


def test_compact_is_as_small_as_it_says() -> None:
    parameters = sum(p.numel() for p in build_segmenter("compact").parameters())
    assert 300_000 < parameters < 500_000
