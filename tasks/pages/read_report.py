"""Reading a report's figures back: those of a city in the store, or a file that was sent."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from adapters.store import ArtifactRef
from tasks.harvesting.current import HARVEST
from tasks.judging.promotion import promoted_segmenter
from tasks.pages.figures import REPORT_FORMAT
from tasks.pages.report import FIGURES_FILE
from tasks.steps.commands import with_seed
from tasks.steps.errors import InputError
from tasks.steps.plan import Plan

MOST_BYTES: Final = 16 << 20


@dataclass(frozen=True)
class ReadReport:
    """What others need of a report: its figures by name, and where they stand.

    Attributes:
        name: Where it lies in the store, or its file.
        city: The city or transfer.
        figures: By name.
        ref: The artifact; ``None`` of a file that was sent.
    """

    name: str
    city: str
    figures: Mapping[str, float | None]
    ref: ArtifactRef | None = None


def reports_of(owner: str, plan: Plan, seed: int | None = None) -> list[ArtifactRef]:
    """The reports of a city or transfer that have figures, the one written last first.

    Args:
        owner: The city or transfer.
        plan: Of the catalog.
        seed: Of their trainings; ``None``: any.

    Raises:
        InputError: There is none.
    """
    if owner not in plan.transfers:
        plan.city(owner)
    store = plan.open_store()
    manifests = [store.manifest(ref) for ref in store.artifacts("report", owner)]
    found = [
        one
        for one in manifests
        if FIGURES_FILE in one.files and seed in (None, one.parameters.get("seed"))
    ]
    if not found:
        raise InputError(
            f"there is no report of {owner}{'' if seed is None else f' with seed {seed}'} yet: run "
            f"`{with_seed(f'crosscity report {owner}', seed or 0)}` first"
        )
    return [one.ref for one in sorted(found, key=lambda one: one.made_at, reverse=True)]


def stored_report(ref: ArtifactRef, plan: Plan) -> ReadReport:
    """A report of the store.

    Raises:
        StoreError: It is damaged.
    """
    path = plan.open_store().path(ref, FIGURES_FILE)
    return replace(read_report(path, ref.uri), ref=ref)


def made_since(report: ReadReport, plan: Plan) -> list[str]:
    """What counts in a city now and was made after its report: a segmenter in use, a harvest.

    Args:
        report: A report of the store.
        plan: The plan of the run.

    Returns:
        Where each of them lies in the store; nothing of a report that was sent.
    """
    if report.ref is None:
        return []
    store = plan.open_store()
    state = store.selected(HARVEST, report.city)
    in_use = [*(state.refs.values() if state else ()), promoted_segmenter(store, report.city)]
    at = store.manifest(report.ref).made_at
    return [
        ref.uri
        for ref in in_use
        if ref is not None and store.find_ref(ref) and store.manifest(ref).made_at > at
    ]


def read_report(path: Path, name: str | None = None) -> ReadReport:
    """A `report.json`.

    Raises:
        InputError: It cannot be read, is too large, or is not a report of this release.
    """
    shown = name or str(path)
    try:
        if path.stat().st_size > MOST_BYTES:
            raise InputError(f"{shown} is larger than {MOST_BYTES >> 20} MiB: this is not a report")
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{shown} cannot be read: {error.strerror or error}") from None
    except (ValueError, RecursionError):
        raise InputError(f"{shown} is damaged, it is not JSON: write the report again") from None
    if not isinstance(content, dict) or content.get("format") != REPORT_FORMAT:
        raise InputError(
            f"{shown} is not a report of format {REPORT_FORMAT}: write the report again"
        )
    figures, city = content.get("figures"), content.get("city")
    if not isinstance(city, str) or not isinstance(figures, dict):
        raise InputError(f"{shown} is damaged, it lacks city or figures: write the report again")
    for key, value in figures.items():
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if value is not None and not (is_number and math.isfinite(value)):
            raise InputError(f"{shown} is damaged at figures.{key}: write the report again")
    return ReadReport(shown, city, figures)
