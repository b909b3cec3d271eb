"""Stages of a run that are runs of their own deployments, on whatever machine serves their pool.

A run that does a stage itself needs what the stage needs: a GPU waits for a service to answer. Here
it only waits, and then finds in the store what the stage has made, by its key: a stage that worked
by another catalog is told, not taken for the right one.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Final, Literal, TypeVar
from uuid import UUID

import httpx
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import FlowRun
from prefect.deployments import run_deployment
from prefect.exceptions import ObjectNotFound, PrefectHTTPStatusError
from prefect.states import Cancelling

from tasks.steps.errors import InputError
from tasks.steps.logs import log, warn_user
from tasks.steps.looking import NotDoneError, only_looking
from tasks.steps.plan import Plan

Where = Literal["here", "deployments"]
"""Where the stages of a run are made: in the run itself, or by runs of their own deployments."""
Made = TypeVar("Made")

POLL: Final = 5.0
"""Seconds between two looks at a stage's run."""
UNSERVED: Final = 60.0
"""Seconds after which it is said that no worker has begun a stage."""


class StageFailedError(RuntimeError):
    """A stage ended otherwise than well; its own run says why."""


class Stages:
    """Makes the stages of a city's run.

    Args:
        where: In the run itself, or by the stages' deployments.
        city: Whose stages.
        plan: Of the run.
    """

    def __init__(self, where: Where, city: str, plan: Plan) -> None:
        self._where, self._city, self._plan = where, city, plan

    def run(
        self,
        flow: str,
        make: Callable[[], Made],
        *,
        find: Callable[[], Made] | None = None,
        **parameters: object,
    ) -> Made:
        """What a stage makes.

        Args:
            flow: Name of the stage's flow.
            make: Makes it in this run; by `only_looking` it finds what there is.
            find: Finds what the deployment made; default: `make`.
            **parameters: Of the stage's run beside those that its deployment has.

        Raises:
            StageFailedError: The stage's run failed, crashed or was cancelled.
            InputError: There is no such deployment, or it made something else than this run's
                catalog describes.
        """
        if self._where == "here":
            return make()
        try:
            return _found(make)
        except (NotDoneError, InputError):
            name = f"{flow}/{self._city}"
        run_to_its_end(name, parameters, 60.0 * self._plan.store.patience_minutes)
        try:
            return _found(find or make)
        except NotDoneError:
            raise InputError(
                f"{name} ended well, but what this run's catalog describes is not in the store: "
                "have the machine of its work pool the same catalog and store as this one"
            ) from None


def run_to_its_end(name: str, parameters: dict[str, object], patience: float) -> None:
    """Runs a deployment and waits until it has ended well.

    A run that is interrupted meanwhile cancels it. One that is killed does not: the next run waits
    for it, as a deployment runs once at a time, and finds what it made.

    Args:
        name: ``<flow>/<deployment>``.
        parameters: Of its run beside those that the deployment has.
        patience: Seconds that the server may be away.

    Raises:
        StageFailedError: It failed, crashed or was cancelled.
        InputError: There is no such deployment.
    """
    try:
        run: FlowRun = run_deployment(name, parameters=parameters, timeout=0)  # type: ignore[assignment]
    except ObjectNotFound:
        raise InputError(
            f"there is no deployment {name}, which makes a stage of this run: `crosscity deploy`"
        ) from None
    log(logging.INFO, f"{name}: waiting for its run {run.name}")
    try:
        ended = _ended(run, name, patience)
    except BaseException:
        _cancel(run.id)
        raise
    state = ended.state
    if state is None or not state.is_completed():
        said = "" if state is None else f"{state.name}: {state.message or 'without a message'}"
        raise StageFailedError(f"{name}, run {run.name}, ended as {said}")


def _found(find: Callable[[], Made]) -> Made:
    with only_looking():
        return find()


def _ended(run: FlowRun, name: str, patience: float) -> FlowRun:
    """Looks at a run until it has ended."""
    began = heard = time.monotonic()
    unserved = False
    with get_client(sync_client=True) as client:
        while True:
            time.sleep(POLL)
            found = _looked_at(client, run.id)
            now = time.monotonic()
            if found is None:
                if now - heard > patience:
                    raise ConnectionError(
                        f"{name}: the Prefect server has not answered for {patience:.0f} seconds; "
                        f"its run {run.name} goes on without this one"
                    )
                continue
            heard = now
            state = found.state
            if state is not None and state.is_final():
                return found
            if not unserved and now - began > UNSERVED and (state is None or state.is_scheduled()):
                unserved = True
                warn_user(
                    f"{name}: no worker has begun it yet; `crosscity worker --pool "
                    f"{found.work_pool_name}` serves its work pool",
                )


def _looked_at(client: SyncPrefectClient, run: UUID) -> FlowRun | None:
    """A run as the server knows it; ``None`` where the server does not answer."""
    try:
        return client.read_flow_run(run)
    except (httpx.TransportError, PrefectHTTPStatusError):
        return None


def _cancel(run: UUID) -> None:
    """Asks the server to cancel a run; where it cannot, the run goes on and is found later."""
    try:
        with get_client(sync_client=True) as client:
            client.set_flow_run_state(run, Cancelling())
    except (httpx.HTTPError, ObjectNotFound):
        return
