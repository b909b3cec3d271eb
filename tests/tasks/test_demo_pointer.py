"""A finished demo is found only while it is the demo that would be run."""

from __future__ import annotations

from dataclasses import replace

import pytest

from crosscity.adaptation import PRESETS
from tasks.pages import demo
from tasks.pages.demo import demo_name
from tasks.steps.plan import open_plan


def test_what_a_demo_depends_on_is_in_its_name(write_catalog, tmp_path, monkeypatch):
    usual = open_plan(write_catalog(tmp_path / "a"))
    other = open_plan(write_catalog(tmp_path / "b", city={"places": 9}))
    name = demo_name("tokyo", 0, usual)
    assert demo_name("tokyo", 0, usual) == name
    assert len({name, demo_name("tokyo", 1, usual), demo_name("tokyo", 0, other)}) == 3
    with monkeypatch.context() as patch:
        patch.setitem(PRESETS, "demo", replace(PRESETS["demo"], lambda_global=0.07))
        assert demo_name("tokyo", 0, usual) != name
    with monkeypatch.context() as patch:
        patch.setattr(demo, "DEMO_ARMS", demo.DEMO_ARMS[:-1])
        assert demo_name("tokyo", 0, usual) != name
    assert demo_name("tokyo", 0, usual) == name


@pytest.mark.parametrize("seed", [0, 7])
def test_nothing_is_finished_in_an_empty_store(write_catalog, tmp_path, seed):
    assert demo.finished_demo("tokyo", seed, open_plan(write_catalog(tmp_path))) is None
