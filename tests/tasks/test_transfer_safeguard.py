"""Adaptations to sets of images are judged on copies of these, without labels."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from adapters.images import ImageError
from adapters.store import ArtifactRef, Store
from crosscity.labels import CLASSES
from crosscity.pair_signs import ComparedPair, PairSigns
from tasks.judging import copies_seen
from tasks.judging.copy_comparison import compare_on_copies
from tasks.judging.transfer_safeguard import is_judged, judge_transfer
from tasks.steps.plan import Plan, open_plan
from tasks.training.segmenters import fresh_segmenter, write_segmenter

NAMES = [road_class.name for road_class in CLASSES]
MODEL = {"architecture": "compact", "options": {"width": 8, "class_names": NAMES}}
TRANSFER = {"segmenter": "compact", "target": "frankfurt", "test_split": "test"}
IMAGES = np.random.default_rng(3).integers(0, 256, (6, 32, 64, 3), dtype=np.uint8)


class Images:
    """A set in memory, whose third image is damaged."""

    def __init__(self, *_: object) -> None:
        pass

    def __len__(self) -> int:
        return len(IMAGES)

    def images(self, indices: list[int]) -> np.ndarray:
        if indices == [2]:
            raise ImageError("street-2 is damaged")
        return IMAGES[indices]

    def name(self, index: int) -> str:
        return f"street-{index}"


@pytest.fixture
def plan(
    write_catalog: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Plan:
    monkeypatch.setattr(copies_seen, "StoredUnlabelled", Images)
    off = {"preset": "demo", "safeguard": {"mode": "off"}}
    transfers = {"home": TRANSFER, "unwatched": {**TRANSFER, "training": "off"}}
    return open_plan(write_catalog(tmp_path, transfers=transfers, trainings={"off": off}))


def network(store: Store, kind: str, seed: int, size: tuple[int, int] | None = None) -> ArtifactRef:
    made = fresh_segmenter(MODEL, seed)
    made.trained_size = size
    where = "frankfurt" if kind == "segmenter" else "home"
    with store.draft(kind, where, f"{seed}", inputs={}, parameters={}, version="1") as draft:
        write_segmenter(draft, made, MODEL)
    return draft.ref


def judgement(plan: Plan, seed: int = 0, size: tuple[int, int] | None = None) -> dict[str, Any]:
    store = plan.open_store()
    start, adapted = network(store, "segmenter", 0), network(store, "adaptation", seed, size)
    made = judge_transfer.fn(adapted, start, [], "home", plan)
    ref = made if isinstance(made, ArtifactRef) else made.ref
    return dict(store.manifest(ref).summary)


def test_equal_weights_show_no_change_on_any_copy(plan: Plan) -> None:
    summary = judgement(plan)
    assert summary["keep"] == "after"
    assert summary["failed"] == 1
    assert "no harm on 5 images without labels" in summary["sentence"]
    assert "1 more image could not be examined" in summary["sentence"]
    assert set(summary["looks"]) == {"smaller", "mirrored"}
    for look in summary["looks"].values():
        assert look["kappa_change"] == 0
        assert look["points"] == 5 * 8 * 16
    assert "not scored" in summary["signals"]["shares"], "classes count as the transfer is scored"


def test_how_far_it_is_is_told_by_the_name_of_who_looks(
    plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A comparison judges nothing, and was called a judgement on the terminal."""
    told: list[str] = []
    monkeypatch.setattr(
        copies_seen.progress, "advance", lambda stage, _count, _total: told.append(stage)
    )
    judgement(plan)
    assert told == ["judge home"] * len(IMAGES)
    told.clear()
    first, second = (network(plan.open_store(), "adaptation", seed) for seed in (1, 2))
    compare_on_copies.fn(first, second, [], "home", plan)
    assert told == ["compare on copies of home"] * len(IMAGES)


def test_a_size_that_the_start_was_shown_beside_its_own_is_told(plan: Plan) -> None:
    summary = judgement(plan, size=(48, 96))
    assert summary["signals"]["drift"] == 0, "both see the same at one size"
    told = "compared with the pre-trained segmenter at the same size (48×96):"
    assert told in summary["sentence"]
    assert "same size" not in judgement(plan, seed=3)["sentence"]


@pytest.mark.parametrize("seen_in", ["smaller", "mirrored"])
def test_a_harm_that_one_copy_shows_is_enough(
    plan: Plan, monkeypatch: pytest.MonkeyPatch, seen_in: str
) -> None:
    def signs(table: np.ndarray) -> PairSigns:
        n = len(table)
        return PairSigns(table, np.full(n, 10), np.full(n, 10.0), 5.0)

    def looked(_networks: object, image: Any, *, groups: Any, **_: Any) -> Any:
        return image, len(groups.names)

    def joined(first: Any, second: Any, _points: object) -> ComparedPair:
        (image, n), (copy, _) = first, second
        good = 100 * np.eye(n, dtype=np.int64) + 1
        is_mirrored = np.array_equal(copy, image[:, ::-1])
        harmed = is_mirrored == (seen_in == "mirrored")
        worse = 50 * np.eye(n, dtype=np.int64) + 50 // n + 1
        return ComparedPair(signs(good), signs(worse if harmed else good), np.zeros((n, n)))

    monkeypatch.setattr(copies_seen, "compare_look", looked)
    monkeypatch.setattr(copies_seen, "pair_of_looks", joined)
    summary = judgement(plan, seed=1)
    assert summary["keep"] == "before"
    (reason,) = summary["reasons"]
    copy = {"smaller": "smaller copy", "mirrored": "mirror image"}[seen_in]
    assert reason.startswith(f"An image and its {copy} agree less than before: kappa over 12000")
    assert summary["sentence"].startswith("The adaptation looks harmful without any label")


def test_a_class_that_is_gone_is_named_although_no_harm_was_seen(
    plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that was never sure: what it takes to refuse is more, and its user has to know."""

    def looked(_networks: object, image: Any, *, groups: Any, **_: Any) -> Any:
        return image, groups.names

    def joined(first: Any, _second: Any, _points: object) -> ComparedPair:
        names = first[1]
        n, table = len(names), 100 * np.eye(len(names), dtype=np.int64) + 1
        seen = np.full(n, 1000)
        gone = seen.copy()
        gone[names.index("bicycle")] = 1
        signs = (PairSigns(table, each, each.astype(float), 5.0) for each in (seen, gone))
        return ComparedPair(*signs, np.zeros((n, n)))

    monkeypatch.setattr(copies_seen, "compare_look", looked)
    monkeypatch.setattr(copies_seen, "pair_of_looks", joined)
    summary = judgement(plan, seed=2)
    assert summary["keep"] == "after"
    assert summary["vanished"] == ["bicycle"]
    assert "Look at what has all but vanished: bicycle (" in summary["sentence"]


def test_what_labels_were_trained_on_and_what_the_catalog_leaves_out_is_not_judged(
    plan: Plan,
) -> None:
    judged = [
        arm for arm in ("pretrained", "fine_tuned", "bn", "ga") if is_judged(arm, "home", plan)
    ]
    assert judged == ["bn", "ga"]
    assert not is_judged("bn", "unwatched", plan)
