"""What was committed is announced, by this run or by the next."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from adapters.store import Selection, Store
from tasks.steps import announcing
from tasks.steps.announcing import UNANNOUNCED, announce, commit, event_of

FIRST = event_of("imagery.landed", "rome", {"count": 3})
SECOND = event_of("imagery.landed", "rome", {"count": 5})


@pytest.fixture
def world(tmp_path, monkeypatch):
    """A store, two artifacts and a list of what was sent."""
    store, refs = Store(tmp_path / "store"), []
    for key in ("k1", "k2"):
        with store.draft("pairs", "rome", key, inputs=[], parameters={}, version="1") as draft:
            draft.file("x").write_bytes(key.encode())
        refs.append(draft.ref)
    sent: list[dict] = []
    monkeypatch.setattr(announcing, "send", sent.append)
    return store, refs, sent


def test_an_event_is_noted_with_the_commit_sent_and_taken_off(world):
    store, (one, two), sent = world
    commit(store, "harvest", "rome", {"pairs": one}, notes={"since": 1}, events=[FIRST])
    assert store.selected("harvest", "rome").notes == {"since": 1, UNANNOUNCED: [FIRST]}
    assert announce(store, "harvest", "rome") == [FIRST]
    assert sent == [FIRST]
    assert store.selected("harvest", "rome") == Selection({"pairs": one}, {"since": 1})
    assert announce(store, "harvest", "rome") == []
    commit(store, "harvest", "rome", {"pairs": two}, events=[SECOND])
    assert announce(store, "harvest", "rome") == [SECOND]
    assert sent == [FIRST, SECOND]


def test_what_was_not_announced_is_still_noted_by_the_next_commit(world):
    store, (one, two), sent = world
    commit(store, "harvest", "rome", {"pairs": one}, events=[FIRST])
    commit(store, "harvest", "rome", {"pairs": two}, events=[SECOND])
    commit(store, "harvest", "rome", {"pairs": two}, events=[SECOND])
    assert announce(store, "harvest", "rome") == [FIRST, SECOND]
    assert sent == [FIRST, SECOND]
    assert store.selected("harvest", "rome") == Selection({"pairs": two}, {})


def test_a_server_that_does_not_answer_leaves_the_note(world, monkeypatch):
    store, (one, _), sent = world
    commit(store, "harvest", "rome", {"pairs": one}, events=[FIRST, SECOND])

    def refuse_the_second(event) -> None:
        if event == SECOND:
            raise ConnectionError("no server")
        sent.append(event)

    monkeypatch.setattr(announcing, "send", refuse_the_second)
    with pytest.raises(ConnectionError):
        announce(store, "harvest", "rome")
    assert store.selected("harvest", "rome").notes == {UNANNOUNCED: [SECOND]}
    monkeypatch.setattr(announcing, "send", sent.append)
    assert announce(store, "harvest", "rome") == [SECOND]
    assert sent == [FIRST, SECOND]


def test_a_city_without_a_selection_has_nothing_to_announce(world):
    store, _, sent = world
    assert announce(store, "harvest", "rome") == []
    assert sent == []


def test_the_server_is_asked_again_before_it_is_given_up(monkeypatch):
    tried, waited = [], []

    class Client:
        def __enter__(self):
            return self

        def __exit__(self, *_):
            return None

        def request(self, method, path, json):
            tried.append((method, path, json[0]["event"], json[0]["resource"]))
            if len(tried) < 3:
                raise ConnectionError("not yet")

    monkeypatch.setattr(announcing, "get_client", lambda **_: Client())
    # Not the module that everyone has: threads of other tests wait, too.
    monkeypatch.setattr(announcing, "time", SimpleNamespace(sleep=waited.append))
    announcing.send(FIRST)
    resource = {"prefect.resource.id": "crosscity.city.rome"}
    assert tried == [("POST", "/events", "imagery.landed", resource)] * 3
    assert waited == list(announcing.WAITS)
    tried.clear()
    monkeypatch.setattr(Client, "request", lambda *_, **__: (_ for _ in ()).throw(OSError("gone")))
    with pytest.raises(OSError, match="gone"):
        announcing.send(FIRST)
