"""Which places a recipe learns the labels of: those of the harvest that its key has."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from adapters.store import ArtifactRef
from tasks.harvesting.current import Harvest
from tasks.harvesting.harvest import (
    choose_pairs,
    harvest_part,
    harvest_parts,
    join_imagery,
    list_captures,
)
from tasks.judging import suggestion
from tasks.judging.label_choice import choose_places
from tasks.steps.plan import Plan, open_plan
from tasks.training.labelled import labelled_part, labelled_parts
from tasks.training.segmenters import fresh_segmenter, write_segmenter

FEW = {
    "objectives": [{"objective": "source_task"}, {"objective": "few_labels"}],
    "labels": {"places": 2, "chosen": "suggested"},
    "settings": {"steps": 3},
}
MODEL = {"architecture": "compact", "options": {"width": 8}}


def ref_of(made: Any) -> ArtifactRef:
    found = made if isinstance(made, ArtifactRef) else made.result()
    assert isinstance(found, ArtifactRef)
    return found


def harvest(plan: Plan) -> Harvest:
    captures = ref_of(list_captures.fn("tokyo", plan))
    parts = [
        ref_of(harvest_part.fn(captures, part, "tokyo", plan))
        for part in harvest_parts(captures, "tokyo", plan)
    ]
    imagery = ref_of(join_imagery.fn(parts, "tokyo", plan))
    return Harvest(imagery, ref_of(choose_pairs.fn(imagery, "tokyo", plan)))


def test_places_are_of_the_given_pairs_whatever_the_city_stands_on_by_now(
    write_catalog: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def planned(places: int) -> Plan:
        return open_plan(write_catalog(tmp_path, city={"places": places}, recipes={"few": FEW}))

    meanwhile = harvest(planned(6))
    plan = planned(7)
    ours, store = harvest(plan), plan.open_store()
    with store.draft("segmenter", "frankfurt", "0", inputs={}, parameters={}, version="1") as draft:
        write_segmenter(draft, fresh_segmenter(MODEL, 0), MODEL)
    labels = [
        ref_of(labelled_part.fn("tokyo", "train", ours.pairs, part, plan))
        for part in labelled_parts("tokyo", "train", ours.pairs, plan)
    ]
    monkeypatch.setattr(suggestion, "current_harvest", lambda *_: meanwhile)
    choose_places.fn(draft.ref, labels, ours.imagery, ours.pairs, None, "few", "tokyo", plan)
    (looked,) = store.artifacts("suggestion", "tokyo")
    made_of = store.inputs_of(looked)
    assert (made_of["imagery"], made_of["pairs"]) == (ours.imagery, ours.pairs)
