"""Finding what a verb would make, without a server: a verb that has nothing to do starts none."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from logging.handlers import MemoryHandler
from typing import TYPE_CHECKING, Final

from adapters.store.errors import DamagedArtifactError
from flows.cli.outcome import note
from flows.cli.output import handled
from tasks.steps.errors import InputError

if TYPE_CHECKING:
    from adapters.store import ArtifactRef
    from tasks.steps.plan import Plan

_MOST_WARNINGS: Final = 10_000


def find_finished(find: Callable[[], ArtifactRef | None], plan: Plan) -> ArtifactRef | None:
    """What a verb would give back, if all that it makes is in the store.

    Warnings of the search are shown where something is found; else the run that follows gives them.

    Args:
        find: Looks for it; an `InputError` says that something is missing or stale.
        plan: Of the catalog.

    Returns:
        The artifact, its files verified; ``None`` where the flow has to run, which makes what is
        missing or damaged, or says what it needs.

    Raises:
        StoreError: The store does not answer, was written by a newer release, or a selection in it
            is damaged; a run could do nothing about it either.
    """
    shown = logging.StreamHandler(sys.stderr)
    shown.setFormatter(logging.Formatter("crosscity: %(message)s"))
    held = MemoryHandler(_MOST_WARNINGS, logging.CRITICAL + 1, shown, flushOnClose=False)
    held.setLevel(logging.WARNING)
    with handled(held):
        try:
            found = find()
            if found is None:
                return None
            store = plan.open_store()
            for name in store.manifest(found).files:
                store.path(found, name)
        except (InputError, DamagedArtifactError):
            return None
    held.flush()
    note("everything is in the store already")
    return found
