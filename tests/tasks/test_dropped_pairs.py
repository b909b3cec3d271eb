"""What became no pair is noted with its reason, beside the pairs and not in their digest."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from adapters.store import ArtifactRef, Store
from tasks.harvesting.current import Harvest
from tasks.harvesting.harvest import choose_pairs
from tasks.harvesting.pair_table import count_dropped, joined_groups, read_dropped
from tasks.harvesting.watch import add_pairs
from tasks.steps.plan import Plan, open_plan
from tasks.steps.schemas import IMAGERY
from tasks.steps.tables import write_rows

START = datetime(2026, 1, 1, tzinfo=UTC)


def _image(place: int, days: int, heading: float = 90.0) -> dict[str, Any]:
    return {
        **dict.fromkeys(IMAGERY.names),
        "image_id": f"p{place}-{days}-{heading:g}",
        "provider": "folder",
        "place_id": f"p{place}",
        "lat": 35.6 + place / 1000,
        "lon": 139.7,
        "heading": heading,
        "pitch": 0.0,
        "fov": 90.0,
        "captured_at": START + timedelta(days=days),
        "licence": "CC0-1.0",
        "attribution": "nobody",
        "status": "ok",
    }


def _imagery(store: Store, key: str, rows: list[dict[str, Any]]) -> ArtifactRef:
    with store.draft(
        "imagery", "tokyo", key, inputs={}, parameters={"key": key}, version="1"
    ) as draft:
        write_rows(draft, "imagery.parquet", rows, IMAGERY)
        draft.summary = {"images": len(rows), "added": 1}
    return draft.ref


@pytest.fixture
def plan(write_catalog, tmp_path: Path) -> Plan:
    settings = {"test_places": 1, "min_days_apart": 60, "labels": None}
    return open_plan(write_catalog(tmp_path, city=settings))


PAIRED = [_image(place, days) for place in range(4) for days in (0, 100)]
LONELY, SOON = [_image(7, 0)], [_image(8, 0), _image(8, 5)]


def _ref(made: Any) -> ArtifactRef:
    """Of a step that is called as a plain function, in whatever it wraps it."""
    made = getattr(made, "data", made)
    ref: ArtifactRef = getattr(made, "ref", made)
    return ref


def test_single_captures_and_close_times_are_noted(plan: Plan) -> None:
    store = plan.open_store()
    imagery = _imagery(store, "a" * 24, [*PAIRED, *LONELY, *SOON])
    pairs = _ref(choose_pairs.fn(imagery, "tokyo", plan))
    rows = read_dropped(store, pairs)
    assert rows is not None
    reasons = {row["image_id"]: row["reason"] for row in rows}
    assert reasons == {
        "p7-0-90": "only one capture at this place and heading",
        "p8-0-90": "no two captures 60 days apart",
        "p8-5-90": "no two captures 60 days apart",
    }
    assert dict(count_dropped(rows)) == store.manifest(pairs).summary["dropped"]
    assert store.manifest(pairs).measured == ("dropped.parquet",)


def test_the_pairs_of_an_earlier_release_are_the_same_artifact(plan: Plan, monkeypatch) -> None:
    store = plan.open_store()
    imagery = _imagery(store, "a" * 24, [*PAIRED, *LONELY])
    now = _ref(choose_pairs.fn(imagery, "tokyo", plan))
    store.remove(now)
    monkeypatch.setattr("tasks.harvesting.harvest.write_dropped", lambda _draft, _rows: None)
    before = _ref(choose_pairs.fn(imagery, "tokyo", plan))
    assert before == now
    assert read_dropped(store, before) is None


def test_what_new_imagery_pairs_is_dropped_no_more(plan: Plan) -> None:
    store = plan.open_store()
    old = [*PAIRED, *LONELY, *SOON]
    imagery = _imagery(store, "a" * 24, old)
    pairs = _ref(choose_pairs.fn(imagery, "tokyo", plan))
    later = _imagery(store, "b" * 24, [*old, _image(7, 200), _image(9, 200)])
    added = _ref(add_pairs.fn(Harvest(imagery, pairs), later, "tokyo", plan))
    rows = read_dropped(store, added)
    assert rows is not None
    assert {row["place_id"] for row in rows} == {"p8", "p9"}
    assert len({row["group"] for row in rows}) == 2


def test_groups_of_two_tables_stay_apart() -> None:
    one = [{"group": 0, "reason": "a"}, {"group": 0, "reason": "a"}]
    joined = joined_groups(one, [{"group": 0, "reason": "a"}])
    assert count_dropped(joined) == {"a": 2}
    assert joined_groups([], one) == one
