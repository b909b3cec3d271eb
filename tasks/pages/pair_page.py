"""One page about two pictures of a place: what stayed the same, and what a segmenter sees."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from adapters.images import encode_jpeg
from crosscity.evaluation import Prediction, predict_each
from crosscity.illustrations import draw_prior, prior_figure
from crosscity.labels import CLASSES, colourise
from crosscity.percentages import percentage
from crosscity.resizing import resized_image
from crosscity.safeguard import static_points
from crosscity.segmenters import Segmenter, in_train_ids
from tasks.pages.page import render_page
from tasks.priors.pair_prior import PairPrior

Picture = npt.NDArray[np.uint8]
Pair = tuple[Picture, Picture]
_WIDTH: Final = 960
"""Pixels of the widest picture; a page is mailed around."""
_QUALITY: Final = 85


def render_pair(
    pair: Pair,
    names: tuple[str, str],
    prior: PairPrior,
    segmenter: Segmenter | None = None,
    *,
    remark: str = "",
) -> str:
    """The page as HTML that needs no network and no other file.

    Args:
        pair: (H, W, 3) uint8 RGB each.
        names: What the two pictures are called.
        prior: What was extracted from them.
        segmenter: Predicts both pictures, where there is one.
        remark: A sentence on that segmenter.
    """
    shown = {
        "names": names,
        "matches": f"{len(prior.matches):,}",
        "static": [f"{mask.mean():.0%}" for mask in prior.masks],
        "priors": [
            _embedded(draw_prior(image, mask, width=_WIDTH))
            for image, mask in zip(pair, prior.masks, strict=True)
        ],
        "figure": _embedded(
            prior_figure(*pair, prior.matches, *prior.superpixels, *prior.masks, width=_WIDTH)
        ),
        "predictions": [],
        **({} if segmenter is None else _predicted(pair, prior, in_train_ids(segmenter))),
        "remark": remark,
    }
    return render_page("pair.html.j2", **shown)


def _predicted(pair: Pair, prior: PairPrior, segmenter: Segmenter) -> dict[str, Any]:
    seen = list(predict_each(segmenter, pair, 1, image_size=segmenter.trained_size))
    return {
        "predictions": [
            _embedded(_blended(image, each.labels)) for image, each in zip(pair, seen, strict=True)
        ],
        "classes": _class_rows([each.labels for each in seen]),
        "agreement": _agreement(prior, seen),
    }


def _class_rows(labels: Sequence[Picture]) -> list[dict[str, Any]]:
    rows = []
    for road_class in CLASSES:
        shares = [float((each == road_class.train_id).mean()) for each in labels]
        if max(shares) > 0:
            colour = ", ".join(map(str, road_class.colour))
            shown = [f"{percentage(share, 1)}%" for share in shares]
            rows.append({"name": road_class.name, "colour": colour, "shares": shown})
    return rows


def _agreement(prior: PairPrior, seen: Sequence[Prediction]) -> str:
    """How often static points have one class at both times: a score that needs no label."""
    first, second = static_points(prior.matches, prior.masks)
    if not len(first):
        return "No static point is matched, so the two times cannot be compared."
    at = [
        each.labels[points[:, 0], points[:, 1]]
        for each, points in zip(seen, (first, second), strict=True)
    ]
    return (
        f"At {np.mean(at[0] == at[1]):.0%} of {len(first):,} points that stayed the same it names "
        "one class at both times; at the others it is wrong at least once."
    )


def _blended(image: Picture, labels: Picture) -> Picture:
    mixed = image.astype(np.float32) * 0.4 + colourise(labels).astype(np.float32) * 0.6
    return mixed.round().astype(np.uint8)


def _embedded(picture: Picture) -> str:
    height, width = picture.shape[:2]
    if width > _WIDTH:
        picture = resized_image(picture, (max(1, round(height * _WIDTH / width)), _WIDTH))
    data = base64.b64encode(encode_jpeg(picture, _QUALITY)).decode("ascii")
    return f"data:image/jpeg;base64,{data}"
