"""What `crosscity plan` says of a step goes by what the step reads, and by nothing else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from tasks.judging import steps_ahead as module
from tasks.judging.steps_ahead import steps_ahead
from tasks.steps.errors import InputError
from tasks.steps.plan import Plan, open_plan


class WithoutPriors:
    """A city of which all is there but its static priors."""

    start = object()

    def __init__(self, owner: str, seed: int, plan: Plan) -> None:
        self.owner, self.seed, self.plan = owner, seed, plan
        self.harvest = SimpleNamespace(pairs=None)

    @property
    def static_prior(self) -> object:
        raise InputError("tokyo has no static priors yet")

    def of_arm(self, arm: str) -> object:
        return self.static_prior if arm in ("full", "evidence") else object()


@pytest.mark.parametrize("arm", ["bn", "ga", "teacher", "fine_tuned", "source_free"])
def test_what_reads_no_prior_is_found_without_one(
    write_catalog: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arm: str,
) -> None:
    plan = open_plan(write_catalog(tmp_path))
    monkeypatch.setattr(module, "TrainedSegmenters", WithoutPriors)
    monkeypatch.setattr(module, "evaluation_of", lambda trained, arm: trained.of_arm(arm))
    monkeypatch.setattr(module, "files_have_changed", lambda *_: False)
    monkeypatch.setattr(module, "count_to_train_on", lambda *_: 5)

    def states(one: str) -> dict[str, str]:
        return {step.name: step.state for step in steps_ahead("tokyo", one, 0, plan)}

    assert {name for name, state in states(arm).items() if state != "found"} == {"static priors"}
    missing = {name for name, state in states("full").items() if state != "found"}
    assert missing == {"static priors", "adaptation full", "evaluation"}
