"""A small JSON object in the store that any number of processes and machines change.

Each change is a compare-and-set of the whole file: whoever was second reads again and changes what
the first has left. So no change is lost, and nothing is held while one is worked out.
"""

from __future__ import annotations

import json
import random
import secrets
import time
from collections.abc import Callable
from typing import Any, Final

from adapters.store.errors import StoreError
from adapters.store.places import Place

WRITTEN: Final = "written"
"""Key that tells one write from another with the same content."""
_LONGEST_WAIT: Final = 0.5
_MOST_TRIES: Final = 1000

State = dict[str, Any]


class DamagedRecordError(StoreError):
    """A shared file does not hold what was written."""


class SharedRecord:
    """A JSON object of the store, changed by compare-and-set; it may be pickled.

    Args:
        place: The store's place.
        path: Of the file, below the store's root.
    """

    def __init__(self, place: Place, path: str) -> None:
        self._place, self._path = place, path

    def __repr__(self) -> str:
        return f"SharedRecord({self._place.describe(self._path)!r})"

    def read(self) -> State:
        """What stands there now; empty where nothing does.

        Raises:
            StoreError: The file is damaged, or the store cannot be read.
        """
        return self._parsed(self._place.read(self._path))

    def change(self, change: Callable[[State], State | None]) -> State:
        """Replaces what stands there by what `change` makes of it, without losing another's change.

        Args:
            change: Gets a copy of the state, and returns the new one; an empty one removes the
                file, ``None`` leaves it as it is. It is called again where another was quicker, so
                it must do nothing else.

        Returns:
            The state that stands there now.

        Raises:
            StoreError: The file is damaged, or the store cannot be written to.
        """
        for attempt in range(_MOST_TRIES):
            data = self._place.read(self._path)
            state = self._parsed(data)
            new = change(self._parsed(data))
            if new is None:
                return state
            if not new and data is None:
                return {}
            after = None
            if new:
                text = json.dumps({**new, WRITTEN: secrets.token_hex(8)}, sort_keys=True)
                after = text.encode()
            if self._place.swap(self._path, data, after):
                return new
            longest = min(_LONGEST_WAIT, 0.005 * 2.0 ** min(attempt, 10))
            time.sleep(random.uniform(0, longest))  # noqa: S311 - it spreads, it guards nothing
        raise StoreError(
            f"{self._place.describe(self._path)} is changed by others all the time: run again"
        )

    def _parsed(self, data: bytes | None) -> State:
        if data is None:
            return {}
        try:
            state = json.loads(data)
        except ValueError:
            state = None
        if not isinstance(state, dict):
            raise DamagedRecordError(
                f"{self._place.describe(self._path)} is damaged: `crosscity store repair` moves it "
                "to quarantine, and what it counts begins anew"
            )
        state.pop(WRITTEN, None)
        return state
