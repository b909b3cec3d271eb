"""Verbs on single pictures: match two, cut one into superpixels, extract the prior of a pair."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, ParamSpec, TypeVar, cast

import typer

from flows.cli.outcome import JsonOption, ended
from flows.cli.output import check_file, publish
from tasks.steps.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa

    from adapters.catalog import PriorSettings
    from tasks.priors.pair_prior import PairPrior

P = ParamSpec("P")
T = TypeVar("T")

ImageArgument = Annotated[Path, typer.Argument(help="A JPEG, PNG or WebP image.")]
DownscaleOption = Annotated[int, typer.Option(help="Divides the image side: 1, 2 or 4.")]
RadiusOption = Annotated[float | None, typer.Option(help="Search radius in pixels.")]


def register(app: typer.Typer) -> None:
    """Adds the verbs to the command line."""
    app.command("match")(match)
    app.command("superpixels")(superpixels)
    app.command("prior")(prior)


def match(
    image_a: ImageArgument,
    image_b: ImageArgument,
    output: Annotated[Path, typer.Option("--output", "-o", help="Parquet file of the matches.")],
    downscale: DownscaleOption = 2,
    search_radius: RadiusOption = None,
    device: Annotated[str, typer.Option(help="Where to match: cpu, cuda, cuda:1, …")] = "cpu",
    draw: Annotated[Path | None, typer.Option(help="Also draw the matches to this PNG.")] = None,
    _as_json: JsonOption = False,
) -> None:
    """Match two images densely (DeepMatching)."""
    # What reads pictures takes longer to load than the rest of the command line together.
    import pyarrow as pa  # noqa: PLC0415

    from adapters.images import encode_png  # noqa: PLC0415
    from adapters.tables import write_table  # noqa: PLC0415
    from crosscity.illustrations import draw_matches  # noqa: PLC0415
    from crosscity.matching import deep_matching  # noqa: PLC0415

    _check_written(output, draw, image_a, image_b)
    first, second = read_image(image_a), read_image(image_b)
    found = as_input(
        deep_matching,
        first,
        second,
        downscale=downscale,
        search_radius=search_radius,
        device=device,
    )
    schema = _match_schema()
    columns = {name: getattr(found, name) for name in schema.names}
    publish(output, lambda path: write_table(path, pa.table(columns, schema=schema), schema))
    if draw is not None:
        picture = encode_png(draw_matches(first, second, found))
        publish(draw, lambda path: path.write_bytes(picture))
    ended("matches", output, said=f"{len(found)} matches in {output}", matches=len(found))


def superpixels(
    image: ImageArgument,
    output: Annotated[Path, typer.Option("--output", "-o", help="16-bit greyscale PNG of labels.")],
    number: Annotated[int, typer.Option("-n", help="How many superpixels.")] = 200,
    draw: Annotated[Path | None, typer.Option(help="Also draw the boundaries to a PNG.")] = None,
    _as_json: JsonOption = False,
) -> None:
    """Cut an image into superpixels (Entropy Rate Superpixels)."""
    import cv2  # noqa: PLC0415
    import numpy as np  # noqa: PLC0415

    from adapters.images import encode_png  # noqa: PLC0415
    from crosscity.illustrations import draw_superpixels  # noqa: PLC0415
    from crosscity.partitioning import entropy_rate_superpixels  # noqa: PLC0415

    if number > 1 << 16:
        raise InputError(f"a 16-bit PNG holds 65536 labels, so -n {number} is too many")
    _check_written(output, draw, image)
    picture = read_image(image)
    pixels = picture.shape[0] * picture.shape[1]
    if not 1 <= number <= pixels:
        raise InputError(f"-n is from 1 to the {pixels} pixels of {image}, not {number}")
    labels: npt.NDArray[np.int32] = as_input(entropy_rate_superpixels, picture, number)
    _, data = cv2.imencode(".png", labels.astype(np.uint16))
    publish(output, lambda path: path.write_bytes(data.tobytes()))
    if draw is not None:
        drawn = encode_png(draw_superpixels(picture, labels))
        publish(draw, lambda path: path.write_bytes(drawn))
    count = int(labels.max()) + 1
    ended("superpixels", output, said=f"{count} superpixels in {output}", superpixels=count)


def prior(
    image_a: ImageArgument,
    image_b: ImageArgument,
    output: Annotated[Path, typer.Option("--output", "-o", help="An empty folder.")],
    downscale: DownscaleOption = 4,
    search_radius: RadiusOption = 128,
    number: Annotated[int, typer.Option("--superpixels", help="Superpixels an image.")] = 200,
    k: Annotated[int, typer.Option("-k", help="More than k matches make one static.")] = 3,
    paper_rule: Annotated[
        bool, typer.Option("--paper-rule", help="Count every match, as the paper does.")
    ] = False,
    _as_json: JsonOption = False,
) -> None:
    """Extract the static prior of two images of one place."""
    from adapters.catalog import PriorSettings  # noqa: PLC0415
    from tasks.pages.whole_folder import whole_folder  # noqa: PLC0415
    from tasks.priors.pair_prior import extract_prior  # noqa: PLC0415

    settings = as_input(
        PriorSettings,
        downscale=cast("Literal[1, 2, 4]", downscale),
        search_radius=search_radius,
        superpixels=number,
        k=k,
        **({"coverage": 0.0, "weakest": 0.0, "neighbours": 0} if paper_rule else {}),
    )
    first, second = read_image(image_a), read_image(image_b)
    check_superpixels(first, settings, "lower --superpixels")
    with whole_folder(output) as folder:
        made = as_input(extract_prior, first, second, settings)
        for name, data in _files_of_prior(first, second, made).items():
            (folder / name).write_bytes(data)
    shares = " and ".join(f"{mask.mean():.0%}" for mask in made.masks)
    ended(
        "prior",
        output,
        said=f"{len(made.matches)} matches; {shares} of the pixels are static; see {output}",
        matches=len(made.matches),
        static=[float(mask.mean()) for mask in made.masks],
    )


def _files_of_prior(
    first: npt.NDArray[np.uint8], second: npt.NDArray[np.uint8], made: PairPrior
) -> dict[str, bytes]:
    """By name, what `crosscity prior` writes."""
    from adapters.images import encode_mask_png, encode_png  # noqa: PLC0415
    from crosscity.illustrations import draw_prior, prior_figure  # noqa: PLC0415

    return {
        "prior_a.png": encode_mask_png(made.masks[0]),
        "prior_b.png": encode_mask_png(made.masks[1]),
        "overlay_a.png": encode_png(draw_prior(first, made.masks[0])),
        "overlay_b.png": encode_png(draw_prior(second, made.masks[1])),
        "figure.png": encode_png(
            prior_figure(first, second, made.matches, *made.superpixels, *made.masks)
        ),
    }


def read_image(path: Path) -> npt.NDArray[np.uint8]:
    """Reads an image file; sizes are checked before anything is decoded."""
    from adapters.images import MAX_BYTES, decode_image  # noqa: PLC0415

    try:
        if path.stat().st_size > MAX_BYTES:
            raise InputError(
                f"{path} is not a street view: it is larger than {MAX_BYTES >> 20} MiB"
            )
        return decode_image(path.read_bytes(), str(path))
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from None


def as_input(call: Callable[P, T], *arguments: P.args, **settings: P.kwargs) -> T:
    """Calls the science on what the user gave: its ValueErrors are the input's fault."""
    try:
        return call(*arguments, **settings)
    except ValueError as error:
        raise InputError(_one_sentence(error)) from None


def check_superpixels(picture: npt.NDArray[np.uint8], settings: PriorSettings, advice: str) -> None:
    """Fails where a picture is to have more superpixels than pixels, with what to do about it."""
    fault = settings.superpixel_fault((picture.shape[0], picture.shape[1]), advice)
    if fault is not None:
        raise InputError(fault)


def _one_sentence(error: ValueError) -> str:
    """What was wrong; of settings, under the name of the first option that is."""
    from pydantic import ValidationError  # noqa: PLC0415 - as above

    if not isinstance(error, ValidationError):
        return str(error)
    first = error.errors()[0]
    message = first["msg"].removeprefix("Value error, ")
    if not first["loc"]:
        return message
    name = str(first["loc"][0]).replace("_", "-")
    option = f"-{name}" if len(name) == 1 else f"--{name}"
    return f"{option} cannot be {first['input']!r}: {message[:1].lower()}{message[1:]}"


def _check_written(output: Path, draw: Path | None, *inputs: Path) -> None:
    """Fails before any work where results cannot be written, or one would replace the other."""
    for written in (output, draw):
        check_file(written, *inputs)
    if draw is not None and draw.resolve() == output.resolve():
        raise InputError(f"{draw} is named for the result too: name another file with --draw")


def _match_schema() -> pa.Schema:
    import pyarrow as pa  # noqa: PLC0415

    numbers = ("x_a", "y_a", "x_b", "y_b", "score")
    fields = [pa.field(name, pa.float32(), nullable=False) for name in numbers]
    return pa.schema([*fields, pa.field("entry", pa.int32(), nullable=False)])
