"""Arms that a city names: what cannot be adapted by is told by the catalog, before any work."""

from __future__ import annotations

import pytest

from adapters.catalog import CatalogError, load_catalog
from tasks.steps.settings import open_catalog

RECIPE = {"objectives": [{"objective": "source_task"}, {"objective": "self_training"}]}
THEIRS = {"theirs": {"architecture": "hf:somebody/something"}}


@pytest.mark.parametrize("arm", ["fulll", "FULL", "pretrained", "", "ga-ca", "ga+ca", "none"])
def test_an_arm_that_there_is_not_is_told_with_those_that_there_are(write_catalog, tmp_path, arm):
    path = write_catalog(tmp_path, city={"arm": arm}, recipes={"mine": RECIPE})
    with pytest.raises(CatalogError) as reported:
        load_catalog(path)
    line = next(i for i, text in enumerate(path.read_text().splitlines(), 1) if "arm:" in text)
    assert str(reported.value).startswith(
        f"{path}:{line}: cities.tokyo.arm: there is no arm {arm!r}"
    )
    assert "ga_ca" in str(reported.value)
    assert "mine" in str(reported.value)


@pytest.mark.parametrize("arm", ["ga", "source_free", "fine_tuned", "few_labels", "mine"])
def test_arms_and_recipes_are_taken(write_catalog, tmp_path, arm):
    path = write_catalog(tmp_path, city={"arm": arm}, recipes={"mine": RECIPE})
    assert load_catalog(path).cities["tokyo"].arm == arm


@pytest.mark.parametrize("city", [{"arm": "ga"}, {"schedule": "0 3 * * 1"}])
def test_an_arm_that_trains_on_a_source_needs_one(write_catalog, tmp_path, city):
    def path(**more):
        theirs = {"segmenter": "theirs", **city, **more}
        return write_catalog(tmp_path, city=theirs, segmenters=THEIRS)

    with pytest.raises(CatalogError, match=r"cities\.tokyo\.arm: .*segmenters\.theirs has no so"):
        load_catalog(path())
    assert load_catalog(path(arm="source_free"))


def test_a_city_that_names_no_arm_may_be_adapted_by_another(write_catalog, tmp_path):
    path = write_catalog(tmp_path, city={"segmenter": "theirs"}, segmenters=THEIRS)
    assert load_catalog(path).cities["tokyo"].arm == "full"


TRAINED = {"objectives": [{"objective": "self_training", "weight": 1.0}]}
LABELLED = {
    "objectives": [*TRAINED["objectives"], {"objective": "few_labels"}],
    "labels": {"places": 4},
}
NO_LABELS = {"labels": {"kind": "simulated", "fine_tune_places": 0}}
LACKING = [
    (RECIPE, {"segmenter": "theirs"}, r"source_free|'mine' trains on images of the source set"),
    (LABELLED, {}, r"'mine' learns from labels of 4 training places, and 3 of the city have some"),
    (LABELLED, NO_LABELS, "4 training places, and none of the city has any"),
    (
        {**TRAINED, "teacher": "seven"},
        {},
        r"segmenters\.seven, has other classes than segmenters\.c",
    ),
]


@pytest.mark.parametrize(("recipe", "city", "said"), LACKING)
def test_a_recipe_that_reads_what_the_city_has_not_is_told_with_its_line(
    write_catalog, tmp_path, recipe, city, said
):
    seven = {"architecture": "hf:some/net", "options": {"class_names": ["road", "car"]}}
    segmenters = {**THEIRS, "seven": seven}
    path = write_catalog(
        tmp_path, city={"arm": "mine", **city}, recipes={"mine": recipe}, segmenters=segmenters
    )
    with pytest.raises(CatalogError, match=said) as reported:
        open_catalog(path)
    line = next(i for i, text in enumerate(path.read_text().splitlines(), 1) if "arm:" in text)
    assert str(reported.value).startswith(f"{path}:{line}: cities.tokyo.arm: ")
    assert "\n" not in str(reported.value)


def test_built_in_recipes_are_checked_like_others(write_catalog, tmp_path):
    path = write_catalog(tmp_path, city={"arm": "few_labels"})
    with pytest.raises(CatalogError, match="labels of 16 training places, and 3 of the city"):
        open_catalog(path)
    enough = {"kind": "simulated", "fine_tune_places": 16}
    city = {"arm": "few_labels", "labels": enough, "places": 20}
    assert open_catalog(write_catalog(tmp_path, city=city))


def test_a_recipe_that_has_what_it_reads_is_taken(write_catalog, tmp_path):
    elsewhere = {**LABELLED["labels"], "dataset": "frankfurt", "chosen": "random"}
    recipes = {
        "mine": {**LABELLED, "labels": elsewhere},
        "rated": {**TRAINED, "prior": "evidence", "flag_rates_of": "tokyo"},
    }
    assert open_catalog(write_catalog(tmp_path, city={"arm": "mine"}, recipes=recipes))


def test_a_recipe_that_weighs_by_probability_needs_matches_that_have_one(write_catalog, tmp_path):
    weighed = {**TRAINED, "prior": "probability"}
    given = {"recipes": {"weighed": weighed}}
    assert open_catalog(write_catalog(tmp_path, city={"arm": "weighed"}, **given))
    path = write_catalog(tmp_path, city={"arm": "weighed", "prior": {"matcher": "dis"}}, **given)
    with pytest.raises(
        CatalogError, match=r":\d+: cities\.tokyo\.arm: .*matches of 'dis' have not"
    ):
        open_catalog(path)


def test_rates_are_of_a_city_with_labels(write_catalog, tmp_path):
    rated = {**TRAINED, "prior": "evidence", "flag_rates_of": "tokyo"}
    path = write_catalog(tmp_path, city=NO_LABELS, recipes={"rated": rated})
    with pytest.raises(CatalogError, match=r":\d+: recipes\.rated\.flag_rates_of: no training pl"):
        open_catalog(path)


def test_a_mask_beside_the_images_is_told_with_its_line(write_catalog, tmp_path):
    mask = [[130, 0], [150, 0], [150, 10]]
    provider = {"kind": "simulated", "style": "tokyo"}
    path = write_catalog(tmp_path, city={"provider": {**provider, "mask": mask}})
    with pytest.raises(
        CatalogError, match=r":\d+: cities\.tokyo\.provider\.mask: polygon 1 lies beside .* 64×128"
    ):
        load_catalog(path)
    over = {**provider, "mask": [[120, 0], [150, 0], [150, 10]]}
    assert load_catalog(write_catalog(tmp_path, city={"provider": over}))


def test_fine_tuning_needs_labels_of_training_places(write_catalog, tmp_path):
    none = {"kind": "simulated", "fine_tune_places": 0}
    path = write_catalog(tmp_path, city={"arm": "fine_tuned", "labels": none})
    with pytest.raises(CatalogError, match="no training place of the city has a label"):
        load_catalog(path)
