"""Images as arrays, on their way into a segmenter."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from PIL import Image

from crosscity.segmenters import image_tensor

PIXELS = np.random.default_rng(0).integers(0, 256, (2, 5, 7, 3), dtype=np.uint8)
EXPECTED = torch.from_numpy(PIXELS.copy()).permute(0, 3, 1, 2) / 255


def read_only() -> np.ndarray:
    images = PIXELS.copy()
    images.flags.writeable = False
    return images


@pytest.mark.parametrize(
    "images",
    [PIXELS.copy(), read_only(), np.asfortranarray(PIXELS), PIXELS[:, ::-1][:, ::-1]],
    ids=["own", "read-only", "columns first", "turned"],
)
def test_any_array_of_images_is_taken_without_a_warning_and_left_as_it_was(images) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        made = image_tensor(images)
    torch.testing.assert_close(made, EXPECTED)
    np.testing.assert_array_equal(images, PIXELS)


def test_what_pillow_opens_is_taken_without_a_warning(recwarn: pytest.WarningsRecorder) -> None:
    picture = np.asarray(Image.fromarray(PIXELS[0]))
    torch.testing.assert_close(image_tensor(picture[None]), EXPECTED[:1])
    assert not recwarn.list
