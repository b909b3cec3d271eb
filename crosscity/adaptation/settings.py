"""Typed settings of every training, and the named presets of the adaptation."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final, Literal, get_args

from crosscity.adaptation.limits import at_least_zero, fraction, one_of, positive, share

Arm = Literal["control", "bn", "ga", "ga_ca", "full", "self_training"]
"""What an adaptation does:

- `control`: source training continued, no target image enters a loss.
- `bn`: nothing is trained; batch-norm statistics are estimated anew, half source, half target.
- `ga`: global alignment (eq. 2-5).
- `ga_ca`: and class-wise alignment (eq. 6-11).
- `full`: and the static prior (eq. 12).
- `self_training`: and training on target images with the labels that a slow copy of the segmenter
  (`teacher_momentum`) predicts and the static prior refines. Not in the paper.

All arms take the same number of steps and, for a seed, read the same images in the same order.
"""
ARMS: Final[tuple[Arm, ...]] = get_args(Arm)

ClassReduction = Literal["mean", "sum"]
ClassFeatureLoss = Literal["inverse", "confusion"]
OnCollapse = Literal["stop", "warn"]
Optimiser = Literal["adam", "sgd"]
Schedule = Literal["constant", "cosine", "poly"]
Until = Literal["steps", "plateau"]
PredictionRule = Literal["auto", "plain", "half_weighted", "weighted"]


@dataclass(frozen=True)
class SupervisedSettings:
    """How a segmenter is trained on labels.

    Attributes:
        steps: Optimiser steps.
        batch_size: Images that go through the network at once, in each process.
        accumulation: Batches whose gradients are added up before a step.
        learning_rate: The highest, after the warm-up.
        optimiser: "adam" (decoupled weight decay) or "sgd".
        momentum: Of SGD.
        weight_decay: Of the optimiser.
        schedule: Of the learning rate after the warm-up: "constant", "cosine" (to 0), or "poly"
            (1 - t/T) ** 0.9.
        warm_up: Fraction of the steps in which the learning rate rises linearly.
        class_balance: Exponent b of the class weights, proportional to frequency ** -b; 0 weighs
            all pixels alike. Adaptation must use the same weights as the pre-training did.
        balanced_predictions: Whether the network's predictions keep the weights' preference for
            rare classes. By default the loss makes up for it (`task_loss`), and the network gives
            the probability that a pixel is of a class.
        flip: Mirror every other image. Mirrored scenes are scenes of a country that drives on the
            other side; that helps if target cities do, and no target image is used for it.
        smallest_crop: Side of the smallest random window that is scaled back to full size, as a
            fraction; 1 cuts nothing.
        freeze_batch_norm: Keep the batch-norm statistics as they are.
    """

    steps: int
    batch_size: int
    learning_rate: float
    accumulation: int = 1
    optimiser: Optimiser = "adam"
    momentum: float = 0.9
    weight_decay: float = 1e-4
    schedule: Schedule = "cosine"
    warm_up: float = 0.05
    class_balance: float = 0.0
    balanced_predictions: bool = False
    flip: bool = True
    smallest_crop: float = 1.0
    freeze_batch_norm: bool = False

    def __post_init__(self) -> None:
        positive("steps", self.steps)
        positive("batch_size", self.batch_size)
        positive("accumulation", self.accumulation)
        positive("learning_rate", self.learning_rate)
        one_of("optimiser", self.optimiser, get_args(Optimiser))
        one_of("schedule", self.schedule, get_args(Schedule))
        fraction("momentum", self.momentum, below_one=True)
        fraction("warm_up", self.warm_up, below_one=True)
        fraction("class_balance", self.class_balance)
        at_least_zero("weight_decay", self.weight_decay)
        share("smallest_crop", self.smallest_crop)


@dataclass(frozen=True)
class PretrainingSettings(SupervisedSettings):
    """How the source segmenter is trained; the defaults suit `compact` on two cores.

    They were chosen by the mIoU on validation places of the simulated source city alone
    (`benchmarks/results/pretraining_defaults.md`).

    Attributes:
        until: "steps": so many as are set. "plateau": until the mIoU on the source's validation
            images has not risen for a while; then the learning rate, constant till then, falls to 0
            in a last stretch, and the weights that validated best are taken. `steps` is then the
            limit, and `schedule` is not read.
        validate_every: Steps between two looks at the validation images.
        patience: Looks without a gain after which a plateau is reached.
        least_gain: mIoU, in [0, 1], that counts as a gain.
        cooldown: Length of the last stretch, as a share of the steps before it.
        jitter: Strength of other lights and lenses (`crosscity.adaptation.photometric`): gain,
            contrast, gamma, saturation, colour cast, blur and noise; 0 changes nothing.
        average: Momentum of an average of the weights, which is what is validated and delivered;
            0: the last weights.
        prediction_rule: How the trained network predicts
            (`crosscity.segmenters.prediction_rule`). "auto": by the rule that has the highest mIoU
            on the source's validation images; without such images by the network's own, which is
            "weighted" with `balanced_predictions` and "plain" else.
    """

    steps: int = 800
    batch_size: int = 8
    learning_rate: float = 5e-3
    class_balance: float = 0.5
    until: Until = "steps"
    validate_every: int = 100
    patience: int = 4
    least_gain: float = 0.002
    cooldown: float = 0.25
    jitter: float = 0.0
    average: float = 0.0
    prediction_rule: PredictionRule = "auto"

    def __post_init__(self) -> None:
        super().__post_init__()
        one_of("until", self.until, get_args(Until))
        one_of("prediction_rule", self.prediction_rule, get_args(PredictionRule))
        positive("validate_every", self.validate_every)
        positive("patience", self.patience)
        fraction("least_gain", self.least_gain)
        fraction("cooldown", self.cooldown)
        fraction("jitter", self.jitter)
        fraction("average", self.average, below_one=True)


@dataclass(frozen=True)
class FineTuningSettings(SupervisedSettings):
    """How a segmenter is trained on labels of the target city; the defaults suit `compact`.

    `FINE_TUNING_PRESETS` has them for each preset of the adaptation.
    """

    steps: int = 150
    batch_size: int = 8
    learning_rate: float = 1e-3
    class_balance: float = 0.5


@dataclass(frozen=True)
class AdaptationSettings:
    """How a segmenter is adapted to a city without labels (paper, Sec. 4).

    The feature step minimises one summed loss L_task + λ_G L_G^Dinv + λ_class L_class^Dinv with one
    optimiser, so λ are real weights. (Adam is invariant to the scale of a loss that has an
    optimiser of its own; there λ would do nothing.) The discriminators have their own Adam.

    Attributes:
        arm: What is done; see `Arm`.
        steps: Updates of the segmenter.
        batch_size: Source images, and as many target images, that go through the network at once.
        accumulation: Batches whose gradients are added up before an update.
        learning_rate: Adam's, of the segmenter, at its highest.
        schedule: Of the segmenter's learning rate: "constant", as in the paper, "cosine" (to 0), or
            "poly"; the discriminators' stays. At a constant rate the order of the last images moves
            a small network's mIoU by more than an arm does.
        betas: Adam's.
        lambda_global: λ_G at the end of its ramp.
        lambda_class: λ_class at the end of its ramp.
        lambda_self: Weight of the loss on predicted labels at the end of its ramp; read by the arm
            `self_training` alone.
        label_shift: Weigh source cells in the global losses by how often their classes occur in the
            target, as the first segmenter predicts it (`crosscity.adaptation.label_shift`). The
            paper weighs all cells alike.
        teacher_momentum: φ of target images comes from a copy of the segmenter that keeps this
            share of itself in every step; 0: from the segmenter as it is, as in the paper.
        ramp_steepness: k of λ(t) = λ_max (2 / (1 + exp(-k t/T)) - 1).
        ca_start: Fraction of the steps after which class-wise alignment, discriminators included,
            begins; its ramp runs over what is left. Class-wise alignment from a weak start does
            harm, so it should begin after global alignment.
        class_reduction: Whether eq. 9 and 10 are summed over the classes, as they stand, or
            averaged (the sum divided by C). The sum at λ_class 0.5 collapsed a small network.
        class_feature_loss: What the features minimise in the class-wise part: "inverse" is
            L_class^Dinv (eq. 10), "confusion" is (L_class^D + L_class^Dinv) / 2.
        phi_floor: Target probabilities φ below it are set to 0 before pooling to the grid. Eq. 8
            blows up the tail of a class: 1 % of "traffic light" on every building cell would become
            that class's whole target sample. 0 is the equation as it stands.
        discriminator_hidden: Channels of the hidden layers of each discriminator.
        discriminator_dropout: After each hidden layer.
        global_discriminator_rate: Learning rate of the global discriminator, as a multiple of
            `learning_rate`.
        class_discriminator_rate: The same for the class-wise discriminators.
        class_balance: Exponent of the class weights of L_task, as in the pre-training.
        balanced_predictions: As in the pre-training.
        flip: Mirror every other image, priors included.
        domain_means: Subtract from target images their own RGB mean instead of the source's; the
            adapted segmenter carries the target mean.
        on_collapse: What happens when a discriminator knows the domains of all cells, or the task
            loss has doubled (`CollapseWatch`): "stop" ends the training with an error, so that
            nothing is trained on a gradient that says nothing; "warn" notes it in every row.
    """

    arm: Arm = "full"
    steps: int = 750
    batch_size: int = 4
    accumulation: int = 1
    learning_rate: float = 5e-6
    schedule: Schedule = "constant"
    betas: tuple[float, float] = (0.9, 0.999)
    lambda_global: float = 0.1
    lambda_class: float = 0.5
    lambda_self: float = 1.0
    label_shift: bool = False
    teacher_momentum: float = 0.0
    ramp_steepness: float = 10.0
    ca_start: float = 0.0
    class_reduction: ClassReduction = "mean"
    class_feature_loss: ClassFeatureLoss = "inverse"
    phi_floor: float = 0.0
    discriminator_hidden: tuple[int, ...] = (1024, 1024)
    discriminator_dropout: float = 0.5
    global_discriminator_rate: float = 1.0
    class_discriminator_rate: float = 1.0
    class_balance: float = 0.0
    balanced_predictions: bool = False
    flip: bool = False
    domain_means: bool = False
    on_collapse: OnCollapse = "stop"

    def __post_init__(self) -> None:
        # Lists come from YAML and JSON.
        object.__setattr__(self, "betas", tuple(self.betas))
        object.__setattr__(self, "discriminator_hidden", tuple(self.discriminator_hidden))
        one_of("arm", self.arm, ARMS)
        one_of("schedule", self.schedule, get_args(Schedule))
        one_of("class_reduction", self.class_reduction, get_args(ClassReduction))
        one_of("class_feature_loss", self.class_feature_loss, get_args(ClassFeatureLoss))
        one_of("on_collapse", self.on_collapse, get_args(OnCollapse))
        for name in ("steps", "batch_size", "accumulation", "learning_rate", "ramp_steepness"):
            positive(name, getattr(self, name))
        for name in ("global_discriminator_rate", "class_discriminator_rate"):
            positive(name, getattr(self, name))
        for name in ("lambda_global", "lambda_class", "lambda_self"):
            at_least_zero(name, getattr(self, name))
        fraction("ca_start", self.ca_start, below_one=True)
        fraction("teacher_momentum", self.teacher_momentum, below_one=True)
        fraction("phi_floor", self.phi_floor, below_one=True)
        fraction("discriminator_dropout", self.discriminator_dropout, below_one=True)
        fraction("class_balance", self.class_balance)
        if len(self.betas) != 2 or not all(0 <= beta < 1 for beta in self.betas):
            raise ValueError(f"betas must be two numbers in [0, 1), not {self.betas}")
        if not all(channels >= 1 for channels in self.discriminator_hidden):
            raise ValueError(
                f"discriminator_hidden must be positive numbers of channels, not "
                f"{self.discriminator_hidden}"
            )


PRESETS: Final[dict[str, AdaptationSettings]] = {
    "paper": AdaptationSettings(
        steps=2000,
        batch_size=16,
        class_reduction="sum",
    ),
    "lab": AdaptationSettings(
        steps=750,
        batch_size=4,
        accumulation=4,
        ca_start=2 / 3,
        class_reduction="sum",
        class_feature_loss="confusion",
        global_discriminator_rate=10.0,
        class_discriminator_rate=20.0,
        domain_means=True,
    ),
    "demo": AdaptationSettings(
        steps=150,
        batch_size=4,
        learning_rate=5e-4,
        schedule="cosine",
        lambda_global=0.03,
        lambda_class=0.03,
        lambda_self=0.3,
        label_shift=True,
        teacher_momentum=0.99,
        ca_start=0.3,
        phi_floor=0.3,
        discriminator_hidden=(64,),
        discriminator_dropout=0.0,
        global_discriminator_rate=10.0,
        class_discriminator_rate=10.0,
        class_balance=0.5,
        flip=True,
        on_collapse="warn",
    ),
}
"""Settings by name; `dataclasses.replace` sets the arm.

- `paper`: Sec. 5.1 of the paper. It does not say how many steps, what the discriminators look like
  and whether 16 images are of each domain; here 2000 (its fine-tuning's), the lab's discriminators
  at the network's learning rate, and 16 of each.
- `lab`: the public preset of the authors' lab.
- `demo`: for `compact` at 256×128. Chosen by the mIoU on 150 validation places of one simulated
  city (tokyo), with one pre-trained segmenter and priors from matching; no test place and
  no other city was used (`benchmarks/results/demo_preset.md`).
- `best`: for the segmenter that comes along (`street`) at 256×512, which `self_training` takes
  furthest; chosen on 60 validation places of the same city. Few steps, as a demo has no time for
  more.
"""
PRESETS["best"] = replace(PRESETS["demo"], steps=60, learning_rate=1e-4)


def _fine_tuning_beside(preset: AdaptationSettings) -> FineTuningSettings:
    """The paper's fine-tuning, with the images and the rate of an adaptation."""
    return FineTuningSettings(
        steps=2000,
        batch_size=preset.batch_size,
        accumulation=preset.accumulation,
        learning_rate=preset.learning_rate,
        optimiser="adam",
        weight_decay=0.0,
        schedule="constant",
        warm_up=0.0,
        class_balance=preset.class_balance,
        flip=preset.flip,
    )


FINE_TUNING_PRESETS: Final[dict[str, FineTuningSettings]] = {
    "paper": _fine_tuning_beside(PRESETS["paper"]),
    "lab": _fine_tuning_beside(PRESETS["lab"]),
    "demo": FineTuningSettings(),
    "best": FineTuningSettings(steps=60, batch_size=4, learning_rate=3e-4),
}
"""Settings of the fine-tuned bound, by the name of the adaptation's preset.

- `paper`: 2000 steps are the paper's (Sec. 5.3), as are the mini-batch of 16 and Adam with 5e-6,
  0.9 and 0.999 (Sec. 5.1, "in the following experiments"). That the rate is constant, that nothing
  decays (at 0, "adam" is plain Adam), that classes weigh alike and nothing is mirrored, is what the
  preset's adaptation does; the paper says nothing of it.
- `lab`: 2000 steps are the paper's, as the lab's public preset has no fine-tuning; all else is what
  the preset's adaptation does with the segmenter (4 images × 4 batches a step, Adam with 5e-6).
- `demo`: what suits `compact` at 256×128.
"""
