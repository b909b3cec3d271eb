"""The parts of the prior as the catalog names them."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from adapters.catalog import PriorSettings


def test_old_entries_mean_what_they_meant() -> None:
    settings = PriorSettings.model_validate({"superpixels": 120, "downscale": 2})
    assert settings.superpixels == 120
    assert settings.matcher == "deep_matching"


def test_paper_is_one_word_and_what_is_given_beside_it_goes_before() -> None:
    paper = PriorSettings.model_validate({"preset": "paper"})
    assert paper.model_dump() == {
        **{"matcher": "deep_matching", "superpixel_method": "ers", "downscale": 2},
        **{"search_radius": None, "superpixels": 200, "superpixel_downscale": 1, "k": 3},
        # Every match counts, and a count alone decides.
        **{"coverage": 0.0, "weakest": 0.0, "neighbours": 0, "tolerance": 1.0},
    }
    mixed = PriorSettings.model_validate({"preset": "paper", "downscale": 4, "k": 5})
    assert (mixed.downscale, mixed.k, mixed.coverage) == (4, 5, 0.0)
    # What is made does not depend on how the settings were said.
    assert PriorSettings.model_validate(paper.model_dump()).model_dump() == paper.model_dump()
    assert "preset" not in PriorSettings().model_dump()
    with pytest.raises(ValidationError, match="preset"):
        PriorSettings.model_validate({"preset": "papers"})


@pytest.mark.parametrize("matcher", ["dis", "deep_matching", "python:my_package.mine:match"])
@pytest.mark.parametrize("method", ["ers", "slic", "none"])
def test_known_names_are_taken(matcher: str, method: str) -> None:
    settings = PriorSettings(matcher=matcher, superpixel_method=method)
    assert (settings.matcher, settings.superpixel_method) == (matcher, method)


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({"matcher": "sift"}, "there are: deep_matching, deep_matching_refined, dis, and"),
        (
            {"matcher": "python:nothing"},
            "there are: deep_matching, deep_matching_refined, dis, and",
        ),
        ({"superpixel_method": "watershed"}, "there are: ers, none, slic"),
    ],
)
def test_unknown_names_are_refused_with_the_list(entry: dict[str, str], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        PriorSettings.model_validate(entry)
