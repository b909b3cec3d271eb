"""The benchmark of orchestration replaces the science by constants that suit the present steps."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "orchestration.py"


@pytest.mark.slow
def test_each_stage_runs_on_its_constants(tmp_path):
    command = [sys.executable, str(SCRIPT), "--plain", "--results", str(tmp_path), "60"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    rows = json.loads((tmp_path / "orchestration.json").read_text(encoding="utf-8"))
    assert [row["stage"] for row in rows] == ["harvest", "priors", "again"]
    harvest, priors, again = rows
    assert again["reads"] < harvest["reads"] < priors["reads"]
