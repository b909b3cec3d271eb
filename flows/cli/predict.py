"""`crosscity predict`: what a segmenter sees in a city's images, a folder, or single pictures."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import typer

from flows.cli.changed_files import tell_changed_files
from flows.cli.options import CATALOG, CatalogOption, ComputeOption
from flows.cli.outcome import JsonOption, ended, note, tell_remarks
from flows.cli.progress import TerminalProgress
from tasks.steps.counted import counted
from tasks.steps.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from crosscity.segmenters import Segmenter
    from tasks.judging.chosen_segmenter import Chosen
    from tasks.judging.predictions import Found, Picture, Predicted
    from tasks.steps.imagery import Imagery
    from tasks.steps.plan import Plan


PROMOTED: Final = "promoted"
AUTO: Final = "auto"
_NO_SIZE: Final = (
    "note: nothing says at which size of pictures this network was trained, so they go through it "
    "at their own; --size auto chooses one without labels, by how sure and how varied its "
    "predictions are"
)
_OF_A_FOLDER: Final = (
    *("segmenter", "weights", "architecture", "ids", "overlays", "confidence", "size"),
    *("batch_size", "device", "force"),
)
"""Settings of predictions that go into a folder; those of the store are the catalog's."""
REASONS: Final = 5
"""Told on the terminal; the table has all."""


def register(app: typer.Typer) -> None:
    """Adds the verb to the command line."""
    app.command("predict")(predict)


def predict(
    context: typer.Context,
    what: Annotated[list[str], typer.Argument(help="A city of the catalog, folders, or images.")],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="Folder of the predictions; without one, those of a city go into the store.",
        ),
    ] = None,
    segmenter: Annotated[
        str,
        typer.Option(
            help="promoted, promoted:CITY, a segmenter, transfer or city of the catalog, or a key."
        ),
    ] = PROMOTED,
    weights: Annotated[
        Path | None,
        typer.Option(help="A weight file, or a folder that was handed on; needs no catalog."),
    ] = None,
    architecture: Annotated[
        str | None,
        typer.Option(
            help="Of a weight file (default: efficientnet_lite0), or hf:NAME, or "
            "python:module:function, which bring their own weights; needs no catalog."
        ),
    ] = None,
    ids: Annotated[
        str, typer.Option(help="What label maps hold: labelIds, trainIds or palette.")
    ] = "labelIds",
    overlays: Annotated[bool, typer.Option(help="Draw classes over the pictures.")] = True,
    confidence: Annotated[bool, typer.Option(help="Write the predicted probability too.")] = False,
    size: Annotated[
        str | None,
        typer.Option(
            help="HEIGHTxWIDTH at which images go through the network, or auto: chosen without "
            "labels; default: what it was trained at, where that is known, else their own."
        ),
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Images predicted at once.")] = 4,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, … instead of --compute's.")] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Write into a folder that holds something else.")
    ] = False,
    catalog: CatalogOption = CATALOG,
    compute: ComputeOption = None,
    _as_json: JsonOption = False,
) -> None:
    """Predict images: label maps, overlays, confidence, and a row for each image.

    Killed, it goes on where it was. An image that cannot be read becomes a row that says why.
    Without -o it is what the deployment predict-city does, as `predictions` of the city's entry in
    the catalog says.
    """
    if output is None:
        _refuse_settings(context)
        return _into_the_store(what, catalog, compute)
    from adapters.predictions import (  # noqa: PLC0415
        IDS,
        PredictionFolder,
        Wanted,
        check_folder,
    )
    from crosscity.adaptation.pixel_form import MOST_IMAGES  # noqa: PLC0415
    from tasks.judging.pixels_to_predict import remark_on_pixels  # noqa: PLC0415
    from tasks.judging.predictions import predict_pictures, write_terms  # noqa: PLC0415
    from tasks.judging.some_pictures import some_pictures  # noqa: PLC0415
    from tasks.steps import progress  # noqa: PLC0415 - reads Prefect's settings
    from tasks.steps.device import using_device  # noqa: PLC0415 - PyTorch takes seconds

    given = weights is not None or architecture is not None
    if given and segmenter != PROMOTED:
        raise InputError(
            f"--segmenter {segmenter} and --weights or --architecture name two segmenters: give one"
        )
    if ids not in IDS:
        raise InputError(f"--ids is one of {', '.join(IDS)}, not {ids!r}")
    wanted_size = _size(size)
    plan = _plan(catalog, compute, needed=not given)
    city = _city(what, plan)
    if plan is not None and city is not None:
        tell_changed_files(plan, city)
    pictures = _pictures(what, city, plan)
    chosen = _chosen(plan, segmenter, weights, architecture, city)
    chosen, where = _on_device(chosen, plan, device)
    network = chosen.segmenter
    note(f"{counted(len(pictures), 'image')} with {chosen.words}")
    _tell_of_network(chosen)
    wanted = Wanted(ids, overlays, confidence)
    names = (picture.name for picture in pictures)
    made_by = {**chosen.made_by, "image_size": None}
    check_folder(
        output, names, network.class_names, wanted, made_by, undecided="image_size", force=force
    )
    with TerminalProgress() as shown, using_device(where, ", ".join(what)):
        progress.listen(shown)
        known = _size_of_city(plan, city) or network.trained_size
        image_size = _image_size(wanted_size, known, network, pictures)
        some = some_pictures(pictures, MOST_IMAGES)
        if remark := remark_on_pixels(chosen, some, image_size):
            note(f"note: {remark}")
        made_by = {**chosen.made_by, "image_size": None if image_size is None else [*image_size]}
        folder = PredictionFolder(output, network.class_names, wanted, made_by, force=force)
        done = predict_pictures(
            network,
            pictures,
            folder,
            batch_size=batch_size,
            image_size=image_size,
            workers=plan.compute.workers if plan is not None else 2,
        )
    if plan is not None and city is not None:
        write_terms(output, _imagery(city, plan))
    export = f"`crosscity export {city} --as cityscapes -o … --predictions {output}`"
    _tell_of_distorted(done, image_size)
    _show_outcome(done, next_step=export if city is not None else "")


def _refuse_settings(context: typer.Context) -> None:
    """Refuses what is given beside a city whose predictions go into the store: nothing reads it."""
    given = [
        f"--{name.replace('_', '-')}"
        for name in _OF_A_FOLDER
        if getattr(context.get_parameter_source(name), "name", "") == "COMMANDLINE"
        and (name, context.params[name]) != ("segmenter", PROMOTED)
    ]
    if given:
        raise InputError(
            "without -o, predictions go into the store as `predictions` of the city's entry "
            f"says, and {', '.join(given)} is not read: name a folder with -o to predict with "
            "other settings"
        )


def _tell_of_distorted(done: Predicted, shown: tuple[int, int] | None) -> None:
    """Says which images went through the network at other proportions than theirs."""
    from crosscity.proportions import distorted_remark  # noqa: PLC0415

    advice = "predict those of {size} by themselves with --size {height}x{width}"
    if remark := distorted_remark(done.sizes, shown, advice):
        note(f"note: {remark}")


def _show_outcome(done: Predicted, next_step: str) -> None:
    """Why images were not predicted, and at last how many were.

    Raises:
        InputError: None was.
    """
    good = done.images - len(done.failed)
    if done.earlier:
        note(
            f"{len(done.earlier)} further label maps in {done.table.parent} are of an earlier run "
            f"with other images, and not in the table: {', '.join(done.earlier[:REASONS])}"
            + (", …" if len(done.earlier) > REASONS else "")
        )
    reasons = Counter(done.failed.values()).most_common()
    for reason, count in reasons[:REASONS]:
        typer.echo(f"{count} failed: {reason}", err=True)
    if len(reasons) > REASONS:
        more = sum(count for _, count in reasons[REASONS:])
        typer.echo(f"{more} failed for other reasons: column `reason` of {done.table}", err=True)
    if not good:
        images = counted(done.images, "image")
        raise InputError(f"none of the {images} could be read; {done.table} says why")
    failed = f", {len(done.failed)} failed" if done.failed else ""
    ended(
        "predictions",
        done.table,
        said=f"{good} of {counted(done.images, 'image')} predicted{failed}; table: {done.table}",
        next_step=next_step,
        images=good,
        failed=done.failed,
    )


def _into_the_store(what: Sequence[str], catalog: Path, compute: str | None) -> None:
    """Runs the flow predict-city."""
    from flows.cli.city import done_or_run  # noqa: PLC0415
    from flows.predict_city import predict_city  # noqa: PLC0415
    from tasks.steps.plan import open_plan  # noqa: PLC0415

    plan = open_plan(catalog, compute)
    if len(what) != 1 or what[0] not in plan.cities:
        raise InputError(
            f"without -o, one city of the catalog is predicted, not {', '.join(what)}: name a "
            "folder for the predictions with -o"
        )
    (city,) = what
    tell_changed_files(plan, city)
    given = {"city": city, "catalog": str(catalog), "compute": compute}
    made = done_or_run(predict_city, given, plan, lambda ref: [ref])
    summary: dict[str, Any] = dict(plan.open_store().manifest(made).summary)
    tell_remarks(summary)
    ended(
        "predictions",
        made.uri,
        said=f"{counted(summary['images'], 'image')} of {city} predicted: {made.uri}",
        next_step=f"`crosscity export {city} --as cityscapes -o … --stored-predictions`",
        city=city,
        key=made.key,
        **summary,
    )


def _plan(catalog: Path, compute: str | None, *, needed: bool) -> Plan | None:
    """The plan of the catalog; none where there is no catalog and none is needed."""
    from tasks.steps.plan import open_plan  # noqa: PLC0415

    if not catalog.exists():
        if needed:
            raise InputError(
                f"there is no catalog at {catalog}: name a weight file with --weights, or a "
                "network of Hugging Face with --architecture hf:NAME, which need none, or a "
                "catalog with --catalog"
            )
        return None
    return open_plan(catalog, compute)


def _city(what: Sequence[str], plan: Plan | None) -> str | None:
    if plan is None or len(what) != 1 or what[0] not in plan.cities:
        return None
    return what[0]


def _pictures(what: Sequence[str], city: str | None, plan: Plan | None) -> list[Picture]:
    from tasks.judging.predictions import found_in, pictures_of_city  # noqa: PLC0415

    if city is None or plan is None:
        found = found_in([Path(each) for each in what])
        _tell_of_left_out(found)
        return found.pictures
    return pictures_of_city(_imagery(city, plan))


def _imagery(city: str, plan: Plan) -> Imagery:
    from tasks.harvesting.current import current_harvest  # noqa: PLC0415
    from tasks.steps.imagery import Imagery  # noqa: PLC0415

    return Imagery(plan.open_store(), current_harvest(city, plan).imagery)


def _tell_of_left_out(found: Found) -> None:
    """Says which files below the folders are not predicted, and why."""
    if found.predictions:
        note(f"what is in {_some(found.predictions)} is left out: it was predicted")
    if found.unreadable:
        note(f"what is in {_some(found.unreadable)} is left out: it does not admit this user")
    if found.left_out:
        types = ", ".join(sorted({each.suffix.lower() for each in found.left_out}))
        note(
            f"{len(found.left_out)} files are left out, as {types} is not read: make them JPEG or "
            "PNG"
        )


def _some(paths: Sequence[Path]) -> str:
    return ", ".join(map(str, paths[:REASONS])) + (", …" if len(paths) > REASONS else "")


def _chosen(
    plan: Plan | None, which: str, weights: Path | None, architecture: str | None, city: str | None
) -> Chosen:
    from tasks.judging.chosen_segmenter import chosen_segmenter  # noqa: PLC0415
    from tasks.judging.given_segmenter import given_segmenter  # noqa: PLC0415

    if weights is not None or architecture is not None:
        return given_segmenter(weights, architecture)
    if plan is None:
        raise ValueError("a segmenter of the catalog needs its plan")
    return chosen_segmenter(plan, which, city)


def _size(given: str | None) -> tuple[int, int] | Literal["auto"] | None:
    if given is None:
        return None
    if given == AUTO:
        return AUTO
    found = re.fullmatch(r"(\d{2,5})x(\d{2,5})", given)
    if found is None or min(int(found[1]), int(found[2])) < 32:
        raise InputError(
            f"--size is HEIGHTxWIDTH in pixels, each at least 32, or auto, not {given!r}"
        )
    return int(found[1]), int(found[2])


def _tell_of_network(chosen: Chosen) -> None:
    """Says what was assumed of its weights, and which of its classes nobody else has."""
    from adapters.prediction_folders import DESCRIPTION  # noqa: PLC0415
    from tasks.training.segmenters import foreign_remark  # noqa: PLC0415 - brings PyTorch

    foreign = foreign_remark(chosen.segmenter.class_names)
    for remark in chosen.remarks:
        if remark != foreign:
            note(f"note: {remark}")
    if foreign is not None:
        note(f"note: {foreign}; `{DESCRIPTION}` has their ids")


def _image_size(
    wanted: tuple[int, int] | Literal["auto"] | None,
    known: tuple[int, int] | None,
    network: Segmenter,
    pictures: Sequence[Picture],
) -> tuple[int, int] | None:
    """The size that was asked for, the one that is known, or the pictures' own (``None``)."""
    from tasks.judging.size_to_predict import size_to_predict  # noqa: PLC0415

    if wanted != AUTO:
        if wanted is None and known is None:
            note(_NO_SIZE)
        return wanted or known
    found = size_to_predict(network, pictures)
    if remark := found.remark("--size HEIGHTxWIDTH"):
        note(remark)
    return found.chosen


def _size_of_city(plan: Plan | None, city: str | None) -> tuple[int, int] | None:
    """The size at which the city's test images go through the network: the same pixels."""
    if plan is None or city is None:
        return None
    from tasks.training.identities import network_size  # noqa: PLC0415

    return network_size(plan, city)


def _on_device(chosen: Chosen, plan: Plan | None, device: str | None) -> tuple[Chosen, str]:
    """The segmenter on the device that is asked for, and that device."""
    import torch  # noqa: PLC0415

    from crosscity.device_failures import PROCESSOR  # noqa: PLC0415
    from crosscity.segmenters import in_train_ids  # noqa: PLC0415
    from tasks.steps.device import check_device, moved_to  # noqa: PLC0415

    if plan is not None:
        torch.set_num_threads(plan.compute.threads)
    name = device or (plan.compute.device if plan is not None else PROCESSOR)
    check_device(name, asked_for=device is not None)
    network = moved_to(in_train_ids(chosen.segmenter), name)
    return replace(chosen, segmenter=network), name
