"""Turns a step that makes one artifact into a Prefect task.

The store's manifest is the one truth about what is finished: a step looks its key up, and makes
only what is not there. Prefect's own result cache is left off on purpose. It would be a second
truth that can disagree with the first (an artifact deleted from the store, a result that outlived
its inputs), and it could not be shared between servers. What was found is shown in the dashboard
as the state `Cached`.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from inspect import signature
from typing import Any, ParamSpec, TypeVar, cast

from prefect import Task, unmapped
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.states import Completed

from adapters.store import ArtifactRef, Draft, Store, artifact_key
from tasks.steps.logs import hand_to_runs
from tasks.steps.looking import about_to_work, is_looking

P = ParamSpec("P")
R = TypeVar("R")
hand_to_runs()


@dataclass(frozen=True)
class Made:
    """An artifact, and whether it was found finished rather than made now."""

    ref: ArtifactRef
    cached: bool


def make_once(
    store: Store,
    kind: str,
    city: str,
    *,
    inputs: Mapping[str, ArtifactRef],
    parameters: Mapping[str, Any],
    version: str,
    write: Callable[[Draft, str], None],
    alone: bool = True,
) -> Made:
    """Finds the artifact that these inputs and parameters determine, or makes it.

    Where another process is making it, this one waits and takes what that one has made. How many
    seconds the writing took stands in the manifest's summary, which counts in no digest; of a
    training that was resumed they are those of the last process.

    Args:
        store: Where artifacts are kept.
        kind: Kind of the artifact.
        city: City (or data set) it belongs to.
        inputs: The artifacts it is made of, by role.
        parameters: Everything else that its contents depend on, JSON-able.
        version: Version of the algorithm.
        write: Writes the files into the draft; it is given the key too, under which it may keep
            progress.
        alone: Whether it is worth to be made by one process alone; not where a lease in the store
            costs more than the work.

    Returns:
        The artifact, and whether it was there before.
    """
    made_of = {role: ref.digest for role, ref in inputs.items()}
    key = artifact_key(kind, inputs=made_of, parameters=parameters, version=version)
    found = store.find(kind, city, key)
    if found is not None:
        return Made(found, cached=True)
    about_to_work()
    store.check_writable()  # before any work, which could not be kept
    with store.lease(kind, city, key) if alone else nullcontext() as there:
        if there is not None:
            return Made(there, cached=True)
        with store.draft(
            kind,
            city,
            key,
            inputs=made_of,
            parameters=parameters,
            version=version,
            inputs_at=inputs,
        ) as draft:
            started = time.monotonic()
            write(draft, key)
            draft.summary.setdefault("seconds", round(time.monotonic() - started, 2))
        store.clear_progress(kind, city, key)
    return Made(draft.ref, cached=False)


class Step(Task[P, R]):
    """A Prefect task that is a plain call where a run is only gone through (`looking`)."""

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:  # type: ignore[override]
        """Runs the step in the current flow run."""
        given: object = (
            self.fn(*args, **kwargs) if is_looking() else super().__call__(*args, **kwargs)
        )
        return cast("R", given)


def step(name: str, *, run_name: str) -> Callable[[Callable[P, R]], Step[P, R]]:
    """Decorates a step that makes no artifact of its own, such as a commit, as a Prefect task.

    Args:
        name: Name of the task in the dashboard.
        run_name: Template of its runs' names, over the step's parameters.
    """

    def decorate(run: Callable[P, R]) -> Step[P, R]:
        return Step(
            run, name=name, task_run_name=run_name, cache_policy=NO_CACHE, persist_result=False
        )

    return decorate


class _Looked(list[ArtifactRef]):
    """What a mapped step found, in the place of Prefect's futures."""

    def result(self) -> list[ArtifactRef]:
        """The references."""
        return list(self)


class ArtifactTask(Step[P, ArtifactRef]):
    """A Prefect task whose direct call gives the reference also when it was found.

    Prefect unwraps a state that a task returns when it is mapped or submitted, and hands out the
    state itself when the task is called.
    """

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> ArtifactRef:  # type: ignore[override]
        """Runs the step in the current flow run."""
        return _reference(super().__call__(*args, **kwargs))

    def map(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - as Prefect's own
        """One run for each item of the arguments that are not `unmapped`."""
        if not is_looking():
            prefects_own: Any = super().map
            return prefects_own(*args, **kwargs)
        given = signature(self.fn).bind(*args, **kwargs).arguments
        same = {name: one.value for name, one in given.items() if isinstance(one, unmapped)}
        mapped = {name: list(one) for name, one in given.items() if name not in same}
        each = [
            dict(zip(mapped, items, strict=True)) for items in zip(*mapped.values(), strict=True)
        ]
        step: Callable[..., object] = self.fn
        return _Looked(_reference(step(**same, **one)) for one in each)


def _reference(given: object) -> ArtifactRef:
    return cast("ArtifactRef", given.result() if isinstance(given, State) else given)


def artifact_task(
    name: str, *, run_name: str | None = None
) -> Callable[[Callable[P, Made]], ArtifactTask[P]]:
    """Decorates a step as a Prefect task that gives a reference to its artifact.

    Args:
        name: Name of the task in the dashboard.
        run_name: Template of its runs' names, over the step's parameters.
    """

    def decorate(step: Callable[P, Made]) -> ArtifactTask[P]:
        @functools.wraps(step)
        def run(*args: P.args, **kwargs: P.kwargs) -> ArtifactRef:
            made = step(*args, **kwargs)
            if made.cached:
                state: State[ArtifactRef] = Completed(
                    data=made.ref, name="Cached", message="found in the store"
                )
                return cast("ArtifactRef", state)
            return made.ref

        return ArtifactTask(
            run, name=name, task_run_name=run_name, cache_policy=NO_CACHE, persist_result=False
        )

    return decorate


def digests(refs: Sequence[ArtifactRef]) -> dict[str, ArtifactRef]:
    """Inputs of a step that joins parts: each under its number."""
    return {f"part-{number:05d}": ref for number, ref in enumerate(refs)}
