"""Extracting the static priors of a city, shard by shard (paper, Sec. 4.3)."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

import numpy as np
import numpy.typing as npt

from adapters.catalog import PriorSettings
from adapters.image_masks import ImageMask
from adapters.images import ImageError, encode_label_png, encode_mask_png
from adapters.store import ArtifactRef, Draft
from crosscity.compiling import notice_of_compiling
from crosscity.illustrations import prior_figure
from crosscity.named_function import is_plug_in
from crosscity.prior_parts import MatcherSettings, build_matcher
from tasks.priors.identities import (
    city_mask,
    count_to_train_on,
    figure_identity,
    part_identity,
    priors_identity,
    shard_size,
)
from tasks.priors.pair_prior import extract_prior, why_unmatched
from tasks.priors.several_times import ImagePrior, priors_of_times
from tasks.steps import progress
from tasks.steps.artifact_task import Made, artifact_task, step
from tasks.steps.dashboard import publish_lineage, publish_picture, publish_table
from tasks.steps.device import device_turn
from tasks.steps.errors import InputError, TooManyFailures, check_failures
from tasks.steps.identity import make
from tasks.steps.imagery import Imagery
from tasks.steps.logs import log
from tasks.steps.looking import is_looking
from tasks.steps.parallel import in_parallel
from tasks.steps.pictures import read_picture, write_png
from tasks.steps.plan import Plan
from tasks.steps.schemas import FAILED, IMAGERY, LEFT_OUT, OK, PAIRS, STATIC_PRIOR, images_of
from tasks.steps.slices import Slice, Tables, deal
from tasks.steps.spread import spread
from tasks.steps.tables import Row, failures, left_out, part_name, read_rows, write_rows

_COUNTED: Final = ("status", "reason", "static_fraction")
"""What is read of the rows of all shards to say how they went."""


def prior_parts(imagery: ArtifactRef, pairs: ArtifactRef, city: str, plan: Plan) -> list[Slice]:
    """The shards in which a city's priors are extracted, each with what it reads.

    A slice has the pairs of its shard, and of the imagery the rows of their images.
    """
    store, size = plan.open_store(), shard_size(imagery, pairs, city, plan)
    count = -(-count_to_train_on(store, pairs) // size)

    def slices() -> list[Tables]:
        rows = _training_pairs(plan, pairs)
        images = {
            row["image_id"]: row for row in read_rows(store, imagery, "imagery.parquet", IMAGERY)
        }
        cuts = [rows[part * size : (part + 1) * size] for part in range(count)]
        return [
            {
                "pairs.parquet": (cut, PAIRS),
                "imagery.parquet": (
                    [images[image_id] for pair in cut for image_id in images_of(pair)],
                    IMAGERY,
                ),
            }
            for cut in cuts
        ]

    return deal(
        store,
        "pairs_slice",
        city,
        inputs={"imagery": imagery, "pairs": pairs},
        size=size,
        count=count,
        slices=slices,
    )


def make_prior_part(
    imagery: ArtifactRef, pairs: ArtifactRef, part: Slice, city: str, plan: Plan
) -> Made:
    """Extracts the priors of one shard of pairs; a pair that fails becomes rows that say why."""
    store, entry = plan.open_store(), plan.city(city)
    total = count_to_train_on(store, pairs)
    mask = city_mask(plan, city)

    def write(draft: Draft, _key: str) -> None:
        _check_matcher(entry.prior, city)
        wanted = read_rows(store, part.ref, "pairs.parquet", PAIRS)
        images = Imagery(store, part.ref)
        extraction = _Extraction(images, entry.prior, plan.compute.device, mask)
        started = time.monotonic()

        def extract(pair: Row) -> list[Row]:
            made = extraction.rows(pair)
            progress.advance(f"priors {city}", 1, total)
            return made

        with device_turn(plan, city), notice_of_compiling(partial(log, logging.INFO)):
            made_rows = in_parallel(extract, wanted, workers=plan.compute.workers)
        done = [row for rows_of_pair in made_rows for row in rows_of_pair]
        write_rows(draft, part_name(part.number), done, STATIC_PRIOR)
        draft.summary = {
            "failures": failures(done),
            "milliseconds_per_pair": round(
                1000 * (time.monotonic() - started) / max(1, len(wanted)), 1
            ),
        }

    # Not `pairs_per_part`: priors that are there keep their division.
    size = int(str(store.manifest(part.ref).parameters["part_size"]))
    identity = part_identity(imagery, pairs, part.number, size, city, plan)
    made = make(store, identity, write)
    if made.cached:
        progress.advance(f"priors {city}", store.manifest(part.ref).rows or 0, total)
    return made


prior_part = artifact_task("extract priors", run_name="extract priors of {city}, part {part}")(
    make_prior_part
)


@step("extract priors on workers", run_name="extract priors of {city} on workers")
def prior_parts_on_workers(
    imagery: ArtifactRef, pairs: ArtifactRef, parts: Sequence[Slice], city: str, plan: Plan
) -> list[ArtifactRef]:
    """Extracts the priors of all shards on the processes or machines of the compute profile.

    Progress counts the pairs of the shards that are in the store.
    """
    if is_looking():
        return [make_prior_part(imagery, pairs, part, city, plan).ref for part in parts]
    store = plan.open_store()
    total = count_to_train_on(store, pairs)

    def finished(number: int, _made: Made) -> None:
        progress.advance(f"priors {city}", store.manifest(parts[number].ref).rows or 0, total)

    return spread(make_prior_part, [(imagery, pairs, part, city) for part in parts], plan, finished)


@artifact_task("join priors", run_name="join priors of {city}")
def join_priors(parts: Sequence[ArtifactRef], pairs: ArtifactRef, city: str, plan: Plan) -> Made:
    """Joins the shards to the city's `static_prior`.

    Raises:
        InputError: There is no training pair.
        TooManyFailures: More failed than the catalog allows, or no image at all has a prior.
    """
    store = plan.open_store()
    if not parts:
        raise InputError(f"{city} has no pair to adapt on: all are held out for the test")
    rows = [
        row
        for number, ref in enumerate(parts)
        for row in read_rows(store, ref, part_name(number), STATIC_PRIOR, _COUNTED)
    ]
    failed = failures(rows)
    if failed:
        counted = [{"reason": reason, "images": count} for reason, count in failed.items()]
        publish_table(f"failed-priors-{city}", counted, "Pairs that failed, by reason")
    set_by = "that the catalog's failure_limit sets"
    if is_plug_in(plan.city(city).prior.matcher):
        set_by += " (what failed is kept: give a matcher that is mended another name)"
    check_failures("priors", failed, len(rows), plan.city(city).failure_limit, set_by)
    fractions = [row["static_fraction"] for row in rows if row["status"] == OK]
    if not fractions:
        reasons = "; ".join(f"{count} × {reason}" for reason, count in left_out(rows).items())
        raise TooManyFailures(f"no image of {city} has a static prior: {reasons}")
    mean_fraction = float(np.mean(fractions))

    def write(draft: Draft, _key: str) -> None:
        for number, ref in enumerate(parts):
            draft.add_link(part_name(number), ref, part_name(number))
        draft.rows = len(rows)
        draft.summary = {
            "images": len(rows),
            "failures": failed,
            "mean_static_fraction": mean_fraction,
        }

    made = make(store, priors_identity(parts, pairs, city), write)
    publish_table(
        f"priors-{city}",
        [
            {"what": "images with a prior", "value": len(fractions)},
            {"what": "mean static fraction", "value": round(mean_fraction, 3)},
            {"what": "images that failed", "value": sum(failed.values())},
        ],
        f"Static priors of {city}",
    )
    publish_lineage(f"priors-{city}-lineage", store, made.ref, "Static priors")
    return made


@artifact_task("illustrate prior", run_name="illustrate the prior of {city}")
def illustrate_prior(imagery: ArtifactRef, pairs: ArtifactRef, city: str, plan: Plan) -> Made:
    """Draws the paper's Fig. 4 for the first training pair that can be matched."""
    settings, mask = plan.city(city).prior, city_mask(plan, city)

    def write(draft: Draft, _key: str) -> None:
        images = Imagery(plan.open_store(), imagery)
        for pair in _training_pairs(plan, pairs):
            try:
                first, second = images.read(pair["image_a"]), images.read(pair["image_b"])
                prior = extract_prior(first, second, settings, mask=mask)
            except ValueError as error:  # an image that cannot be used, or cannot be matched
                why_unmatched(error, pair["pair_id"])
                continue
            figure = prior_figure(first, second, prior.matches, *prior.superpixels, *prior.masks)
            write_png(draft, "prior.png", figure)
            draft.summary = {"pair": pair["pair_id"]}
            return
        raise InputError(f"no pair of {city} can be matched")

    made = make(plan.open_store(), figure_identity(imagery, pairs, city, plan), write)
    publish_picture(
        f"prior-{city}",
        lambda: read_picture(plan.open_store(), made.ref, "prior.png"),
        f"A pair of {city}, its matches, superpixels and static prior",
    )
    return made


def static_prior_rows(
    plan: Plan, priors: ArtifactRef, columns: Sequence[str] | None = None
) -> Iterator[Row]:
    """The rows of a `static_prior` artifact, a shard in memory at a time.

    Args:
        plan: Gives the store.
        priors: The artifact.
        columns: Of the rows; ``None``: all. The masks of 100 000 pairs take gigabytes.
    """
    store = plan.open_store()
    names = sorted(name for name in store.manifest(priors).files if name.startswith("part-"))
    store.paths(priors, names)  # side by side, where they are fetched
    for name in names:
        yield from read_rows(store, priors, name, STATIC_PRIOR, columns)


def _training_pairs(plan: Plan, pairs: ArtifactRef) -> list[Row]:
    rows = read_rows(plan.open_store(), pairs, "pairs.parquet", PAIRS)
    return [row for row in rows if row["split"] == "train"]


def _check_matcher(settings: PriorSettings, city: str) -> None:
    """That a matcher of one's own can be imported: else every pair would fail, and stay so."""
    if not is_plug_in(settings.matcher):
        return
    try:
        build_matcher(settings.matcher, MatcherSettings())
    except ValueError as error:
        raise InputError(f"cities.{city}.prior.matcher: {error}") from error


@dataclass(frozen=True)
class _Extraction:
    """How the rows of pairs are made.

    Attributes:
        images: The imagery that the pairs are of.
        settings: The city's `prior` settings.
        device: Where to match.
        mask: Pixels that show the provider.
    """

    images: Imagery
    settings: PriorSettings
    device: str
    mask: ImageMask | None

    def rows(self, pair: Row) -> list[Row]:
        """One row an image of a place; what cannot be used says why."""
        return self._of_times(pair) if pair["others"] else self._of_pair(pair)

    def _of_pair(self, pair: Row) -> list[Row]:
        ids = (pair["image_a"], pair["image_b"])
        try:
            both = self.images.read(ids[0]), self.images.read(ids[1])
            prior = extract_prior(*both, self.settings, self.device, self.mask)
        except (ImageError, ValueError) as error:
            reason = why_unmatched(error, pair["pair_id"])
            return [_failed_row(image_id, pair["pair_id"], reason) for image_id in ids]
        count = len(prior.matches)
        return [
            _row(image_id, pair["pair_id"], ImagePrior(static, labels, count, probability))
            for image_id, static, labels, probability in zip(
                ids, prior.masks, prior.superpixels, prior.probabilities, strict=True
            )
        ]

    def _of_times(self, pair: Row) -> list[Row]:
        """Of a place at more than two times."""
        rows: dict[str, Row] = {}
        read: dict[str, npt.NDArray[np.uint8]] = {}
        for image_id in images_of(pair):
            try:
                read[image_id] = self.images.read(image_id)
            except ImageError as error:
                reason = " ".join(str(error).split())
                rows[image_id] = _failed_row(image_id, pair["pair_id"], reason)
        try:
            found = priors_of_times(list(read.values()), self.settings, self.device, self.mask)
        except ValueError as error:
            reason = why_unmatched(error, pair["pair_id"])
            rows |= {image_id: _failed_row(image_id, pair["pair_id"], reason) for image_id in read}
        else:
            for image_id, prior in zip(read, found, strict=True):
                rows[image_id] = (
                    _failed_row(image_id, pair["pair_id"], prior, LEFT_OUT)
                    if isinstance(prior, str)
                    else _row(image_id, pair["pair_id"], prior)
                )
        return [rows[image_id] for image_id in images_of(pair)]


def _row(image_id: str, pair_id: str, prior: ImagePrior) -> Row:
    probability = prior.probability
    return {
        "image_id": image_id,
        "pair_id": pair_id,
        "mask": encode_mask_png(prior.mask),
        "probability": None
        if probability is None
        else encode_label_png(np.rint(255 * probability).astype(np.uint8)),
        "static_fraction": float(prior.mask.mean()),
        "matches": prior.matches,
        "superpixels": int(prior.superpixels.max()) + 1,
        "status": OK,
        "reason": None,
    }


def _failed_row(image_id: str, pair_id: str, reason: str, status: str = FAILED) -> Row:
    return {
        **dict.fromkeys(STATIC_PRIOR.names),
        "image_id": image_id,
        "pair_id": pair_id,
        "status": status,
        "reason": reason,
    }
