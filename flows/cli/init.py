"""`crosscity init`: a commented catalog for a city of one's own."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import Annotated, Final

import typer

from flows.cli.outcome import JsonOption, ended

_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
_TEMPLATE: Final = """\
# What exists: cities, data sets, segmenters, stores, compute. `crosscity catalog check` validates
# this file and reports every fault by line; `crosscity catalog schema` lists what may stand here.
version: 1
store: local
compute: laptop

stores:
  local: {{url: .crosscity/store}}   # a folder, or s3://bucket/prefix

computes:
  laptop: {{device: cpu, threads: 2, workers: 2}}
  gpu: {{device: cuda, threads: 8, workers: 8}}   # --compute gpu

datasets:
  # The labelled set beside which the segmenter is adapted: here simulated streets, drawn on
  # demand. Of your own: kind folder, cityscapes, ... (docs/datasets.md).
  source:
    {{kind: simulated, style: frankfurt, image_size: [256, 512], train: 400, val: 40, test: 100}}

segmenters:
{segmenter}
trainings:
  # Images go through the network at this size; `crosscity adapt {city} --arm ...` chooses the arm.
  own: {{preset: demo, image_size: [256, 512]}}

cities:
  {city}:
{provider}
    segmenter: street
    training: own
    # schedule: "0 3 * * 1"     # re-adapt every Monday at three (UTC), once deployed
"""
_SEGMENTER: Final = """\
  street:
    # {remark}
    architecture: {architecture}
    weights: {weights}
    source: source
"""
_UNTRAINED: Final = """\
  street:
    # Is trained on `source` first. With weights of your own: `weights: my.safetensors`.
    architecture: compact
    source: source
"""


def register(app: typer.Typer) -> None:
    """Adds the verb to the command line."""
    app.command("init")(init)


def init(
    city: Annotated[str | None, typer.Option(help="Name of the city, in lower case.")] = None,
    folder: Annotated[
        Path | None, typer.Option(help="Your images: <City>/Images/Train/pano_<place>_<time>_….")
    ] = None,
    bbox: Annotated[
        str | None, typer.Option(help="Or an area to harvest: west,south,east,north in degrees.")
    ] = None,
    licence: Annotated[
        str | None, typer.Option(help="Licence of the images in --folder; default: unknown.")
    ] = None,
    attribution: Annotated[
        str | None, typer.Option(help="Whom to credit for them; default: unknown.")
    ] = None,
    places: Annotated[
        int | None, typer.Option(min=2, help="Places to harvest in --bbox; default: 400.")
    ] = None,
    weights: Annotated[
        str | None, typer.Option(help="Weights of a segmenter of your own, to begin from.")
    ] = None,
    architecture: Annotated[
        str | None,
        typer.Option(help="Architecture of --weights; default: efficientnet_lite0."),
    ] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="The catalog.")] = Path(
        "data_catalog.yaml"
    ),
    force: Annotated[
        bool, typer.Option("--force", help="Write over a catalog that is there.")
    ] = False,
    _as_json: JsonOption = False,
) -> None:
    """Write a commented catalog for a city of your own, check it, and say what comes next."""
    from flows.cli.output import check_file, publish  # noqa: PLC0415
    from tasks.steps.errors import InputError  # noqa: PLC0415
    from tasks.steps.settings import open_catalog  # noqa: PLC0415

    check_file(output)
    if output.exists() and not force:
        raise InputError(
            f"{output} is there already: name another with -o, or write over it with --force"
        )
    city = city or _ask("What is the city called (lower case, no spaces)?", "--city")
    if _NAME.fullmatch(city) is None:
        raise InputError(
            f"{city!r} is not a name for a city here: lower-case letters, digits, - and _ alone"
        )
    folder, bbox = _one_source(folder, bbox)
    _refuse_beside(
        ("--places", places, folder, "--folder, all of whose images are taken"),
        ("--licence", licence, bbox, "--bbox, whose pictures bring theirs"),
        ("--attribution", attribution, bbox, "--bbox, whose pictures bring theirs"),
        ("--architecture", architecture, weights is None or None, "a segmenter without --weights"),
    )
    text = _TEMPLATE.format(
        city=city,
        provider=_area(str(bbox), places or 400)
        if folder is None
        else _folder(folder, city, licence or "unknown", attribution or "unknown"),
        segmenter=_segmenter(weights, architecture or "efficientnet_lite0"),
    )
    unchecked = output.with_name(f".{output.name}.unchecked")
    publish(unchecked, lambda path: path.write_text(text, encoding="utf-8"))
    try:
        open_catalog(unchecked)
        unchecked.replace(output)
    finally:
        unchecked.unlink(missing_ok=True)
    named = "" if output.name == "data_catalog.yaml" else f" --catalog {output}"
    ended(
        "catalog",
        output,
        said=f"wrote {output}",
        next_step=f"crosscity harvest {city}{named}",
        city=city,
    )


def _refuse_beside(*rules: tuple[str, object, object, str]) -> None:
    """Refuses options that nothing would read: each with its value, what it stands beside, why."""
    from tasks.steps.errors import InputError  # noqa: PLC0415

    for option, given, beside, what in rules:
        if given is not None and beside is not None:
            raise InputError(f"{option} says nothing beside {what}: leave it out")


def _one_source(folder: Path | None, bbox: str | None) -> tuple[Path | None, str | None]:
    """Where images are taken from: what was given, or what the user answers."""
    from tasks.steps.errors import InputError  # noqa: PLC0415

    if folder is not None and bbox is not None:
        raise InputError("give either --folder or --bbox: images are taken from one of the two")
    if folder is not None or bbox is not None:
        return folder, bbox
    said = _ask(
        "A folder of your images, or an area as west,south,east,north?", "--folder or --bbox"
    )
    return (None, said) if said.count(",") == 3 else (Path(said), None)


def _ask(question: str, flags: str) -> str:
    """Asks at a terminal; elsewhere the flags must say it."""
    from tasks.steps.errors import InputError  # noqa: PLC0415

    if not sys.stdin.isatty():
        raise InputError(f"there is no terminal to ask at: give {flags}")
    return str(typer.prompt(question)).strip()


def _folder(folder: Path, city: str, licence: str, attribution: str) -> str:
    from tasks.steps.errors import InputError  # noqa: PLC0415

    if not folder.is_dir():
        raise InputError(f"there is no folder {folder}: name the one that holds your images")
    inside = [each.name for each in sorted(folder.iterdir()) if (each / "Images").is_dir()]
    if not inside:
        raise InputError(
            f"{folder} holds no <City>/Images folder: put images of every place at two times or "
            "more into <City>/Images/Train/pano_<place>_<time>_<heading>.jpg (docs/imagery.md)"
        )
    named = next((each for each in inside if each.lower() == city), inside[0])
    root = os.path.abspath(folder)  # noqa: PTH100 - without "..", and a link stays a link
    return "\n".join(
        (
            "    provider:",
            "      kind: folder",
            f"      root: {_quoted(root)}",
            f"      city: {_quoted(named)}",
            f"      licence: {_quoted(licence)}      # carried into every artifact and report",
            f"      attribution: {_quoted(attribution)}",
            "    # Images in <City>/Images/Test are kept out of the adaptation.",
        )
    )


def _area(bbox: str, places: int) -> str:
    from tasks.steps.errors import InputError  # noqa: PLC0415

    try:
        west, south, east, north = (float(each) for each in bbox.split(","))
    except ValueError:
        raise InputError(
            f"--bbox is west,south,east,north in degrees, such as 2.34,48.85,2.36,48.86, not "
            f"{bbox!r}"
        ) from None
    return "\n".join(
        (
            "    # Open street-level pictures without a key; mapillary, google: docs/imagery.md",
            "    provider: {kind: panoramax}",
            f"    area: {{bbox: [{west:g}, {south:g}, {east:g}, {north:g}]}}",
            f"    places: {places}        # at most; each is seen at two times or more",
            f"    test_places: {max(1, places // 10)}     # kept out of the adaptation, to look at",
        )
    )


def _segmenter(weights: str | None, architecture: str) -> str:
    if weights is not None:
        remark = "Your own weights, adapted as they are."
        return _SEGMENTER.format(remark=remark, architecture=architecture, weights=_quoted(weights))
    from flows.cli.first_look import bundled_weights  # noqa: PLC0415

    if bundled_weights() is None:
        return _UNTRAINED
    return _SEGMENTER.format(
        remark="Comes along; has seen simulated streets alone. Better: weights from real streets.",
        architecture="efficientnet_lite0",
        weights="package:crosscity/weights/street.safetensors",
    )


def _quoted(text: str) -> str:
    """A YAML text in single quotes, whatever is in it."""
    return "'" + text.replace("'", "''") + "'"
