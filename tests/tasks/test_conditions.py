"""Conditions of `crosscity check` are read and never executed."""

from __future__ import annotations

import ast
import contextlib
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.pages.conditions import holds
from tasks.pages.read_report import read_report
from tasks.steps.errors import InputError

FIGURES = {"agreement": 0.55, "harmful": 0.0, "iou.traffic_light": 0.1, "miou": None}


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("agreement<0.6", True),
        ("agreement >= 0.6", False),
        ("0.5 < agreement < 0.6", True),
        ("harmful", False),
        ("not harmful and agreement - 0.1 < 0.5", True),
        ("harmful or iou.traffic_light < 0.05", False),
        ("(agreement + iou.traffic_light) / 2 == 0.325", True),
        ("-agreement < 0", True),
    ],
)
def test_conditions_mean_what_they_say(condition, expected) -> None:
    assert holds(condition, FIGURES) is expected


@pytest.mark.parametrize(
    ("condition", "why"),
    [
        ("", "cannot be read"),
        ("agreement <", "cannot be read"),
        ("kappa<1", "has no figure 'kappa'; it has agreement"),
        ("agreement<1 or kappa<1", "has no figure 'kappa'"),
        ("miou < 1", "has no value of 'miou'"),
        ("agreement / harmful > 1", "divides by 0"),
        ("__import__('os').system('true')", "no name|more than names"),
        ("(lambda: 1)()", "more than names"),
        ("agreement < True", "more than names"),
        ("agreement < 'a'", "more than names"),
        ("agreement in [1]", "more than names"),
        ("9**9**9 > 1", "more than names"),
        ("1e999 > agreement", "more than names"),
        ("(" * 300 + "1" + ")" * 300, "more than 500 characters"),
        ("-" * 499 + "1", "cannot be (read|computed)"),
    ],
)
def test_what_is_not_a_condition_is_one_sentence(condition, why) -> None:
    with pytest.raises(InputError, match=why):
        holds(condition, FIGURES)


@given(st.text(max_size=60))
def test_no_text_does_anything_but_hold_or_be_refused(text) -> None:
    with contextlib.suppress(InputError):
        assert holds(text, FIGURES) in (True, False)


NUMBERS = st.integers(-9, 9).map(str)


@given(
    st.recursive(
        NUMBERS,
        lambda inner: st.tuples(inner, st.sampled_from("+-*<>"), inner).map(
            lambda t: f"({t[0]} {t[1]} {t[2]})"
        ),
        max_leaves=8,
    )
)
def test_conditions_agree_with_python(text) -> None:
    expected = bool(eval(compile(ast.parse(text, mode="eval"), "", "eval")))  # noqa: S307
    assert holds(text, {}) is expected


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("{", "is not JSON"),
        ("[]", "not a report of format"),
        ('{"format": 2}', "not a report of format"),
        ('{"format": 1, "city": "x"}', "lacks city or figures"),
        ('{"format": 1, "city": "x", "figures": {"a": "b"}}', r"damaged at figures\.a"),
        ('{"format": 1, "city": "x", "figures": {"a": NaN}}', r"damaged at figures\.a"),
    ],
)
def test_a_damaged_report_is_refused(tmp_path, content, why) -> None:
    path = tmp_path / "report.json"
    path.write_text(content)
    with pytest.raises(InputError, match=why):
        read_report(path)
    path.write_text('{"format": 1, "city": "x", "figures": {"a": 1, "b": null}}')
    assert not math.isnan(read_report(path).figures["a"])
