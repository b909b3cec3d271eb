"""On the same files, the official evaluation of Cityscapes gives the same numbers."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from adapters.datasets.cityscapes import CityscapesDataset
from crosscity.evaluation import confusion_matrix, score
from crosscity.labels import CLASSES, TRAIN_ID_TO_LABEL_ID


def files(root: Path) -> list[tuple[Path, Path]]:
    """Five scenes of blocks: truths with every labelId, predictions that are mostly right."""
    random = np.random.default_rng(4)
    made = []
    for number in range(5):
        name = f"lindau_{number:06d}_000019"
        truth = np.kron(random.integers(0, 34, (9, 16)), np.ones((7, 8))).astype(np.uint8)
        classes = [c.label_id for c in CLASSES if c.name != "train"]  # one class is never predicted
        predicted = np.where(np.isin(truth, classes), truth, random.choice(classes, truth.shape))
        wrong = random.random(truth.shape) < 0.3
        predicted[wrong] = random.choice(classes, int(wrong.sum()))
        truth_path = root / f"gtFine/val/lindau/{name}_gtFine_labelIds.png"
        predicted_path = root / f"results/{name}.png"
        image_path = root / f"leftImg8bit/val/lindau/{name}_leftImg8bit.png"
        for path, pixels in ((truth_path, truth), (predicted_path, predicted.astype(np.uint8))):
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(path)
        image_path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.zeros((*truth.shape, 3), dtype=np.uint8)).save(image_path)
        made.append((predicted_path, truth_path))
    return made


def test_ious_agree_to_a_millionth(tmp_path: Path) -> None:
    official = pytest.importorskip(
        "cityscapesscripts.evaluation.evalPixelLevelSemanticLabeling",
        reason="cityscapesscripts is not installed",
    )
    pairs = files(tmp_path)
    settings = copy.copy(official.args)
    settings.evalInstLevelScore = False
    settings.JSONOutput = False
    settings.quiet = True
    results = official.evaluateImgLists(
        [str(predicted) for predicted, _ in pairs], [str(truth) for _, truth in pairs], settings
    )
    dataset = CityscapesDataset(tmp_path)
    to_train_id = np.full(256, 255, dtype=np.uint8)
    for train_id in range(len(CLASSES)):
        to_train_id[TRAIN_ID_TO_LABEL_ID[train_id]] = train_id
    total = np.zeros((19, 19), dtype=np.int64)
    for sample, (predicted_path, _) in zip(dataset.samples("val"), pairs, strict=True):
        with Image.open(predicted_path) as predicted:
            train_ids = to_train_id[np.asarray(predicted)]
        total += confusion_matrix(dataset.read(sample).train_ids, train_ids, 19)
    ours = score(total, "score19")
    for name, iou in ours.per_class.items():
        assert iou == pytest.approx(results["classScores"][name], abs=1e-6), name
    assert ours.miou == pytest.approx(results["averageScoreClasses"], abs=1e-6)
    assert 0.2 < ours.miou < 0.9  # a comparison of something
    assert ours.per_class["train"] == 0
