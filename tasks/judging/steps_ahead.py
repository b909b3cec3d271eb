"""What the way to a city's segmenter would do now: found, to be made, or made anew and why."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

from adapters.catalog import ServiceProvider
from tasks.harvesting.current import Harvest, current_harvest
from tasks.judging.evaluation import evaluation_of_arm, segmenter_of_arm
from tasks.priors.extraction import count_to_train_on, extracted
from tasks.steps.errors import InputError, StaleError
from tasks.steps.plan import Plan
from tasks.training.arms import SOURCELESS_ARMS
from tasks.training.trainings import adaptation_parameters, pretraining_steps, segmenter_of

State = Literal["found", "to be made", "to be made anew"]
_ADVICE: Final = ": run `"
"""What the sentences about what is missing end with; here all of it is about to be run."""


@dataclass(frozen=True)
class StepAhead:
    """One step of the way.

    Attributes:
        name: What it makes.
        state: Whether that is there.
        why: The setting, version or input that makes it anew; empty otherwise.
        cost: What making it takes; empty where it is found.
    """

    name: str
    state: State
    why: str
    cost: str


def steps_ahead(city: str, arm: str, seed: int, plan: Plan) -> list[StepAhead]:
    """The steps from a city to its evaluated segmenter, with what each would cost; nothing is done.

    Args:
        city: A city of the catalog.
        arm: An arm of the adaptation.
        seed: Of the trainings.
        plan: Of the catalog.
    """
    entry = plan.city(city)
    steps = [_step("harvest", lambda: current_harvest(city, plan), _harvest_cost(city, plan))]
    harvest = _found_harvest(city, plan)
    priors = "all pairs of the folder to match"
    scored = "the labelled images of the folder to predict"
    if entry.provider.samples_places:
        priors = f"at most {entry.places - entry.test_places} pairs to match"
        scored = f"at most {entry.test_places} images to predict"
    if harvest is not None:
        pairs = count_to_train_on(plan.open_store(), harvest.pairs)
        priors = f"{pairs} pairs to match"
    steps.append(_after(steps, "static priors", lambda: _priors(city, plan), priors))
    name = segmenter_of(city, plan)
    trained = pretraining_steps(name, plan)
    cost = f"{trained} training steps" if trained else "the weights that the catalog names"
    start = _step(
        f"segmenter {name}", lambda: segmenter_of_arm(city, "pretrained", seed, plan), cost
    )
    steps.append(start)
    if arm != "pretrained":
        taken = adaptation_parameters(city, arm, seed, plan)["steps"]
        needed = [start] if arm in SOURCELESS_ARMS else steps
        steps.append(
            _after(
                needed,
                f"adaptation {arm}",
                lambda: segmenter_of_arm(city, arm, seed, plan),
                f"{taken} training steps",
            )
        )
    if entry.labels is not None:
        steps.append(
            _after(
                steps,
                "evaluation",
                lambda: evaluation_of_arm(city, arm, seed, plan),
                scored,
            )
        )
    return steps


def _step(name: str, look: Callable[[], object], cost: str) -> StepAhead:
    try:
        look()
    except StaleError as error:
        return StepAhead(name, "to be made anew", str(error).partition(_ADVICE)[0], cost)
    except InputError:
        return StepAhead(name, "to be made", "", cost)
    return StepAhead(name, "found", "", "")


def _after(before: list[StepAhead], name: str, look: Callable[[], object], cost: str) -> StepAhead:
    """A step that is made anew where one before it is, whatever is there of it."""
    missing = [step.name for step in before if step.state != "found"]
    own = _step(name, look, cost)
    if not missing or own.state == "to be made anew":
        return own
    return StepAhead(name, "to be made", f"after {', '.join(missing)}", cost)


def _priors(city: str, plan: Plan) -> object:
    return extracted(current_harvest(city, plan).pairs, city, plan)


def _found_harvest(city: str, plan: Plan) -> Harvest | None:
    try:
        return current_harvest(city, plan)
    except InputError:
        return None


def _harvest_cost(city: str, plan: Plan) -> str:
    """Images of two times a place; of a service, a request each and some to list them."""
    entry = plan.city(city)
    images = 2 * entry.places
    if isinstance(entry.provider, ServiceProvider):
        return f"about {images} requests for images, and those that list them"
    return f"{images} images" if entry.provider.samples_places else "all images of the folder"
