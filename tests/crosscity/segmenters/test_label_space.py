"""Classes in another order, fewer or more than the 19: predictions and labels by name."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from crosscity.adaptation import LabelledArrays
from crosscity.evaluation import evaluate, predict, score
from crosscity.labels import CLASSES, VOID
from crosscity.segmenters import build_segmenter, class_table, image_tensor, in_train_ids

NAMES = [road_class.name for road_class in CLASSES]
SPACES = {
    "reversed": NAMES[::-1],
    "thirteen": NAMES[:13],
    "others between": ["egg", *NAMES[5:], "lane", *NAMES[:3]],
}


def pictures(number: int = 3) -> np.ndarray:
    return np.random.default_rng(number).integers(0, 256, (number, 24, 40, 3), dtype=np.uint8)


@pytest.mark.parametrize("names", SPACES.values(), ids=SPACES)
def test_labels_follow_their_names_and_what_is_not_known_is_void(names):
    table = class_table(names)
    for road_class in CLASSES:
        found = table[road_class.train_id]
        assert (names[found] if found != VOID else None) == (
            road_class.name if road_class.name in names else None
        )
    assert table[VOID] == VOID
    np.testing.assert_array_equal(class_table(NAMES), np.arange(256))


def test_a_segmenter_of_the_nineteen_classes_is_left_as_it_is():
    segmenter = build_segmenter("compact", {"width": 8})
    assert in_train_ids(segmenter) is segmenter


@pytest.mark.parametrize("names", SPACES.values(), ids=SPACES)
def test_predictions_are_the_same_classes_under_their_train_ids(names):
    segmenter = build_segmenter("compact", {"width": 8, "class_names": names}, seed=4)
    renamed = in_train_ids(segmenter)
    assert renamed.class_names[:19] == tuple(NAMES)
    assert set(renamed.class_names) == set(NAMES) | set(names)
    own = predict(segmenter, pictures())
    found = predict(renamed, pictures())
    assert len(np.unique(found)) > 1
    np.testing.assert_array_equal(np.array(names)[own], np.array(renamed.class_names)[found])


def test_a_class_that_a_segmenter_lacks_is_one_that_it_misses():
    segmenter = build_segmenter("compact", {"width": 8, "class_names": NAMES[:13]}, seed=4)
    truth = np.full((3, 24, 40), NAMES.index("bus"), dtype=np.uint8)
    truth[:, :, :20] = predict(in_train_ids(segmenter), pictures())[:, :, :20]
    counted = evaluate(in_train_ids(segmenter), LabelledArrays(pictures(), truth))
    scores = score(counted, "score19")
    assert scores.per_class["bus"] == 0
    assert counted.sum() == truth.size
    assert 0 < scores.miou < 1


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16, torch.float16])
def test_a_class_that_a_segmenter_lacks_never_wins_between_cells(precision):
    segmenter = in_train_ids(build_segmenter("compact", {"width": 8, "class_names": NAMES[:2]}))
    logits = segmenter.classify(segmenter.features(image_tensor(pictures())))
    fine = segmenter.upsample(logits.to(precision).float(), (24, 40))
    assert torch.isfinite(fine).all()
    assert fine.argmax(1).max() < 2


def test_more_classes_than_labels_tell_apart_are_refused():
    """Of 300 the 290th was predicted as the 34th: labels have 8 bits."""
    most = [f"class {number}" for number in range(236)]
    renamed = in_train_ids(build_segmenter("compact", {"width": 8, "class_names": most}))
    assert renamed.n_classes == VOID
    with pytest.raises(ValueError, match="may be 255 together, as labels have 8 bits, not 256"):
        build_segmenter("compact", {"width": 8, "class_names": [*most, "one more"]})
    last = build_segmenter("compact", {"width": 8, "class_names": [*most[:-1], *NAMES]})
    assert last.n_classes == 254
