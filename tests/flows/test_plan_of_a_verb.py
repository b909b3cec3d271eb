"""A verb and the flow that it runs work by one plan, whatever is saved between the two."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import pytest

from flows.cli import already, city
from tasks.steps.plan import open_plan


def test_a_catalog_saved_after_the_verb_has_read_it_changes_nothing(
    write_catalog, tmp_path, monkeypatch
):
    catalog = write_catalog(tmp_path)
    plan = open_plan(catalog, None, city="tokyo")
    seen: list[Any] = []

    def run() -> Any:
        write_catalog(tmp_path, city={"places": 9})
        seen.append(open_plan(str(catalog), None, city="tokyo"))
        return seen[0]

    monkeypatch.setattr(already, "find_finished", lambda *_: None)
    monkeypatch.setattr(city, "running", lambda _catalog: nullcontext())
    city.found_or_made(lambda: None, run, plan, None, city="tokyo")
    assert seen[0] is plan
    assert open_plan(catalog, None, city="tokyo").city("tokyo").places == 9


@pytest.mark.parametrize("about", [{"city": "tokyo"}, {"transfer": "t"}])
def test_a_plan_of_something_else_is_read_anew(write_catalog, tmp_path, monkeypatch, about):
    catalog = write_catalog(
        tmp_path,
        transfers={"t": {"segmenter": "compact", "target": "frankfurt", "training": "demo"}},
    )
    plan = open_plan(catalog, None, **about)
    monkeypatch.setattr(already, "find_finished", lambda *_: None)
    monkeypatch.setattr(city, "running", lambda _catalog: nullcontext())
    found = city.found_or_made(
        lambda: None,
        lambda: [open_plan(catalog, None, city="tokyo"), open_plan(catalog, None, transfer="t")],
        plan,
        None,
        **about,
    )
    assert [one is plan for one in found] == ["city" in about, "transfer" in about]
