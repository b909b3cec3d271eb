"""The light of pictures, by the limits of civil twilight."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from crosscity.lights import (
    LIGHTS,
    UNKNOWN,
    light_codes,
    light_is_wanted,
    lights_fit,
    lights_missing,
)


def test_limits():
    elevations = [90.0, 6.0, 5.999, 0.0, -6.0, -6.001, -90.0, np.nan]
    names = ["unknown" if code == UNKNOWN else LIGHTS[code] for code in light_codes(elevations)]
    assert names == ["day", "day", *["twilight"] * 3, "night", "night", "unknown"]
    assert light_codes(np.zeros((2, 3))).shape == (2, 3)
    assert light_codes([]).dtype == np.int8


@pytest.mark.parametrize("wanted", [*itertools.product(LIGHTS, LIGHTS)])
def test_two_lights_in_any_order_and_never_an_unknown_one(wanted):
    codes = np.array([UNKNOWN, *range(len(LIGHTS))], dtype=np.int8)
    fits = lights_fit(codes[:, None], codes, wanted)
    first, second = (1 + LIGHTS.index(light) for light in wanted)
    assert set(zip(*np.nonzero(fits), strict=True)) == {(first, second), (second, first)}
    assert set(np.flatnonzero(light_is_wanted(codes, wanted))) == {first, second}
    assert "captures" in lights_missing(wanted)
