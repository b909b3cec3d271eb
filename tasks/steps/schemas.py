"""Columns of the tables that artifacts hold: the contract between the steps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import pyarrow as pa

from adapters.tables import added_field

_MOMENT = pa.timestamp("ms", tz="UTC")

CAPTURES: Final = pa.schema(
    [
        pa.field("image_id", pa.string(), nullable=False),
        pa.field("provider", pa.string(), nullable=False),
        pa.field("place_id", pa.string(), nullable=False),
        pa.field("lat", pa.float64()),
        pa.field("lon", pa.float64()),
        pa.field("heading", pa.float64(), nullable=False),
        pa.field("pitch", pa.float64(), nullable=False),
        pa.field("fov", pa.float64(), nullable=False),
        pa.field("captured_at", _MOMENT),
        pa.field("licence", pa.string(), nullable=False),
        pa.field("attribution", pa.string(), nullable=False),
        pa.field("page_url", pa.string()),
        pa.field("split", pa.string()),
        pa.field("time_precision", pa.string()),  # "second", "day" or "month"
        pa.field("source_id", pa.string()),  # the picture's name at the service
        pa.field("sequence", pa.string()),  # what the pictures of one drive share there
        pa.field("aligned_to", pa.string()),  # the image that fixes this one's exact heading
    ]
)
"""What a provider lists, before any image is fetched."""

IMAGERY: Final = pa.schema(
    [
        *CAPTURES,
        pa.field("width", pa.int32()),
        pa.field("height", pa.int32()),
        pa.field("artifact", pa.string()),  # <kind>/<city>/<key> that holds the file
        pa.field("file", pa.string()),
        pa.field("sha256", pa.string()),
        pa.field("heading_offset", pa.float64()),  # degrees, added to what the compass says
        pa.field("overlap", pa.float64()),  # correlation with the image it is aligned to
        pa.field("status", pa.string(), nullable=False),  # "ok", "failed" or "left_out"
        pa.field("reason", pa.string()),
        # Measures of the picture (crosscity.image_quality).
        added_field("night", pa.float64()),
        added_field("blur", pa.float64()),
        added_field("overexposed", pa.float64()),
        added_field("obstructed", pa.float64()),
        added_field("turned", pa.float64()),
    ]
)
"""One row an image that was asked for, also where it failed."""

PAIRS: Final = pa.schema(
    [
        pa.field("pair_id", pa.string(), nullable=False),
        pa.field("image_a", pa.string(), nullable=False),
        pa.field("image_b", pa.string(), nullable=False),
        pa.field("place_id", pa.string(), nullable=False),
        pa.field("metres_apart", pa.float64()),
        pa.field("days_apart", pa.float64()),
        pa.field("split", pa.string(), nullable=False),
        # Images of the place and heading at further times, by time; null where there are none.
        added_field("others", pa.list_(pa.string())),
    ]
)
"""One row a pair of images of one place and heading at two times."""

DROPPED: Final = pa.schema(
    [
        pa.field("image_id", pa.string(), nullable=False),
        pa.field("place_id", pa.string(), nullable=False),
        pa.field("group", pa.int32(), nullable=False),  # images that were dropped together
        pa.field("reason", pa.string(), nullable=False),
    ]
)
"""One row an image that became no pair, with the reason."""

STATIC_PRIOR: Final = pa.schema(
    [
        pa.field("image_id", pa.string(), nullable=False),
        pa.field("pair_id", pa.string(), nullable=False),
        pa.field("mask", pa.binary()),  # 1-bit PNG, white where static
        pa.field("static_fraction", pa.float64()),
        pa.field("matches", pa.int32()),
        pa.field("superpixels", pa.int32()),
        pa.field("status", pa.string(), nullable=False),
        pa.field("reason", pa.string()),
        # 8-bit PNG, 255 times the probability that a pixel is static, 0 where the provider's mask
        # covers it; null of other matchers than the one whose matches the curve was fitted to.
        added_field("probability", pa.binary()),
    ]
)
"""One row an image of a pair. Times are in the manifest: rows must not differ between runs."""


SAFEGUARD: Final = pa.schema(
    [
        pa.field("pair_id", pa.string(), nullable=False),
        pa.field("points", pa.int64()),  # static ones that were matched
        pa.field("equal_before", pa.int64()),  # of them with one class at both times
        pa.field("equal_after", pa.int64()),
        pa.field("drift", pa.float64()),  # bits between the predicted classes, of this pair alone
        pa.field("entropy_before", pa.float64()),  # mean over the pixels, bits
        pa.field("entropy_after", pa.float64()),
        pa.field("status", pa.string(), nullable=False),
        pa.field("reason", pa.string()),
    ]
)
"""One row a pair that an adaptation was judged on, also where it could not be examined."""

SUGGESTION: Final = pa.schema(
    [
        pa.field("pair_id", pa.string(), nullable=False),
        pa.field("points", pa.int64()),  # static ones that were matched
        pa.field("times_differ", pa.float64()),  # share of them with other classes at the two times
        pa.field("segmenters_differ_a", pa.float64()),  # share of the pixels of the first image
        pa.field("segmenters_differ_b", pa.float64()),
        pa.field("status", pa.string(), nullable=False),
        pa.field("reason", pa.string()),
    ]
)
"""One row a pair that was examined for places worth labelling."""

DIFFERENCES: Final = pa.schema(
    [
        pa.field("image_id", pa.string(), nullable=False),
        pa.field("changed", pa.float64()),  # share of the pixels whose class differs, in [0, 1]
        pa.field("confidence_before", pa.float64()),  # mean over the pixels, in [0, 1]
        pa.field("confidence_after", pa.float64()),
        # Pixels by trainId; behind the 19 all classes that are none of these.
        pa.field("classes_before", pa.list_(pa.int64())),
        pa.field("classes_after", pa.list_(pa.int64())),
        pa.field("status", pa.string(), nullable=False),
        pa.field("reason", pa.string()),
    ]
)
"""One row an image that two segmenters were compared on, also where it could not be read."""

SCORED_IMAGES: Final = pa.schema(
    [
        pa.field("sample", pa.string(), nullable=False),
        pa.field("valid", pa.float64(), nullable=False),  # share of the image whose label is scored
        pa.field("pixels", pa.int64(), nullable=False),  # whose label is scored
        pa.field("right", pa.int64(), nullable=False),  # of them predicted right
        pa.field("miou", pa.float64()),  # over the classes that occur in it, in [0, 1]
        pa.field("truth", pa.string()),  # the largest mistake: what it is, ...
        pa.field("taken_for", pa.string()),  # ... what it was taken for, ...
        pa.field("mistaken", pa.int64(), nullable=False),  # ... and its pixels
    ]
)
"""One row a labelled image, by how much a segmenter gets right of it."""

LABELLED: Final = pa.schema(
    [
        pa.field("sample", pa.string(), nullable=False),
        pa.field("image", pa.binary()),  # PNG: no second loss, whatever the set has
        pa.field("labels", pa.binary()),  # 8-bit PNG of trainIds
        pa.field("status", pa.string(), nullable=False),
        pa.field("reason", pa.string()),
    ]
)
"""One row a labelled image."""

HISTORY: Final = pa.schema(
    [
        pa.field("step", pa.int64(), nullable=False),
        pa.field("quantity", pa.string(), nullable=False),
        pa.field("value", pa.float64()),
    ]
)
"""One row a step and quantity: losses, λ, discriminator accuracies, learning rates, and what the
step took: images a second and the peak of memory in MiB (`tasks.training.checkpoints.TAKEN`)."""

OK: Final = "ok"
FAILED: Final = "failed"
LEFT_OUT: Final = "left_out"
"""Of an image that was had and is unfit: no failure, and no image that is used."""


IMAGES_OF_PAIR: Final = ("image_a", "image_b", "others")
"""Columns of `PAIRS` that `images_of` reads."""


def images_of(pair: Mapping[str, Any]) -> tuple[str, ...]:
    """Ids of the two images of a row of `PAIRS`, and of its others."""
    return (pair["image_a"], pair["image_b"], *(pair.get("others") or ()))
