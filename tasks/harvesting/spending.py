"""What a harvest has used of a service's budget, over all its steps and all its runs."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from adapters.store import ArtifactRef, Store
from adapters.street_view.web.budget import Ledger, Spent
from tasks.steps.looking import about_to_work

_NAME = "spent"
_IMAGES_NAME = "spent-on-images"
_NOTE_EVERY_SECONDS = 2.0


class _Spending:
    """Counts what is used on top of what was, and notes it every other second."""

    def __init__(self, before: Spent) -> None:
        self._before = before
        self._ledger: Ledger | None = None
        self._lock = threading.Lock()
        self._noted_at = float("-inf")

    @property
    def total(self) -> Spent:
        """What this step or shard has used, in all its runs."""
        return self._before + (self._ledger.spent if self._ledger else Spent())

    def note(self) -> None:
        """Saves the total, every other second at most."""
        with self._lock:
            if time.monotonic() - self._noted_at > _NOTE_EVERY_SECONDS:
                self._save_now()

    def note_at_once(self) -> None:
        """Saves the total."""
        with self._lock:
            self._save_now()

    def _save_now(self) -> None:
        self._noted_at = time.monotonic()
        self._save_total()

    def _save_total(self) -> None:
        raise NotImplementedError


class StepSpending(_Spending):
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
        note = store.load_progress(*self._step, _NAME)
        super().__init__(Spent.from_dict(json.loads(note.read_bytes())) if note else Spent())

    def open(self, ledger: Ledger, elsewhere: Spent) -> None:
        """Lets a ledger count on top of what was used here and in other steps."""
        self._ledger = ledger
        ledger.before(elsewhere + self._before)

    def _save_total(self) -> None:
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


class ShardSpending(_Spending):
    """Notes what one shard of a harvest uses, beside what the listing and the other shards used.

    One note a harvest has it all, so a shard reads one file however many shards there are. A killed
    shard's use stays in it: it counts as long as the shard is not finished, and afterwards too.
    """

    def __init__(self, store: Store, city: str, captures: ArtifactRef, part: int) -> None:
        """Reads the note.

        Args:
            store: The store.
            city: City.
            captures: The list whose images are fetched.
            part: Number of the shard.
        """
        self._store, self._part = store, str(part)
        self._step = ("captures", city, captures.key)
        self._listing = spent_on(store, [captures])
        self._note = _read_note(store, self._step) or _Note()
        super().__init__(self._note.unfinished.get(self._part, Spent()))

    def open(self, ledger: Ledger) -> Spent:
        """Lets a ledger count on top of what was used in all the harvest; gives that."""
        self._ledger = ledger
        others = [used for part, used in self._note.unfinished.items() if part != self._part]
        before = sum([*others, self._note.finished, self._listing], self._before)
        ledger.before(before)
        return before

    def _save_total(self) -> None:
        self._note.unfinished[self._part] = self.total
        self._save()

    def finish(self) -> None:
        """Counts the shard as finished: its artifact is there."""
        with self._lock:
            used = self._note.unfinished.pop(self._part, None)
            if used is not None:
                self._note.finished += used
                self._save()

    def _save(self) -> None:
        self._store.save_progress(*self._step, _IMAGES_NAME, self._note.to_json())


@dataclass
class _Note:
    """What the shards of a harvest have used: the finished together, the others each."""

    finished: Spent = field(default_factory=Spent)
    unfinished: dict[str, Spent] = field(default_factory=dict)

    def to_json(self) -> bytes:
        unfinished = {part: used.to_dict() for part, used in self.unfinished.items()}
        return json.dumps({"finished": self.finished.to_dict(), "unfinished": unfinished}).encode()


def begin_spending(
    store: Store, city: str, captures: ArtifactRef, finished: Callable[[], Iterable[ArtifactRef]]
) -> None:
    """Makes sure that a harvest has its note, before its first shard.

    Args:
        store: The store.
        city: City.
        captures: The list whose images are fetched.
        finished: Gives the shards that are there; asked only where there is no note yet, as after
            a harvest by an earlier release.
    """
    step = ("captures", city, captures.key)
    if _read_note(store, step) is None:
        about_to_work()
        note = _Note(finished=spent_on(store, finished()))
        store.save_progress(*step, _IMAGES_NAME, note.to_json())


def _read_note(store: Store, step: tuple[str, str, str]) -> _Note | None:
    path = store.load_progress(*step, _IMAGES_NAME)
    if path is None:
        return None
    content = json.loads(path.read_bytes())
    unfinished = {part: Spent.from_dict(used) for part, used in content["unfinished"].items()}
    return _Note(Spent.from_dict(content["finished"]), unfinished)
