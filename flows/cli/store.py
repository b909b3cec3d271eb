"""`crosscity store`: whether what is there is whole, and what was found damaged."""

from __future__ import annotations

import typer

from flows.cli.options import CATALOG, CatalogOption

app = typer.Typer(help="Look after the store.", no_args_is_help=True)


@app.command()
def check(catalog: CatalogOption = CATALOG) -> None:
    """Check every file of every artifact against its SHA-256; move what is damaged to quarantine.

    Exit code 1 where something was damaged: the next run of its step makes it again.
    """
    from tasks.steps.plan import open_plan  # noqa: PLC0415 - compiled code loads late

    whole, damaged = 0, 0
    for place, error in open_plan(str(catalog)).open_store().check_all():
        if error is None:
            whole += 1
        else:
            damaged += 1
            typer.echo(f"{place}: {error}", err=True)
    typer.echo(f"{whole} artifacts are whole, {damaged} are not")
    if damaged:
        raise typer.Exit(1)


@app.command()
def quarantine(catalog: CatalogOption = CATALOG) -> None:
    """List what was found damaged and moved away; it may be deleted."""
    from tasks.steps.plan import open_plan  # noqa: PLC0415 - compiled code loads late

    found = open_plan(str(catalog)).open_store().quarantined()
    for one in found:
        typer.echo(f"{one.found_at[:19]}  {one.place}  {one.what}")
    typer.echo(f"{len(found)} artifacts are in quarantine")
