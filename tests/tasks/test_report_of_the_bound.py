"""What learned from all labels is not judged without: its report says nothing against it."""

from __future__ import annotations

from typing import Any

import pytest

from flows import report_city as module


@pytest.mark.parametrize("arm", ["fine_tuned", "full"])
def test_the_report_of_the_bound_judges_nothing(
    write_catalog: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch, arm: str
) -> None:
    plan = module.open_plan(write_catalog(tmp_path))
    parts: dict[str, Any] = {"imagery": 1, "pairs": 2, f"segmenter-{arm}": 3}
    monkeypatch.setattr(module, "report_parts", lambda *_: dict(parts))
    monkeypatch.setattr(module, "compared_segmenters", lambda *_: (4, 3))
    monkeypatch.setattr(module, "shown_arm", lambda *_: arm)
    monkeypatch.setattr(module, "judge_adaptation", lambda *_: "judged")
    monkeypatch.setattr(module, "compare_on_images", lambda *_: "compared")
    monkeypatch.setattr(module, "write_report", lambda shown, *_: shown)
    shown: Any = module.report_city_by.fn(plan, "tokyo", 0)
    judged = {} if arm == "fine_tuned" else {"safeguard": "judged"}
    assert shown == {**parts, **judged, "differences": "compared"}
