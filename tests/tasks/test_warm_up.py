"""What is compiled ahead, and that it is said when something is compiled after all."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Literal

import numba
import numpy as np
import pytest

from adapters.catalog import PriorSettings
from crosscity.compiling import NOTICE, notice_of_compiling
from tasks.priors.pair_prior import extract_prior
from tasks.priors.warm_up import warm_up


def test_it_is_reported_once_and_only_where_something_is_compiled() -> None:
    @numba.njit
    def one(x: float) -> float:
        return x + 1

    @numba.njit
    def other(x: float) -> float:
        return x + 2

    said: list[str] = []
    with notice_of_compiling(said.append) as compiled:
        assert one(1.0) + other(1.0) == 5
    assert said == [NOTICE]
    assert {"one", "other"} <= set(compiled)
    with notice_of_compiling(said.append) as compiled:
        one(2.0)
    assert compiled == []
    other(np.float32(1))  # outside: nobody listens any more
    assert said == [NOTICE]


@pytest.mark.parametrize("search_radius", [None, 40])
@pytest.mark.parametrize("scale", [1, 2, 4])
def test_after_the_warm_up_no_pair_compiles_anything(
    search_radius: float | None, scale: Literal[1, 2, 4]
) -> None:
    warm_up()
    rng = np.random.default_rng(0)
    a, b = (rng.integers(0, 255, (200, 320, 3)).astype(np.uint8) for _ in range(2))
    settings = PriorSettings(
        downscale=scale, search_radius=search_radius, superpixel_downscale=scale
    )
    with notice_of_compiling(print) as compiled:
        extract_prior(a, b, settings)
    assert compiled == []


@pytest.mark.slow
def test_a_second_process_compiles_nothing(tmp_path: Path) -> None:
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    command = [sys.executable, "-m", "flows.cli.main", "warm-up"]
    first, second = (
        subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        for _ in range(2)
    )
    assert "compiling, once" in first.stderr
    assert "functions compiled in" in first.stdout
    assert second.stdout == "everything was compiled already\n"
    assert second.stderr == ""
