"""What is measured on a GPU is of the GPU: looked at on the processor, with devices that fail."""

from __future__ import annotations

import importlib.util
import json
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from adapters.catalog import PriorSettings
from benchmarks import adapt, matching, prior, prior_step
from benchmarks.on_a_device import ROUNDS, timed_in_flight
from crosscity.matching import on_device
from simcity import STYLES, render

ROOT = Path(__file__).resolve().parents[1]
SIZE = (64, 128)
DEVICE = "cpu:0"
"""The processor too, but as a torch device."""
FAULTS = {
    "lost": torch.AcceleratorError("CUDA error: unspecified launch failure"),
    "short of memory": torch.OutOfMemoryError("CUDA out of memory"),
}


def encoded_pair() -> list[bytes]:
    images = (
        render(STYLES["rome"], seed=0, place=1, time=when, height=SIZE[0], width=SIZE[1]).image
        for when in (0, 1)
    )
    return [cv2.imencode(".jpg", image[:, :, ::-1])[1].tobytes() for image in images]


def by_matching(folder: Path) -> object:
    images = [cv2.imdecode(np.frombuffer(data, np.uint8), 1) for data in encoded_pair()]
    np.savez(folder / "0.npz", a=images[0], b=images[1])
    return matching.pairs_per_second(DEVICE, "half, radius 128", folder, 2)["pairs"]


def by_the_library(_: Path) -> object:
    return prior_step.timed([encoded_pair()], prior_step.Step(), DEVICE, 2)["pairs"]


def by_the_pipeline(_: Path) -> object:
    return prior._timed([encoded_pair()], PriorSettings(), DEVICE, 2)["pairs_timed"]


@pytest.fixture(autouse=True)
def devices_are_well(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules["crosscity.matching.deep_matching"], "_gone", set())


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("measure", [by_matching, by_the_library, by_the_pipeline])
def test_pairs_that_leave_the_device_are_no_figure_of_it(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    measure: Callable[[Path], object],
    fault: str,
) -> None:
    def failing(*_: object) -> object:
        raise FAULTS[fault]

    monkeypatch.setattr(on_device, "matched", failing)
    with pytest.raises(SystemExit, match=r"pairs were matched on the processor.*cpu:0 has"):
        measure(tmp_path)
    # Nor where the device had failed before, of which the log says nothing any more.
    if fault == "lost":
        with pytest.raises(SystemExit, match="the device had failed before"):
            measure(tmp_path)


@pytest.mark.parametrize("measure", [by_matching, by_the_library, by_the_pipeline])
def test_pairs_that_stay_on_the_device_are_counted(
    tmp_path: Path, measure: Callable[[Path], object]
) -> None:
    assert measure(tmp_path) in {ROUNDS * 2, 8 * 2}


def test_each_thread_has_had_an_item_before_the_clock_starts() -> None:
    seen: list[int] = []
    before: list[int] = []
    flight = timed_in_flight(
        lambda _: seen.append(threading.get_ident()), [1], 3, lambda: before.extend(seen)
    )
    assert len(set(before)) == len(before) == 3
    assert flight.items == len(seen) - 3 == ROUNDS * 3


def test_what_the_library_warned_of_stands_beside_the_figure() -> None:
    warn = logging.getLogger("crosscity.matching.on_device").warning
    flight = timed_in_flight(lambda _: warn("%s at a time", "a quarter"), [1, 2], 2)
    assert flight.warned == ["a quarter at a time"]


def test_a_run_that_fails_leaves_the_rows_that_it_had(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    genuine, calls = on_device.matched, []

    def lost_at_last(*given: object, **more: object) -> object:
        calls.append(1)
        if len(calls) > 2 * (2 + ROUNDS * 2):  # after two settings of the three
            raise FAULTS["lost"]
        return genuine(*given, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(on_device, "matched", lost_at_last)
    monkeypatch.setattr(prior_step, "CITIES", ("rome",))
    out = tmp_path / "new" / "prior.json"
    options = ["--device", DEVICE, "--places", "1", "--repeats", "1", "--in-flight", "2"]
    size = ["--height", str(SIZE[0]), "--width", str(SIZE[1])]
    monkeypatch.setattr(sys, "argv", ["prior_step.py", *options, *size, "--out", str(out)])
    with pytest.raises(SystemExit, match="matched on the processor"):
        prior_step.main()
    rows = json.loads(out.read_text(encoding="utf-8"))["rows"]
    assert [(row["setting"], row["device"]) for row in rows] == [
        ("default", "cpu"),
        ("default", DEVICE),
        ("halved, radius 128", DEVICE),
    ]


def test_a_machine_without_fabric_is_told_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    output = str(tmp_path / "results")
    monkeypatch.setattr(sys, "argv", ["adapt.py", "--device", "cuda", "--output", output])
    with pytest.raises(SystemExit, match="pip install lightning-fabric"):
        adapt.main()


PYTHON = """#!/usr/bin/env bash
if [ "$1" = -c ]; then
  [[ "$2" == *$ABSENT* ]] && exit 1
  exit 0
fi
echo "$CROSSCITY_KERNELS $*" >>"$CALLS"
[[ "$*" == *$FAILING* ]] && exit 3
exit 0
"""


def on_gpu(
    folder: Path, *parts: str, absent: str = "nothing", failing: str = "nothing"
) -> tuple[int, list[str], str]:
    """The script with a Python that notes how it was called."""
    program = folder / "bin" / "python"
    program.parent.mkdir(exist_ok=True)
    program.write_text(PYTHON, encoding="utf-8")
    program.chmod(0o755)
    calls = folder / "calls"
    calls.write_text("", encoding="utf-8")
    done = subprocess.run(
        ["bash", str(ROOT / "benchmarks" / "on_gpu.sh"), *parts],
        env={
            **os.environ,
            "PATH": f"{program.parent}{os.pathsep}{os.environ['PATH']}",
            "OUT": str(folder / "out"),
            "CALLS": str(calls),
            "ABSENT": absent,
            "FAILING": failing,
            "CROSSCITY_KERNELS": "",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, calls.read_text(encoding="utf-8").splitlines(), done.stderr


def test_the_one_call_runs_every_part_and_a_failed_one_fails_it(tmp_path: Path) -> None:
    status, calls, said = on_gpu(tmp_path)
    assert (status, said) == (0, "")
    scripts = ["pytest", "matching.py", "matching.py", "prior.py", "prior.py", "adapt.py"]
    assert [script for script, call in zip(scripts, calls, strict=True) if script in call] == (
        scripts
    )
    # With kernels and without, the same pairs.
    with_kernels, without = (call.split("--out")[0] for call in calls if "prior.py" in call)
    assert without == f"off{with_kernels}"
    status, every, said = on_gpu(tmp_path, failing="matching_cuda_4")
    assert (status, len(every), said) == (1, len(calls), "on_gpu.sh: matching failed\n")


def test_parts_are_called_by_name(tmp_path: Path) -> None:
    status, calls, _ = on_gpu(tmp_path, "prior", "adapt", absent="pydantic")
    assert status == 0
    assert [call.split()[0] for call in calls] == [
        "benchmarks/prior_step.py",
        "benchmarks/adapt.py",
    ]
    status, calls, said = on_gpu(tmp_path, "adapt", "prices")
    assert (status, calls) == (2, [])
    assert "'prices'" in said


def test_tests_that_cannot_run_are_told(tmp_path: Path) -> None:
    status, calls, said = on_gpu(tmp_path, "tests", absent="pytest")
    assert (status, calls) == (1, [])
    assert "the tests need pytest and hypothesis, and were left out" in said
