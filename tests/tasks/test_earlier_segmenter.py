"""What the safeguard compares an adaptation with, and what stays in use when it looks harmful."""

from __future__ import annotations

from typing import Any

import pytest

from adapters.store import ArtifactRef, Store, StoreError
from crosscity.labels import CLASSES
from tasks.judging.pairs_seen import sampled_pairs
from tasks.judging.promotion import pinned, promote, promoted_segmenter, put_in_use
from tasks.judging.safeguard import earlier_segmenters, keep_earlier
from tasks.steps.errors import InputError
from tasks.steps.plan import open_plan
from tasks.training.segmenters import fresh_segmenter, write_segmenter

NAMES = [road_class.name for road_class in CLASSES]


def network(
    store: Store, kind: str, key: str, inputs: dict[str, ArtifactRef], names: list[str]
) -> ArtifactRef:
    model = {"architecture": "compact", "options": {"width": 8, "class_names": names}}
    where = "frankfurt" if kind == "segmenter" else "tokyo"
    digests = {name: ref.digest for name, ref in inputs.items()}
    with store.draft(kind, where, key, inputs=digests, parameters={}, version="1") as draft:
        write_segmenter(draft, fresh_segmenter(model, 0), model)
    return draft.ref


@pytest.fixture
def world(write_catalog, tmp_path):
    plan = open_plan(write_catalog(tmp_path))
    store = Store(tmp_path / "store")
    start = network(store, "segmenter", "astart", {}, NAMES)
    adapted = network(store, "adaptation", "anew", {"segmenter": start}, NAMES)
    return plan, store, start, adapted


def test_the_first_adaptation_is_compared_with_what_it_started_from(world):
    plan, _, start, adapted = world
    assert earlier_segmenters(adapted, start, "full", "tokyo", plan) == [start]


def test_a_later_one_is_compared_with_the_one_in_use_too(world):
    plan, store, start, adapted = world
    used = network(store, "adaptation", "aused", {"segmenter": start}, NAMES)
    put_in_use(store, "tokyo", used)
    assert earlier_segmenters(adapted, start, "full", "tokyo", plan) == [start, used]
    put_in_use(store, "tokyo", adapted)
    assert earlier_segmenters(adapted, start, "full", "tokyo", plan) == []


def test_one_in_use_of_other_classes_is_not_compared_with_but_stays(world, monkeypatch):
    plan, store, start, adapted = world
    events: list[dict[str, Any]] = []
    monkeypatch.setattr("tasks.steps.announcing.send", events.append)
    used = network(store, "adaptation", "aused", {"segmenter": start}, NAMES[:13])
    put_in_use(store, "tokyo", used)
    assert earlier_segmenters(adapted, start, "full", "tokyo", plan) == [start]
    with store.draft("safeguard", "tokyo", "ajudged", inputs={}, parameters={}, version="1") as d:
        (d.path / "pairs.parquet").write_bytes(b"none")
        d.summary = {"sentence": "It looks harmful.", "reasons": ["It does."]}
    assert keep_earlier.fn(start, adapted, d.ref, "tokyo", plan) == used
    assert promoted_segmenter(store, "tokyo") == used
    assert [event["payload"]["reasons"] for event in events] == [["It does."]]


def test_what_is_promoted_while_a_rejection_is_noted_stays_in_use(world, monkeypatch):
    plan, store, start, adapted = world
    events: list[dict[str, Any]] = []
    monkeypatch.setattr("tasks.steps.announcing.send", events.append)
    used = network(store, "adaptation", "aused", {"segmenter": start}, NAMES)
    newer = network(store, "adaptation", "anewer", {"segmenter": start}, NAMES)
    put_in_use(store, "tokyo", used)
    with store.draft("safeguard", "tokyo", "ajudged", inputs={}, parameters={}, version="1") as d:
        (d.path / "pairs.parquet").write_bytes(b"none")
        d.summary = {"sentence": "It looks harmful.", "reasons": ["It does."]}
    verify = Store.verify

    def promoted_meanwhile(self: Store, ref: ArtifactRef) -> None:
        verify(self, ref)
        put_in_use(store, "tokyo", newer, keep=True, reason="by hand")

    monkeypatch.setattr(Store, "verify", promoted_meanwhile)
    assert keep_earlier.fn(start, adapted, d.ref, "tokyo", plan) == newer
    assert promoted_segmenter(store, "tokyo") == newer
    assert pinned(store, "tokyo") is not None
    assert len(events) == 1


def test_a_rejection_ends_the_pin_of_a_segmenter_that_is_gone(world, monkeypatch):
    plan, store, start, adapted = world
    monkeypatch.setattr("tasks.steps.announcing.send", lambda _: None)
    used = network(store, "adaptation", "aused", {"segmenter": start}, NAMES)
    put_in_use(store, "tokyo", used, keep=True)
    store.remove(used)
    with store.draft("safeguard", "tokyo", "ajudged", inputs={}, parameters={}, version="1") as d:
        (d.path / "pairs.parquet").write_bytes(b"none")
        d.summary = {"sentence": "It looks harmful.", "reasons": ["It does."]}
    assert keep_earlier.fn(start, adapted, d.ref, "tokyo", plan) == start
    assert promoted_segmenter(store, "tokyo") == start
    assert pinned(store, "tokyo") is None


def test_a_rejection_is_announced_once(world, monkeypatch):
    plan, store, start, adapted = world
    events: list[dict[str, Any]] = []
    monkeypatch.setattr("tasks.steps.announcing.send", events.append)
    judged = []
    for key in ("afirst", "asecond"):
        with store.draft("safeguard", "tokyo", key, inputs={}, parameters={}, version="1") as d:
            (d.path / "pairs.parquet").write_bytes(b"none")
            d.summary = {"sentence": "It looks harmful.", "reasons": [key]}
        judged.append(d.ref)
    for ref in (judged[0], judged[0], judged[1], judged[1]):
        assert keep_earlier.fn(start, adapted, ref, "tokyo", plan) == start
    assert [event["payload"]["reasons"] for event in events] == [["afirst"], ["asecond"]]


def test_fine_tuning_and_a_switched_off_safeguard_are_not_judged(world, write_catalog, tmp_path):
    plan, _, start, adapted = world
    assert earlier_segmenters(adapted, start, "fine_tuned", "tokyo", plan) == []
    off = {"demo": {"safeguard": {"mode": "off"}}}
    plan = open_plan(write_catalog(tmp_path, trainings=off))
    assert earlier_segmenters(adapted, start, "full", "tokyo", plan) == []


def test_pairs_are_drawn_from_the_training_places_the_same_each_time():
    rows = [{"pair_id": str(i), "split": "test" if i % 3 == 0 else "train"} for i in range(99)]
    chosen = sampled_pairs(rows)
    assert len(chosen) == 48
    assert all(row["split"] == "train" for row in chosen)
    assert chosen == sampled_pairs(rows)
    assert [int(row["pair_id"]) for row in chosen] == sorted(int(r["pair_id"]) for r in chosen)
    with pytest.raises(InputError, match="no training pair"):
        sampled_pairs(rows[:1])


@pytest.mark.parametrize("in_use", [False, True])
def test_a_flipped_byte_is_found_before_anything_is_promoted(world, tmp_path, monkeypatch, in_use):
    plan, store, start, adapted = world
    monkeypatch.setattr("tasks.steps.announcing.send", lambda _event: None)
    if in_use:
        put_in_use(store, "tokyo", start)
    path = tmp_path / "store" / adapted.uri / "weights.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(StoreError, match=r"weights\.safetensors has SHA-256 .* moved to"):
        promote.fn(adapted, "tokyo", plan)
    assert promoted_segmenter(store, "tokyo") == (start if in_use else None)
