from __future__ import annotations

import numpy as np
import torch

from crosscity.adaptation.augmentation import Augmentation


def batch(number: int = 64) -> tuple[torch.Tensor, torch.Tensor]:
    maps = torch.arange(12 * 20).reshape(1, 12, 20).repeat(number, 1, 1) % 250
    images = maps.unsqueeze(1).repeat(1, 3, 1, 1).float() / 255
    return images, maps.to(torch.uint8)


def test_flips_image_and_map_together_about_every_other_time() -> None:
    images, maps = batch()
    flipped, flipped_maps = Augmentation(flip=True, smallest_crop=1)(
        images, maps, np.random.default_rng(0)
    )
    mirrored = [torch.equal(image, images[0].flip(-1)) for image in flipped]
    assert 16 < sum(mirrored) < 48
    for image, map_, is_mirrored in zip(flipped, flipped_maps, mirrored, strict=True):
        assert torch.equal(map_, maps[0].flip(-1) if is_mirrored else maps[0])
        assert torch.equal(image, images[0].flip(-1) if is_mirrored else images[0])


def test_crops_keep_size_values_and_alignment() -> None:
    images, maps = batch()
    cropped, cropped_maps = Augmentation(flip=False, smallest_crop=0.5)(
        images, maps, np.random.default_rng(1)
    )
    assert cropped.shape == images.shape
    assert cropped_maps.dtype == torch.uint8
    assert set(cropped_maps.unique().tolist()) <= set(maps.unique().tolist())
    assert not torch.equal(cropped_maps, maps)
    # A smooth image and its own map still show the same window.
    smooth = torch.arange(20.0).repeat(64, 3, 12, 1)
    found, found_maps = Augmentation(flip=False, smallest_crop=0.5)(
        smooth, smooth[:, 0].to(torch.uint8), np.random.default_rng(1)
    )
    assert (found[:, 0] - found_maps.float()).abs().max() <= 1


def test_voids_and_priors_are_cropped_too() -> None:
    images, _ = batch(4)
    prior = torch.zeros(4, 12, 20, dtype=torch.bool)
    prior[:, :, :10] = True
    _, cropped = Augmentation(flip=True, smallest_crop=0.5)(images, prior, np.random.default_rng(2))
    assert cropped.dtype == torch.bool
    assert cropped.any()


def test_the_generator_decides_and_nothing_else() -> None:
    images, maps = batch(8)
    augment = Augmentation(flip=True, smallest_crop=0.5)
    one, one_maps = augment(images, maps, np.random.default_rng(3))
    torch.rand(5)
    other, other_maps = augment(images, maps, np.random.default_rng(3))
    assert torch.equal(one, other)
    assert torch.equal(one_maps, other_maps)


def test_off_is_off() -> None:
    images, maps = batch(3)
    same, same_maps = Augmentation(flip=False, smallest_crop=1)(
        images, maps, np.random.default_rng(0)
    )
    assert torch.equal(same, images)
    assert torch.equal(same_maps, maps)


def test_windows_of_one_size_come_out_whatever_was_cut() -> None:
    images = torch.rand((6, 3, 20, 30))
    maps = torch.randint(0, 5, (6, 20, 30))
    augment = Augmentation(flip=False, smallest_crop=0.5, window=0.5)
    cut, cut_maps = augment(images, maps, np.random.default_rng(0))
    assert cut.shape == (6, 3, 10, 15)
    assert cut_maps.shape == (6, 10, 15)
    whole = Augmentation(flip=False, smallest_crop=1.0, window=0.5)
    exact, exact_maps = whole(images, maps, np.random.default_rng(0))
    for image, window, map_, window_map in zip(images, exact, maps, exact_maps, strict=True):
        places = [
            (top, left)
            for top in range(11)
            for left in range(16)
            if torch.equal(map_[top : top + 10, left : left + 15], window_map)
        ]
        assert places
        top, left = places[0]
        assert torch.allclose(image[:, top : top + 10, left : left + 15], window, atol=1e-6)
