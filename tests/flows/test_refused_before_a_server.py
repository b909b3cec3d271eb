"""What a flow would refuse before it has anything to do is refused before a server is started."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from adapters.datasets.base import DatasetError
from crosscity.segmenters import build_segmenter
from flows.adapt_transfer import transfer_by
from flows.cli import city as verbs
from flows.cli.application import app
from flows.extras import check_extras
from flows.readapt_city import readapt_city
from tasks.steps.errors import InputError
from tasks.steps.plan import open_plan

MODEL = {"architecture": "compact", "options": {"width": 16}}
NO_SOURCE = "segmenters.given has no source"
NO_HARVEST = "tokyo has no harvested pairs in this store: run `crosscity harvest tokyo` first"
NO_LABELS = "cities.tokyo has no labels in the catalog"


class ServerStartedError(Exception):
    """A verb has started a server."""


@pytest.fixture
def refused(
    write_catalog: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., str]:
    """refused("adapt", "tokyo", labels=None): what a verb says that starts no server.

    The catalog's one segmenter is a file of weights, without a source set. Further keywords go
    into the entry of its one city, tokyo.
    """

    def running(_catalog: Path) -> Any:
        raise ServerStartedError

    monkeypatch.setattr(verbs, "running", running)
    torch.save(build_segmenter("compact", {"width": 16}, seed=4).state_dict(), tmp_path / "w.pth")

    def say(*words: str, **entry: Any) -> str:
        catalog = write_catalog(
            tmp_path,
            segmenters={"given": {**MODEL, "weights": "w.pth"}},
            transfers={"home": {"segmenter": "given", "target": "frankfurt", "test_split": "test"}},
            city={"segmenter": "given", **entry},
        )
        done = CliRunner().invoke(app, [*words, "--catalog", str(catalog)])
        assert isinstance(done.exception, InputError), (done.output, done.exception)
        return f"{done.output}{done.exception}"

    return say


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("adapt tokyo --arm full", NO_SOURCE),
        ("adapt tokyo --arm control", NO_SOURCE),
        ("adapt tokyo --arm teacher", NO_SOURCE),
        ("readapt tokyo --arm full", NO_SOURCE),
        ("plan tokyo --arm full", NO_SOURCE),
        ("demo tokyo", NO_SOURCE),
        ("transfer home --arm ga_ca", NO_SOURCE),
        ("paper-tables", "neither a city with labels nor a transfer to report on whose segmenter"),
        ("paper-tables --city tokyo", NO_SOURCE),
        ("paper-tables --transfer home", NO_SOURCE),
        ("adapt tokyo --arm nonsense", "there is no arm 'nonsense'"),
        ("readapt tokyo --arm nonsense", "there is no arm 'nonsense'"),
        ("evaluate tokyo --arm nonsense", "there is no arm 'nonsense'"),
        ("adapt tokyo --arm source_free", NO_HARVEST),
        ("evaluate tokyo --arm pretrained", NO_HARVEST),
        ("priors tokyo", NO_HARVEST),
        ("report tokyo", NO_HARVEST),
        ("watch tokyo", NO_HARVEST),
        ("compare given given --on tokyo", NO_HARVEST),
    ],
)
def test_of_a_catalog_whose_segmenter_has_no_source(
    refused: Callable[..., str], words: str, said: str
) -> None:
    assert said in refused(*words.split())


@pytest.mark.parametrize(
    "words", ["adapt tokyo --arm fine_tuned", "readapt tokyo --arm fine_tuned"]
)
def test_of_a_city_without_labels(refused: Callable[..., str], words: str) -> None:
    assert NO_LABELS in refused(*words.split(), labels=None)


@pytest.mark.parametrize("arm", ["bn", "fine_tuned", "pretrained"])
def test_labels_that_are_not_there_are_missed_before_anything_is_trained(
    write_catalog: Callable[..., Path], tmp_path: Path, arm: str
) -> None:
    """A split of another name, or a folder that is not mounted, costs no hours."""
    folders = {"kind": "folder", "root": ".", "label_map": "labelIds"}
    for name in ("images/train/a.png", "labels/train/a.png"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_bytes(b"not looked into")
    catalog = write_catalog(
        tmp_path,
        datasets={"ours": {**folders, "splits": {"train": "train"}}},
        transfers={"out": {"segmenter": "compact", "target": "ours", "test_split": "test"}},
        city={"labels": {**folders, "root": "away"}},
    )
    plan = open_plan(catalog, transfer="out")
    with pytest.raises(DatasetError, match="has no split 'test'; splits: train"):
        transfer_by.fn(plan, "out", arm, 0)
    with pytest.raises(DatasetError, match=r"There is no folder .*away"):
        readapt_city.fn("tokyo", "bn", catalog=str(catalog))
    assert not list((tmp_path / "store").glob("*/*")), "nothing was made"
    words = {"transfer out": f"--arm {arm}", "readapt tokyo": "--arm bn", "paper-tables": ""}
    for verb, options in words.items():
        given = [*verb.split(), *options.split(), "--catalog", str(catalog)]
        done = CliRunner().invoke(app, given)
        assert isinstance(done.exception, DatasetError), (done.output, done.exception)


def test_labels_that_a_recipe_learns_from_are_missed_before_anything_is_trained(
    write_catalog: Callable[..., Path], tmp_path: Path
) -> None:
    away = {"kind": "folder", "root": "away", "label_map": "labelIds"}
    labels = {"places": 2, "chosen": "random", "dataset": "marked"}
    catalog = write_catalog(
        tmp_path,
        datasets={"marked": away},
        recipes={"few": {"objectives": [{"objective": "few_labels"}], "labels": labels}},
        transfers={"home": {"segmenter": "compact", "target": "frankfurt", "test_split": "test"}},
    )
    plan = open_plan(catalog, transfer="home")
    with pytest.raises(DatasetError, match=r"There is no folder .*away"):
        transfer_by.fn(plan, "home", "few", 0)
    assert not list((tmp_path / "store").glob("*/*")), "nothing was made"


def test_labels_that_a_recipe_learns_from_are_not_scored_on(
    write_catalog: Callable[..., Path], tmp_path: Path
) -> None:
    """By what is in the files, as what was labelled is copied, and called otherwise there."""
    for name, content in {
        "tested/a": "1",
        "tested/b": "2",
        "marked/c": "3",
        "marked/d": "2",
    }.items():
        folder, file = name.split("/")
        for kind in ("images", "labels"):
            path = tmp_path / folder / kind / f"{file}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
    few = {"places": 2, "chosen": "random", "dataset": "marked"}
    folders = {"kind": "folder", "label_map": "labelIds", "images": "images", "labels": "labels"}
    catalog = write_catalog(
        tmp_path,
        datasets={"marked": {**folders, "root": "marked"}},
        recipes={"few": {"objectives": [{"objective": "few_labels"}], "labels": few}},
        city={"labels": {**folders, "root": "tested"}},
    )
    plan = open_plan(catalog, city="tokyo")
    with pytest.raises(InputError, match=r"1 image of datasets\.marked.* take images/d\.png out"):
        check_extras(plan, "tokyo", "few")
    (tmp_path / "marked/images/d.png").write_text("4")
    check_extras(plan, "tokyo", "few")


@pytest.mark.parametrize("arm", ["fine_tuned", "few"])
def test_pictures_of_a_transfer_that_are_learned_from_are_not_scored_on(
    write_catalog: Callable[..., Path], tmp_path: Path, arm: str
) -> None:
    """Its two splits were taken for two sets of pictures by their names alone."""
    for name, content in {"train/a": "1", "train/b": "2", "test/c": "2"}.items():
        for kind in ("images", "labels"):
            path = tmp_path / "marked" / kind / f"{name}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
    folders = {"kind": "folder", "label_map": "labelIds"}
    of_split = {"images": "images/{split}", "labels": "labels/{split}"}
    home = {"segmenter": "compact", "target": "marked", "target_split": "train"}
    few = {"places": 2, "chosen": "random"}
    catalog = write_catalog(
        tmp_path,
        datasets={"marked": {**folders, **of_split, "root": "marked"}},
        recipes={"few": {"objectives": [{"objective": "few_labels"}], "labels": few}},
        transfers={"home": {**home, "test_split": "test"}},
    )
    plan = open_plan(catalog, transfer="home")
    with pytest.raises(InputError, match=r"1 image of datasets\.marked.* take .*b\.png out"):
        check_extras(plan, "home", arm)
    (tmp_path / "marked/images/test/c.png").write_text("3")
    check_extras(plan, "home", arm)


def test_a_warning_is_shown_beside_the_refusal(refused: Callable[..., str]) -> None:
    assert refused("paper-tables").count("cities.tokyo, transfers.home: not in the tables") == 1
