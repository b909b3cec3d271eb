"""The table `pairs`: what its rows hold, and what it depends on, however a city came to them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

import pyarrow as pa

from adapters.catalog import City
from adapters.store import ArtifactRef, Draft, Store
from adapters.street_view.base import Capture
from adapters.tables import write_table
from crosscity.alignment import ALGORITHM_VERSION as ALIGNMENT_VERSION
from crosscity.pairing import Pairs
from tasks.harvesting.fetching import alignment_of
from tasks.harvesting.listing import times_parameters
from tasks.steps.schemas import DROPPED
from tasks.steps.tables import Row, read_rows

NO_OVERLAP: Final = "the two views do not show the same"
DROPPED_TABLE: Final = "dropped.parquet"


def pair_settings(entry: City) -> dict[str, Any]:
    """The settings of `make_pairs`."""
    return {
        "max_metres_apart": entry.max_metres_apart,
        "min_days_apart": entry.min_days_apart,
        "test_places": entry.test_places,
        "seed": entry.seed,
        "test_margin_metres": entry.test_margin,
        **times_parameters(entry),
    }


def min_overlap(entry: City) -> float | None:
    """The overlap from which on aligned views are a pair, ``None`` where none is measured."""
    alignment = alignment_of(entry)
    return None if alignment is None else alignment.min_overlap


def pair_parameters(entry: City) -> dict[str, Any]:
    """What the pairs of given images depend on, for the key of the table."""
    return {
        **pair_settings(entry),
        "min_overlap": min_overlap(entry),
        "alignment": ALIGNMENT_VERSION,
    }


def split_by_overlap(rows: Sequence[Row], least: float | None) -> tuple[list[Row], list[Row]]:
    """Images that may pair, and those that show something else than what they are aligned to.

    The reference of such an image goes with it, unless others that are aligned to it stay.
    """
    if least is None:
        return list(rows), []
    apart = [row for row in rows if row["overlap"] is not None and row["overlap"] < least]
    gone = {row["image_id"] for row in apart}
    needed = {row["aligned_to"] for row in rows if row["image_id"] not in gone}
    gone |= {row["aligned_to"] for row in apart} - needed
    return [row for row in rows if row["image_id"] not in gone], apart


def pair_row(captures: Sequence[Capture], pairs: Pairs, index: int) -> Row:
    """One pair as a row of the table.

    Args:
        captures: What the pairs were made of.
        pairs: The pairs.
        index: Which of them.
    """
    first, second = captures[int(pairs.a[index])], captures[int(pairs.b[index])]
    return {
        "pair_id": f"{first.image_id}--{second.image_id}",
        "image_a": first.image_id,
        "image_b": second.image_id,
        "place_id": first.place_id,
        "metres_apart": _none_for_nan(pairs.metres_apart[index]),
        "days_apart": _none_for_nan(pairs.days_apart[index]),
        "split": "test" if pairs.test[index] else "train",
        "others": [captures[row].image_id for row in pairs.others[index]] or None,
    }


def dropped_rows(captures: Sequence[Capture], pairs: Pairs, apart: Sequence[Row] = ()) -> list[Row]:
    """What became no pair, and why, as rows of the table `DROPPED`.

    Args:
        captures: What the pairs were made of.
        pairs: The pairs.
        apart: Images that show something else than what they are aligned to.
    """
    groups = [
        ([(captures[row].image_id, one.place_id) for row in one.captures], one.reason)
        for one in pairs.dropped
    ]
    groups += [([(row["image_id"], row["place_id"])], NO_OVERLAP) for row in apart]
    return numbered_groups(groups)


def numbered_groups(groups: Sequence[tuple[Sequence[tuple[str, str]], str]]) -> list[Row]:
    """Rows of `DROPPED`, of (image, place)s that were dropped together and the reason."""
    return [
        {"image_id": image, "place_id": place, "group": number, "reason": reason}
        for number, (members, reason) in enumerate(groups)
        for image, place in members
    ]


def joined_groups(first: Sequence[Row], second: Sequence[Row]) -> list[Row]:
    """Rows of `DROPPED` of two tables as one: groups of the second get numbers of their own."""
    shift = 1 + max((row["group"] for row in first), default=-1)
    return [*first, *({**row, "group": row["group"] + shift} for row in second)]


def count_dropped(rows: Sequence[Row]) -> Counter[str]:
    """How often each reason dropped something, of rows of `DROPPED`."""
    return Counter(reason for _, reason in {(row["group"], row["reason"]) for row in rows})


def write_dropped(draft: Draft, rows: Sequence[Row]) -> None:
    """Writes what became no pair beside the pairs.

    Nothing is made of it but pictures for people, so it does not count in the pairs' digest: those
    of an earlier release, which have no such table, are the same artifact.
    """
    table = pa.Table.from_pylist([dict(row) for row in rows], schema=DROPPED)
    write_table(draft.path / DROPPED_TABLE, table, DROPPED)
    draft.measured.add(DROPPED_TABLE)


def read_dropped(store: Store, pairs: ArtifactRef) -> list[Row] | None:
    """What became no pair; ``None`` of pairs of an earlier release, which did not note it."""
    if DROPPED_TABLE not in store.manifest(pairs).files:
        return None
    return read_rows(store, pairs, DROPPED_TABLE, DROPPED)


def pair_summary(rows: Sequence[Row], dropped: Counter[str]) -> dict[str, Any]:
    """Counts for people."""
    return {
        "pairs": len(rows),
        "train": sum(row["split"] == "train" for row in rows),
        "test": sum(row["split"] == "test" for row in rows),
        "dropped": dict(dropped),
    }


def _none_for_nan(value: float) -> float | None:
    return None if value != value else float(value)  # noqa: PLR0124 - NaN is unequal to itself
