"""Verbs that find everything done: no server, and a store that admits no writing."""

from __future__ import annotations

import errno
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image
from typer.testing import CliRunner

from adapters.store.errors import StoreError
from adapters.store.local import LocalPlace
from flows import runner
from flows.cli import city as verbs
from flows.cli.application import app
from tasks.steps import announcing, artifact_task

VERBS = [
    ("harvest", "tokyo"),
    ("priors", "tokyo"),
    ("adapt", "tokyo", "--arm", "full"),
    ("evaluate", "tokyo", "--arm", "full"),
    ("evaluate", "tokyo", "--arm", "pretrained"),
    ("report", "tokyo"),
    ("pretrain", "compact"),
    ("watch", "tokyo"),
]


class ServerStartedError(Exception):
    """A verb has started a server."""


@pytest.fixture(scope="module")
def reported(finished_run, tmp_path_factory) -> Path:
    """The catalog of a finished run whose store is a copy, with all that `report` makes."""
    folder = tmp_path_factory.mktemp("reported")
    shutil.copytree(finished_run.store, folder / "store")
    catalog = folder / "data_catalog.yaml"
    document = yaml.safe_load(finished_run.catalog.read_text(encoding="utf-8"))
    document["stores"]["local"]["url"] = "store"
    catalog.write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")
    _write_report(catalog)  # a demo's report shows the arms of the demo alone
    return catalog


@pytest.fixture
def copied(reported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of `reported`; starting a server is an error."""
    shutil.copytree(reported.parent, tmp_path, dirs_exist_ok=True)

    def running(_catalog: Path) -> Any:
        raise ServerStartedError

    monkeypatch.setattr(verbs, "running", running)
    return tmp_path / reported.name


def _write_report(catalog: Path) -> None:
    """What the flow `report-city` makes, without a server."""
    from tasks.judging.differences import compare_on_images, differences_identity
    from tasks.judging.evaluated import tested_on
    from tasks.judging.safeguard import judge_adaptation, judgement_identity
    from tasks.judging.worst_images import find_worst_images, worst_identity
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
    trained = TrainedSegmenters("tokyo", 0, plan)
    scored, tested = parts[f"evaluation-{arm}"], tested_on(trained, arm)
    worst = (start, adapted, scored, tested, arm, 0, "tokyo", plan)
    find_worst_images.fn(*worst)
    parts["worst_images"] = required(store, worst_identity(*worst))
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


@pytest.fixture
def done_here(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """done_here(flow, ...): a flow carried out in this process, its steps as plain calls."""

    def carry_out(flow: Any, **given: Any) -> Any:
        with monkeypatch.context() as patched:
            for module in (artifact_task, runner):
                patched.setattr(module, "is_looking", lambda: True)
            return flow.fn(**given)

    return carry_out


def _with(catalog: Path, **sections: Any) -> None:
    document = yaml.safe_load(catalog.read_text(encoding="utf-8"))
    for name, entries in sections.items():
        document.setdefault(name, {}).update(entries)
    catalog.write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")


def _flows() -> dict[str, tuple[Any, dict[str, Any]]]:
    """By verb, its flow and arguments."""
    from flows.adapt_transfer import adapt_transfer
    from flows.paper_tables import paper_tables
    from flows.predict_city import predict_city
    from flows.readapt_city import readapt_city

    tables = {"cities": ["tokyo"], "transfers": None, "seeds": [0], "folds": 2}
    return {
        "readapt": (readapt_city, {"city": "tokyo"}),
        "predict": (predict_city, {"city": "tokyo"}),
        "transfer": (adapt_transfer, {"transfer": "abroad", "arm": "bn"}),
        "paper-tables": (paper_tables, tables),
    }


@pytest.mark.parametrize(
    "words",
    [
        "readapt tokyo",
        "readapt tokyo, predict tokyo",
        "transfer abroad --arm bn",
        pytest.param("paper-tables --city tokyo --seed 0 --folds 2", marks=pytest.mark.slow),
    ],
)
def test_verbs_that_a_demo_does_not_run_start_a_server_only_while_there_is_something_to_do(
    copied: Path, done_here, monkeypatch, words: str
) -> None:
    abroad = {"kind": "simulated", "style": "tokyo", "image_size": [64, 128]}
    _with(
        copied,
        datasets={"streets": {**abroad, "train": 2, "val": 1, "test": 1}},
        transfers={"abroad": {"segmenter": "compact", "target": "streets", "training": "demo"}},
    )
    for line in words.split(", "):
        before = run(*line.split(), catalog=copied)
        assert isinstance(before.exception, ServerStartedError), (line, before.output)
        flow, given = _flows()[line.split()[0]]
        done_here(flow, **given, catalog=str(copied))
        with monkeypatch.context() as patched:
            refuse_writing(patched)
            after = run(*line.split(), catalog=copied)
        assert after.exit_code == 0, (line, after.output, after.exception)
        assert "everything is in the store already" in after.output


def test_readapt_that_would_promote_another_segmenter_runs(copied: Path, done_here) -> None:
    from flows.readapt_city import readapt_city
    from tasks.judging.promotion import put_in_use
    from tasks.steps.plan import open_plan
    from tasks.training.trained import TrainedSegmenters

    done_here(readapt_city, city="tokyo", catalog=str(copied))
    assert run("readapt", "tokyo", catalog=copied).exit_code == 0
    plan = open_plan(copied, city="tokyo")
    put_in_use(plan.open_store(), "tokyo", TrainedSegmenters("tokyo", 0, plan).of_arm("ga"))
    assert isinstance(run("readapt", "tokyo", catalog=copied).exception, ServerStartedError)


def test_a_folder_is_listed_without_a_server(
    write_catalog, tmp_path, done_here, monkeypatch
) -> None:
    from flows.harvest_city import harvest_city
    from flows.watch_city import watch_city

    train = tmp_path / "streets" / "Tokyo" / "Images" / "Train"
    train.mkdir(parents=True)

    def put(place: int) -> None:
        for time in (0, 1):
            pixels = np.random.default_rng([place, time]).integers(0, 256, (40, 80, 3))
            path = train / f"pano_{place:05d}_{time}_90.png"
            Image.fromarray(pixels.astype(np.uint8)).save(path)

    def running(_catalog: Path) -> Any:
        raise ServerStartedError

    monkeypatch.setattr(verbs, "running", running)
    put(1)
    put(2)
    provider = {"kind": "folder", "root": "streets", "licence": "CC0-1.0", "attribution": "x"}
    catalog = write_catalog(tmp_path, city={"provider": provider})
    assert isinstance(run("harvest", "tokyo", catalog=catalog).exception, ServerStartedError)
    done_here(harvest_city, city="tokyo", catalog=str(catalog))
    for verb in ("harvest", "watch"):
        found = run(verb, "tokyo", catalog=catalog)
        assert found.exit_code == 0, (verb, found.output, found.exception)
    assert "nothing new in tokyo" in found.output
    put(3)
    for verb in ("harvest", "watch"):
        assert isinstance(run(verb, "tokyo", catalog=catalog).exception, ServerStartedError)
    monkeypatch.setattr(announcing, "send", lambda _: None)
    done_here(watch_city, city="tokyo", catalog=str(catalog))
    assert run("watch", "tokyo", catalog=catalog).exit_code == 0


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
    (path,) = (copied.parent / "store" / "pairs" / "tokyo").glob("*/pairs.parquet")
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
    for words in (one for one in VERBS if "tokyo" in one):
        fault = run(*words, catalog=copied).exception
        assert isinstance(fault, StoreError), fault
        assert "made by a newer version of this program" in str(fault)


@pytest.mark.parametrize("content", [b'{"refs', b'{"refs": {"pairs": {"kind": "../../etc"}}}'])
def test_a_damaged_selection_is_said_before_a_server_starts(copied: Path, content: bytes) -> None:
    selection = copied.parent / "store" / "current" / "tokyo" / "harvest.json"
    assert selection.is_file()
    selection.write_bytes(content)
    for words in (one for one in VERBS if "tokyo" in one):
        fault = run(*words, catalog=copied).exception
        assert isinstance(fault, StoreError), fault
        assert "harvest.json is damaged" in str(fault)
