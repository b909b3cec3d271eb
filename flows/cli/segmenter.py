"""`crosscity segmenter`: a city's or transfer's segmenter for others."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows.cli.options import CATALOG, CatalogOption, OwnerArgument
from flows.cli.outcome import JsonOption, add, ended
from tasks.steps.errors import InputError

if TYPE_CHECKING:
    from tasks.pages.segmenter_folder import Exported

app = typer.Typer(no_args_is_help=True, help="Hand a segmenter on.")


@app.callback()
def _verbs() -> None:
    """Hand a segmenter on."""


@app.command()
def export(
    city: OwnerArgument,
    output: Annotated[Path, typer.Option("--output", "-o", help="An empty folder.")],
    segmenter: Annotated[
        str,
        typer.Option(
            help="promoted (of a transfer without: its adaptation), promoted:CITY, another city or "
            "transfer, or a key of the store."
        ),
    ] = "promoted",
    onnx: Annotated[bool, typer.Option("--onnx", help="Also write model.onnx.")] = False,
    onnx_size: Annotated[
        str | None, typer.Option(help="HEIGHTxWIDTH, for networks that trace for one size only.")
    ] = None,
    licence: Annotated[
        str, typer.Option(help="Licence of the weights, as the hub names them (cc-by-sa-4.0, …).")
    ] = "other",
    allowed: Annotated[
        str | None,
        typer.Option(
            help="Why a segmenter may be passed on whose images' licence does not say so."
        ),
    ] = None,
    catalog: CatalogOption = CATALOG,
    _as_json: JsonOption = False,
) -> None:
    """Write weights, model card, labels, preprocessing and, where asked for, ONNX.

    The folder is what `crosscity.load_segmenter`, `weights:` in a catalog and, for networks of
    transformers, `from_pretrained` read. Other runtimes are compared on images of the city first.
    """
    from tasks.judging.chosen_segmenter import chosen_artifact  # noqa: PLC0415 - brings PyTorch
    from tasks.pages.segmenter_folder import export_segmenter  # noqa: PLC0415
    from tasks.steps.plan import open_plan  # noqa: PLC0415

    size = None if onnx_size is None else _size(onnx_size)
    terms = _licence(licence)
    plan = open_plan(catalog)
    if city not in plan.transfers:
        plan.city(city)
    done = export_segmenter(
        plan,
        city,
        chosen_artifact(plan, segmenter, city),
        output,
        onnx=onnx or size is not None,
        onnx_size=size,
        licence=terms,
        allowed=allowed,
    )
    for name, sentence in done.agreements.items():
        add(f"{name}: {sentence}")
    ended(
        "segmenter",
        done.folder,
        said=f"segmenter of {city}: {done.folder} ({', '.join(done.files)})",
        next_step=_next_step(done),
        city=city,
        files=done.files,
        agreement=done.agreements,
    )


def _next_step(done: Exported) -> str:
    """How it is read; a network of one's own takes its function beside the folder."""
    from tasks.pages.segmenter_card import yaml_word  # noqa: PLC0415 - brings PyTorch

    weights = yaml_word(str(done.folder))
    beside = f", build={done.function.rpartition(':')[2]}" if done.function else ""
    python = f"`python: {done.function}`, its options and " if done.function else ""
    named = f" --architecture python:{done.function}" if done.function else ""
    return (
        f"crosscity.load_segmenter({str(done.folder)!r}{beside}) in Python, `crosscity predict "
        f"PICTURES --weights {shlex.quote(str(done.folder))}{named} -o MASKS`, or {python}"
        f"`weights: {weights}` in a catalog"
    )


def _size(given: str) -> tuple[int, int]:
    found = re.fullmatch(r"(\d{2,5})x(\d{2,5})", given)
    if found is None or min(int(found[1]), int(found[2])) < 32:
        raise InputError(f"--onnx-size is HEIGHTxWIDTH in pixels, from 32 on, not {given!r}")
    return int(found[1]), int(found[2])


def _licence(given: str) -> str:
    if not re.fullmatch(r"[a-z0-9][a-z0-9.-]{1,40}", given):
        raise InputError(
            f"--licence {given!r}: write it as the hub does, in small letters: cc-by-sa-4.0, "
            "apache-2.0, other, …"
        )
    return given
