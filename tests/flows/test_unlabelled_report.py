"""A city without labels gets a report, an evaluation and a check, as far as there is something."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="module")
def run(write_catalog, many_flows, tmp_path_factory) -> Any:
    """A verb on the city; the folder is `run.folder`."""
    folder = tmp_path_factory.mktemp("unlabelled")
    catalog = write_catalog(folder, city={"labels": None, "arm": "ga"})

    def verb(*words: object, code: int = 0) -> dict[str, Any]:
        done = many_flows(*words, "--catalog", catalog)
        assert done["code"] == code, done["err"]
        return done

    verb.folder = folder  # type: ignore[attr-defined]
    return verb


def checked(run: Any, condition: str, code: int = 0) -> str:
    """What `crosscity check` says."""
    done = run("check", "tokyo", "--fail-if", condition, code=code)
    return str(done["err"] if code == 2 else done["out"])


def _page(done: dict[str, Any]) -> Path:
    reported = re.search(r"^report: (.*report\.html)$", done["out"], re.MULTILINE)
    assert reported, done["out"]
    return Path(reported[1])


def _content(page: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(page.with_name("report.json").read_text(encoding="utf-8"))
    return found


@pytest.fixture(scope="module")
def report(run) -> Path:
    """The report at each stage: of nothing, of pairs alone, and at last of an adaptation."""
    refused = run("report", "tokyo", code=2)
    assert "run `crosscity harvest tokyo` first" in refused["err"]
    assert "there is no report of tokyo yet" in checked(run, "pairs<1", code=2)

    run("harvest", "tokyo")
    done = run("report", "tokyo")
    assert "; `crosscity adapt tokyo`" in done["err"]
    bare = _page(done)
    content = _content(bare)
    assert content["figures"]["pairs"] == 5
    assert content["arm"] is content["verdict"] is None
    text = bare.read_text(encoding="utf-8")
    assert "nothing was adapted to it yet" in text
    assert 'aria-label="Map of the city' in text
    assert "has no figure 'agreement'" in checked(run, "agreement<1", code=2)

    run("priors", "tokyo")
    told = run("adapt", "tokyo")["err"]
    assert "next: `crosscity report tokyo`" in told
    done = run("report", "tokyo")
    put_into_use = re.search(r"; `crosscity (promote tokyo [0-9a-f]{12})`", done["err"])
    assert put_into_use, done["err"]
    return _page(done)


def test_the_page_shows_what_can_be_seen_without_labels(report) -> None:
    content, text = _content(report), report.read_text(encoding="utf-8")
    figures = content["figures"]
    for name in ("agreement", "kappa", "confidence", "entropy", "information"):
        assert name in figures
        assert f"{name}_before" in figures
    assert 0 < figures["confidence"] <= 1
    assert sum(v for k, v in figures.items() if k.startswith("share.")) == pytest.approx(1)
    assert content["verdict"]["sentence"].replace("'", "&#39;") in text
    agreed = content["verdict"]["agreed"]["building"]
    assert "agreement of the two times of a pair before" in text
    assert f"<td>{agreed['before']:.3f}</td><td>{agreed['after']:.3f}</td>" in text
    assert len(re.findall(r"most different,", text)) == 6
    assert len(re.findall(r"evenly spread, \d", text)) == 6
    assert "learning rate" in text.lower()
    assert "Weights λ" in text
    assert "IoU by class" not in text
    stages = {stage["stage"]: stage for stage in content["stages"]}
    assert stages["adaptation"]["seconds"] > 0
    assert stages["static priors"]["artifacts"] == 4
    assert content["credits"][0]["licence"] == "CC0-1.0"


def test_the_page_is_one_file_that_loads_nothing(report, check_page) -> None:
    assert "data:image/" in check_page(report)


def test_a_second_report_finds_the_first(run, report) -> None:
    before = report.read_bytes()
    assert _page(run("report", "tokyo")) == report
    assert report.read_bytes() == before


def test_an_evaluation_without_labels_gives_what_can_be_seen(run, report) -> None:
    said = run("evaluate", "tokyo")["out"]
    assert "tokyo has no labels; on 5 pairs" in said
    figure = _content(report)["figures"]["agreement"]
    assert re.search(rf"^agreement .* {figure:.3f}$", said, re.MULTILINE)
    assert "tokyo has no labels" in run("evaluate", "tokyo", "--arm", "pretrained")["out"]


def test_a_check_fails_where_its_condition_holds(run, report) -> None:
    figure = _content(report)["figures"]["agreement"]
    assert "does not hold" in checked(run, f"agreement<{figure - 0.01}")
    assert "HOLDS" in checked(run, f"agreement<{figure + 0.01}", code=1)
    assert "cannot be read" in checked(run, "agreement<", code=2)
    assert "has no city 'rome'" in run("check", "rome", "--fail-if", "harmful", code=2)["err"]


def test_figures_are_asked_of_the_report_that_is_shown(run, report, write_catalog) -> None:
    """Settings that are set back find the report of before, which keeps its date."""
    city = {"labels": None, "arm": "ga"}

    def asked() -> str:
        done = run("check", "tokyo", "--fail-if", "pairs<1", "--json")
        assert "warning" not in done["err"]
        return str(json.loads(done["out"])["where"]).rpartition("/")[2]

    write_catalog(run.folder, city=city, trainings={"demo": {"safeguard": {"tolerance": 0.9}}})
    other = _page(run("report", "tokyo"))
    assert other != report
    assert asked() == other.parent.name
    write_catalog(run.folder, city=city)
    assert _page(run("report", "tokyo")) == report
    assert asked() == report.parent.name
    index = run.folder / "index"
    run("report", "--all", "--as-they-are", "-o", index)
    (tokyo,) = json.loads((index / "index.json").read_text(encoding="utf-8"))["cities"]
    uris = [one["uri"].rpartition("/")[2] for one in tokyo["reports"]]
    assert uris[:2] == [report.parent.name, other.parent.name]

    write_catalog(run.folder, city=city | {"prior": {"superpixels": 41}})
    told = run("check", "tokyo", "--fail-if", "pairs<1")["err"]
    assert "is not of what the catalog says and the store has now: `crosscity report" in told
    write_catalog(run.folder, city=city)
    none = run("check", "tokyo", "--fail-if", "pairs<1", "--seed", 7, code=2)["err"]
    assert "no report of tokyo with seed 7 yet: run `crosscity report tokyo --seed 7` first" in none


def test_two_reports_stand_side_by_side(
    run, report, tmp_path, check_page, shown_in_a_browser
) -> None:
    other = tmp_path / "report.json"
    content = _content(report)
    content["figures"]["agreement"] -= 0.125
    other.write_text(json.dumps(content), encoding="utf-8")
    said = run("compare", other, "tokyo")["out"]
    assert re.search(r"^agreement .* \+0\.125$", said, re.MULTILINE)
    page = tmp_path / "two.html"
    assert f"page: {page}" in run("compare", other, "tokyo", "-o", page)["out"]
    text = check_page(page)
    assert re.search(r">agreement</th>.*<td>\+0\.125</td>", text)
    assert "Class mixture" in text
    run("compare", other, "tokyo", "-o", page)  # writes over a page of its own
    shown_in_a_browser(page)
    page.write_text("mine", encoding="utf-8")
    assert "holds something else" in run("compare", other, "tokyo", "-o", page, code=2)["err"]
    assert page.read_text(encoding="utf-8") == "mine"
    other.write_text("{", encoding="utf-8")
    assert "is damaged" in run("compare", other, "tokyo", code=2)["err"]
    assert "cannot be read" in run("compare", tmp_path / "none.json", "tokyo", code=2)["err"]


def test_a_browser_shows_it_without_an_error(report, shown_in_a_browser) -> None:
    shown_in_a_browser(report)
