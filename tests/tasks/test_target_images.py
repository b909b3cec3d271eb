"""Target images and priors as adaptation reads them."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from adapters.image_masks import ImageMask
from adapters.images import encode_label_png, encode_mask_png
from tasks.steps.errors import InputError
from tasks.training import target_images
from tasks.training.target_images import StoredTargets

RANDOM = np.random.default_rng(3)
IMAGES = {name: RANDOM.integers(0, 256, (20, 30, 3), dtype=np.uint8) for name in "abcd"}
MASKS = {name: RANDOM.random((20, 30)) < 0.5 for name in "ab"}


class Imagery:
    def __init__(self, *_):
        pass

    def read(self, name):
        return IMAGES[name]

    def row(self, name):
        return {"height": 20, "width": 30, "image_id": name}


@pytest.fixture
def targets(monkeypatch):
    """Two training pairs, of which one has priors, and a test pair."""

    def make(masks=None, probabilities=None, **options):
        pairs = [
            {"split": "train", "image_a": "a", "image_b": "b"},
            {"split": "test", "image_a": "x", "image_b": "y"},
            {"split": "train", "image_a": "c", "image_b": "d"},
        ]
        given = MASKS if masks is None else masks
        rows = [
            {
                "image_id": name,
                "mask": encode_mask_png(mask),
                "probability": encode_label_png(probabilities[name]) if probabilities else None,
                "status": "ok",
            }
            for name, mask in given.items()
        ]
        monkeypatch.setattr(target_images, "Imagery", Imagery)
        monkeypatch.setattr(target_images, "read_rows", lambda *_: pairs)
        monkeypatch.setattr(target_images, "static_prior_rows", lambda *_: rows)

        class Plan:
            compute = SimpleNamespace(device="cpu")

            def open_store(self):
                return None

        return StoredTargets(Plan(), None, None, "priors", **options)

    return make


def test_both_images_of_training_pairs_with_their_priors(targets):
    found = targets()
    assert len(found) == 4
    np.testing.assert_array_equal(found.images([0, 3]), [IMAGES["a"], IMAGES["d"]])
    priors = found.priors([0, 1, 2])
    np.testing.assert_array_equal(priors[:2], [MASKS["a"], MASKS["b"]])
    assert not priors[2].any()  # no prior: nothing is known to be static


def test_images_and_priors_come_at_the_size_asked_for(targets):
    found = targets(size=(10, 15))
    assert found.images([0, 1]).shape == (2, 10, 15, 3)
    np.testing.assert_array_equal(found.priors([0])[0], MASKS["a"][1::2, 1::2])


@pytest.mark.parametrize("size", [None, (10, 15)])
def test_a_prior_of_another_size_is_named(targets, size):
    found = targets({"a": np.ones((10, 15), dtype=np.bool_)}, size=size)
    with pytest.raises(InputError) as caught:
        found.priors([0])
    text = str(caught.value)
    assert "the static prior of a is 10×15 pixels" in text
    assert "its image 20×30: run `crosscity priors` again" in text


def test_probabilities_come_as_stored_and_zero_without_a_prior(targets):
    p = {name: RANDOM.integers(0, 256, (20, 30), dtype=np.uint8) for name in "ab"}
    found = targets(probabilities=p)
    np.testing.assert_array_equal(found.probabilities([0, 1]), [p["a"], p["b"]])
    assert not found.probabilities([2]).any()
    found = targets(probabilities=p, size=(10, 15))
    np.testing.assert_array_equal(found.probabilities([1])[0], p["b"][1::2, 1::2])


def test_priors_without_a_probability_are_named(targets):
    with pytest.raises(InputError, match=r"static prior of a has no probability.*deep_matching"):
        targets().probabilities([0])


def test_images_of_several_sizes_are_named_with_what_to_do(targets, monkeypatch):
    monkeypatch.setitem(IMAGES, "d", RANDOM.integers(0, 256, (24, 30, 3), dtype=np.uint8))
    found = targets()
    assert found.images([0, 1]).shape == (2, 20, 30, 3)
    with pytest.raises(InputError, match=r"d is 24×30 pixels high and wide, a 20×30.*image_size"):
        found.images([0, 3])
    assert targets(size=(10, 15)).images([0, 3]).shape == (2, 10, 15, 3)


CORNER = ImageMask((((0.0, 0.0), (7.0, 0.0), (7.0, 4.0), (0.0, 4.0)),))


def test_pixels_of_the_provider_come_with_the_images(targets):
    assert targets().ignored([0]) is None
    found = targets(mask=CORNER).ignored([0, 3])
    expected = np.zeros((2, 20, 30), dtype=np.bool_)
    expected[:, :4, :7] = True
    np.testing.assert_array_equal(found, expected)
    smaller = targets(mask=CORNER, size=(10, 15)).ignored([1])
    np.testing.assert_array_equal(smaller[0], expected[0, 1::2, 1::2])
