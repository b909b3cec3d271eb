"""The segmenter that a person means: the promoted one, a name of the catalog, or a key."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from adapters.store import ArtifactRef, Store
from crosscity.segmenters import Segmenter
from tasks.judging.promotion import evidence_of, limits_now, promoted_segmenter
from tasks.steps.commands import with_seed
from tasks.steps.errors import InputError
from tasks.steps.plan import Plan
from tasks.training.arms import is_trained
from tasks.training.segmenters import is_from_elsewhere, starting_segmenter, stored_segmenter
from tasks.training.trained import TrainedSegmenters
from tasks.training.transfers import arm_of_transfer, arms_of_transfers

PROMOTED: Final = "promoted"
OPTION: Final = "--segmenter"
"""Where a word that means a segmenter is given, as errors call it."""
_KINDS: Final = ("adaptation", "segmenter")
KEY: Final = re.compile(rf"(?:(?:{'|'.join(_KINDS)})/[^/]+/)?[0-9a-f]{{6,24}}")
"""A key in the store: its digits, or all that commands print of it, `adaptation/tokyo/<digits>`."""
_LISTED: Final = 4


@dataclass(frozen=True)
class Chosen:
    """A segmenter to predict with.

    Attributes:
        segmenter: The network with its weights.
        made_by: What tells its predictions from those of others; JSON-able.
        words: How it is spoken of.
        remarks: What was assumed of weights that come from elsewhere.
        is_from_elsewhere: Whether its weights are of somebody else's program.
    """

    segmenter: Segmenter
    words: str
    made_by: dict[str, Any] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()
    is_from_elsewhere: bool = False


def chosen_segmenter(plan: Plan, which: str, city: str | None = None) -> Chosen:
    """The segmenter of a plan that a word means.

    Args:
        plan: Of the catalog.
        which: "promoted", "promoted:CITY", a segmenter of the catalog that needs no training, a
            city or transfer (its own, as `own_segmenter` has it), or the key (six digits or more)
            of a `segmenter` or `adaptation` in the store, with its kind and city or without.
        city: The city that is predicted, which "promoted" alone refers to.

    Raises:
        InputError: There is none of this kind, or several; the sentence names what there is.
    """
    word, _, other = which.partition(":")
    if word == PROMOTED:
        return _stored(plan, _promoted(plan, other or city), which)
    if which in plan.segmenters:
        starting = starting_segmenter(plan, which, seed=0)
        if not starting.is_trained:
            raise InputError(
                f"segmenters.{which} has no weights of its own to predict with: run "
                f"`crosscity pretrain {which}` and give the key that it prints"
            )
        network = {"network_sha256": _network_digest(starting.segmenter)}
        made_by = {"segmenter": which, **starting.made_of, **network}
        foreign = is_from_elsewhere(plan.segmenters[which])
        return Chosen(starting.segmenter, which, made_by, starting.remarks, foreign)
    if which in plan.cities or which in plan.transfers:
        return _stored(plan, own_segmenter(plan, which), which)
    if KEY.fullmatch(which):
        return _stored(plan, _by_key(plan.open_store(), which), which)
    names = ", ".join(sorted([*plan.segmenters, *plan.transfers, *plan.cities])) or "none"
    raise InputError(
        f"--segmenter {which!r} is neither 'promoted', nor a key in the store, nor a segmenter, "
        f"transfer or city of the catalog (which has {names})"
    )


def chosen_artifact(
    plan: Plan, which: str, city: str | None = None, given_as: str = OPTION
) -> ArtifactRef:
    """The artifact of a segmenter that a word means: promoted, or by its key.

    Args:
        plan: Of the catalog.
        which: "promoted", "promoted:CITY", a city, a transfer or a key, as `chosen_segmenter`
            takes them.
        city: The city or transfer that "promoted" alone refers to.
        given_as: The option or key of the catalog that gives the word, for errors.

    Raises:
        InputError: There is none of this kind, or several.
    """
    word, _, other = which.partition(":")
    if word == PROMOTED:
        return _promoted(plan, other or city, given_as)
    if which in plan.cities or which in plan.transfers:
        return own_segmenter(plan, which, given_as)
    if KEY.fullmatch(which):
        return _by_key(plan.open_store(), which)
    raise InputError(
        f"{given_as} {which!r} is neither 'promoted', nor a key in the store, nor a city or "
        "transfer: a segmenter of the catalog gets a key from `crosscity pretrain`"
    )


def segmenter_to_promote(plan: Plan, city: str, key: str | None) -> ArtifactRef:
    """A segmenter that may be put into use in a city: whole to the last byte, and it loads.

    Args:
        plan: Of the catalog.
        city: The city, or transfer.
        key: Of a `segmenter`, or an `adaptation` to this city, with its kind and city or without;
            default: the adaptation that the catalog describes, with the city's `arm` and
            `training_seed`.

    Raises:
        InputError: There is none of this key, it is of another city, or what the catalog describes
            is not there; the sentence says why.
        StoreError: It is damaged.
    """
    if key is None:
        found = _described(plan, city)
    else:
        found = _by_key(plan.open_store(), key)
        if found.kind == "adaptation" and found.city != city:
            raise InputError(f"{found.uri} is an adaptation to {found.city}, not to {city}")
    _stored(plan, found, found.key)
    return found


def _described(plan: Plan, city: str) -> ArtifactRef:
    """The adaptation that the catalog describes for a city, or a transfer."""
    if city in plan.transfers:
        return adapted_by(plan, city)
    entry = plan.city(city)
    try:
        return TrainedSegmenters(city, entry.training_seed, plan).of_arm(entry.arm)
    except InputError as error:
        raise InputError(
            f"{error}; `crosscity readapt {city}` makes all that the catalog describes, "
            f"`crosscity promote {city} KEY` takes what was made otherwise"
        ) from None


def adapted_by(plan: Plan, transfer: str, seed: int = 0) -> ArtifactRef:
    """The adaptation of a transfer: by its own arm, else by the last one that is there.

    Args:
        plan: Of the catalog.
        transfer: Of the catalog.
        seed: Of its training.

    Raises:
        InputError: There is none, or it was made otherwise; says what to run.
    """
    trained = TrainedSegmenters(transfer, seed, plan)
    own = arm_of_transfer(transfer, plan)
    others = [arm for arm in arms_of_transfers(plan) if arm != own]
    missing: InputError | None = None
    for arm in (own, *(arm for arm in reversed(others) if is_trained(arm))):
        try:
            return trained.of_arm(arm)
        except InputError as error:
            missing = missing or error
    words, verb = str(missing), f"crosscity transfer {transfer}"
    if verb not in words:  # where the start is missing, it names what makes that alone
        words += f"; `{with_seed(verb, seed)}` makes all of it"
    raise InputError(words) from None


def own_segmenter(plan: Plan, owner: str, given_as: str = OPTION) -> ArtifactRef:
    """What is in use in a city or transfer; of a transfer without, its adaptation.

    Args:
        plan: Of the catalog.
        owner: A city or transfer.
        given_as: The option or key of the catalog that names another, for errors.

    Raises:
        InputError: There is none, or what there is looks harmful; says what to do.
    """
    store = plan.open_store()
    if owner not in plan.transfers:
        plan.city(owner)
    found = promoted_segmenter(store, owner)
    if found is not None:
        return found
    if owner not in plan.transfers:
        raise InputError(
            f"no segmenter is promoted for {owner} yet: run `crosscity readapt {owner}`, or name "
            f"one with {given_as}"
        )
    adapted = adapted_by(plan, owner)
    known = evidence_of(store, owner, adapted, limits_now(owner, plan))
    if known.get("keep") == "before":
        start = TrainedSegmenters(owner, 0, plan).start
        raise InputError(
            f"{adapted.uri} was judged: {known['verdict']} Take the segmenter before, whose key is "
            f"{start.key[:12]}, or name {adapted.key[:12]} to take it all the same"
        )
    return adapted


def _network_digest(segmenter: Segmenter) -> str:
    """SHA-256 of what a network is beside its weights: options, classes in order, normalisation."""
    described = [segmenter.config(), segmenter.prediction_offsets.tolist()]
    return hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()


def _stored(plan: Plan, ref: ArtifactRef, words: str) -> Chosen:
    plan.open_store().verify(ref)
    segmenter = stored_segmenter(plan, ref)[1]
    return Chosen(segmenter, f"{words} ({ref.uri})", {"segmenter": ref.uri, "digest": ref.digest})


def _promoted(plan: Plan, owner: str | None, given_as: str = OPTION) -> ArtifactRef:
    """What is in use in a city or transfer; ``None``: in the only one in which one is."""
    if owner is not None:
        return own_segmenter(plan, owner, given_as)
    store, owners = plan.open_store(), (*plan.cities, *plan.transfers)
    promoted = {name: promoted_segmenter(store, name) for name in owners}
    there = {name: ref for name, ref in promoted.items() if ref is not None}
    if len(there) != 1:
        listed = ", ".join(f"promoted:{name}" for name in sorted(there)) or "there is none yet"
        raise InputError(f"say whose promoted segmenter is meant with {given_as}: {listed}")
    return next(iter(there.values()))


def _by_key(store: Store, key: str) -> ArtifactRef:
    there = list(_segmenters(store))
    known = KEY.fullmatch(key) is not None
    found = [ref for ref in there if known and key in (ref.key[: len(key)], ref.uri[: len(key)])]
    if len(found) == 1:
        return found[0]
    if not found:
        raise InputError(
            f"the store has no segmenter or adaptation with the key {key} (six digits or more); "
            f"it has {_listed(there)}"
        )
    raise InputError(f"several segmenters have keys that begin with {key}: {_listed(found)}")


def _listed(refs: Sequence[ArtifactRef]) -> str:
    names = [ref.uri for ref in refs[:_LISTED]]
    more = len(refs) - len(names)
    return ", ".join([*names, *([f"{more} more"] if more else [])]) or "none yet"


def _segmenters(store: Store) -> Iterator[ArtifactRef]:
    for kind in _KINDS:
        yield from store.artifacts(kind=kind)
