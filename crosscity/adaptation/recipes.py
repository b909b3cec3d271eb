"""Recipes: which objectives an adaptation minimises, with which weights, and what they look at.

    L(t) = Σ_k λ_k(t) L_k

The arms of the paper and ours are recipes by name; a recipe of one's own is given to `Adaptation`,
or named in the catalog (docs/extending.md).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Final, Literal, get_args

from crosscity.adaptation.schedule import ramp
from crosscity.adaptation.settings import AdaptationSettings, Arm

Prior = Literal["none", "veto", "evidence", "probability"]
"""What the static prior does to predictions on target images: nothing; it deletes classes that move
(eq. 12); it counts as evidence (`prior_evidence`); or its probability is a weight
(`prior_probability`)."""
Ramp = Literal["rising", "constant"]
Sampling = Literal["uniform", "rare_classes"]
_TRAINABLE: Final = re.compile(
    r"all|statistics|head|last: ?[1-9][0-9]{0,3}|lora(: ?[1-9][0-9]{0,2})?"
)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


@dataclass(frozen=True)
class Term:
    """An objective in a recipe.

    Attributes:
        objective: Its name (`crosscity.adaptation.objectives.find_objective`).
        weight: λ at the end of its ramp: a number, or the setting that has it; ``None``: always 1,
            without a ramp or a column of its own.
        column: Of the history, for λ.
        start: Fraction of the steps before which it rests, its adversary too: a number, or the
            setting that has it.
        ramp: Whether λ rises as λ_G does, or is there from the start.
        options: Of the objective, by name; its class says which there are.
    """

    objective: str
    weight: float | str | None = None
    column: str = ""
    start: float | str = 0.0
    ramp: Ramp = "rising"
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        known = {each.name for each in fields(AdaptationSettings) if _is_number(each.default)}
        for what, value in (("weight", self.weight), ("start", self.start)):
            if isinstance(value, str) and value not in known:
                raise ValueError(
                    f"the {what} of the objective {self.objective!r} is {value!r}, which is not "
                    "a setting of an adaptation that is a number: write a number or the name of "
                    "such a setting"
                )
            if isinstance(value, int | float) and not value >= 0:
                raise ValueError(
                    f"the {what} of the objective {self.objective!r} must be at least 0, not "
                    f"{value}"
                )
        if not isinstance(self.start, str) and self.start >= 1:
            raise ValueError(
                f"the start of the objective {self.objective!r} is a share of the steps, and at "
                f"{self.start:g} it never begins: write a number below 1"
            )
        if self.ramp not in get_args(Ramp):
            raise ValueError(
                f"the ramp of the objective {self.objective!r} must be rising or constant, not "
                f"{self.ramp!r}"
            )
        if self.weight is not None and not self.column:
            name = self.objective.rpartition(":")[2]
            object.__setattr__(self, "column", f"lambda_{name}")

    def is_active(self, step: int, settings: AdaptationSettings) -> bool:
        """Whether the objective has begun."""
        return step >= _value(self.start, settings) * settings.steps

    def weight_at(self, step: int, settings: AdaptationSettings) -> float:
        """λ(t)."""
        if self.weight is None:
            return 1.0
        if self.ramp == "constant":
            return _value(self.weight, settings) if self.is_active(step, settings) else 0.0
        rise = ramp(
            step,
            settings.steps,
            steepness=settings.ramp_steepness,
            start=_value(self.start, settings),
        )
        return _value(self.weight, settings) * rise


@dataclass(frozen=True)
class Recipe:
    """What an adaptation minimises.

    Attributes:
        terms: The objectives, in the order in which they are added up.
        uses_prior: Whether predictions on target images are refined by the static prior.
        trainable: What moves: "all" parameters; no parameter, and batch-norm "statistics" are
            estimated anew; the "head" alone (`classify`); or "last: N" layers of the features, and
            the head.
            "lora" or "lora: R" moves low-rank changes of the linear layers (`low_rank`).
        evidence: Whether the prior counts as evidence, and not as a veto (eq. 12).
        probability: Whether the probability that a pixel is static counts, and not the mask.
        static_from: Where that probability reaches this, a pixel is of P_static (eq. 12); ``None``
            takes it as a weight.
        source_sampling: Which source images are read: each as often, or those of rare classes more
            often (`rare_class_sampling`).
    """

    terms: tuple[Term, ...] = ()
    uses_prior: bool = False
    trainable: str = "all"
    evidence: bool = False
    source_sampling: Sampling = "uniform"
    probability: bool = False
    static_from: float | None = None

    def __post_init__(self) -> None:
        names = [term.objective for term in self.terms]
        if len(set(names)) != len(names):
            raise ValueError(f"a recipe has each objective once, not {', '.join(names)}")
        if not _TRAINABLE.fullmatch(self.trainable):
            raise ValueError(
                "trainable must be one of all, statistics, head, last: N, lora, not "
                f"{self.trainable!r}"
            )
        if (self.trainable != "statistics") != bool(self.terms):
            raise ValueError(
                "a recipe that trains needs an objective, and one that estimates statistics has "
                "none"
            )
        starts = [term.start for term in self.terms]
        if starts and all(not isinstance(start, str) and start > 0 for start in starts):
            raise ValueError(
                f"no objective of the recipe begins before {min(map(float, starts)):g} of the "
                "steps, and the first step needs one: let one start at 0"
            )
        if self.evidence and not self.uses_prior:
            raise ValueError("a recipe without the prior has no evidence from it")
        if self.probability and (self.evidence or not self.uses_prior):
            raise ValueError("the prior is a mask, evidence or a probability, and one of them")
        if self.static_from is not None and not (self.probability and 0 < self.static_from <= 1):
            raise ValueError(
                "static_from is a threshold in (0, 1] of the prior's probability, not "
                f"{self.static_from} of {self.prior}"
            )
        if self.source_sampling not in get_args(Sampling):
            known = ", ".join(get_args(Sampling))
            raise ValueError(
                f"source_sampling must be one of {known}, not {self.source_sampling!r}"
            )

    @property
    def prior(self) -> Prior:
        """What the static prior does."""
        if not self.uses_prior:
            return "none"
        if self.probability:
            return "probability"
        return "evidence" if self.evidence else "veto"

    @property
    def estimates_statistics(self) -> bool:
        """Whether nothing is trained, and batch-norm statistics are estimated anew."""
        return self.trainable == "statistics"


_TASK: Final = Term("source_task")
_GLOBAL: Final = Term("global_alignment", "lambda_global", "lambda_global")
_CLASSES: Final = Term("class_alignment", "lambda_class", "lambda_class", "ca_start")
_SELF: Final = Term("self_training", "lambda_self", "lambda_self")

RECIPES: Final[dict[Arm, Recipe]] = {
    "control": Recipe((_TASK,)),
    "bn": Recipe(trainable="statistics"),
    "ga": Recipe((_TASK, _GLOBAL)),
    "ga_ca": Recipe((_TASK, _GLOBAL, _CLASSES)),
    "full": Recipe((_TASK, _GLOBAL, _CLASSES), uses_prior=True),
    "self_training": Recipe((_TASK, _GLOBAL, _CLASSES, _SELF), uses_prior=True),
}
"""The recipe of every arm."""

ARMS_WITH_PRIOR: Final = tuple(arm for arm, recipe in RECIPES.items() if recipe.uses_prior)
"""Arms that refine predictions by the static prior."""


def _value(given: float | str, settings: AdaptationSettings) -> float:
    return float(getattr(settings, given)) if isinstance(given, str) else given
