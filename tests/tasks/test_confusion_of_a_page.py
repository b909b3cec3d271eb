"""The table "what is taken for what" counts as the scores do that stand above it."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from adapters.store import Store
from crosscity.evaluation import PROTOCOLS, score
from crosscity.evaluation.protocols import MISSED
from crosscity.segmenters.base import ROAD_CLASS_NAMES as NAMES
from tasks.judging.evaluation import CONFUSION
from tasks.pages.scores import read_confusion
from tasks.steps.tables import write_table


@pytest.fixture
def stored(tmp_path):
    """Writes a confusion matrix as an evaluation does; gives store and artifact."""
    store = Store(str(tmp_path / "store"))

    def write(counts: dict[tuple[str, str], int]):
        rows = [
            {"truth": t, "prediction": p, "pixels": counts.get((t, p), 0)}
            for t in NAMES
            for p in NAMES
        ]
        with store.draft(
            "evaluation", "town", "0" * 24, inputs={}, parameters={}, version="1"
        ) as draft:
            table = pa.Table.from_pylist(rows, schema=CONFUSION)
            write_table(draft.path / "confusion.parquet", table, CONFUSION)
        return store, draft.ref

    return write


def test_classes_that_a_protocol_merges_are_one_row_and_one_column(stored):
    store, ref = stored(
        {
            ("traffic sign", "traffic light"): 30,
            ("traffic sign", "traffic sign"): 50,
            ("traffic sign", "building"): 20,
            ("building", "wall"): 7,
            ("building", "sky"): 3,
        }
    )
    found = read_confusion(store, ref, PROTOCOLS["camvid11"])
    assert found.names == found.predicted == ["sky", "building", "traffic sign"]
    assert np.isnan(found.shares[0]).all()
    assert found.shares[1:].tolist() == [[0.3, 0.7, 0.0], [0.0, 0.2, 0.8]]


def test_pixels_that_are_lost_to_what_is_not_scored_have_a_column(stored):
    rules = PROTOCOLS["score13"]
    lost = next(n for n in NAMES if rules.prediction.get(n) == MISSED)
    store, ref = stored({("road", "road"): 75, ("road", lost): 25, (lost, "road"): 1000})
    found = read_confusion(store, ref, rules)
    assert (found.names, found.predicted) == (["road"], ["road", "not scored"])
    assert found.shares.tolist() == [[0.75, 0.25]]


def test_its_diagonal_is_the_recall_of_what_is_scored(stored):
    random = np.random.default_rng(5)
    counts = random.integers(0, 50, (19, 19))
    pixels = {(NAMES[i], NAMES[j]): int(n) for (i, j), n in np.ndenumerate(counts)}
    store, ref = stored(pixels)
    for rules in PROTOCOLS.values():
        found = read_confusion(store, ref, rules)
        assert found.names == list(score(counts, rules).per_class)
        assert np.allclose(found.shares.sum(axis=1), 1)
