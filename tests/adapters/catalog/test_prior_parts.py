"""The parts of the prior as the catalog names them."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from adapters.catalog import PriorSettings


def test_old_entries_mean_what_they_meant() -> None:
    settings = PriorSettings.model_validate({"superpixels": 120, "downscale": 2})
    assert settings.superpixels == 120
    assert settings.matcher == "deep_matching"


@pytest.mark.parametrize("matcher", ["dis", "deep_matching", "python:my_package.mine:match"])
@pytest.mark.parametrize("method", ["ers", "slic", "none"])
def test_known_names_are_taken(matcher: str, method: str) -> None:
    settings = PriorSettings(matcher=matcher, superpixel_method=method)
    assert (settings.matcher, settings.superpixel_method) == (matcher, method)


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({"matcher": "sift"}, "there are: deep_matching, dis, and python:"),
        ({"matcher": "python:nothing"}, "there are: deep_matching, dis, and python:"),
        ({"superpixel_method": "watershed"}, "there are: ers, none, slic"),
    ],
)
def test_unknown_names_are_refused_with_the_list(entry: dict[str, str], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        PriorSettings.model_validate(entry)
