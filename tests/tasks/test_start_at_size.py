"""An adaptation that chose a size is judged against its start at that size, which is kept."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from adapters.store import ArtifactRef, Store
from crosscity.labels import CLASSES
from crosscity.segmenters import Segmenter
from tasks.judging import pairs_seen
from tasks.judging.pair_comparison import compare_on_pairs
from tasks.judging.pairs_seen import examined_parameters, look_at_pairs
from tasks.judging.promotion import promoted_segmenter
from tasks.judging.safeguard import keep_earlier
from tasks.judging.start_at_size import start_at_size
from tasks.steps.plan import Plan, open_plan
from tasks.training.segmenters import fresh_segmenter, stored_segmenter, write_segmenter

NAMES = [road_class.name for road_class in CLASSES]
MODEL = {"architecture": "compact", "options": {"width": 8, "class_names": NAMES}}
IMAGE = np.random.default_rng(3).integers(0, 256, (64, 128, 3), dtype=np.uint8)
SIZE = (128, 256)


class TwoImages:
    """Imagery of one pair in memory."""

    def __init__(self, *_: object) -> None:
        pass

    def read(self, _image_id: str) -> np.ndarray:
        return IMAGE


def network(
    store: Store, kind: str, key: str, size: tuple[int, int] | None, seed: int
) -> ArtifactRef:
    made = fresh_segmenter(MODEL, seed)
    made.trained_size = size
    where = "frankfurt" if kind == "segmenter" else "tokyo"
    with store.draft(kind, where, key, inputs={}, parameters={}, version="1") as draft:
        write_segmenter(draft, made, MODEL)
    return draft.ref


@pytest.fixture
def plan(
    write_catalog: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Plan:
    rows = [{"pair_id": "p", "image_a": "a", "image_b": "b", "split": "train"}]
    monkeypatch.setattr(pairs_seen, "Imagery", TwoImages)
    monkeypatch.setattr(pairs_seen, "read_rows", lambda *_: rows)
    return open_plan(write_catalog(tmp_path))


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """Sizes of what networks are shown, in order."""
    sizes: list[tuple[int, ...]] = []
    real = Segmenter.predicted_logits

    def noted(self: Segmenter, images: Any, size: Any) -> Any:
        sizes.append(tuple(images.shape[-2:]))
        return real(self, images, size)

    monkeypatch.setattr(Segmenter, "predicted_logits", noted)
    return sizes


def looked_at(plan: Plan, folder: Path, *refs: ArtifactRef, at_one_size: bool) -> Any:
    draft = type("Drawn", (), {"path": folder})
    ref = refs[0]
    return look_at_pairs(
        draft,  # type: ignore[arg-type]
        (refs[0], refs[1]),
        ref,
        ref,
        "tokyo",
        plan,
        stage="judge tokyo",
        at_one_size=at_one_size,
    )


def test_how_far_it_is_is_told_by_the_name_of_who_looks(
    plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A comparison judges nothing, and was called a judgement on the terminal."""
    told: list[str] = []
    monkeypatch.setattr(
        pairs_seen.progress, "advance", lambda stage, _count, _total: told.append(stage)
    )
    store = plan.open_store()
    first = network(store, "segmenter", "a", SIZE, seed=0)
    second = network(store, "adaptation", "b", SIZE, seed=1)
    compare_on_pairs.fn(first, second, first, first, "tokyo", plan)
    assert told == ["compare on pairs of tokyo"]


def test_a_start_is_shown_what_the_adaptation_is_shown(
    plan: Plan, shown: list[tuple[int, ...]], tmp_path: Path
) -> None:
    store = plan.open_store()
    start = network(store, "segmenter", "a", None, seed=0)
    adapted = network(store, "adaptation", "b", SIZE, seed=1)
    seen = looked_at(plan, tmp_path, start, adapted, at_one_size=True)
    assert shown == [SIZE] * 4
    assert seen.shown == SIZE
    shown.clear()
    seen = looked_at(plan, tmp_path, start, adapted, at_one_size=False)
    assert shown == [(64, 128), SIZE] * 2
    assert seen.shown is None


def test_the_same_weights_at_a_chosen_size_show_no_change_at_all(
    plan: Plan, tmp_path: Path
) -> None:
    """What enlarging alone does is no sign for or against a training."""
    store = plan.open_store()
    start = network(store, "segmenter", "a", None, seed=0)
    adapted = network(store, "adaptation", "b", SIZE, seed=0)
    signals = looked_at(plan, tmp_path, start, adapted, at_one_size=True).signals
    assert signals.drift == 0
    assert signals.information.before == signals.information.after
    assert looked_at(plan, tmp_path, start, adapted, at_one_size=False).signals.drift > 0


def test_classes_count_as_the_city_is_scored(
    plan: Plan, write_catalog: Callable[..., Path], tmp_path: Path
) -> None:
    store = plan.open_store()
    start = network(store, "segmenter", "a", None, seed=0)
    adapted = network(store, "adaptation", "b", None, seed=1)
    signals = looked_at(plan, tmp_path, start, adapted, at_one_size=True).signals
    assert "truck" not in signals.shares
    assert "not scored" in signals.shares
    assert examined_parameters(plan, "tokyo")["protocol"] == "score13"
    unlabelled = open_plan(write_catalog(tmp_path, city={"labels": None}))
    signals = looked_at(unlabelled, tmp_path, start, adapted, at_one_size=True).signals
    assert list(signals.shares) == NAMES
    assert "protocol" not in examined_parameters(unlabelled, "tokyo")


def judged(store: Store, **summary: Any) -> ArtifactRef:
    with store.draft("safeguard", "tokyo", "j", inputs={}, parameters={}, version="1") as draft:
        (draft.path / "pairs.parquet").write_bytes(b"none")
        draft.summary = {"sentence": "It looks harmful.", "reasons": ["It does."], **summary}
    return draft.ref


def test_a_start_that_is_kept_keeps_the_size_at_which_it_was_better(
    plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.steps.announcing.send", lambda _event: None)
    store = plan.open_store()
    start = network(store, "segmenter", "a", None, seed=0)
    adapted = network(store, "adaptation", "b", SIZE, seed=1)
    kept = keep_earlier.fn(start, adapted, judged(store, shown_size=list(SIZE)), "tokyo", plan)
    assert kept == promoted_segmenter(store, "tokyo")
    assert kept.kind == "segmenter"
    assert kept != start
    _, there = stored_segmenter(plan, kept)
    assert there.trained_size == SIZE
    first, same = (stored_segmenter(plan, ref)[1].state_dict() for ref in (start, kept))
    assert all(bool((first[name] == same[name]).all()) for name in first)
    assert start_at_size(start, SIZE, plan) == kept


def test_a_start_at_its_own_size_stays_itself(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.steps.announcing.send", lambda _event: None)
    store = plan.open_store()
    start = network(store, "segmenter", "a", None, seed=0)
    adapted = network(store, "adaptation", "b", None, seed=1)
    assert keep_earlier.fn(start, adapted, judged(store), "tokyo", plan) == start
