"""Recipes of the catalog: run by name, kept apart by what is in them, refused before any work."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from adapters.catalog import CatalogError, RecipeEntry
from adapters.catalog.recipes import BUILT_IN_RECIPES
from adapters.images import decode_mask_png
from crosscity.adaptation.objectives import OBJECTIVES
from crosscity.segmenters.base import ROAD_CLASS_NAMES
from tasks.judging.evaluated import evaluation_of
from tasks.judging.label_choice import places_of_images, ranked_names
from tasks.judging.suggestion import suggested_places
from tasks.priors.extraction import static_prior_rows
from tasks.steps.errors import InputError
from tasks.steps.plan import open_plan
from tasks.steps.recipes import described, rates_of, science_of
from tasks.training.arms import check_arm, check_source, needs_of_arm
from tasks.training.flag_rates import read_rates
from tasks.training.identities import adaptation_parameters
from tasks.training.labelled import Missing
from tasks.training.stored_images import StoredLabelled
from tasks.training.trained import TrainedSegmenters
from tasks.training.trainings import check_adaptation
from tasks.training.transfers import check_transfer_arm

FEW = {
    "objectives": [
        {"objective": "source_task"},
        {"objective": "two_looks", "weight": 0.3, "ramp": "constant"},
        {"objective": "few_labels"},
    ],
    "labels": {"places": 2, "chosen": "suggested"},
    "settings": {"steps": 3},
}
ALONE = {
    "objectives": [
        {"objective": "self_training", "weight": "lambda_self"},
        {"objective": "masked_consistency", "weight": 0.1, "options": {"side": 16}},
    ],
    "prior": "evidence",
    "flag_rates": {"road": 0.5, "car": 0.15},
    "trainable": "last: 2",
    "settings": {"steps": 2},
}


MEASURED = {
    "objectives": [{"objective": "self_training", "weight": 1.0}],
    "prior": "evidence",
    "flag_rates_of": "tokyo",
    "settings": {"steps": 2},
}


WEIGHED = {
    "objectives": [{"objective": "self_training", "weight": 1.0}],
    "prior": "probability",
    "settings": {"steps": 2},
}


@pytest.fixture(scope="module")
def catalog(write_catalog: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_catalog(
        tmp_path_factory.mktemp("recipes"),
        recipes={"labelled-few": FEW, "alone": ALONE, "measured": MEASURED, "weighed": WEIGHED},
    )


def test_recipes_are_run_by_name_and_found_again(
    many_flows: Callable[..., dict[str, Any]], catalog: Path
) -> None:
    for verb in (("harvest", "tokyo"), ("priors", "tokyo")):
        assert many_flows(*verb, "--catalog", catalog)["code"] == 0
    for arm in ("labelled-few", "alone"):
        for verb in ("adapt", "evaluate"):
            done = many_flows(verb, "tokyo", "--arm", arm, "--catalog", catalog)
            assert done["code"] == 0, done["err"]
    plan = open_plan(catalog)
    trained, store = TrainedSegmenters("tokyo", 0, plan), plan.open_store()
    few = store.manifest(trained.of_arm("labelled-few"))
    roles = {name.partition("-")[0] for name in few.inputs}
    assert roles == {"segmenter", "imagery", "pairs", "part", "label", "choice"}
    assert few.parameters["arm"] == "labelled-few"
    assert few.parameters["steps"] == 3
    (choice,) = store.artifacts("label_choice", "tokyo")
    order = json.loads(store.path(choice, "places.json").read_text())
    places = places_of_images(plan, trained.harvest.pairs)
    network, wanted = store.inputs_of(choice)["segmenter"], FEW["labels"]["places"]
    among = {places[name] for name in order}
    ranked = [
        each.place_id for each in suggested_places(plan, "tokyo", wanted, network, among=among)
    ]
    assert len(order) == 3
    assert [places[name] for name in order[:wanted]] == ranked
    assert ranked_names(order[::-1], ranked, places)[:wanted] == order[:wanted]
    alone = store.manifest(trained.of_arm("alone"))
    assert {name.partition("-")[0] for name in alone.inputs} == {
        "segmenter", "imagery", "pairs", "static_prior",
    }  # fmt: skip
    assert evaluation_of(trained, "alone") != evaluation_of(trained, "labelled-few")


def test_the_stored_probability_is_a_weight(
    many_flows: Callable[..., dict[str, Any]], catalog: Path
) -> None:
    done = many_flows("adapt", "tokyo", "--arm", "weighed", "--catalog", catalog)
    assert done["code"] == 0, done["err"]
    plan = open_plan(catalog)
    store, trained = plan.open_store(), TrainedSegmenters("tokyo", 0, plan)
    assert "static_prior" in store.manifest(trained.of_arm("weighed")).inputs
    for row in static_prior_rows(plan, trained.static_prior):
        assert row["probability"] is not None


def test_evidence_of_the_prior_is_measured_on_labelled_pairs(
    many_flows: Callable[..., dict[str, Any]], catalog: Path
) -> None:
    """Against pixels counted here: of the labelled images with the priors of the same pictures."""
    done = many_flows("adapt", "tokyo", "--arm", "measured", "--catalog", catalog)
    assert done["code"] == 0, done["err"]
    plan = open_plan(catalog)
    store, trained = plan.open_store(), TrainedSegmenters("tokyo", 0, plan)
    assert "flag_rates" in store.manifest(trained.of_arm("measured")).inputs
    (ref,) = store.artifacts("flag_rates", "tokyo")
    rates = read_rates(store, ref)
    masks = {
        row["image_id"]: decode_mask_png(row["mask"], row["image_id"])
        for row in static_prior_rows(plan, trained.static_prior)
    }
    labelled = StoredLabelled(store, trained.labelled("tokyo", "train", Missing("", "")))
    assert len(labelled) == 3
    flagged, every = np.zeros(19), np.zeros(19)
    for index in range(3):
        labels = labelled.labels([index])[0]
        known = labels < 19
        every += np.bincount(labels[known], minlength=19)
        flagged += np.bincount(labels[known & masks[labelled.name(index)]], minlength=19)
    mean = flagged.sum() / every.sum()
    measured = np.where(every >= 1000, flagged / np.maximum(every, 1), mean).clip(1e-3, 1)
    assert (every >= 1000).any()
    assert rates == {
        name: pytest.approx(rate, abs=1e-5)
        for name, rate in zip(ROAD_CLASS_NAMES, measured, strict=True)
    }


def test_the_teacher_alone_and_the_prior_as_evidence_need_no_entry(
    many_flows: Callable[..., dict[str, Any]], catalog: Path
) -> None:
    plan = open_plan(catalog)
    weights = {}
    for name in ("teacher", "evidence"):
        done = many_flows("adapt", "tokyo", "--arm", name, "--catalog", catalog)
        assert done["code"] == 0, done["err"]
        store, made = plan.open_store(), TrainedSegmenters("tokyo", 0, plan).of_arm(name)
        assert ("static_prior" in store.manifest(made).inputs) is (name == "evidence")
        weights[name] = store.path(made, "weights.safetensors").read_bytes()
    assert weights["teacher"] != weights["evidence"]
    evidence = BUILT_IN_RECIPES["evidence"]
    assert set(evidence.flag_rates) == set(ROAD_CLASS_NAMES)


def test_another_recipe_of_the_same_name_is_stale(
    catalog: Path,
) -> None:
    document = yaml.safe_load(catalog.read_text())
    document["recipes"]["alone"]["flag_rates"]["car"] = 0.2
    other = catalog.with_name("other.yaml")
    other.write_text(yaml.safe_dump(document))
    with pytest.raises(InputError, match="recipe"):
        TrainedSegmenters("tokyo", 0, open_plan(other)).of_arm("alone")


def test_labels_of_fewer_places_than_asked_are_reported(
    many_flows: Callable[..., dict[str, Any]], catalog: Path
) -> None:
    done = many_flows("adapt", "tokyo", "--arm", "few_labels", "--catalog", catalog)
    assert done["code"] == 2
    assert "'few_labels' learns from labels of 16 training places, and 3 of the city" in done["err"]


def test_a_city_that_lacks_what_a_recipe_reads_is_told_before_any_work(
    write_catalog: Callable[..., Path], tmp_path: Path
) -> None:
    """The arm is of the command, so that the catalog alone could not tell."""
    other = {
        "architecture": "compact",
        "source": "frankfurt",
        "options": {"class_names": ["road", "sky"]},
    }
    taught = {"objectives": [TASK, SELF], "teacher": "other"}
    cities = {"tokyo": {"labels": None}}
    path = write_catalog(
        tmp_path, cities=cities, segmenters={"other": other}, recipes={"taught": taught}
    )
    plan = open_plan(path, city="tokyo")
    with pytest.raises(InputError, match=r"^cities\.tokyo: .* 16 training places, and none of the"):
        check_adaptation("tokyo", "few_labels", plan)
    with pytest.raises(InputError, match=r"^cities\.tokyo: the teacher of the recipe 'taught', "):
        check_adaptation("tokyo", "taught", plan)
    check_adaptation("tokyo", "evidence", plan)


def test_what_a_set_lacks_is_reported_before_any_work(
    write_catalog: Callable[..., Path], tmp_path: Path
) -> None:
    pairs = {"objectives": [{"objective": "two_looks", "weight": 1.0}]}
    veto = {"objectives": [{"objective": "self_training", "weight": 1.0}], "prior": "veto"}
    plan = open_plan(
        write_catalog(
            tmp_path,
            recipes={"pairs": pairs, "veto": veto, "few": FEW},
            transfers={"home": {"segmenter": "given", "target": "frankfurt"}},
            segmenters={"given": {"architecture": "compact", "weights": "w.pth"}},
        )
    )
    for recipe, what in (("pairs", "both times of a place"), ("veto", "static priors")):
        with pytest.raises(InputError, match=f"needs {what}, and transfers.home has no pairs"):
            check_transfer_arm(recipe, "home", plan)
    with pytest.raises(InputError, match=r"segmenters\.given has no source, and the arm 'few'"):
        check_source("few", "given", plan)
    check_source("veto", "given", plan)
    with pytest.raises(InputError, match=r"no arm 'hope' to adapt by; arms are .*few_labels.*veto"):
        check_arm("hope", plan)


def in_catalog(recipe: dict[str, Any]) -> dict[str, Any]:
    return {"recipes": {"mine": recipe}}


TASK = {"objective": "source_task"}
SELF = {"objective": "self_training"}
WRONG: list[tuple[dict[str, Any], str, str]] = [
    ({"objectives": [{"objective": "hope"}]}, "mine.objectives.0", "no objective 'hope'"),
    ({"objectives": [{"python": "absent:Loss"}]}, "mine.objectives.0", "cannot be imported"),
    ({"objectives": [{"objective": "source_task", "python": "a:B"}]}, "objectives.0", "either"),
    (
        {"objectives": [{"objective": "masked_consistency", "options": {"sid": 3}}]},
        "mine.objectives.0",
        "has no option 'sid'; its options: side, hidden",
    ),
    (
        {"objectives": [{"objective": "masked_consistency", "options": {"hidden": 3}}]},
        "mine.objectives.0",
        "hidden must be in (0, 1)",
    ),
    (
        {"objectives": [{"objective": "masked_consistency", "options": {"side": 12.5}}]},
        "mine.objectives.0",
        "side of the objective 'masked_consistency' must be a whole number, not 12.5",
    ),
    ({"objectives": [{**TASK, "start": 0.5}]}, "recipes.mine", "let one start at 0"),
    ({"objectives": [TASK, {**SELF, "start": 1.5}]}, "mine.objectives.1", "it never begins"),
    ({"objectives": [TASK, {**SELF, "weight": "betas"}]}, "mine.objectives.1", "is a number"),
    (
        {"objectives": [TASK, {"objective": "global_alignment"}], "trainable": "head"},
        "recipes.mine",
        "moves features alone",
    ),
    ({"objectives": [TASK], "teacher": "compact"}, "recipes.mine", "none learns from that"),
    (
        {"objectives": [SELF], "teacher": "compact", "settings": {"teacher_momentum": 0.9}},
        "recipes.mine",
        "teacher_momentum is of a slow copy",
    ),
    ({"objectives": [SELF], "source_sampling": "rare_classes"}, "recipes.mine", "none is"),
    ({"objectives": [TASK], "prior": "veto"}, "recipes.mine", "no objective reads any"),
    (
        {"objectives": [], "trainable": "statistics", "prior": "veto"},
        "recipes.mine",
        "estimated without any",
    ),
    (
        {"objectives": [{"objective": "self_training", "weight": "lambda_none"}]},
        "mine.objectives.0",
        "not a setting of an adaptation",
    ),
    ({"objectives": [TASK, TASK]}, "recipes.mine", "each objective once"),
    ({"objectives": []}, "recipes.mine", "needs objectives"),
    ({"objectives": [TASK], "trainable": "tail"}, "mine.trainable", "match"),
    ({"objectives": [TASK], "labels": {"places": 4}}, "recipes.mine", "belong together"),
    ({"objectives": [TASK], "prior": "evidence"}, "recipes.mine", "belong together"),
    ({"objectives": [TASK], "prior": "veto", "static_from": 0.9}, "recipes.mine", "a threshold of"),
    ({"objectives": [TASK], "prior": "probability", "static_from": 0}, "mine.static_from", "grea"),
    ({"objectives": [TASK], "teacher": "nobody"}, "mine.teacher", "has no entry 'nobody'"),
    ({"objectives": [TASK], "settings": {"step": 3}}, "mine.settings.step", "no such setting"),
    ({"objectives": [TASK], "settings": {"arm": "ga"}}, "mine.settings.arm", "is not an arm"),
]


@pytest.mark.parametrize(("recipe", "key", "said"), WRONG)
def test_what_is_wrong_in_a_recipe_is_reported_with_its_line(
    write_catalog: Callable[..., Path], tmp_path: Path, recipe: dict[str, Any], key: str, said: str
) -> None:
    path = write_catalog(tmp_path, **in_catalog(recipe))
    with pytest.raises(CatalogError) as error:
        open_plan(path)
    assert key in str(error.value)
    assert said in str(error.value)
    assert str(error.value).startswith(f"{path}:")


def test_a_setting_of_a_recipe_may_go_with_one_of_the_training(
    write_catalog: Callable[..., Path], tmp_path: Path
) -> None:
    settings: dict[str, Any] = {"balanced_predictions": True}  # class_balance is the training's
    open_plan(write_catalog(tmp_path, **in_catalog({"objectives": [TASK], "settings": settings})))
    settings["class_balance"] = 0.0
    path = write_catalog(tmp_path, **in_catalog({"objectives": [TASK], "settings": settings}))
    with pytest.raises(CatalogError, match="and class_balance is 0"):
        open_plan(path)


def test_a_recipe_with_the_name_of_an_arm_is_refused(
    write_catalog: Callable[..., Path], tmp_path: Path
) -> None:
    with pytest.raises(CatalogError, match=r"recipes\.ga: there is an arm of this name already"):
        open_plan(write_catalog(tmp_path, recipes={"ga": {"objectives": [TASK]}}))
    with pytest.raises(CatalogError, match="there is no arm 'mine' to adapt by"):
        open_plan(write_catalog(tmp_path, city={"arm": "mine"}))


def test_every_recipe_of_ours_is_good(write_catalog: Callable[..., Path], tmp_path: Path) -> None:
    plan = open_plan(write_catalog(tmp_path))
    for name, entry in BUILT_IN_RECIPES.items():
        recipe = science_of(entry)
        assert {term.objective for term in recipe.terms} <= set(OBJECTIVES)
        needs = needs_of_arm(name, plan)
        assert needs.source is (name != "few_labels_source_free")
        assert needs.prior is (name in ("evidence", "looks"))
        assert needs.pairs is (name == "looks")
        asked = None if needs.labels is None else needs.labels.places
        assert asked == (16 if name.startswith("few_labels") else None)
    plan_again = type(plan).from_json(plan.to_json())
    assert plan_again == plan


def test_rates_are_in_the_order_of_the_classes_and_the_mean_for_others() -> None:
    entry = RecipeEntry.model_validate(ALONE)
    assert rates_of(entry, ["car", "sky", "road"]) == [0.15, pytest.approx(0.325), 0.5]
    assert "settings" not in described(entry)


def test_only_recipes_of_all_looks_depend_on_the_number_of_times() -> None:
    for name, entry in BUILT_IN_RECIPES.items():
        other = described(entry, 3) != described(entry, 2)
        assert other is (name == "looks")
        assert described(entry) == described(entry, 2)


def test_features_that_are_carried_in_half_precision_have_another_key(
    write_catalog: Callable[..., Path], tmp_path: Path
) -> None:
    alike = {"objectives": [{"objective": "feature_consistency"}], "settings": {"steps": 2}}
    marked = {}
    for precision in ("fp32", "bf16"):
        (tmp_path / precision).mkdir()
        path = write_catalog(
            tmp_path / precision,
            recipes={"alike": alike, "alone": ALONE},
            computes={"laptop": {"precision": precision, "threads": 1}},
        )
        marked[precision] = [
            "carried" in adaptation_parameters("tokyo", arm, 0, open_plan(path))
            for arm in ("alike", "alone", "full")
        ]
    assert marked == {"fp32": [False, False, False], "bf16": [True, False, False]}


def test_labels_that_a_network_made_with_dropout_have_another_key(
    write_catalog: Callable[..., Path], tmp_path: Path
) -> None:
    objectives = [{"objective": "self_training", "weight": 1.0}]
    recipes = {
        "own": {"objectives": objectives},
        "slow": {"objectives": objectives, "settings": {"teacher_momentum": 0.5}},
        "taught": {"objectives": objectives, "teacher": "compact"},
        "head": {"objectives": objectives, "trainable": "head"},
    }
    arms = (*recipes, "ga", "ga_ca", "fine_tuned", "source_free")
    marked = {}
    for architecture in ("dilated_vgg16", "compact"):
        (tmp_path / architecture).mkdir()
        path = write_catalog(
            tmp_path / architecture,
            segmenters={"compact": {"architecture": architecture, "source": "frankfurt"}},
            recipes=recipes,
            trainings={"demo": {"preset": "paper"}},
        )
        plan = open_plan(path)
        marked[architecture] = [
            arm for arm in arms if "own_labels" in adaptation_parameters("tokyo", arm, 0, plan)
        ]
    assert marked == {"dilated_vgg16": ["own", "ga_ca"], "compact": []}


def test_the_catalog_knows_which_arms_read_no_source():
    from adapters.catalog.recipes import WAYS
    from tasks.training.arms import ARM_NAMES

    assert set(WAYS) == set(ARM_NAMES)
    assert {arm for arm in WAYS if not needs_of_arm(arm, None).source} == {
        "pretrained", "source_free", "source_free_looks", "fine_tuned",
    }  # fmt: skip
