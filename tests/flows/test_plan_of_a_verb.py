"""A verb and the flow that it runs work by one plan, whatever is saved between the two."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from flows.cli import already, city
from tasks.steps.plan import open_plan


class Run:
    """Stands for a flow: a call, and the function that is gone through first."""

    def __init__(self, fn: Callable[..., Any]) -> None:
        self.fn = fn

    def __call__(self, **given: Any) -> Any:
        return self.fn(**given)


@pytest.fixture(autouse=True)
def nothing_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(already, "find_done", lambda *_: None)
    monkeypatch.setattr(city, "running", lambda _catalog: nullcontext())


def test_a_catalog_saved_after_the_verb_has_read_it_changes_nothing(
    write_catalog: Callable[..., Path], tmp_path: Path
) -> None:
    catalog = write_catalog(tmp_path)
    plan = open_plan(catalog, None, city="tokyo")
    seen: list[Any] = []

    def run(**_: Any) -> Any:
        write_catalog(tmp_path, city={"places": 9})
        seen.append(open_plan(str(catalog), None, city="tokyo"))
        return seen[0]

    given = {"catalog": str(catalog), "compute": None}
    city.done_or_run(Run(run), given, plan, lambda one: [one], city="tokyo")  # type: ignore[arg-type]
    assert seen[0] is plan
    assert open_plan(catalog, None, city="tokyo").city("tokyo").places == 9


@pytest.mark.parametrize("about", [{"city": "tokyo"}, {"transfer": "t"}])
def test_a_plan_of_something_else_is_read_anew(
    write_catalog: Callable[..., Path], tmp_path: Path, about: dict[str, str]
) -> None:
    catalog = write_catalog(
        tmp_path,
        transfers={"t": {"segmenter": "compact", "target": "frankfurt", "training": "demo"}},
    )
    plan = open_plan(catalog, None, **about)

    def run(**_: Any) -> Any:
        return [open_plan(catalog, None, city="tokyo"), open_plan(catalog, None, transfer="t")]

    given = {"catalog": str(catalog), "compute": None}
    found = city.done_or_run(Run(run), given, plan, lambda one: [one], **about)  # type: ignore[arg-type]
    assert [one is plan for one in found] == ["city" in about, "transfer" in about]
