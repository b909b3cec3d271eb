"""Which segmenter a city uses: the log, rolling back, pinning, and what is known of a segmenter."""

from __future__ import annotations

import pytest

from adapters.store import ArtifactRef, Store, StoreError, artifact_key
from tasks.judging import promotion
from tasks.steps.errors import InputError


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


def made(store: Store, kind: str, number: int, inputs=None, summary=None) -> ArtifactRef:
    inputs, parameters = inputs or {}, {"number": number}
    key = artifact_key(kind, inputs=inputs, parameters=parameters, version="1")
    with store.draft(
        kind, "tokyo", key, inputs=inputs, parameters=parameters, version="1"
    ) as draft:
        (draft.path / "weights.bin").write_bytes(bytes([number]) * 100)
        draft.summary = summary or {}
    return draft.ref


@pytest.fixture
def three(store):
    refs = [made(store, "adaptation", number) for number in range(3)]
    for ref in refs:
        promotion.put_in_use(store, "tokyo", ref, reason=f"number {ref.key}")
    return refs


def in_use(store: Store) -> ArtifactRef | None:
    return promotion.promoted_segmenter(store, "tokyo")


def test_the_log_has_every_change_and_only_grows(store, three):
    promotion.put_in_use(store, "tokyo", three[2])  # no change
    log = promotion.promotion_log(store, "tokyo")
    assert [one["action"] for one in log] == ["promote"] * 3
    assert [one["segmenter"]["key"] for one in log] == [ref.key for ref in three]
    assert log[0]["before"] is None
    assert log[2]["before"]["key"] == three[1].key
    assert log[1]["reason"] == f"number {three[1].key}"
    promotion.roll_back(store, "tokyo", "too many trucks")
    promotion.unpin(store, "tokyo")
    promotion.pin(store, "tokyo", "holidays")
    longer = promotion.promotion_log(store, "tokyo")
    assert longer[:3] == log
    assert [one["action"] for one in longer[3:]] == ["rollback", "unpin", "pin"]
    assert longer[3]["reason"] == "too many trucks"
    assert Store(store._arguments[0]).selected("promoted", "tokyo") is not None


def test_rolling_back_goes_further_back_each_time_and_pins(store, three):
    assert promotion.roll_back(store, "tokyo") == three[1]
    assert in_use(store) == three[1]
    assert promotion.pinned(store, "tokyo")["reason"] == "rolled back"
    assert promotion.roll_back(store, "tokyo") == three[0]
    with pytest.raises(InputError, match="nothing to roll back to"):
        promotion.roll_back(store, "tokyo")
    assert in_use(store) == three[0]


def test_what_is_gone_is_left_out_and_what_is_damaged_is_not_put_into_use(store, three, tmp_path):
    import shutil

    folder = tmp_path / "store" / "adaptation" / "tokyo"
    shutil.rmtree(folder / three[1].key)
    assert promotion.roll_back(store, "tokyo") == three[0]
    promotion.put_in_use(store, "tokyo", three[2])
    weights = folder / three[0].key / "weights.bin"
    weights.chmod(0o600)
    weights.write_bytes(bytes(100 * [7]))
    with pytest.raises(StoreError):
        promotion.roll_back(store, "tokyo")
    assert in_use(store) == three[2]


def test_there_is_nothing_to_pin_before_the_first(store):
    for change in (promotion.pin, promotion.unpin, promotion.roll_back):
        with pytest.raises(InputError):
            change(store, "tokyo")
    assert promotion.promotion_log(store, "tokyo") == []


def test_a_run_does_not_promote_over_a_pin(store, three):
    class Planned:
        def open_store(self):
            return store

    newer = made(store, "adaptation", 9)
    promotion.pin(store, "tokyo", "an exhibition")
    assert promotion.promote.fn(newer, "tokyo", Planned()) == three[2]
    assert in_use(store) == three[2]
    promotion.unpin(store, "tokyo")
    assert promotion.promote.fn(newer, "tokyo", Planned()) == newer
    assert in_use(store) == newer


def test_what_is_known_of_a_segmenter_is_logged_with_it(store):
    good, bad = made(store, "adaptation", 1), made(store, "adaptation", 2)
    for number, (ref, keep) in enumerate([(good, "adapted"), (bad, "before")]):
        inputs = {"adaptation": ref.digest, "before": good.digest}
        summary = {"keep": keep, "sentence": f"keep {keep}"}
        made(store, "safeguard", number, inputs, summary)
    made(store, "evaluation", 3, {"segmenter": good.digest}, {"miou": 0.5})
    assert promotion.evidence_of(store, "tokyo", good) == {
        "keep": "adapted",
        "verdict": "keep adapted",
        "miou": 0.5,
    }
    assert promotion.evidence_of(store, "tokyo", bad)["keep"] == "before"
    promotion.put_in_use(store, "tokyo", good)
    (entry,) = promotion.promotion_log(store, "tokyo")
    assert entry["miou"] == 0.5
    assert entry["verdict"] == "keep adapted"
