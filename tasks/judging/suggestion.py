"""Places of a city whose labels would say most: where the two times or two segmenters disagree."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt
import torch

from adapters.image_masks import ImageMask
from adapters.images import ImageError
from adapters.store import ArtifactRef, Draft
from crosscity import labelling
from crosscity.evaluation import predict
from crosscity.labelling import combined_ranks, spread_choice
from crosscity.safeguard import static_points
from crosscity.segmenters import Segmenter, in_train_ids
from tasks.harvesting.current import Harvest, current_harvest
from tasks.priors.identities import PRIOR_VERSION, city_mask
from tasks.priors.pair_prior import extract_prior, why_unmatched
from tasks.steps import progress
from tasks.steps.artifact_task import make_once
from tasks.steps.device import device_turn
from tasks.steps.errors import InputError
from tasks.steps.imagery import Imagery
from tasks.steps.parallel import in_parallel
from tasks.steps.plan import Plan
from tasks.steps.schemas import FAILED, OK, PAIRS, SUGGESTION
from tasks.steps.tables import Row, read_rows, write_rows
from tasks.training.identities import network_size, view_parameters
from tasks.training.segmenters import stored_segmenter
from tasks.training.trainings import on_device

SUGGESTION_VERSION: Final = f"1-labelling.{labelling.ALGORITHM_VERSION}-prior.{PRIOR_VERSION}"
MOST_PAIRS: Final = 400
"""Pairs that are examined: some minutes for large pictures; places are chosen among theirs."""
Split = Literal["train", "test", "all"]


@dataclass(frozen=True)
class Suggested:
    """A place that is worth a label.

    Attributes:
        rank: From 1.
        place_id: The place.
        pair_id: The pair of images that it was seen in.
        image_id: Of these two images the one that the segmenters dispute more.
        split: "train" or "test".
        score: In [0, 1]: mean of the ranks of the two signals among all that were examined.
        times_differ: Share of the static points with other classes at the two times; ``None``
            without a point.
        segmenters_differ: Share of the pixels of the image that two segmenters name differently;
            ``None`` where there is no second one.
        points: Static points.
        lat: WGS84 degrees, where known.
        lon: WGS84 degrees, where known.
    """

    rank: int
    place_id: str
    pair_id: str
    image_id: str
    split: str
    score: float
    times_differ: float | None
    segmenters_differ: float | None
    points: int
    lat: float | None
    lon: float | None


def suggested_places(
    plan: Plan,
    city: str,
    n: int,
    segmenter: ArtifactRef,
    other: ArtifactRef | None = None,
    *,
    split: Split = "train",
    harvest: Harvest | None = None,
    among: Collection[str] | None = None,
) -> list[Suggested]:
    """The places whose labels would say most, spread over the city, the best first.

    Args:
        plan: Of the catalog.
        city: Was harvested.
        n: How many places; fewer where there are not so many.
        segmenter: Whose predictions are examined.
        other: A second one (before adaptation, a teacher); ``None``: its two times alone.
        split: Which places: labels of "train" may be learned from, those of "test" scored on.
        harvest: Of the city; default: the one that it stands on.
        among: The places that may be chosen; default: all that were examined.

    Raises:
        InputError: The city has no such pair, or none that could be examined.
    """
    harvest = current_harvest(city, plan) if harvest is None else harvest
    store = plan.open_store()
    pairs = _candidates(read_rows(store, harvest.pairs, "pairs.parquet", PAIRS), split)
    if not pairs:
        raise InputError(f"{city} has no pair of its split {split!r} to look at")
    made = _looked_at(plan, city, harvest, pairs, segmenter, other, split)
    rows = read_rows(store, made, "disagreement.parquet", SUGGESTION)
    seen = {row["pair_id"]: row for row in rows if row["status"] == OK}
    if not seen:
        raise InputError(f"no pair of {city} can be examined: {rows[0]['reason']}")
    imagery = Imagery(store, harvest.imagery)
    examined = [pair for pair in pairs if pair["pair_id"] in seen]
    return _chosen(examined, seen, imagery, n, among)


def segmenter_before(plan: Plan, segmenter: ArtifactRef) -> ArtifactRef | None:
    """The segmenter that one was adapted from, where it is still there."""
    return plan.open_store().inputs_of(segmenter).get("segmenter")


def pairs_of_split(plan: Plan, city: str, split: Split) -> int:
    """How many pairs of a city's harvest are of a split; at most `MOST_PAIRS` are looked at."""
    pairs = current_harvest(city, plan).pairs
    return len(_of_split(read_rows(plan.open_store(), pairs, "pairs.parquet", PAIRS), split))


def _of_split(rows: Sequence[Row], split: Split) -> list[Row]:
    return [row for row in rows if split in ("all", row["split"])]


def _candidates(rows: Sequence[Row], split: Split) -> list[Row]:
    """At most `MOST_PAIRS` pairs, drawn once for a list of pairs, in its order."""
    wanted = _of_split(rows, split)
    order = np.random.default_rng([len(wanted), MOST_PAIRS]).permutation(len(wanted))
    return [wanted[index] for index in sorted(order[:MOST_PAIRS].tolist())]


def _looked_at(
    plan: Plan,
    city: str,
    harvest: Harvest,
    pairs: Sequence[Row],
    segmenter: ArtifactRef,
    other: ArtifactRef | None,
    split: Split,
) -> ArtifactRef:
    """The artifact that says how much each of the pairs is disputed."""
    entry = plan.city(city)
    size, mask = network_size(plan, city), city_mask(plan, city)

    def write(draft: Draft, _key: str) -> None:
        with device_turn(plan, city):
            look_on_device(draft)

    def look_on_device(draft: Draft) -> None:
        torch.set_num_threads(plan.compute.threads)
        refs = [ref for ref in (segmenter, other) if ref is not None]
        networks = [on_device(in_train_ids(stored_segmenter(plan, ref)[1]), plan) for ref in refs]
        look = _Look(Imagery(plan.open_store(), harvest.imagery), networks, plan, city, size, mask)

        def row(pair: Row) -> Row:
            found = look(pair)
            progress.advance(f"look at {city}", 1, len(pairs))
            return found

        # One at a time: what predicts uses all threads already.
        write_rows(draft, "disagreement.parquet", in_parallel(row, pairs, workers=1), SUGGESTION)

    inputs = {"segmenter": segmenter, "imagery": harvest.imagery, "pairs": harvest.pairs}
    return make_once(
        plan.open_store(),
        "suggestion",
        city,
        inputs=inputs if other is None else {**inputs, "other": other},
        parameters={
            "prior": entry.prior.model_dump(),
            "split": split,
            "most_pairs": MOST_PAIRS,
            **view_parameters(plan, city),
        },
        version=SUGGESTION_VERSION,
        write=write,
    ).ref


@dataclass(frozen=True)
class _Look:
    """Looks at one pair after the other."""

    images: Imagery
    networks: Sequence[Segmenter]
    plan: Plan
    city: str
    size: tuple[int, int] | None
    mask: ImageMask | None

    def __call__(self, pair: Row) -> Row:
        """The row of a pair."""
        empty: Row = {**dict.fromkeys(SUGGESTION.names), "pair_id": pair["pair_id"]}
        settings = self.plan.city(self.city).prior
        try:
            both = [self.images.read(pair[end]) for end in ("image_a", "image_b")]
            prior = extract_prior(both[0], both[1], settings, self.plan.compute.device, self.mask)
        except (ImageError, KeyError, ValueError) as error:
            return {**empty, "status": FAILED, "reason": why_unmatched(error, pair["pair_id"])}
        points = static_points(prior.matches, prior.masks)
        seen = [[self._labels(network, image) for image in both] for network in self.networks]
        at = [labels[end[:, 0], end[:, 1]] for labels, end in zip(seen[0], points, strict=True)]
        row = {**empty, "points": len(points[0]), "status": OK, "reason": None}
        if len(points[0]):
            row["times_differ"] = float((at[0] != at[1]).mean())
        if len(seen) > 1:
            for end, first, second in zip("ab", seen[0], seen[1], strict=True):
                row[f"segmenters_differ_{end}"] = self._share_that_differs(first, second)
        return row

    def _labels(self, network: Segmenter, image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        return predict(network, image, image_size=self.size)

    def _share_that_differs(
        self, first: npt.NDArray[np.uint8], second: npt.NDArray[np.uint8]
    ) -> float:
        differ = first != second
        if self.mask is not None:
            shown = ~self.mask.pixels((first.shape[0], first.shape[1]))
            differ = differ[shown]
        return float(differ.mean()) if differ.size else 0.0


def _chosen(
    pairs: Sequence[Row],
    seen: dict[str, Row],
    imagery: Imagery,
    n: int,
    places: Collection[str] | None,
) -> list[Suggested]:
    found = [seen[pair["pair_id"]] for pair in pairs]
    times = [_number(row["times_differ"]) for row in found]
    segmenters = [
        max(_number(row["segmenters_differ_a"]), _number(row["segmenters_differ_b"]))
        for row in found
    ]
    scores = combined_ranks(np.array([times, segmenters]).T)
    best: dict[str, int] = {}  # of several headings of a place the most disputed
    for index, pair in enumerate(pairs):
        known = best.get(pair["place_id"])
        if known is None or scores[index] > scores[known]:
            best[pair["place_id"]] = index
    among = sorted(index for place, index in best.items() if places is None or place in places)
    shown = [imagery.row(_image(pairs[index], found[index])) for index in among]
    at = [np.array([_number(row[axis]) for row in shown]) for axis in ("lat", "lon")]
    order = spread_choice(scores[among], at[0], at[1], n)
    return [
        _suggested(
            rank, pairs[among[one]], found[among[one]], float(scores[among[one]]), shown[one]
        )
        for rank, one in enumerate(order, start=1)
    ]


def _image(pair: Row, found: Row) -> str:
    """Of a pair the image that the segmenters dispute more; the later one where they do not."""
    first, second = (_number(found[f"segmenters_differ_{end}"]) for end in "ab")
    return str(pair["image_a" if first > second else "image_b"])


def _suggested(rank: int, pair: Row, found: Row, score: float, image: Row) -> Suggested:
    disputed = found[
        "segmenters_differ_a" if image["image_id"] == pair["image_a"] else "segmenters_differ_b"
    ]
    known: dict[str, Any] = {axis: image[axis] for axis in ("lat", "lon")}
    return Suggested(
        rank=rank,
        place_id=str(pair["place_id"]),
        pair_id=str(pair["pair_id"]),
        image_id=str(image["image_id"]),
        split=str(pair["split"]),
        score=score,
        times_differ=found["times_differ"],
        segmenters_differ=disputed,
        points=int(found["points"]),
        **known,
    )


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else math.nan
