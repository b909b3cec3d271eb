"""Threads of PyTorch that wait for each other sleep soon: on a full machine they wait for long."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest


@pytest.mark.parametrize(("given", "wanted"), [(None, "1000"), ("7", "7")])
@pytest.mark.parametrize("module", ["flows.cli.main", "flows.adapt_city"])
def test_it_is_set_before_pytorch_is_there_and_what_a_user_has_set_stays(
    module: str, given: str | None, wanted: str
) -> None:
    script = f"""
import os, sys
class Seen:
    def find_spec(self, name, path=None, target=None):
        if name == "torch":
            print(os.environ["GOMP_SPINCOUNT"])
            raise SystemExit  # what it has read is all that is asked
sys.meta_path.insert(0, Seen())
import {module}
import torch
"""
    environment = {name: value for name, value in os.environ.items() if name != "GOMP_SPINCOUNT"}
    if given is not None:
        environment["GOMP_SPINCOUNT"] = given
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [wanted]
