"""Adapting to pictures of one's own that have no labels: by weights alone, judged, not scored."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from PIL import Image

from adapters.catalog import CatalogError
from adapters.datasets.simulated import SimulatedDataset
from adapters.store import Store
from crosscity.segmenters import build_segmenter
from tasks.judging.evaluated import segmenter_of_arm
from tasks.steps.plan import open_plan
from tasks.training.segmenters import fresh_segmenter, write_segmenter

COUNT = 24
MODEL = {"architecture": "compact", "options": {"width": 16}}
FAST = {"source_free": {"steps": 2, "batch_size": 2, "statistics_images": 4}}
GENTLE = {
    "source_free": {"steps": 2, "batch_size": 2, "statistics": 0.0, "learning_rate": 1e-6},
}
"""Hardly changes a network of random weights, so that it looks harmless for certain."""
PICTURES = {"mine": {"kind": "images", "root": "meine Bilder"}}
TRANSFERS = {"ours": {"segmenter": "given", "target": "mine"}}


def pictures(folder: Path, count: int = COUNT) -> None:
    views = SimulatedDataset("tokyo", seed=3, image_size=(64, 128), splits={"train": count})
    for number, sample in enumerate(views.samples("train")):
        place = folder / f"Straße {number % 3}" / ("früh", "spät")[number % 2]
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(views.read_image(sample)).save(place / f"Foto {number:02} ä.jpg")


def weights(folder: Path) -> None:
    torch.save(build_segmenter("compact", {"width": 16}, seed=4).state_dict(), folder / "w.pth")


@pytest.fixture
def catalog(write_catalog: Callable[..., Path], tmp_path: Path) -> Callable[..., Path]:
    """Writes a catalog with weights, and changes of it."""
    weights(tmp_path)

    def write(**changes: Any) -> Path:
        given: dict[str, Any] = {
            "datasets": PICTURES,
            "segmenters": {"given": {**MODEL, "weights": "w.pth"}},
            "transfers": TRANSFERS,
            "trainings": {"demo": FAST},
        }
        return write_catalog(tmp_path, **{**given, **changes})

    return write


@pytest.fixture(scope="module")
def adapted(many_flows, write_catalog, tmp_path_factory) -> Any:
    """What `crosscity transfer ours` said, of pictures of which one is broken."""
    folder = tmp_path_factory.mktemp("adapted")
    pictures(folder / "meine Bilder")
    broken = folder / "meine Bilder" / "broken one.jpg"
    broken.write_bytes(next((folder / "meine Bilder").rglob("*.jpg")).read_bytes()[:400])
    (folder / "meine Bilder" / "x.HEIC").write_bytes(b"0")
    weights(folder)
    catalog = write_catalog(
        folder,
        datasets=PICTURES,
        segmenters={"given": {**MODEL, "weights": "w.pth"}},
        transfers=TRANSFERS,
        trainings={"demo": GENTLE},
    )

    def run(*words: object, code: int = 0) -> dict[str, Any]:
        done: dict[str, Any] = many_flows(*words, "--catalog", catalog)
        assert done["code"] == code, done["err"]
        return done

    done = run("transfer", "ours")
    return SimpleNamespace(folder=folder, catalog=catalog, run=run, done=done, broken=broken)


def test_pictures_alone_are_adapted_to_and_judged(adapted) -> None:
    out, err = adapted.done["out"], adapted.done["err"]
    assert f"adapted to {COUNT} images of mine, by source_free" in out
    assert "1 picture of mine is left out, as .heic is not read" in err
    assert f"note: 1 left out: {adapted.broken}" in err
    assert "datasets.mine has no labels, so nothing was scored" in err
    assert "images are shown at" in err
    store = Store(adapted.folder / "store")
    made = segmenter_of_arm("ours", "source_free", 0, open_plan(adapted.catalog))
    assert {name.partition("-")[0] for name in store.manifest(made).inputs} == {
        "segmenter",
        "target",
    }
    assert not list(store.artifacts("evaluation"))
    assert not list(store.artifacts("labelled"))


def test_the_page_shows_what_is_seen_without_labels(
    adapted, check_page, shown_in_a_browser
) -> None:
    told = json.loads(adapted.run("report", "ours", "--json")["out"])
    page = Path(told["where"])
    content = json.loads(page.with_name("report.json").read_text(encoding="utf-8"))
    assert content["not_scored"] == "datasets.mine has no labels"
    assert content["scores"] == {}
    assert content["transfer"]["test_split"] is None
    figures = content["figures"]
    assert (figures["images"], figures["images_failed"]) == (COUNT + 1, 1)
    assert figures["images_compared"] == COUNT
    assert sum(v for name, v in figures.items() if name.startswith("share.")) == pytest.approx(1)
    assert set(content["safeguard"]["looks"]) == {"smaller", "mirrored"}
    assert content["verdict"]["sentence"] in adapted.done["out"]
    text = check_page(page)
    assert "nothing was scored: datasets.mine has no labels" in text
    assert "agreement of an image and its mirror image beyond chance" in text
    assert "agreement of an image and its smaller copy before" in text
    assert "IoU" not in text
    assert text.count("its segmentation before and after adaptation") == 12
    assert "broken one.jpg is" in text
    shown = re.findall(r"Straße \d/(?:früh|spät)/Foto \d\d ä\.jpg: (?:most|evenly)", text)
    assert len(shown) == 12, "pictures are called as their files are"
    assert "reading labelled" not in text, "nothing is labelled"
    shown_in_a_browser(page)


def test_what_is_done_is_found_checked_and_indexed(adapted) -> None:
    again = adapted.run("transfer", "ours", "--json")
    assert "everything is in the store already" in again["err"]
    told = json.loads(again["out"])
    assert told["segmenter"].startswith("adaptation/ours/")
    assert "does not hold" in adapted.run("check", "ours", "--fail-if", "images<24")["out"]
    words = ("report", "--all", "--as-they-are", "-o", adapted.folder / "all", "--json")
    index = json.loads(adapted.run(*words)["out"])
    assert index["transfers"]["ours"] in ("reported", "in use")
    assert not index["problems"]


def test_the_adapted_segmenter_is_used_and_handed_on_by_the_transfer_s_name(adapted) -> None:
    next_step = json.loads(adapted.run("transfer", "ours", "--json")["out"])["next"]
    assert json.loads(adapted.run("report", "ours", "--json")["out"])["next"] == next_step
    assert "`crosscity predict FOLDER --segmenter ours -o DIR` uses it" in next_step
    assert "`crosscity segmenter export ours --segmenter ours -o DIR` hands it on" in next_step
    made = segmenter_of_arm("ours", "source_free", 0, open_plan(adapted.catalog))
    given, folder = adapted.folder / "given", adapted.folder / "meine Bilder"
    adapted.run("segmenter", "export", "ours", "-o", given)
    provenance = json.loads((given / "provenance.json").read_text(encoding="utf-8"))
    assert provenance["segmenter"]["artifact"] == made.uri
    card = (given / "README.md").read_text(encoding="utf-8")
    assert f"- without labels: {COUNT + 1} images of `mine` (images)" in card
    assert "weights that came from elsewhere" in card
    assert "street views of the same places" not in card
    predicted = ("predict", folder, "--segmenter", "ours", "-o", adapted.folder / "seen")
    assert f"{COUNT} of {COUNT + 1} images predicted" in adapted.run(*predicted)["out"]

    # In use as in a city, and back again.
    adapted.run("promote", "ours", "--pin")
    shown = adapted.run("status", "ours")["out"]
    assert "ours (transfer):" in shown
    assert f"in use: {made.uri}" in shown
    assert "not harvested" not in shown
    start = segmenter_of_arm("ours", "pretrained", 0, open_plan(adapted.catalog))
    adapted.run("promote", "ours", start.key)
    told = json.loads(adapted.run("rollback", "ours", "--json")["out"])
    assert told["where"] == made.uri
    assert "--segmenter ours -o DIR" in told["next"]
    adapted.run("unpin", "ours")
    assert "rollback" in adapted.run("promotions", "ours")["out"]
    every = json.loads(adapted.run("status", "--json")["out"])
    assert every["transfers"]["ours"]["in_use"]["uri"] == made.uri


def test_what_would_be_made_of_pictures_is_planned(adapted) -> None:
    steps = json.loads(adapted.run("plan", "ours", "--json")["out"])
    assert [(step["name"], step["state"]) for step in steps] == [
        ("segmenter given", "found"),
        ("images", "found"),
        ("adaptation source_free", "found"),
    ]
    anew = adapted.run("plan", "ours", "--seed", "1")["out"]
    assert "adaptation source_free  to be made" in anew
    assert "(2 training steps)" in anew


def test_what_looks_harmful_is_neither_said_to_be_used_nor_handed_on(adapted, monkeypatch) -> None:
    from flows.cli.paper import step_after_adapting
    from tasks.judging import chosen_segmenter
    from tasks.steps.errors import InputError

    plan = open_plan(adapted.catalog)
    start = segmenter_of_arm("ours", "pretrained", 0, plan)
    bad = {"keep": "before", "verdict": "The adaptation looks harmful."}
    said = step_after_adapting("ours", {"verdict": bad, "arm": "source_free"}, 0, plan)
    assert f"crosscity promote ours {start.key[:12]}" in said
    assert "export" not in said
    assert "predict" not in said
    monkeypatch.setattr(chosen_segmenter, "promoted_segmenter", lambda *_: None)
    monkeypatch.setattr(chosen_segmenter, "evidence_of", lambda *_: bad)
    with pytest.raises(InputError, match=f"harmful. Take the segmenter before.*{start.key[:12]}"):
        chosen_segmenter.chosen_segmenter(plan, "ours")


def test_two_segmenters_are_compared_on_the_pictures(
    adapted, check_page, shown_in_a_browser
) -> None:
    done = adapted.run("compare", "ours", "--json")
    assert "1 picture of mine is left out, as .heic is not read" in done["err"]
    told = json.loads(done["out"])
    assert told["transfer"] == "ours"
    a, b = told["segmenters"].values()
    assert (a["word"], a["arm"], b["arm"]) == (a["key"][:12], "pretrained", "source_free")
    page = Path(told["where"])
    content = json.loads(page.with_name("comparison.json").read_text(encoding="utf-8"))
    assert list(content["failed_images"].values()) == [1]
    assert content["images"] == content["copied"] == COUNT
    # Both were shown one size, so it says what the transfer's own report says.
    report = json.loads(adapted.run("report", "ours", "--json")["out"])
    figures = json.loads(
        Path(report["where"]).with_name("report.json").read_text(encoding="utf-8")
    )["figures"]
    assert content["changed"] == figures["changed"]
    assert content["figures"]["confidence"] == [figures["confidence_before"], figures["confidence"]]
    text = check_page(page)
    assert f"Both looked at the same {COUNT} images of mine." in text
    assert "agreement of an image and its mirror image beyond chance (kappa)" in text
    assert "two times" not in text
    assert "IoU" not in text
    assert "scored right" not in text
    assert "broken one.jpg is" in text
    shown = re.findall(r"Straße \d/(?:früh|spät)/Foto \d\d ä\.jpg: (?:most|evenly)", text)
    assert len(shown) == 12, "pictures are called as their files are"
    shown_in_a_browser(page)


def test_a_comparison_is_made_once_and_refused_before_any_work(adapted) -> None:
    first = json.loads(adapted.run("compare", "given", "ours:source_free", "--json")["out"])
    again = adapted.run("compare", "given", "ours:source_free", "--json")
    assert "everything is in the store already" in again["err"]
    assert json.loads(again["out"])["key"] == first["key"]

    store, kinds = Store(adapted.folder / "store"), ("comparison", "differences", "pair_comparison")
    three = {
        "architecture": "compact",
        "options": {"width": 8, "class_names": ["road", "sky", "kerb"]},
    }
    made_of: dict[str, Any] = {"inputs": {}, "parameters": {}, "version": "1"}
    with store.draft("segmenter", "elsewhere", "f" * 24, **made_of) as draft:
        write_segmenter(draft, fresh_segmenter(three, 9), three)
    before = {kind: len(list(store.artifacts(kind))) for kind in kinds}
    for words, said in (
        ((draft.ref.key, "ours"), "has 3 classes (kerb only there) and adaptation/ours/"),
        (("ours", "ours"), "name two different segmenters to compare"),
        (("ours:ga", "ours"), "segmenters.given has no source, and the arm 'ga' trains on its"),
        (("ours",), "-o is for the figures of two reports"),
    ):
        more = ("-o", "page.html") if len(words) == 1 else ()
        done = adapted.run("compare", *words, *more, code=2)
        assert said in done["err"], done["err"]
        assert "watch it at" not in done["err"]
    assert before == {kind: len(list(store.artifacts(kind))) for kind in kinds}


def test_what_needs_labels_is_refused_in_one_sentence(adapted) -> None:
    said = {
        "pretrained": "datasets.mine has no labels, so nothing can be scored, and the arm",
        "fine_tuned": "datasets.mine has no labels, so the arm 'fine_tuned' has nothing to train",
        "few_labels_source_free": "datasets.mine has no labels, so the arm 'few_labels_source_f",
    }
    for arm, sentence in said.items():
        done = adapted.run("transfer", "ours", "--arm", arm, code=2)
        assert sentence in done["err"], done["err"]
    done = adapted.run("paper-tables", "--transfer", "ours", code=2)
    assert "datasets.mine has no labels: there is nothing to score on" in done["err"]


def test_the_paper_s_tables_are_of_what_is_scored(adapted) -> None:
    from tasks.pages.paper_scope import scored_transfers

    assert scored_transfers(open_plan(adapted.catalog)) == []


def test_pictures_that_were_added_or_changed_are_told(adapted) -> None:
    """Last: it changes the folder."""
    first = next((adapted.folder / "meine Bilder").rglob("Foto*.jpg"))
    Image.new("RGB", (128, 64), (90, 120, 200)).save(first)
    stale = adapted.run("report", "ours", code=2)
    assert "made of other files" in stale["err"], stale["err"]
    Image.new("RGB", (128, 64), (90, 20, 200)).save(first.with_name("another.jpg"))
    done = adapted.run("transfer", "ours")
    assert (
        f"{COUNT + 1} when they were read, and are {COUNT + 2} now: it is made anew" in done["err"]
    )
    assert f"adapted to {COUNT + 1} images of mine" in done["out"]


@pytest.mark.parametrize("deep", [(), ("--deep",)])
def test_a_set_of_pictures_is_checked(
    crosscity, catalog, tmp_path: Path, deep: tuple[str, ...]
) -> None:
    pictures(tmp_path / "meine Bilder", 4)
    done = crosscity("catalog", "check", *deep, "--catalog", catalog())
    assert done.returncode == 0, done.stderr
    if deep:
        assert "datasets.mine: train 4 images without labels (64×128)" in done.stdout


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"segmenters": {"given": {**MODEL, "source": "mine"}}},
            r"segmenters\.given\.source: datasets\.mine has no labels that a segmenter",
        ),
        (
            {
                "recipes": {
                    "few": {
                        "objectives": [{"objective": "few_labels"}],
                        "labels": {"places": 2, "chosen": "random", "dataset": "mine"},
                    }
                }
            },
            r"recipes\.few\.labels\.dataset: datasets\.mine has no labels that a recipe",
        ),
        (
            {"transfers": {"ours": {**TRANSFERS["ours"], "test_split": "val"}}},
            r"transfers\.ours\.test_split: datasets\.mine has no labels, so nothing is scored",
        ),
        (
            {"transfers": {"ours": {**TRANSFERS["ours"], "target_split": "val"}}},
            r"transfers\.ours\.target_split: all pictures of datasets\.mine are of the split train",
        ),
        (
            {"transfers": {"ours": {**TRANSFERS["ours"], "arm": "fine_tuned"}}},
            r"transfers\.ours\.arm: datasets\.mine has no labels, so the arm 'fine_tuned'",
        ),
        (
            {"transfers": {"ours": {**TRANSFERS["ours"], "arm": "ga"}}},
            r"transfers\.ours\.arm: the arm 'ga' trains on images of the source set",
        ),
        (
            {"transfers": {"ours": {**TRANSFERS["ours"], "arm": "magic"}}},
            r"transfers\.ours\.arm: there is no arm 'magic' to adapt by",
        ),
        (
            {"datasets": {**PICTURES, "other": {"kind": "folder", "root": "x"}}},
            r"datasets\.other: label_map is missing: .* kind: images for pictures without labels",
        ),
        (
            {
                "transfers": {
                    "home": {
                        "segmenter": "given",
                        "target": "frankfurt",
                        "test_split": None,
                        "evaluation_size": [64, 128],
                    }
                }
            },
            r"transfers\.home\.evaluation_size: test_split is null, so nothing is scored",
        ),
    ],
)
def test_sets_without_labels_are_refused_where_labels_are_read(
    catalog, changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(CatalogError, match=said):
        open_plan(catalog(**changes))


def test_segmenters_are_compared_on_pictures_that_nothing_was_adapted_to(
    many_flows, catalog, tmp_path: Path
) -> None:
    pictures(tmp_path / "meine Bilder", 3)
    path = catalog(
        segmenters={name: {**MODEL, "weights": f"{name[0]}.pth"} for name in ("wide", "other")},
        transfers={"ours": {"segmenter": "wide", "target": "mine"}},
    )
    torch.save(build_segmenter("compact", {"width": 16}, seed=5).state_dict(), tmp_path / "o.pth")
    many_flows("compare", "wide", "other", "--on", "ours", "--catalog", path)
    done = many_flows("compare", "wide", "other", "--on", "ours", "--json", "--catalog", path)
    assert done["code"] == 0, done["err"]
    assert "everything is in the store already" in done["err"]
    assert 0 < json.loads(done["out"])["changed"] <= 1
    for word, said in (
        ("ours", "no segmenter 'source_free' for ours yet: run `crosscity transfer ours"),
        ("wide", "name a second segmenter to compare 'wide' with"),
    ):
        done = many_flows("compare", word, "--catalog", path)
        assert done["code"] == 2, done
        assert said in done["err"]


def test_pictures_that_are_not_there_end_it_before_any_work(
    many_flows, catalog, tmp_path: Path
) -> None:
    (tmp_path / "meine Bilder").mkdir()
    for said in ("holds no picture (JPEG, PNG or WebP, at any depth): it is empty", None):
        done = many_flows("transfer", "ours", "--catalog", catalog())
        assert done["code"] == 2
        assert (said or "There is no folder") in done["err"]
        assert "watch it at" not in done["err"]
        (tmp_path / "meine Bilder").rmdir() if said else None
    assert not list(Store(tmp_path / "store").artifacts())


def test_many_broken_pictures_end_it_with_what_to_do(many_flows, catalog, tmp_path: Path) -> None:
    pictures(tmp_path / "meine Bilder", 4)
    (tmp_path / "meine Bilder" / "a.jpg").write_bytes(b"no picture")
    done = many_flows("transfer", "ours", "--catalog", catalog())
    assert done["code"] == 1
    assert "1 of 5 images failed, more than the limit of 5% of a data set" in done["err"]
    assert "a.jpg is not a readable" in done["err"]


@pytest.mark.parametrize("upright", [0, 3])
def test_few_pictures_and_pictures_of_several_sizes_are_adapted_to(
    many_flows, catalog, tmp_path: Path, upright: int
) -> None:
    """One alone; and some upright ones among others, which no batch could hold as they are."""
    folder = tmp_path / "meine Bilder"
    pictures(folder, 5 if upright else 1)
    for number in range(upright):
        Image.new("RGB", (64, 96), (40 * number, 99, 99)).save(folder / f"upright {number}.png")
    done = many_flows("transfer", "ours", "--catalog", catalog())
    assert done["code"] == 0, done["err"]
    assert f"adapted to {5 + upright} images of mine" in done["out"] or not upright
    assert "adapted to 1 image of mine" in done["out"] or upright
    # What the verdict speaks of stands in the table: the look that it means, and not another.
    lines = dict.fromkeys(re.findall(r"^(kappa, \w+|agreement) ", done["out"], re.MULTILINE))
    assert list(lines) == ["kappa, mirrored", "kappa, smaller"]
    several = "the images have 2 sizes, and all are shown at the proportions of 64×128"
    assert (several in done["err"]) == bool(upright)


GROWS = """
from pathlib import Path
from shutil import copy
from crosscity.segmenters import build_segmenter

HERE = Path(__file__).parent

def land(module, given):
    pictures = sorted((HERE / "meine Bilder").rglob("*.jpg"))
    if module.training and (HERE / "store" / "unlabelled").exists() and len(pictures) == 4:
        copy(pictures[0], HERE / "meine Bilder" / "landed.jpg")

def build():
    network = build_segmenter("compact", {"width": 16}, seed=4)
    network.options = lambda: {}
    next(network.children()).register_forward_pre_hook(land)
    return network
"""
"""A network whose training a camera outlasts: a picture lands while it trains."""


def test_pictures_that_land_while_it_trains_count_from_the_next_run_on(
    crosscity, prefect_server, catalog, tmp_path: Path
) -> None:
    pictures(tmp_path / "meine Bilder", 4)
    (tmp_path / "grows.py").write_text(GROWS, encoding="utf-8")
    path = catalog(
        segmenters={"given": {"python": "grows:build"}},
        trainings={"demo": {**FAST, "image_size": [64, 128]}},
    )
    environment = {"PYTHONPATH": str(tmp_path)}
    words = ("transfer", "ours", "--catalog", path)
    done = crosscity(*words, server=prefect_server, environment=environment)
    assert (tmp_path / "meine Bilder" / "landed.jpg").is_file()
    assert done.returncode == 0, done.stderr
    assert "adapted to 4 images of mine" in done.stdout
    done = crosscity("report", "ours", "--catalog", path, environment=environment)
    assert "were 4 when they were read, and are 5 now" in done.stderr


def test_pictures_that_a_known_size_distorts_are_told(many_flows, catalog, tmp_path: Path) -> None:
    folder = tmp_path / "meine Bilder"
    pictures(folder, 4)
    for number in range(2):
        Image.new("RGB", (64, 96), (40 * number, 99, 99)).save(folder / f"upright {number}.png")
    path = catalog(trainings={"demo": {**FAST, "image_size": [64, 128]}})
    done = many_flows("transfer", "ours", "--catalog", path)
    assert done["code"] == 0, done["err"]
    assert "2 of 6 images have other proportions than the 64×128 at which they go" in done["err"]
    assert "image_size: [112, 72] in `trainings` fits those of 96×64" in done["err"]
    (made,) = Store(tmp_path / "store").artifacts("adaptation")
    remarks = Store(tmp_path / "store").manifest(made).summary["remarks"]
    assert any("which sees them distorted" in remark for remark in remarks)


def test_weights_that_want_their_pixels_in_another_form_are_told(
    many_flows, catalog, tmp_path: Path
) -> None:
    """As those do whose batch norms saw pixels that were smaller by far."""
    pictures(tmp_path / "meine Bilder", 4)
    path = catalog(trainings={"demo": GENTLE})
    network = build_segmenter("compact", MODEL["options"], seed=4)
    for name, value in network.state_dict().items():
        value.mul_(1e-6 if name.endswith("running_var") else 1)
    torch.save(network.state_dict(), tmp_path / "w.pth")
    done = many_flows("transfer", "ours", "--catalog", path)
    assert done["code"] == 0, done["err"]
    assert "batch norms see nothing like what they saw in training" in done["err"]
    (made,) = Store(tmp_path / "store").artifacts("adaptation")
    remarks = Store(tmp_path / "store").manifest(made).summary["remarks"]
    assert any("batch norms see nothing like" in remark for remark in remarks)


def test_labelled_pictures_that_a_known_size_distorts_are_told(
    many_flows, catalog, tmp_path: Path
) -> None:
    """Those that a segmenter is tuned to, and those that it is scored on; the page has both."""
    transfer = {"segmenter": "given", "target": "frankfurt", "target_split": "train"}
    short = {"preset": "demo", "fine_tuning": {"steps": 1, "batch_size": 1}, "image_size": [64, 64]}
    path = catalog(
        transfers={"home": {**transfer, "training": "short"}},
        trainings={"demo": FAST, "short": short},
        datasets={},
    )
    done = many_flows("transfer", "home", "--arm", "fine_tuned", "--catalog", path)
    assert done["code"] == 0, done["err"]
    told = "images have other proportions than the 64×64 at which they go through the network"
    lines = [line for line in done["err"].splitlines() if told in line]
    assert any("remark: Scored images: " in line for line in lines), done["err"]
    assert sum("remark: Scored images: " in line for line in lines) == 1
    store = Store(tmp_path / "store")
    for kind in ("adaptation", "evaluation"):
        found = [store.manifest(made).summary["remarks"] for made in store.artifacts(kind)]
        assert found, kind
        assert all(any(told in remark for remark in remarks) for remarks in found), kind


def test_a_labelled_set_may_be_adapted_to_without_a_score(
    many_flows, catalog, tmp_path: Path
) -> None:
    transfer = {"segmenter": "given", "target": "frankfurt", "test_split": None}
    path = catalog(transfers={"home": transfer}, datasets={})
    done = many_flows("transfer", "home", "--catalog", path)
    assert done["code"] == 0, done["err"]
    assert "transfers.home.test_split is null, so nothing was scored" in done["err"]
    assert not list(Store(tmp_path / "store").artifacts("labelled"))
