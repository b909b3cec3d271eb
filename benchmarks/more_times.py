"""Places of the arms' cities at more than two times: images, labels, priors of all times, matches.

What `street_arms.py` and `pseudo_labels.py` take where a place is looked at as often as it was
captured. The first two times are the pairs of the arms with two.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from benchmarks.arms import Arrays, loaded, once
from benchmarks.demo_start import PRIOR, rendered
from crosscity.adaptation import TargetArrays
from crosscity.adaptation.correspondence import field_of_matches
from crosscity.adaptation.image_sets import PairedArrays
from crosscity.matching import PATCH
from crosscity.safeguard import static_points
from tasks.priors.pair_prior import extract_prior
from tasks.priors.several_times import priors_of_times

TIMES: Final = 5


def places_of(folder: Path, name: str, seed: int, places: range) -> list[Arrays]:
    """One a place, drawn and matched where it is not there yet; see `_place`."""
    found = []
    for number, place in enumerate(places):
        path = folder / "times" / f"{name}-{number}.npz"
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            made = _place(name, seed, place)
            once(path, lambda made=made: made)  # type: ignore[misc]
        found.append(loaded(path))
    return found


def _place(name: str, seed: int, place: int) -> Arrays:
    """Images (T, H, W, 3), labels and priors (T, H, W), points of times i and j as `pIJ`."""
    found = rendered(name, seed, range(place, place + 1), TIMES)
    images = found["images"]
    priors = [
        np.zeros(images.shape[1:3], np.bool_) if isinstance(each, str) else each.mask
        for each in priors_of_times(list(images), PRIOR)
    ]
    made: Arrays = {**found, "priors": np.stack(priors)}
    for first, second in combinations(range(TIMES), 2):
        prior = extract_prior(images[first], images[second], PRIOR)
        points = static_points(prior.matches, prior.masks)
        made[f"p{first}{second}"] = np.stack(points).astype(np.int32)
    return made


def looks(place: Arrays, image: int, others: Sequence[int]) -> list[npt.NDArray[np.float32]]:
    """The fields from an image of a place to others: (H, W, 2) each."""
    height, width = place["images"].shape[1:3]
    fields = []
    for other in others:
        points = place["p{}{}".format(*sorted((image, other)))][..., ::-1].astype(np.float64)
        here, there = points if image < other else points[::-1]
        spacing = float(PATCH * PRIOR.downscale)
        fields.append(field_of_matches(here, there, (height, width), spacing=spacing))
    return fields


def priors_with_labels(places: Sequence[Arrays]) -> Iterator[tuple[Any, Any]]:
    """Prior and labels of each image, as `flag_rates` takes them."""
    for place in places:
        yield from zip(place["priors"], place["labels"], strict=True)


def others_of(image: int) -> list[int]:
    """The other times of a place, that of its pair first."""
    return [1 - image, *range(2, TIMES)]


def paired_of_times(places: Sequence[Arrays]) -> PairedArrays:
    """The first two times of each place to learn from, with looks at all others."""

    def in_order(key: str) -> Any:  # noqa: ANN401 - an array
        learned = [place[key][:2] for place in places]
        return np.concatenate([*learned, *(place[key][2:] for place in places)])

    fields = [looks(place, image, others_of(image)) for place in places for image in (0, 1)]
    return PairedArrays(
        TargetArrays(in_order("images"), in_order("priors")),
        np.ascontiguousarray(np.moveaxis(np.array(fields), 0, 1)),
        further=TIMES - 2,
    )
