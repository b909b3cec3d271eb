"""Artifacts behind a page."""

from __future__ import annotations

import inspect
import sys
from pathlib import Path

from adapters.store import ArtifactRef, Store
from tasks.pages.lineage import behind, lineage

EXTENDED = 150
ROOM = 100
"""Of the recursion limit, beyond what the test itself stands in: less than `EXTENDED`."""


def made(
    store: Store, key: str, inputs: dict[str, ArtifactRef], kind: str = "imagery"
) -> ArtifactRef:
    digests = {role: ref.digest for role, ref in inputs.items()}
    with store.draft(
        kind, "tokyo", key, inputs=digests, parameters={}, version="1", inputs_at=inputs
    ) as draft:
        (draft.path / "what").write_text(key)
    return draft.ref


def test_inputs_stand_before_what_was_made_of_them(tmp_path: Path) -> None:
    store = Store(tmp_path)
    first = made(store, "a", {})
    left, right = made(store, "b", {"of": first}), made(store, "c", {"of": first})
    both = made(store, "d", {"left": left, "right": right})

    found = behind(store, {"shown": both, "also": first})

    assert [one.ref for one in found] == [first, left, right, both]
    assert list(found[3].made_of) == [left, right]


def test_a_city_may_have_been_extended_as_often_as_it_was_watched(tmp_path: Path) -> None:
    store = Store(tmp_path)
    last = made(store, "0000", {})
    for number in range(1, EXTENDED):
        last = made(store, f"{number:04}", {"before": last})

    before = sys.getrecursionlimit()
    sys.setrecursionlimit(len(inspect.stack()) + ROOM)
    try:
        found = behind(store, {"imagery": last})
    finally:
        sys.setrecursionlimit(before)

    assert len(found) == EXTENDED
    assert found[-1].ref == last


def test_shards_of_one_set_stand_in_one_row(tmp_path: Path) -> None:
    """A set of 100 000 images has a thousand."""
    store, parts = Store(tmp_path), {}
    for kind in ("labelled", "unlabelled", "static_prior_part", "captures_slice"):
        parts |= {f"{kind}-{key}": made(store, key, {}, kind) for key in "abc"}
    parts |= {f"imagery-{key}": made(store, key, {}) for key in "de"}
    rows = [row["name"] for row in lineage(behind(store, parts))]
    assert sorted(rows) == [
        "captures_slice · tokyo × 3",
        "imagery · tokyo",
        "imagery · tokyo",
        "labelled · tokyo × 3",
        "static_prior_part · tokyo × 3",
        "unlabelled · tokyo × 3",
    ]
