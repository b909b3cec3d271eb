"""Which harvested images are unfit: their measures against the catalog's limits.

Measures are taken where an image is fetched and kept with it, so that other limits need no image
again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, fields
from typing import Any

from adapters.catalog import City
from crosscity.image_quality import ALGORITHM_VERSION, ImageQuality, QualityLimits, fault_of
from tasks.steps.schemas import LEFT_OUT, OK
from tasks.steps.tables import Row

MEASURES = tuple(field.name for field in fields(ImageQuality))


def quality_limits(entry: City) -> QualityLimits:
    """A city's limits, as the science reads them."""
    return QualityLimits(**entry.quality.model_dump())


def quality_parameters(limits: QualityLimits) -> dict[str, Any]:
    """What of the limits the key of a step depends on."""
    return {"quality": {**asdict(limits), "version": ALGORITHM_VERSION}} if limits.any else {}


def without_unfit(rows: Sequence[Row], limits: QualityLimits) -> list[Row]:
    """The rows, with those of unfit images marked as left out and why.

    Images of releases that took no measures stay what they are.
    """
    return [_judged(row, limits) for row in rows]


def _judged(row: Row, limits: QualityLimits) -> Row:
    if row["status"] != OK or any(row[name] is None for name in MEASURES):
        return row
    fault = fault_of(ImageQuality(**{name: row[name] for name in MEASURES}), limits)
    return row if fault is None else {**row, "status": LEFT_OUT, "reason": fault}
