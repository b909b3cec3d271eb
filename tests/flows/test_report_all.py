"""`crosscity report --all`: every city with its history, whatever is damaged or missing in one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from adapters.store import ArtifactRef, Selection, Store
from flows.cli import asked_report
from flows.cli.city import _show_signals
from flows.cli.main import main
from tasks.harvesting.current import HARVEST
from tasks.judging import promotion
from tasks.judging.city_history import IN_USE, NOT_PROMOTED, REJECTED, WAS_IN_USE, city_history
from tasks.pages.figures import REPORT_FORMAT
from tasks.steps.commands import with_seed
from tasks.steps.plan import open_plan


def _made(
    store: Store, kind: str, number: int, summary: dict[str, Any] | None = None, **given: Any
) -> ArtifactRef:
    """An artifact of tokyo with one file, `text` in `name`."""
    key = f"{number:x}".rjust(24, "a")
    files = given.pop("files", {"data.bin": key})
    with store.draft(
        kind,
        "tokyo",
        key,
        inputs=given.pop("inputs", {}),
        parameters=given,
        version="1",
    ) as draft:
        for name, text in files.items():
            (draft.path / name).write_text(text, encoding="utf-8")
        draft.summary = summary or {}
        draft.rows = 12
    return draft.ref


@pytest.fixture
def site(write_catalog: Any, tmp_path: Path) -> Path:
    """A catalog of which rome has nothing, and tokyo four adaptations, a verdict and a report."""
    catalog: Path = write_catalog(tmp_path)
    entries = yaml.safe_load(catalog.read_text(encoding="utf-8"))
    entries["cities"]["rome"] = {**entries["cities"]["tokyo"], "seed": 9}
    catalog.write_text(yaml.safe_dump(entries, sort_keys=False), encoding="utf-8")

    store = Store(tmp_path / "store")
    imagery = _made(store, "imagery", 1)
    pairs = _made(store, "pairs", 2, {"train": 5, "test": 2})
    store.switch(HARVEST, "tokyo", Selection({"imagery": imagery, "pairs": pairs}))
    by_arm = {
        arm: _made(store, "adaptation", 10 + at, arm=arm, seed=0)
        for at, arm in enumerate(("bn", "ga", "ga_ca", "full"))
    }
    _made(store, "evaluation", 3, {"miou": 0.5}, inputs={"segmenter": by_arm["full"].digest})
    _made(store, "evaluation", 6, {"miou": 0.4}, inputs={"segmenter": by_arm["ga"].digest})
    judged = {"keep": "before", "sentence": "It looks harmful <b>."}
    _made(store, "safeguard", 4, judged, inputs={"adaptation": by_arm["ga_ca"].digest})
    content = {
        "format": REPORT_FORMAT,
        "city": "tokyo",
        "arm": "full",
        "figures": {"miou_before": 0.4, "miou": 0.5, "agreement": 0.9},
        "verdict": None,
    }
    files = {"report.html": "<!doctype html>the page", "report.json": json.dumps(content)}
    _made(store, "report", 5, files=files, seed=0)
    for arm in ("ga", "full"):
        promotion.put_in_use(store, "tokyo", by_arm[arm], reason=f"try {arm}")
    promotion.pin(store, "tokyo", "<i>for a demonstration</i>")
    return catalog


@pytest.fixture
def run(site: Path, capsys: pytest.CaptureFixture[str]) -> Any:
    """`crosscity report` in this process: code, output, errors."""

    def verb(*words: object) -> tuple[int, str, str]:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main(["report", *map(str, words), "--catalog", str(site)])
        out, err = capsys.readouterr()
        assert "Traceback" not in err
        return int(str(ended.value.code or 0)), out, err

    return verb


def _index(folder: Path) -> dict[str, Any]:
    content = json.loads((folder / "index.json").read_text(encoding="utf-8"))
    return {entry["name"]: entry for entry in [*content["cities"], *content["transfers"]]}


ALL = ("--all", "--as-they-are", "-o")


def test_a_condition_that_holds_names_the_page_where_it_lies(
    site: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["check", "tokyo", "--fail-if", "miou>0.4", "--catalog", str(site)])
    assert ended.value.code == 1
    said = capsys.readouterr().err.splitlines()[-1]
    page = Path(said.removeprefix("next: look at "))
    assert page.read_text(encoding="utf-8").endswith("the page")


def test_a_condition_is_not_asked_of_an_old_report_without_a_word(
    site: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def said(condition: str) -> str:
        capsys.readouterr()
        with pytest.raises(SystemExit):
            main(["check", "tokyo", "--fail-if", condition, "--quiet", "--catalog", str(site)])
        return capsys.readouterr().err

    assert "newer" not in said("miou>0.4"), "nothing was made since"
    store = Store(site.parent / "store")
    _made(store, "adaptation", 20, arm="bn", seed=1)  # of no consequence
    assert "newer" not in said("miou>0.4")
    later = _made(store, "adaptation", 21, arm="full", seed=1)
    promotion.put_in_use(store, "tokyo", later)
    for condition in ("miou>0.4", "agrement>0.4"):  # also beside what the report does not have
        warned = said(condition)
        assert f"warning: {later.uri} is newer than report/tokyo/" in warned
        assert "`crosscity report tokyo` writes a new one" in warned


def test_the_name_of_a_recipe_stands_apart_from_what_is_beside_it(
    site: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = open_plan(site)
    names = ("agreement", "kappa", "entropy", "information")
    signals: dict[str, Any] = {"pairs": 4, "points": 9}
    signals |= {name: {"before": 0.25, "after": 0.5} for name in names}
    judged = _made(plan.open_store(), "safeguard", 30, {"signals": signals, "sentence": "No harm."})
    _show_signals("tokyo", "few-labels-lisbon", 0, judged, plan)
    header, first = capsys.readouterr().out.splitlines()[1:3]
    assert header.split() == ["pre-trained", "few-labels-lisbon"]
    assert len(header) == len(first), "figures end below their names"


@pytest.mark.parametrize("seed", [0, 1])
def test_what_follows_an_adaptation_is_of_its_seed(seed: int) -> None:
    more = f" --seed {seed}" if seed else ""
    assert with_seed("crosscity report tokyo", seed) == f"crosscity report tokyo{more}"
    assert with_seed("crosscity adapt tokyo", seed) == f"crosscity adapt tokyo{more}"


def test_the_history_says_what_became_of_each_adaptation(site: Path) -> None:
    history = city_history(Store(site.parent / "store"), "tokyo")
    assert {one.arm: one.state for one in history.segmenters} == {
        "bn": NOT_PROMOTED,
        "ga": WAS_IN_USE,
        "ga_ca": REJECTED,
        "full": IN_USE,
    }
    used = history.used()
    assert used is not None
    assert (used.arm, used.miou, used.seed) == ("full", 0.5, 0)
    assert [change["action"] for change in history.changes] == ["pin", "promote", "promote"]
    assert history.pinned is not None


def test_the_index_has_every_city(
    run: Any, site: Path, check_page: Any, shown_in_a_browser: Any
) -> None:
    folder = site.parent / "out"
    code, out, _ = run(*ALL, folder)
    assert code == 0
    assert "rome: nothing yet, 0 reports: " in out
    found = _index(folder)
    assert found["rome"]["state"] == "nothing yet"
    assert "crosscity harvest rome" in found["rome"]["said"]
    tokyo = found["tokyo"]
    assert tokyo["in_use"]["arm"] == "full"
    assert tokyo["harvest"]["pairs"] == 5
    assert [one["action"] for one in tokyo["changes"]] == ["pin", "promote", "promote"]
    (report,) = tokyo["reports"]
    assert report["figures"] == {"miou_before": 0.4, "miou": 0.5, "agreement": 0.9}
    assert (folder / report["page"]).read_text(encoding="utf-8").endswith("the page")
    assert (folder / report["page"]).with_name("report.json").is_file()
    text = check_page(folder / "index.html")
    assert "It looks harmful &lt;b&gt;." in text
    assert 'aria-label="mIoU of 2 adaptations from ' in text, "scores over dates"
    assert "<td>0.900</td>" in text, "agreement as the report has it"
    assert "&lt;i&gt;for a demonstration" in text
    assert "<code>crosscity harvest rome</code>" in text
    assert f'href="{report["page"]}"' in text
    told = json.loads(run(*ALL, folder, "--json")[1])
    assert told["cities"]["rome"] == "nothing yet"
    assert told["where"] == str(folder / "index.html")
    shown_in_a_browser(folder / "index.html")


def test_damage_in_one_city_stops_no_other(run: Any, site: Path) -> None:
    folder, store = site.parent / "out", site.parent / "store"
    (page,) = store.glob("report/tokyo/*/report.html")
    page.chmod(0o600)
    page.write_bytes(page.read_bytes()[:-1] + b"!")
    code, _, err = run(*ALL, folder)
    assert code == 1
    assert "crosscity: tokyo: " in err
    found = _index(folder)
    assert found["tokyo"]["state"] == "damaged"
    assert "report.html" in found["tokyo"]["problems"][0]
    assert found["tokyo"]["segmenters"], "what is whole is shown"
    assert found["rome"]["state"] == "nothing yet"
    pointer = store / "current" / "rome" / "promoted.json"
    pointer.parent.mkdir(parents=True, exist_ok=True)
    pointer.write_text("{", encoding="utf-8")
    assert run(*ALL, folder)[0] == 1
    found = _index(folder)
    assert found["rome"]["state"] == "damaged"
    assert "promoted.json" in found["rome"]["problems"][0]


def test_damage_in_a_transfer_stops_no_other(run: Any, site: Path) -> None:
    entries = yaml.safe_load(site.read_text(encoding="utf-8"))
    entries["transfers"] = {"home": {"segmenter": "compact", "target": "frankfurt"}}
    site.write_text(yaml.safe_dump(entries, sort_keys=False), encoding="utf-8")
    store = Store(site.parent / "store")
    promotion.put_in_use(store, "home", next(iter(store.artifacts("adaptation"))))
    pointer = site.parent / "store" / "current" / "home" / "promoted.json"
    pointer.write_text("{", encoding="utf-8")
    folder = site.parent / "out"
    code, _, err = run(*ALL, folder)
    assert code == 1
    assert "crosscity: home: " in err
    found = _index(folder)
    assert found["home"]["state"] == "damaged"
    assert "promoted.json" in found["home"]["problems"][0]
    assert found["tokyo"]["in_use"]["arm"] == "full"


def test_what_was_killed_before_its_index_was_there_goes_on(
    run: Any, site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = site.parent / "out"

    def killed(*_: object, **__: object) -> str:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("tasks.pages.overview.render_page", killed)
        assert run(*ALL, folder)[0] == 130
    assert list(folder.rglob("report.html"))
    assert not (folder / "index.json").exists()
    (folder / "tokyo" / ".report.html.0a0b.part").write_text("half of")
    assert run(*ALL, folder)[0] == 0
    (folder / "index.json").unlink()
    (folder / "tokyo" / "notes.txt").write_text("mine")
    assert run(*ALL, folder)[0] == 2


def test_a_folder_with_something_else_is_left_alone(run: Any, site: Path) -> None:
    folder = site.parent / "out"
    folder.mkdir()
    (folder / "thesis.txt").write_text("years of work")
    code, _, err = run(*ALL, folder)
    assert code == 2
    assert "holds something else" in err
    assert [each.name for each in folder.iterdir()] == ["thesis.txt"]
    assert run(*ALL, folder, "--force")[0] == 0
    assert (folder / "thesis.txt").read_text() == "years of work"
    assert run(*ALL, folder)[0] == 0, "it is an index now"
    assert "is a file" in run(*ALL, folder / "thesis.txt")[2]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "name a city"),
        (("tokyo", "--all"), "name a city"),
        (("tokyo", "-o", "x"), "for --all"),
        (("oslo",), "no city 'oslo'"),
    ],
)
def test_words_that_do_not_fit_are_told(run: Any, words: tuple[str, ...], said: str) -> None:
    code, _, err = run(*words)
    assert code == 2
    assert said in err


def test_of_many_seeds_the_newest_are_looked_at(
    site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A look walks through all that a report is made of: fifty of them took minutes far away."""
    store = Store(tmp_path / "store")
    file = store.path(next(iter(store.artifacts("report", "tokyo"))), "report.json")
    text = file.read_text(encoding="utf-8")
    for seed in range(1, 21):
        _made(store, "report", 100 + seed, files={"report.json": text}, seed=seed)
    looked: list[int | None] = []
    monkeypatch.setattr(
        asked_report, "_shown_now", lambda _owner, _plan, seed, _arm: looked.append(seed)
    )
    plan = open_plan(site)
    asked = asked_report.asked_report("tokyo", plan)
    assert looked == [*range(20, 20 - asked_report.MOST_LOOKED_AT, -1)]
    assert (asked.seed, asked.current, len(asked.others)) == (20, False, 20)
    looked.clear()
    assert asked_report.asked_report("tokyo", plan, 3).seed == 3
    assert looked == [3]
