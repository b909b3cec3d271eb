"""How much a segmenter gets right of each labelled image, as an evaluation counts it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from adapters.store import ArtifactRef, Draft, Store
from crosscity.evaluation import ImageCounts, ScoringProtocol, score, scored_counts
from tasks.steps.schemas import SCORED_IMAGES
from tasks.steps.tables import Row, read_rows, write_rows

NOT_SCORED: Final = "a class that is not scored"
_TABLE: Final = "images.parquet"


def image_row(
    sample: str, counted: ImageCounts, protocol: ScoringProtocol, class_names: Sequence[str]
) -> Row:
    """The row of an image in `SCORED_IMAGES`.

    Args:
        sample: The labelled image.
        counted: Its pixels.
        protocol: What each class counts as.
        class_names: The label space of the counts.
    """
    found = mistakes(counted.confusion, protocol, class_names)
    miou = score(counted.confusion, protocol, class_names=class_names).miou
    return {
        "sample": sample,
        "valid": found["pixels"] / counted.pixels,
        "miou": None if math.isnan(miou) else miou,
        **found,
    }


def mistakes(
    confusion: npt.NDArray[np.int64], protocol: ScoringProtocol, class_names: Sequence[str]
) -> dict[str, Any]:
    """How much of an image is right, and its largest mistake, as columns of `SCORED_IMAGES`."""
    counts, missed = scored_counts(confusion, protocol, class_names)
    right = int(np.trace(counts))
    wrong = np.concatenate([counts, missed[:, None]], axis=1)
    np.fill_diagonal(wrong, 0)
    truth, taken_for = (int(each) for each in np.unravel_index(wrong.argmax(), wrong.shape))
    largest = int(wrong[truth, taken_for])
    names = (*protocol.classes, NOT_SCORED)
    return {
        "pixels": int(counts.sum() + missed.sum()),
        "right": right,
        "truth": names[truth] if largest else None,
        "taken_for": names[taken_for] if largest else None,
        "mistaken": largest,
    }


def worst_first(rows: Sequence[Row]) -> list[Row]:
    """The rows that have a scored pixel, by the share that is right; ties by the sample."""
    scored = [row for row in rows if row["pixels"]]
    return sorted(scored, key=lambda row: (row["right"] / row["pixels"], row["sample"]))


def write_image_scores(draft: Draft, rows: Sequence[Row]) -> None:
    """Writes `images.parquet`."""
    write_rows(draft, _TABLE, rows, SCORED_IMAGES)


def read_image_scores(store: Store, ref: ArtifactRef) -> list[Row]:
    """The rows of an `evaluation` artifact, one an image."""
    return read_rows(store, ref, _TABLE, SCORED_IMAGES)
