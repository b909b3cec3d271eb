"""Finding what a verb would make, without a server: a verb that has nothing to do starts none."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from logging.handlers import MemoryHandler
from typing import TYPE_CHECKING, Final, Generic, TypeVar

from adapters.store.errors import DamagedArtifactError
from flows.cli.outcome import note
from flows.cli.output import handled
from tasks.steps.errors import InputError
from tasks.steps.looking import NotDoneError, only_looking

if TYPE_CHECKING:
    from adapters.store import ArtifactRef, Store
    from tasks.steps.plan import Plan

_MOST_WARNINGS: Final = 10_000

Result = TypeVar("Result")


@dataclass(frozen=True)
class Done(Generic[Result]):
    """What a run that has nothing left to do gives back."""

    result: Result


def find_finished(find: Callable[[], ArtifactRef | None], plan: Plan) -> ArtifactRef | None:
    """What a verb would give back, if all that it makes is in the store.

    Warnings of the search are shown where something is found; else the run that follows gives them.

    Args:
        find: Looks for it; an `InputError` says that something is missing or stale, a
            `NotDoneError` that there is something to do.
        plan: Of the catalog.

    Returns:
        The artifact, its files verified; ``None`` where the flow has to run, which makes what is
        missing or damaged, or says what it needs.

    Raises:
        StoreError: The store does not answer, was written by a newer release, or a selection in it
            is damaged; a run could do nothing about it either.
    """
    with _warnings_held() as held:
        try:
            found = find()
            if found is None:
                return None
            _verify(plan.open_store(), [found])
        except (NotDoneError, InputError, DamagedArtifactError):
            return None
    _say_so(held)
    return found


def found_now(run: Callable[[], Result]) -> Result | None:
    """What a flow's function would give back, where all of it is in the store; says nothing.

    Args:
        run: Calls the flow's function (`fn`), not the flow.

    Returns:
        ``None`` where there is something to do, or the flow refuses what it is asked for.
    """
    with _warnings_held():
        try:
            with only_looking():
                return run()
        except (NotDoneError, InputError, DamagedArtifactError):
            return None


def find_done(
    run: Callable[[], Result],
    plan: Plan,
    refs: Callable[[Result], Iterable[ArtifactRef]],
    *,
    tell: bool = True,
) -> Done[Result] | None:
    """What a flow would give back, if all that it makes, commits and announces is done.

    The flow's function goes through its own steps without doing anything (`tasks.steps.looking`).
    So what it refuses before it has anything to do, it refuses here, and nothing is started to say
    so. Warnings as of `find_finished`.

    Args:
        run: Calls the flow's function (`fn`), not the flow.
        plan: Of the catalog.
        refs: What of the result is verified.
        tell: Whether it is said that nothing has to be made.

    Returns:
        What the function gave; ``None`` where the flow has to run.

    Raises:
        InputError: The flow refuses what it is asked for.
        StoreError: As of `find_finished`.
    """
    with _warnings_held() as held:
        try:
            with only_looking():
                found = Done(run())
            _verify(plan.open_store(), refs(found.result))
        except (NotDoneError, DamagedArtifactError):
            return None
        except InputError:
            held.flush()
            raise
    _say_so(held, tell=tell)
    return found


def _verify(store: Store, refs: Iterable[ArtifactRef]) -> None:
    for ref in refs:
        for name in store.manifest(ref).files:
            store.path(ref, name)


@contextmanager
def _warnings_held() -> Iterator[MemoryHandler]:
    shown = logging.StreamHandler(sys.stderr)
    shown.setFormatter(logging.Formatter("crosscity: %(message)s"))
    held = MemoryHandler(_MOST_WARNINGS, logging.CRITICAL + 1, shown, flushOnClose=False)
    held.setLevel(logging.WARNING)
    with handled(held):
        yield held


def _say_so(held: MemoryHandler, *, tell: bool = True) -> None:
    held.flush()
    if tell:
        note("everything is in the store already")
