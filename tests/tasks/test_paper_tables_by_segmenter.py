"""Table 1 has a row for each segmenter, also where two were trained on one source set."""

from __future__ import annotations

import json

import numpy as np
import pyarrow.parquet as pq
import pytest

from adapters.store import ArtifactRef
from crosscity.evaluation import ImageCounts
from crosscity.labels import CLASSES
from flows import paper_tables as flow
from tasks.judging.evaluation import write_evaluation
from tasks.judging.image_scores import image_row
from tasks.judging.scoring_rules import rules_of
from tasks.pages.paper_scope import each_once
from tasks.pages.paper_tables import write_paper_tables
from tasks.steps.errors import InputError
from tasks.steps.plan import Plan, open_plan

NAMES = tuple(road_class.name for road_class in CLASSES)
RIGHT = {("compact", "frankfurt"): 90, ("wide", "frankfurt"): 70, ("compact", "tokyo"): 50,
         ("wide", "rome"): 30, ("game", "from-a-game"): 40}  # fmt: skip
"""Pixels of a hundred of each class that a segmenter tells right."""


@pytest.fixture
def plan(write_catalog, tmp_path) -> Plan:
    network = {"architecture": "compact", "options": {"width": 8}, "source": "frankfurt"}
    rome = {
        "provider": {"kind": "simulated", "style": "rome"},
        "area": {"bbox": [12.4, 41.8, 12.5, 41.9]},
        "labels": {"kind": "simulated"},
        "segmenter": "wide",
    }
    catalog = write_catalog(tmp_path, segmenters={"wide": network}, cities={"rome": rome})
    return open_plan(catalog)


def evaluation(plan: Plan, segmenter: str, owner: str) -> ArtifactRef:
    right = RIGHT[segmenter, owner]
    counts = np.eye(len(NAMES), dtype=np.int64) * right
    counts += np.roll(np.eye(len(NAMES), dtype=np.int64), 1, axis=1) * (100 - right)
    with plan.open_store().draft(
        "evaluation", owner, f"a{segmenter}", inputs={}, parameters={}, version="1"
    ) as draft:
        rules = rules_of(plan, owner)
        row = image_row("a", ImageCounts(counts, int(counts.sum())), rules.protocol, NAMES)
        write_evaluation(draft, counts, [row], rules, NAMES)
    return draft.ref


def test_two_segmenters_of_one_source_are_two_rows(plan):
    at_home = {name: [evaluation(plan, name, "frankfurt")] for name in ("compact", "wide")}
    of_cities = {
        city: {"pretrained": [evaluation(plan, name, city)]}
        for city, name in (("tokyo", "compact"), ("rome", "wide"))
    }
    made = write_paper_tables.fn(at_home, of_cities, {}, [0], 2, plan)
    folder = plan.open_store().path(getattr(made, "ref", made), "tables.md").parent
    rows = pq.read_table(folder / "numbers.parquet").to_pylist()
    found = {(r["segmenter"], r["owner"]): r["mean"] for r in rows if r["quantity"] == "mIoU"}
    scored = {
        ("compact", "tokyo"): of_cities["tokyo"]["pretrained"][0],
        ("wide", "rome"): of_cities["rome"]["pretrained"][0],
    }
    scored |= {(name, "frankfurt"): refs[0] for name, refs in at_home.items()}
    store = plan.open_store()
    mious = {
        key: 100 * json.loads(store.path(ref, "evaluation.json").read_text())["miou"]
        for key, ref in scored.items()
    }
    assert len(set(mious.values())) == 4
    assert found == pytest.approx(mious)
    table = (folder / "tables.md").read_text(encoding="utf-8").partition("## Table 1")[2]
    lines = [line.split(" | ")[:2] for line in table.partition("## ")[0].splitlines()]
    shown = [(line[0].removeprefix("| "), line[1]) for line in lines if len(line) == 2]
    assert shown[1:] == [
        ("compact", "frankfurt"),
        ("compact", "tokyo"),
        ("wide", "frankfurt"),
        ("wide", "rome"),
    ]


def test_the_flow_scores_each_segmenter_at_home(plan, monkeypatch):
    def trained(_plan, segmenter, seed):
        return f"{segmenter} {seed}"

    monkeypatch.setattr(flow, "labelled_shards", lambda *_: ["shard"])
    monkeypatch.setattr(flow, "pretrain_by", trained)
    monkeypatch.setattr(flow, "evaluate", lambda *given: f"{given[0]} on {given[4]}")
    assert flow._at_home(["tokyo", "rome"], [0, 4], plan) == {
        "compact": ["compact 0 on frankfurt", "compact 4 on frankfurt"],
        "wide": ["wide 0 on frankfurt", "wide 4 on frankfurt"],
    }


@pytest.mark.parametrize(("protocol", "mean"), [("synthia13", 30.7), ("synthia16", None)])
def test_the_papers_mean_stands_beside_a_mean_over_its_own_classes(
    write_catalog, tmp_path, protocol, mean
):
    """Its 30.7 are over 13 classes, and stood beside a mean over 16."""
    plan = open_plan(
        write_catalog(
            tmp_path,
            datasets={
                "game": {"kind": "synthia", "root": "game"},
                "streets": {"kind": "cityscapes", "root": "streets"},
            },
            segmenters={"game": {"architecture": "compact", "source": "game"}},
            transfers={
                "from-a-game": {
                    "segmenter": "game",
                    "target": "streets",
                    "test_split": "val",
                    "protocol": protocol,
                }
            },
        )
    )
    of_transfer = {"from-a-game": {"pretrained": [evaluation(plan, "game", "from-a-game")]}}
    made = write_paper_tables.fn({}, of_transfer, {}, [0], 2, plan)
    folder = plan.open_store().path(getattr(made, "ref", made), "tables.md").parent
    rows = pq.read_table(folder / "numbers.parquet").to_pylist()
    paper = {row["quantity"]: row["paper"] for row in rows}
    assert (paper["mIoU"], paper["road"], paper.get("wall")) == (mean, 24.3, None)
    table = (folder / "tables.md").read_text(encoding="utf-8")
    assert ("is over its 13 classes" in table) == (mean is None)


def test_a_seed_that_is_named_twice_is_one_training():
    assert each_once([4, 0, 4]) == [4, 0]
    with pytest.raises(InputError, match="no seed is given"):
        each_once([])
