"""`import crosscity` offers five functions, and the documents' lines with them run."""

from __future__ import annotations

import importlib
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import numpy as np

import crosscity
from crosscity.evaluation import predict
from crosscity.matching import deep_matching
from crosscity.partitioning import entropy_rate_superpixels
from crosscity.segmenters import load_segmenter
from crosscity.static_regions import static_prior

README = Path(__file__).parents[2] / "README.md"


def two_times_of_a_place() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    before = np.kron(rng.integers(0, 255, (16, 32, 3)), np.ones((8, 8, 1))).astype(np.uint8)
    after = before.copy()
    after[64:, :96] = 255 - after[64:, :96]
    return before, after


def test_the_lines_of_the_readme_run() -> None:
    before, after = two_times_of_a_place()
    section = README.read_text(encoding="utf-8").split("\n## In Python\n", 1)[1]
    lines = re.search(r"```python\n(.*?)```", section, re.DOTALL)
    assert lines is not None
    made = {"before": before, "after": after}
    exec(lines[1], made)  # noqa: S102 - the README's own words
    assert [name for name in crosscity.__all__ if f"crosscity.{name}(" not in lines[1]] == []
    assert len(made["matches"]) > 0
    assert made["regions"].max() == 199
    static, classes = made["static"], made["classes"]
    assert static.shape == classes.shape == before.shape[:2]
    # What was painted over is less static than the rest.
    assert static[64:, :96].mean() < static[:64].mean()
    assert classes.max() < len(made["segmenter"].class_names)


def test_the_names_are_those_functions_whatever_was_imported() -> None:
    for module in pkgutil.walk_packages(crosscity.__path__, "crosscity."):
        try:
            importlib.import_module(module.name)
        except ModuleNotFoundError as error:
            if error.name != "triton":  # it comes with PyTorch where there are GPUs
                raise
    assert crosscity.match is deep_matching
    assert crosscity.superpixels is entropy_rate_superpixels
    assert crosscity.static_prior is static_prior
    assert crosscity.load_segmenter is load_segmenter
    assert crosscity.predict is predict
    modules = {module.name for module in pkgutil.iter_modules(crosscity.__path__)}
    assert not modules & set(crosscity.__all__)
    assert set(crosscity.__all__) <= set(dir(crosscity))


def test_importing_the_package_loads_nothing() -> None:
    program = (
        "import sys, crosscity; print(sorted({'numpy','torch','numba','cv2'} & {*sys.modules}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
