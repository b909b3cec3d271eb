"""How often a listing under way is noted: often, but for no large part of its time."""

from __future__ import annotations

from typing import Any

import pytest

from adapters.store import Store
from tasks.harvesting import listing
from tasks.harvesting.spending import StepSpending


@pytest.mark.parametrize(("takes", "least", "most"), [(0.0, 150, 200), (10.0, 5, 9)])
def test_large_notes_are_written_seldom(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch, takes: float, least: int, most: int
) -> None:
    """A thousand tiles of a second each."""
    now, written = 0.0, 0
    monkeypatch.setattr(listing, "time", type("Clock", (), {"monotonic": lambda: now}))
    store = Store(tmp_path / "store")
    spending = StepSpending(store, "captures", "rome", "k")
    record = listing._Record(store, ("captures", "rome", "k"), spending)

    def note() -> bytes:
        nonlocal now, written
        written += 1
        now += takes
        return b"{}"

    for _ in range(1000):
        now += 1.0
        record.save(note)
    assert least <= written <= most
