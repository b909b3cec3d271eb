"""Target images and priors as adaptation reads them."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from adapters.image_masks import ImageMask
from adapters.images import encode_label_png, encode_mask_png
from adapters.store import Store
from tasks.steps.errors import InputError
from tasks.steps.schemas import STATIC_PRIOR
from tasks.training import target_images
from tasks.training.target_images import MOST_LOOKS, StoredTargets
from tests.tasks.made_priors import stored_priors

RANDOM = np.random.default_rng(3)
IMAGES = {name: RANDOM.integers(0, 256, (20, 30, 3), dtype=np.uint8) for name in "abcd"}
MASKS = {name: RANDOM.random((20, 30)) < 0.5 for name in "ab"}


class Imagery:
    def __init__(self, *_):
        pass

    def read(self, name):
        return IMAGES[name]

    def size(self, name):
        return IMAGES[name].shape[:2]


@pytest.fixture
def targets(monkeypatch, tmp_path):
    """Two training pairs, of which one has priors, and a test pair."""
    store = Store(tmp_path / "store")

    def make(masks=None, probabilities=None, others=None, **options):
        pairs = [
            {"split": "train", "image_a": "a", "image_b": "b", "others": others},
            {"split": "test", "image_a": "x", "image_b": "y", "others": None},
            {"split": "train", "image_a": "c", "image_b": "d", "others": None},
        ]
        given = MASKS if masks is None else masks
        priors = [
            {
                **dict.fromkeys(STATIC_PRIOR.names),
                "image_id": name,
                "pair_id": "p",
                "mask": encode_mask_png(mask),
                "probability": encode_label_png(probabilities[name]) if probabilities else None,
                "status": "ok",
            }
            for name, mask in given.items()
        ]
        monkeypatch.setattr(target_images, "Imagery", Imagery)
        monkeypatch.setattr(target_images, "read_rows", lambda *_: pairs)
        plan = SimpleNamespace(compute=SimpleNamespace(device="cpu"), open_store=lambda: store)
        made = options.pop("priors", stored_priors(store, [priors]))
        return StoredTargets(plan, None, None, made, **options)

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


def test_further_times_are_looked_at_and_not_learned_from(targets, monkeypatch):
    masks = {name: RANDOM.random((20, 30)) < 0.5 for name in "abefghi"}
    for name in "efghi":
        monkeypatch.setitem(IMAGES, name, RANDOM.integers(0, 256, (20, 30, 3), dtype=np.uint8))
    found = targets(masks, others=list("efghi"))
    assert len(found) == 4
    # c and d have no further time; a and b have more than are looked at.
    assert MOST_LOOKS == 4
    assert found.partners([0, 1, 2, 3]) == [[1, 4, 5, 6], [0, 4, 5, 6], [3], [2]]
    np.testing.assert_array_equal(found.images([6]), [IMAGES["g"]])
    np.testing.assert_array_equal(found.priors([4, 6]), [masks["e"], masks["g"]])


def test_further_times_that_cannot_be_used_are_not_looked_at(targets, monkeypatch):
    masks = {name: RANDOM.random((20, 30)) < 0.5 for name in "abfg"}
    for name, height in (("e", 20), ("f", 24), ("g", 20)):
        image = RANDOM.integers(0, 256, (height, 30, 3), dtype=np.uint8)
        monkeypatch.setitem(IMAGES, name, image)
    # e shows another place, so that it has no prior; f has another size.
    assert targets(masks, others=list("efg")).partners([0, 1]) == [[1, 4], [0, 4]]
    np.testing.assert_array_equal(targets(masks, others=list("efg")).images([4]), [IMAGES["g"]])
    # Without priors nothing is known of e.
    without = targets(masks, others=list("efg"), priors=None)
    assert without.partners([0, 1]) == [[1, 4, 5], [0, 4, 5]]


def test_where_points_lie_at_further_times(targets, monkeypatch):
    monkeypatch.setitem(IMAGES, "e", RANDOM.integers(0, 256, (20, 30, 3), dtype=np.uint8))
    found = targets(MASKS | {"e": MASKS["a"]}, others=["e"])
    matched = {
        ("a", "b"): (np.array([[6.0, 8.0]]), np.array([[9.0, 7.0]])),
        ("a", "e"): (np.array([[10.0, 8.0]]), np.array([[14.0, 9.0]])),
        ("b", "e"): (np.array([[20.0, 8.0]]), np.array([[19.0, 6.0]])),
    }
    monkeypatch.setattr(found._matching, "points", lambda one, other, _: matched[one, other])
    fields = found.fields([0, 1, 0, 1], [1, 0, 4, 4])
    starts = [(6, 8), (9, 7), (10, 8), (20, 8)]
    ends = [(9, 7), (6, 8), (14, 9), (19, 6)]
    for field, (x, y), end in zip(fields, starts, ends, strict=True):
        assert tuple(field[y, x]) == end
