"""Parts of a step on several processes or machines, by dask's scheduler under one Prefect task.

A part is an artifact, so what comes back is a reference, and each future is given back as soon as
it is there: a worker that dies takes nothing finished with it, and only its parts are done again.
That is what `prefect-dask` does otherwise (docs/scale.md).
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, Final

from adapters.catalog.environment import resolve_environment
from adapters.store import ArtifactRef
from adapters.store.code_version import code_version
from crosscity.freed_memory import keep_freed_memory
from tasks.steps.artifact_task import Made
from tasks.steps.errors import ClusterAwayError, InputError, PartKillsWorkersError
from tasks.steps.logs import log
from tasks.steps.plan import Plan

if TYPE_CHECKING:
    from distributed import Client, Future, LocalCluster

CONNECT_SECONDS: Final = 30.0
CLOSE_SECONDS: Final = 60.0
"""How long worker processes may take to end; dask asks each for five, and kills it then."""
FORKED_FROM: Final = "forkserver"
"""How worker processes start. Never a fork of this process: where a service of Prefect's runs in it
(its log, its events), Prefect's own handler fails as the child ends, with code 1 and no word."""
WORKERS_SECONDS: Final = 600.0
"""How long a scheduler may take to have its first worker: clusters start machines."""


def spread(
    step: Callable[..., Made],
    parts: Sequence[tuple[Any, ...]],
    plan: Plan,
    finished: Callable[[int, Made], None],
) -> list[ArtifactRef]:
    """Carries out a step once a part, on the workers of the run's compute profile.

    Args:
        step: A function of a module, so that workers find it by its name.
        parts: Its arguments before the plan, for each part.
        plan: The run's plan; its store must be one that every worker sees.
        finished: Called with a part's number once its artifact is in the store.

    Returns:
        The artifacts, in the order of the parts.

    Raises:
        InputError: A worker has another release, or keeps its artifacts elsewhere.
        ClusterAwayError: The scheduler does not answer, or no worker came.
        PartKillsWorkersError: Several workers died of the same part.
    """
    with _cluster(plan, step.__module__) as client:
        # Imported here and below: only who asks for this runner needs the package.
        from distributed import as_completed  # noqa: PLC0415

        each = plan_of_a_worker(plan)
        numbers = {
            client.submit(made_by_a_worker, step, *part, each, pure=False): number
            for number, part in enumerate(parts)
        }
        made: dict[int, ArtifactRef] = {}
        try:
            for future in as_completed(list(numbers)):
                result: Made = _result_of(future)
                number = numbers[future]
                if not plan.open_store().find_ref(result.ref):
                    raise InputError(
                        f"a worker has made {result.ref.uri}, and this machine's store does not "
                        "have it: give the catalog a store that all workers see, such as s3://"
                    )
                made[number] = result.ref
                future.release()
                finished(number, result)
        finally:
            client.cancel([future for future, at in numbers.items() if at not in made])
    return [made[number] for number in range(len(parts))]


def made_by_a_worker(step: Callable[..., Made], *given: Any) -> Made:  # noqa: ANN401 - the step's
    """What a worker does for a part: the step, in memory that it keeps from part to part."""
    keep_freed_memory()
    return step(*given)


def plan_of_a_worker(plan: Plan) -> Plan:
    """The plan that a worker gets: of `processes`, each works on one image or pair at a time."""
    if plan.compute.runner != "processes":
        return plan
    return plan.model_copy(update={"compute": plan.compute.model_copy(update={"workers": 1})})


@contextmanager
def _cluster(plan: Plan, needed: str) -> Iterator[Client]:
    try:
        from distributed import Client  # noqa: PLC0415
    except ImportError:
        raise InputError(
            f"the compute profile's runner {plan.compute.runner} needs a package that is not "
            "installed: pip install 'crosscity[dask]'"
        ) from None
    with ExitStack() as stack:
        if plan.compute.runner == "processes":
            yield stack.enter_context(_processes(plan.compute.workers, needed))
            return
        address = resolve_environment(str(plan.compute.address), key="computes.address")
        try:
            client = stack.enter_context(Client(address, timeout=CONNECT_SECONDS))
            client.wait_for_workers(1, timeout=WORKERS_SECONDS)
        except (OSError, TimeoutError) as error:
            raise ClusterAwayError(
                f"the scheduler at {address} does not answer or has no worker "
                f"({type(error).__name__}): start them, and run again"
            ) from None
        _check_releases(client)
        log(logging.INFO, f"{len(client.scheduler_info()['workers'])} workers at {address}")
        yield client


@contextmanager
def _processes(count: int, needed: str) -> Iterator[Client]:
    """So many processes of this machine, with a core each and the module that they work with.

    They are forked from one process that has imported it and done nothing else (`forkserver`), as
    the imports take longer than a small city's priors. Each works with one thread: more than cores
    would only wait for each other.
    """
    import dask  # noqa: PLC0415
    from distributed import Client, LocalCluster  # noqa: PLC0415
    from distributed.utils import get_mp_context  # noqa: PLC0415

    settings = {
        "distributed.worker.multiprocessing-method": FORKED_FROM,
        "distributed.nanny.pre-spawn-environ.OPENCV_FOR_THREADS_NUM": 1,
    }
    with ExitStack() as stack:
        stack.enter_context(_environment_restored())
        stack.enter_context(dask.config.set(settings))
        get_mp_context()  # it names modules of its own, once
        # Where such a process runs already, the workers import for themselves.
        multiprocessing.set_forkserver_preload(["distributed", needed])
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="crosscity-workers-"))
        cluster = LocalCluster(
            n_workers=count,
            threads_per_worker=1,
            memory_limit=None,  # what a part takes is bounded by its pictures
            dashboard_address=None,
            local_directory=folder,
            silence_logs=logging.ERROR,
        )
        stack.callback(_close, cluster)
        yield stack.enter_context(Client(cluster))


def _close(cluster: LocalCluster) -> None:
    """Ends the processes; what goes wrong in that hides nothing of what became of the parts.

    Where a worker that has died is just being started again, dask fails an assertion, and before
    its release 2026.8 waits for ever. Workers end with this process whatever comes.
    """
    try:
        cluster.close(timeout=CLOSE_SECONDS)
    except Exception as error:  # dask's own faults, of any kind
        reason = str(error) or type(error).__name__
        log(logging.WARNING, f"the worker processes did not end in order: {reason}")


@contextmanager
def _environment_restored() -> Iterator[None]:
    """Dask sets the numbers of threads of its workers in the environment of this process."""
    before = dict(os.environ)
    try:
        yield
    finally:
        for name in os.environ.keys() - before.keys():
            del os.environ[name]
        os.environ.update({n: v for n, v in before.items() if os.environ.get(n) != v})


def _check_releases(client: Client) -> None:
    here = code_version()
    for worker, there in client.run(code_version).items():
        if there != here:
            raise InputError(
                f"the worker {worker} runs crosscity {there}, and this is {here}: install one "
                "release on all of them, as another may make other bytes"
            )


def _result_of(future: Future[Made]) -> Made:
    from distributed import KilledWorker  # noqa: PLC0415
    from distributed.client import FutureCancelledError  # noqa: PLC0415

    try:
        made: Made = future.result()
    except KilledWorker as error:
        raise PartKillsWorkersError(
            f"a part of the work ended {error.allowed_failures + 1} workers, one after the other "
            "(memory?): look at their logs, and give them more memory or the city fewer "
            "pairs_per_part"
        ) from None
    except FutureCancelledError:
        raise ClusterAwayError(
            "the scheduler went away in the middle of the work: start it, and run again; "
            "finished parts are kept"
        ) from None
    return made
