"""A step that makes one artifact, as a Prefect task: made once, found ever after."""

from __future__ import annotations

import pytest
from prefect import flow, unmapped
from prefect.settings import PREFECT_API_URL, temporary_settings

from adapters.store import ArtifactRef, Store
from tasks.steps.artifact_task import Made, artifact_task, digests, make_once
from tasks.steps.parallel import in_parallel


def make(store: Store, number: int, calls: list[int], **changes: object) -> Made:
    def write(draft, key):
        assert key
        calls.append(number)
        (draft.path / "number.txt").write_text(str(number))

    arguments = {"inputs": {}, "parameters": {"number": number}, "version": "1", **changes}
    return make_once(store, "numbers", "tokyo", write=write, **arguments)


def test_an_artifact_is_made_once_and_then_found(tmp_path):
    store, calls = Store(tmp_path), []
    first, second = make(store, 1, calls), make(store, 1, calls)
    assert (first.cached, second.cached) == (False, True)
    assert first.ref == second.ref
    assert calls == [1]


@pytest.mark.parametrize(
    "changes", [{"version": "2"}, {"parameters": {"number": 1, "k": 3}}, {"inputs": "other"}]
)
def test_another_version_parameter_or_input_is_another_artifact(tmp_path, changes):
    store, calls = Store(tmp_path), []
    if changes.get("inputs"):
        changes = {"inputs": {"part": make(store, 7, []).ref}}
    assert make(store, 1, calls).ref.key != make(store, 1, calls, **changes).ref.key
    assert calls == [1, 1]


def test_a_step_that_fails_publishes_nothing_and_keeps_its_progress(tmp_path):
    store = Store(tmp_path)

    def write(_draft, key):
        store.save_progress("numbers", "tokyo", key, "half", b"done so far")
        raise ValueError("in the middle")

    arguments = {"inputs": {}, "parameters": {}, "version": "1"}
    with pytest.raises(ValueError, match="in the middle"):
        make_once(store, "numbers", "tokyo", write=write, **arguments)
    assert list(store.artifacts()) == []

    def go_on(draft, key):
        path = store.load_progress("numbers", "tokyo", key, "half")
        (draft.path / "whole").write_bytes(path.read_bytes())

    made = make_once(store, "numbers", "tokyo", write=go_on, **arguments)
    assert store.path(made.ref, "whole").read_bytes() == b"done so far"
    assert store.list_progress("numbers", "tokyo", made.ref.key) == []


def test_inputs_of_a_join_keep_the_order_of_its_parts(tmp_path):
    refs = [make(Store(tmp_path), number, []).ref for number in range(12)]
    assert [digests(refs)[name] for name in sorted(digests(refs))] == refs


def test_called_and_mapped_tasks_give_references_and_say_what_was_found(
    prefect_server, waiting, tmp_path
):
    store, calls = Store(tmp_path), []

    @artifact_task("count", run_name="count {number}")
    def count(number: int) -> Made:
        return make(store, number, calls)

    @flow(name="counting")
    def counting() -> tuple[list[ArtifactRef], list[ArtifactRef]]:
        made = [count(1), *count.map([2, 3]).result()]
        found = [count(1), *count.map([2, 3]).result()]
        return made, found

    @artifact_task("add")
    def add(parts: list[ArtifactRef], offset: int) -> Made:
        return make(store, offset, calls, inputs=digests(parts))

    @flow(name="adding")
    def adding(parts: list[ArtifactRef]) -> list[ArtifactRef]:
        return add.map(unmapped(parts), [10, 20]).result()

    with temporary_settings({PREFECT_API_URL: f"{prefect_server.address}/api"}):
        made, found = counting()
        added = adding(made)
    assert made == found
    assert all(isinstance(ref, ArtifactRef) for ref in made)
    assert len({ref.key for ref in added}) == 2
    assert sorted(calls) == [1, 2, 3, 10, 20]
    (run,) = prefect_server.every("/flow_runs/filter", {"flows": {"name": {"any_": ["counting"]}}})
    waiting(lambda: prefect_server.tasks_have_ended(run["id"], 6), "the server knows of the tasks")
    states = [(task["name"], task["state_name"]) for task in prefect_server.task_runs(run["id"])]
    assert sorted(states) == sorted(
        (f"count {number}", state) for number in (1, 2, 3) for state in ("Cached", "Completed")
    )


def test_work_in_parallel_keeps_its_order_and_raises_its_first_error():
    assert in_parallel(lambda item: item * item, range(20), workers=4) == [i * i for i in range(20)]

    def fail_at_three(item: int) -> int:
        if item == 3:
            raise ValueError("three")
        return item

    with pytest.raises(ValueError, match="three"):
        in_parallel(fail_at_three, range(8), workers=2)


def test_threads_know_the_context_that_they_work_for():
    from contextvars import ContextVar

    run = ContextVar("run", default="none")
    run.set("this run")
    assert set(in_parallel(lambda _: run.get(), range(6), workers=3)) == {"this run"}
