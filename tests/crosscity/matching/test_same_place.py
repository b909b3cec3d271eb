"""Which pictures of a group show one place."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from crosscity.matching.same_place import same_place


def symmetric(*upper: tuple[int, int, int], count: int) -> np.ndarray:
    table = np.zeros((count, count), dtype=np.int64)
    for i, j, matches in upper:
        table[i, j] = matches
    return table


def test_the_one_that_matches_nothing_well_is_of_another_place() -> None:
    for stranger in range(4):
        table = np.zeros((4, 4), dtype=np.int64)
        for i, j in itertools.combinations(range(4), 2):
            table[i, j] = 90 if stranger in (i, j) else 900
        assert same_place(table).tolist() == [k != stranger for k in range(4)]
        assert np.array_equal(same_place(table), same_place(table.T))


def test_who_is_linked_by_a_third_belongs_together() -> None:
    # Each capture stands metres behind the one before.
    chain = symmetric((0, 1, 500), (1, 2, 450), (2, 3, 500), (0, 3, 10), (0, 2, 90), count=4)
    assert same_place(chain).all()


def test_the_larger_group_stays_and_of_equal_ones_the_first() -> None:
    larger = symmetric((0, 1, 800), (2, 3, 900), (3, 4, 700), count=5)
    assert same_place(larger).tolist() == [False, False, True, True, True]
    equal = symmetric((0, 2, 300), (1, 3, 900), count=4)
    assert same_place(equal).tolist() == [True, False, True, False]


@pytest.mark.parametrize("count", [0, 1, 2, 3])
def test_where_nothing_matches_the_first_is_alone(count: int) -> None:
    assert same_place(np.zeros((count, count), dtype=np.int64)).tolist() == [
        index == 0 for index in range(count)
    ]


def test_a_table_is_square() -> None:
    with pytest.raises(ValueError, match="square"):
        same_place(np.zeros((2, 3), dtype=np.int64))
