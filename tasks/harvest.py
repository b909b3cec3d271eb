"""Harvesting a city: list captures, fetch their images, choose pairs (paper, Sec. 3)."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from adapters.images import ImageError, decode_image, sanitised_image
from adapters.store import ArtifactRef, Draft
from adapters.street_view.base import (
    Capture,
    ReportsRejected,
    StreetView,
    StreetViewError,
    capture_table,
)
from crosscity.pairing import ALGORITHM_VERSION as PAIRING_VERSION
from crosscity.pairing import make_pairs
from tasks import progress
from tasks.artifact_task import Made, artifact_task, digests, make_once
from tasks.dashboard import publish_lineage, publish_table
from tasks.errors import InputError, check_failures
from tasks.parallel import in_parallel
from tasks.providers import street_view
from tasks.schemas import CAPTURES, FAILED, IMAGERY, OK, PAIRS
from tasks.tables import Row, failures, part_name, read_rows, write_rows
from tasks.workspace import open_workspace

HARVEST_VERSION = "1"
"""Bump when the same capture gives another stored image."""


@artifact_task("list captures", run_name="list captures of {city}")
def list_captures(city: str, catalog: str) -> Made:
    """Lists what the provider has for a city; the artifact's key is the list itself."""
    workspace = open_workspace(catalog)
    workspace.store.check_writable()
    provider = street_view(workspace, city)
    captures = provider.captures()
    rows = [_capture_row(capture) for capture in captures]
    rejected = provider.rejected() if isinstance(provider, ReportsRejected) else ()

    def write(draft: Draft, _key: str) -> None:
        write_rows(draft, "captures.parquet", rows, CAPTURES)
        draft.summary = {
            "captures": len(rows),
            "places": len({row["place_id"] for row in rows}),
            "rejected": [asdict(item) for item in rejected[:100]],
        }

    listing = hashlib.sha256(repr(rows).encode()).hexdigest()
    parameters = {"provider": provider.name, "listing": listing, "revision": _revision(provider)}
    made = make_once(
        workspace.store,
        "captures",
        city,
        inputs={},
        parameters=parameters,
        version=HARVEST_VERSION,
        write=write,
    )
    if rejected:
        publish_table(f"rejected-{city}", [asdict(r) for r in rejected[:100]], "Left out")
    return made


def harvest_parts(captures: ArtifactRef, city: str, catalog: str) -> list[int]:
    """The shards in which a city's images are fetched."""
    workspace = open_workspace(catalog)
    count = workspace.store.manifest(captures).rows or 0
    return list(range(-(-count // _part_size(workspace.city(city).pairs_per_part))))


@artifact_task("harvest images", run_name="harvest images of {city}, part {part}")
def harvest_part(captures: ArtifactRef, part: int, city: str, catalog: str) -> Made:
    """Fetches one shard of a city's images; one that fails becomes a row that says why."""
    workspace = open_workspace(catalog)
    entry = workspace.city(city)
    size = _part_size(entry.pairs_per_part)
    total = workspace.store.manifest(captures).rows or 0
    share = min(size, total - part * size)

    def write(draft: Draft, key: str) -> None:
        provider = street_view(workspace, city)
        rows = read_rows(workspace.store, captures, "captures.parquet", CAPTURES)
        wanted = rows[part * size : part * size + share]
        (draft.path / "images").mkdir()
        location = f"imagery_part/{city}/{key}"

        def fetch(row: Row) -> Row:
            fetched = _fetch_one(provider, row, draft.path, location)
            progress.advance(f"harvest {city}", 1, total)
            return fetched

        done = in_parallel(fetch, wanted, workers=workspace.compute.workers)
        write_rows(draft, part_name(part), done, IMAGERY)
        draft.summary = {"failures": failures(done)}

    made = make_once(
        workspace.store,
        "imagery_part",
        city,
        inputs={"captures": captures},
        parameters={"part": part, "part_size": size},
        version=HARVEST_VERSION,
        write=write,
    )
    if made.cached:
        progress.advance(f"harvest {city}", share, total)
    return made


@artifact_task("join imagery", run_name="join imagery of {city}")
def join_imagery(parts: Sequence[ArtifactRef], city: str, catalog: str) -> Made:
    """Joins the shards to the city's `imagery`; fails when more failed than the catalog allows."""
    workspace = open_workspace(catalog)
    store = workspace.store
    rows = [
        row
        for number, ref in enumerate(parts)
        for row in read_rows(store, ref, part_name(number), IMAGERY)
    ]
    failed = failures(rows)
    if failed:
        publish_table(f"failed-images-{city}", _counted(failed), "Images that failed, by reason")
    check_failures("images", failed, len(rows), workspace.city(city).failure_limit)

    def write(draft: Draft, _key: str) -> None:
        write_rows(draft, "imagery.parquet", rows, IMAGERY)
        draft.summary = {"images": len(rows), "failures": failed}

    return make_once(
        store,
        "imagery",
        city,
        inputs=digests(parts),
        parameters={},
        version=HARVEST_VERSION,
        write=write,
    )


@artifact_task("choose pairs", run_name="choose pairs of {city}")
def choose_pairs(imagery: ArtifactRef, city: str, catalog: str) -> Made:
    """Pairs images of one place and heading, holds test places out, marks both as current."""
    workspace = open_workspace(catalog)
    entry = workspace.city(city)
    settings: dict[str, Any] = {
        "max_metres_apart": entry.max_metres_apart,
        "min_days_apart": entry.min_days_apart,
        "test_places": entry.test_places,
        "seed": entry.seed,
    }

    def write(draft: Draft, _key: str) -> None:
        images = read_rows(workspace.store, imagery, "imagery.parquet", IMAGERY)
        captures = [_capture_of(row) for row in images if row["status"] == OK]
        try:
            pairs = make_pairs(capture_table(captures), **settings)
        except ValueError as error:
            raise InputError(f"cities.{city}: {error}") from None
        rows = [
            {
                "pair_id": f"{captures[a].image_id}--{captures[b].image_id}",
                "image_a": captures[a].image_id,
                "image_b": captures[b].image_id,
                "place_id": captures[a].place_id,
                "metres_apart": _known(pairs.metres_apart[row]),
                "days_apart": _known(pairs.days_apart[row]),
                "split": "test" if pairs.test[row] else "train",
            }
            for row, (a, b) in enumerate(zip(pairs.a.tolist(), pairs.b.tolist(), strict=True))
        ]
        if not rows:
            reasons = (
                "; ".join(sorted({dropped.reason for dropped in pairs.dropped})) or "no images"
            )
            raise InputError(f"no place of {city} gave a pair: {reasons}")
        write_rows(draft, "pairs.parquet", rows, PAIRS)
        draft.summary = {
            "pairs": len(rows),
            "train": sum(row["split"] == "train" for row in rows),
            "test": sum(row["split"] == "test" for row in rows),
            "dropped": dict(Counter(dropped.reason for dropped in pairs.dropped)),
        }

    made = make_once(
        workspace.store,
        "pairs",
        city,
        inputs={"imagery": imagery},
        parameters=settings,
        version=PAIRING_VERSION,
        write=write,
    )
    workspace.store.set_current("imagery", city, imagery)
    workspace.store.set_current("pairs", city, made.ref)
    summary: dict[str, Any] = dict(workspace.store.manifest(made.ref).summary)
    publish_table(
        f"harvest-{city}",
        [
            {"what": "pairs to adapt on", "count": summary["train"]},
            {"what": "pairs held out for the test", "count": summary["test"]},
            *({"what": f"dropped: {why}", "count": n} for why, n in summary["dropped"].items()),
        ],
        f"Harvest of {city}",
    )
    publish_lineage(
        f"pairs-{city}", workspace.store, made.ref, f"{summary['pairs']} pairs of {city}"
    )
    return made


def _part_size(pairs_per_part: int) -> int:
    return 2 * pairs_per_part


def _revision(provider: StreetView) -> str:
    """What tells that a provider's images changed under the same names, where it can tell."""
    revision = getattr(provider, "revision", None)
    return str(revision()) if callable(revision) else ""


def _fetch_one(provider: StreetView, row: Row, folder: Path, location: str) -> Row:
    name = f"images/{row['image_id']}.jpg"
    empty = {
        "width": None,
        "height": None,
        "artifact": None,
        "file": None,
        "sha256": None,
    }
    try:
        data = provider.fetch(_capture_of(row))
        image = decode_image(data, str(row["image_id"]))
        stored = sanitised_image(data, image)
    except (ImageError, StreetViewError) as error:
        return {**row, **empty, "status": FAILED, "reason": _without(str(row["image_id"]), error)}
    (folder / name).write_bytes(stored)
    return {
        **row,
        "width": image.shape[1],
        "height": image.shape[0],
        "artifact": location,
        "file": name,
        "sha256": hashlib.sha256(stored).hexdigest(),
        "status": OK,
        "reason": None,
    }


def _without(name: str, error: Exception) -> str:
    """The reason without the image's own name, so that equal faults count as one."""
    text = " ".join(str(error).split())
    return text.replace(f"{name}: ", "").replace(f"{name} ", "")


def _capture_row(capture: Capture) -> Row:
    return asdict(capture)


def _capture_of(row: Row) -> Capture:
    return Capture(**{field: row[field] for field in CAPTURES.names})


def _known(value: float) -> float | None:
    return None if value != value else float(value)  # noqa: PLR0124 - NaN is unequal to itself


def _counted(reasons: dict[str, int]) -> list[Row]:
    return [{"reason": reason, "count": count} for reason, count in sorted(reasons.items())]
