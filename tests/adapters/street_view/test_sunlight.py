"""Where the sun stood, against published positions and times."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from adapters.street_view.sunlight import _elevation, lights_of
from crosscity.lights import LIGHTS, UNKNOWN

LONDON = (51.5074, -0.1278)
TROMSO = (69.65, 18.96)


def light(place: tuple[float, float], moment: datetime) -> str:
    (code,) = lights_of([(*place, moment, "second")])
    return LIGHTS[code]


def test_the_worked_example_of_the_solar_position_algorithm():
    # I. Reda and A. Andreas, NREL/TP-560-34302, table A5.1: 39.872046 degrees without refraction.
    moment = datetime(2003, 10, 17, 19, 30, 30, tzinfo=UTC)
    assert _elevation(39.742476, -105.1786, moment, "second") == pytest.approx(39.872, abs=0.02)


def test_the_shortest_day_of_london():
    # Almanacs: sunrise 08:04, sunset 15:53, end of civil twilight 16:33.
    day = datetime(2024, 12, 21, tzinfo=UTC)
    assert light(LONDON, day + timedelta(hours=12)) == "day"
    assert light(LONDON, day + timedelta(hours=15, minutes=53)) == "twilight"
    assert light(LONDON, day + timedelta(hours=16, minutes=29)) == "twilight"
    assert light(LONDON, day + timedelta(hours=16, minutes=37)) == "night"
    assert light(LONDON, day + timedelta(hours=7, minutes=20)) == "night"
    assert light(LONDON, day + timedelta(hours=8, minutes=4)) == "twilight"


def test_beyond_the_polar_circle_days_and_nights_are_long():
    assert light(TROMSO, datetime(2024, 12, 21, 6, tzinfo=UTC)) == "night"
    assert light(TROMSO, datetime(2024, 12, 21, 10, 45, tzinfo=UTC)) == "twilight"
    assert {
        light(TROMSO, datetime(2024, 6, 21, hour, tzinfo=UTC)) for hour in range(24)
    } == {"day", "twilight"}  # fmt: skip
    for lat in (-90.0, 90.0):
        assert light((lat, 0.0), datetime(2024, 6, 21, tzinfo=UTC)) in LIGHTS


@pytest.mark.parametrize(
    "taken",
    [
        (None, 1.0, datetime(2024, 6, 21, 12, tzinfo=UTC), "second"),
        (50.0, None, datetime(2024, 6, 21, 12, tzinfo=UTC), "second"),
        (50.0, 1.0, None, None),
        (50.0, 1.0, datetime(2024, 6, 1, tzinfo=UTC), "month"),
        (50.0, 1.0, datetime(2024, 6, 21, tzinfo=UTC), "day"),
    ],
)
def test_what_is_not_known_is_not_guessed(taken):
    assert lights_of([taken]).tolist() == [UNKNOWN]
