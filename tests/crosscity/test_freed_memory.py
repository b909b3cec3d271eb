"""What is freed is there for the next step or image without the system clearing it again."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

FAULTS = """
import resource
import sys

import torch

torch.set_num_threads(1)
if sys.argv[1] == "kept":
    from crosscity.freed_memory import keep_freed_memory

    assert keep_freed_memory()
elif sys.argv[1] == "by what predicts":
    from types import SimpleNamespace

    from crosscity.segmenters import build_segmenter
    from tasks.training.trainings import on_device

    plan = SimpleNamespace(compute=SimpleNamespace(device="cpu"))
    on_device(build_segmenter("compact", {"width": 16}, seed=0), plan)

def step():
    made = [torch.ones(2_500_000) for _ in range(6)]
    return sum(float(one[0]) for one in made)

for _ in range(3):
    step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    assert step() == 6
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc can be set")
def test_arrays_come_from_memory_that_the_process_has() -> None:
    faults = {}
    for how in ("kept", "by what predicts", "handed back"):
        done = subprocess.run(
            [sys.executable, "-c", FAULTS, how],
            capture_output=True,
            text=True,
            check=True,
            # Left to itself, glibc hands back or not as the arrays happen to lie.
            env={**os.environ, "MALLOC_TRIM_THRESHOLD_": "131072"},
        )
        faults[how] = int(done.stdout)
    assert faults["handed back"] > 10_000  # pages of 4 KiB; the arrays have 73 000
    assert faults["kept"] < faults["handed back"] / 5
    assert faults["by what predicts"] < faults["handed back"] / 5


def test_another_c_library_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    from crosscity.freed_memory import keep_freed_memory

    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    assert keep_freed_memory() is False
