"""Recipes of the catalog: what an adaptation minimises, as data (docs/extending.md)."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal, Self, get_args

from pydantic import Field, StringConstraints, model_validator

from adapters.catalog.entry import Entry, Seed
from crosscity.named_function import PREFIX

Arm = Literal[
    "control",
    "bn",
    "ga",
    "ga_ca",
    "full",
    "self_training",
    "source_free",
    "source_free_looks",
    "fine_tuned",
]
"""What adapt-city can run beside recipes (tasks.training.arms)."""
Way = Literal["none", "adaptation", "source_free", "fine_tuning"]
"""How an arm comes to its segmenter, which is also the section of its settings: by no training, by
an adaptation with images of the source or without, or by training on all labels of the target."""
WAYS: Final[dict[str, Way]] = {
    **dict.fromkeys(get_args(Arm), "adaptation"),
    "pretrained": "none",
    "source_free": "source_free",
    "source_free_looks": "source_free",
    "fine_tuned": "fine_tuning",
}
"""Every arm, and so all names that no recipe may have."""
RecipeName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")]
SettingOrNumber = Annotated[float, Field(ge=0)] | str


class ObjectiveEntry(Entry):
    """A loss of a recipe, with its weight and its course."""

    objective: str | None = Field(
        default=None, description="one of crosscity.adaptation.objectives: source_task, ..."
    )
    python: (
        Annotated[
            str,
            Field(pattern=r"^[A-Za-z_][A-Za-z0-9_.]*:[A-Za-z_][A-Za-z0-9_]*$"),
        ]
        | None
    ) = Field(
        default=None, description="a class of your own package: my_package.my_module:Objective"
    )
    weight: SettingOrNumber | None = Field(
        default=None,
        description="a number, or the adaptation setting that has it (lambda_self); null: 1",
    )
    ramp: Literal["rising", "constant"] = Field(
        default="rising", description="whether the weight rises from 0 or is there at once"
    )
    start: SettingOrNumber = Field(
        default=0.0,
        description="share of the steps before which it rests, or the setting that has it",
    )
    options: dict[str, Any] = Field(
        default_factory=dict, description="of the objective; its class says which there are"
    )

    @property
    def name(self) -> str:
        """As `crosscity.adaptation.objectives.find_objective` takes it."""
        return f"{PREFIX}{self.python}" if self.objective is None else self.objective

    @model_validator(mode="after")
    def _one_objective(self) -> Self:
        if (self.objective is None) == (self.python is None):
            raise ValueError("give either objective or python")
        if self.weight is None and self.ramp == "constant":
            raise ValueError("without a weight there is nothing to rise: remove ramp")
        return self


class FewLabelsEntry(Entry):
    """Labels of a few places of the target that a recipe learns from."""

    places: int = Field(ge=1, description="how many labelled places")
    chosen: Literal["suggested", "random"] = Field(
        default="suggested",
        description="suggested: where the two times and two segmenters disagree, spread over the "
        "area (as `crosscity suggest` ranks them); random: by the seed",
    )
    seed: Seed = Field(default=0, description="of a random choice")
    dataset: RecipeName | None = Field(
        default=None,
        description="the data set that has the labels (its split train), as they come back from "
        "annotation; null: the labels of the city's or the transfer's own training images",
    )


class RecipeEntry(Entry):
    """What an adaptation minimises; run by `--arm <its name>`."""

    objectives: list[ObjectiveEntry] = Field(
        default_factory=list, description="in the order in which they are added up"
    )
    prior: Literal["none", "veto", "evidence", "probability"] = Field(
        default="none",
        description="what the static prior does to predictions on target images: nothing; it "
        "deletes classes that move (eq. 12); it counts as evidence, by flag_rates; or its "
        "calibrated probability is a weight",
    )
    static_from: Annotated[float, Field(gt=0, le=1)] | None = Field(
        default=None,
        description="of prior: probability, from which on a pixel counts as static, as eq. 12 has "
        "it; null: no threshold, the probability is the weight",
    )
    flag_rates: dict[str, Annotated[float, Field(gt=0, le=1)]] = Field(
        default_factory=dict,
        description="of prior: evidence, for each class how often the prior flags its pixels, as "
        "measured on labelled pairs; a class that is not here counts as their mean",
    )
    flag_rates_of: RecipeName | None = Field(
        default=None,
        description="in place of flag_rates: a city of the catalog with labels of training places, "
        "whose static priors they are measured on",
    )
    trainable: str = Field(
        default="all",
        pattern=r"^(all|statistics|head|last: ?[1-9][0-9]{0,3}|lora(: ?[1-9][0-9]{0,2})?)$",
        description="all; statistics (of batch norm, nothing is trained); head; last: N layers; "
        "lora, or lora: R (low-rank changes of a network with attention; the extra [lora])",
    )
    source_sampling: Literal["uniform", "rare_classes"] = Field(
        default="uniform", description="rare_classes: source images of rare classes more often"
    )
    teacher: RecipeName | None = Field(
        default=None,
        description="a segmenter of the catalog with the same classes, which predicts in place of "
        "a slow copy (teacher_momentum in settings)",
    )
    labels: FewLabelsEntry | None = Field(
        default=None, description="of the objective few_labels: which labels there are"
    )
    settings: dict[str, bool | int | float | str | list[float]] = Field(
        default_factory=dict,
        description="fields of AdaptationSettings that differ from the training's: schedule, "
        "steps, teacher_momentum, ...",
    )

    @model_validator(mode="after")
    def _parts_meet(self) -> Self:
        names = [one.name for one in self.objectives]
        if len(set(names)) != len(names):
            raise ValueError(f"a recipe has each objective once, not {', '.join(names)}")
        if (self.trainable != "statistics") != bool(self.objectives):
            raise ValueError(
                "a recipe that trains needs objectives, and one that estimates statistics has none"
            )
        if ("few_labels" in names) != (self.labels is not None):
            raise ValueError("labels and the objective few_labels belong together: give both")
        rates = bool(self.flag_rates) + (self.flag_rates_of is not None)
        if rates != (1 if self.prior == "evidence" else 0):
            raise ValueError(
                "prior: evidence and flag_rates or flag_rates_of belong together: give one of both"
            )
        if self.static_from is not None and self.prior != "probability":
            raise ValueError("static_from is a threshold of prior: probability; leave it out")
        if self.labels is not None and self.labels.dataset and self.labels.chosen == "suggested":
            raise ValueError(
                "labels of a data set are not places of the city that could be ranked: write "
                "chosen: random"
            )
        return self


def _few(*terms: str) -> RecipeEntry:
    """Sixteen suggested places beside everything that is unlabelled."""
    weights = {"self_training": "lambda_self"}
    objectives = [ObjectiveEntry(objective=name, weight=weights.get(name)) for name in terms]
    return RecipeEntry(objectives=objectives, labels=FewLabelsEntry(places=16))


_FLAG_RATES: Final = {
    **{"road": 0.61, "sidewalk": 0.47, "building": 0.64, "wall": 0.29, "fence": 0.43},
    **{"pole": 0.53, "traffic light": 0.76, "traffic sign": 0.61, "vegetation": 0.78},
    **{"terrain": 0.63, "sky": 0.56, "person": 0.35, "rider": 0.13, "car": 0.13, "truck": 0.02},
    **{"bus": 0.02, "train": 0.02, "motorcycle": 0.15, "bicycle": 0.17},
}
"""How often the prior flags pixels of each class, by labelled pairs of a simulated city that is no
target (`frankfurt`, `benchmarks/street_arms.py`); from city to city they differ little."""


def _with_teacher(objective: str = "self_training") -> list[ObjectiveEntry]:
    """Labels of the source, and those of the teacher on target images."""
    return [
        ObjectiveEntry(objective="source_task"),
        ObjectiveEntry(objective=objective, weight="lambda_self"),
    ]


BUILT_IN_RECIPES: Final[dict[str, RecipeEntry]] = {
    "teacher": RecipeEntry(objectives=_with_teacher()),
    "evidence": RecipeEntry(
        objectives=_with_teacher(), prior="evidence", flag_rates=dict(_FLAG_RATES)
    ),
    "looks": RecipeEntry(
        objectives=_with_teacher("two_looks"), prior="evidence", flag_rates=dict(_FLAG_RATES)
    ),
    "few_labels": _few("source_task", "self_training", "few_labels"),
    "few_labels_source_free": _few("self_training", "few_labels"),
}
"""Recipes that every catalog has; an entry of the same name takes their place."""
