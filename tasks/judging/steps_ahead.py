"""What the way to a city's segmenter would do now: found, to be made, or made anew and why."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

from adapters.catalog import ServiceProvider
from tasks.harvesting.changed_files import files_have_changed
from tasks.judging.evaluated import evaluation_of
from tasks.judging.transfer_safeguard import images_of
from tasks.priors.identities import count_to_train_on
from tasks.steps.errors import InputError, StaleError
from tasks.steps.plan import Plan
from tasks.training.arms import is_fine_tuned, is_trained, needs_of_arm
from tasks.training.identities import adaptation_parameters, pretraining_steps, segmenter_of
from tasks.training.labelled import labelled_set
from tasks.training.trained import TrainedSegmenters

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
    entry, trained = plan.city(city), TrainedSegmenters(city, seed, plan)
    steps = [_step("harvest", lambda: trained.harvest, _harvest_cost(city, plan))]
    if steps[0].state == "found" and files_have_changed(city, trained.harvest, plan):
        why = f"the files of {city} have changed since it was harvested"
        steps = [StepAhead("harvest", "to be made anew", why, _harvest_cost(city, plan))]
    harvest = trained.harvest if steps[0].state == "found" else None
    priors = "all pairs of the folder to match"
    scored = "the labelled images of the folder to predict"
    if entry.provider.samples_places:
        priors = f"at most {entry.places - entry.test_places} pairs to match"
        scored = f"at most {entry.test_places} images to predict"
    if harvest is not None:
        pairs = count_to_train_on(plan.open_store(), harvest.pairs)
        priors = f"{pairs} pairs to match"
    steps.append(_step_after(steps, "static priors", lambda: trained.static_prior, priors))
    steps.append(_start(segmenter_of(city, plan), trained))
    # What an arm does not read, and what is scored with it, stays what it is.
    read = needs_of_arm(arm, plan).prior
    needed = [step for step in steps if read or step.name != "static priors"]
    if is_trained(arm):
        needed.append(_adaptation(needed, trained, arm))
        steps.append(needed[-1])
    if entry.labels is not None:
        steps.append(_step_after(needed, "evaluation", lambda: evaluation_of(trained, arm), scored))
    return steps


def transfer_steps_ahead(transfer: str, arm: str, seed: int, plan: Plan) -> list[StepAhead]:
    """The steps from a set's images to a segmenter that is scored or judged; nothing is done.

    Args:
        transfer: A transfer of the catalog.
        arm: An arm of the adaptation.
        seed: Of the trainings.
        plan: Of the catalog.

    Raises:
        InputError: There is no image to adapt to.
        DatasetError: The target is not there.
    """
    sets, trained = plan.transfer(transfer), TrainedSegmenters(transfer, seed, plan)
    steps = [_start(sets.segmenter, trained)]
    if is_trained(arm):
        if not is_fine_tuned(arm):
            images = labelled_set(plan, sets.target, None).unlabelled(sets.target_split)
            cost = f"{len(images)} images to read"
            steps.append(_step("images", lambda: images_of(transfer, plan), cost))
        steps.append(_adaptation(steps, trained, arm))
    if plan.scored_split(transfer) is not None:
        cost = f"the images of {plan.scored_split(transfer)} to predict"
        steps.append(_step_after(steps, "evaluation", lambda: evaluation_of(trained, arm), cost))
    return steps


def _start(name: str, trained: TrainedSegmenters) -> StepAhead:
    """The segmenter that an adaptation begins with."""
    taken = pretraining_steps(name, trained.plan)
    cost = f"{taken} training steps" if taken else "the weights that the catalog names"
    return _step(f"segmenter {name}", lambda: trained.start, cost)


def _adaptation(before: list[StepAhead], trained: TrainedSegmenters, arm: str) -> StepAhead:
    """The training of an arm."""
    taken = adaptation_parameters(trained.owner, arm, trained.seed, trained.plan)["steps"]
    cost = f"{taken} training steps"
    return _step_after(before, f"adaptation {arm}", lambda: trained.of_arm(arm), cost)


def _step(name: str, look: Callable[[], object], cost: str) -> StepAhead:
    try:
        look()
    except StaleError as error:
        return StepAhead(name, "to be made anew", str(error).partition(_ADVICE)[0], cost)
    except InputError:
        return StepAhead(name, "to be made", "", cost)
    return StepAhead(name, "found", "", "")


def _step_after(
    before: list[StepAhead], name: str, look: Callable[[], object], cost: str
) -> StepAhead:
    """A step that is made anew where one before it is, whatever is there of it."""
    missing = [step.name for step in before if step.state != "found"]
    own = _step(name, look, cost)
    if not missing or own.state == "to be made anew":
        return own
    return StepAhead(name, "to be made", f"after {', '.join(missing)}", cost)


def _harvest_cost(city: str, plan: Plan) -> str:
    """Images of two times a place; of a service, a request each and some to list them."""
    entry = plan.city(city)
    images = 2 * entry.places
    if isinstance(entry.provider, ServiceProvider):
        return f"about {images} requests for images, and those that list them"
    return f"{images} images" if entry.provider.samples_places else "all images of the folder"
