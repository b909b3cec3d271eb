"""Matching in tensor operations against the compiled loops."""

from __future__ import annotations

import importlib
import logging

import cv2
import numpy as np
import pytest
import torch

from crosscity.matching import Matches, deep_matching
from crosscity.matching import on_device as on_device_module
from crosscity.matching.correlation import atomic_patches, second_image
from crosscity.matching.correlation import correlate as compiled_correlate
from crosscity.matching.descriptors import grey_image, pixel_descriptors
from crosscity.matching.on_device import correlate, match_on_device
from crosscity.matching.pyramid import level_count
from crosscity.matching.responses import rectification_table
from crosscity.matching.windows import windows_of_level
from crosscity.matching.workers import Workers

PROCESSOR = torch.device("cpu")


def shifted_pair(seed: int, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    noise = random.normal(size=(height + 16, width + 16)).astype(np.float32)
    image = cv2.GaussianBlur(noise, (0, 0), 2) + cv2.GaussianBlur(noise, (0, 0), 6) * 3
    image = np.clip(128 + 60 * image / image.std(), 0, 255).astype(np.uint8)
    return image[8:-8, 4:-12].copy(), image[4:-12, 8:-8].copy()


def as_set(matches: Matches) -> dict[tuple[float, float], tuple[float, float, int]]:
    return {
        (float(x), float(y)): (float(u), float(v), int(entry))
        for x, y, u, v, entry in zip(
            matches.x_a, matches.y_a, matches.x_b, matches.y_b, matches.entry, strict=True
        )
    }


@pytest.mark.parametrize(
    ("size", "settings"),
    [
        ((96, 160), {"downscale": 2}),
        ((97, 131), {"downscale": 2, "search_radius": 20}),
        ((97, 131), {"downscale": 1, "search_radius": 9}),
        ((130, 170), {"downscale": 4, "search_radius": 44}),
    ],
)
def test_tensor_operations_find_what_the_loops_find(
    monkeypatch: pytest.MonkeyPatch, size: tuple[int, int], settings: dict
) -> None:
    a, b = shifted_pair(size[1], *size)
    compiled = deep_matching(a, b, **settings)
    # "cpu:0" is the processor too, but as a torch device.
    tensors = deep_matching(a, b, **settings, device="cpu:0")
    assert len(compiled) > 20
    ours, theirs = as_set(compiled), as_set(tensors)
    # The matrix products round differently, which may turn a near tie.
    same = sum(ours.get(place) == match for place, match in theirs.items())
    assert same >= 0.99 * max(len(ours), len(theirs))
    monkeypatch.setattr(on_device_module, "VALUES_AT_A_TIME", 5000)
    assert as_set(deep_matching(a, b, **settings, device="cpu:0")) == theirs


def test_stored_responses_agree() -> None:
    a, b = shifted_pair(3, 64, 90)
    first = atomic_patches(pixel_descriptors(grey_image(a)[:64, :88]))
    second = second_image(pixel_descriptors(grey_image(b)))
    for radius in (None, 9):
        compiled = compiled_correlate(
            first, second, power=1.4, radius=radius, workers=Workers(1, None)
        )
        table = torch.from_numpy(rectification_table(1.4).astype(np.int32))
        windows = windows_of_level(0, first.rows, first.columns, second.whole, radius)
        cells = correlate(first, second, windows, table, PROCESSOR, 10**6).to(torch.int32) + 32768
        values = (cells >> 4).numpy() / 4095
        np.testing.assert_allclose(values, compiled.values(), atol=1.01 / 4095)


@pytest.mark.parametrize(
    ("data", "first", "second"),
    [
        ("own_data", "pano_30000_0_0.jpg", "pano_30000_1_0.jpg"),
        ("shared_data", "graf1.png", "graf3.png"),
    ],
)
def test_half_floats_move_few_matches(
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    data: str,
    first: str,
    second: str,
) -> None:
    # What tensor cores are given: operands rounded to half floats, sums in full.
    root = request.getfixturevalue(data)
    paths = [next(root.rglob(name)) for name in (first, second)]
    a, b = (np.ascontiguousarray(cv2.imread(str(path))[:, :, ::-1]) for path in paths)
    exact = as_set(deep_matching(a, b, downscale=4))
    window_columns, vectors = on_device_module._window_columns, atomic_patches
    monkeypatch.setattr(
        on_device_module,
        "_window_columns",
        lambda image, device: window_columns(image, device).half().float(),
    )

    def rounded(descriptors: np.ndarray):
        made = vectors(descriptors)
        half = made.vectors.astype(np.float16).astype(np.float32)
        return type(made)(half, made.rows, made.columns)

    module = importlib.import_module("crosscity.matching.deep_matching")  # not the function
    monkeypatch.setattr(module, "atomic_patches", rounded)
    half = as_set(deep_matching(a, b, downscale=4, device="cpu:0"))
    both = exact.keys() & half.keys()
    assert len(both) >= 0.98 * len(exact)
    errors = np.array([np.hypot(*np.subtract(exact[p][:2], half[p][:2])) for p in both])
    assert (errors <= 16).mean() >= 0.99


def test_out_of_memory_takes_less_at_a_time_then_the_processor(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    a, b = shifted_pair(5, 64, 96)
    expected = as_set(deep_matching(a, b))
    genuine, calls = on_device_module._match, []

    def short(*arguments: object) -> object:
        calls.append(arguments[-1])
        if len(calls) == 1:
            raise torch.OutOfMemoryError("pretended")
        return genuine(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(on_device_module, "_match", short)
    with caplog.at_level(logging.WARNING):
        found = as_set(deep_matching(a, b, device="cpu:0"))
    assert calls == [2**27, 2**25]
    assert "quarter" in caplog.text
    assert len(found.keys() & expected.keys()) > 0.95 * len(expected)

    def none_at_all(*_: object) -> object:
        raise torch.OutOfMemoryError("pretended")

    monkeypatch.setattr(on_device_module, "_match", none_at_all)
    with caplog.at_level(logging.WARNING):
        assert as_set(deep_matching(a, b, device="cpu:0")) == expected
    assert "on the processor" in caplog.text


def test_levels_down_to_one() -> None:
    a, b = shifted_pair(6, 16, 20)
    patches = atomic_patches(pixel_descriptors(grey_image(a)))
    assert level_count(16, 20) == 2
    found = match_on_device(
        patches, second_image(pixel_descriptors(grey_image(b))), 1, 1.4, None, PROCESSOR
    )
    assert len(found.patch) > 3


@pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no CUDA device")
@pytest.mark.parametrize("settings", [{"downscale": 2}, {"downscale": 2, "search_radius": 64}])
def test_cuda_finds_what_the_processor_finds(settings: dict) -> None:
    a, b = shifted_pair(7, 256, 384)
    ours = as_set(deep_matching(a, b, **settings))
    theirs = as_set(deep_matching(a, b, **settings, device="cuda"))
    both = ours.keys() & theirs.keys()
    assert len(both) >= 0.98 * len(ours)
    errors = np.array([np.hypot(*np.subtract(ours[p][:2], theirs[p][:2])) for p in both])
    assert (errors <= 8).mean() >= 0.99
