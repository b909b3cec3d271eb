"""Cron lines of the catalog, read as every scheduler reads them or not at all.

Five fields: minute, hour, day of the month, month, weekday. What programs read in different ways is
refused: a sixth field (croniter, which Prefect uses, takes the last for seconds, others the first),
shorthands as `@daily`, a day of the month and a weekday together of which one is a step over all
(`*/2`: Debian's cron wants both then, croniter either), a step from one number on (`5/15`), and
the last or the nearest day (`5L`, `LW`), or a day of a week (`1#2`) beside a day of the month.
"""

from __future__ import annotations

import re
from datetime import datetime
from itertools import islice
from typing import Annotated, Final

from cronsim import CronSim, CronSimError
from pydantic import AfterValidator

_FIELDS: Final = ("minute", "hour", "day of the month", "month", "weekday")
_PART: Final = re.compile(r"[0-9A-Za-z*,/#-]+")
_STEP_FROM: Final = re.compile(r"(?:^|,)[0-9A-Za-z]+/")
_LAST: Final = re.compile(r"[0-9]L", re.I)
_NEAREST: Final = re.compile(r"[0-9L]W", re.I)
_RANGE: Final = re.compile(r"(?P<low>[0-9A-Za-z]+)-(?P<high>[0-9A-Za-z]+)")
_EXAMPLE: Final = "'0 3 * * 1' is Mondays at 03:00 UTC"


def checked_cron(line: str) -> str:
    """A cron line of five fields, with single spaces.

    Raises:
        ValueError: It has another number of fields, a field is out of range, it never comes, or
            programs read it in different ways.
    """
    fields = line.split()
    if line.strip().startswith("@"):
        raise ValueError(f"a cron line has five fields, not a word: {_EXAMPLE}")
    if len(fields) != len(_FIELDS):
        seconds = ": a sixth would be read as seconds" if len(fields) > len(_FIELDS) else ""
        raise ValueError(
            f"a cron line has five fields ({', '.join(_FIELDS)}), this one has "
            f"{len(fields)}{seconds}; {_EXAMPLE}"
        )
    for name, field in zip(_FIELDS, fields, strict=True):
        if not _PART.fullmatch(field):
            raise ValueError(f"the {name} {field!r} of the cron line is not valid; {_EXAMPLE}")
        if any(ends["low"] == ends["high"] for ends in _RANGE.finditer(field)):
            raise ValueError(
                f"the {name} {field!r} has a range from a number to itself, which is read in two "
                "ways: write the number alone"
            )
        if _STEP_FROM.search(field):
            raise ValueError(
                f"the {name} {field!r} has steps from one number on, which are read in two ways: "
                "write the range, as 5-59/15"
            )
    day, weekday = fields[2], fields[4]
    if _LAST.search(weekday) or _NEAREST.search(day) or ("#" in weekday and day != "*"):
        raise ValueError(
            f"the days {day!r} and {weekday!r} of the cron line are not read alike by all "
            f"programs: write numbers, ranges and steps; {_EXAMPLE}"
        )
    if day != "*" and weekday != "*" and (day.startswith("*") or weekday.startswith("*")):
        raise ValueError(
            f"the day of the month {day!r} and the weekday {weekday!r} together are read in two "
            "ways: write one of them as *, or both as numbers (then either will do)"
        )
    text = " ".join(fields)
    try:
        next(CronSim(text, datetime(2001, 1, 1)))
    except CronSimError as error:
        raise ValueError(f"the cron line is wrong: {str(error).lower()}; {_EXAMPLE}") from None
    except StopIteration:
        raise ValueError("the cron line names a day that never comes") from None
    return text


def next_runs(line: str, after: datetime, number: int = 3) -> list[datetime]:
    """The next times of a checked cron line.

    Args:
        line: The line.
        after: A time with its zone, which the line is read in.
        number: How many times.
    """
    return list(islice(CronSim(line, after), number))


CronLine = Annotated[str, AfterValidator(checked_cron)]
"""A cron line of five fields."""
