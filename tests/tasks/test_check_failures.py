"""A few bad images are rows; too many end the flow."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.steps.errors import TooManyFailures, check_failures


@given(
    failed=st.dictionaries(st.text(min_size=1, max_size=8), st.integers(1, 50), max_size=5),
    good=st.integers(0, 300),
    limit=st.floats(0, 1),
)
def test_exactly_more_than_the_limit_or_nothing_left_ends_the_flow(failed, good, limit):
    count = sum(failed.values())
    total = count + good
    wrong = total > 0 and (count > limit * total or good == 0)
    if wrong:
        with pytest.raises(TooManyFailures):
            check_failures("images", failed, total, limit)
    else:
        check_failures("images", failed, total, limit)


def test_the_sentence_counts_and_names_the_three_commonest_reasons():
    failed = {"rare": 1, "cut short": 7, "not an image": 3, "too large": 2}
    with pytest.raises(TooManyFailures) as caught:
        check_failures("images", failed, 100, 0.1)
    text = str(caught.value)
    assert "13 of 100 images failed, more than the limit of 10%" in text
    assert text.endswith("7 × cut short; 3 × not an image; 2 × too large")
    assert "\n" not in text


@pytest.mark.parametrize(
    ("failed", "total", "limit", "said"),
    [
        (3, 3, 1.0, "all 3 pairs failed, and nothing is left: 3 × cut short"),
        (3, 300, 0.005, "3 of 300 pairs failed, more than the limit of 0.5% "),
        (1, 300, 0.0, "1 of 300 pairs failed, more than the limit of 0% "),
    ],
)
def test_the_sentence_says_no_limit_that_is_not_exceeded(failed, total, limit, said):
    with pytest.raises(TooManyFailures) as caught:
        check_failures("pairs", {"cut short": failed}, total, limit)
    assert str(caught.value).startswith(said)


def test_nothing_to_do_is_not_a_failure():
    check_failures("pairs", {}, 0, 0.0)
