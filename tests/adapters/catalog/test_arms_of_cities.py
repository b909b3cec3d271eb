"""Arms that a city names: what cannot be adapted by is told by the catalog, before any work."""

from __future__ import annotations

import pytest

from adapters.catalog import CatalogError, load_catalog

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


def test_fine_tuning_needs_labels_of_training_places(write_catalog, tmp_path):
    none = {"kind": "simulated", "fine_tune_places": 0}
    path = write_catalog(tmp_path, city={"arm": "fine_tuned", "labels": none})
    with pytest.raises(CatalogError, match="no training place of the city has a label"):
        load_catalog(path)
