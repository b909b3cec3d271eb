"""Harvest, watch, promote and keep-earlier, killed after each of their commits."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = [sys.executable, "-m", "tests.tasks.crash_every_commit"]
ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("operation", "every", "least"),
    [
        ("harvest", 9, 2),
        ("watch", 9, 2),
        pytest.param("harvest", 1, 20, marks=pytest.mark.slow),
        pytest.param("watch", 1, 20, marks=pytest.mark.slow),
        ("promote", 1, 1),
        pytest.param("keep", 1, 3, marks=pytest.mark.slow),
        ("keep-first", 1, 3),
    ],
)
def test_the_run_after_any_death_ends_where_an_undisturbed_one_does(
    operation, every, least, tmp_path, write_catalog
) -> None:
    """`least`: deaths there must be at the least, so that the test cannot pass by killing none.

    `every`: a death after each commit, or after every ninth.
    """
    done = subprocess.run(
        [*SCRIPT, operation, tmp_path, write_catalog(tmp_path), str(every)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    assert int(done.stdout) >= least
