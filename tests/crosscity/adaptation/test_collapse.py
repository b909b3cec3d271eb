from __future__ import annotations

import json

from crosscity.adaptation.collapse import CollapseWatch


def test_a_discriminator_that_knows_everything_is_reported() -> None:
    watch = CollapseWatch()
    row = {"task_loss": 1.0, "global_accuracy": 0.999, "class_accuracy": 0.7}
    said = [watch.look(row) for _ in range(25)]
    assert not any(said[:19])
    assert said[19] == "the global discriminator is right in 99.9% of the cells"
    assert "class" not in said[24]


def test_a_task_loss_that_grows_is_reported() -> None:
    watch = CollapseWatch()
    for _ in range(20):
        assert not watch.look({"task_loss": 0.5})
    said = [watch.look({"task_loss": 2.0}) for _ in range(20)]
    assert not said[0]
    assert said[-1] == "the task loss has grown from 0.5 to 2"


def test_quiet_otherwise_also_before_class_alignment_begins() -> None:
    watch = CollapseWatch()
    for _ in range(40):
        assert not watch.look({"task_loss": 0.5, "global_accuracy": 0.8, "class_accuracy": None})


def test_goes_on_after_json() -> None:
    rows = [{"task_loss": 0.1 * (i + 1), "global_accuracy": 0.98 + i / 1000} for i in range(60)]
    whole = CollapseWatch()
    expected = [whole.look(row) for row in rows]
    assert any(expected)
    for stop in range(0, 60, 7):
        first, second = CollapseWatch(), CollapseWatch()
        said = [first.look(row) for row in rows[:stop]]
        second.restore(json.loads(json.dumps(first.notes())))
        assert said + [second.look(row) for row in rows[stop:]] == expected
