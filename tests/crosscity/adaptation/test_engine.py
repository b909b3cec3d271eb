"""Where a training runs must not change what it does."""

from __future__ import annotations

import subprocess
import sys
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from crosscity.adaptation import (
    Adaptation,
    AdaptationSettings,
    Engine,
    LabelledArrays,
    OutOfMemoryError,
    Pretraining,
    PretrainingSettings,
    StateError,
    TargetArrays,
    open_engine,
)
from crosscity.segmenters import Segmenter, build_segmenter

RANDOM = np.random.default_rng(6)
SOURCE = LabelledArrays(
    RANDOM.integers(0, 256, (8, 16, 24, 3), dtype=np.uint8),
    RANDOM.integers(0, 19, (8, 16, 24), dtype=np.uint8),
)
TARGET = TargetArrays(RANDOM.integers(0, 256, (8, 16, 24, 3), dtype=np.uint8))
SETTINGS = AdaptationSettings(
    arm="ga_ca",
    steps=4,
    batch_size=2,
    learning_rate=1e-3,
    discriminator_hidden=(6,),
    discriminator_dropout=0.0,
    lambda_global=0.5,
)


def pretrained() -> Segmenter:
    options = {"width": 8, "dilations": [1], "dropout": 0.0}
    return build_segmenter("compact", options, seed=2)


def adaptation(engine: Engine | None = None, readers: int = 0, **changes: object) -> Adaptation:
    settings = replace(SETTINGS, **changes)  # type: ignore[arg-type]
    return Adaptation(
        pretrained(), SOURCE, TARGET, settings, seed=3, engine=engine, readers=readers
    )


class PlainEngine:
    """PyTorch alone on one processor, which Fabric must agree with to the byte."""

    device = torch.device("cpu")
    precision = "fp32"
    rank = 0
    ranks = 1

    def autocast(self) -> AbstractContextManager[object]:
        return nullcontext()

    def backward(self, loss: Tensor) -> None:
        loss.backward()  # type: ignore[no-untyped-call]

    def mean(self, values: Tensor) -> Tensor:
        return values


def test_fabric_and_plain_pytorch_give_the_same_bytes() -> None:
    one = adaptation(open_engine("cpu"))
    other = adaptation(PlainEngine())  # type: ignore[arg-type]
    assert one.advance(4) == other.advance(4)
    for name, tensor in one.state().tensors.items():
        assert torch.equal(tensor, other.state().tensors[name]), name


def test_bf16_is_near_fp32_and_keeps_fp32_weights() -> None:
    rounded, exact = adaptation(open_engine("cpu", "bf16")), adaptation()
    rows, expected = rounded.advance(4), exact.advance(4)
    assert rows != expected
    for row, other in zip(rows, expected, strict=True):
        for name in ("task_loss", "global_discriminator_loss", "class_inverse_loss"):
            assert row[name] == pytest.approx(other[name], rel=0.03), name
    assert {p.dtype for p in rounded.segmenter.parameters()} == {torch.float32}


def test_a_state_of_another_precision_is_refused() -> None:
    state = adaptation(open_engine("cpu", "bf16")).state()
    with pytest.raises(StateError, match="its precision is 'bf16' instead of 'fp32'"):
        adaptation().restore(state)


def test_an_unknown_precision_is_named() -> None:
    with pytest.raises(ValueError, match="one of fp32, bf16, not 'fp8'"):
        open_engine("cpu", "fp8")  # type: ignore[arg-type]


@pytest.mark.parametrize("readers", [1, 3])
@pytest.mark.parametrize("accumulation", [1, 2])
def test_reading_ahead_changes_nothing(readers: int, accumulation: int) -> None:
    ahead, plain = (
        adaptation(readers=count, accumulation=accumulation, flip=True) for count in (readers, 0)
    )
    assert ahead.advance(4) == plain.advance(4)
    for name, tensor in ahead.state().tensors.items():
        assert torch.equal(tensor, plain.state().tensors[name]), name
    assert ahead.seconds_waited > 0


def test_a_fault_of_a_reader_is_reported_where_it_is_needed() -> None:
    labels = SOURCE.all_labels.copy()
    labels[:, 0, 0] = 40
    broken = LabelledArrays(SOURCE.all_images, labels)
    with pytest.raises(ValueError, match="have the value 40"):
        Adaptation(pretrained(), broken, TARGET, SETTINGS, seed=0, readers=2).advance(1)


TWO_PROCESSES = """
import sys
sys.path.insert(0, {folder!r})
import torch
import {module} as here
from crosscity.adaptation import on_all_devices

if __name__ == "__main__":
    torch.set_num_threads(1)
    on_all_devices(here.train_and_save, sys.argv[1], device="cpu", devices=2)
"""


def train_and_save(engine: Engine, path: str) -> None:
    """What each of two processes does: a batch of 2, of which 2 make one of 4."""
    torch.set_num_threads(1)
    training = adaptation(engine, batch_size=2)
    rows = training.advance(4)
    if engine.rank == 0:
        torch.save({"tensors": training.state().tensors, "rows": rows}, path)


def test_two_processes_make_the_steps_of_one_with_twice_the_batches(tmp_path: Path) -> None:
    here = Path(__file__)
    script = tmp_path / "two.py"
    script.write_text(TWO_PROCESSES.format(folder=str(here.parent), module=here.stem))
    done = subprocess.run(
        [sys.executable, script, tmp_path / "both.pt"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    both = torch.load(tmp_path / "both.pt", weights_only=True)
    # The two batches of 2 that two processes read at once are those that one reads in turn.
    one = adaptation(batch_size=2, accumulation=2)
    rows = one.advance(4)
    for name in ("task_loss", "total_loss", "global_discriminator_loss"):
        for row, other in zip(both["rows"], rows, strict=True):
            assert row[name] == pytest.approx(other[name], rel=1e-4), name
    before = pretrained().state_dict()
    for name, tensor in one.state().tensors.items():
        if name.startswith("optimiser"):
            continue
        torch.testing.assert_close(both["tensors"][name], tensor, rtol=1e-3, atol=2e-5, msg=name)
        own = name.removeprefix("segmenter.")
        if own in before and own.endswith("weight"):
            assert not torch.equal(tensor, before[own])


class SmallDevice:
    """A device of so many bytes, of which an image takes 300 and a network 1000."""

    def __init__(self, capacity: int) -> None:
        self.bytes = capacity
        self.tried: list[int] = []

    def capacity(self) -> int:
        return self.bytes

    def peak_of(self, action: object) -> int:
        action()  # type: ignore[operator]
        self.tried.append(Meddled.last)
        return 1000 + 300 * self.tried[-1]


class Meddled:
    """Lets a training run out of memory with more than so many images of its set."""

    last = 0

    def __init__(self, training: Adaptation | Pretraining, limit: int) -> None:
        self._features = training.segmenter.features
        self._limit = limit
        self._size: torch.Size | None = None
        training.segmenter.features = self  # type: ignore[method-assign, assignment]

    def __call__(self, images: Tensor) -> Tensor:
        if self._size is None:
            self._size = images.shape[2:]
        if images.shape[2:] != self._size:  # of noise, to find out what the network drops
            return self._features(images)
        Meddled.last = len(images)
        if len(images) > self._limit:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB\nmore lines")
        return self._features(images)


def moments_of(training: Adaptation) -> int:
    modules = training._modules().values()
    return sum(2 * p.numel() * p.element_size() for m in modules for p in m.parameters())


@pytest.mark.parametrize(("images", "accumulation"), [(5, 2), (3, 3), (1, 8)])
def test_too_little_memory_is_one_sentence_with_the_batch_that_fits(
    images: int, accumulation: int
) -> None:
    training = adaptation(batch_size=8)
    Meddled(training, limit=7)
    needed = 1000 + 300 * images + moments_of(training)
    training.probe = SmallDevice(int((needed + 10) / 0.95) + 1)  # type: ignore[assignment]
    before = training.state()
    with pytest.raises(OutOfMemoryError) as caught:
        training.advance(1)
    text = str(caught.value)
    assert "ran out of memory in step 0 with batch_size 8: " in text
    assert f"batch_size {images} would fit; with accumulation {accumulation} " in text
    assert "\n" not in text
    assert training.probe.tried == [1, 2]  # type: ignore[attr-defined]
    after = training.state()
    assert after.meta == before.meta
    for name, tensor in before.tensors.items():
        assert torch.equal(tensor, after.tensors[name]), name


def test_a_device_too_small_for_one_image_says_so() -> None:
    training = adaptation(batch_size=2)
    Meddled(training, limit=0)
    training.probe = SmallDevice(10**9)  # type: ignore[assignment]
    with pytest.raises(OutOfMemoryError, match="not even one image fits"):
        training.advance(1)


def test_one_of_several_processes_does_not_look_for_a_batch_that_fits() -> None:
    """The others would wait for its gradients for ever."""
    training = adaptation(batch_size=8)
    training.engine.ranks = 2  # type: ignore[misc]
    Meddled(training, limit=7)
    training.probe = SmallDevice(10**9)  # type: ignore[assignment]
    with pytest.raises(OutOfMemoryError, match="batch_size 8 a process: halve it and double"):
        training.advance(1)
    assert training.probe.tried == []  # type: ignore[attr-defined]


def test_supervised_training_tells_the_batch_that_fits_too() -> None:
    settings = PretrainingSettings(steps=3, batch_size=8)
    training = Pretraining(pretrained(), SOURCE, settings, seed=0)
    Meddled(training, limit=7)
    training.probe = SmallDevice(10**9)  # type: ignore[assignment]
    with pytest.raises(OutOfMemoryError, match="needs little: end what else runs on it"):
        training.advance(1)


def test_accumulated_supervised_batches_are_one_large_batch() -> None:
    rows = []
    for batch_size, accumulation in ((4, 1), (1, 4)):
        settings = PretrainingSettings(
            steps=4,
            batch_size=batch_size,
            accumulation=accumulation,
            learning_rate=1e-3,
            freeze_batch_norm=True,
            flip=False,
        )
        training = Pretraining(pretrained(), SOURCE, settings, seed=1)
        rows.append(training.advance(4))
        assert training.images_a_step == 4
    for row, other in zip(*rows, strict=True):
        assert row["task_loss"] == pytest.approx(other["task_loss"], rel=1e-4)
