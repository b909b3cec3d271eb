"""What pyproject.toml allows: each requirement says from which version on."""

from __future__ import annotations

import tomllib
from itertools import chain
from pathlib import Path

from packaging.requirements import Requirement

PROJECT = Path(__file__).resolve().parents[1] / "pyproject.toml"


def test_every_requirement_has_a_lowest_version() -> None:
    """Else `make test-oldest`, or a resolver in a corner, takes one of twenty years ago."""
    project = tomllib.loads(PROJECT.read_text(encoding="utf-8"))["project"]
    lines = list(chain(project["dependencies"], *project["optional-dependencies"].values()))
    wanted = [Requirement(line) for line in lines]
    others = [one for one in wanted if one.name != project["name"]]
    assert len(others) > 40
    open_below = [
        str(one) for one in others if not {"==", ">="} & {part.operator for part in one.specifier}
    ]
    assert open_below == []
