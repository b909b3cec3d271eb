"""A matcher of one's own that is wrong ends the step, and once it is mended the step goes on."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from adapters.store import ArtifactRef
from crosscity.matching import Matches
from tasks.priors.extraction import join_priors, make_prior_part, prior_parts
from tasks.steps.errors import InputError, TooManyFailures
from tasks.steps.plan import Plan, open_plan
from tasks.training.opened_entries import opened_entries
from tests.harvested import harvested

MODULE = "a_matcher_of_mine"
PRIOR = {"matcher": f"python:{MODULE}:match", "downscale": 1, "superpixels": 40}


def right(image_a: np.ndarray, _image_b: np.ndarray) -> Matches:
    rows, columns = np.mgrid[2 : image_a.shape[0] : 4, 2 : image_a.shape[1] : 4]
    y, x = rows.ravel().astype(np.float32), columns.ravel().astype(np.float32)
    return Matches(x, y, x, y, np.ones_like(x), np.zeros(len(x), np.int32))


def misspelt(*_: np.ndarray) -> Matches:
    raise NameError("name 'nump' is not defined")


def not_finite(*images: np.ndarray) -> Matches:
    found = right(*images)
    return Matches(found.x_a * np.nan, found.y_a, found.x_b, found.y_b, found.score, found.entry)


def refused(*_: np.ndarray) -> Matches:
    raise ValueError("too few corners")


@pytest.fixture
def mine(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    module = ModuleType(MODULE)
    monkeypatch.setitem(sys.modules, MODULE, module)
    return module


@pytest.fixture
def plan(write_catalog: Callable[..., Path], tmp_path: Path) -> Plan:
    return open_plan(write_catalog(tmp_path, city={"places": 6, "prior": PRIOR}))


@pytest.fixture
def extract(plan: Plan) -> Callable[[], list[ArtifactRef]]:
    imagery, pairs = harvested(plan)

    def made() -> list[ArtifactRef]:
        shards = [
            make_prior_part(imagery, pairs, part, "tokyo", plan).ref
            for part in prior_parts(imagery, pairs, "tokyo", plan)
        ]
        join_priors.fn(shards, pairs, "tokyo", plan)
        return shards

    return made


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (misspelt, "raised NameError: name 'nump' is not defined; mend it, and run"),
        (not_finite, "x_a of matches holds what is not finite"),
        (lambda *_: None, "returned NoneType"),
        (None, r"cities\.tokyo\.prior\.matcher: .* has no function 'match'"),
    ],
)
def test_what_is_mended_under_its_name_is_made(
    mine: ModuleType, plan: Plan, extract: Callable[[], list[ArtifactRef]], wrong: Any, said: str
) -> None:
    """Every shard was kept with nothing but failures, and found again whatever was mended."""
    if wrong is not None:
        mine.match = wrong  # type: ignore[attr-defined]
    with pytest.raises(InputError, match=said):
        extract()
    assert not list(plan.open_store().artifacts("static_prior_part", "tokyo"))
    mine.match = right  # type: ignore[attr-defined]
    assert len(extract()) == 2


def test_pairs_that_a_matcher_refuses_are_rows_with_its_reason(
    mine: ModuleType, plan: Plan, extract: Callable[[], list[ArtifactRef]]
) -> None:
    mine.match = refused  # type: ignore[attr-defined]
    with pytest.raises(TooManyFailures, match=r"give a matcher .* another name.*too few corners"):
        extract()
    assert len(list(plan.open_store().artifacts("static_prior_part", "tokyo"))) == 2


@pytest.mark.parametrize(
    ("match", "said"),
    [
        (right, "its matcher finds 10800 matches where all is moved"),
        (misspelt, "raised NameError"),
        (None, "has no function 'match'"),
    ],
)
def test_catalog_check_deep_tries_it(mine: ModuleType, plan: Plan, match: Any, said: str) -> None:
    if match is not None:
        mine.match = match  # type: ignore[attr-defined]
    (found,) = (one for one in opened_entries(plan) if one.key == "cities.tokyo")
    assert said in found.said
    assert found.is_fault == (match is not right)
