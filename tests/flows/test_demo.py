"""A miniature of the whole pipeline on a real Prefect server."""

from __future__ import annotations

import hashlib
import html.parser
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from crosscity.labels import CROSS_CITY_CLASSES

ARMS = ["Pre-trained", "GA", "GA+CA", "Full method", "Full + self-training", "Fine-tuned"]
COLUMNS = [
    "Road",
    "SW",
    "BLDG",
    "TL",
    "TS",
    "VEG",
    "Sky",
    "Person",
    "Rider",
    "Car",
    "Bus",
    "Motor.",
    "Bicycle",
]


class Page(html.parser.HTMLParser):
    """Tables as rows of texts, and everything that a browser would load."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tables: list[list[list[str]]] = []
        self.loaded: list[str] = []
        self.links: list[str] = []
        self.headings: list[str] = []
        self._inside_cell = self._inside_heading = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        addresses = [v or "" for name, v in attrs if name in {"src", "href", "srcset", "data"}]
        if tag == "a":  # followed by a click, not loaded
            self.links += [each for each in addresses if not each.startswith("#")]
        elif tag == "use":  # a mark of a chart, which stands in the page itself
            assert all(each.startswith("#") for each in addresses)
        else:
            self.loaded += addresses
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in {"td", "th"}:
            self.tables[-1][-1].append("")
            self._inside_cell = True
        elif tag == "h2":
            self.headings.append("")
            self._inside_heading = True

    def handle_endtag(self, tag: str) -> None:
        self._inside_cell = self._inside_cell and tag not in {"td", "th"}
        self._inside_heading = self._inside_heading and tag != "h2"

    def handle_data(self, data: str) -> None:
        if self._inside_cell:
            self.tables[-1][-1][-1] += data
        elif self._inside_heading:
            self.headings[-1] += data


def test_the_report_loads_nothing_from_elsewhere(finished_run):
    text = finished_run.report()
    page = Page(text)
    assert page.loaded, "the report has no pictures"
    assert all(address.startswith("data:image/") for address in page.loaded)
    assert page.links == ["credits.html", "report.json"]  # lie beside it
    assert "<script" not in text
    assert not re.search(r"@import|url\(", text)
    assert "file:" not in text
    assert str(finished_run.store) not in text


def test_the_table_has_the_papers_arms_and_columns(finished_run):
    first = Page(finished_run.report()).tables[0]
    assert first[0] == ["segmenter", "mIoU", "gap closed, %", *COLUMNS]
    assert [road_class.short for road_class in CROSS_CITY_CLASSES] == COLUMNS
    assert [row[0] for row in first[1:]] == ARMS
    for row in first[1:]:
        values = [float(text) for text in (row[1], *row[3:]) if text != "–"]
        assert values
        assert all(0 <= value <= 100 for value in values)
        total, _, *by_class = row[1:]
        known = [float(text) for text in by_class if text != "–"]
        assert float(total) == pytest.approx(sum(known) / len(known), abs=0.11)


def test_the_terminal_shows_the_same_table_as_the_report(finished_run):
    first = Page(finished_run.report()).tables[0]
    lines = [line for line in finished_run.stdout.splitlines() if line.startswith(tuple(ARMS))]
    by_name = {row[0]: [*row[3:], row[1]] for row in first[1:]}  # mIoU is last there
    assert len(lines) == len(ARMS)
    for line, name in zip(lines, ARMS, strict=True):
        assert line.startswith(name)
        assert line.removeprefix(name).split() == by_name[name]


def test_the_terminal_tells_progress_report_and_dashboard(finished_run):
    assert re.search(r"^harvest tokyo: 14/14", finished_run.stderr, re.MULTILINE)
    assert re.search(r"^priors tokyo: 5/5", finished_run.stderr, re.MULTILINE)
    for arm in ("full", "self_training"):
        assert re.search(rf"^adapt tokyo {arm}: 6/6", finished_run.stderr, re.MULTILINE)
    reported = re.search(r"^report: (.*report\.html)$", finished_run.stdout, re.MULTILINE)
    assert reported
    assert Path(reported[1]).is_file()
    assert "make dashboard" in finished_run.stdout.splitlines()[-1]


def test_the_report_has_figure_panels_lineage_and_credits(finished_run):
    text = finished_run.report()
    page = Page(text)
    assert len(page.loaded) == 1 + 2  # the prior's figure, a panel for each test image
    (lineage,) = (table for table in page.tables if table[0][0] == "artifact")
    assert lineage[0] == ["artifact", "key", "made", "rows", "made of"]
    kinds = {row[0].split()[0] for row in lineage[1:]}
    assert kinds >= {
        "captures",
        "imagery_part",
        "imagery",
        "pairs",
        "static_prior",
        "labelled",
        "segmenter",
        "adaptation",
        "evaluation",
    }
    assert "CC0-1.0" in text
    assert re.search(r"superpixels with more than \d+ matched pixels, at least \d+ % of each", text)
    for artifact in finished_run.store.glob("adaptation/tokyo/*"):
        assert artifact.name[:12] in text


def test_every_artifact_is_whole_and_names_inputs_that_exist(finished_run):
    manifests = [json.loads(p.read_bytes()) for p in finished_run.store.glob("*/*/*/artifact.json")]
    digests = _digests(finished_run.store)
    assert len(manifests) > 25
    for manifest in manifests:
        folder = finished_run.store / manifest["kind"] / manifest["city"] / manifest["key"]
        for name, entry in manifest["files"].items():
            data = (folder / name).read_bytes()
            assert hashlib.sha256(data).hexdigest() == entry["sha256"]
        assert set(manifest["inputs"].values()) <= digests


def _digests(folder: Path) -> set[str]:
    from adapters.store import Store

    return {ref.digest for ref in Store(folder).artifacts()}


def test_progress_is_left_by_no_finished_run(finished_run):
    assert not [path for path in finished_run.store.glob(".progress/**/*") if path.is_file()]
    assert not list(finished_run.store.glob(".drafts/*"))


def test_a_second_run_finds_everything_and_makes_nothing(finished_run, waiting):
    before = _contents(finished_run.store)
    program = (
        "import sys; from flows.demo import demo; "
        "demo(city='tokyo', catalog=sys.argv[1]); "
        "from prefect.logging.handlers import APILogWorker; APILogWorker.drain_all(timeout=10)"
    )
    server = finished_run.server
    earlier = {run["id"] for run in server.flow_runs(finished_run.catalog)}
    subprocess.run(
        [sys.executable, "-c", program, str(finished_run.catalog)],
        check=True,
        env=server.environment,
    )
    runs = [r for r in server.flow_runs(finished_run.catalog) if r["id"] not in earlier]
    names = {"demo-tokyo", "harvest-tokyo", "priors-tokyo", "adapt-tokyo-full"}
    assert names <= {run["name"] for run in runs}

    def states() -> dict[str, str]:
        return {
            task["name"]: task["state_name"]
            for run in runs
            for task in server.task_runs(run["id"])
            if not task["state"]["state_details"].get("child_flow_run_id")
        }

    assert {run["state_type"] for run in runs} == {"COMPLETED"}
    waiting(
        lambda: len(states()) > 20 and all(server.tasks_have_ended(run["id"]) for run in runs),
        "the server knows of the tasks",
    )
    assert set(states().values()) == {"Cached"}
    assert _contents(finished_run.store) == before


def test_a_second_demo_needs_no_server(finished_run, crosscity, tmp_path):
    home = tmp_path / "prefect"
    again = crosscity(
        "demo", "--catalog", finished_run.catalog, environment={"PREFECT_HOME": str(home)}
    )
    assert again.returncode == 0, again.stderr
    assert again.stdout == finished_run.stdout
    assert "everything is in the store already" in again.stderr
    assert not (home / "server.log").exists(), "a server was started"


def test_a_demo_whose_artifact_was_deleted_is_not_finished(finished_run, tmp_path):
    import shutil

    from tasks.pages.demo import finished_demo
    from tasks.steps.plan import open_plan

    copy = tmp_path / "copy"
    shutil.copytree(finished_run.catalog.parent, copy)
    plan = open_plan(copy / "data_catalog.yaml")
    assert finished_demo("tokyo", 0, plan) is not None
    assert finished_demo("tokyo", 1, plan) is None
    (weights,) = copy.glob("store/static_prior/tokyo/*/part-00000.parquet")
    os.truncate(weights, 10)
    assert finished_demo("tokyo", 0, plan) is None


def _contents(store: Path) -> dict[str, str]:
    """Hash of every file of every artifact, manifests (with their times) included."""
    return {
        str(path.relative_to(store)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(store.glob("*/*/**/*"))
        if path.is_file()
    }


@pytest.mark.parametrize(
    ("flow_run", "wanted"),
    [
        ("harvest-tokyo", {"progress", "table", "markdown"}),
        ("priors-tokyo", {"progress", "table", "image", "markdown"}),
        ("adapt-tokyo-full", {"progress", "table", "markdown"}),
        ("adapt-tokyo-fine_tuned", {"progress", "table", "markdown"}),
        ("evaluate-tokyo-full", {"progress", "table", "image", "markdown"}),
        ("demo-tokyo", {"table", "image", "markdown"}),
    ],
)
def test_each_flow_run_shows_its_work_in_the_dashboard(finished_run, flow_run, wanted):
    runs = finished_run.server.flow_runs(finished_run.catalog)
    first = [run for run in runs if run["name"] == flow_run][-1]
    artifacts = finished_run.server.artifacts(first["id"])
    assert {artifact["type"] for artifact in artifacts} >= wanted
    for artifact in artifacts:
        if artifact["type"] == "progress":
            assert float(artifact["data"]) == 100.0
        if artifact["type"] == "image":
            assert artifact["data"].startswith("data:image/jpeg;base64,")
            assert len(artifact["data"]) < 130_000
        if artifact["type"] == "table":
            assert json.loads(artifact["data"])
