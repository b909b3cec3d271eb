"""Counting work: listeners hear every step, the server a step a second."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from uuid import UUID, uuid4

import pytest

from tasks.steps import progress


@pytest.fixture
def board():
    return progress._Board()


@pytest.fixture
def heard(board):
    steps: list[tuple[str, int, int]] = []
    board.listen(lambda *step: steps.append(step))
    return steps


def test_listeners_hear_every_step_of_every_stage(board, heard):
    board.advance("harvest tokyo", 1, 3)
    board.advance("priors tokyo", 2, 2)
    board.advance("harvest tokyo", 2, 3)
    assert heard == [("harvest tokyo", 1, 3), ("priors tokyo", 2, 2), ("harvest tokyo", 3, 3)]


def test_a_stage_that_ended_starts_anew(board, heard):
    for _ in range(2):
        board.advance("stage", 2, 2)
    board.advance("stage", 1, 2)
    assert [done for _, done, _ in heard] == [2, 2, 1]


def test_a_stage_never_has_more_done_than_there_are(board, heard):
    board.advance("stage", 5, 3)
    assert heard == [("stage", 3, 3)]


def test_no_step_is_lost_between_threads(board, heard):
    def work() -> None:
        for _ in range(200):
            board.advance("stage", 1, 1000)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [done for _, done, _ in heard] == list(range(1, 801))


@pytest.fixture
def server(monkeypatch):
    """Notes what would go to the server, under a clock that the test winds."""
    noted = SimpleNamespace(now=100.0, run="run", created=[], updated=[])

    def create(*, progress: float, key: str, description: str) -> UUID:
        noted.created.append((key, round(progress), description))
        return uuid4()

    def update(*, artifact_id: UUID, progress: float) -> None:
        assert isinstance(artifact_id, UUID)
        noted.updated.append(round(progress))

    monkeypatch.setattr(progress, "create_progress_artifact", create)
    monkeypatch.setattr(progress, "update_progress_artifact", update)
    monkeypatch.setattr(progress, "_flow_run_id", lambda: noted.run)
    # Of this module alone: the threads of others go by the clock, too.
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: noted.now))
    return noted


def test_the_server_gets_the_first_step_one_a_second_and_the_last(board, server):
    for step in range(100):
        server.now = 100.0 + step * 0.1
        board.advance("Harvest Tokyo", 1, 100)
        progress.OUTBOX.drain(900.0)
    assert server.created == [("harvest-tokyo", 1, "Harvest Tokyo: 100")]
    assert len(server.updated) == 10
    assert server.updated == sorted(server.updated)
    assert server.updated[-1] == 100


def test_the_work_does_not_wait_for_a_server_that_answers_slowly(board, server, monkeypatch):
    """With 1.5 seconds an answer, each image of all threads together took as long."""
    asked, answers = threading.Event(), threading.Event()
    created: list[int] = []

    def create(*, progress: float, **_: object) -> UUID:
        asked.set()
        assert answers.wait(900)
        created.append(round(progress))
        return uuid4()

    monkeypatch.setattr(progress, "create_progress_artifact", create)
    monkeypatch.setattr(progress.OUTBOX, "_patience", 900.0)

    def work() -> None:
        for _ in range(99):
            server.now += 2.0
            board.advance("stage", 1, 100)

    thread = threading.Thread(target=work)
    thread.start()
    assert asked.wait(900)
    thread.join()  # it does not wait for the first answer, which comes after it
    assert created == []
    answers.set()
    board.advance("stage", 1, 100)  # the last is waited for, and with it what is before it
    assert created == [1]
    assert server.updated[-1] == 100
    assert len(server.updated) <= 3


def test_two_runs_in_one_process_count_by_themselves(board, server, heard):
    board.advance("stage", 1, 3)
    server.run = "another run"
    board.advance("stage", 1, 3)
    progress.OUTBOX.drain(900.0)
    assert heard == [("stage", 1, 3)] * 2
    assert len(server.created) == 2


def test_outside_a_run_nothing_is_published(board, server, heard):
    server.run = ""
    board.advance("stage", 1, 1)
    assert heard == [("stage", 1, 1)]
    assert server.created == []
