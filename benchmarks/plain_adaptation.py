"""One step of adaptation (GA+CA), written the straightforward way: what `adapt.py` compares with.

The same networks, losses and settings as `crosscity.adaptation`, put down from the equations as
one writes a first version: fp32, one discriminator module a class, images decoded when they are
needed, features computed once for the discriminators and once more for the feature step, losses
read out with `.item()`.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from crosscity.adaptation import AdaptationSettings
from crosscity.segmenters import Segmenter


def discriminator(channels: int, settings: AdaptationSettings) -> nn.Sequential:
    """1×1 convolutions with ReLU and dropout."""
    layers: list[nn.Module] = []
    for width in settings.discriminator_hidden:
        layers += [
            nn.Conv2d(channels, width, 1),
            nn.ReLU(),
            nn.Dropout(settings.discriminator_dropout),
        ]
        channels = width
    return nn.Sequential(*layers, nn.Conv2d(channels, 1, 1))


class PlainAdaptation:
    """Adapts with encoded images in lists.

    Args:
        segmenter: Is adapted in place, on the device it is on.
        source: PNG images and PNG label maps.
        target: PNG images.
        settings: Of the adaptation; arm "ga_ca", no accumulation.
    """

    def __init__(
        self,
        segmenter: Segmenter,
        source: Sequence[tuple[bytes, bytes]],
        target: Sequence[bytes],
        settings: AdaptationSettings,
    ) -> None:
        self.segmenter = segmenter
        self.source = source
        self.target = target
        self.settings = settings
        self.device = segmenter.input_mean.device
        channels = segmenter.n_features
        self.global_discriminator = discriminator(channels, settings).to(self.device)
        self.class_discriminators = nn.ModuleList(
            discriminator(channels, settings) for _ in range(segmenter.n_classes)
        ).to(self.device)
        rate = settings.learning_rate
        self.of_segmenter = torch.optim.Adam(segmenter.parameters(), lr=rate)
        self.of_global = torch.optim.Adam(self.global_discriminator.parameters(), lr=rate)
        self.of_classes = torch.optim.Adam(self.class_discriminators.parameters(), lr=rate)
        self.steps = 0

    def step(self) -> dict[str, float]:
        """One discriminator step and one feature step."""
        images, labels, targets = self.read()
        size = (labels.shape[1], labels.shape[2])
        self.segmenter.train()
        for layer in self.segmenter.modules():
            if isinstance(layer, nn.BatchNorm2d):
                layer.eval()

        with torch.no_grad():
            source_features = self.segmenter.features(images)
            target_features = self.segmenter.features(targets)
            logits = self.segmenter.classify(target_features)
            phi = torch.softmax(self.upsample(logits, size), 1)
            phi[phi < self.settings.phi_floor] = 0
        source_weights = self.grid(self.one_hot(labels), source_features)
        target_weights = self.grid(phi, target_features)

        p_source = torch.sigmoid(self.global_discriminator(source_features))
        p_target = torch.sigmoid(self.global_discriminator(target_features))
        loss = -self.log(p_source).mean() - self.log(1 - p_target).mean()
        class_loss = torch.zeros((), device=self.device)
        for c, network in enumerate(self.class_discriminators):
            p_source = torch.sigmoid(network(source_features))[:, 0]
            p_target = torch.sigmoid(network(target_features))[:, 0]
            class_loss = class_loss - (source_weights[:, c] * self.log(p_source)).sum()
            class_loss = class_loss - (target_weights[:, c] * self.log(1 - p_target)).sum()
        loss = loss + class_loss / len(images)
        self.of_global.zero_grad()
        self.of_classes.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self.of_global.step()
        self.of_classes.step()

        source_features = self.segmenter.features(images)
        target_features = self.segmenter.features(targets)
        logits = self.upsample(self.segmenter.classify(source_features), size)
        task = functional.cross_entropy(logits, labels, ignore_index=255)
        p_source = torch.sigmoid(self.global_discriminator(source_features))
        p_target = torch.sigmoid(self.global_discriminator(target_features))
        inverse = -self.log(1 - p_source).mean() - self.log(p_target).mean()
        class_inverse = torch.zeros((), device=self.device)
        for c, network in enumerate(self.class_discriminators):
            p_source = torch.sigmoid(network(source_features))[:, 0]
            p_target = torch.sigmoid(network(target_features))[:, 0]
            class_inverse = class_inverse - (source_weights[:, c] * self.log(1 - p_source)).sum()
            class_inverse = class_inverse - (target_weights[:, c] * self.log(p_target)).sum()
        total = task + self.settings.lambda_global * inverse
        total = total + self.settings.lambda_class * class_inverse / len(images)
        self.of_segmenter.zero_grad()
        total.backward()  # type: ignore[no-untyped-call]
        self.of_segmenter.step()
        self.steps += 1
        return {"task": task.item(), "global": inverse.item(), "class": class_inverse.item()}

    def read(self) -> tuple[Tensor, Tensor, Tensor]:
        """The next batch, decoded."""
        size = self.settings.batch_size
        numbers = range(self.steps * size, (self.steps + 1) * size)
        pairs = [self.source[n % len(self.source)] for n in numbers]
        images = self.pixels([image for image, _ in pairs])
        maps = np.stack([_decoded(labels, cv2.IMREAD_UNCHANGED) for _, labels in pairs])
        labels = torch.from_numpy(maps).to(self.device).long()
        return images, labels, self.pixels([self.target[n % len(self.target)] for n in numbers])

    def pixels(self, encoded: Sequence[bytes]) -> Tensor:
        """Images as floats in [0, 1]."""
        decoded = np.stack([_decoded(image, cv2.IMREAD_COLOR)[..., ::-1] for image in encoded])
        tensor = torch.from_numpy(np.ascontiguousarray(decoded)).permute(0, 3, 1, 2)
        return (tensor.float() / 255).contiguous().to(self.device)

    def one_hot(self, labels: Tensor) -> Tensor:
        """B×C×H×W; void has no class."""
        classes = self.segmenter.n_classes
        hot = functional.one_hot(labels.clamp(max=classes), classes + 1)[..., :classes]
        return hot.permute(0, 3, 1, 2).float()

    @staticmethod
    def grid(values: Tensor, features: Tensor) -> Tensor:
        """Eq. 6 to 8."""
        height, width = features.shape[-2:]
        pooled = functional.adaptive_avg_pool2d(values, (height, width))
        return pooled / pooled.sum((2, 3), keepdim=True).clamp(min=1e-12)

    @staticmethod
    def upsample(logits: Tensor, size: tuple[int, int]) -> Tensor:
        """Bilinear."""
        return functional.interpolate(logits, size=size, mode="bilinear", align_corners=False)

    @staticmethod
    def log(values: Tensor) -> Tensor:
        """Away from log 0."""
        return values.clamp(min=1e-7).log()


def _decoded(data: bytes, flags: int) -> npt.NDArray[np.uint8]:
    return np.asarray(cv2.imdecode(np.frombuffer(data, dtype=np.uint8), flags), dtype=np.uint8)
