"""What is computed on one pair, as a whole and in its parts."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from adapters.catalog import PriorSettings
from tasks.priors.extraction import extract_prior, superpixels_of


def scene(seed: int, height: int, width: int) -> np.ndarray:
    random = np.random.default_rng(seed)
    noise = random.normal(size=(height, width, 3)).astype(np.float32)
    image = cv2.GaussianBlur(noise, (0, 0), 2) + 3 * cv2.GaussianBlur(noise, (0, 0), 8)
    return np.clip(128 + 60 * image / image.std(), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("scale", [1, 2, 4])
def test_superpixels_are_as_many_as_asked_and_of_the_images_size(scale: int) -> None:
    image = scene(1, 97, 131)
    settings = PriorSettings.model_validate({"superpixels": 40, "superpixel_downscale": scale})
    labels = superpixels_of(image, settings)
    assert labels.shape == (97, 131)
    assert labels.dtype == np.int32
    assert set(np.unique(labels)) == set(range(40))
    for label in range(40):
        pieces, _ = cv2.connectedComponents((labels == label).astype(np.uint8), connectivity=8)
        assert pieces == 2  # and the rest


def test_what_stays_is_in_the_prior_and_what_changes_is_not() -> None:
    a = scene(2, 160, 256)
    b = a.copy()
    b[48:112, 96:176] = scene(3, 160, 256)[48:112, 96:176]  # something else stands there now
    settings = PriorSettings(downscale=1, superpixels=60, superpixel_downscale=1)
    made = extract_prior(a, b, settings)
    for mask in made.masks:
        assert mask[56:104, 104:168].mean() < 0.1
        outside = mask.copy()
        outside[40:120, 88:184] = False
        assert outside.sum() / (160 * 256 - 80 * 96) > 0.7
    # The paper's rule counts every match.
    paper = settings.model_copy(update={"coverage": 0.0, "weakest": 0.0, "neighbours": 0})
    counted = extract_prior(a, b, paper)
    assert len(counted.matches) > len(made.matches)
    assert (counted.masks[0] | ~made.masks[0]).all()
