"""What is only shown waits for the server, and the work does not wait for it.

A thread posts one thing after the other. While the server answers, whoever hands something over
waits until it is posted, so that nothing is lost when the process ends; not for what the next one
replaces. Once it took too long, the things queue up, the oldest are dropped when there are too
many, and nobody waits until all are out.
"""

from __future__ import annotations

import atexit
import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from contextvars import Context, copy_context
from dataclasses import dataclass, field
from typing import Final

from tasks.steps.logs import log

PATIENCE: Final = 5.0
"""Seconds that the work waits for one post."""
MOST: Final = 500
"""Things that wait at once; a picture has 95 kB."""
LAST_SECONDS: Final = 10.0
"""How long a process that ends waits for what is still to be posted."""


@dataclass
class Item:
    """Something to be posted, and whether it was."""

    context: Context
    work: Callable[[], object]
    done: threading.Event = field(default_factory=threading.Event)


class Outbox:
    """A queue of posts, and the thread that posts them.

    Args:
        patience: Seconds that the work waits for one post.
        most: How many wait at once.
    """

    def __init__(self, patience: float = PATIENCE, most: int = MOST) -> None:
        self._patience = patience
        self._items: deque[Item] = deque(maxlen=most)
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._behind = False

    def hand_over(self, work: Callable[[], object]) -> None:
        """Has something posted, in the run that this is called in, and waits for it."""
        self.wait_for(self.add(work))

    def add(self, work: Callable[[], object]) -> Item:
        """Has something posted, in the run that this is called in, after what was added before."""
        item = Item(copy_context(), work)
        with self._changed:
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._post_all, daemon=True, name="outbox")
                self._thread.start()
            self._items.append(item)
            self._changed.notify_all()
        return item

    def wait_for(self, item: Item) -> None:
        """Waits until something is posted; not where the server is behind, or takes too long."""
        with self._changed:
            if self._behind:
                return
        if not item.done.wait(self._patience):
            with self._changed:
                self._behind = bool(self._items) or not item.done.is_set()
            log(logging.WARNING, "the server does not answer: what is shown there comes later")

    def drain(self, seconds: float) -> bool:
        """Waits until everything is posted; whether it is."""
        deadline = time.monotonic() + seconds
        with self._changed:
            while self._items or self._behind:
                left = deadline - time.monotonic()
                if left <= 0 or not self._changed.wait(left):
                    return False
        return True

    def _post_all(self) -> None:
        while True:
            with self._changed:
                while not self._items:
                    self._changed.wait()
                item = self._items[0]
            try:
                item.context.run(item.work)
            except Exception as error:
                log(logging.WARNING, f"something was not shown: {error}")
            item.done.set()
            with self._changed:
                if self._items and self._items[0] is item:  # it is not, where it was dropped
                    self._items.popleft()
                self._behind = self._behind and bool(self._items)
                self._changed.notify_all()


OUTBOX: Final = Outbox()
atexit.register(OUTBOX.drain, LAST_SECONDS)
