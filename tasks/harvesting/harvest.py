"""Harvesting a city: list captures, fetch their images, choose pairs (paper, Sec. 3)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from datetime import timedelta
from functools import partial
from itertools import accumulate, pairwise
from typing import Any, Final

from adapters.catalog import City, ServiceProvider
from adapters.file_digests import UnreadableFileError
from adapters.store import ArtifactRef, Draft, Store, artifact_key
from adapters.store.parting import parting
from adapters.street_view.base import Rejected, ReportsRejected, StreetView, capture_table
from adapters.street_view.checked import ProviderFaultError
from adapters.street_view.service import ServiceStreetView
from adapters.street_view.web.budget import Spent
from adapters.street_view.web.errors import GivenUpError, HarvestStopped
from crosscity.pairing import ALGORITHM_VERSION as PAIRING_VERSION
from crosscity.pairing import make_pairs
from tasks.harvesting.accounts import shared_account
from tasks.harvesting.fetching import (
    KeptInStore,
    KeptNowhere,
    alignment_of,
    by_place,
    capture_of,
    capture_row,
    fetch_place,
    listing_digest,
)
from tasks.harvesting.listing import (
    captures_key,
    completeness_warnings,
    list_service,
    listing_parameters,
    nothing_listed,
    write_listing,
)
from tasks.harvesting.pair_table import (
    count_dropped,
    dropped_rows,
    min_overlap,
    pair_parameters,
    pair_row,
    pair_settings,
    pair_summary,
    split_by_overlap,
    write_dropped,
)
from tasks.harvesting.providers import shared_street_view, street_view
from tasks.harvesting.quality import quality_limits, quality_parameters, without_unfit
from tasks.harvesting.spending import ShardSpending, begin_spending, spent_on
from tasks.steps import progress
from tasks.steps.artifact_task import Made, artifact_task, digests, make_once
from tasks.steps.dashboard import publish_lineage, publish_table
from tasks.steps.errors import InputError, check_failures
from tasks.steps.looking import is_looking
from tasks.steps.parallel import in_parallel
from tasks.steps.plan import Plan
from tasks.steps.schemas import CAPTURES, IMAGERY, OK, PAIRS
from tasks.steps.slices import Slice, Tables, deal
from tasks.steps.tables import Row, failures, left_out, part_name, read_rows, write_rows
from tasks.steps.unreadable import check_stays_unreadable

HARVEST_VERSION: Final = "2"
"""Bump when the same capture gives another stored image, or the tables other columns. What a
service gave is kept under `FETCHED_VERSION`: it is not fetched again for that."""
FETCHED_VERSION: Final = "2"
"""Of lists and images from a service, which cost requests and money. It stays what it is: tables
that get columns read those without them (`adapters.tables.added_field`)."""
FETCHED_ALIGNMENT: Final = "1"
"""Version of the alignment in the keys of what a service gave; stays what it is, likewise."""


@artifact_task("list captures", run_name="list captures of {city}")
def list_captures(city: str, plan: Plan) -> Made:
    """Lists what the provider has for a city.

    A service is asked once: its list is kept under the settings it was made with. What lies on
    disk or is simulated is listed every time, and kept under the list itself.
    """
    if not is_looking():
        plan.open_store().check_writable()
    provider = street_view(plan, city)
    if isinstance(provider, ServiceStreetView):
        return _list_at_service(plan, city, provider)
    captures = provider.captures()
    rows = [capture_row(capture) for capture in captures]
    rejected = provider.rejected() if isinstance(provider, ReportsRejected) else ()

    def write(draft: Draft, _key: str) -> None:
        write_rows(draft, "captures.parquet", rows, CAPTURES)
        draft.summary = {
            "captures": len(rows),
            "places": len({row["place_id"] for row in rows}),
            "rejected": [asdict(item) for item in rejected[:100]],
        }

    listing = listing_digest(rows)
    parameters = {
        "provider": provider.name,
        "listing": listing,
        "revision": _revision(provider),
        **plan.city(city).provider.identity(),
    }
    made = make_once(
        plan.open_store(),
        "captures",
        city,
        inputs={},
        parameters=parameters,
        version=HARVEST_VERSION,
        write=write,
    )
    publish_rejected(city, rejected)
    return made


def harvest_parts(captures: ArtifactRef, city: str, plan: Plan) -> list[Slice]:
    """The shards in which a city's images are fetched, each with the rows that it reads."""
    store, entry = plan.open_store(), plan.city(city)
    cuts = _cuts(store, captures, entry)
    if isinstance(entry.provider, ServiceProvider):
        begin_spending(store, city, captures, lambda: _parts_there(store, captures, city, entry))

    def slices() -> list[Tables]:
        rows = read_rows(store, captures, "captures.parquet", CAPTURES)
        return [{"captures.parquet": (rows[cut], CAPTURES)} for cut in cuts]

    return deal(
        store,
        "captures_slice",
        city,
        inputs={"captures": captures},
        size=_part_size(entry),
        count=len(cuts),
        slices=slices,
    )


@artifact_task("harvest images", run_name="harvest images of {city}, part {part}")
def harvest_part(captures: ArtifactRef, part: Slice, city: str, plan: Plan) -> Made:
    """Fetches one shard of a city's images; one that fails becomes a row that says why.

    Where a service cannot go on (its budget is used up, the key is refused, it asks to wait), the
    images that were fetched are kept, the run ends with one sentence, and the next goes on there.
    """
    store, entry = plan.open_store(), plan.city(city)
    total = store.manifest(captures).rows or 0
    remote = isinstance(entry.provider, ServiceProvider)
    spending = ShardSpending(store, city, captures, part.number) if remote else None

    def write(draft: Draft, key: str) -> None:
        provider = shared_street_view(captures, city, plan)
        wanted = read_rows(store, part.ref, "captures.parquet", CAPTURES)
        (draft.path / "images").mkdir()
        location = f"imagery_part/{city}/{key}"
        kept = KeptInStore(store, city, key) if remote else KeptNowhere()
        account: AbstractContextManager[None] = nullcontext()
        if spending is not None and isinstance(provider, ServiceStreetView):
            before = spending.open(provider.client.ledger)
            account = shared_account(plan, city, provider, captures.key, before)

        def step() -> None:
            progress.advance(f"harvest {city}", 1, total)
            if spending is not None:
                spending.note()

        errors: list[Exception] = []

        def fetch(place: list[Row], *, again: bool) -> tuple[list[Row], bool]:
            given_up: list[Exception] = []

            def failed(error: Exception) -> None:
                if isinstance(error, UnreadableFileError):
                    listed = store.manifest(captures).parameters.get("revision")
                    check_stays_unreadable(error, lambda: _revision(provider) == listed)
                if isinstance(error, GivenUpError):
                    given_up.append(error)
                errors.append(error)

            done, aligned = (_nothing if again else step), alignment_of(entry)
            rows = fetch_place(provider, place, draft.path, location, aligned, kept, done, failed)
            return rows, bool(given_up)

        try:
            with account:
                made = _in_two_rounds(fetch, by_place(wanted), _workers(plan, entry))
        except HarvestStopped:
            notes = [spending.note_at_once] if spending is not None else []
            with parting(f"{city}: what fetching has used could not be noted", *notes):
                raise
        done = [row for place in made for row in place]
        _check_provider(city, errors)
        write_rows(draft, part_name(part.number), done, IMAGERY)
        draft.summary = {"failures": failures(done)}
        if spending is not None:
            spending.note_at_once()
            draft.summary["spent"] = spending.total.to_dict()

    made = make_once(
        store,
        "imagery_part",
        city,
        inputs={"captures": captures},
        parameters=_part_parameters(entry, part.number),
        version=_fetched_version(entry),
        write=write,
    )
    if spending is not None:
        spending.finish()
    if made.cached:
        progress.advance(f"harvest {city}", store.manifest(part.ref).rows or 0, total)
    return made


def _check_provider(city: str, errors: Sequence[Exception]) -> None:
    """Fails where a provider of one's own is wrong, so that nothing of the shard is kept."""
    for error in errors:
        if isinstance(error, ProviderFaultError):
            # Kept, the shard would be found again once the provider is mended.
            raise InputError(
                f"{city}: {error} Mend it, and run the same command again; where one image cannot "
                "be had, it raises a StreetViewError."
            )


@artifact_task("join imagery", run_name="join imagery of {city}")
def join_imagery(parts: Sequence[ArtifactRef], city: str, plan: Plan) -> Made:
    """Joins the shards to the city's `imagery`; fails when more failed than the catalog allows."""
    limits = quality_limits(plan.city(city))
    rows = without_unfit(read_parts(plan.open_store(), parts), limits)
    publish_spent(city, spent_on(plan.open_store(), parts))
    check_and_publish_failures(plan, city, rows)

    def write(draft: Draft, _key: str) -> None:
        write_rows(draft, "imagery.parquet", rows, IMAGERY)
        draft.summary = {
            "images": len(rows),
            "failures": failures(rows),
            "left_out": left_out(rows),
            "spent": spent_on(plan.open_store(), parts).to_dict(),
        }

    return make_once(
        plan.open_store(),
        "imagery",
        city,
        inputs=digests(parts),
        parameters=quality_parameters(limits),
        version=HARVEST_VERSION,
        write=write,
    )


@artifact_task("choose pairs", run_name="choose pairs of {city}")
def choose_pairs(imagery: ArtifactRef, city: str, plan: Plan) -> Made:
    """Pairs images of one place and heading, and holds test places out."""
    entry = plan.city(city)
    settings = pair_settings(entry)
    least = min_overlap(entry)

    def write(draft: Draft, _key: str) -> None:
        images = read_rows(plan.open_store(), imagery, "imagery.parquet", IMAGERY)
        shown, apart = split_by_overlap([row for row in images if row["status"] == OK], least)
        captures = [capture_of(row) for row in shown]
        try:
            table = capture_table(captures, with_light="lights" in settings)
            pairs = make_pairs(table, **settings)
        except ValueError as error:
            raise InputError(f"cities.{city}: {error}") from None
        rows = [pair_row(captures, pairs, index) for index in range(len(pairs))]
        dropped = dropped_rows(captures, pairs, apart)
        if not rows:
            reasons = {row["reason"] for row in dropped}
            raise InputError(
                f"no place of {city} gave a pair: "
                f"{'; '.join(sorted([*reasons, *left_out(images)])) or 'no images'}"
            )
        write_rows(draft, "pairs.parquet", rows, PAIRS)
        write_dropped(draft, dropped)
        draft.summary = pair_summary(rows, count_dropped(dropped))

    made = make_once(
        plan.open_store(),
        "pairs",
        city,
        inputs={"imagery": imagery},
        parameters=pair_parameters(entry),
        version=PAIRING_VERSION,
        write=write,
    )
    publish_pairs(plan.open_store(), city, made.ref)
    return made


# What the steps that add new imagery share with these (tasks/harvesting/watch.py)


def read_parts(store: Store, parts: Sequence[ArtifactRef]) -> list[Row]:
    """The rows of all shards, in their order."""
    return [
        row
        for number, ref in enumerate(parts)
        for row in read_rows(store, ref, part_name(number), IMAGERY)
    ]


def publish_pairs(store: Store, city: str, pairs: ArtifactRef) -> None:
    """Shows how many pairs a harvest gave, and why others were dropped."""
    summary: dict[str, Any] = dict(store.manifest(pairs).summary)
    publish_table(
        f"harvest-{city}",
        [
            {"what": "pairs to adapt on", "count": summary["train"]},
            {"what": "pairs held out for the test", "count": summary["test"]},
            *({"what": f"dropped: {why}", "count": n} for why, n in summary["dropped"].items()),
        ],
        f"Harvest of {city}",
    )
    publish_lineage(f"pairs-{city}", store, pairs, f"{summary['pairs']} pairs of {city}")


def publish_spent(city: str, spent: Spent) -> None:
    """Shows what fetching from a service has used; nothing where nothing was asked."""
    if spent.requests:
        rows = [{"what": what, "used": used} for what, used in spent.to_dict().items()]
        publish_table(f"spent-{city}", rows, "Used of the budget")


def publish_rejected(city: str, rejected: Sequence[Rejected]) -> None:
    """Shows what a provider has and cannot use."""
    if rejected:
        publish_table(f"rejected-{city}", [asdict(r) for r in rejected[:100]], "Left out")


def check_and_publish_failures(plan: Plan, city: str, rows: Sequence[Row]) -> None:
    """Shows the failures by reason; `TooManyFailures` above the catalog's limit."""
    failed, unfit = failures(rows), left_out(rows)
    if unfit:
        publish_table(f"unfit-images-{city}", _counted(unfit), "Images that are unfit, by reason")
    if failed:
        publish_table(f"failed-images-{city}", _counted(failed), "Images that failed, by reason")
    check_failures("images", failed, len(rows), plan.city(city).failure_limit)


def _list_at_service(plan: Plan, city: str, provider: ServiceStreetView) -> Made:
    store = plan.open_store()
    parameters = listing_parameters(plan.city(city), provider)

    def write(draft: Draft, key: str) -> None:
        lookback = timedelta(days=plan.city(city).lookback_days)
        with shared_account(plan, city, provider, key):
            listing, summary = list_service(store, city, key, provider, lookback=lookback)
        publish_rejected(city, listing.examples)
        warnings = completeness_warnings(provider.client.service, listing.completeness)
        if warnings:
            rows = [{"warning": sentence} for sentence in warnings]
            publish_table(f"listing-warnings-{city}", rows, "Of the list")
        if not listing.captures:
            store.clear_progress("captures", city, key)  # the next run must look again
            raise nothing_listed(city, provider, listing)
        write_listing(draft, listing, summary)
        publish_table(
            f"listing-{city}",
            [
                *({"what": k, "value": v} for k, v in summary.items() if not isinstance(v, dict)),
                *({"what": f"pictures: {k}", "value": v} for k, v in listing.lights.items()),
            ],
            f"What {provider.client.service} lists for {city}",
        )

    if store.find("captures", city, captures_key(parameters, FETCHED_VERSION)) is not None:
        progress.advance(f"list {city}", 1, 1)
    return make_once(
        store,
        "captures",
        city,
        inputs={},
        parameters=parameters,
        version=FETCHED_VERSION,
        write=write,
    )


def _part_size(entry: City) -> int:
    """Rows a shard; even, so that the two images of a pair are never parted."""
    return entry.times * entry.pairs_per_part


def _cuts(store: Store, captures: ArtifactRef, entry: City) -> list[slice]:
    """Which rows of a list each shard has.

    With more than two times a place has as many rows as it was captured, so a shard ends where a
    place does: an image and the one that it is aligned to are fetched together.
    """
    size, total = _part_size(entry), store.manifest(captures).rows or 0
    if entry.times == 2:
        return [slice(start, start + size) for start in range(0, total, size)]
    rows = read_rows(store, captures, "captures.parquet", CAPTURES)
    borders = [0]
    for end in accumulate(map(len, by_place(rows))):
        if end - borders[-1] >= size or end == total:
            borders.append(end)
    return [slice(start, end) for start, end in pairwise(borders)]


def _workers(plan: Plan, entry: City) -> int:
    """Images at once: as many as the machine is good for, or as a service may be asked for."""
    if isinstance(entry.provider, ServiceProvider):
        return max(plan.compute.workers, entry.provider.concurrency)
    return plan.compute.workers


def _in_two_rounds(
    fetch: Callable[..., tuple[list[Row], bool]], places: Sequence[list[Row]], workers: int
) -> list[list[Row]]:
    """The rows of all places, some of them asked for once more after all the others.

    What a service does not give while it is away for a moment would stay a row that failed.

    Args:
        fetch: Gives a place's rows, and whether more of them may be had a little later.
        places: The places.
        workers: How many at once.
    """
    found = in_parallel(partial(fetch, again=False), places, workers=workers)
    made = [rows for rows, _ in found]
    later = [at for at, (_, more) in enumerate(found) if more]
    anew = in_parallel(partial(fetch, again=True), [places[at] for at in later], workers=workers)
    for at, (rows, _) in zip(later, anew, strict=True):
        made[at] = rows
    return made


def _nothing() -> None:
    """What was counted in the first round."""


def _part_parameters(entry: City, part: int) -> dict[str, Any]:
    parameters: dict[str, Any] = {"part": part, "part_size": _part_size(entry)}
    alignment = alignment_of(entry)
    if alignment is not None:
        parameters["alignment"] = {**asdict(alignment), "version": FETCHED_ALIGNMENT}
    return parameters


def _fetched_version(entry: City) -> str:
    return FETCHED_VERSION if isinstance(entry.provider, ServiceProvider) else HARVEST_VERSION


def _parts_there(
    store: Store, captures: ArtifactRef, city: str, entry: City
) -> Iterator[ArtifactRef]:
    """The shards of a harvest that are finished."""
    for part in range(len(_cuts(store, captures, entry))):
        key = artifact_key(
            "imagery_part",
            inputs={"captures": captures.digest},
            parameters=_part_parameters(entry, part),
            version=_fetched_version(entry),
        )
        found = store.find("imagery_part", city, key)
        if found is not None:
            yield found


def _revision(provider: StreetView) -> str:
    """What tells that a provider's images changed under the same names, where it can tell."""
    revision = getattr(provider, "revision", None)
    return str(revision()) if callable(revision) else ""


def _counted(reasons: dict[str, int]) -> list[Row]:
    return [{"reason": reason, "count": count} for reason, count in sorted(reasons.items())]
