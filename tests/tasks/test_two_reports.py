"""The page on the figures of two reports: what is there is never shown as nothing."""

from __future__ import annotations

from tasks.pages.read_report import ReadReport
from tasks.pages.two_reports import render_two_reports


def test_a_rare_class_is_no_zero() -> None:
    first = ReadReport("a", "a", {"share.bus": 0.0001, "share.car": 0.25})
    second = ReadReport("b", "b", {"share.bus": 0.0003, "share.car": 0.0})
    page = render_two_reports(first, second)
    for row in (
        "share.bus</th><td>0.01 %</td><td>0.03 %</td><td>+0.02 %</td>",
        "share.car</th><td>25.0 %</td><td>0.0 %</td><td>-25.0 %</td>",
    ):
        assert row in page
