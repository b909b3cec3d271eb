"""Nothing that is only shown fails a step: tried, tried again, logged and left."""

from __future__ import annotations

import logging
import re
from types import SimpleNamespace

import numpy as np
import pytest

from adapters.store import Store
from tasks.steps import dashboard, logs, progress
from tasks.steps.dashboard import only_shown, post


@pytest.fixture
def refused(monkeypatch):
    """A run whose server refuses everything; the names of what was tried."""
    tried: list[str] = []

    def refuse(name: str):
        def post_it(**_given: object) -> None:
            tried.append(name)
            raise RuntimeError("the server is gone")

        return post_it

    for module, name in (
        (dashboard, "create_table_artifact"),
        (dashboard, "create_markdown_artifact"),
        (dashboard, "create_image_artifact"),
        (progress, "create_progress_artifact"),
    ):
        monkeypatch.setattr(module, name, refuse(name))
    monkeypatch.setattr(dashboard, "in_a_run", lambda: True)
    monkeypatch.setattr(progress, "_flow_run_id", lambda: "a run")
    monkeypatch.setattr(dashboard, "time", SimpleNamespace(sleep=lambda _seconds: None))
    return tried


def test_a_server_that_refuses_everything_fails_nothing(refused, tmp_path, caplog):
    store = Store(tmp_path / "store")
    with store.draft("pairs", "rome", "k", inputs=[], parameters={}, version="1") as draft:
        pass
    dashboard.publish_table("t", [{"a": 1}], "table")
    dashboard.publish_markdown("m", "text", "markdown")
    dashboard.publish_picture("p", lambda: np.zeros((8, 8, 3), np.uint8), "picture")
    dashboard.publish_lineage("l", store, draft.ref, "lineage")
    progress._Board().advance("a stage", 3, 3)
    assert progress.OUTBOX.drain(900.0)
    expected = ["table", "markdown", "image", "markdown", "progress"]
    assert refused == [f"create_{name}_artifact" for name in expected for _ in range(3)]
    assert caplog.text.count("the dashboard does not show") == 5
    assert caplog.text.count("the server is gone") == 5


def test_a_post_that_works_the_second_time_is_not_logged(logged_here, monkeypatch):
    monkeypatch.setattr(dashboard, "time", SimpleNamespace(sleep=lambda _seconds: None))
    answers = iter([None, "posted"])

    def send() -> str:
        answer = next(answers)
        if answer is None:
            raise ConnectionError("once")
        return answer

    assert post("x", send) == "posted"
    assert logged_here() == []


def test_updates_in_between_are_tried_once(refused):
    board = progress._Board()
    board.advance("a stage", 1, 3)
    assert progress.OUTBOX.drain(900.0)
    assert len(refused) == 1


@pytest.mark.usefixtures("refused")
def test_what_cannot_be_drawn_or_read_fails_nothing(caplog):
    def unreadable() -> np.ndarray:
        raise OSError("no such picture")

    dashboard.publish_picture("p", unreadable, "picture")
    assert "no such picture" in caplog.text

    @only_shown
    def _publish_losses(_store: object) -> None:
        raise KeyError("a quantity that is not there")

    _publish_losses(None)
    assert "publish_losses failed and is left out" in caplog.text


def test_a_listener_that_fails_stops_no_work(caplog):
    board = progress._Board()

    def broken(*_step: object) -> None:
        raise ValueError("the terminal is gone")

    class Terminal:
        """As the command line's: an object, which has no name of its own."""

        def __call__(self, *_step: object) -> None:
            raise ValueError("it was closed")

    board.listen(broken)
    board.listen(Terminal())
    board.advance("a stage", 1, 2)
    assert "the terminal is gone" in caplog.text
    assert "Terminal failed and is left out: it was closed" in caplog.text


def test_warnings_of_the_store_reach_the_log_of_the_run(monkeypatch):
    logs.hand_to_runs()
    lines: list[tuple[int, str]] = []
    run = SimpleNamespace(log=lambda level, message: lines.append((level, message)))
    monkeypatch.setattr(logs, "get_run_logger", lambda: run)
    logging.getLogger("crosscity.store").warning("%s was moved", "it")
    assert lines == [(logging.WARNING, "it was moved")]


class Context:
    def __init__(self, **parameters: object) -> None:
        self.parameters = parameters


def test_keys_carry_the_catalog_of_the_run(monkeypatch, tmp_path):
    def shown(**parameters: object) -> str:
        monkeypatch.setattr(dashboard.TaskRunContext, "get", lambda: None)
        monkeypatch.setattr(dashboard.FlowRunContext, "get", lambda: Context(**parameters))
        return dashboard.shown_key("scores-tokyo")

    usual = tmp_path / "Lab 7" / "data_catalog.yaml"
    mine = shown(catalog=str(usual))
    assert re.fullmatch("scores-tokyo-in-lab-7-[0-9a-f]{4}", mine)
    assert shown(plan=SimpleNamespace(catalog=str(usual)), catalog="x") == mine
    assert shown(catalog=str(usual.parent / ".." / "Lab 7" / usual.name)) == mine, "a detour"
    small = shown(catalog=str(usual.with_name("small.yaml")))
    assert small == mine.replace("lab-7", "lab-7-small")
    # Another's folder of the same name is another catalog, as two on one server often are.
    theirs = shown(catalog=str(tmp_path / "elsewhere" / "Lab 7" / "data_catalog.yaml"))
    assert theirs != mine
    assert theirs.startswith("scores-tokyo-in-lab-7-")
    assert shown() == "scores-tokyo"
