"""Folds of a city's labelled images: what is trained on in turn, and what is tested on.

All images of a place are in one fold. Two times of one street are nearly the same picture: one that
is trained on would tell what the other, which is tested on, shows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from adapters.store import ArtifactRef
from adapters.street_view.cross_city_layout import parse_image_name
from tasks.steps.plan import Plan
from tasks.steps.schemas import IMAGES_OF_PAIR, PAIRS, images_of
from tasks.steps.tables import read_rows
from tasks.training.stored_images import StoredLabelled

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


def _place(sample: str, known: Mapping[str, str]) -> str:
    place = next((known[name] for name in _names(sample) if name in known), None)
    if place is None:
        parsed = (parse_image_name(f"{name}.jpg") for name in _names(sample))
        place = next((one.place_id for one in parsed if one is not None), None)
    return f"image {sample}" if place is None else f"place {place}"


def _names(sample: str) -> Iterator[str]:
    """What the image of a sample may be called, the longest first.

    A set in folders puts its split, and the folders above an image, before the image's name.
    """
    yield sample
    for at, character in enumerate(sample):
        if character in "/_" and at + 1 < len(sample):
            yield sample[at + 1 :]
