"""Styles: every field is documented and checked."""

from __future__ import annotations

import inspect
import pickle
import re
from dataclasses import fields, replace
from typing import Any

import pytest

from simcity import STYLES, CityStyle


def test_the_five_cities_stand_under_their_names() -> None:
    assert set(STYLES) == {"frankfurt", "rome", "rio", "tokyo", "taipei"}
    assert all(style.name == name for name, style in STYLES.items())
    assert STYLES["tokyo"].drives_on == "left"


def test_every_field_is_explained() -> None:
    text = inspect.getdoc(CityStyle) or ""  # Python 3.13 takes the indentation away by itself
    documented = set(re.findall(r"^    (\w+):", text, flags=re.MULTILINE))
    assert documented == {each.name for each in fields(CityStyle)}


def test_a_name_is_enough_and_a_style_is_a_value() -> None:
    style = CityStyle(name="lima")
    assert style == CityStyle(name="lima")
    assert hash(style) == hash(CityStyle(name="lima"))
    assert pickle.loads(pickle.dumps(style)) == style  # noqa: S301


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"name": ""}, "name"),
        ({"name": "Rome"}, "name"),
        ({"drives_on": "middle"}, "drives_on"),
        ({"lanes": (4, 2)}, "lanes"),
        ({"lanes": (1.0, 2.0, 3.0)}, "lanes"),
        ({"lanes": [1, 2]}, "lanes"),
        ({"lane_width": (3.0, float("nan"))}, "lane_width"),
        ({"fov_degrees": 180.0}, "fov_degrees"),
        ({"fov_degrees": "wide"}, "fov_degrees"),
        ({"grime": 1.5}, "grime"),
        ({"noise": -1.0}, "noise"),
        ({"noise": True}, "noise"),
        ({"facade_colours": ()}, "facade_colours"),
        ({"facade_colours": ((0, 0, 256),)}, "facade_colours"),
        ({"facade_colours": (1, 2, 3)}, "facade_colours"),
        ({"marking_colour": (1.0, 2.0, 3.0)}, "marking_colour"),
        ({"weather_weights": (0.0, 0.0, 0.0)}, "weather_weights"),
        ({"weather_weights": (1.0, 1.0)}, "weather_weights"),
        ({"weather_weights": (1.0, -1.0, 1.0)}, "weather_weights"),
        ({"sign_designs": ("unicorn",)}, "sign_designs"),
        ({"horizontal_lights": 1}, "horizontal_lights"),
        ({"jpeg_quality": 0}, "jpeg_quality"),
        ({"jpeg_quality": 80.5}, "jpeg_quality"),
    ],
)
def test_bad_fields_are_one_sentence_that_names_them(changes: dict[str, Any], field: str) -> None:
    with pytest.raises(ValueError, match=field) as caught:
        replace(STYLES["rome"], **changes)
    message = str(caught.value)
    assert "\n" not in message
    assert message.endswith(".")
