"""`crosscity export`: a city's images, predictions and priors for other programs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flows.cli.changed_files import tell_changed_files
from flows.cli.options import CATALOG, CatalogOption, CityArgument
from flows.cli.outcome import JsonOption, ended
from flows.cli.progress import TerminalProgress
from tasks.steps.counted import counted
from tasks.steps.errors import InputError


def register(app: typer.Typer) -> None:
    """Adds the verb to the command line."""
    app.command("export")(export)


def export(
    city: CityArgument,
    as_format: Annotated[
        str,
        typer.Option(
            "--as", help="cityscapes, coco, cvat, fiftyone, geoparquet, hf-dataset or stac."
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="An empty folder.")],
    predictions: Annotated[
        Path | None, typer.Option(help="A folder that `crosscity predict` wrote for the city.")
    ] = None,
    stored: Annotated[
        bool,
        typer.Option("--stored-predictions", help="The predictions that predict-city left."),
    ] = False,
    allowed: Annotated[
        str | None,
        typer.Option(help="Why images may be passed on whose licence does not say so."),
    ] = None,
    catalog: CatalogOption = CATALOG,
    _as_json: JsonOption = False,
) -> None:
    """Export images, predictions, priors, positions and licences of a city."""
    from tasks.pages.exporting import export_city  # noqa: PLC0415
    from tasks.steps import progress  # noqa: PLC0415
    from tasks.steps.plan import open_plan  # noqa: PLC0415

    if stored and predictions is not None:
        raise InputError("give either --predictions or --stored-predictions")
    # All segmenters of the catalog say which networks of the store may be built.
    plan = open_plan(catalog)
    plan.city(city)
    tell_changed_files(plan, city)
    with TerminalProgress() as shown:
        progress.listen(shown)
        count = export_city(
            plan, city, as_format, output, predictions, stored=stored, allowed=allowed
        )
    ended(
        "export",
        output,
        said=f"{counted(count, 'image')} of {city} as {as_format}: {output}",
        next_step="read it with the program that it is for; each image keeps its licence in it",
        city=city,
        format=as_format,
        images=count,
    )
