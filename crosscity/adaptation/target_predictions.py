"""φ: what is predicted of target images, by whom, and how the static prior refines it."""

from __future__ import annotations

import copy
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from crosscity.adaptation.engine import Engine
from crosscity.adaptation.image_sets import (
    TargetImages,
    check_priors,
    ignored_pixels,
    static_priors,
    static_probabilities,
)
from crosscity.adaptation.objectives.base import Partner
from crosscity.adaptation.prior_evidence import weigh_by_prior
from crosscity.adaptation.prior_probability import weigh_by_probability
from crosscity.adaptation.prior_refinement import refine_by_prior, static_class_indices
from crosscity.adaptation.recipes import Prior
from crosscity.adaptation.teachers import follow
from crosscity.adaptation.training import freeze_batch_norm
from crosscity.segmenters import (
    Segmenter,
    evaluating,
    grey_image,
    image_tensor,
    seeded_randomness,
)

_DROPPING: Final = ("drop", "stochastic")
_TRIED_IMAGES: Final = 4


class TargetPredictions:
    """Predicts target images by a teacher, or by the segmenter as it is.

    Args:
        segmenter: Is adapted.
        engine: Where it runs.
        prior: What the static prior does.
        rates: (C,) P(flagged | class) where the prior is evidence (`prior_evidence`).
        static_from: Of the prior's probability, see `Recipe`.
        frozen: Whether the features that are given are those of a backbone that does not move, as
            it predicts: then a slow copy has the same.
    """

    def __init__(
        self,
        segmenter: Segmenter,
        engine: Engine,
        prior: Prior,
        rates: Tensor | None = None,
        *,
        static_from: float | None = None,
        frozen: bool = False,
    ) -> None:
        self._frozen, self._is_copy = frozen, False
        self._static_from = static_from
        self._segmenter, self._engine, self._prior = segmenter, engine, prior
        self._rates = None if rates is None else rates.to(engine.device)
        self._static_classes = static_class_indices(segmenter.class_names)
        self._drops: bool | None = None
        self.teacher: Segmenter | None = None

    def use_teacher(self, teacher: Segmenter | None = None) -> None:
        """From now on a teacher predicts: this one, or a copy of the segmenter."""
        self._is_copy = teacher is None
        taken = copy.deepcopy(self._segmenter) if teacher is None else teacher
        self.teacher = taken.to(self._engine.device).eval()
        self.teacher.requires_grad_(False)

    @torch.no_grad()
    def follow(self, momentum: float) -> None:
        """Moves the teacher's weights a little towards the segmenter's."""
        if self.teacher is None:
            return
        follow(self.teacher, self._segmenter, momentum)

    @torch.no_grad()
    def of(
        self,
        images: Tensor,
        prior: Tensor,
        ignored: Tensor | None,
        features: Tensor,
        taught: Tensor | None = None,
    ) -> Tensor:
        """φ of target images, refined by the prior where the recipe has one.

        Args:
            images: B×3×H×W.
            prior: B×H×W bool, or its probability where the recipe takes that.
            ignored: B×H×W bool, or ``None``.
            features: The segmenter's of these images, as it trains; empty where nobody needed them.
            taught: B×3×H'×W', the images as the teacher is shown them; default: these.

        Returns:
            B×C×H×W, whatever the teacher is shown.
        """
        if self.teacher is not None:
            shown = images if taught is None else taught
            known = self._frozen and self._is_copy
            logits = self.teacher.classify(features if known else self.teacher.features(shown))
        else:
            features = features.detach()
            recomputed = not len(features) or (not self._frozen and self._drops_features)
            with evaluating(self._segmenter):  # no dropout in what counts as a label
                if recomputed:
                    features = self._segmenter.features(images)
                logits = self._segmenter.classify(features)
        return self._refined(self._distribution(logits, images), prior, ignored)

    @torch.no_grad()
    def of_partner(self, partner: Partner) -> tuple[Tensor, Tensor]:
        """Features (M×D×h×w) and φ (M×C×H×W) of other images, refined as `of` does.

        As many at once as the batch has: the memory of a step is that of its batch.
        """
        by = self._segmenter if self.teacher is None else self.teacher
        shown = partner.images if partner.taught is None else partner.taught
        at_once = int(partner.of.max()) + 1
        features, predictions = [], []
        with evaluating(by):
            for start in range(0, len(partner.images), at_once):
                part = slice(start, start + at_once)
                images = partner.images[part]
                features.append(by.features(shown[part]))
                phi = self._distribution(by.classify(features[-1]), images)
                ignored = None if partner.ignored is None else partner.ignored[part]
                predictions.append(self._refined(phi, partner.prior[part], ignored))
        return torch.cat(features), torch.cat(predictions)

    @torch.no_grad()
    def first(self, target: TargetImages, index: int) -> Tensor:
        """φ of one image of a set, as the segmenter sees it now."""
        device = self._engine.device
        pictures = target.images([index])
        prior = (
            static_probabilities(target, [index])
            if self._prior == "probability"
            else static_priors(target, [index])
        )
        check_priors(pictures, prior, [index])
        with evaluating(self._segmenter), self._engine.autocast():
            logits = self._segmenter(image_tensor(pictures, device))
        phi = functional.softmax(logits.float(), dim=1)
        ignored = ignored_pixels(target, [index])
        without = None if ignored is None else torch.from_numpy(ignored).to(device)
        return self._refined(phi, torch.from_numpy(prior).to(device), without)

    @property
    def _drops_features(self) -> bool:
        if self._drops is None:
            self._drops = drops_features(self._segmenter)
        return self._drops

    def _distribution(self, logits: Tensor, images: Tensor) -> Tensor:
        height, width = images.shape[-2:]
        return functional.softmax(self._segmenter.upsample(logits, (height, width)).float(), dim=1)

    def _refined(self, phi: Tensor, prior: Tensor, ignored: Tensor | None) -> Tensor:
        if self._prior == "veto":
            phi = refine_by_prior(phi, prior, self._static_classes)
        elif self._prior == "evidence" and self._rates is not None:
            phi = weigh_by_prior(phi, prior, self._rates)
        elif self._prior == "probability":
            phi = weigh_by_probability(
                phi, prior, self._static_classes, static_from=self._static_from
            )
        # Of no class where pixels are ignored.
        return phi if ignored is None else phi.masked_fill(ignored.unsqueeze(1), 0.0)


@torch.no_grad()
def drops_features(segmenter: Segmenter) -> bool:
    """Whether something in the network drops values of its features while it trains.

    Then its features of a training step are not what it predicts with. Modules that drop tell it by
    their names (Dropout, DropPath, StochasticDepth), and count where features of an image come by
    them: most networks drop in their heads alone. Functions that drop are in no list of modules, so
    it is also looked whether features of noise are others in training, the statistics of batch norm
    apart.
    """
    passed: list[nn.Module] = []
    dropping = [module for module in segmenter.modules() if _drops(module)]
    hooks = [
        one.register_forward_hook(lambda module, *_: passed.append(module)) for one in dropping
    ]
    device = segmenter.input_mean.device
    try:
        with seeded_randomness(0, device=device), evaluating(segmenter):
            noise = torch.rand_like(grey_image(segmenter).repeat(_TRIED_IMAGES, 1, 1, 1))
            plain = segmenter.features(noise)
            if passed:
                return True
            segmenter.train()
            freeze_batch_norm(segmenter)
            return not torch.allclose(segmenter.features(noise), plain, rtol=1e-3, atol=1e-6)
    finally:
        for hook in hooks:
            hook.remove()


def _drops(module: nn.Module) -> bool:
    return any(word in type(module).__name__.lower() for word in _DROPPING)
