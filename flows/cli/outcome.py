"""How a verb ends: what is there now, where it lies, and what comes next; as text or as JSON."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from typing import Annotated, Any, Final

import typer

from flows.cli.options import OPTIONS

_REASONS: Final = 3
"""Of failures, the most frequent ones that are told; tables have them all."""


def _take_json(wanted: bool) -> bool:
    OPTIONS.json = OPTIONS.json or wanted
    return wanted


JsonOption = Annotated[
    bool,
    typer.Option(
        "--json", help="Print what was made as JSON, and nothing else.", callback=_take_json
    ),
]
"""A verb with this option says nothing on the standard output but by `ended`."""


def ended(
    what: str,
    where: object,
    *,
    said: str | None = None,
    next_step: str = "",
    **facts: Any,  # noqa: ANN401 - whatever JSON may hold
) -> None:
    """Says what a verb made.

    Args:
        what: What is there now: "pairs", "segmenter".
        where: A path, or a place in the store.
        said: The line that a person reads; default: both. Empty where `add` has said it.
        next_step: The command that usually comes next; it goes to the standard error, so that the
            standard output holds results alone.
        facts: What a program may want to know beside; JSON-able.
    """
    if OPTIONS.json:
        content = {"what": what, "where": str(where), "next": next_step or None, **facts}
        typer.echo(json.dumps(content, ensure_ascii=False, default=str))
        return
    if said != "":
        typer.echo(f"{what}: {where}" if said is None else said)
    if next_step:
        note(f"next: {next_step}")


def add(line: str) -> None:
    """A line of a result for people; a program gets it as a fact."""
    if not OPTIONS.json:
        typer.echo(line)


def note(line: str) -> None:
    """A line beside the result, on the standard error; none with --quiet."""
    if not OPTIONS.quiet:
        typer.echo(line, err=True)


def tell_remarks(summary: Mapping[str, Any]) -> None:
    """What an artifact's summary remarks on the data that it was made of, a line each."""
    for remark in summary.get("remarks", ()):
        note(f"remark: {remark}")


def tell_failures(summary: Mapping[str, Any], what: str) -> None:
    """How many rows of an artifact failed or were left out, and why: they are few, and go on so.

    Args:
        summary: Of the artifact: `images`, and by reason `failures` and perhaps `left_out`.
        what: The rows, in the plural: "images".
    """
    for of, happened in (("failures", "failed"), ("left_out", "are left out")):
        reasons = Counter(summary.get(of) or {})
        if not reasons:
            continue
        told = "; ".join(f"{count} × {reason}" for reason, count in reasons.most_common(_REASONS))
        more = "; …" if len(reasons) > _REASONS else ""
        note(f"remark: {reasons.total()} of {summary['images']} {what} {happened}: {told}{more}")
