"""`crosscity suggest`: which places of a city to label first."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, cast

import typer

from flows.cli.changed_files import tell_changed_files
from flows.cli.options import CATALOG, CatalogOption, CityArgument, ComputeOption
from flows.cli.outcome import JsonOption, ended, note
from flows.cli.progress import TerminalProgress
from tasks.steps.counted import counted
from tasks.steps.errors import InputError


def register(app: typer.Typer) -> None:
    """Adds the verb to the command line."""
    app.command("suggest")(suggest)


def suggest(
    city: CityArgument,
    output: Annotated[Path, typer.Option("--output", "-o", help="An empty folder.")],
    n: Annotated[int, typer.Option("-n", min=1, help="How many places.")] = 16,
    segmenter: Annotated[
        str, typer.Option(help="Whose predictions: promoted, promoted:CITY, or a key.")
    ] = "promoted",
    against: Annotated[
        str | None,
        typer.Option(help="Key of a second segmenter; default: the one it was adapted from."),
    ] = None,
    split: Annotated[
        str, typer.Option(help="train: to learn from; test: to score on; or all.")
    ] = "train",
    allowed: Annotated[
        str | None,
        typer.Option(help="Why images may be passed on whose licence does not say so."),
    ] = None,
    catalog: CatalogOption = CATALOG,
    compute: ComputeOption = None,
    _as_json: JsonOption = False,
) -> None:
    """Suggest places to label: where the two times, or two segmenters, disagree most.

    They are spread over the city. Images and predictions are written as a task for CVAT, in which
    the predictions are masks that people correct.
    """
    from tasks.judging import suggestion  # noqa: PLC0415 - brings PyTorch
    from tasks.judging.chosen_segmenter import chosen_artifact  # noqa: PLC0415
    from tasks.pages.labelling_task import (  # noqa: PLC0415
        CATALOG_ENTRY,
        learned_by,
        write_labelling_task,
    )
    from tasks.pages.whole_folder import check_empty  # noqa: PLC0415
    from tasks.steps import progress  # noqa: PLC0415
    from tasks.steps.plan import open_plan  # noqa: PLC0415

    if split not in ("train", "test", "all"):
        raise InputError(f"--split is train, test or all, not {split!r}")
    check_empty(output)
    plan = open_plan(catalog, compute)
    plan.city(city)
    tell_changed_files(plan, city)
    ref = chosen_artifact(plan, segmenter, city)
    other = (
        suggestion.segmenter_before(plan, ref)
        if against is None
        else chosen_artifact(plan, against, city, "--against")
    )
    with TerminalProgress() as shown:
        progress.listen(shown)
        places = suggestion.suggested_places(
            plan, city, n, ref, other, split=cast("suggestion.Split", split)
        )
        write_labelling_task(plan, city, places, ref, output, allowed=allowed)
    recipe = learned_by(city, places)
    learn = f", and `crosscity adapt {city} --arm {recipe}` learns from them" if recipe else ""
    there = suggestion.pairs_of_split(plan, city, cast("suggestion.Split", split))
    whose = f"{city} has"
    if there > suggestion.MOST_PAIRS:
        note(f"looked at {suggestion.MOST_PAIRS} of the {there} pairs of {city}, drawn at random")
        whose = "they have"
    if len(places) < n:
        note(f"{whose} {counted(len(places), 'place')} of the split {split}, not {n}")
    ended(
        "places to label",
        output,
        said=f"{counted(len(places), 'place')} of {city} to label: {output}",
        next_step=f"make a task of {output / 'images'} in CVAT and upload "
        f'{output / "annotations.xml"} ("CVAT 1.1"); {output / CATALOG_ENTRY} says how the labels '
        f"come back{learn}",
        city=city,
        places=[asdict(place) for place in places],
    )
