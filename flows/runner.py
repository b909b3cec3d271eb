"""How flows run their parts."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar, cast

from prefect import Flow, runtime
from prefect.futures import PrefectFuture
from prefect.task_runners import TaskRunner, ThreadPoolTaskRunner

from flows.silent_runs import note_quiet_run
from tasks.steps.looking import is_looking

P = ParamSpec("P")
R = TypeVar("R")


def one_part_at_a_time() -> TaskRunner[PrefectFuture[Any]]:
    """Parts run one after another, each on all workers of the machine's compute profile.

    So a kill loses one part at most, and the parallelism stays where it costs nothing: over the
    images inside a part instead of over task runs.
    """
    # Prefect's own annotation of `flow` asks for futures in general, not for this runner's.
    return cast("TaskRunner[PrefectFuture[Any]]", ThreadPoolTaskRunner(max_workers=1))


def named_by_arm(verb: str, owner: str = "city") -> Callable[[], str]:
    """Names runs by verb, city (or transfer) and arm; without an arm where the entry says it."""

    def run_name() -> str:
        given = runtime.flow_run.parameters
        return "-".join(each for each in (verb, given[owner], given.get("arm")) if each)

    return run_name


class PlannedFlow(Flow[P, R]):
    """A flow inside of another: it is given the plan, and the dashboard the catalog's path."""

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:  # type: ignore[override]
        """Runs the flow inside of the current one."""
        given: object = (
            self.fn(*args, **kwargs) if is_looking() else super().__call__(*args, **kwargs)
        )
        return cast("R", given)

    def serialize_parameters(self, parameters: dict[str, Any]) -> dict[str, Any]:
        """What is shown of a run's parameters: the plan is long and may hold a secret."""
        shown = {name: value for name, value in parameters.items() if name != "plan"}
        return {**super().serialize_parameters(shown), "catalog": parameters["plan"].catalog}


def planned_flow(name: str, run_name: str) -> Callable[[Callable[P, R]], PlannedFlow[P, R]]:
    """Decorates what a flow does once the catalog is read.

    Called inside of another flow, it is a flow run of its own in the dashboard; the flow of the
    same name that people and deployments start runs its `fn`.

    Args:
        name: Name of the flow.
        run_name: Template of its runs' names, over the parameters.
    """

    def decorate(run: Callable[P, R]) -> PlannedFlow[P, R]:
        return PlannedFlow(
            _without_types(run),
            name=name,
            flow_run_name=run_name,
            task_runner=one_part_at_a_time(),
            on_running=[note_quiet_run],
            validate_parameters=False,  # they come from the flow around it, not from outside
        )

    return decorate


def _without_types(run: Callable[P, R]) -> Callable[P, R]:
    """A function that shows the names of its parameters alone to whoever looks at it.

    Prefect describes the parameters of a flow in a JSON schema when the flow is made: of a plan all
    that a catalog may say, seconds at each start for a flow that nobody deploys.
    """
    shown = inspect.signature(run)
    plain = [one.replace(annotation=Any) for one in shown.parameters.values()]
    run.__signature__ = shown.replace(parameters=plain)  # type: ignore[attr-defined]
    return run
