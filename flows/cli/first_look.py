"""`crosscity try`: two pictures of a place to one page, without a catalog or a store."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from flows.cli.outcome import JsonOption, add, ended, note
from flows.cli.output import make_folder, publish
from flows.cli.pictures import ImageArgument, as_input, check_superpixels, read_image
from tasks.steps.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    import numpy.typing as npt

    from adapters.catalog import PriorSettings
    from crosscity.segmenters import Segmenter

PAGE: Final = "index.html"
_SIMULATED_ONLY: Final = (
    "It has seen only simulated streets, so take it as a first look; --weights names one that was "
    "trained on real streets."
)


def register(app: typer.Typer) -> None:
    """Adds the verb to the command line."""
    app.command("try")(try_pair)


def try_pair(
    image_a: ImageArgument,
    image_b: ImageArgument,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder for the page and the masks.")
    ] = Path("crosscity-try"),
    weights: Annotated[
        Path | None,
        typer.Option(
            help="Weights of a segmenter of your own (safetensors or .pth), or a folder that was "
            "handed on."
        ),
    ] = None,
    architecture: Annotated[
        str | None,
        typer.Option(
            help="Of a weight file (default: efficientnet_lite0), or hf:NAME, which brings its "
            "own weights; see docs/segmenters.md."
        ),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Write into a folder that holds something else.")
    ] = False,
    _as_json: JsonOption = False,
) -> None:
    """Two pictures of one place: what stayed the same, what a segmenter sees, on one page."""
    from adapters.images import encode_mask_png  # noqa: PLC0415
    from crosscity.compiling import notice_of_compiling  # noqa: PLC0415
    from crosscity.resizing import resized_image, resized_map  # noqa: PLC0415 - compiled: late
    from tasks.pages.pair_page import render_pair  # noqa: PLC0415
    from tasks.priors.pair_prior import extract_prior  # noqa: PLC0415

    first, second = read_image(image_a), read_image(image_b)
    sizes, settings = (first.shape[:2], second.shape[:2]), _settings(first.shape)
    check_superpixels(first, settings, "take larger pictures")
    _check_folder(output, force=force)
    segmenter, remark = _segmenter(weights, architecture, (first, second))
    make_folder(output)
    if _nearly_alike(first.shape, second.shape):
        second = resized_image(second, (first.shape[0], first.shape[1]))
    with notice_of_compiling(note):
        prior = as_input(extract_prior, first, second, settings)
    names = image_a.name, image_b.name
    page = render_pair((first, second), names, prior, segmenter, remark=remark)
    for end, mask, (height, width) in zip("ab", prior.masks, sizes, strict=True):
        data = encode_mask_png(resized_map(mask, (height, width)))  # as the picture was given
        publish(output / f"prior_{end}.png", lambda path, data=data: path.write_bytes(data))  # type: ignore[misc]
    publish(output / PAGE, lambda path: path.write_text(page, encoding="utf-8"))
    shares = " and ".join(f"{mask.mean():.0%}" for mask in prior.masks)
    add(f"{len(prior.matches)} matches; {shares} of the pixels stayed the same")
    ended(
        "page",
        output / PAGE,
        next_step="`crosscity init` writes a catalog for a city of your own",
        matches=len(prior.matches),
        static=[float(mask.mean()) for mask in prior.masks],
    )


def _segmenter(
    weights: Path | None, architecture: str | None, pair: Sequence[npt.NDArray[np.uint8]]
) -> tuple[Segmenter | None, str]:
    """The user's segmenter, or the one that comes along, and what to know of it."""
    from tasks.judging.given_segmenter import given_segmenter  # noqa: PLC0415 - brings PyTorch
    from tasks.judging.pixels_to_predict import remark_on_pixels  # noqa: PLC0415 - as above

    own = weights is not None or architecture is not None
    path = weights if own else bundled_weights()
    if not own and path is None:
        note("no --weights given: the page shows the prior alone")
        return None, ""
    found = given_segmenter(path, architecture)
    of_pixels = remark_on_pixels(found, pair if own else (), found.segmenter.trained_size)
    for remark in (*found.remarks, of_pixels):
        if remark:
            note(f"note: {remark}")
    return found.segmenter, "" if own else _SIMULATED_ONLY


def bundled_weights() -> Path | None:
    """The weights that come along with the package, where they do."""
    import crosscity  # noqa: PLC0415

    path = Path(crosscity.__file__).parent / "weights" / "street.safetensors"
    return path if path.is_file() else None


def _settings(shape: tuple[int, ...]) -> PriorSettings:
    """The catalog's defaults; small pictures are matched and cut at their own size."""
    from adapters.catalog import PriorSettings  # noqa: PLC0415

    width = shape[1]
    if width <= 400:
        return PriorSettings(downscale=1, superpixels=100, superpixel_downscale=1)
    return PriorSettings(downscale=2) if width <= 800 else PriorSettings()


def _nearly_alike(first: tuple[int, ...], second: tuple[int, ...]) -> bool:
    """Whether two sizes differ in scale alone, by at most 2 % in the ratio of their sides."""
    ratios = first[1] / first[0], second[1] / second[0]
    return first != second and abs(ratios[0] / ratios[1] - 1) <= 0.02


def _check_folder(folder: Path, *, force: bool) -> None:
    """Fails before any work where a folder holds something that is not such a page."""
    if force or not folder.exists():
        return
    if not folder.is_dir():
        raise InputError(f"{folder} is a file: name a folder with -o")
    if any(folder.iterdir()) and not (folder / PAGE).is_file():
        raise InputError(
            f"{folder} holds something else: name another folder with -o, or write into it all the "
            "same with --force"
        )
