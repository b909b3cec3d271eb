"""Times of capture in every form of ISO 8601 and RFC 3339, and how exact each is.

STAC asks for RFC 3339 (stac-spec, item-spec/common-metadata.md, Date and Time), whose letters may
be of either case and whose seconds reach 60 (RFC 3339, 5.6); services and uploaders write more.
"""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from adapters.street_view.records import UnusableError, heading_of, iso_moment, numeral

TEN = datetime(2024, 5, 1, 10, tzinfo=UTC)


@pytest.mark.parametrize(
    "written",
    [
        "2024-05-01T10:00:00Z",
        "2024-05-01t10:00:00z",
        " 2024-05-01T10:00:00Z\n",
        "2024-05-01 10:00:00",
        "2024-05-01T10:00:00+00:00",
        "2024-05-01T10:00:00-00:00",
        "2024-05-01T12:00:00+0200",
        "2024-05-01T12:00:00+02",
        "2024-04-30T22:30:00-11:30",
        "20240501T100000Z",
        "2024-W18-3T10:00:00Z",
        "2024-05-01T10:00",
        "2024-05-01T10:00:00,000Z",
    ],
)
def test_one_moment_in_every_form(written: str) -> None:
    assert iso_moment({"at": written}, "at") == (TEN, "second")


@pytest.mark.parametrize(
    ("written", "moment", "precision"),
    [
        ("2024-05-01", datetime(2024, 5, 1, tzinfo=UTC), "day"),
        ("20240501", datetime(2024, 5, 1, tzinfo=UTC), "day"),
        ("2024-05", datetime(2024, 5, 1, tzinfo=UTC), "month"),
        ("2024-05-01T10:00:00.123456789Z", TEN.replace(microsecond=123456), "second"),
        ("2024-04-30T24:00:00Z", datetime(2024, 5, 1, tzinfo=UTC), "second"),
        ("2016-12-31T23:59:60Z", datetime(2016, 12, 31, 23, 59, 59, tzinfo=UTC), "second"),
        # Within the hour that Paris skipped and repeated; the zone tells it.
        ("2024-03-31T02:30:00+01:00", datetime(2024, 3, 31, 1, 30, tzinfo=UTC), "second"),
        ("2024-10-27T02:30:00+02:00", datetime(2024, 10, 27, 0, 30, tzinfo=UTC), "second"),
    ],
)
def test_moments_with_their_precision(written, moment, precision) -> None:
    assert iso_moment({"at": written}, "at") == (moment, precision)


@pytest.mark.parametrize(
    "written",
    [
        *("", "2024", "2024-13", "2024-02-30T00:00:00Z", "2024-05-01T10:00:00+25:00"),
        *("2024-05-01T24:00:01Z", "2024-05-01T10:61:00Z", "-0882-01-01T00:00:00Z"),
        *("0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-12:00", "9999-12-31T24:00:00Z"),
        *("01/05/2024 10:00", "2024:05:01 10:00:00", "1714557600", "0000-00-00 00:00:00"),
        *("2024-05-01T10:00:00 UTC", "Wed, 01 May 2024 10:00:00 GMT", "1985-01-01T00:00:00Z"),
        *("2101-01-01T00:00:00Z", 1714557600, None, True, ["2024-05-01"], {"$date": 0}),
    ],
)
def test_what_is_not_a_time_of_capture_has_a_reason(written) -> None:
    with pytest.raises(UnusableError, match="time of capture"):
        iso_moment({"at": written}, "at")


@pytest.mark.parametrize(
    ("reported", "heading"),
    [
        (0, 0),
        (-0.0, 0),
        (360, 0),
        (720, 0),
        (-90, 270),
        (-0.5, 359.5),
        (-1e-20, 0),
        (359.99, 359.99),
    ],
)
def test_headings_lie_in_the_circle(reported, heading) -> None:
    found = heading_of(reported)
    assert found == pytest.approx(heading)
    assert 0 <= found < 360
    assert str(found) != "-0.0"


@pytest.mark.parametrize("reported", [None, -1, -1.0, 721, -721, 1e308])
def test_what_is_not_a_heading_has_a_reason(reported) -> None:
    with pytest.raises(UnusableError, match="no heading"):
        heading_of(reported)


@pytest.mark.parametrize(
    ("written", "read"),
    [("1", 1), ("-1.5", -1.5), ("1e3", 1000), (" 5 ", 5), ("1,5", None), ("0x1", None),
     ("nan", None), ("inf", None), ("1_0", None), ("", None), ("9" * 41, None), ("\u0661", None),
     (True, None), ([1], None), (10**400, None)],
)  # fmt: skip
def test_numerals_are_numbers_or_nothing(written, read) -> None:
    assert numeral({"v": written}, "v") == read
