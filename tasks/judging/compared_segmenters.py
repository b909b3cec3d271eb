"""The segmenters that a comparison names: by key, by name, or of a city or transfer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time

from adapters.store import ArtifactRef
from tasks.judging.chosen_segmenter import KEY, adapted_by, chosen_artifact
from tasks.judging.promotion import SWITCHES, promoted_segmenter, promotion_log
from tasks.steps.errors import InputError
from tasks.steps.plan import Plan
from tasks.training.arms import is_trained
from tasks.training.trained import TrainedSegmenters
from tasks.training.transfers import check_transfer_arm


@dataclass(frozen=True)
class Compared:
    """What a word of `compare` means.

    Attributes:
        word: As it was given.
        ref: The segmenter in the store; ``None`` of a segmenter of the catalog, by its name.
        owner: The city or transfer that the word is about; ``None`` where it is about none.
    """

    word: str
    ref: ArtifactRef | None
    owner: str | None


def compared_segmenter(plan: Plan, word: str, seed: int = 0) -> Compared:
    """What a word of `compare` means.

    Args:
        plan: Of the whole catalog.
        word: A key (six digits or more); the name of a segmenter of the catalog; a city or
            transfer, whose segmenter in use is meant, else its adaptation; NAME@DATE, the one that
            was in use there then; or NAME:ARM, what an arm or recipe left there.
        seed: Of trainings that are not named by a key.

    Raises:
        InputError: It means nothing, several, or one that is gone.
    """
    name, mark, rest = _apart(word)
    if name in _owners(plan):
        if mark == "@":
            ref = used_at(plan, name, rest)
        else:
            ref = _of_arm(plan, name, rest, seed) if mark else _own(plan, name, seed)
        return Compared(word, ref, name)
    if word in plan.segmenters:
        return Compared(word, None, None)
    if KEY.fullmatch(word):
        ref = chosen_artifact(plan, word)
        return Compared(word, ref, ref.city if ref.city in _owners(plan) else None)
    owners = _listed(sorted(_owners(plan)))
    raise InputError(
        f"{word!r} does not name a segmenter to compare: give a key in the store, a city or "
        f"transfer (NAME, NAME@2026-11-28 or NAME:ARM) of {owners}, or a segmenter of "
        f"{_listed(sorted(plan.segmenters))}"
    )


def two_words(plan: Plan, first: str, second: str | None, seed: int = 0) -> tuple[str, str]:
    """The words of a comparison; an adaptation alone is compared with what it began with.

    Args:
        plan: Of the whole catalog.
        first: A word as `compared_segmenter` has it.
        second: So too; ``None``: `first` is of an adaptation, whose start comes before it.
        seed: Of trainings that are not named by a key.

    Raises:
        InputError: A word alone means nothing, no adaptation, or one whose start is gone.
    """
    if second is not None:
        return first, second
    alone = compared_segmenter(plan, first, seed).ref
    if alone is None or alone.kind != "adaptation":
        raise InputError(
            f"name a second segmenter to compare {first!r} with: it is no adaptation, which alone "
            "is compared with what it began with"
        )
    start = plan.open_store().inputs_of(alone).get("segmenter")
    if start is None:
        raise InputError(
            f"what {alone.uri} began with is not in the store any more: name a second segmenter "
            "to compare it with"
        )
    return start.key[:12], first


def used_at(plan: Plan, city: str, moment: str) -> ArtifactRef:
    """The segmenter that was in use in a city or transfer at a moment.

    Args:
        plan: Of the catalog.
        city: The city, or transfer.
        moment: A date, whose end (UTC) counts, or a moment as ISO 8601.

    Raises:
        InputError: It is not a moment, none was in use then, or that one is gone.
    """
    store, when = plan.open_store(), _moment(city, moment)
    changes = [change for change in promotion_log(store, city) if change["action"] in SWITCHES]
    if not changes:
        verb = "promote" if city in plan.transfers else "readapt"
        raise InputError(
            f"no segmenter was ever in use in {city}: run `crosscity {verb} {city}` first"
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


def place_to_look_at(plan: Plan, compared: Sequence[Compared], on: str | None) -> str:
    """The city or transfer on whose images two segmenters are compared.

    Args:
        plan: Of the catalog.
        compared: The two.
        on: The one that was asked for; default: the one that the words are about.

    Raises:
        InputError: It is not in the catalog, or the words do not tell which.
    """
    every = _owners(plan)
    if on is not None:
        if on not in every:
            raise InputError(
                f"--on {on!r} is no city or transfer of the catalog: there is "
                f"{_listed(sorted(every))}"
            )
        return on
    owners = sorted({each.owner for each in compared if each.owner is not None})
    if not owners and len(every) == 1:
        owners = list(every)
    if len(owners) == 1:
        return owners[0]
    why = f"they are of {' and '.join(owners)}" if owners else "neither is of a city or transfer"
    raise InputError(
        f"say with --on on whose images the two are compared ({why}): one of "
        f"{_listed(sorted(every))}"
    )


def _apart(word: str) -> tuple[str, str, str]:
    """A word's name, what follows it ("@", ":" or nothing), and the rest."""
    mark = "@" if "@" in word else ":"
    return word.partition(mark)


def _owners(plan: Plan) -> tuple[str, ...]:
    """What has images that segmenters are compared on; no city and transfer share a name."""
    return (*plan.cities, *plan.transfers)


def _own(plan: Plan, owner: str, seed: int) -> ArtifactRef:
    """What is in use in a city or transfer, else its adaptation.

    One that looks harmful too: it is looked at, and not used.
    """
    used = promoted_segmenter(plan.open_store(), owner)
    if used is not None:
        return used
    if owner in plan.transfers:
        return adapted_by(plan, owner, seed)
    return TrainedSegmenters(owner, seed, plan).of_arm(plan.city(owner).arm)


def _of_arm(plan: Plan, owner: str, arm: str, seed: int) -> ArtifactRef:
    """What an arm or recipe left for a city or transfer."""
    if owner in plan.transfers and is_trained(arm):
        check_transfer_arm(arm, owner, plan)
    return TrainedSegmenters(owner, seed, plan).of_arm(arm)


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
