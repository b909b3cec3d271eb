"""Verbs that find everything done: no server, and a store that admits no writing."""

from __future__ import annotations

import errno
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from adapters.store.errors import StoreError
from adapters.store.local import LocalPlace
from flows.cli import city as verbs
from flows.cli.main import app

VERBS = [
    ("harvest", "tokyo"),
    ("priors", "tokyo"),
    ("adapt", "tokyo", "--arm", "full"),
    ("evaluate", "tokyo", "--arm", "full"),
    ("evaluate", "tokyo", "--arm", "pretrained"),
    ("report", "tokyo"),
]


class ServerStartedError(Exception):
    """A verb has started a server."""


@pytest.fixture
def copied(finished_run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The catalog of a finished run whose store is a copy; starting a server is an error."""
    shutil.copytree(finished_run.store, tmp_path / "store")
    catalog = tmp_path / "data_catalog.yaml"
    document = yaml.safe_load(finished_run.catalog.read_text(encoding="utf-8"))
    document["stores"]["local"]["url"] = "store"
    catalog.write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")

    def running(_catalog: Path) -> Any:
        raise ServerStartedError

    monkeypatch.setattr(verbs, "running", running)
    report = run("report", "tokyo", catalog=catalog)
    if report.exception is not None:  # a demo's report shows the arms of the demo alone
        _write_report(catalog)
    return catalog


def _write_report(catalog: Path) -> None:
    """What the flow `report-city` makes, without a server."""
    from tasks.judging.differences import compare_on_images, differences_identity
    from tasks.judging.safeguard import judge_adaptation, judgement_identity
    from tasks.pages.report import report_parts, shown_arm, write_report
    from tasks.steps.identity import required
    from tasks.steps.plan import open_plan
    from tasks.training.trained import TrainedSegmenters

    plan = open_plan(catalog)
    store, parts = plan.open_store(), report_parts("tokyo", 0, plan)
    arm = shown_arm(parts, "tokyo", plan)
    assert arm is not None
    start, adapted = TrainedSegmenters("tokyo", 0, plan).start, parts[f"segmenter-{arm}"]
    imagery = parts["imagery"]
    to_judge = (adapted, start, imagery, parts["pairs"], "tokyo", plan)
    judge_adaptation.fn(*to_judge)
    compare_on_images.fn(start, adapted, imagery, "tokyo", plan)
    parts["safeguard"] = required(store, judgement_identity(*to_judge))
    compared = differences_identity(start, adapted, imagery, "tokyo", plan)
    parts["differences"] = required(store, compared)
    write_report.fn(parts, "tokyo", 0, plan)


def test_a_report_without_the_comparison_of_two_segmenters_is_not_taken_for_the_whole(
    copied: Path,
) -> None:
    """A demo's report has no sections without labels: `report` has still something to write."""
    for path in sorted((copied.parent / "store" / "differences").rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    result = run("report", "tokyo", catalog=copied)
    assert isinstance(result.exception, ServerStartedError)


def run(*words: str, catalog: Path) -> Any:
    return CliRunner().invoke(app, [*words, "--catalog", str(catalog)])


def refuse_writing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every way in which a store on disk is written to fails, as on a file system mounted so."""

    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    for name in ("replace", "swap", "replace_from", "remove", "move", "publish", "check_writable"):
        assert callable(getattr(LocalPlace, name))
        monkeypatch.setattr(LocalPlace, name, refuse)


@pytest.mark.parametrize("words", VERBS, ids=" ".join)
def test_no_server_is_started_and_nothing_is_written(copied: Path, monkeypatch, words) -> None:
    refuse_writing(monkeypatch)
    for path in [copied.parent / "store", *(copied.parent / "store").rglob("*")]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    try:
        done = run(*words, catalog=copied)
    finally:
        for path in [copied.parent / "store", *(copied.parent / "store").rglob("*")]:
            path.chmod(0o755 if path.is_dir() else 0o644)
    assert done.exit_code == 0, (done.output, done.exception)
    assert "everything is in the store already" in done.output


def test_a_plan_is_read_from_such_a_store(copied: Path, monkeypatch) -> None:
    refuse_writing(monkeypatch)
    done = run("plan", "tokyo", "--arm", "full", catalog=copied)
    assert done.exit_code == 0, (done.output, done.exception)
    assert "to be made" not in done.output
    assert "evaluation" in done.output


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("imagery_part", VERBS[0]),
        ("illustration", VERBS[1]),
        ("prior_quality", VERBS[1]),
        ("adaptation", VERBS[2]),
        ("evaluation", VERBS[3]),
        ("report", VERBS[5]),
    ],
)
def test_what_is_missing_makes_the_flow_run(copied: Path, kind: str, words) -> None:
    folder = copied.parent / "store" / kind
    assert folder.is_dir(), sorted(path.name for path in folder.parent.iterdir())
    shutil.rmtree(folder)
    done = run(*words, catalog=copied)
    assert isinstance(done.exception, ServerStartedError), (done.output, done.exception)


def test_a_damaged_file_makes_the_flow_run(copied: Path) -> None:
    (path,) = (copied.parent / "store" / "pairs" / "tokyo").glob("*/*.parquet")
    path.write_bytes(path.read_bytes()[::-1])
    done = run("harvest", "tokyo", catalog=copied)
    assert isinstance(done.exception, ServerStartedError), (done.output, done.exception)


def test_another_setting_makes_the_flow_run(copied: Path) -> None:
    document = yaml.safe_load(copied.read_text(encoding="utf-8"))
    document["cities"]["tokyo"]["prior"]["superpixels"] = 50
    copied.write_text(yaml.safe_dump(document), encoding="utf-8")
    assert isinstance(run("priors", "tokyo", catalog=copied).exception, ServerStartedError)
    assert run("harvest", "tokyo", catalog=copied).exit_code == 0


def test_what_no_run_can_mend_is_said_before_a_server_starts(copied: Path) -> None:
    (manifest,) = (copied.parent / "store" / "pairs" / "tokyo").glob("*/artifact.json")
    document = json.loads(manifest.read_text(encoding="utf-8"))
    manifest.write_text(json.dumps({**document, "format": 99}), encoding="utf-8")
    for words in VERBS:
        fault = run(*words, catalog=copied).exception
        assert isinstance(fault, StoreError), fault
        assert "made by a newer version of this program" in str(fault)


@pytest.mark.parametrize("content", [b'{"refs', b'{"refs": {"pairs": {"kind": "../../etc"}}}'])
def test_a_damaged_selection_is_said_before_a_server_starts(copied: Path, content: bytes) -> None:
    selection = copied.parent / "store" / "current" / "tokyo" / "harvest.json"
    assert selection.is_file()
    selection.write_bytes(content)
    for words in VERBS:
        fault = run(*words, catalog=copied).exception
        assert isinstance(fault, StoreError), fault
        assert "harvest.json is damaged" in str(fault)
