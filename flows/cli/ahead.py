"""`crosscity plan`: what the way to an adapted segmenter would do now, without doing it."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from flows.cli.options import CATALOG, CatalogOption, ComputeOption, OwnerArgument
from flows.cli.outcome import note

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tasks.judging.steps_ahead import StepAhead
    from tasks.steps.plan import Plan


def register(app: typer.Typer) -> None:
    """Adds the verb to the command line."""
    app.command("plan")(plan)


def plan(
    city: OwnerArgument,
    arm: Annotated[str | None, typer.Option(help="Default: `arm` of the entry.")] = None,
    seed: Annotated[
        int | None, typer.Option(help="Default: a city's `training_seed`, else 0.", min=0)
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    catalog: CatalogOption = CATALOG,
    compute: ComputeOption = None,
) -> None:
    """Say what `readapt`, or `transfer`, would find, make, or make anew and why, and its cost."""
    from tasks.judging.steps_ahead import steps_ahead  # noqa: PLC0415
    from tasks.steps.plan import open_plan_of  # noqa: PLC0415
    from tasks.steps.simulated_only import simulated_only_remark  # noqa: PLC0415
    from tasks.training.trainings import check_adaptation  # noqa: PLC0415

    opened = open_plan_of(city, catalog, compute)
    if city in opened.transfers:
        _plan_transfer(opened, city, arm, seed or 0, as_json=as_json)
        return
    entry = opened.city(city)
    chosen = entry.arm if arm is None else arm
    check_adaptation(city, chosen, opened)
    if as_json:
        number = entry.training_seed if seed is None else seed
        steps = steps_ahead(city, chosen, number, opened)
        typer.echo(json.dumps([asdict(step) for step in steps], indent=2))
        return
    for line in plan_lines(opened, city, arm, seed):
        typer.echo(line)
    remark = simulated_only_remark(opened, city)
    if remark is not None:
        note(f"note: {remark}")


def _plan_transfer(
    opened: Plan, transfer: str, arm: str | None, seed: int, *, as_json: bool
) -> None:
    """The steps of `crosscity transfer`."""
    from tasks.judging.steps_ahead import transfer_steps_ahead  # noqa: PLC0415
    from tasks.steps.simulated_only import simulated_only_remark  # noqa: PLC0415
    from tasks.training.transfers import arm_of_transfer, check_transfer_arm  # noqa: PLC0415

    chosen = arm_of_transfer(transfer, opened) if arm is None else arm
    check_transfer_arm(chosen, transfer, opened)
    steps = transfer_steps_ahead(transfer, chosen, seed, opened)
    if as_json:
        typer.echo(json.dumps([asdict(step) for step in steps], indent=2))
        return
    for line in _written(steps):
        typer.echo(line)
    remark = simulated_only_remark(opened, transfer)
    if remark is not None:
        note(f"note: {remark}")


def plan_lines(opened: Plan, city: str, arm: str | None, seed: int | None) -> list[str]:
    """The steps ahead, a line each."""
    from tasks.judging.steps_ahead import steps_ahead  # noqa: PLC0415

    entry = opened.city(city)
    number = entry.training_seed if seed is None else seed
    return _written(steps_ahead(city, entry.arm if arm is None else arm, number, opened))


def _written(steps: Sequence[StepAhead]) -> list[str]:
    width = max(len(step.name) for step in steps)
    lines = []
    for step in steps:
        line = f"{step.name:<{width}}  {step.state}"
        if step.cost:
            line += f" ({step.cost})"
        lines.append(f"{line}: {step.why}" if step.why else line)
    return lines
