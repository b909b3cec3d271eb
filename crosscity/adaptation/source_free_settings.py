"""Settings of self-training on target images alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from crosscity.adaptation.limits import at_least_zero, fraction, one_of, positive, share
from crosscity.adaptation.settings import Schedule

Deliver = Literal["teacher", "averaged", "student"]


@dataclass(frozen=True)
class SourceFreeSettings:
    """How a segmenter is adapted to images alone.

    Attributes:
        steps: Updates of the student.
        batch_size: Target images that go through the network at once.
        accumulation: Batches whose gradients are added up before an update.
        learning_rate: AdamW's, at its highest.
        schedule: Of the learning rate.
        weight_decay: AdamW's.
        teacher_momentum: m.
        statistics: Share of the target in the batch-norm statistics; 0 leaves the network's own.
        statistics_images: Images that the target's statistics are measured on.
        kept: Share of each class's predicted pixels that is learned from, as a threshold that
            follows the batches slowly; what is predicted with at least 0.95 is learned from in any
            case. 1 leaves out what is less sure than the least sure pixel of the batches before.
        jitter: Strength of `photometric_jitter`.
        smallest_crop: Side of the smallest window, as a fraction of the largest's.
        window: Side of the largest window that the student is shown, as a fraction of the image's;
            the teacher sees whole images. Large images cost less time and memory with less of them.
        flip: Mirror every other image.
        mix: Whether thin and moving things of one image are put into another.
        anchor: Weight of the squared distance to the first weights; 0: none.
        looks: Whether a label is of all looks at a place, fused by how sure each is
            (`objectives.two_looks`); the target set needs pairs then.
        deliver: "teacher", "averaged" (the mean of first weights and teacher), or "student".
    """

    steps: int = 250
    batch_size: int = 4
    accumulation: int = 1
    learning_rate: float = 1e-4
    schedule: Schedule = "constant"
    weight_decay: float = 1e-4
    teacher_momentum: float = 0.995
    statistics: float = 0.5
    statistics_images: int = 64
    kept: float = 0.6
    jitter: float = 0.6
    smallest_crop: float = 0.6
    window: float = 1.0
    flip: bool = True
    mix: bool = True
    anchor: float = 0.0
    looks: bool = False
    deliver: Deliver = "averaged"

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "accumulation", "learning_rate", "statistics_images"):
            positive(name, getattr(self, name))
        for name in ("weight_decay", "anchor"):
            at_least_zero(name, getattr(self, name))
        for name in ("statistics", "jitter"):
            fraction(name, getattr(self, name))
        for name in ("kept", "smallest_crop", "window"):
            share(name, getattr(self, name))
        fraction("teacher_momentum", self.teacher_momentum, below_one=True)
        one_of("deliver", self.deliver, get_args(Deliver))
        one_of("schedule", self.schedule, get_args(Schedule))
