"""Recipes of objectives: the arms are data, and so is one of one's own."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from torch.nn import functional

from crosscity.adaptation import (
    ARMS,
    ARMS_WITH_PRIOR,
    RECIPES,
    Adaptation,
    AdaptationSettings,
    DivergedError,
    FineTuning,
    FineTuningSettings,
    LabelledArrays,
    Recipe,
    StateError,
    TargetArrays,
    Term,
)
from crosscity.adaptation.objectives import (
    OBJECTIVES,
    Adversary,
    Objective,
    Surroundings,
    View,
    find_objective,
)
from crosscity.adaptation.objectives.base import checked_options
from crosscity.segmenters import Segmenter, build_segmenter

PAGE = Path(__file__).resolve().parents[3] / "docs" / "extending.md"
PACKAGE = Path(__file__).resolve().parents[3] / "crosscity" / "adaptation"
RANDOM = np.random.default_rng(4)
SOURCE = LabelledArrays(
    RANDOM.integers(0, 256, (4, 16, 24, 3), dtype=np.uint8),
    RANDOM.integers(0, 19, (4, 16, 24), dtype=np.uint8),
)
TARGET = TargetArrays(
    RANDOM.integers(0, 256, (4, 16, 24, 3), dtype=np.uint8), RANDOM.random((4, 16, 24)) < 0.5
)
SETTINGS = AdaptationSettings(
    steps=4, batch_size=2, learning_rate=1e-3, discriminator_hidden=(6,), ca_start=0.5
)


def segmenter() -> Segmenter:
    return build_segmenter("compact", {"width": 8, "dilations": [1]}, seed=2)


def adaptation(recipe: Recipe | None = None, **changes: object) -> Adaptation:
    settings = replace(SETTINGS, **changes)
    return Adaptation(segmenter(), SOURCE, TARGET, settings, 0, recipe=recipe)


class Entropy(Objective):
    """L = mean H(φ) of target images."""

    name = "entropy"
    needs = frozenset({"target"})
    rows = ("entropy_loss",)

    def loss(self, view: View) -> torch.Tensor:
        phi = functional.softmax(self.segmenter.classify(view.target_features), dim=1)
        loss = -(phi * phi.clamp_min(1e-9).log()).sum(1).mean()
        self.record("entropy_loss", loss)
        return loss


class Broken(Entropy):
    name = "broken"
    rows = ()

    def loss(self, view: View) -> torch.Tensor:
        return self.segmenter.classify(view.target_features)


class Failing(Entropy):
    name = "failing"
    rows = ()

    def loss(self, view: View) -> torch.Tensor:
        return super().loss(view) * {}["weight"]


class FailingFirst(Entropy):
    name = "failing first"
    rows = ()

    def prepare(self, view: View) -> torch.Tensor:
        raise LookupError(f"{len(view.batch.target)} images")


class FailingAtOnce(Entropy):
    name = "failing at once"

    def __init__(self, surroundings: Surroundings) -> None:
        super().__init__(surroundings)
        raise KeyError("options")


class Detached(Entropy):
    name = "detached"
    rows = ()

    def loss(self, view: View) -> torch.Tensor:
        return view.target_features.detach().mean()


class Misspelt(Entropy):
    name = "misspelt"
    needs = frozenset({"targets"})


class Needless(Entropy):
    needs = None  # type: ignore[assignment]


class NeedsAWord(Entropy):
    needs = "target"  # type: ignore[assignment]


class Unfinished(Objective):
    name = "unfinished"


class RowsOfLetters(Entropy):
    rows = "entropy_loss"  # type: ignore[assignment]


class PlainOptions(Entropy):
    class Options:
        sure: float = 0.9


class FailingOptions(Entropy):
    name = "failing options"

    @dataclass(frozen=True)
    class Options:
        sure: float = 0.9

        def __post_init__(self) -> None:
            raise KeyError("sure")


class OfPredictions(Entropy):
    """Mistakes the view's predictions, which have no gradient, for what the segmenter makes."""

    name = "of predictions"
    needs = frozenset({"predictions"})
    rows = ()

    def loss(self, view: View) -> torch.Tensor:
        assert view.predictions is not None
        phi = view.predictions
        return -(phi * phi.clamp_min(1e-9).log()).sum(1).mean()


class Nothing(Entropy):
    """Learns nothing from a batch, as where no two looks are matched."""

    name = "nothing"
    rows = ()

    def loss(self, view: View) -> torch.Tensor:
        return torch.zeros((), device=view.target_features.device)


class ChangesFeatures(Entropy):
    name = "changes features"

    def loss(self, view: View) -> torch.Tensor:
        view.target_features.mul_(0.5)
        return super().loss(view)


class FailingAdversary(Entropy):
    name = "failing adversary"

    def adversary(self) -> Adversary:
        network = torch.nn.Linear(2, 2)
        optimiser = torch.optim.Adam(network.parameters())

        def loss(view: View) -> torch.Tensor:
            raise LookupError(f"{len(view.batch.target)} images")

        return Adversary("failing", network, optimiser, loss)


class Namesake(Entropy):
    name = "self_training"


class NotFinite(Entropy):
    name = "not_finite"
    rows = ()

    def loss(self, view: View) -> torch.Tensor:
        return super().loss(view) * float("nan")


def test_every_arm_is_a_recipe_of_objectives_that_there_are() -> None:
    assert set(RECIPES) == set(ARMS)
    for recipe in RECIPES.values():
        assert [find_objective(term.objective).name for term in recipe.terms] == [
            term.objective for term in recipe.terms
        ]
    assert set(ARMS_WITH_PRIOR) == {"full", "self_training"}
    assert {t.objective for recipe in RECIPES.values() for t in recipe.terms} <= set(OBJECTIVES)


def test_no_step_asks_which_arm_it_is() -> None:
    for path in PACKAGE.rglob("*.py"):
        assert not re.search(r"\barm\s*(==|!=|in\b|not in\b)", path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("arm", ARMS)
def test_a_recipe_that_is_given_is_that_of_the_arm_of_its_name(arm: str) -> None:
    """What the settings call the arm plays no part beside the recipe."""
    named, given = adaptation(arm=arm), adaptation(RECIPES[arm], arm="control")
    named.advance(4)
    given.advance(4)
    for one, other in zip(
        named.segmenter.state_dict().values(), given.segmenter.state_dict().values(), strict=True
    ):
        assert torch.equal(one, other)


def test_an_objective_of_ones_own_moves_what_it_is_about() -> None:
    name = f"python:{__name__}:Entropy"
    recipe = Recipe((Term("source_task"), Term(name, weight=5.0)))
    rows = adaptation(recipe, steps=30, learning_rate=1e-2).advance(30)
    plain = Recipe((Term("source_task"), Term(name, weight=0.0)))
    unmoved = adaptation(plain, steps=30, learning_rate=1e-2).advance(30)
    assert rows[0]["lambda_Entropy"] == 0
    assert rows[-1]["lambda_Entropy"] > 4
    assert rows[-1]["entropy_loss"] < 0.8 * unmoved[-1]["entropy_loss"]


def test_an_objective_rests_until_its_start_with_its_adversary() -> None:
    training = adaptation(arm="ga_ca")
    adversary = training._modules()["class_discriminators"]
    before = [p.detach().clone() for p in adversary.parameters()]
    first = training.advance(2)
    assert all(torch.equal(a, b) for a, b in zip(before, adversary.parameters(), strict=True))
    assert all(row["class_inverse_loss"] is None and row["lambda_class"] == 0 for row in first)
    last = training.advance(2)
    assert any(not torch.equal(a, b) for a, b in zip(before, adversary.parameters(), strict=True))
    assert all(row["class_inverse_loss"] is not None for row in last)
    assert list(first[0]) == list(last[0])


def test_a_loss_that_is_not_a_number_is_reported_with_the_objectives_name() -> None:
    recipe = Recipe((Term("source_task"), Term(f"python:{__name__}:Broken", weight=1.0)))
    with pytest.raises(ValueError, match=r"objective 'broken' gave a tensor \(2, 19, 2, 3\)"):
        adaptation(recipe).advance(1)


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("Failing", "the objective 'failing' raised KeyError: 'weight'"),
        ("FailingFirst", "the objective 'failing first' raised LookupError: 2 images"),
        ("FailingAtOnce", "the objective 'failing at once' raised KeyError: 'options'"),
    ],
)
def test_an_objective_of_ones_own_that_raises_is_named(kind: str, said: str) -> None:
    recipe = Recipe((Term("source_task"), Term(f"python:{__name__}:{kind}", weight=1.0)))
    with pytest.raises(ValueError, match=said):
        adaptation(recipe).advance(1)


@pytest.mark.parametrize(
    "objective", [name for name, kind in OBJECTIVES.items() if kind.of_features]
)
def test_what_moves_features_alone_is_refused_where_they_stay(objective: str) -> None:
    recipe = Recipe((Term("source_task"), Term(objective, weight=1.0)), trainable="head")
    with pytest.raises(
        ValueError, match=f"'{objective}' moves features alone, and trainable: head"
    ):
        adaptation(recipe)


def test_what_one_training_kept_the_next_one_may_move() -> None:
    first = adaptation(Recipe((Term("source_task"),), trainable="head"), steps=2)
    first.advance(1)
    network = first.segmenter
    assert not next(network.parameters()).requires_grad
    first.advance(1)
    before = [each.detach().clone() for each in network.parameters()]
    FineTuning(network, SOURCE, FineTuningSettings(steps=2, batch_size=2), 0).advance(2)
    pairs = zip(before, network.parameters(), strict=True)
    assert not any(torch.equal(one, other) for one, other in pairs)


def test_images_a_step_are_those_of_the_sets_that_are_read() -> None:
    alone, few = (
        Recipe((Term("self_training"),)),
        Recipe((Term("self_training"), Term("few_labels"))),
    )
    settings = replace(SETTINGS, batch_size=2, accumulation=3)
    target = Adaptation(segmenter(), None, TARGET, settings, 0, recipe=alone)
    labelled = Adaptation(segmenter(), None, TARGET, settings, 0, recipe=few, labelled=SOURCE)
    both = Adaptation(segmenter(), SOURCE, TARGET, settings, 0)
    assert [one.images_a_step for one in (target, labelled, both)] == [6, 9, 12]


def test_a_loss_that_depends_on_nothing_that_moves_is_reported() -> None:
    recipe = Recipe((Term(f"python:{__name__}:Detached", weight=1.0),))
    with pytest.raises(ValueError, match=r"'detached' is .* nothing that is trainable \(all\)"):
        adaptation(recipe).advance(1)
    recipe = Recipe((Term(f"python:{__name__}:Nothing", weight=1.0),))
    with pytest.raises(ValueError, match=r"by step 0 depends on what is trainable \(all\)"):
        adaptation(recipe).advance(1)


def test_a_loss_that_moves_nothing_is_refused_beside_others_that_do() -> None:
    """It was added up to the end of the training, and the segmenter had not seen any of it."""
    task = Term("source_task")
    recipe = Recipe((task, Term(f"python:{__name__}:OfPredictions", weight=1.0)))
    with pytest.raises(ValueError, match=r"'of predictions' is .* in step 0 .* move nothing"):
        adaptation(recipe).advance(1)
    headed = Recipe((task, Term(f"python:{__name__}:Detached", weight=1.0)), trainable="head")
    with pytest.raises(ValueError, match=r"nothing that is trainable \(head\)"):
        adaptation(headed).advance(1)
    idle = Recipe((task, Term(f"python:{__name__}:Nothing", weight=1.0)))
    assert adaptation(idle).advance(1)[0]["task_loss"] > 0


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("ChangesFeatures", r"no gradient .* of step 0 .*objective changes features .* in place"),
        ("FailingAdversary", r"'failing adversary' raised LookupError: 2 images"),
    ],
)
def test_what_breaks_behind_a_loss_is_said_of_its_objective(name: str, said: str) -> None:
    recipe = Recipe((Term("source_task"), Term(f"python:{__name__}:{name}", weight=1.0)))
    with pytest.raises(ValueError, match=said):
        adaptation(recipe).advance(1)


def test_two_objectives_of_one_name_are_refused() -> None:
    recipe = Recipe((Term("self_training"), Term(f"python:{__name__}:Namesake", weight=1.0)))
    with pytest.raises(ValueError, match=r"two objectives .* have the name 'self_training'"):
        adaptation(recipe)


def test_a_first_step_without_an_objective_is_refused() -> None:
    recipe = Recipe((Term("class_alignment", "lambda_class", "lambda_class", "ca_start"),))
    adaptation(recipe, ca_start=0.0)
    with pytest.raises(ValueError, match="let one start at 0"):
        adaptation(recipe, ca_start=0.5)


def test_a_loss_that_is_not_finite_ends_the_training_before_the_step() -> None:
    recipe = Recipe((Term("source_task"), Term(f"python:{__name__}:NotFinite", weight=1.0)))
    training = adaptation(recipe)
    before = [p.detach().clone() for p in training.segmenter.parameters()]
    with pytest.raises(
        DivergedError, match=r"total loss of step 0 is nan.*the objective not_finite gave it"
    ):
        training.advance(1)
    after = training.segmenter.parameters()
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


def test_a_state_of_another_recipe_is_refused() -> None:
    one = Recipe((Term("source_task"), Term(f"python:{__name__}:Entropy", weight=1.0)))
    other = Recipe((Term("source_task"), Term(f"python:{__name__}:Entropy", weight=2.0)))
    training = adaptation(one)
    training.advance(1)
    with pytest.raises(StateError, match="recipe"):
        adaptation(other).restore(training.state())
    again = adaptation(one)
    again.restore(training.state())
    assert again.advance(1) == training.advance(1)


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (lambda: Term("source_task", weight="lambda_none"), "not a setting of an adaptation"),
        (lambda: Term("source_task", weight="betas"), "not a setting of an adaptation"),
        (lambda: Term("source_task", weight=-1.0), "at least 0"),
        (lambda: Term("source_task", start=1.0), "at 1 it never begins"),
        (lambda: Recipe((Term("self_training", 1.0, start=0.25),)), "begins before 0.25"),
        (lambda: find_objective(f"python:{__name__}:Misspelt"), "needs 'targets', which is none"),
        (lambda: find_objective(f"python:{__name__}:Needless"), "needs None: write `needs = "),
        (lambda: find_objective(f"python:{__name__}:NeedsAWord"), "needs 'target': write `needs"),
        (lambda: find_objective(f"python:{__name__}:Unfinished"), "has no loss: write `def loss"),
        (lambda: find_objective(f"python:{__name__}:RowsOfLetters"), "write a tuple of names"),
        (lambda: find_objective(f"python:{__name__}:PlainOptions"), "Options that are no datacl"),
        (lambda: checked_options(FailingOptions, {}), "of the objective 'failing options' raised"),
        (lambda: Recipe((Term("source_task"), Term("source_task"))), "each objective once"),
        (Recipe, "needs an objective"),
        (lambda: Recipe((Term("source_task"),), trainable="statistics"), "has none"),
        (lambda: find_objective("hope"), "no objective 'hope'; there are: source_task"),
        (lambda: find_objective("python:os.path:join"), "not a subclass"),
        (lambda: find_objective("python:absent_package:Loss"), "cannot be imported"),
    ],
)
def test_what_is_wrong_with_a_recipe_is_said_in_one_sentence(made, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        made()


def test_the_documented_objective_does_what_the_page_says(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    section = PAGE.read_text(encoding="utf-8").split("\n## An objective\n")[1].split("\n## ")[0]
    file, use = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    module = ModuleType("my_objective")
    exec(compile(file, "my_objective.py", "exec"), module.__dict__)  # noqa: S102 - our own page
    monkeypatch.setitem(sys.modules, "my_objective", module)
    names = {"segmenter": segmenter(), "source": SOURCE, "target": TARGET, "settings": SETTINGS}
    exec(compile(use, "use", "exec"), names)  # noqa: S102
    training = names["training"]
    assert isinstance(training, Adaptation)
    assert training.finished
    names["rows"] = None
    again = Adaptation(segmenter(), SOURCE, TARGET, SETTINGS, 0, recipe=names["recipe"])
    (row,) = again.advance(1)
    assert row["smoothness_loss"] > 0
    assert row["lambda_smoothness"] == 0
