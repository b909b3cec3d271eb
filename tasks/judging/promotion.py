"""Making a city's newest segmenter the one that is used."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from prefect.context import FlowRunContext, TaskRunContext

from adapters.store import SINGLE, ArtifactRef, Manifest, Selection, Store
from tasks.steps.announcing import alter, announce
from tasks.steps.artifact_task import step
from tasks.steps.dashboard import publish_lineage
from tasks.steps.errors import InputError
from tasks.steps.logs import warn_user
from tasks.steps.plan import Plan

PROMOTED: Final = "promoted"
"""Name of the selection: the segmenter that is in use in a city, and those before it."""
EARLIER: Final = "earlier"
"""Key of its notes: what was promoted before, the oldest first."""
LOG: Final = "log"
"""Key of its notes: every change of the segmenter in use, the oldest first; never shortened."""
SWITCHES: Final = ("promote", "rollback")
"""Actions of the log that put a segmenter into use; the others leave it as it is."""
PINNED: Final = "pinned"
"""Key of its notes: since when, and why, runs may not change the segmenter in use."""

_Changed = tuple[Mapping[str, ArtifactRef], Mapping[str, Any]]


def promoted_segmenter(store: Store, city: str) -> ArtifactRef | None:
    """The segmenter that is in use in a city; ``None`` if there is none, or it is gone."""
    found = _last_promoted(store, city)
    return found if found is not None and store.find_ref(found) else None


def _last_promoted(store: Store, city: str) -> ArtifactRef | None:
    """The segmenter that a city points to, whether or not it is still there."""
    state = store.selected(PROMOTED, city)
    return state.refs.get(SINGLE) if state is not None else None


def put_in_use(
    store: Store,
    city: str,
    segmenter: ArtifactRef,
    *,
    notes: Mapping[str, Any] | None = None,
    events: Sequence[Mapping[str, Any]] = (),
    action: str = "promote",
    reason: str = "",
    unless_pinned: bool = False,
    unless_used: bool = False,
    keep: bool = False,
) -> ArtifactRef:
    """Makes a segmenter the one that is used, in one switch; those before it stay noted.

    Of several that do this at once, each comes into the log, and the last is in use.

    Args:
        store: The store.
        city: The city.
        segmenter: A `segmenter` or `adaptation`, verified.
        notes: What else is noted with it; JSON-able. Other notes stay.
        events: What is to be announced of it.
        action: What the log calls it.
        reason: Why, in words, for the log.
        unless_pinned: Whether another segmenter that is pinned stays in use, as long as it is in
            the store; the pin of one that is gone ends.
        unless_used: Whether another segmenter that is in use stays so in any case, as long as it is
            in the store: only notes and events come then.
        keep: Whether it is pinned in the same switch.

    Returns:
        The segmenter that is in use now.
    """
    entry = {
        "action": action,
        "segmenter": segmenter.to_dict(),
        "reason": reason,
        **evidence_of(store, city, segmenter),
    }

    def changed(state: Selection | None) -> _Changed | None:
        kept: dict[str, Any] = {} if state is None else dict(state.notes)
        before = None if state is None else state.refs.get(SINGLE)
        is_pinned = before not in (None, segmenter) and PINNED in kept
        stays = unless_used or (unless_pinned and is_pinned)
        if before is not None and stays and store.find_ref(before):
            return ({SINGLE: before}, {**kept, **(notes or {})}) if unless_used else None
        if before != segmenter:
            if before is not None:
                kept[EARLIER] = [*_listed(kept, EARLIER), before.to_dict()]
            kept[LOG] = [*_listed(kept, LOG), _logged(entry, before)]
        if stays and is_pinned:
            kept = _unpinned(kept, segmenter, "what was pinned is gone from the store")
        if keep:
            kept = _pinned_too(kept, segmenter, reason)  # no run's promotion comes between
        return {SINGLE: segmenter}, {**kept, **(notes or {})}

    now = alter(store, PROMOTED, city, changed, events)
    return segmenter if now is None else now.refs.get(SINGLE, segmenter)


def earlier_in_use(store: Store, state: Selection | None) -> list[ArtifactRef]:
    """Segmenters that were in use before, without the newest ones that are gone from the store.

    Args:
        store: The store.
        state: What `promoted.json` says.

    Returns:
        The last one is what `roll_back` puts into use; empty where there is none.
    """
    earlier = [ArtifactRef.from_dict(one) for one in _listed(state.notes if state else {}, EARLIER)]
    while earlier and not store.find_ref(earlier[-1]):
        earlier.pop()
    return earlier


def roll_back(store: Store, city: str, reason: str = "") -> ArtifactRef:
    """Puts the segmenter that was in use before into use again, and pins it.

    Doing it again goes further back. Those that are not in the store any more are left out.

    Returns:
        The segmenter that is in use now, verified.

    Raises:
        InputError: There was none before, or another was put into use at the same moment.
        StoreError: It is damaged.
    """
    state = store.selected(PROMOTED, city)
    used = None if state is None else state.refs.get(SINGLE)
    earlier = earlier_in_use(store, state)
    if not earlier:
        raise InputError(
            f"there is nothing to roll back to: no segmenter was in use in {city} before this one"
        )
    found = earlier.pop()
    store.verify(found)
    entry = {
        "action": "rollback",
        "segmenter": found.to_dict(),
        "reason": reason,
        **evidence_of(store, city, found),
    }

    def changed(state: Selection | None) -> _Changed:
        before = None if state is None else state.refs.get(SINGLE)
        if state is None or before != used:
            raise InputError(
                f"the segmenter in use in {city} was changed meanwhile: look at `crosscity "
                f"promotions {city}`, and run it again"
            )
        notes = {
            **state.notes,
            EARLIER: [one.to_dict() for one in earlier],
            LOG: [*_listed(state.notes, LOG), _logged(entry, before)],
            PINNED: _pin(reason or "rolled back"),
        }
        return {SINGLE: found}, notes

    alter(store, PROMOTED, city, changed)
    return found


def pin(store: Store, city: str, reason: str = "") -> ArtifactRef:
    """Keeps the segmenter in use until `unpin`, whatever runs make; `InputError` without one."""
    return _change_pin(store, city, reason, keep=True)


def unpin(store: Store, city: str, reason: str = "") -> ArtifactRef:
    """Lets runs change the segmenter in use again; `InputError` without one.

    Where it is not pinned, nothing is changed or logged.
    """
    return _change_pin(store, city, reason, keep=False)


def pinned(store: Store, city: str) -> Mapping[str, Any] | None:
    """When and why the segmenter in use was pinned; ``None`` where runs may change it."""
    state = store.selected(PROMOTED, city)
    found = None if state is None else state.notes.get(PINNED)
    return found if isinstance(found, dict) else None


def promotion_log(store: Store, city: str) -> list[dict[str, Any]]:
    """Every change of the segmenter in use, the oldest first.

    Each has `at`, `action` (promote, rollback, pin, unpin), `segmenter`, `reason` and `run` (of
    Prefect; empty for a command line); what replaced another also `before`, and what was known
    then: `verdict` of the safeguard and `miou` on the test places.
    """
    state = store.selected(PROMOTED, city)
    return [] if state is None else _listed(state.notes, LOG)


def evidence_of(
    store: Store, city: str, segmenter: ArtifactRef, limits: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """What the store knows of a segmenter: `verdict`, `keep` and `miou`, as far as it does.

    Of judgements beside one and the same segmenter, and of scores, the newest is told: limits,
    pairs and labels of before are of no matter once it was judged or scored anew. Of judgements,
    one by the limits of now goes before newer ones: it was found again when they were set back.

    Args:
        store: The store.
        city: The city, or transfer.
        segmenter: The segmenter.
        limits: Of the safeguard, as `limits_now` has them; ``None``: the newest counts.
    """
    return evidence_by_digest(store, city, limits).get(segmenter.digest, {})


def evidence_by_digest(
    store: Store, city: str, limits: Mapping[str, Any] | None = None
) -> dict[str, dict[str, Any]]:
    """`evidence_of` of every segmenter that was judged or scored in a city, by its digest."""
    known: dict[str, dict[str, Any]] = {}
    judgements: dict[tuple[str, str | None], Manifest] = {}
    judged_in_order = sorted(
        _oldest_first(store, "safeguard", city),
        key=lambda manifest: _is_by(limits, manifest.parameters.get("limits")),
    )
    for manifest in judged_in_order:
        inputs = manifest.inputs if isinstance(manifest.inputs, dict) else {}
        # Only of the segmenter that was judged, and not of the one that it was compared with; a
        # start that was looked at beside itself (`evaluate --arm pretrained`) was not judged.
        if inputs.get("adaptation") not in (None, inputs.get("before")):
            judgements[inputs["adaptation"], inputs.get("before")] = manifest
    for (judged, _), manifest in judgements.items():
        if known.get(judged, {}).get("keep") != "before":
            # One judgement against it outweighs those for it.
            summary = manifest.summary
            known[judged] = {"verdict": summary.get("sentence"), "keep": summary.get("keep")}
    for manifest in _oldest_first(store, "evaluation", city):
        inputs_of_it = manifest.inputs
        for digest in inputs_of_it.values() if isinstance(inputs_of_it, dict) else inputs_of_it:
            known.setdefault(digest, {})["miou"] = manifest.summary.get("miou")
    return known


def limits_now(owner: str, plan: Plan) -> dict[str, float]:
    """The safeguard's limits that the catalog sets for a city or transfer, by name."""
    entry = plan.transfer(owner) if owner in plan.transfers else plan.city(owner)
    return plan.training(entry.training).safeguard.model_dump(exclude={"mode"})


def _is_by(limits: Mapping[str, Any] | None, judged_by: object) -> bool:
    """Whether a judgement was made by these limits; it notes those that nobody can set, too."""
    if not limits or not isinstance(judged_by, Mapping):
        return False
    return all(judged_by.get(name) == value for name, value in limits.items())


def _oldest_first(store: Store, kind: str, city: str) -> list[Manifest]:
    manifests = map(store.manifest, store.artifacts(kind, city))
    return sorted(manifests, key=lambda manifest: (manifest.made_at, manifest.ref.key))


def _change_pin(store: Store, city: str, reason: str, *, keep: bool) -> ArtifactRef:
    """Pins the segmenter in use, or ends that; returns it."""

    def changed(state: Selection | None) -> _Changed:
        found = None if state is None else state.refs.get(SINGLE)
        if state is None or found is None or not store.find_ref(found):
            raise InputError(
                f"no segmenter is promoted for {city} yet: run `crosscity promote {city}`, or "
                f"of a city `crosscity readapt {city}`"
            )
        if keep:
            return {SINGLE: found}, _pinned_too(state.notes, found, reason)
        return {SINGLE: found}, _unpinned(state.notes, found, reason)

    now = alter(store, PROMOTED, city, changed)
    if now is None:
        raise InputError(f"nothing is promoted for {city}")
    return now.refs[SINGLE]


def _pinned_too(notes: Mapping[str, Any], segmenter: ArtifactRef, reason: str) -> dict[str, Any]:
    """The notes with a pin of the segmenter in use, and the log's entry of it."""
    return {**notes, LOG: _with_entry(notes, "pin", segmenter, reason), PINNED: _pin(reason)}


def _unpinned(notes: Mapping[str, Any], segmenter: ArtifactRef, reason: str) -> dict[str, Any]:
    """The notes without a pin, and with the log's entry where there was one."""
    if PINNED not in notes:
        return dict(notes)
    logged = {**notes, LOG: _with_entry(notes, "unpin", segmenter, reason)}
    return {name: value for name, value in logged.items() if name != PINNED}


def _with_entry(
    notes: Mapping[str, Any], action: str, segmenter: ArtifactRef, reason: str
) -> list[dict[str, Any]]:
    """The log with an entry of what leaves the segmenter in use as it is."""
    entry = {"action": action, "segmenter": segmenter.to_dict(), "reason": reason}
    return [*_listed(notes, LOG), {"at": _now(), "run": _flow_run(), **entry}]


def _pin(reason: str) -> dict[str, Any]:
    return {"at": _now(), "reason": reason}


def _listed(notes: Mapping[str, Any], key: str) -> list[dict[str, Any]]:
    found = notes.get(key, [])
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []


def _logged(entry: Mapping[str, Any], before: ArtifactRef | None) -> dict[str, Any]:
    """An entry of the log on what replaced another."""
    replaced = None if before is None else before.to_dict()
    return {"at": _now(), "run": _flow_run(), "before": replaced, **entry}


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _flow_run() -> str:
    """The id of the flow run that this is part of; empty on the command line."""
    task_run = TaskRunContext.get()
    if task_run is not None:
        return str(task_run.task_run.flow_run_id or "")
    flow_run = FlowRunContext.get()
    return str(flow_run.flow_run.id) if flow_run is not None and flow_run.flow_run else ""


@step("promote", run_name="promote {city}")
def promote(adapted: ArtifactRef, city: str, plan: Plan) -> ArtifactRef:
    """Points `current/<city>/promoted.json` at an adaptation; the one before stays in the store.

    Where the segmenter in use is pinned, it stays, and is returned; where it is gone from the
    store, there is nothing to keep, and the pin ends.
    """
    store = plan.open_store()
    in_use, held = promoted_segmenter(store, city), pinned(store, city)
    lost = _last_promoted(store, city) if held is not None and in_use is None else None
    if lost is not None:
        warn_user(
            f"{city}: {lost.uri}, which was pinned, is gone from the store: the pin ends, and "
            f"{adapted.uri} is promoted"
        )
    if in_use is not None and held is not None and in_use != adapted:
        warn_user(
            f"{city}: the segmenter in use has been pinned since {held.get('at')} "
            f"({held.get('reason') or 'no reason given'}), so {adapted.uri} is not promoted; "
            f"`crosscity unpin {city}` lets runs promote again.",
        )
        return in_use
    store.verify(adapted)  # to the last byte, before anybody uses it
    before = promoted_segmenter(store, city)
    used = put_in_use(store, city, adapted, unless_pinned=True)
    if used != adapted:  # pinned in this very moment
        return used
    announce(store, PROMOTED, city)  # what an earlier run did not come to
    said = f"Promoted for {city}. Before: `{before.uri}`." if before else f"Promoted for {city}."
    publish_lineage(f"promoted-{city}", store, adapted, said)
    return adapted


def has_labels(city: str, plan: Plan) -> bool:
    """Whether a city's segmenters can be scored."""
    return plan.city(city).labels is not None
