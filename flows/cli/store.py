"""`crosscity store`: whether what is there is whole, and what nobody needs any more."""

from __future__ import annotations

from datetime import date, timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from flows.cli.options import CATALOG, CatalogOption
from flows.cli.outcome import JsonOption, add, ended
from tasks.steps.counted import counted

if TYPE_CHECKING:
    from adapters.store import Store, StoreError
    from tasks.steps.plan import Plan

app = typer.Typer(help="Look after the store.", no_args_is_help=True)

_MADE_BY = {
    "captures": "harvest",
    "captures_slice": "harvest",
    "imagery_part": "harvest",
    "imagery": "harvest",
    "pairs": "harvest",
    "pairs_slice": "priors",
    "static_prior_part": "priors",
    "static_prior": "priors",
    "adaptation": "adapt",
    "evaluation": "evaluate",
    **dict.fromkeys(("predictions", "predictions_part", "imagery_slice"), "predict"),
    **dict.fromkeys(("report", "differences", "worst_images"), "report"),
}
"""The verb that makes a kind of a city again; `crosscity readapt` makes the others as they are
needed, and of a transfer `crosscity transfer` makes all."""
_OF_SEVERAL = ("comparison", "pair_comparison", "suggestion")
"""Kinds that the name of a city or transfer alone does not make again."""
_COMPARED_TOO = ("differences", "evaluation")
"""Kinds that are also made of any two segmenters that are compared."""
_POINTED_BY = {"harvest": "harvest", "promoted": "promote"}
"""The verb that writes a pointer again."""


@app.command()
def verify(
    catalog: CatalogOption = CATALOG,
    sample: Annotated[
        float, typer.Option("--sample", min=0.0, max=1.0, help="Share of the artifacts.")
    ] = 1.0,
    seed: Annotated[
        int | None, typer.Option("--seed", help="Which ones; default: others each day.")
    ] = None,
    _as_json: JsonOption = False,
) -> None:
    """Hash every file, or those of a sample, and say what is damaged; nothing is changed.

    Exit code 1 where something is damaged.
    """
    from adapters.store.upkeep import sampled  # noqa: PLC0415 - compiled code loads late
    from tasks.steps.plan import open_plan  # noqa: PLC0415

    plan = open_plan(str(catalog))
    store = plan.open_store()
    chosen = date.today().toordinal() if seed is None else seed
    everything = store.places()
    whole, damaged = 0, []
    pointers = [f"{city}/{name}" for city, name, fault in store.pointer_faults() if _is_told(fault)]
    pointers += [place for place, fault in store.damaged_records() if _is_told(fault)]
    places = list(sampled(everything, sample, chosen))
    for place in places:
        fault = store.fault_at(place)
        whole += fault is None
        if fault is not None:
            damaged.append(place)
            typer.echo(f"{fault}: {_remedy(place, plan)}", err=True)
    ended(
        "artifacts",
        plan.store.url,
        said=f"of {counted(len(places), 'artifact')}, {_are(whole)} whole "
        f"and {_are(len(damaged))} not"
        + ("" if len(places) == len(everything) else f" (a sample of {len(everything)})")
        + (f"; damaged pointers or shared files: {len(pointers)}" if pointers else ""),
        next_step="`crosscity store repair` moves them away: artifacts are made again, pointers "
        "restored"
        if damaged or pointers
        else "",
        artifacts=len(everything),
        whole=whole,
        damaged=damaged,
        damaged_pointers=pointers,
    )
    if damaged or pointers:
        raise typer.Exit(1)


def _are(number: int, what: str = "") -> str:
    """A number of things and the verb that goes with it: "1 artifact is", "0 are"."""
    named = counted(number, what) if what else str(number)
    return f"{named} {'is' if number == 1 else 'are'}"


def _is_told(fault: StoreError | None) -> bool:
    if fault is not None:
        typer.echo(str(fault), err=True)
    return fault is not None


def _remedy(place: str, plan: Plan) -> str:
    """What makes an artifact again: a verb of its city or transfer, or whatever else needs it."""
    kind, owner, _ = place.split("/")
    if kind in _OF_SEVERAL or owner not in (*plan.cities, *plan.transfers):
        again = "the next command that needs it"
    else:
        verb = "transfer" if owner in plan.transfers else _MADE_BY.get(kind, "readapt")
        again = f"`crosscity {verb} {owner}`"
        if kind in _COMPARED_TOO:
            again += ", or the `crosscity compare` that it was made for,"
    return f"{again} makes it again, once it is moved"


@app.command()
def repair(catalog: CatalogOption = CATALOG, _as_json: JsonOption = False) -> None:
    """Check every file against its SHA-256; move what is damaged to quarantine, restore pointers.

    Exit code 1 where something was damaged: the next run of its step makes it again. A pointer
    (which harvest, which segmenter, and the log of promotions) gets its newest sound state back.
    """
    from tasks.steps.plan import open_plan  # noqa: PLC0415 - compiled code loads late

    plan = open_plan(str(catalog))
    store = plan.open_store()
    whole, damaged = 0, []
    for place, error in store.check_all():
        if error is None:
            whole += 1
        else:
            damaged.append(place)
            typer.echo(f"{place}: {error}", err=True)
    restored, lost = _repaired_pointers(store)
    away = []
    for place, fault in store.damaged_records():
        if _is_told(fault):
            away.append(place)
            add(f"{place}: moved to {store.put_record_away(place)}; what it counted begins anew")
    ended(
        "artifacts",
        plan.store.url,
        said=f"{_are(whole, 'artifact')} whole, {_are(len(damaged))} not",
        next_step="run the verb that made them again; `crosscity store quarantine` lists them"
        if damaged
        else "",
        whole=whole,
        damaged=damaged,
        restored_pointers=restored,
        lost_pointers=lost,
        shared_files_moved=away,
    )
    if damaged or restored or lost or away:
        raise typer.Exit(1)


def _repaired_pointers(store: Store) -> tuple[list[str], list[str]]:
    """Repairs every damaged pointer, and says what became of it.

    Returns:
        The pointers that were restored, and those that could not be.
    """
    from adapters.store import StoreError  # noqa: PLC0415 - compiled code loads late
    from adapters.store.pointers import DamagedPointerError  # noqa: PLC0415

    restored, lost = [], []
    for city, name, fault in store.pointer_faults():
        if not _is_told(fault):
            continue
        place = f"{city}/{name}"
        if not isinstance(fault, DamagedPointerError):  # of a newer release: nothing is damaged
            lost.append(place)
            continue
        try:
            made = store.repair_pointer(name, city)
        except StoreError as error:
            typer.echo(str(error), err=True)
            lost.append(place)
            continue
        moved = f"moved to {made.quarantine}" if made.quarantine else "it was gone"
        if made.is_restored:
            restored.append(place)
            add(f"{made.pointer}: {moved}, and its newest sound state is restored")
        else:
            lost.append(place)
            again = _POINTED_BY.get(name, "readapt")
            add(
                f"{made.pointer}: {moved}; no state of it was kept, so {city} is without it until "
                f"`crosscity {again} {city}`"
            )
    return restored, lost


app.command("check", hidden=True)(repair)  # its name in earlier releases


@app.command()
def prune(
    catalog: CatalogOption = CATALOG,
    yes: Annotated[
        bool, typer.Option("--yes", help="Remove it; without, it is only said.")
    ] = False,
    harvests: Annotated[
        int, typer.Option("--harvests", min=0, help="So many last harvests of a city stay.")
    ] = 2,
    earlier: Annotated[
        int, typer.Option("--earlier", min=0, help="So many segmenters before the one in use stay.")
    ] = 3,
    days: Annotated[float, typer.Option("--days", min=0.0, help="What is younger stays.")] = 30.0,
    _as_json: JsonOption = False,
) -> None:
    """Remove artifacts that neither a segmenter in use nor the last harvests are made of.

    Also what died in the middle has left: files of uploads that did not end, checkpoints of what
    was finished since, leases of processes that are gone, and what else nobody reads. Without --yes
    it only says what would go.
    """
    from adapters.store.upkeep import (  # noqa: PLC0415 - loads late
        Kept,
        orphans,
        removable,
        size_of,
    )
    from tasks.steps.plan import open_plan  # noqa: PLC0415

    plan = open_plan(str(catalog))
    store = plan.open_store()
    now = store.now()  # by the store's clock: this machine's may be years off
    found = removable(store, Kept(harvests, earlier, days), now)
    for manifest in found:
        add(f"{manifest.made_at:%Y-%m-%d}  {size_of(manifest) / 1e6:9.1f} MB  {manifest.folder}")
        if yes:
            store.remove(manifest.ref)
    total = sum(size_of(manifest) for manifest in found) / 1e6
    left = orphans(store, timedelta(days=max(1.0, days)), now)
    for one in left:
        add(f"{'':10}  {one.bytes / 1e6:9.1f} MB  {one.place}  {one.what}")
        if yes:
            store.remove_left(one)
    if left:
        spare = sum(one.bytes for one in left) / 1e6
        done = "removed" if yes else "would remove"
        add(f"{done} what was left in {counted(len(left), 'place')} by what died, {spare:.1f} MB")
    said = f"would remove {counted(len(found), 'artifact')} of {total:.1f} MB: --yes does it"
    if not found:
        said = "there is nothing to remove"
    elif yes:
        said = f"removed {counted(len(found), 'artifact')} of {total:.1f} MB"
    ended(
        "artifacts that nobody needs",
        plan.store.url,
        said=said,
        removed=yes,
        artifacts=[manifest.folder for manifest in found],
        megabytes=round(total, 1),
        left_behind=[{"place": one.place, "what": one.what, "bytes": one.bytes} for one in left],
    )


@app.command()
def quarantine(catalog: CatalogOption = CATALOG, _as_json: JsonOption = False) -> None:
    """List what was found damaged and moved away, artifacts and pointers; it may be deleted."""
    from tasks.steps.plan import open_plan  # noqa: PLC0415 - compiled code loads late

    plan = open_plan(str(catalog))
    found = plan.open_store().quarantined()
    for one in found:
        add(f"{one.found_at[:19]}  {one.place}  {one.what}")
    ended(
        "artifacts in quarantine",
        plan.store.url,
        said=f"{_are(len(found), 'artifact')} in quarantine",
        artifacts=[
            {"place": one.place, "what": one.what, "found_at": one.found_at} for one in found
        ],
    )
