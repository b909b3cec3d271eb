"""The segmenters that a comparison names: by key, by name, of a city, or of a city at a date."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time

from adapters.store import ArtifactRef
from tasks.judging.chosen_segmenter import KEY, chosen_artifact
from tasks.judging.promotion import SWITCHES, promotion_log
from tasks.steps.errors import InputError
from tasks.steps.plan import Plan


@dataclass(frozen=True)
class Compared:
    """What a word of `compare` means.

    Attributes:
        word: As it was given.
        ref: The segmenter in the store; ``None`` of a segmenter of the catalog, by its name.
        city: The city that the word is about; ``None`` where it is about none.
    """

    word: str
    ref: ArtifactRef | None
    city: str | None


def compared_segmenter(plan: Plan, word: str) -> Compared:
    """What a word of `compare` means.

    Args:
        plan: Of the whole catalog.
        word: A key (six digits or more); the name of a segmenter of the catalog; a city, whose
            segmenter in use is meant; or CITY@DATE, the one that was in use then.

    Raises:
        InputError: It means nothing, several, or one that is gone.
    """
    name, at, moment = word.partition("@")
    if name in plan.cities:
        ref = used_at(plan, name, moment) if at else chosen_artifact(plan, "promoted", name)
        return Compared(word, ref, name)
    if word in plan.segmenters:
        return Compared(word, None, None)
    if KEY.fullmatch(word):
        ref = chosen_artifact(plan, word)
        return Compared(word, ref, ref.city if ref.city in plan.cities else None)
    _refuse_transfer(plan, name)
    raise InputError(
        f"{word!r} does not name a segmenter to compare: give a key in the store, a city (CITY, or "
        f"CITY@DATE as 2026-11-28) of {_listed(sorted(plan.cities))}, or a segmenter of "
        f"{_listed(sorted(plan.segmenters))}"
    )


def used_at(plan: Plan, city: str, moment: str) -> ArtifactRef:
    """The segmenter that was in use in a city at a moment.

    Args:
        plan: Of the catalog.
        city: The city.
        moment: A date, whose end (UTC) counts, or a moment as ISO 8601.

    Raises:
        InputError: It is not a moment, none was in use then, or that one is gone.
    """
    store, when = plan.open_store(), _moment(city, moment)
    changes = [change for change in promotion_log(store, city) if change["action"] in SWITCHES]
    if not changes:
        raise InputError(
            f"no segmenter was ever in use in {city}: run `crosscity readapt {city}` first"
        )
    before = [change for change in changes if datetime.fromisoformat(change["at"]) <= when]
    if not before:
        raise InputError(
            f"no segmenter was in use in {city} at {moment} yet: the first was promoted at "
            f"{changes[0]['at']}"
        )
    ref = ArtifactRef.from_dict(before[-1]["segmenter"])
    if not store.find_ref(ref):
        raise InputError(
            f"{ref.uri}, which was in use in {city} at {moment}, is not in the store any more: "
            "name another date"
        )
    return ref


def city_to_look_at(plan: Plan, compared: Sequence[Compared], on: str | None) -> str:
    """The city whose images two segmenters are compared on.

    Args:
        plan: Of the catalog.
        compared: The two.
        on: The city that was asked for; default: the one that the words are about.

    Raises:
        InputError: It is not in the catalog, or the words do not tell which.
    """
    if on is not None:
        _refuse_transfer(plan, on)
        plan.city(on)
        return on
    cities = sorted({each.city for each in compared if each.city is not None})
    if not cities:
        for each in compared:  # its pictures are of none of the cities
            _refuse_transfer(plan, "" if each.ref is None else each.ref.city)
        cities = list(plan.cities) if len(plan.cities) == 1 else []
    if len(cities) == 1:
        return cities[0]
    why = f"they are of {' and '.join(cities)}" if cities else "neither is a city's"
    raise InputError(
        f"say with --on on which city's images the two are compared ({why}): one of "
        f"{_listed(sorted(plan.cities))}"
    )


def _refuse_transfer(plan: Plan, name: str) -> None:
    """Says of a transfer where its two segmenters are compared: cities alone have pairs."""
    if name in plan.transfers:
        raise InputError(
            f"{name!r} is a transfer, and `compare` looks at the pairs of a city: the page of "
            f"`crosscity transfer {name}` shows what changed on its pictures, and `crosscity "
            "predict` writes the masks of any segmenter"
        )


def _moment(city: str, given: str) -> datetime:
    try:
        if len(given) == len("2026-11-28"):
            return datetime.combine(date.fromisoformat(given), time.max, UTC)
        moment = datetime.fromisoformat(given)
    except ValueError:
        raise InputError(
            f"{city}@{given}: {given!r} is not a date: write it as 2026-11-28 or 2026-11-28T14:00Z"
        ) from None
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names) or "none"
