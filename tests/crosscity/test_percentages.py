"""Shares as people read them: what is there is never 0."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crosscity.labels import CLASSES
from crosscity.percentages import percentage
from tasks.pages.paper_tables import _shares_table


@pytest.mark.parametrize(
    ("share", "digits", "shown"),
    [
        (0.0, 2, "0.00"),
        (0.12345, 2, "12.35"),
        (0.00005, 2, "0.01"),
        (0.00004999, 2, "0.005"),
        (0.0000032, 2, "0.0003"),
        (0.00000996, 2, "0.0010"),
        (0.0004, 1, "0.04"),
        (1.0, 1, "100.0"),
    ],
)
def test_digits(share: float, digits: int, shown: str) -> None:
    assert percentage(share, digits) == shown


@given(share=st.floats(1e-12, 1), digits=st.integers(0, 3))
def test_what_is_there_is_not_0_and_is_nearly_what_is_shown(share: float, digits: int) -> None:
    shown = float(percentage(share, digits))
    assert shown > 0
    assert abs(shown - 100 * share) <= max(0.5 * 10**-digits, 0) + 1e-9


def test_label_statistics_show_a_rare_class() -> None:
    shares = dict.fromkeys((one.name for one in CLASSES), 0.0) | {"road": 0.4, "rider": 0.00003}
    rows = {row[0]: row[1] for row in _shares_table({"rome": shares}).rows}
    assert (rows["road"], rows["rider"], rows["train"]) == ("40.00", "0.003", "0.00")
