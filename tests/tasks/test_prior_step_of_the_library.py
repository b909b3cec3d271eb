"""The benchmark of the prior step by the library alone does what the pipeline does."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np

from adapters.catalog import PriorSettings
from benchmarks.prior_step import Step, masks_of
from simcity import STYLES, render
from tasks.priors.pair_prior import extract_prior

ROOT = Path(__file__).resolve().parents[2]
BLOCKED = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("prefect", "pyarrow", "pydantic", "yaml", "PIL"):
            raise ImportError(f"{name} is blocked")
sys.meta_path.insert(0, Blocked())
"""


def test_it_is_the_pipeline_s_step_at_the_catalog_s_default() -> None:
    step = Step()
    assert PriorSettings.model_validate(asdict(step)) == PriorSettings()
    a, b = (
        render(STYLES["tokyo"], seed=0, place=3, time=when, height=160, width=320).image
        for when in (0, 1)
    )
    masks, probabilities = masks_of((a, b), step)
    expected = extract_prior(a, b, PriorSettings())
    for mask, probability, theirs, sure in zip(
        masks, probabilities, expected.masks, expected.probabilities, strict=True
    ):
        np.testing.assert_array_equal(mask, theirs)
        assert sure is not None
        np.testing.assert_array_equal(probability, sure)


def test_the_gpu_s_benchmarks_load_without_the_catalog_s_libraries(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(BLOCKED, encoding="utf-8")
    path = os.pathsep.join([str(tmp_path), str(ROOT)])
    load = (
        "import benchmarks.matching, benchmarks.prior_step, benchmarks.adapt, "
        "crosscity.matching.on_device, crosscity.matching.kernel_trial, simcity"
    )
    done = subprocess.run(
        [sys.executable, "-c", f"{load}\ntry: import pydantic\nexcept ImportError: print('done')"],
        env={**os.environ, "PYTHONPATH": path},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "done\n", done.stderr


def test_the_gpu_s_tests_find_all_that_they_need_without_the_suite_s_fixtures(
    tmp_path: Path,
) -> None:
    """As `on_gpu.sh` runs them: what a test asks a fixture of the suite for is not there."""
    script = (ROOT / "benchmarks" / "on_gpu.sh").read_text(encoding="utf-8")
    files = sorted(set(re.findall(r"tests/\S+\.py", script)))
    assert len(files) == 2
    assert "--noconftest" in script
    (tmp_path / "sitecustomize.py").write_text(BLOCKED, encoding="utf-8")
    options = ["-q", "-p", "no:cacheprovider", "--noconftest", "-o", "addopts="]
    some = ["-k", "half_floats or one_stream or every_patch"]
    # All of them are set up, which asks for their fixtures, and some are run as well.
    for chosen, said in ((["--setup-plan"], "SETUP"), (some, " passed")):
        done = subprocess.run(
            [sys.executable, "-m", "pytest", *options, "--import-mode=importlib", *chosen, *files],
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])},
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
        assert said in done.stdout
