"""Matching in tensor operations against the compiled loops."""

from __future__ import annotations

import logging
import sys
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from crosscity.matching import (
    Matches,
    deep_matching,
    kernel_trial,
    pairs_left_to_the_processor,
)
from crosscity.matching import on_device as on_device_module
from crosscity.matching import tensor_stages as tensor_stages_module
from crosscity.matching.correlation import atomic_patches, border_factors, second_image
from crosscity.matching.correlation import correlate as compiled_correlate
from crosscity.matching.descriptors import ORIENTATIONS, grey_image, pixel_descriptors
from crosscity.matching.device_operands import Operands, operands_of, pixel_orientations
from crosscity.matching.on_device import matched, own_stream
from crosscity.matching.pyramid import level_count
from crosscity.matching.responses import rectification_table
from crosscity.matching.tensor_stages import TensorStages
from crosscity.matching.windows import windows_of_level
from crosscity.matching.workers import Workers

PROCESSOR = torch.device("cpu")
TESTS = Path(__file__).resolve().parents[2]


def shifted_pair(seed: int, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    noise = random.normal(size=(height + 16, width + 16)).astype(np.float32)
    image = cv2.GaussianBlur(noise, (0, 0), 2) + cv2.GaussianBlur(noise, (0, 0), 6) * 3
    image = np.clip(128 + 60 * image / image.std(), 0, 255).astype(np.uint8)
    return image[8:-8, 4:-12].copy(), image[4:-12, 8:-8].copy()


def logged_here(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    """What the test's own thread has logged: no fixture of the suite is there on a GPU machine."""
    return [one for one in caplog.records if one.thread == threading.get_ident()]


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


@pytest.mark.parametrize(("size", "halvings"), [((40, 52), 0), ((48, 73), 1), ((65, 51), 2)])
def test_both_images_are_made_ready_as_on_the_processor(
    size: tuple[int, int], halvings: int
) -> None:
    a, b = shifted_pair(size[0], *size)
    grid = 4 << halvings
    grey_a = grey_image(a)[: size[0] // grid * grid, : size[1] // grid * grid]
    grey_b = grey_image(b)
    whole = pixel_orientations(torch.from_numpy(grey_b), halvings).numpy()
    expected = pixel_descriptors(grey_b, halvings)
    np.testing.assert_allclose(whole, expected[:ORIENTATIONS], atol=2e-6)
    made = operands_of(grey_a, grey_b, halvings, PROCESSOR)
    patches, image = atomic_patches(pixel_descriptors(grey_a, halvings)), second_image(expected)
    assert (made.rows, made.columns, made.whole) == (patches.rows, patches.columns, image.whole)
    np.testing.assert_allclose(made.vectors, patches.vectors, atol=5e-6)
    for ours, theirs in zip(
        (made.row_factors, made.column_factors), border_factors(patches), strict=True
    ):
        np.testing.assert_allclose(ours, theirs, rtol=2e-5)
    cut = np.lib.stride_tricks.sliding_window_view(image.padded, (4, 4), axis=(1, 2))
    windows = cut.transpose(0, 3, 4, 1, 2).reshape(128, *image.whole) * image.inverse
    np.testing.assert_allclose(made.windows[:-1], windows, atol=5e-6)
    np.testing.assert_allclose(made.windows[-1], image.constant * image.inverse, atol=5e-6)


def test_stored_responses_agree() -> None:
    a, b = shifted_pair(3, 64, 90)
    greys = grey_image(a)[:64, :88], grey_image(b)
    first = atomic_patches(pixel_descriptors(greys[0]))
    second = second_image(pixel_descriptors(greys[1]))
    operands = operands_of(*greys, 0, PROCESSOR)
    table = torch.from_numpy(rectification_table(1.4).astype(np.int32))
    for radius in (None, 9):
        compiled = compiled_correlate(
            first, second, power=1.4, radius=radius, workers=Workers(1, None)
        )
        windows = windows_of_level(0, first.rows, first.columns, second.whole, radius)
        cells = TensorStages(10**6).correlate(operands, windows, table).to(torch.int32) + 32768
        values = (cells >> 4).numpy() / 4095
        np.testing.assert_allclose(values, compiled.values(), atol=1.01 / 4095)


def in_half_floats(operands: Operands) -> Operands:
    """What tensor cores are given: operands rounded to half floats; sums are in full."""
    vectors, windows = (part.half().float() for part in (operands.vectors, operands.windows))
    return replace(operands, vectors=vectors, windows=windows)


@pytest.mark.parametrize(
    ("precision", "most"), [(torch.float16, 8), (torch.bfloat16, 64)], ids=["half", "bfloat"]
)
def test_half_floats_are_multiplied_at_aligned_sizes(precision: torch.dtype, most: int) -> None:
    a, b = shifted_pair(4, 24, 32)
    operands = operands_of(grey_image(a), grey_image(b), 0, PROCESSOR)
    table = torch.from_numpy(rectification_table(1.4).astype(np.int32))
    windows = windows_of_level(0, operands.rows, operands.columns, operands.whole, None)
    vectors, columns = tensor_stages_module._factors_of_products(operands, precision)
    assert vectors.shape[1] == columns.shape[0] == 144  # 129 terms, filled up
    assert vectors.dtype == columns.dtype == precision
    assert not vectors[:, 129:].any()
    exact, half = (
        TensorStages(10**6, how).correlate(operands, windows, table) for how in (None, precision)
    )
    gap = ((half.int() + 32768) >> 4) - ((exact.int() + 32768) >> 4)
    # Eight bits of a bf16 are not enough for 4095 steps; eleven of a half float nearly are.
    assert gap.abs().max() <= most


# Paths and not fixtures: a GPU machine runs this file without those of the suite.
@pytest.mark.parametrize(
    ("data", "first", "second"),
    [
        (TESTS / "data", "pano_30000_0_0.jpg", "pano_30000_1_0.jpg"),
        (TESTS.parents[1] / "shared" / "data", "graf1.png", "graf3.png"),
    ],
    ids=["own pictures", "real ones"],
)
def test_half_floats_move_few_matches(
    monkeypatch: pytest.MonkeyPatch, data: Path, first: str, second: str
) -> None:
    if not data.is_dir():
        pytest.skip("the real images (../shared/data beside the repository) are not here")
    paths = [next(data.rglob(name)) for name in (first, second)]
    a, b = (np.ascontiguousarray(cv2.imread(str(path))[:, :, ::-1]) for path in paths)
    exact = as_set(deep_matching(a, b, downscale=4))
    monkeypatch.setattr(
        on_device_module, "operands_of", lambda *given: in_half_floats(operands_of(*given))
    )
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
    genuine, calls = on_device_module.matched, []
    earlier: list[weakref.ref[Operands]] = []

    def made(*given: object) -> Operands:
        assert all(one() is None for one in earlier)  # or there would be less room than before
        operands = operands_of(*given)  # type: ignore[arg-type]
        earlier.append(weakref.ref(operands))
        return operands

    monkeypatch.setattr(on_device_module, "operands_of", made)

    def short(operands: Operands, stages: TensorStages, *more: object) -> object:
        calls.append(stages.at_a_time)
        if len(calls) == 1:
            raise torch.OutOfMemoryError("pretended")
        return genuine(operands, stages, *more)  # type: ignore[arg-type]

    monkeypatch.setattr(on_device_module, "matched", short)
    with caplog.at_level(logging.WARNING):
        found = as_set(deep_matching(a, b, device="cpu:0"))
    assert calls == [2**27, 2**25]
    assert "quarter" in caplog.text
    assert len(found.keys() & expected.keys()) > 0.95 * len(expected)

    def none_at_all(*_: object) -> object:
        raise torch.OutOfMemoryError("pretended")

    monkeypatch.setattr(on_device_module, "matched", none_at_all)
    before = pairs_left_to_the_processor()
    with caplog.at_level(logging.WARNING):
        assert as_set(deep_matching(a, b, device="cpu:0")) == expected
    assert "on the processor" in caplog.text
    assert pairs_left_to_the_processor() == before + 1


@pytest.mark.parametrize(
    "fault",
    [
        torch.AcceleratorError("CUDA error: the launch timed out and was terminated"),
        RuntimeError("Triton Error [CUDA]: device-side assert triggered"),
    ],
    ids=["torch", "triton"],
)
def test_a_device_that_is_lost_amid_a_shard_costs_no_pair(
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    fault: RuntimeError,
) -> None:
    module = sys.modules["crosscity.matching.deep_matching"]
    monkeypatch.setattr(module, "_gone", set())
    a, b = shifted_pair(5, 64, 96)
    expected = as_set(deep_matching(a, b))
    genuine, calls = on_device_module.matched, []

    def lost_after_one(*given: object) -> object:
        calls.append(1)
        if len(calls) > 1:
            raise fault
        return genuine(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(on_device_module, "matched", lost_after_one)
    before = pairs_left_to_the_processor()
    with caplog.at_level(logging.WARNING):
        found = [as_set(deep_matching(a, b, device="cpu:0")) for _ in range(4)]
    assert len(found[0].keys() & expected.keys()) > 0.95 * len(expected)
    assert found[1:] == [expected] * 3
    assert len(calls) == 2  # it is not asked again
    assert pairs_left_to_the_processor() == before + 3
    assert len(logged_here(caplog)) == 1
    assert "matches on the processor from now on" in caplog.text


def test_a_fault_of_ours_is_not_taken_for_a_lost_device(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(*_: object) -> object:
        raise RuntimeError("the size of tensor a must match")

    monkeypatch.setattr(on_device_module, "matched", wrong)
    a, b = shifted_pair(5, 64, 96)
    with pytest.raises(RuntimeError, match="size of tensor"):
        deep_matching(a, b, device="cpu:0")


def test_levels_down_to_one() -> None:
    a, b = shifted_pair(6, 16, 20)
    operands = operands_of(grey_image(a), grey_image(b), 0, PROCESSOR)
    assert level_count(16, 20) == 2
    found = matched(operands, TensorStages(10**6), 1.4, None, levels=1)
    assert len(found.patch) > 3


def test_each_thread_has_one_stream_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[tuple[int, torch.device]] = []
    entered: list[tuple[int, int]] = []

    class Stream:
        def __init__(self, device: torch.device) -> None:
            self.number = len(made)
            made.append((threading.get_ident(), device))

    def current(stream: Stream) -> object:
        entered.append((threading.get_ident(), stream.number))
        return nullcontext()

    monkeypatch.setattr(torch.cuda, "Stream", Stream)
    monkeypatch.setattr(torch.cuda, "stream", current)
    monkeypatch.setattr(on_device_module, "_streams", threading.local())
    both_there = threading.Barrier(2)

    def work(_: int) -> None:
        both_there.wait(timeout=900)
        for _ in range(3):
            with own_stream(torch.device("cuda", 0)):
                pass

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(work, range(2)))
    assert len(made) == 2
    assert len(entered) == 6
    assert all(made[number][0] == thread for thread, number in entered)
    with own_stream(PROCESSOR):
        assert len(made) == 2


class Wrong(TensorStages):
    """Stages that answer, and wrongly."""

    def correlate(self, *given: object) -> torch.Tensor:
        made = super().correlate(*given)  # type: ignore[arg-type]
        return made[torch.randperm(len(made), generator=torch.Generator().manual_seed(1))]


class Failing(TensorStages):
    def correlate(self, *_: object) -> torch.Tensor:
        raise RuntimeError("PassManager::run failed\nand more")


@pytest.mark.parametrize(
    ("kernels", "switch", "trusted", "words"),
    [
        (TensorStages, "", True, ""),
        (Wrong, "", False, "% of a trial's matches"),
        (Failing, "", False, "PassManager::run failed and more"),
        (None, "", False, "Triton is not installed"),
        (TensorStages, "off", False, "CROSSCITY_KERNELS"),
    ],
)
def test_kernels_are_tried_before_they_are_trusted(
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    kernels: type[TensorStages] | None,
    switch: str,
    trusted: bool,
    words: str,
) -> None:
    module = None
    if kernels is not None:
        module = type("Module", (), {"TritonStages": lambda: kernels(10**7)})
    monkeypatch.setitem(sys.modules, "crosscity.matching.triton_stages", module)
    monkeypatch.setenv(kernel_trial.SWITCH, switch)
    monkeypatch.setattr(kernel_trial, "_found", {})
    monkeypatch.setattr(kernel_trial, "SIZE", (32, 48))
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            found = kernel_trial.kernels_are_trusted(PROCESSOR, matched, TensorStages(10**7))
            assert found == trusted
    assert len(logged_here(caplog)) == (not trusted)  # tried and told once
    assert words in caplog.text


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
