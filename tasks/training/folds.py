"""Folds of a city's labelled images: what is trained on in turn, and what is tested on.

All images of a place are in one fold. Two times of one street are nearly the same picture: one that
is trained on would tell what the other, which is tested on, shows.
"""

from __future__ import annotations

from collections.abc import Sequence

from adapters.store import ArtifactRef
from adapters.street_view.cross_city_layout import parse_image_name
from tasks.steps.plan import Plan
from tasks.steps.schemas import IMAGES_OF_PAIR, PAIRS, images_of
from tasks.steps.tables import read_rows
from tasks.training.labelled import StoredLabelled

Fold = tuple[int, int]
"""Which, of how many."""


def inside(fold: Fold, places: Sequence[str]) -> tuple[int, ...]:
    """Indices of the images that a fold is tested on.

    Args:
        fold: Which, of how many: the first place is of the first, the second of the second, …
        places: Of each image.
    """
    which, folds = fold
    number = {place: index for index, place in enumerate(dict.fromkeys(places))}
    return tuple(index for index, one in enumerate(places) if number[one] % folds == which)


def outside(fold: Fold, places: Sequence[str]) -> tuple[int, ...]:
    """Indices of the images that a fold is trained on: all that `inside` does not have."""
    tested = set(inside(fold, places))
    return tuple(index for index in range(len(places)) if index not in tested)


def places_of(
    plan: Plan, parts: Sequence[ArtifactRef], pairs: ArtifactRef | None
) -> tuple[str, ...]:
    """The place of each good image of labelled shards; an image of no known place is its own.

    Args:
        plan: The run's plan.
        parts: Labelled shards.
        pairs: The city's pairs: they know the places of the images that they are of, by id. Names
            of the public layout (`pano_<place>_<time>_<heading>`) tell theirs.
    """
    images, known = StoredLabelled(plan.open_store(), parts), dict[str, str]()
    if pairs is not None:
        columns = (*IMAGES_OF_PAIR, "place_id")
        for row in read_rows(plan.open_store(), pairs, "pairs.parquet", PAIRS, columns):
            for image_id in images_of(row):
                known[image_id] = row["place_id"]
    return tuple(_place(images.name(index), known) for index in range(len(images)))


def _place(name: str, known: dict[str, str]) -> str:
    called = name.rpartition("/")[2]
    place = known.get(name) or known.get(called)
    if place is None and (parsed := parse_image_name(f"{called}.jpg")) is not None:
        place = parsed.place_id
    return f"image {name}" if place is None else f"place {place}"
