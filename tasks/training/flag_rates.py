"""How often the static prior flags pixels of each class, by labels of a city."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from adapters.images import decode_mask_png
from adapters.store import ArtifactRef, Draft, Store
from crosscity.adaptation.prior_evidence import flag_rates
from crosscity.segmenters.base import ROAD_CLASS_NAMES
from tasks.priors.extraction import static_prior_rows
from tasks.steps.artifact_task import Made, artifact_task, digests
from tasks.steps.errors import InputError
from tasks.steps.identity import Identity, Words, make
from tasks.steps.plan import Plan
from tasks.steps.schemas import OK
from tasks.training.stored_images import StoredLabelled

RATES: Final = "rates.json"
RATES_VERSION: Final = "1"


@artifact_task("measure the prior by class", run_name="the prior of {city} by class")
def measure_rates(
    masks: ArtifactRef,
    labels: Sequence[ArtifactRef],
    city: str,
    plan: Plan,
) -> Made:
    """P(flagged | class) of a city's static priors, by labels of its training places."""

    def write(draft: Draft, _key: str) -> None:
        looks = list(_labels_with_priors(masks, labels, plan))
        if not looks:
            raise InputError(
                f"no labelled image of {city} has a static prior, so nothing tells how often it "
                "flags each class: harvest and label training places of the city"
            )
        rates = flag_rates(looks, len(ROAD_CLASS_NAMES))
        found = {
            name: round(float(rate), 6) for name, rate in zip(ROAD_CLASS_NAMES, rates, strict=True)
        }
        (draft.path / RATES).write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
        draft.summary = {"images": len(looks)}

    identity = rates_identity(masks, labels, city)
    return make(plan.open_store(), identity, write)


def read_rates(store: Store, ref: ArtifactRef) -> dict[str, float]:
    """The rates by class."""
    content = json.loads(store.path(ref, RATES).read_text(encoding="utf-8"))
    return {str(name): float(rate) for name, rate in content.items()}


def rates_identity(masks: ArtifactRef, labels: Sequence[ArtifactRef], city: str) -> Identity:
    """What decides the rates of a city; arguments as of `measure_rates`."""
    return Identity(
        "flag_rates",
        city,
        inputs={"static_prior": masks, **digests(labels)},
        parameters={},
        version=RATES_VERSION,
        words=Words(
            what=f"the prior of {city} by class was",
            absent=f"the prior of {city} has not been measured by class yet",
            verb=f"crosscity priors {city}",
            inputs={"part": "other labelled images"},
        ),
        producer="flag-rates",
        marks=(),
    )


def _labels_with_priors(
    masks: ArtifactRef, labels: Sequence[ArtifactRef], plan: Plan
) -> Iterator[tuple[npt.NDArray[np.bool_], npt.NDArray[np.uint8]]]:
    """Prior and labels of each labelled image that has a prior; both go by the image's id."""
    labelled = StoredLabelled(plan.open_store(), labels)
    names = [labelled.name(index) for index in range(len(labelled))]
    wanted = set(names)
    priors = {
        row["image_id"]: row["mask"]
        for row in static_prior_rows(plan, masks, ("image_id", "mask", "status"))
        if row["status"] == OK and row["image_id"] in wanted
    }
    for index, name in enumerate(names):
        if name in priors:
            yield decode_mask_png(priors[name], name), labelled.labels([index])[0]
