"""Which arms saw labels of the target: what a table marks, a page is about, and a card says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from adapters.store import ArtifactRef, Draft, Store, artifact_key
from crosscity.segmenters import build_segmenter
from tasks.judging.evaluation import Evaluated
from tasks.judging.segmenter_facts import segmenter_facts
from tasks.pages import comparison
from tasks.pages.lineage import behind
from tasks.pages.pieces import labels_tuned_on, last_blind
from tasks.pages.scores import score_rows
from tasks.pages.segmenter_card import Delivery, segmenter_card
from tasks.steps.plan import Plan, open_plan
from tasks.steps.schemas import IMAGERY, OK, PAIRS
from tasks.steps.tables import write_rows
from tasks.training.arms import saw_labels

Catalogs = Callable[..., Path]
RECIPES: dict[str, Any] = {
    "rates_of_tokyo": {
        "objectives": [{"objective": "self_training"}],
        "prior": "evidence",
        "flag_rates_of": "tokyo",
    }
}


def scored(miou: float) -> Evaluated:
    return Evaluated(miou, {"road": miou}, 5, "score13")


@pytest.fixture
def plan(write_catalog: Catalogs, tmp_path: Path) -> Plan:
    return open_plan(write_catalog(tmp_path, recipes=RECIPES))


def test_the_best_that_is_marked_may_be_a_recipe_and_is_none_that_saw_labels(plan: Plan) -> None:
    arms = {"pretrained": 0.5, "ga": 0.55, "evidence": 0.6, "few_labels": 0.7, "fine_tuned": 0.8}
    blind = [arm for arm in arms if not saw_labels(arm, "tokyo", plan)]
    assert blind == ["pretrained", "ga", "evidence"]
    rows = score_rows({arm: scored(miou) for arm, miou in arms.items()}, blind)
    assert [row["cells"][0]["best"] for row in rows] == [arm == "evidence" for arm in arms]
    alone = score_rows({"pretrained": scored(0.5), "few_labels": scored(0.6)}, ["pretrained"])
    assert not any(row["cells"][0]["best"] for row in alone)


def test_of_two_that_look_the_same_none_alone_is_marked() -> None:
    for miou, marked in ((0.0004, [False, False]), (0.5004, [True, True])):
        rows = score_rows({"ga": scored(miou), "bn": scored(miou - 0.0003)}, ["ga", "bn"])
        assert rows[0]["cells"][0]["text"] == rows[1]["cells"][0]["text"]
        assert [row["cells"][0]["best"] for row in rows] == marked
    assert not comparison._class_rows({"A": scored(0.5), "B": scored(0.5003)})[0]["better"]
    assert comparison._class_rows({"A": scored(0.5), "B": scored(0.501)})[0]["better"]


def test_a_page_is_about_what_saw_no_label_where_it_may(plan: Plan) -> None:
    assert last_blind(["teacher", "few_labels", "fine_tuned"], "tokyo", plan) == "teacher"
    assert last_blind(["ga", "teacher"], "tokyo", plan) == "ga"
    assert last_blind(["few_labels"], "tokyo", plan) == "few_labels"
    assert last_blind([], "tokyo", plan) is None


def test_rates_of_a_city_are_labels_of_that_city_alone(plan: Plan) -> None:
    assert saw_labels("rates_of_tokyo", "tokyo", plan)
    assert not saw_labels("rates_of_tokyo", "rome", plan)


def card(plan: Plan, ref: ArtifactRef) -> str:
    segmenter = build_segmenter("compact", {"width": 8, "dilations": [1]})
    return segmenter_card(segmenter, segmenter_facts(plan, ref), Delivery("out"))


def made(
    store: Store,
    kind: str,
    owner: str,
    inputs: dict[str, ArtifactRef] | None = None,
    parameters: dict[str, Any] | None = None,
    rows: int | None = None,
    write: Callable[[Draft], None] | None = None,
) -> ArtifactRef:
    there = inputs or {}
    facts: dict[str, Any] = {
        "inputs": {role: one.digest for role, one in there.items()},
        "parameters": parameters or {},
        "version": "1",
    }
    key = artifact_key(kind, **facts)
    with store.draft(kind, owner, key, inputs_at=there, **facts) as draft:
        draft.rows = rows
        if write is not None:
            write(draft)
    return draft.ref


def test_a_card_says_no_label_was_seen_only_where_none_was(plan: Plan) -> None:
    store = plan.open_store()
    source = made(store, "labelled", "frankfurt", rows=600)
    labels = made(store, "labelled", "tokyo", rows=45)
    start = made(store, "segmenter", "compact", {"part-00000": source})
    inputs = {"segmenter": start, "part-00000": source}
    blind = card(plan, made(store, "adaptation", "tokyo", inputs, {"arm": "teacher"}))
    assert "adapted to `tokyo` without a label of it, by CrossCity from images." in blind
    assert "adapted without labels of the city" in blind
    recipe = {"arm": "few_labels", "recipe": {"labels": {"places": 16}}}
    few = card(plan, made(store, "adaptation", "tokyo", {**inputs, "label-00000": labels}, recipe))
    assert "adapted to `tokyo`, by CrossCity from images and the labels of 16 places." in few
    assert "without a label" not in few
    assert "without labels" not in few
    rates = made(store, "flag_rates", "tokyo")
    seen = made(store, "adaptation", "tokyo", {**inputs, "flag_rates": rates}, {"arm": "mine"})
    assert "without a label" not in card(plan, seen)


def imagery_of(store: Store, ids: str, inputs: dict[str, ArtifactRef]) -> ArtifactRef:
    empty = dict.fromkeys(IMAGERY.names)
    facts = {"provider": "p", "heading": 0.0, "pitch": 0.0, "fov": 90.0, "status": OK}
    terms = {"licence": "CC0-1.0", "attribution": "us"}
    rows = [{**empty, **facts, **terms, "image_id": one, "place_id": one} for one in ids]

    def write(draft: Draft) -> None:
        write_rows(draft, "imagery.parquet", rows, IMAGERY)

    return made(store, "imagery", "tokyo", inputs, {"ids": ids}, write=write)


def pairs_of(store: Store, pairs: list[str], inputs: dict[str, ArtifactRef]) -> ArtifactRef:
    empty = dict.fromkeys(PAIRS.names)
    rows = [
        {**empty, "pair_id": a + b, "image_a": a, "image_b": b, "place_id": a, "split": split}
        for a, b, split in (pair.split() for pair in pairs)
    ]

    def write(draft: Draft) -> None:
        write_rows(draft, "pairs.parquet", rows, PAIRS)

    return made(store, "pairs", "tokyo", inputs, {"pairs": pairs}, write=write)


def test_a_card_counts_the_images_that_were_learned_from_once(plan: Plan) -> None:
    """Not those that are tested on, and not again those of before a watched city was extended."""
    store = plan.open_store()
    first = imagery_of(store, "abcd", {})
    pairs = pairs_of(store, ["a b train", "c d test"], {"imagery": first})
    grown = imagery_of(store, "abcdefg", {"before": first})
    more = ["a b train", "c d test", "e f train"]
    now = pairs_of(store, more, {"imagery": grown, "before": pairs})
    before = made(store, "adaptation", "tokyo", {"imagery": first, "pairs": pairs}, {"arm": "bn"})
    after = made(store, "adaptation", "tokyo", {"imagery": grown, "pairs": now}, {"arm": "bn"})
    for ref, count in ((before, 2), (after, 4)):
        text = card(plan, ref)
        assert text.count("images of `tokyo`, CC0-1.0, us") == 1
        assert f"- without labels: {count} images of `tokyo`, CC0-1.0, us\n" in text


def test_the_labels_of_the_bound_are_those_that_it_learned_from(plan: Plan) -> None:
    """Not what the catalog asks for, of which there may be fewer; and none where it was not run."""
    store = plan.open_store()
    labels = made(store, "labelled", "tokyo", rows=3)
    start = made(store, "segmenter", "compact")
    tuned = made(store, "adaptation", "tokyo", {"segmenter": start, "part-00000": labels})
    parts = {"evaluation-pretrained": labels, "segmenter-fine_tuned": tuned}
    known = behind(store, parts)
    assert labels_tuned_on(known, parts) == 0
    assert labels_tuned_on(known, {**parts, "evaluation-fine_tuned": labels}) == 3


def test_the_card_of_what_was_not_adapted_names_no_city(plan: Plan) -> None:
    """Without a source such a segmenter lies under the catalog's name of it, which is no place."""
    store = plan.open_store()
    source = made(store, "labelled", "frankfurt", rows=600)
    trained = card(plan, made(store, "segmenter", "compact", {"part-00000": source}))
    assert "A segmenter of road scenes, trained on `frankfurt`." in trained
    assert "as those of frankfurt. Not for driving" in trained
    told = card(plan, made(store, "segmenter", "frankfurt", parameters={"weights_sha256": "0"}))
    assert "A segmenter of road scenes, trained on `frankfurt`." in told
    assert "from elsewhere, where they were trained on frankfurt as the catalog says\n" in told
    foreign = card(plan, made(store, "segmenter", "theirs"))
    assert "A segmenter of road scenes, as its weights came from elsewhere." in foreign
    assert "seen from a vehicle. Not for driving" in foreign
    assert "from elsewhere; what they were trained on is not known here\n" in foreign
    assert "made for one city" not in trained + foreign
