"""Protocols of one's own: 19 classes scored on 7 coarse ones, and 7 on 19; what a mIoU is over."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from adapters.catalog import CatalogError, load_catalog
from adapters.store import Store
from crosscity.evaluation import PROTOCOLS, own_protocol, score
from crosscity.labels import CLASSES
from tasks.judging.evaluated import evaluation_of_arm
from tasks.judging.evaluation import Evaluated, class_notes
from tasks.judging.scoring_rules import rules_of
from tasks.steps.errors import InputError
from tasks.steps.plan import open_plan
from tasks.training.at_home import scored_classes
from tasks.training.labelled import labelled_set

NAMES = [road_class.name for road_class in CLASSES]
COARSE = {
    "road": "flat",
    "sidewalk": "flat",
    "building": "construction",
    "wall": "construction",
    "fence": "construction",
    "pole": "object",
    "traffic light": "object",
    "traffic sign": "object",
    "vegetation": "nature",
    "terrain": "nature",
    "sky": "sky",
    "person": "human",
    "rider": "human",
    "car": "vehicle",
    "truck": "vehicle",
    "bus": "vehicle",
    "train": "vehicle",
    "motorcycle": "vehicle",
    "bicycle": "vehicle",
}
"""The categories of Cityscapes (cityscapesscripts/helpers/labels.py, `category`)."""
SEVEN = list(dict.fromkeys(COARSE.values()))


def by_hand(confusion: np.ndarray, names: list[str], classes: list[str]) -> dict[str, float]:
    """IoU of merged classes, pixel by pixel of a list."""
    pairs = [
        (COARSE.get(t, t), COARSE.get(p, p), int(confusion[i, j]))
        for i, t in enumerate(names)
        for j, p in enumerate(names)
    ]
    found = {}
    for one in classes:
        hit = sum(n for t, p, n in pairs if t == p == one)
        union = sum(n for t, p, n in pairs if one in (t, p))
        found[one] = hit / union if union else math.nan
    return found


def test_nineteen_classes_are_scored_on_seven():
    counts = np.random.default_rng(0).integers(0, 1000, (19, 19))
    scores = score(counts, own_protocol("coarse", SEVEN, COARSE, {}))
    assert scores.per_class == pytest.approx(by_hand(counts, NAMES, SEVEN))
    assert scores.n_counted == 7
    assert scores.protocol == "coarse"


def test_seven_classes_are_scored_on_nineteen():
    """What `in_train_ids` makes of a network that has coarse names of its own."""
    names = [*NAMES, *(name for name in SEVEN if name not in NAMES)]
    counts = np.zeros((len(names), len(names)), dtype=np.int64)
    columns = [names.index(name) for name in SEVEN]
    counts[:19, columns] = np.random.default_rng(1).integers(0, 1000, (19, 7))
    scores = score(counts, own_protocol("coarse", SEVEN, COARSE, {}), class_names=names)
    assert scores.per_class == pytest.approx(by_hand(counts, names, SEVEN))


def test_what_is_not_mapped_is_ignored_as_truth_and_missed_as_prediction():
    counts = np.zeros((19, 19), dtype=np.int64)
    counts[0, 0], counts[0, 1], counts[1, 0], counts[0, 13] = 5, 3, 100, 7
    protocol = own_protocol("few", ["road"], {"road": "road"}, {"car": "ignored"})
    assert score(counts, protocol).per_class == {"road": 5 / 8}


def test_a_built_in_protocol_can_be_said_in_the_catalog():
    counts = np.random.default_rng(2).integers(0, 1000, (19, 19))
    known = PROTOCOLS["camvid11"]
    ours = own_protocol("mine", known.classes, known.truth, known.prediction)
    assert score(counts, ours).per_class == score(counts, "camvid11").per_class


def test_a_miou_says_over_which_classes_it_is():
    counts = np.zeros((19, 19), dtype=np.int64)
    counts[0, 0], counts[13, 13], counts[0, 14], counts[13, 6] = 90, 50, 10, 50
    scores = score(counts, "score19")
    assert scores.n_counted == 4  # truck and traffic light are predicted alone
    assert set(NAMES) - set(scores.not_in_truth) == {"road", "car"}
    assert scores.miou_of_truth == pytest.approx((0.9 + 0.5) / 2)
    assert scores.miou == pytest.approx((0.9 + 0.5) / 4)


def test_arms_over_different_classes_are_warned_of():
    def evaluated(light: float) -> Evaluated:
        per_class = {"road": 0.9, "traffic light": light}
        return Evaluated(0.5, per_class, 4, "x", None, ("traffic light",), 0.9)

    alike = class_notes({"pretrained": evaluated(0.0), "ga": evaluated(0.0)})
    assert alike == [
        "mIoU over 2 of 2 classes; the truth has no traffic light (over the classes that it has: "
        "Pre-trained 90.0 %, GA 90.0 %)"
    ]
    alone = class_notes({"ga": evaluated(0.0)})
    assert alone == [
        "mIoU over 2 of 2 classes; the truth has no traffic light (over the classes that it has: "
        "90.0 %)"
    ]
    # Where no arm predicts it, the mIoU is over the classes that the truth has.
    assert class_notes({"pretrained": evaluated(math.nan), "ga": evaluated(math.nan)}) == [
        "mIoU over 1 of 2 classes; the truth has no traffic light"
    ]
    differing = class_notes({"pretrained": evaluated(0.0), "ga": evaluated(math.nan)})
    assert differing[1].startswith("warning: the arms' mIoU are over different classes")
    assert "2 (90.0 %)" in differing[1]
    assert "1 (90.0 %)" in differing[1]


def test_a_city_is_scored_on_a_folder_with_a_protocol_of_ones_own(
    write_catalog, many_flows, tmp_path: Path
):
    rng = np.random.default_rng(0)
    for number in range(3):
        for kind, values in (
            ("images", rng.integers(0, 256, (64, 128, 3), dtype=np.uint8)),
            ("labels", rng.integers(0, 3, (64, 128), dtype=np.uint8)),
        ):
            (tmp_path / "ours" / kind).mkdir(parents=True, exist_ok=True)
            Image.fromarray(values).save(tmp_path / "ours" / kind / f"{number}.png")
    labels = {
        "kind": "folder",
        "root": "ours",
        "label_map": {0: "road", 1: "car", 2: "void"},
        "protocol": "coarse",
    }
    catalog = write_catalog(tmp_path, protocols={"coarse": {"truth": COARSE, "classes": SEVEN}})
    document = yaml.safe_load(catalog.read_text())
    document["cities"]["tokyo"]["labels"] = labels
    catalog.write_text(yaml.safe_dump(document))
    plan = open_plan(catalog, city="tokyo")
    assert len(labelled_set(plan, "tokyo", None).samples("test")) == 3
    for words in (("harvest", "tokyo"), ("evaluate", "tokyo", "--arm", "pretrained")):
        done = many_flows(*words, "--catalog", catalog)
        if words[0] == "evaluate" and done["code"] == 2:  # it is to be pre-trained first
            done = many_flows("pretrain", "compact", "--catalog", catalog)
            assert done["code"] == 0, done["err"]
            done = many_flows(*words, "--catalog", catalog)
        assert done["code"] == 0, done["err"]
    assert "mIoU over " in done["out"]
    assert "the truth has no construction" in done["out"]
    store = Store(tmp_path / "store")
    ref = evaluation_of_arm("tokyo", "pretrained", 0, plan)
    content = json.loads(store.path(ref, "evaluation.json").read_text())
    assert list(content["per_class"]) == SEVEN
    assert content["protocol"] == "coarse"
    assert content["protocol_truth"] == COARSE
    assert content["not_in_truth"] == [name for name in SEVEN if name not in ("flat", "vehicle")]


def test_the_split_that_is_scored_on_is_kept(write_catalog, tmp_path):
    transfer = {"segmenter": "compact", "target": "frankfurt", "test_split": "val"}
    plan = open_plan(write_catalog(tmp_path, transfers={"home": transfer}))
    assert rules_of(plan, "home").parameters()["split"] == "val"
    assert rules_of(plan, "tokyo").parameters()["split"] == "test"


def test_a_transfer_is_scored_on_the_classes_that_its_target_tells_apart(write_catalog, tmp_path):
    to_camvid = {"segmenter": "compact", "target": "camvid"}
    plan = open_plan(
        write_catalog(
            tmp_path,
            datasets={"camvid": {"kind": "camvid", "root": "."}},
            transfers={
                "there": to_camvid,
                "said": {**to_camvid, "protocol": "score19"},
                "home": {"segmenter": "compact", "target": "frankfurt"},
            },
        )
    )
    scored = {name: rules_of(plan, name).protocol.name for name in ("there", "said", "home")}
    assert scored == {"there": "camvid11", "said": "score19", "home": "score19"}
    assert {"road", "pole", "bicycle", "truck"} <= scored_classes(plan, "there")


@pytest.mark.parametrize(
    ("protocols", "protocol", "said"),
    [
        ({"c": {"truth": {"raod": "flat"}}}, "score13", "class 'raod', which no label is read as"),
        ({"c": {"truth": {"road": "ignored"}}}, "score13", "truth counts as a scored class"),
        ({"c": {"truth": COARSE, "classes": ["flat"]}}, "score13", "must be the same"),
        (
            {"c": {"truth": COARSE, "prediction": {"road": "falt"}}},
            "score13",
            "as 'falt', which is not scored",
        ),
        (
            {"c": {"truth": COARSE, "prediction": {"raod": "flat"}}},
            "score13",
            r"protocols\.c\.prediction\.raod: no segmenter of the catalog has such a class",
        ),
        ({"score19": {"truth": COARSE}}, "score13", "a protocol of this name already"),
        (
            {"c": {"truth": COARSE, "prediction": {"person": "missed", "rider": "ignored"}}},
            "score13",
            r"protocols\.c\.prediction: no class of a segmenter .* counts as 'human'",
        ),
        (
            {"c": {"truth": {"road": "void", "car": "vehicle"}}},
            "score13",
            "cannot be called 'void'",
        ),
        ({"c": {"truth": {"road": "Ignored"}}}, "score13", "cannot be called 'Ignored'"),
        ({"c": {"truth": {"road": "", "car": "vehicle"}}}, "score13", "a class is called ''"),
        ({"c": {"truth": {"road": "flat ", "car": "v"}}}, "score13", "a class is called 'flat '"),
        ({"c": {"truth": {"road": "Flat", "sidewalk": "flat"}}}, "score13", "are too alike"),
        (
            {"c": {"truth": {"road": "flat"}, "classes": ["flat", "flat"]}},
            "score13",
            "must be the same, each once",
        ),
        ({}, "coarse", r"labels\.protocol: there is no protocol 'coarse' here"),
        ({}, "score19", "there is no protocol 'score19' here"),
    ],
)
def test_protocols_that_cannot_be_are_reported(write_catalog, tmp_path, protocols, protocol, said):
    city = {"labels": {"protocol": protocol}}
    with pytest.raises(CatalogError, match=said):
        load_catalog(write_catalog(tmp_path, city=city, protocols=protocols))


def test_a_set_whose_labels_are_all_void_ends_before_training(write_catalog, many_flows, tmp_path):
    for kind, shape in (("images", (64, 128, 3)), ("labels", (64, 128))):
        (tmp_path / "ours" / kind / "train").mkdir(parents=True)
        Image.fromarray(np.zeros(shape, dtype=np.uint8)).save(
            tmp_path / "ours" / kind / "train" / "a.png"
        )
    ours = {"kind": "folder", "root": "ours", "label_map": {0: "void", 1: "road"}}
    catalog = write_catalog(
        tmp_path, datasets={"ours": ours}, segmenters={"compact": {"source": "ours"}}
    )
    done = many_flows("pretrain", "compact", "--catalog", catalog)
    assert done["code"] == 2
    assert "all labels of its 1 images are void" in done["err"]
    assert InputError is not None
