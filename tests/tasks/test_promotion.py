"""Which segmenter a city uses: the log, rolling back, pinning, and what is known of a segmenter."""

from __future__ import annotations

import logging
import subprocess
import sys
from logging.handlers import MemoryHandler
from pathlib import Path

import pytest

from adapters.store import ArtifactRef, Store, StoreError, artifact_key
from tasks.judging import promotion
from tasks.steps import logs
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


def test_a_promotion_that_is_kept_is_pinned_in_the_same_switch(store, three, monkeypatch):
    """Else a run that promotes in between has its own segmenter pinned."""
    switches = []
    alter = Store.alter

    def counted(self, name, city, change):
        switches.append(name)
        return alter(self, name, city, change)

    monkeypatch.setattr(Store, "alter", counted)
    promotion.put_in_use(store, "tokyo", three[0], reason="a trial", keep=True)
    assert switches == [promotion.PROMOTED]
    held = promotion.pinned(store, "tokyo")
    assert held is not None
    assert held["reason"] == "a trial"
    log = promotion.promotion_log(store, "tokyo")
    assert [(one["action"], one["segmenter"]) for one in log[3:]] == [
        ("promote", three[0].to_dict()),
        ("pin", three[0].to_dict()),
    ]


def test_ending_a_pin_that_is_not_there_is_not_logged(store, three):
    before = promotion.promotion_log(store, "tokyo")
    assert promotion.unpin(store, "tokyo") == three[2]
    assert promotion.promotion_log(store, "tokyo") == before


@pytest.mark.parametrize("held", [True, False])
@pytest.mark.usefixtures("three")
def test_a_run_that_meets_a_pin_says_so_on_the_terminal(store, held, monkeypatch):
    class Planned:
        def open_store(self):
            return store

    monkeypatch.setattr(logs, "in_a_run", lambda: True)
    shown = MemoryHandler(10)
    if held:
        promotion.pin(store, "tokyo", "an exhibition")
    logging.getLogger(logs.TERMINAL).addHandler(shown)
    try:
        promotion.promote.fn(made(store, "adaptation", 9), "tokyo", Planned())
    finally:
        logging.getLogger(logs.TERMINAL).removeHandler(shown)
    assert ["crosscity unpin tokyo" in one.getMessage() for one in shown.buffer] == [True] * held


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
    start = made(store, "segmenter", 4)
    for number, (ref, keep) in enumerate([(good, "adapted"), (bad, "before")]):
        inputs = {"adaptation": ref.digest, "before": start.digest}
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


PROMOTE_MANY = """
import sys, time
from pathlib import Path
from adapters.store import Store
from tasks.judging import promotion

folder, number = Path(sys.argv[1]), int(sys.argv[2])
store = Store(folder)
refs = sorted(store.artifacts("adaptation", "tokyo"), key=lambda ref: ref.key)
(folder.parent / f"ready-{number}").touch()
while len(list(folder.parent.glob("ready-*"))) < 3:
    time.sleep(0.01)
for turn in range(6):
    promotion.put_in_use(store, "tokyo", refs[(number + turn) % 3], reason=f"{number}-{turn}")
    promotion.pin(store, "tokyo", f"{number}-{turn}")
"""


def test_of_promotions_at_one_moment_none_is_lost_from_the_log(store, three):
    folder = str(store._arguments[0])
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", PROMOTE_MANY, folder, str(number)],
            cwd=Path(__file__).parents[2],
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(3)
    ]
    for worker in workers:
        _, errors = worker.communicate()
        assert worker.returncode == 0, errors
    log = promotion.promotion_log(store, "tokyo")[3:]
    pins = [one["reason"] for one in log if one["action"] == "pin"]
    assert sorted(pins) == sorted(f"{number}-{turn}" for number in range(3) for turn in range(6))
    used = three[2].to_dict()
    for one in log:  # each is of what was in use when it was made
        if one["action"] == "pin":
            assert one["segmenter"] == used
        else:
            assert one["before"] == used
            used = one["segmenter"]
    assert in_use(store).to_dict() == used


def test_a_rollback_beside_a_promotion_is_refused_and_loses_nothing(store, three, monkeypatch):
    verify = Store.verify

    def promoted_meanwhile(self, ref):
        verify(self, ref)
        promotion.put_in_use(Store(self._arguments[0]), "tokyo", three[0])

    monkeypatch.setattr(Store, "verify", promoted_meanwhile)
    with pytest.raises(InputError, match="was changed meanwhile"):
        promotion.roll_back(store, "tokyo")
    assert in_use(store) == three[0]
    assert promotion.pinned(store, "tokyo") is None


def test_a_pin_set_while_a_run_promotes_is_heeded(store, three):
    promotion.pin(store, "tokyo", "now")
    assert promotion.put_in_use(store, "tokyo", three[0], unless_pinned=True) == three[2]
    assert in_use(store) == three[2]


def test_of_judgements_beside_one_segmenter_the_newest_counts(store, three):
    """The limits of the catalog were changed, or there are more pairs: it was judged anew."""
    bad, start, used = three

    def judge(number: int, beside: ArtifactRef, keep: str) -> None:
        inputs = {"adaptation": bad.digest, "before": beside.digest}
        made(store, "safeguard", number, inputs, {"keep": keep, "sentence": f"{number}: {keep}"})

    judge(5, start, "before")
    assert promotion.evidence_of(store, "tokyo", bad)["keep"] == "before"
    judge(4, start, "after")
    assert promotion.evidence_of(store, "tokyo", bad) == {"keep": "after", "verdict": "4: after"}
    judge(3, used, "before")  # beside another one it looks harmful
    judge(2, start, "after")
    assert promotion.evidence_of(store, "tokyo", bad) == {"keep": "before", "verdict": "3: before"}
    itself = {"adaptation": start.digest, "before": start.digest}
    made(store, "safeguard", 6, itself, {"keep": "after", "sentence": "no harm"})
    assert promotion.evidence_of(store, "tokyo", start) == {}, "it was looked at, not judged"


def test_a_judgement_by_the_limits_of_now_goes_before_newer_ones(store, three):
    """Limits that are set back find the judgement of before, which keeps its date."""

    def judged(keep: str, tolerance: float) -> None:
        inputs = {"adaptation": three[0].digest, "before": three[1].digest}
        parameters = {"limits": {"tolerance": tolerance, "drift": 0.1, "present": 0.002}}
        key = artifact_key("safeguard", inputs=inputs, parameters=parameters, version="1")
        about = {"inputs": inputs, "parameters": parameters, "version": "1"}
        with store.draft("safeguard", "tokyo", key, **about) as draft:
            draft.summary = {"keep": keep, "sentence": f"keep {keep}"}

    judged("before", 0.002)
    judged("after", 0.5)
    strict, loose = ({"tolerance": by, "drift": 0.1} for by in (0.002, 0.5))
    for limits, keep in ((strict, "before"), (loose, "after"), (None, "after")):
        assert promotion.evidence_of(store, "tokyo", three[0], limits)["keep"] == keep
    assert promotion.evidence_of(store, "tokyo", three[0], {"tolerance": 9})["keep"] == "after"


def test_of_scores_of_a_segmenter_the_newest_is_told(store, three):
    for number in range(6):
        made(store, "evaluation", number, {"segmenter": three[0].digest}, {"miou": number / 10})
        assert promotion.evidence_of(store, "tokyo", three[0])["miou"] == number / 10


def test_a_pin_ends_with_the_segmenter_that_it_held(store, three, monkeypatch):
    class Planned:
        def open_store(self):
            return store

    said: list[str] = []
    monkeypatch.setattr(promotion, "warn_user", said.append)
    promotion.pin(store, "tokyo", "an exhibition")
    store.remove(three[2])
    newer = made(store, "adaptation", 9)
    assert promotion.promote.fn(newer, "tokyo", Planned()) == newer
    assert in_use(store) == newer
    assert promotion.pinned(store, "tokyo") is None
    assert [one["action"] for one in promotion.promotion_log(store, "tokyo")[-2:]] == [
        "promote",
        "unpin",
    ]
    (sentence,) = said
    assert three[2].uri in sentence
    assert "is gone from the store" in sentence
