"""How good a simulated city's priors are, against its exact masks: for evaluation only."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt

from adapters.images import decode_mask_png
from adapters.store import ArtifactRef, Draft, Store
from simcity import ALGORITHM_VERSION as SIMULATION_VERSION
from tasks.harvesting.providers import simulated_street_view
from tasks.priors.extraction import static_prior_rows
from tasks.steps.artifact_task import Made, artifact_task
from tasks.steps.dashboard import only_shown, publish_table
from tasks.steps.errors import InputError
from tasks.steps.identity import Identity, Words, make
from tasks.steps.parallel import in_parallel
from tasks.steps.plan import Plan
from tasks.steps.schemas import OK
from tasks.steps.tables import Row

QUALITY_VERSION = f"1-simulation.{SIMULATION_VERSION}"
MAX_IMAGES = 100
"""Images that are measured, evenly spread; enough for a tenth of a point over their pixels."""


@dataclass(frozen=True)
class PriorQuality:
    """Shares of pixels, over all measured images together.

    Attributes:
        images: Number of images measured.
        precision: Of the pixels in the prior, those that are static in truth.
        recall: Of the pixels static in truth, those in the prior.
        moving_flagged: Of the pixels of moving things, those in the prior all the same. Precision
            alone flatters, as most pixels are static anyway.
    """

    images: int
    precision: float
    recall: float
    moving_flagged: float


def prior_quality(
    priors: list[npt.NDArray[np.bool_]], truths: list[npt.NDArray[np.bool_]]
) -> PriorQuality:
    """Compares priors with exact masks, both (H, W) bool, pixel by pixel."""
    hits = flagged = static = moving = moving_hits = 0
    for prior, truth in zip(priors, truths, strict=True):
        hits += int((prior & truth).sum())
        flagged += int(prior.sum())
        static += int(truth.sum())
        moving += int((~truth).sum())
        moving_hits += int((prior & ~truth).sum())
    return PriorQuality(
        images=len(priors),
        precision=hits / max(1, flagged),
        recall=hits / max(1, static),
        moving_flagged=moving_hits / max(1, moving),
    )


def quality_identity(priors: ArtifactRef, city: str) -> Identity:
    """What decides a `prior_quality`."""
    return Identity(
        "prior_quality",
        city,
        inputs={"static_prior": priors},
        parameters={"max_images": MAX_IMAGES},
        version=QUALITY_VERSION,
        words=Words(
            what=f"the measured priors of {city} were",
            absent=f"the priors of {city} were not measured yet",
            verb=f"crosscity priors {city}",
        ),
        producer="prior_quality",
        marks=(),
    )


@artifact_task("measure priors", run_name="measure the priors of {city}")
def measure_priors(priors: ArtifactRef, city: str, plan: Plan) -> Made:
    """Precision and recall of a simulated city's priors."""
    if plan.city(city).provider.kind != "simulated":
        raise InputError(f"{city} is not simulated, so there are no exact masks to compare with")

    def write(draft: Draft, _key: str) -> None:
        measured = _measure(plan, city, some_rows(plan, priors))
        (draft.path / "quality.json").write_text(
            json.dumps(asdict(measured), indent=2) + "\n", encoding="utf-8"
        )

    made = make(plan.open_store(), quality_identity(priors, city), write)
    _publish(plan.open_store(), made.ref, city)
    return made


@only_shown
def _publish(store: Store, ref: ArtifactRef, city: str) -> None:
    quality = read_quality(store, ref)
    publish_table(
        f"prior-quality-{city}",
        [
            {"of": "precision", "%": round(100 * quality.precision, 1)},
            {"of": "recall", "%": round(100 * quality.recall, 1)},
            {"of": "moving pixels flagged", "%": round(100 * quality.moving_flagged, 1)},
        ],
        f"Priors of {city} against exact masks, {quality.images} images",
    )


def read_quality(store: Store, ref: ArtifactRef) -> PriorQuality:
    """The content of a `prior_quality` artifact."""
    return PriorQuality(**json.loads(store.path(ref, "quality.json").read_text(encoding="utf-8")))


def exact_masks_known(city: str, plan: Plan) -> bool:
    """Whether a city is simulated, so that its exact masks can be had for comparison."""
    return plan.city(city).provider.kind == "simulated"


def some_rows(plan: Plan, priors: ArtifactRef) -> list[Row]:
    """Image and mask of up to `MAX_IMAGES` rows, evenly spread; no others are held."""
    states = [row["status"] for row in static_prior_rows(plan, priors, ("status",))]
    good = [index for index, status in enumerate(states) if status == OK]
    places = np.linspace(0, len(good) - 1, min(MAX_IMAGES, len(good))).round().astype(int)
    chosen = {good[place] for place in places.tolist()}
    rows = static_prior_rows(plan, priors, ("image_id", "mask"))
    return [row for index, row in enumerate(rows) if index in chosen]


def _measure(plan: Plan, city: str, rows: list[Row]) -> PriorQuality:
    provider = simulated_street_view(plan, city)
    captures = {capture.image_id: capture for capture in provider.captures()}

    def truth(row: Row) -> npt.NDArray[np.bool_]:
        static: npt.NDArray[np.bool_] = provider.ground_truth(captures[row["image_id"]]).static
        return static

    truths = in_parallel(truth, rows, workers=plan.compute.workers)
    return prior_quality([decode_mask_png(row["mask"], row["image_id"]) for row in rows], truths)
