"""How flows run their parts."""

from __future__ import annotations

from typing import Any, cast

from prefect.futures import PrefectFuture
from prefect.task_runners import TaskRunner, ThreadPoolTaskRunner


def one_part_at_a_time() -> TaskRunner[PrefectFuture[Any]]:
    """Parts run one after another, each on all workers of the machine's compute profile.

    So a kill loses one part at most, and the parallelism stays where it costs nothing: over the
    images inside a part instead of over task runs.
    """
    # Prefect's own annotation of `flow` asks for futures in general, not for this runner's.
    return cast("TaskRunner[PrefectFuture[Any]]", ThreadPoolTaskRunner(max_workers=1))
