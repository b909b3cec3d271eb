"""What a harvest has used of a service's budget, over all its steps and all its runs."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterable

from adapters.store import ArtifactRef, Store
from adapters.street_view.web.budget import Ledger, Spent

_NAME = "spent"
_NOTE_EVERY_SECONDS = 2.0


class StepSpending:
    """Notes what one step uses while it runs, so that a killed run's use still counts."""

    def __init__(self, store: Store, kind: str, city: str, key: str) -> None:
        """Reads what earlier, unfinished runs of the step have used.

        Args:
            store: The store.
            kind: Kind of the artifact that the step makes.
            city: City.
            key: Key of the artifact.
        """
        self._store, self._step = store, (kind, city, key)
        self._lock = threading.Lock()
        self._noted_at = float("-inf")
        note = store.load_progress(*self._step, _NAME)
        self._before = Spent.from_dict(json.loads(note.read_bytes())) if note else Spent()
        self._ledger: Ledger | None = None

    def open(self, ledger: Ledger, elsewhere: Spent) -> None:
        """Lets a ledger count on top of what was used here and in other steps."""
        self._ledger = ledger
        ledger.before(elsewhere + self._before)

    @property
    def total(self) -> Spent:
        """What this step has used, in all its runs."""
        return self._before + (self._ledger.spent if self._ledger else Spent())

    def note(self, *, at_once: bool = False) -> None:
        """Saves the total, every other second at most."""
        with self._lock:
            now = time.monotonic()
            if at_once or now - self._noted_at > _NOTE_EVERY_SECONDS:
                self._noted_at = now
                data = json.dumps(self.total.to_dict()).encode()
                self._store.save_progress(*self._step, _NAME, data)


def spent_on(store: Store, refs: Iterable[ArtifactRef]) -> Spent:
    """What finished steps have used, as their manifests say."""
    total = Spent()
    for ref in refs:
        spent = store.manifest(ref).summary.get("spent")
        if isinstance(spent, dict):
            total += Spent.from_dict(spent)
    return total
