"""Announces what was committed: after the commit, and noted only when it was taken.

What is to be announced is written with the commit itself, in one switch (`Store.switch`). Then it
is announced, and then the note is taken away. Whoever dies in between leaves the note, and the next
run announces it: rather twice than never.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final

from prefect.client.orchestration import get_client
from prefect.events import Event, Resource

from adapters.store import ArtifactRef, Selection, Store
from tasks.steps.looking import about_to_work

UNANNOUNCED: Final = "unannounced"
"""Key of a selection's notes: events that were not announced yet."""
WAITS: Final = (1.0, 4.0)
"""Seconds before the second and the third try."""


def event_of(name: str, city: str, payload: Mapping[str, Any]) -> dict[str, Any]:
    """An event about a city, as it is noted until it is announced; JSON-able."""
    return {"event": name, "city": city, "payload": dict(payload)}


def commit(
    store: Store,
    name: str,
    city: str,
    refs: Mapping[str, ArtifactRef],
    *,
    notes: Mapping[str, Any] | None = None,
    events: Sequence[Mapping[str, Any]] = (),
) -> None:
    """Switches a selection, and with it notes which events are to be announced.

    Events of the selection before that were not announced stay noted.

    Args:
        store: The store.
        name: Name of the selection.
        city: City.
        refs: The artifacts, by role.
        notes: What else belongs to them; JSON-able.
        events: Of `event_of`.
    """
    alter(store, name, city, lambda _: (refs, notes or {}), events)


def alter(
    store: Store,
    name: str,
    city: str,
    change: Callable[
        [Selection | None], tuple[Mapping[str, ArtifactRef], Mapping[str, Any]] | None
    ],
    events: Sequence[Mapping[str, Any]] = (),
) -> Selection | None:
    """`commit` of what `change` makes of the selection before, so that no other's commit is lost.

    Args:
        store: The store.
        name: Name of the selection.
        city: City.
        change: Gives artifacts and notes, or ``None`` where nothing is to be changed; it may be
            called several times.
        events: Of `event_of`.

    Returns:
        The selection from now on.
    """

    def changed(state: Selection | None) -> Selection | None:
        made = change(state)
        if made is None:
            return None
        waiting = _unannounced(state)
        waiting += [dict(event) for event in events if event not in waiting]
        after = Selection(dict(made[0]), _noted(made[1], waiting))
        if after != state:
            about_to_work()
        return after

    return store.alter(name, city, changed)


def announce(store: Store, name: str, city: str) -> list[dict[str, Any]]:
    """Sends what a selection notes as not announced, one event at a time, and takes the note away.

    Returns:
        The events that were sent now.

    Raises:
        Exception: The server did not take an event, also when it was asked again; it stays noted.
    """
    sent: list[dict[str, Any]] = []
    while True:
        state = store.selected(name, city)
        waiting = _unannounced(state)
        if state is None or not waiting:
            return sent
        about_to_work()
        send(waiting[0])
        sent.append(waiting[0])
        store.alter(name, city, partial(_without_event, event=waiting[0]))


def is_announced(state: Selection) -> bool:
    """Whether every event that a selection notes was sent."""
    return not _unannounced(state)


def send(event: Mapping[str, Any]) -> None:
    """Has the server take an event; its resource is ``crosscity.city.<name>``.

    Prefect's own `emit_event` hands an event to a thread and never says whether it arrived.

    Raises:
        Exception: The server did not take it, also when it was asked again.
    """
    made = Event(
        event=str(event["event"]),
        resource=Resource({"prefect.resource.id": f"crosscity.city.{event['city']}"}),
        payload=dict(event["payload"]),
    )
    for wait in (*WAITS, None):
        try:
            with get_client(sync_client=True) as client:
                client.request("POST", "/events", json=[made.model_dump(mode="json")])
        except Exception:
            if wait is None:
                raise
            time.sleep(wait)
        else:
            return


def _without_event(state: Selection | None, event: Mapping[str, Any]) -> Selection | None:
    """The selection without the note of an event; what was switched meanwhile stays."""
    if state is None:
        return None
    left = [one for one in _unannounced(state) if one != event]
    return Selection(state.refs, _noted(state.notes, left))


def _unannounced(state: Selection | None) -> list[dict[str, Any]]:
    noted = state.notes.get(UNANNOUNCED) if state is not None else None
    return [event for event in noted if isinstance(event, dict)] if isinstance(noted, list) else []


def _noted(notes: Mapping[str, Any], waiting: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    kept = {key: value for key, value in notes.items() if key != UNANNOUNCED}
    return {**kept, UNANNOUNCED: list(waiting)} if waiting else kept
