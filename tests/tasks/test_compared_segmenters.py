"""Which segmenters a comparison means, and what it refuses before any work."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from adapters.store import ArtifactRef, Store
from tasks.judging import promotion
from tasks.judging.compared_segmenters import city_to_look_at, compared_segmenter, used_at
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
    assert named.city is None
    assert city_to_look_at(plan, [named, compared_segmenter(plan, "tokyo")], None) == "tokyo"
    assert city_to_look_at(plan, [named, named], None) == "tokyo", "the only one"


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
    with pytest.raises(InputError, match=r"--on on which .* \(they are of rome and tokyo\)"):
        city_to_look_at(both, words, None)
    assert city_to_look_at(both, words, "rome") == "rome"
    with pytest.raises(InputError, match="neither is a city's"):
        city_to_look_at(both, [compared_segmenter(both, "compact")] * 2, None)
    with pytest.raises(InputError, match="no city 'oslo'"):
        city_to_look_at(both, words, "oslo")


def test_of_a_transfer_the_way_to_its_pictures_is_said(plan, tmp_path) -> None:
    catalog = Path(plan.catalog)
    entries = yaml.safe_load(catalog.read_text(encoding="utf-8"))
    entries.setdefault("datasets", {})["pictures"] = {"kind": "images", "root": str(tmp_path)}
    entries["transfers"] = {"lisbon": {"segmenter": "compact", "target": "pictures"}}
    catalog.write_text(yaml.safe_dump(entries), encoding="utf-8")
    given = open_plan(catalog)
    with pytest.raises(InputError, match=r"'lisbon' is a transfer, .*`crosscity transfer lisbon`"):
        compared_segmenter(given, "lisbon")
    with pytest.raises(InputError, match="'lisbon' is a transfer"):
        city_to_look_at(given, [compared_segmenter(given, "compact")] * 2, "lisbon")
    # By keys, they were compared on the pictures of the only city, without a word.
    refs = [_segmenter(given.open_store(), "adaptation", "lisbon", seed) for seed in (1, 2)]
    of_transfer = [compared_segmenter(given, ref.key) for ref in refs]
    with pytest.raises(InputError, match=r"'lisbon' is a transfer, .*`crosscity transfer lisbon`"):
        city_to_look_at(given, of_transfer, None)
    assert city_to_look_at(given, of_transfer, "tokyo") == "tokyo", "who asks for it gets it"


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
