"""Other lights and lenses for a batch of images: what does not change what is seen."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

_LUMA = (0.299, 0.587, 0.114)
"""Weights of R, G and B (ITU-R BT.601)."""


def photometric_jitter(images: Tensor, random: np.random.Generator, strength: float) -> Tensor:
    """Gain, contrast, gamma, saturation and colour cast of each image, and blur of some.

    Args:
        images: N×3×H×W floats in [0, 1].
        random: Decides all of it.
        strength: 0 changes nothing; 1 changes gain and contrast by up to 40 %, saturation by up to
            60 %, gamma by up to half, channels by up to 10 %, and blurs half of the images.

    Returns:
        N×3×H×W floats in [0, 1].
    """
    if strength == 0:
        return images
    draws = torch.from_numpy(random.uniform(-1, 1, (len(images), 7))).to(images)
    gain, contrast, saturation, gamma = (
        draws[:, index].reshape(-1, 1, 1, 1) * strength for index in range(4)
    )
    cast = 1 + 0.1 * strength * draws[:, 4:7].reshape(-1, 3, 1, 1)
    luma = images.new_tensor(_LUMA).reshape(1, 3, 1, 1)
    grey = (images * luma).sum(1, keepdim=True)
    changed = grey + (images - grey) * (1 + 0.6 * saturation)
    mean = grey.mean((2, 3), keepdim=True)
    changed = (changed - mean) * (1 + 0.4 * contrast) + mean
    changed = (changed * (1 + 0.4 * gain) * cast).clamp(0, 1)
    changed = changed.clamp_min(1e-4) ** (1.5**gamma)
    blurred = random.random(len(images)) < 0.5 * strength
    sigmas = random.uniform(0.3, 1.5, len(images))
    return torch.cat(
        [
            _blur(image[None], sigma) if chosen else image[None]
            for image, chosen, sigma in zip(changed, blurred, sigmas, strict=True)
        ]
    )


def _blur(image: Tensor, sigma: float) -> Tensor:
    reach = max(1, int(3 * sigma))
    places = torch.arange(-reach, reach + 1, device=image.device, dtype=image.dtype)
    taps = torch.exp(-(places**2) / (2 * sigma**2))
    taps = (taps / taps.sum()).expand(3, 1, -1)
    padded = functional.pad(image, (reach, reach, reach, reach), mode="replicate")
    rows = functional.conv2d(padded, taps[..., None, :], groups=3)
    return functional.conv2d(rows, taps[..., None], groups=3)


def sensor_noise(images: Tensor, random: np.random.Generator, strength: float) -> Tensor:
    """Gaussian noise on half of the images, as a sensor has it in little light.

    Args:
        images: N×3×H×W floats in [0, 1].
        random: Decides which images, how much of it, and each pixel's.
        strength: 0 changes nothing; at 1 the standard deviation is up to 8 of 255.
    """
    if strength == 0:
        return images
    deviations = random.uniform(0, 8 / 255, len(images)) * strength
    deviations *= random.random(len(images)) < 0.5
    noise = random.standard_normal(images.shape, dtype=np.float32)
    scale = torch.from_numpy(deviations).to(images).reshape(-1, 1, 1, 1)
    return (images + torch.from_numpy(noise).to(images) * scale).clamp(0, 1)
