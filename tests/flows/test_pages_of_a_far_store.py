"""Verbs that show a page take what belongs to it by name: of a far store, files lie apart."""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from adapters.store import ArtifactRef, Store
from flows.cli import paper, report

FILES = {
    "report.html": "<p>a report</p>",
    "report.json": json.dumps({"arm": None, "figures": {}, "remarks": [], "missing": []}),
    "table.txt": "class  IoU\n",
    "tables.html": "<p>tables</p>",
    "tables.md": "| class | IoU |\n",
    "numbers.parquet": "numbers",
}


@pytest.fixture
def plan(tmp_path: Path) -> Any:
    store = Store(f"memory://{uuid.uuid4().hex}/store", cache_dir=tmp_path / "cache")
    return SimpleNamespace(open_store=lambda: store, transfers={"both": None})


@pytest.fixture
def made(plan: Any) -> ArtifactRef:
    where = ("report", "both", "key")
    with plan.open_store().draft(*where, inputs=[], parameters={}, version="1") as draft:
        for name, content in FILES.items():
            draft.file(name).write_text(content, encoding="utf-8")
    return draft.ref


def test_the_report_of_a_city_says_what_comes_next(plan: Any, made: ArtifactRef) -> None:
    assert report._next_command("both", made, plan) == "crosscity adapt both"


def test_the_report_of_a_city_does_not_ask_to_use_what_looks_harmful(
    plan: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    verdict = {"keep": "before", "sentence": "The adaptation looks harmful."}
    content = {"arm": "ga", "verdict": verdict}
    with plan.open_store().draft(
        "report", "town", "key", inputs=[], parameters={}, version="1"
    ) as d:
        d.file("report.json").write_text(json.dumps(content), encoding="utf-8")
    start = SimpleNamespace(key="0123456789abcdef")
    trained = SimpleNamespace(start=start)
    monkeypatch.setattr("tasks.training.trained.TrainedSegmenters", lambda *_: trained)
    said = report._next_of_city("town", 0, d.ref, plan)
    assert said == (
        "the segmenter before looks better: `crosscity promote town 0123456789ab` puts it into use"
    )


def test_the_report_of_a_transfer_shows_its_table(plan, made, monkeypatch, capsys) -> None:
    monkeypatch.setattr(report, "plan_of", lambda *_: plan)
    monkeypatch.setattr(report, "done_or_run", lambda *_, **__: made)
    report._report_one("both", 0, Path("data_catalog.yaml"), None)
    assert "class  IoU" in capsys.readouterr().out


def test_a_transfer_shows_its_figures_and_its_table(plan, made, monkeypatch) -> None:
    from flows.report_transfer import report_transfer_by

    monkeypatch.setattr(report_transfer_by, "fn", lambda *_: made)
    page, content, table = paper._shown("both", "ga_ca", 0, plan)
    assert page.read_text(encoding="utf-8") == FILES["report.html"]
    assert content["missing"] == []
    assert table == "class  IoU"


def test_the_papers_tables_are_shown_and_their_numbers_named(
    plan, made, monkeypatch, capsys
) -> None:
    import flows.paper_tables  # noqa: F401 - modules that load now would keep what is patched below

    monkeypatch.setattr(paper, "done_or_run", lambda *_: made)
    monkeypatch.setattr("tasks.steps.plan.open_plan", lambda *_, **__: plan)
    paper.paper_tables(None, None, None, 10, Path("data_catalog.yaml"), None)
    said = capsys.readouterr()
    assert "| class | IoU |" in said.out
    named = next(word for word in said.err.split() if word.endswith("numbers.parquet"))
    assert Path(named).read_text(encoding="utf-8") == "numbers"
