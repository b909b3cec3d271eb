"""The whole way, for a schedule or an event: harvest, priors, adapt, evaluate, judge, promote."""

from __future__ import annotations

from dataclasses import dataclass

from prefect import flow

from adapters.store import ArtifactRef
from flows.adapt_city import adapt_by
from flows.beginning import BEGINNING
from flows.evaluate_city import evaluate_by
from flows.extract_priors import priors_by
from flows.harvest_city import harvest_by
from flows.stages import Stages, Where
from tasks.harvesting.current import current_harvest, is_here
from tasks.judging.promotion import has_labels, promote
from tasks.judging.safeguard import (
    earlier_segmenters,
    is_heeded,
    judge_adaptation,
    keep_earlier,
    looks_harmful,
)
from tasks.steps.defaults import DEFAULT_CATALOG
from tasks.steps.plan import open_plan
from tasks.training.labelled import check_tested
from tasks.training.trainings import check_adaptation


@dataclass(frozen=True)
class Readapted:
    """What a readaptation left.

    Attributes:
        promoted: The segmenter that is in use now: the `adaptation`, or, where the safeguard saw
            harm, the segmenter before it.
        judged: The `safeguard` that decided; ``None`` where nothing had to be judged.
    """

    promoted: ArtifactRef
    judged: ArtifactRef | None = None


@flow(name="readapt-city", flow_run_name="readapt-{city}", on_running=BEGINNING)
def readapt_city(
    city: str,
    arm: str | None = None,
    seed: int | None = None,
    catalog: str = DEFAULT_CATALOG,
    harvest: bool = True,
    compute: str | None = None,
    stages: Where = "here",
    landed: str = "",
) -> Readapted | None:
    """Brings a city's segmenter up to date; what has not changed is found, not made again.

    Args:
        city: A city of the catalog.
        arm: An arm of adapt-city; default: `arm` of the city's entry.
        seed: Fixes the training; default: `training_seed` of the city's entry.
        catalog: Path of the catalog.
        harvest: Whether to harvest first; not where watch-city has just added new imagery.
        compute: A compute profile of the catalog; default: the machine's.
        stages: "deployments": harvest, priors, adaptation and evaluation are runs of their own
            deployments, in the work pools and by the compute profiles of those; this run waits,
            judges and promotes.
        landed: Key of the imagery that an event says has landed; default: no event says so.

    Returns:
        The segmenter that is promoted now, and the judgement that decided it; ``None`` where the
        store has no imagery of the key: the event was about another catalog's city of this name.
    """
    plan = open_plan(catalog, compute, city=city)
    entry = plan.city(city)
    arm = entry.arm if arm is None else arm
    seed = entry.training_seed if seed is None else seed
    check_adaptation(city, arm, plan)
    if stages == "here":  # elsewhere the labels may be on another machine alone
        check_tested(city, plan)
    if landed and not is_here(landed, city, plan):
        return None
    stage = Stages(stages, city, plan).run
    if harvest:
        found = stage(
            "harvest-city",
            lambda: harvest_by(plan, city),
            find=lambda: current_harvest(city, plan),
        )
    else:
        found = current_harvest(city, plan)
    priors = stage("extract-priors", lambda: priors_by(plan, city, found))
    adapted = stage(
        "adapt-city",
        lambda: adapt_by(plan, city, arm, seed, found, priors.masks),
        arm=arm,
        seed=seed,
    )
    if has_labels(city, plan):
        stage(
            "evaluate-city",
            lambda: evaluate_by(plan, city, arm, seed, found.pairs, adapted),
            arm=arm,
            seed=seed,
        )
    made = adapted.segmenter
    judged = None
    for earlier in earlier_segmenters(made, adapted.start, arm, city, plan):
        judged = judge_adaptation(made, earlier, found.imagery, found.pairs, city, plan)
        if looks_harmful(judged, plan):
            if is_heeded(city, plan):
                return Readapted(keep_earlier(earlier, made, judged, city, plan), judged)
            break
    return Readapted(promote(made, city, plan), judged)
