"""A device that disappears in the middle of a shard, a training or a prediction.

What torch raises then: `torch.AcceleratorError` with "CUDA error: " and cudaGetErrorString
(PyTorch, c10/cuda/CUDAException.cpp); plain RuntimeErrors of cuDNN ("cuDNN error: ", ATen/cudnn),
cuBLAS, NCCL and Triton. The device pretended here is `cpu:0`, for which matching takes the stages
of accelerators.
"""

from __future__ import annotations

import itertools
import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open

from adapters.images import encode_label_png, encode_png
from adapters.store import Store
from crosscity.adaptation import PretrainingSettings
from crosscity.device_failures import has_failed, is_device_error, why_unusable
from crosscity.evaluation import prediction
from crosscity.matching import on_device as on_device_module
from crosscity.segmenters import CompactSegmenter
from flows.cli.errors import exit_code, one_sentence
from flows.cli.first_look import bundled_weights
from flows.cli.predict import predict
from tasks.judging import pixels_to_predict, predictions
from tasks.priors.extraction import make_prior_part, prior_parts
from tasks.steps.device import check_device, using_device
from tasks.steps.errors import DeviceFailedError, InputError
from tasks.steps.plan import Plan, open_plan
from tasks.steps.schemas import LABELLED, OK, STATIC_PRIOR
from tasks.steps.tables import part_name, read_rows, write_rows
from tasks.training.checkpoints import CHECKPOINT, CheckpointPlace
from tasks.training.jobs import Job
from tasks.training.trainings import train
from tests.harvested import harvested

LOST = (
    "CUDA error: unspecified launch failure\nSearch for `cudaErrorLaunchFailure' in "
    "https://docs.nvidia.com/cuda/cuda-runtime-api/group__CUDART__TYPES.html for more information."
    "\nCUDA kernel errors might be asynchronously reported at some other API call, so the "
    "stacktrace below might be incorrect.\nFor debugging consider passing CUDA_LAUNCH_BLOCKING=1\n"
)
FAILURES = [
    torch.AcceleratorError(LOST),
    torch.AcceleratorError("CUDA error: uncorrectable ECC error encountered\n"),
    torch.AcceleratorError("CUDA error: CUDA-capable device(s) is/are busy or unavailable\n"),
    RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"),
    RuntimeError("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasSgemm( handle`"),
    RuntimeError("Triton Error [CUDA]: unspecified launch failure"),
    RuntimeError("No CUDA GPUs are available"),
    RuntimeError("CUDA driver error: unknown error"),
]


@pytest.mark.parametrize("error", FAILURES, ids=str)
def test_a_failed_device_is_one_sentence_and_a_passing_fault(error: RuntimeError) -> None:
    assert has_failed(error)
    with pytest.raises(DeviceFailedError) as caught, using_device("cpu", "tokyo"):
        raise error
    said = one_sentence(caught.value)
    assert said.startswith("cpu failed in the work for tokyo (")
    assert "run the same command" in said
    assert "\n" not in said
    assert "CUDA_LAUNCH_BLOCKING" not in said
    assert exit_code(caught.value) == 75


@pytest.mark.parametrize(
    ("error", "of_a_device"),
    [
        (torch.AcceleratorError("CUDA error: device-side assert triggered\n"), True),
        (torch.AcceleratorError("CUDA error: invalid argument\n"), True),
        (RuntimeError("cuDNN error: CUDNN_STATUS_BAD_PARAM"), True),
        (RuntimeError("The size of tensor a (3) must match the size of tensor b (4)"), False),
        (RuntimeError("Expected all tensors to be on the same device, cuda:0 and cpu"), False),
        (ValueError("CUDA error: what a person wrote"), False),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."), False),
    ],
    ids=str,
)
def test_work_that_is_wrong_is_not_a_device_that_failed(
    error: Exception, of_a_device: bool
) -> None:
    assert is_device_error(error) is of_a_device
    assert not has_failed(error)
    expected = InputError if isinstance(error, torch.OutOfMemoryError) else type(error)
    with pytest.raises(expected), using_device("cpu", "tokyo"):
        raise error


def test_memory_that_is_lacking_is_one_sentence_about_the_device() -> None:
    with pytest.raises(InputError) as caught, using_device("cpu", "tokyo"):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nMore.")
    assert str(caught.value) == (
        "cpu ran out of memory in the work for tokyo (CUDA out of memory. Tried to allocate 2.00 "
        "GiB.): end what else runs on it, or use smaller images"
    )
    assert exit_code(caught.value) == 2


def on(plan: Plan, device: str) -> Plan:
    compute = plan.compute.model_copy(update={"device": device, "workers": 2})
    return plan.model_copy(update={"compute": compute})


def rows_of(plan: Plan, ref: Any, number: int) -> list[Any]:
    return read_rows(plan.open_store(), ref, part_name(number), STATIC_PRIOR)


@pytest.fixture
def fresh_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    """What this process knows of devices is forgotten, now and afterwards."""
    module = sys.modules["crosscity.matching.deep_matching"]
    monkeypatch.setattr(module, "_gone", set())
    monkeypatch.setattr(module, "_worked", set())


@pytest.mark.usefixtures("fresh_devices")
def test_a_device_lost_amid_a_shard_costs_no_pair_and_no_other_shard(
    write_catalog: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    whole = open_plan(write_catalog(tmp_path / "whole"), city="tokyo")
    imagery, pairs = harvested(whole)
    parts = prior_parts(imagery, pairs, "tokyo", whole)
    assert len(parts) > 1
    expected = [make_prior_part(imagery, pairs, part, "tokyo", whole).ref for part in parts]

    lost = on(open_plan(write_catalog(tmp_path / "lost"), city="tokyo"), "cpu:0")
    imagery, pairs = harvested(lost)
    parts = prior_parts(imagery, pairs, "tokyo", lost)
    genuine, calls = on_device_module.matched, []

    def lost_after_three(*given: object, **more: object) -> object:
        calls.append(1)
        if len(calls) > 3:
            raise torch.AcceleratorError(LOST)
        return genuine(*given, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(on_device_module, "matched", lost_after_three)
    with caplog.at_level(logging.WARNING):
        made = [make_prior_part(imagery, pairs, part, "tokyo", lost).ref for part in parts]
    # Two workers may both have asked before one of them knew.
    assert 4 <= len(calls) <= 5
    said = [record.getMessage() for record in caplog.records if "has failed" in record.message]
    assert said == [
        "cpu:0 has failed (CUDA error: unspecified launch failure): this process matches on the "
        "processor from now on"
    ]
    assert [ref.digest for ref in made] == [ref.digest for ref in expected]
    assert not list((tmp_path / "lost/store/.drafts").glob("*"))


@pytest.mark.usefixtures("fresh_devices")
def test_a_device_that_cannot_even_be_asked_any_more_fails_no_pair(
    write_catalog: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = on(open_plan(write_catalog(tmp_path), city="tokyo"), "cpu:0")
    imagery, pairs = harvested(plan)
    part = prior_parts(imagery, pairs, "tokyo", plan)[0]
    asked: list[str] = []

    def once(device: str) -> str | None:
        asked.append(device)
        return why_unusable(device) if len(asked) == 1 else LOST

    def lost(*_given: object, **_more: object) -> object:
        raise RuntimeError("No CUDA GPUs are available")

    monkeypatch.setattr(sys.modules["crosscity.matching.deep_matching"], "why_unusable", once)
    monkeypatch.setattr(on_device_module, "operands_of", lost)
    made = make_prior_part(imagery, pairs, part, "tokyo", plan).ref
    assert asked == ["cpu:0"]
    assert {row["status"] for row in rows_of(plan, made, part.number)} == {OK}


@pytest.mark.parametrize("device", ["cuda:7", "abacus", "", "cpu:x", "meta"])
def test_why_a_device_cannot_be_used_is_told_in_a_line(device: str) -> None:
    why = why_unusable(device)
    assert why
    assert "\n" not in why
    assert why_unusable("cpu") is None


def test_what_named_a_device_is_what_is_to_be_changed() -> None:
    with pytest.raises(InputError, match=r"of the compute profile .* --compute"):
        check_device("abacus")
    with pytest.raises(InputError, match=r"^--device abacus cannot be used .*: name another"):
        check_device("abacus", asked_for=True)


def test_a_device_that_is_full_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> torch.Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(torch, "zeros", full)
    assert why_unusable("cpu") is None


def test_a_device_that_is_not_there_makes_no_shard_of_failures(
    write_catalog: Callable[..., Path], tmp_path: Path
) -> None:
    plan = open_plan(write_catalog(tmp_path), city="tokyo")
    imagery, pairs = harvested(plan)
    part = prior_parts(imagery, pairs, "tokyo", plan)[0]
    with pytest.raises(InputError, match=r"the device 'cuda:7' .* cannot be used"):
        make_prior_part(imagery, pairs, part, "tokyo", on(plan, "cuda:7"))
    # On a device that is there it is made, and not found as a shard of failures.
    made = make_prior_part(imagery, pairs, part, "tokyo", plan)
    assert not made.cached
    assert {row["status"] for row in rows_of(plan, made.ref, part.number)} == {OK}


def test_a_device_lost_amid_a_shard_ends_it_where_the_processor_cannot_go_on(
    write_catalog: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where the failure is met outside matching; the next run makes the same bytes."""
    from tasks.priors import extraction

    plan = open_plan(write_catalog(tmp_path), city="tokyo")
    imagery, pairs = harvested(plan)
    first, second = prior_parts(imagery, pairs, "tokyo", plan)[:2]
    kept = make_prior_part(imagery, pairs, first, "tokyo", plan).ref
    genuine = extraction.extract_prior

    def lost(*_: object) -> object:
        raise torch.AcceleratorError(LOST)

    monkeypatch.setattr(extraction, "extract_prior", lost)
    with pytest.raises(DeviceFailedError, match=r"^cpu failed in the work for tokyo"):
        make_prior_part(imagery, pairs, second, "tokyo", plan)
    store = plan.open_store()
    there = [ref for ref in store.artifacts() if ref.kind == "static_prior_part"]
    assert there == [kept]
    assert not list((tmp_path / "store/.drafts").glob("*"))
    monkeypatch.setattr(extraction, "extract_prior", genuine)
    again = make_prior_part(imagery, pairs, first, "tokyo", plan)
    assert (again.cached, again.ref) == (True, kept)
    made = make_prior_part(imagery, pairs, second, "tokyo", plan).ref
    other = open_plan(write_catalog(tmp_path / "other"), city="tokyo")
    imagery, pairs = harvested(other)
    part = prior_parts(imagery, pairs, "tokyo", other)[1]
    assert make_prior_part(imagery, pairs, part, "tokyo", other).ref.digest == made.digest


def lost_at(call: int, genuine: Callable[..., Any], fault: Exception) -> Callable[..., Any]:
    """A function whose device fails in that call, and answers to all others."""
    calls = itertools.count(1)

    def asked(*given: Any, **more: Any) -> Any:
        if next(calls) == call:
            raise fault
        return genuine(*given, **more)

    return asked


def test_a_training_whose_device_fails_goes_on_from_its_checkpoint_with_the_same_bytes(
    write_catalog: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digests = []
    for folder, lost in (("whole", False), ("lost", True)):
        plan = open_plan(write_catalog(tmp_path / folder))
        store = plan.open_store()
        job = pretraining(plan)

        def draft(store: Store = store) -> Any:
            return store.draft(
                "segmenter", "frankfurt", "akey", inputs={}, parameters={}, version="1"
            )

        if lost:
            # The segmenter is asked once a step; a checkpoint is kept after two.
            failing = lost_at(4, CompactSegmenter.extract, torch.AcceleratorError(LOST))
            with monkeypatch.context() as patched:
                patched.setattr(CompactSegmenter, "extract", failing)
                with pytest.raises(DeviceFailedError, match="cpu failed in the"), draft() as begun:
                    train(job, begun)
            assert [ref for ref in store.artifacts() if ref.kind == "segmenter"] == []
            path = store.load_progress("segmenter", "frankfurt", "akey", CHECKPOINT)
            with safe_open(path, framework="pt") as opened:
                assert opened.get_tensor("history").numpy().tobytes().count(b'"step"') == 2
        with draft() as done:
            train(job, done)
        digests.append(done.ref.digest)
    assert digests[0] == digests[1]


def pretraining(plan: Plan) -> Job:
    """Six steps on made-up images, with a checkpoint every other step."""
    random = np.random.default_rng(2)
    rows = [
        {
            "sample": f"image_{number}",
            "image": encode_png(random.integers(0, 256, (32, 64, 3), dtype=np.uint8)),
            "labels": encode_label_png(random.integers(0, 19, (32, 64), dtype=np.uint8)),
            "status": OK,
            "reason": None,
        }
        for number in range(4)
    ]
    with plan.open_store().draft(
        "labelled", "frankfurt", "akey", inputs={}, parameters={}, version="1"
    ) as made:
        write_rows(made, part_name(0), rows, LABELLED)
    return Job(
        start="compact",
        source=(made.ref,),
        settings=PretrainingSettings(steps=6, batch_size=2),
        seed=1,
        plan=plan,
        place=CheckpointPlace("segmenter", "frankfurt", "akey", "pre-train compact"),
        every=2,
    )


@pytest.mark.parametrize("kept", [0, 1], ids=["in the first shard", "in a later one"])
def test_a_prediction_whose_device_fails_goes_on_with_the_next_shard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kept: int
) -> None:
    # Each image is seen at 256×512, and forms of pixels are looked at eight times.
    monkeypatch.setattr(predictions, "SHARD", 8)
    monkeypatch.setattr(pixels_to_predict, "remark_on_pixels", lambda *_: "")
    folder = tmp_path / "in"
    folder.mkdir()
    random = np.random.default_rng(3)
    count = kept * predictions.SHARD + 3
    for number in range(count):
        picture = random.integers(0, 256, (16, 16, 3), dtype=np.uint8)
        (folder / f"{number:03d}.png").write_bytes(encode_png(picture))

    def run(out: str) -> dict[str, bytes]:
        predict(
            None, [str(folder)], output=tmp_path / out, weights=bundled_weights(), overlays=False
        )
        files = sorted((tmp_path / out).rglob("*.p*"))
        assert len([path for path in files if path.suffix == ".png"]) == count
        return {str(path.relative_to(tmp_path / out)): path.read_bytes() for path in files}

    expected = run("whole")
    batches = -(-kept * predictions.SHARD // 4)
    failing = lost_at(batches + 1, prediction._predictions, torch.AcceleratorError(LOST))
    with monkeypatch.context() as patched:
        patched.setattr(prediction, "_predictions", failing)
        with pytest.raises(DeviceFailedError, match=r"^cpu failed in the work for .*in \(CUDA err"):
            run("lost")
    assert not (tmp_path / "lost/predictions.parquet").exists()
    assert run("lost") == expected
