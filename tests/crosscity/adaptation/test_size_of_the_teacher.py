"""A teacher that was trained at another size than its student is shown images at that size."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from crosscity.adaptation import Adaptation, AdaptationSettings, Recipe, TargetArrays, Term
from crosscity.adaptation.image_sets import PairedArrays
from crosscity.resizing import resized_image
from crosscity.segmenters import Segmenter, build_segmenter

SIZE, TRAINED_AT = (16, 24), (32, 48)
RANDOM = np.random.default_rng(4)
LARGE = TargetArrays(RANDOM.integers(0, 256, (4, *TRAINED_AT, 3), dtype=np.uint8))
SMALL = TargetArrays(np.stack([resized_image(image, SIZE) for image in LARGE.all_images]))
FIELD = np.stack(np.meshgrid(np.arange(24), np.arange(16)), -1).astype(np.float32)
PAIRS = PairedArrays(SMALL, np.repeat(FIELD[None], 4, axis=0))


def network(seed: int, width: int = 8) -> Segmenter:
    options = {"width": width, "dilations": [1], "dropout": 0.0, "class_names": ["road", "car"]}
    return build_segmenter("compact", options, seed=seed)


def adaptation(objective: str, teacher: Segmenter, taught: TargetArrays | None) -> Adaptation:
    settings = AdaptationSettings(steps=3, batch_size=3, learning_rate=1e-3, flip=True)
    recipe = Recipe((Term(objective, weight=1.0, ramp="constant"),))
    return Adaptation(
        network(0), None, PAIRS, settings, 1, recipe=recipe, teacher=teacher, taught=taught
    )


def as_pictures(images: torch.Tensor) -> np.ndarray:
    return np.asarray((images * 255).round().byte().permute(0, 2, 3, 1).numpy())


def shrunk(images: torch.Tensor) -> np.ndarray:
    return np.stack([resized_image(picture, SIZE) for picture in as_pictures(images)])


@torch.no_grad()
def predicted(teacher: Segmenter, images: torch.Tensor) -> torch.Tensor:
    logits = teacher.classify(teacher.features(images))
    return teacher.upsample(logits, SIZE).softmax(1)


def test_the_teacher_is_shown_the_same_images_at_its_own_size() -> None:
    """The batch's images and those of their places, mirrored as the student's are."""
    teacher = network(7)
    training = adaptation("two_looks", teacher, LARGE)
    turned = set()
    for number in range(4):
        batch = training._domains.batch(number, 3)
        assert batch.taught is not None
        assert batch.partner is not None
        assert batch.partner.taught is not None
        assert batch.taught.shape[-2:] == batch.partner.taught.shape[-2:] == TRAINED_AT
        np.testing.assert_array_equal(shrunk(batch.taught), as_pictures(batch.target))
        np.testing.assert_array_equal(
            shrunk(batch.partner.taught), as_pictures(batch.partner.images)
        )
        turned |= {key.endswith("mirrored") for key in batch.keys["target"]}
        view = training._view(batch)
        assert view.predictions is not None
        assert view.partner is not None
        torch.testing.assert_close(view.predictions, predicted(teacher, batch.taught))
        torch.testing.assert_close(
            view.partner.predictions, predicted(teacher, batch.partner.taught)
        )
    assert turned == {True, False}


@pytest.mark.parametrize("objective", ["self_training", "two_looks", "feature_consistency"])
def test_a_student_learns_from_a_teacher_of_another_size(objective: str) -> None:
    losses = [
        [row["total_loss"] for row in adaptation(objective, network(7), taught).advance(3)]
        for taught in (LARGE, None, SMALL)
    ]
    assert all(np.isfinite(losses[0]))
    assert losses[0] != losses[1]
    assert losses[1] == losses[2]  # equal sizes are equal steps


def test_what_a_teacher_cannot_be_shown_is_refused() -> None:
    with pytest.raises(ValueError, match="is shown 3 images, and there are 4 of the target"):
        adaptation("self_training", network(7), TargetArrays(LARGE.all_images[:3]))
    training = adaptation("feature_consistency", network(7, width=16), LARGE)
    with pytest.raises(ValueError, match=r"compares \d+ features of the segmenter with \d+ of its"):
        training.advance(1)
