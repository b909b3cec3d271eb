"""A matcher of one's own that is wrong ends the step, and once it is mended the step goes on."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from adapters.store import ArtifactRef
from crosscity.matching import Matches
from flows.cli import city
from flows.cli.application import app
from tasks.priors.extraction import join_priors, make_prior_part, prior_parts
from tasks.steps.errors import InputError, TooManyFailures
from tasks.steps.imagery import Imagery
from tasks.steps.plan import Plan, open_plan
from tasks.steps.schemas import OK, PAIRS, STATIC_PRIOR
from tasks.steps.tables import part_name, read_rows
from tasks.training.opened_entries import opened_entries
from tasks.training.pair_matching import PairMatching
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


def wrong_once() -> Callable[..., Matches]:
    """Right for all pairs but the fourth."""
    calls = itertools.count()

    def match(*images: np.ndarray) -> Matches:
        return misspelt() if next(calls) == 3 else right(*images)

    return match


def refused(*_: np.ndarray) -> Matches:
    raise ValueError("too few corners")


@pytest.fixture
def mine(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    module = ModuleType(MODULE)
    monkeypatch.setitem(sys.modules, MODULE, module)
    return module


@pytest.fixture
def plan(write_catalog: Callable[..., Path], tmp_path: Path) -> Plan:
    entry = {"places": 6, "prior": PRIOR, "failure_limit": 0.5}
    return open_plan(write_catalog(tmp_path, city=entry))


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


def test_a_shard_is_not_kept_without_the_pairs_that_a_matcher_failed_on(
    mine: ModuleType, plan: Plan, extract: Callable[[], list[ArtifactRef]]
) -> None:
    """Its rows failed for good, however well the matcher was mended: its name is in the key."""
    mine.match = wrong_once()  # type: ignore[attr-defined]
    with pytest.raises(InputError, match=r"the pair \S+: the matcher .* raised NameError"):
        extract()
    mine.match = right  # type: ignore[attr-defined]
    rows = [
        row
        for number, ref in enumerate(extract())
        for row in read_rows(plan.open_store(), ref, part_name(number), STATIC_PRIOR)
    ]
    assert {row["status"] for row in rows} == {OK}


def test_a_training_says_that_a_matcher_is_wrong(mine: ModuleType, plan: Plan) -> None:
    """It learned as if no pair could be matched, without a word."""
    imagery, pairs = harvested(plan)
    store = plan.open_store()
    pair = read_rows(store, pairs, "pairs.parquet", PAIRS)[0]
    matching = PairMatching(plan.city("tokyo").prior, "cpu", None)
    asked = pair["image_a"], pair["image_b"], Imagery(store, imagery)
    mine.match = misspelt  # type: ignore[attr-defined]
    with pytest.raises(InputError, match="raised NameError"):
        matching.points(*asked)
    mine.match = refused  # type: ignore[attr-defined]
    assert not len(matching.points(*asked)[0])


def test_pairs_that_a_matcher_refuses_are_rows_with_its_reason(
    mine: ModuleType, plan: Plan, extract: Callable[[], list[ArtifactRef]]
) -> None:
    mine.match = refused  # type: ignore[attr-defined]
    with pytest.raises(TooManyFailures, match=r"give a matcher .* another name.*too few corners"):
        extract()
    assert len(list(plan.open_store().artifacts("static_prior_part", "tokyo"))) == 2


def test_the_verb_tells_of_pairs_that_failed(
    mine: ModuleType,
    plan: Plan,
    extract: Callable[[], list[ArtifactRef]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls = itertools.count()
    mine.match = lambda *images: right(*images) if next(calls) else refused()  # type: ignore[attr-defined]
    extract()
    (joined,) = plan.open_store().artifacts("static_prior", "tokyo")
    monkeypatch.setattr(city, "done_or_run", lambda *_, **__: joined)
    done = CliRunner().invoke(app, ["priors", "tokyo", "--catalog", plan.catalog])
    assert "remark: 2 of 8 priors failed: 2 × the matcher" in done.stderr


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
