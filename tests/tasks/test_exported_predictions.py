"""Predictions that are handed on, whatever ids their label maps hold."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest

from adapters.images import ImageError
from adapters.predictions import IDS, Ids, PredictionFolder, Wanted
from crosscity.labels import CLASSES, VOID
from tasks.pages.exporting import _Predicted

NAMES = ("puddle", *(road_class.name for road_class in reversed(CLASSES)))
"""In another order than Cityscapes' and with a class that it does not know."""


@pytest.mark.parametrize("ids", IDS)
@pytest.mark.parametrize("names", [NAMES, ("pole", "building")])
def test_every_kind_of_label_map_becomes_train_ids(
    tmp_path: Path, ids: Ids, names: tuple[str, ...]
) -> None:
    """Those with a palette, also one of greys alone, are the ids that stand in them."""
    labels = np.random.default_rng(0).integers(0, len(names), (12, 20), dtype=np.uint8)
    folder = PredictionFolder(tmp_path, names, Wanted(ids, overlays=False), {})
    picture = np.zeros((12, 20, 3), dtype=np.uint8)
    row = folder.write("a", picture, labels, np.ones((12, 20), dtype=np.float32))
    digest = hashlib.sha256(b"a jpeg").hexdigest()
    folder.finish([{"image": "a", "sha256": digest, "status": "ok", **row}])
    train_ids = {road_class.name: road_class.train_id for road_class in CLASSES}
    expected = np.array([train_ids.get(name, VOID) for name in names], dtype=np.uint8)[labels]
    read = _Predicted(tmp_path, "tokyo", ["a"])
    found = read.of("a", b"a jpeg", (12, 20))
    np.testing.assert_array_equal(found, expected)
    with pytest.raises(ImageError, match="12×20 pixels high and wide where 12×21 is needed"):
        read.of("a", b"a jpeg", (12, 21))
