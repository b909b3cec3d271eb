"""What a benchmark makes of signals and of what is true: ranks, thresholds, classes."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.harmed_classes import FALSE, auc, rows_of_case, signals_of, threshold

ROWS = st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=1, max_size=30)


@given(ROWS)
def test_auc_is_the_share_of_pairs_in_the_right_order(rows) -> None:
    values = np.array([float(value) for value, _ in rows])
    harmed = np.array([flag for _, flag in rows])
    wins = [
        (high > low) + 0.5 * (high == low) for high in values[harmed] for low in values[~harmed]
    ]
    (found,) = auc(values, harmed)
    assert math.isnan(found) if not wins else found == pytest.approx(np.mean(wins))


@given(ROWS)
def test_drawing_a_row_twice_is_having_it_twice(rows) -> None:
    values = np.array([float(value) for value, _ in rows])
    harmed = np.array([flag for _, flag in rows])
    often = np.arange(len(rows)) % 3
    (drawn,) = auc(values, harmed, often[None].astype(float))
    (repeated,) = auc(values.repeat(often), harmed.repeat(often))
    assert drawn == pytest.approx(repeated, nan_ok=True)


@given(ROWS, st.integers(1, 9))
def test_above_a_threshold_there_are_no_more_false_classes_than_allowed(rows, count) -> None:
    known = [
        {"adaptation": str(at % count), "signal": float(value), "change": -9.0 if flag else 1.0}
        for at, (value, flag) in enumerate(rows)
    ]
    limit = threshold("signal", known)
    false = sum(row["signal"] > limit and row["change"] > 0 for row in known)
    assert false <= FALSE * len({row["adaptation"] for row in known})


def case(moved, looks) -> dict:
    """One set of three classes; a network is sure of everything."""
    return {
        "names": ["road", "sky", "rest"],
        "moved": moved,
        "sure_before": moved,
        "sure_after": moved,
        "soft": [np.sum(moved, axis=1).tolist(), np.sum(moved, axis=0).tolist()],
        "looks": {"smaller": looks, "mirrored": looks},
        "true": [{"road": 80.0, "sky": 81.0}, {"road": 85.0, "sky": 62.0}],
    }


def test_signals_are_those_of_counting_by_hand() -> None:
    moved = [[60, 0, 0], [20, 10, 10], [0, 0, 0]]
    before, after = [[5, 0, 0], [0, 4, 0], [0, 0, 0]], [[5, 2, 0], [0, 2, 0], [0, 0, 0]]
    seen = signals_of(case(moved, [before, after]))
    assert seen["sky"]["share falls"] == pytest.approx(math.log(4))
    assert seen["sky"]["copies agree less"] == pytest.approx(1 - 2 / 4)
    assert seen["road"]["copies agree less"] == pytest.approx(1 - 5 / 7)
    assert seen["sky"]["left though sure"] == pytest.approx(30 / 40)
    assert seen["sky"]["changed"] == pytest.approx(1 - 10 / 40)
    assert seen["road"]["entered"] == pytest.approx(20 / 80)
    assert "copies agree less" not in seen["rest"], "no copy has it"


def test_a_row_is_a_class_that_is_scored_and_seen() -> None:
    moved = [[99_000, 900, 10], [0, 50, 0], [0, 0, 0]]
    found = {"name": "one", "start": "n", "sets": {"day": case(moved, [np.eye(3).tolist()] * 2)}}
    rows = rows_of_case(found)
    assert [(row["class"], row["change"]) for row in rows] == [("road", 5.0), ("sky", -19.0)]
    found["sets"]["day"]["moved"] = [[99_000, 50, 10], [0, 10, 0], [0, 0, 0]]
    assert [row["class"] for row in rows_of_case(found)] == ["road"], "too little to be told"
