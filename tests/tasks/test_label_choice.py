"""Which places a recipe learns the labels of: those of the harvest that its key has."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from adapters.store import ArtifactRef
from crosscity.labelling import spread_choice
from tasks.harvesting.current import Harvest
from tasks.judging import suggestion
from tasks.judging.label_choice import choose_places
from tasks.steps.imagery import Imagery
from tasks.steps.plan import Plan, open_plan
from tasks.training.labelled import labelled_part, labelled_parts
from tasks.training.segmenters import fresh_segmenter, write_segmenter
from tests.harvested import harvested, ref_of

FEW = {
    "objectives": [{"objective": "source_task"}, {"objective": "few_labels"}],
    "labels": {"places": 2, "chosen": "suggested"},
    "settings": {"steps": 3},
}
MODEL = {"architecture": "compact", "options": {"width": 8}}


def harvest(plan: Plan) -> Harvest:
    return Harvest(*harvested(plan))


def network_and_labels(plan: Plan, ours: Harvest) -> tuple[ArtifactRef, list[ArtifactRef]]:
    store = plan.open_store()
    with store.draft("segmenter", "frankfurt", "0", inputs={}, parameters={}, version="1") as draft:
        write_segmenter(draft, fresh_segmenter(MODEL, 0), MODEL)
    labels = [
        ref_of(labelled_part.fn("tokyo", "train", ours.pairs, part, plan))
        for part in labelled_parts("tokyo", "train", ours.pairs, plan)
    ]
    return draft.ref, labels


def test_places_are_of_the_given_pairs_whatever_the_city_stands_on_by_now(
    write_catalog: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def planned(places: int) -> Plan:
        return open_plan(write_catalog(tmp_path, city={"places": places}, recipes={"few": FEW}))

    meanwhile = harvest(planned(6))
    plan = planned(7)
    ours, store = harvest(plan), plan.open_store()
    network, labels = network_and_labels(plan, ours)
    monkeypatch.setattr(suggestion, "current_harvest", lambda *_: meanwhile)
    choose_places.fn(network, labels, ours.imagery, ours.pairs, None, "few", "tokyo", plan)
    (looked,) = store.artifacts("suggestion", "tokyo")
    made_of = store.inputs_of(looked)
    assert (made_of["imagery"], made_of["pairs"]) == (ours.imagery, ours.pairs)


def test_as_many_places_as_are_learned_from_are_spread_over_the_labelled_ones(
    write_catalog: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They were spread as a million places would be, which is not at all."""
    city = {"places": 9, "labels": {"kind": "simulated", "fine_tune_places": 5}}
    plan = open_plan(write_catalog(tmp_path, city=city, recipes={"few": FEW}))
    ours, store = harvest(plan), plan.open_store()
    network, labels = network_and_labels(plan, ours)
    rows = suggestion.read_rows(store, ours.pairs, "pairs.parquet", suggestion.PAIRS)
    train = [row for row in rows if row["split"] == "train"]
    imagery, labelled = Imagery(store, ours.imagery), range(5)
    at = np.array([[imagery.row(row["image_b"])[axis] for axis in ("lat", "lon")] for row in train])
    first, second = min(
        combinations(labelled, 2), key=lambda two: float(np.hypot(*(at[two[0]] - at[two[1]])))
    )
    # A place without a label is the most disputed; of the labelled ones two that stand close.
    scores = np.full(len(train), 0.6)
    scores[5:], scores[first], scores[second] = 1.0, 0.9, 0.8
    monkeypatch.setattr(suggestion, "combined_ranks", lambda _: scores)
    made = choose_places.fn(network, labels, ours.imagery, ours.pairs, None, "few", "tokyo", plan)
    chosen = json.loads(store.path(ref_of(made), "places.json").read_text(encoding="utf-8"))
    wanted = spread_choice(scores[:5], at[:5, 0], at[:5, 1], 2)
    assert wanted[0] == first
    assert second not in wanted, "the test shows nothing"
    assert [name.rpartition("_")[0] for name in chosen[:2]] == [
        train[index]["place_id"] for index in wanted
    ]
    assert len(chosen) == 5
