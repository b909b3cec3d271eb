"""`crosscity init`: a commented catalog for a city, or for pictures, of one's own."""

from __future__ import annotations

import os
import re
import shlex
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from flows.cli.options import CATALOG, CATALOG_VARIABLE
from flows.cli.outcome import JsonOption, ended, note

if TYPE_CHECKING:
    from tasks.judging.chosen_segmenter import Chosen
    from tasks.steps.errors import InputError

_UNKNOWN: Final = "unknown"
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

{datasets}segmenters:
{segmenter}
trainings:
{training}

{what}"""
_CITY: Final = """\
cities:
  {city}:
{provider}
    segmenter: street
    training: own
    arm: {arm}     # what `crosscity adapt` does; --arm takes another (docs/method.md)
    # schedule: "0 3 * * 1"     # re-adapt every Monday at three (UTC), once deployed
"""
_TRANSFER: Final = """\
transfers:
  {city}:
    # Pictures alone, without labels and without two times of a place: the adaptation is judged by
    # what shows without labels, and not scored. `crosscity transfer {city}`
    segmenter: street
    target: {pictures}
    training: own
    arm: {arm}     # --arm takes another (docs/method.md)
"""
_PICTURES: Final = """\
  {pictures}:
    kind: images     # every JPEG, PNG and WebP below root is adapted to
    root: {root}

"""
_SOURCE: Final = """\
  # The labelled set beside which the segmenter is adapted: here simulated streets, drawn on
  # demand. Of your own: kind folder, cityscapes, ... (docs/datasets.md).
  source:
    kind: simulated
    style: frankfurt
    image_size: [256, 512]
    train: {streets}     # images
    val: 40
    test: 100

"""
_BESIDE_ALONE: Final = "teacher"
"""How pictures alone are adapted to beside a labelled source: there is no prior."""
_STREETS: Final = 100
"""Simulated streets that are drawn once: a third of a second of processor time each."""
_STREETS_TO_LEARN: Final = 400
"""The same where a network is trained on them first."""
_LEAST_STEPS: Final = 20
_LOOKS: Final = 20
"""So often each image is looked at, where there are too few for the steps of the preset."""
SEGMENTER: Final = "street"
"""What the catalog calls it."""
_COMES_ALONG: Final = """\
  street:
    # Comes along; has seen simulated streets alone. Better: weights from real streets, by
    # `weights:` or `architecture: hf:...`, without `source`, and `arm: source_free` below.
    architecture: efficientnet_lite0
    weights: package:crosscity/weights/street.safetensors
    source: source
"""
_OWN: Final = """\
  street:
    # Your own, adapted from pictures alone. With the labelled set that it was trained on
    # as a `source:`, there are other arms too (docs/segmenters.md).
    {network}
"""
_SIZE_GIVEN: Final = """\
  # Images go through the network at this size. A step takes one to two seconds of two cores.
"""
_SIZE_FOUND: Final = """\
  # Images go through the network at the size that it was trained at, or at one that is chosen
  # without a label where nothing tells it; `image_size: [height, width]` sets it.
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
        Path | None,
        typer.Option(
            help="Your images: two times a place as <City>/Images/Train/pano_<place>_<time>_…, or "
            "pictures of any names, nested anyhow."
        ),
    ] = None,
    bbox: Annotated[
        str | None, typer.Option(help="Or an area to harvest: west,south,east,north in degrees.")
    ] = None,
    licence: Annotated[
        str | None,
        typer.Option(
            help="Licence of the images in --folder, such as CC-BY-4.0: exports go by it; default: "
            "unknown, of which nothing is exported."
        ),
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
        typer.Option(
            help="Architecture of --weights (default: efficientnet_lite0; of your own network "
            "python:<module>:<function>, which may bring them), or hf:<name on the hub or folder>, "
            "which brings its weights."
        ),
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
    from adapters.catalog import HUB_PREFIX  # noqa: PLC0415
    from crosscity.named_function import is_plug_in  # noqa: PLC0415
    from flows.cli.first_look import bundled_weights  # noqa: PLC0415
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
    )
    hub, plug_in = (architecture or "").startswith(HUB_PREFIX), is_plug_in(architecture or "")
    _refuse_beside(
        ("--weights", weights, hub or None, f"{architecture}, which brings its own"),
        (
            "--architecture",
            architecture,
            (weights is None and not hub and not plug_in) or None,
            "a segmenter without --weights",
        ),
    )
    weights = None if weights is None else _as_seen_from(output, weights)
    start = _Start.of(weights, architecture, along=bundled_weights() is not None)
    alone = folder is not None and not _has_layout(folder)
    if folder is not None and alone:
        _refuse_beside(
            ("--licence", licence, folder, "pictures alone, of which none is exported"),
            ("--attribution", attribution, folder, "pictures alone, of which none is exported"),
        )
        text, seen = _of_pictures(folder, city, start), folder
    elif folder is not None:
        root, named = _of_folder(folder, city)
        licence = licence or _asked_licence()
        attribution = attribution or _asked_attribution(licence)
        provider = _folder(root, named, licence, attribution)
        text = _of_city(city, provider, _training_images(root, named), start)
        seen = root / named / "Images"
    else:
        text, seen = _of_city(city, _area(str(bbox), places or 400), None, start), None
    unchecked = output.with_name(f".{output.name}.unchecked")
    publish(unchecked, lambda path: path.write_text(text, encoding="utf-8"))
    try:
        open_catalog(unchecked)
        if weights is not None or plug_in:
            _tell_of_weights(_check_weights(unchecked, weights, architecture), seen)
        unchecked.replace(output)
    finally:
        unchecked.unlink(missing_ok=True)
    named = "" if _is_found(output) else f" --catalog {shlex.quote(str(output))}"
    if alone:
        _say_what_to_expect(output, city)
    verb = "transfer" if alone else "harvest"
    ended(
        "catalog",
        output,
        said=f"wrote {output}",
        next_step=f"crosscity {verb} {city}{named}",
        city=city,
    )


def _is_found(catalog: Path) -> bool:
    """Whether commands find a catalog by themselves from here."""
    return _absolute(catalog) == _absolute(Path(os.environ.get(CATALOG_VARIABLE) or CATALOG))


def _tell_of_weights(chosen: Chosen, images: Path | None) -> None:
    """Says what was assumed of weights, and whether the images suit them in the form they get."""
    from crosscity.adaptation.pixel_form import MOST_IMAGES  # noqa: PLC0415 - brings PyTorch
    from tasks.judging.pixels_to_predict import remark_on_pixels  # noqa: PLC0415
    from tasks.judging.predictions import found_in  # noqa: PLC0415
    from tasks.judging.some_pictures import some_pictures  # noqa: PLC0415
    from tasks.steps.errors import InputError  # noqa: PLC0415

    for remark in chosen.remarks:
        note(f"note: {remark}")
    if images is None:
        return
    try:
        some = some_pictures(found_in([images]).pictures, MOST_IMAGES)
    except InputError:
        return  # whoever reads them says why they cannot be read
    if remark := remark_on_pixels(chosen, some, chosen.segmenter.trained_size):
        note(f"note: {remark}")


def _check_weights(catalog: Path, weights: str | None, architecture: str | None) -> Chosen:
    """Builds the network with its weights: what does not fit is told here and not in an hour.

    Where the file has other names for the same parts, the catalog is given the `rename` that fits.

    Raises:
        InputError: They are not there, are no whole file of weights, or do not fit the network.
    """
    from tasks.judging.chosen_segmenter import chosen_segmenter  # noqa: PLC0415 - brings PyTorch
    from tasks.steps.plan import open_plan  # noqa: PLC0415
    from tasks.training.foreign_names import (  # noqa: PLC0415 - as above
        ForeignNamesError,
        UnfitError,
        rename_as_yaml,
    )

    try:
        return chosen_segmenter(open_plan(catalog), SEGMENTER)
    except UnfitError as error:
        if not isinstance(error, ForeignNamesError) or error.rename is None or weights is None:
            raise _with_its_network(error, architecture) from None
        renamed = rename_as_yaml(error.rename)
        text, line = catalog.read_text(encoding="utf-8"), _weights_line(weights)
        catalog.write_text(text.replace(line, f"{line}    rename: {renamed}\n"), encoding="utf-8")
        note(f"note: {weights} has names of another program, of which `rename: {renamed}` fits")
        return chosen_segmenter(open_plan(catalog), SEGMENTER)


def _with_its_network(error: InputError, architecture: str | None) -> InputError:
    """What does not fit, and how another network than the default is named."""
    from tasks.steps.errors import InputError  # noqa: PLC0415

    if architecture is not None:
        return error
    return InputError(
        f"{error}; --architecture names another network (one of docs/segmenters.md, or "
        "python:<module>:<function> for your own)"
    )


def _of_city(city: str, provider: str, images: int | None, start: _Start) -> str:
    """The catalog of a city that is harvested."""
    return _TEMPLATE.format(
        datasets=f"datasets:\n{start.source}" if start.source else "",
        segmenter=start.entry,
        training=_training(images, start),
        what=_CITY.format(city=city, provider=provider, arm=start.arm),
    )


def _of_pictures(folder: Path, city: str, start: _Start) -> str:
    """The catalog of pictures alone: no two times of a place, no label.

    Raises:
        InputError: There is no picture.
    """
    from adapters.datasets.base import DatasetError  # noqa: PLC0415
    from adapters.datasets.image_folder import SPLIT, ImageFolder  # noqa: PLC0415
    from tasks.steps.errors import InputError  # noqa: PLC0415

    try:
        count = len(ImageFolder(folder).samples(SPLIT))
    except DatasetError as error:
        raise InputError(
            f"{str(error).rpartition(', so ')[0]}: put pictures into it, of any names, or images "
            "of every place at two times or more into "
            "<City>/Images/Train/pano_<place>_<time>_<heading>.jpg (docs/imagery.md)"
        ) from None
    if start.arm != "source_free":
        start = replace(start, arm=_BESIDE_ALONE)
    pictures = f"{city[:54]}-pictures"
    entry = _PICTURES.format(pictures=pictures, root=_quoted(str(_absolute(folder))))
    return _TEMPLATE.format(
        datasets=f"datasets:\n{start.source}{entry}",
        segmenter=start.entry,
        training=_training(count, start),
        what=_TRANSFER.format(city=city, pictures=pictures, arm=start.arm),
    )


def _say_what_to_expect(catalog: Path, transfer: str) -> None:
    """Says it where the segmenter has seen simulated streets alone."""
    from tasks.steps.plan import open_plan  # noqa: PLC0415
    from tasks.steps.simulated_only import simulated_only_remark  # noqa: PLC0415

    remark = simulated_only_remark(open_plan(catalog, transfer=transfer), transfer)
    if remark is not None:
        note(f"note: {remark}; with these, expect hardly more than a trial of the way")


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


def _asked_licence() -> str:
    """The licence of the user's pictures; "unknown" where nobody says it."""
    if not sys.stdin.isatty():
        return _UNKNOWN
    return _asked(
        "Under which licence are the pictures (CC-BY-4.0, my own, ...)? It goes with every "
        "image, and nothing of an unknown one is exported; Enter: unknown"
    )


def _asked_attribution(licence: str) -> str:
    """Whom to credit; not asked for pictures of an unknown licence, which go nowhere."""
    if licence == _UNKNOWN or not sys.stdin.isatty():
        return _UNKNOWN
    return _asked("Whom do reports and exports credit for them? Enter: unknown")


def _asked(question: str) -> str:
    said = str(typer.prompt(question, default="", show_default=False))
    return " ".join(said.split()) or _UNKNOWN


def _of_folder(folder: Path, city: str) -> tuple[Path, str]:
    """The folder, absolute, and the one in it that has the city's images."""
    inside = [each.name for each in sorted(folder.iterdir()) if (each / "Images").is_dir()]
    return _absolute(folder), next((each for each in inside if each.lower() == city), inside[0])


def _has_layout(folder: Path) -> bool:
    """Whether a folder holds images in the public layout, of two times of places.

    Raises:
        InputError: There is no such folder.
    """
    from tasks.steps.errors import InputError  # noqa: PLC0415

    if not folder.is_dir():
        raise InputError(f"there is no folder {folder}: name the one that holds your images")
    return any((each / "Images").is_dir() for each in folder.iterdir())


def _absolute(folder: Path) -> Path:
    return Path(os.path.abspath(folder))  # noqa: PTH100 - without "..", and a link stays a link


def _as_seen_from(catalog: Path, weights: str) -> str:
    """A file beside the user as a catalog in another folder names it: relative to that it is none.

    What is not beside the user stays as it is written, and is looked for beside the catalog.
    """
    if _absolute(catalog).parent == Path.cwd() or not Path(weights).exists():
        return weights
    return str(_absolute(Path(weights)))


def _training_images(root: Path, city: str) -> int:
    folder = root / city / "Images" / "Train"
    return sum(1 for _ in folder.glob("pano_*")) if folder.is_dir() else 0


@dataclass(frozen=True)
class _Start:
    """What the adaptation begins from.

    Attributes:
        entry: Its lines in `segmenters`.
        source: Lines of the set that it is adapted beside; empty where it needs none.
        arm: What it is adapted by.
        preset: Of its training.
        image_size: What the training says of the size, if anything.
        about_size: A remark on it.
    """

    entry: str
    source: str
    arm: str
    preset: str = "best"
    image_size: str = ", image_size: [256, 512]"
    about_size: str = _SIZE_GIVEN

    @classmethod
    def of(cls, weights: str | None, architecture: str | None, *, along: bool) -> _Start:
        """By what the user has; `along`: whether the package brings weights."""
        if weights is not None or architecture is not None:
            entry = _OWN.format(network=_network_line(architecture or "efficientnet_lite0"))
            if weights is not None:
                entry += _weights_line(weights)
            return cls(entry, "", "source_free", image_size="", about_size=_SIZE_FOUND)
        if along:
            return cls(_COMES_ALONG, _SOURCE.format(streets=_STREETS), "self_training")
        streets = _SOURCE.format(streets=_STREETS_TO_LEARN)
        return cls(_UNTRAINED, streets, "self_training", preset="demo")


def _network_line(architecture: str) -> str:
    """What builds the network, as docs/segmenters.md writes it."""
    from crosscity.named_function import function_of, is_plug_in  # noqa: PLC0415

    key = "python" if is_plug_in(architecture) else "architecture"
    return f"{key}: {_quoted(function_of(architecture))}"


def _weights_line(weights: str) -> str:
    return f"    weights: {_quoted(weights)}\n"


def _training(images: int | None, start: _Start) -> str:
    """The entry of `trainings`: of few images, few steps are enough, and more fit these alone.

    Args:
        images: How many the city has; ``None``: not known yet.
        start: What the adaptation begins from.
    """
    from crosscity.adaptation import PRESETS, SourceFreeSettings  # noqa: PLC0415

    alone = start.arm == "source_free"
    settings = SourceFreeSettings() if alone else PRESETS[start.preset]
    steps = max(_LEAST_STEPS, _LOOKS * (images or 0) // settings.batch_size)
    preset = f"preset: {start.preset}{start.image_size}"
    if images is None or steps >= settings.steps:
        return f"{start.about_size}  own: {{{preset}}}   # {settings.steps} steps"
    changed = "source_free" if alone else "adaptation"
    return (
        f"{start.about_size}  # {images} images: {steps} steps of {settings.batch_size} show each "
        f"about {_LOOKS} times. With more images, remove `{changed}` for the preset's "
        f"{settings.steps}.\n  own: {{{preset}, {changed}: {{steps: {steps}}}}}"
    )


def _folder(root: Path, named: str, licence: str, attribution: str) -> str:
    return "\n".join(
        (
            "    provider:",
            "      kind: folder",
            f"      root: {_quoted(str(root))}",
            f"      city: {_quoted(named)}",
            "      # Goes into every report and export; nothing of an unknown one is exported.",
            f"      licence: {_quoted(licence)}",
            f"      attribution: {_quoted(attribution)}   # who is credited",
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


def _quoted(text: str) -> str:
    """A YAML text in single quotes, whatever is in it."""
    return "'" + text.replace("'", "''") + "'"
