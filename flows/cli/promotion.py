"""`crosscity promote`, `rollback`, `pin`, `unpin`, `promotions`: which segmenter a city uses."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.cli.options import CATALOG, CatalogOption, OwnerArgument
from flows.cli.outcome import JsonOption, add, ended, note

if TYPE_CHECKING:
    from adapters.store import ArtifactRef, Store
    from tasks.steps.plan import Plan

ReasonOption = Annotated[str, typer.Option("--reason", help="Why; it is kept in the log.")]


def register(app: typer.Typer) -> None:
    """Adds the verbs to the command line."""
    for verb in (promote, rollback, pin, unpin, promotions):
        app.command(verb.__name__)(verb)


def promote(
    city: OwnerArgument,
    key: Annotated[
        str | None,
        typer.Argument(
            help="Key of a segmenter (its first six digits or more, or all that commands print "
            "of it); default: what the catalog describes."
        ),
    ] = None,
    reason: ReasonOption = "",
    keep: Annotated[
        bool, typer.Option("--pin", help="Keep it until `unpin`, whatever runs make.")
    ] = False,
    despite_verdict: Annotated[
        bool, typer.Option("--despite-verdict", help="Also where the safeguard saw harm.")
    ] = False,
    catalog: CatalogOption = CATALOG,
    _as_json: JsonOption = False,
) -> None:
    """Put a segmenter into use in a city, once every byte of it is verified and it loads."""
    from tasks.judging import promotion  # noqa: PLC0415 - Prefect and PyTorch load late
    from tasks.judging.chosen_segmenter import segmenter_to_promote  # noqa: PLC0415
    from tasks.steps.errors import InputError  # noqa: PLC0415

    plan, store = _open_store(city, catalog)
    ref = segmenter_to_promote(plan, city, key)
    known = promotion.evidence_of(store, city, ref, promotion.limits_now(city, plan))
    if known.get("keep") == "before" and not despite_verdict:
        raise InputError(
            f"{ref.uri} was judged: {known['verdict']} Promote it all the same with "
            "--despite-verdict"
        )
    promotion.put_in_use(store, city, ref, reason=reason, keep=keep)
    _show_in_use(plan, city, ref)


def rollback(
    city: OwnerArgument,
    reason: ReasonOption = "",
    catalog: CatalogOption = CATALOG,
    _as_json: JsonOption = False,
) -> None:
    """Put the segmenter before into use again, and pin it; again goes further back."""
    from tasks.judging import promotion  # noqa: PLC0415

    plan, store = _open_store(city, catalog)
    _show_in_use(plan, city, promotion.roll_back(store, city, reason))


def pin(
    city: OwnerArgument,
    reason: ReasonOption = "",
    catalog: CatalogOption = CATALOG,
    _as_json: JsonOption = False,
) -> None:
    """Keep the segmenter in use, whatever runs make."""
    from tasks.judging import promotion  # noqa: PLC0415

    plan, store = _open_store(city, catalog)
    _show_in_use(plan, city, promotion.pin(store, city, reason))


def unpin(
    city: OwnerArgument,
    reason: ReasonOption = "",
    catalog: CatalogOption = CATALOG,
    _as_json: JsonOption = False,
) -> None:
    """Let runs promote again."""
    from tasks.judging import promotion  # noqa: PLC0415

    plan, store = _open_store(city, catalog)
    if promotion.pinned(store, city) is None and promotion.promoted_segmenter(store, city):
        note(f"{city} was not pinned")
    _show_in_use(plan, city, promotion.unpin(store, city, reason))


def promotions(
    city: OwnerArgument,
    as_json: Annotated[bool, typer.Option("--json", help="Print it as JSON.")] = False,
    catalog: CatalogOption = CATALOG,
) -> None:
    """Show when and why the segmenter in use was changed."""
    from tasks.judging.promotion import promotion_log  # noqa: PLC0415

    _, store = _open_store(city, catalog)
    entries = promotion_log(store, city)
    if as_json:
        typer.echo(json.dumps(entries, indent=1))
        return
    if not entries:
        typer.echo(f"nothing was promoted for {city} yet")
    for one in entries:
        segmenter = one["segmenter"]
        words = [one["at"], one["action"], segmenter["uri"]]
        if one.get("miou") is not None:
            words.append(f"mIoU {100 * one['miou']:.1f} %")
        words.append(f"run {one['run']}" if one["run"] else "by hand")
        typer.echo("  ".join(words))
        for more in (one.get("reason"), one.get("verdict")):
            if more:
                typer.echo(f"    {more}")


def show_pin(plan: Plan, city: str) -> Mapping[str, Any] | None:
    """Says, and returns, since when and why the segmenter in use is pinned, if it is."""
    from tasks.judging.promotion import pinned  # noqa: PLC0415

    held = pinned(plan.open_store(), city)
    if held is not None:
        reason = f" ({held['reason']})" if held.get("reason") else ""
        add(f"pinned since {held['at']}{reason}; `crosscity unpin {city}` ends it")
    return held


def _open_store(city: str, catalog: CatalogOption) -> tuple[Plan, Store]:
    from tasks.steps.plan import open_plan_of  # noqa: PLC0415

    plan = open_plan_of(city, catalog)
    return plan, plan.open_store()


def _show_in_use(plan: Plan, city: str, ref: ArtifactRef) -> None:
    use = f"crosscity predict {city}"
    if city in plan.transfers:
        use = f"crosscity predict FOLDER --segmenter {city} -o DIR"
    add(f"in use in {city}: {ref.uri}")
    held = show_pin(plan, city)
    ended(
        "segmenter in use",
        ref.uri,
        said="",
        next_step=f"`{use}`; `crosscity promotions {city}` has its history",
        city=city,
        key=ref.key,
        pinned=held,
    )
