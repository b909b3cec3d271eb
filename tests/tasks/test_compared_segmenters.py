"""Which segmenters a comparison means, and what it refuses before any work."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from adapters.store import ArtifactRef, Store
from tasks.judging import promotion
from tasks.judging.compared_segmenters import (
    compared_segmenter,
    place_to_look_at,
    two_words,
    used_at,
)
from tasks.judging.pair_comparison import check_same_classes
from tasks.steps.errors import InputError
from tasks.steps.plan import Plan, open_plan
from tasks.training.segmenters import fresh_segmenter, write_segmenter

MODEL = {"architecture": "compact", "options": {"width": 8}}


def _segmenter(store: Store, kind: str, owner: str, seed: int, **options: Any) -> ArtifactRef:
    """A segmenter that nobody trained."""
    model = {**MODEL, "options": {**MODEL["options"], **options}}
    key = f"{seed:x}".rjust(24, "a")
    with store.draft(kind, owner, key, inputs={}, parameters={"seed": seed}, version="1") as draft:
        write_segmenter(draft, fresh_segmenter(model, seed), model)
    return draft.ref


@pytest.fixture
def plan(write_catalog, tmp_path: Path) -> Plan:
    return open_plan(write_catalog(tmp_path))


@pytest.fixture
def used(plan: Plan, monkeypatch) -> dict[str, ArtifactRef]:
    """Three segmenters that were in use in tokyo on three days; the last is the first again."""
    store = plan.open_store()
    first, second = (_segmenter(store, "adaptation", "tokyo", seed) for seed in (1, 2))
    for day, ref in (("01", first), ("03", second)):
        monkeypatch.setattr(promotion, "_now", lambda day=day: f"2026-11-{day}T12:00:00+00:00")
        promotion.put_in_use(store, "tokyo", ref)
    monkeypatch.setattr(promotion, "_now", lambda: "2026-11-05T12:00:00+00:00")
    promotion.roll_back(store, "tokyo")
    promotion.unpin(store, "tokyo")
    return {"first": first, "second": second}


@pytest.mark.parametrize(
    ("moment", "expected"),
    [
        ("2026-11-01", "first"),
        ("2026-11-02", "first"),
        ("2026-11-03", "second"),  # the end of the day counts
        ("2026-11-03T11:59:59Z", "first"),
        ("2026-11-03T12:00:00+00:00", "second"),
        ("2026-11-05T12:30", "first"),  # rolled back
    ],
)
def test_a_date_means_what_was_in_use_then(plan, used, moment: str, expected: str) -> None:
    assert used_at(plan, "tokyo", moment) == used[expected]
    assert compared_segmenter(plan, f"tokyo@{moment}").ref == used[expected]


def test_keys_names_and_cities_are_understood(plan, used) -> None:
    assert compared_segmenter(plan, "tokyo").ref == used["first"]
    assert compared_segmenter(plan, used["second"].key).ref == used["second"]
    named = compared_segmenter(plan, "compact")
    assert named.ref is None
    assert named.owner is None
    assert place_to_look_at(plan, [named, compared_segmenter(plan, "tokyo")], None) == "tokyo"
    assert place_to_look_at(plan, [named, named], None) == "tokyo", "the only one"


def test_what_means_nothing_is_told(plan, used) -> None:
    store = plan.open_store()
    with pytest.raises(InputError, match="no segmenter was in use in tokyo at 2026-10-31 yet"):
        used_at(plan, "tokyo", "2026-10-31")
    with pytest.raises(InputError, match="'soon' is not a date: write it as 2026-11-28"):
        compared_segmenter(plan, "tokyo@soon")
    with pytest.raises(
        InputError, match="'paris' does not name a segmenter to compare: give a key"
    ):
        compared_segmenter(plan, "paris")
    with pytest.raises(InputError, match="has no segmenter or adaptation with the key 123456"):
        compared_segmenter(plan, "123456")
    store.remove(used["second"])
    with pytest.raises(InputError, match="is not in the store any more: name another date"):
        used_at(plan, "tokyo", "2026-11-03")


def test_the_words_must_tell_on_which_city(plan, used) -> None:
    catalog = Path(plan.catalog)
    entries = yaml.safe_load(catalog.read_text(encoding="utf-8"))
    entries["cities"]["rome"] = {**entries["cities"]["tokyo"], "seed": 9}
    catalog.write_text(yaml.safe_dump(entries), encoding="utf-8")
    both = open_plan(catalog)
    promotion.put_in_use(both.open_store(), "rome", used["second"])
    words = [compared_segmenter(both, word) for word in ("tokyo", "rome")]
    with pytest.raises(InputError, match=r"--on on whose images .* \(they are of rome and tokyo\)"):
        place_to_look_at(both, words, None)
    assert place_to_look_at(both, words, "rome") == "rome"
    with pytest.raises(InputError, match="neither is of a city or transfer"):
        place_to_look_at(both, [compared_segmenter(both, "compact")] * 2, None)
    with pytest.raises(
        InputError, match="--on 'oslo' is no city or transfer of the catalog: there is rome, tokyo"
    ):
        place_to_look_at(both, words, "oslo")


@pytest.fixture
def with_transfer(plan, tmp_path) -> Plan:
    """A catalog of a city and a transfer."""
    catalog = Path(plan.catalog)
    entries = yaml.safe_load(catalog.read_text(encoding="utf-8"))
    entries.setdefault("datasets", {})["pictures"] = {"kind": "images", "root": str(tmp_path)}
    entries["transfers"] = {"lisbon": {"segmenter": "compact", "target": "pictures"}}
    catalog.write_text(yaml.safe_dump(entries), encoding="utf-8")
    return open_plan(catalog)


def test_a_transfer_s_segmenters_are_understood(with_transfer: Plan, monkeypatch) -> None:
    given, store = with_transfer, with_transfer.open_store()
    first, second = (_segmenter(store, "adaptation", "lisbon", seed) for seed in (1, 2))
    by_key = [compared_segmenter(given, ref.key) for ref in (first, second)]
    assert [each.owner for each in by_key] == ["lisbon", "lisbon"]
    # By keys, they were compared on the pictures of the only city, without a word.
    assert place_to_look_at(given, by_key, None) == "lisbon"
    assert place_to_look_at(given, by_key, "tokyo") == "tokyo", "who asks for it gets it"

    monkeypatch.setattr(promotion, "_now", lambda: "2026-11-01T12:00:00+00:00")
    promotion.put_in_use(store, "lisbon", first)
    assert compared_segmenter(given, "lisbon").ref == first
    assert compared_segmenter(given, "lisbon@2026-11-02").ref == first

    other = _segmenter(store, "adaptation", "tokyo", 3)
    words = [compared_segmenter(given, word) for word in ("lisbon", other.key)]
    with pytest.raises(InputError, match=r"--on on whose images .* \(they are of lisbon and tokyo"):
        place_to_look_at(given, words, None)
    assert place_to_look_at(given, words, "lisbon") == "lisbon"
    with pytest.raises(InputError, match="neither is of a city or transfer"):
        place_to_look_at(given, [compared_segmenter(given, "compact")] * 2, None)


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("lisbon", "`crosscity transfer lisbon --seed 3` makes all of it"),
        ("lisbon:pretrained", "run `crosscity pretrain compact --seed 3` first"),
        ("lisbon:full", "transfers.lisbon has no pairs of images"),
        ("lisbon:magic", "there is no arm 'magic'; arms are "),
        ("lisbon:fine_tuned", "datasets.pictures has no labels, so the arm 'fine_tuned'"),
        ("lisbon@2026-11-02", "ever in use in lisbon: run `crosscity promote lisbon` first"),
        ("lisbon@", "'' is not a date: write it as 2026-11-28"),
        ("compact:bn", "'compact:bn' does not name a segmenter to compare: give a key"),
        ("tokyo:magic", "there is no arm 'magic'; arms are "),
    ],
)
def test_of_a_transfer_what_is_not_there_is_told(with_transfer: Plan, word: str, said: str) -> None:
    with pytest.raises(InputError, match=re.escape(said)):
        compared_segmenter(with_transfer, word, seed=3)


def test_an_adaptation_alone_is_compared_with_what_it_began_with(with_transfer: Plan) -> None:
    """Whatever seed it is of: not with the start that the catalog describes."""
    store = with_transfer.open_store()
    start = _segmenter(store, "segmenter", "frankfurt", 7)
    made_of: dict[str, Any] = {"parameters": {}, "version": "1", "inputs_at": {"segmenter": start}}
    with store.draft(
        "adaptation", "lisbon", "b" * 24, inputs={"segmenter": start.digest}, **made_of
    ) as draft:
        write_segmenter(draft, fresh_segmenter(MODEL, 8), MODEL)
    promotion.put_in_use(store, "lisbon", draft.ref)
    for word in ("lisbon", draft.ref.key, draft.ref.uri):
        words = two_words(with_transfer, word, None)
        assert words == (start.key[:12], word)
        compared = [compared_segmenter(with_transfer, each) for each in words]
        assert [each.ref for each in compared] == [start, draft.ref]
        assert place_to_look_at(with_transfer, compared, None) == "lisbon"
    assert two_words(with_transfer, "lisbon", "tokyo") == ("lisbon", "tokyo")
    for word in ("compact", start.key):
        with pytest.raises(InputError, match=f"name a second segmenter to compare '{word}' with"):
            two_words(with_transfer, word, None)
    store.remove(start)
    with pytest.raises(InputError, match="began with is not in the store any more: name a second"):
        two_words(with_transfer, "lisbon", None)


def test_segmenters_of_other_label_spaces_are_refused(plan) -> None:
    store = plan.open_store()
    nineteen = _segmenter(store, "adaptation", "tokyo", 1)
    other = _segmenter(store, "adaptation", "tokyo", 2)
    three = _segmenter(store, "segmenter", "elsewhere", 3, class_names=["road", "sky", "kerb"])
    check_same_classes(store, nineteen, other)
    with pytest.raises(InputError, match=r"both are adaptation/tokyo/.*: name two different"):
        check_same_classes(store, nineteen, nineteen)
    with pytest.raises(InputError, match=r"has 3 classes \(kerb only there\): segmenters of other"):
        check_same_classes(store, nineteen, three)
