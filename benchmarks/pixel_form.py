"""Whether a wrong form of pixels is noticed without a label, and a right one left alone.

    python benchmarks/pixel_form.py --camvid /path/to/CamVid --pairs /path/to/time_pairs \
        --path /path/to/plug_ins --segmenter python:plug_in:espnetv2 \
        --segmenter python:plug_in:dicenet

Networks with public Cityscapes weights, each plugged in as its own program has it, look at four of
CamVid's validation images, and at the pictures of the time pairs at half their size. Then each is
plugged in wrongly: with red and blue swapped, or in another form that networks are trained with
(`FORMS`), at which something should be said. Of forms that are wrong by no factor of 255 the mIoU
on every sixth of CamVid's validation images (11 classes) tells what they cost.

The limits were chosen on five of the networks (`CHOSEN_ON`), of which two forms were looked at; the
others were run afterwards. A row that is there is judged anew, and not predicted again. Writes
`benchmarks/results/pixel_form.json` and `.md`.
"""

from __future__ import annotations

import copy
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Final

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import numpy.typing as npt
import torch
import typer

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from adapters.datasets.camvid import CamVidDataset
from adapters.images import decode_image
from benchmarks.whole_files import write_json, write_text
from crosscity.adaptation import LabelledArrays
from crosscity.adaptation.pixel_form import (
    FORMS,
    MOST_IMAGES,
    PixelForm,
    TriedForm,
    best_form,
    form_remark,
    try_form,
)
from crosscity.adaptation.spread import spread_indices
from crosscity.evaluation import evaluate, score
from crosscity.resizing import resized_image
from crosscity.segmenters import Segmenter, build_segmenter, image_tensor

RESULTS: Final = Path(__file__).parent / "results"
CHOSEN_ON: Final = ("espnet_8", "espnet_3", "espnetv2_2_0", "espnetv2_0_5", "dicenet_1_0")
EVERY: Final = 6
SCORED: Final = ("", FORMS[0].words, FORMS[1].words, FORMS[2].words)
"""Forms whose mIoU is of interest; the empty one is the network's own."""

Row = dict[str, Any]
Pictures = list[npt.NDArray[np.uint8]]


def main(
    camvid: Annotated[Path, typer.Option(help="CamVid in SegNet's layout.")],
    pairs: Annotated[Path, typer.Option(help="The time pairs.")],
    segmenter: Annotated[list[str] | None, typer.Option(help="python:module:function.")] = None,
    path: Annotated[Path | None, typer.Option(help="Folder of the plug-ins' module.")] = None,
    output: Annotated[Path, typer.Option(help="Folder of the results.")] = RESULTS,
) -> None:
    """Looks, and writes after every network; rows that are there are not made again."""
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)  # pixels that are too small take minutes else
    table = output / "pixel_form.json"
    rows: list[Row] = json.loads(table.read_text()) if table.exists() else []
    write(rows, output)
    if path is not None:
        sys.path.insert(0, str(path))
    there = {row["segmenter"] for row in rows}
    for name in segmenter or []:
        called = name.rpartition(":")[2]
        if called not in there:
            rows.append(row(called, build_segmenter(name, {}, seed=0), camvid, pairs))
            write(rows, output)


def row(name: str, network: Segmenter, camvid: Path, pairs: Path) -> Row:
    """What a network makes of all forms, and what some of them cost."""
    images = CamVidDataset(camvid)
    seen = {
        "CamVid": [images.read(each).image for each in images.samples("val")],
        "time pairs": pictures_of(pairs),
    }
    tried = {
        which: all_forms(network, [pictures[i] for i in spread_indices(len(pictures), MOST_IMAGES)])
        for which, pictures in seen.items()
    }
    made = {
        "segmenter": name,
        "own": own_form(network),
        "tried": tried,
        "miou": scores(network, images),
    }
    print(name, made["miou"], flush=True)
    return made


def all_forms(network: Segmenter, pictures: Pictures) -> list[dict[str, Any]]:
    """What it makes of each form, in both orders of red and blue; its own comes first."""
    shown = [image_tensor(each[None]) for each in pictures]
    own = own_form(network)
    forms = [None, *(form for form in FORMS if form.words != own)]
    return [
        asdict(try_form(network, shown, form, swapped=swapped))
        for form in forms
        for swapped in (False, True)
    ]


def pictures_of(pairs: Path) -> Pictures:
    """All pictures of the time pairs, at half their size."""
    found = [decode_image(path.read_bytes(), path.name) for path in sorted(pairs.rglob("*.jpg"))]
    return [resized_image(each, (each.shape[0] // 2, each.shape[1] // 2)) for each in found]


def own_form(network: Segmenter) -> str:
    """The words of the form that a network is given; empty where it is none of the usual."""
    mean, std = network.input_mean.flatten().tolist(), network.input_std.flatten().tolist()
    for form in FORMS:
        if np.allclose(form.mean, mean, atol=1e-3) and np.allclose(form.std, std, rtol=1e-3):
            return form.words
    return ""


def scores(network: Segmenter, images: CamVidDataset) -> dict[str, float]:
    """Each form's mIoU, `swapped` before those that are."""
    read = [images.read(each) for each in images.samples("val")[::EVERY]]
    pictures = np.stack([each.image for each in read])
    labels = np.stack([each.train_ids for each in read])
    found = {}
    for words in SCORED:
        form = next((each for each in FORMS if each.words == words), None)
        for swapped in (False, True):
            given = in_form(network, form, swapped=swapped)
            shown = LabelledArrays(np.flip(pictures, -1).copy() if swapped else pictures, labels)
            key = " ".join((["swapped"] if swapped else []) + [words])
            found[key] = 100 * score(evaluate(given, shown, 1), "camvid11").miou
    return found


def in_form(network: Segmenter, form: PixelForm | None, *, swapped: bool) -> Segmenter:
    """The network as somebody plugs it in who takes it for one of another form."""
    given = copy.deepcopy(network)
    if form is not None:
        order = slice(None, None, -1 if swapped else 1)
        given.input_mean.copy_(torch.tensor(form.mean[order]).reshape(1, 3, 1, 1))
        given.input_std.copy_(torch.tensor(form.std[order]).reshape(1, 3, 1, 1))
    return given


def as_if_given(row: Row, which: str, words: str, *, swapped: bool) -> list[TriedForm]:
    """What `try_forms` would have found where a network is given a form, right or wrong.

    A form that is none of the usual is tried by nobody who does not give it.
    """
    tried = [TriedForm(**one) for one in row["tried"][which]]
    known = [one for one in tried if one.words == words or one.words or row["own"]]
    given = next(one for one in known if one.words == words and one.swapped == swapped)
    turned = next(one for one in known if one.words == words and one.swapped != swapped)
    others = [one for one in known if one.words != words and one.swapped == swapped]
    best = best_form([given, turned, *others])
    last = [one for one in known if one.words == best.words and one is not best]
    return [given, turned, *others, *(last if best.words != words else [])]


def judged(row: Row, which: str) -> list[dict[str, Any]]:
    """Each form that a network may be given, and what is said at it."""
    made = []
    for one in row["tried"][which]:
        right = not one["words"] and not one["swapped"]
        said = form_remark(as_if_given(row, which, one["words"], swapped=one["swapped"]))
        key = " ".join((["swapped"] if one["swapped"] else []) + [one["words"]])
        lost = None
        if key in row["miou"]:
            lost = row["miou"][""] - row["miou"][key]
        made.append({**one, "right": right, "said": said, "lost": lost})
    return made


def write(rows: Sequence[Row], output: Path) -> None:
    """The tables."""
    output.mkdir(parents=True, exist_ok=True)
    write_json(output / "pixel_form.json", rows, indent=1)
    lines = [
        "Networks with public Cityscapes weights that are given pixels in the form that they were",
        "trained with, or in another: how often something was said, without a label, and how many",
        "points of mIoU the form costs on every sixth of CamVid's validation images (11 classes).",
        "",
        "| networks | images | right form, said | red and blue swapped, said | wrong otherwise, a "
        "point and more lost, said | less than a point lost, said | wrong by a factor, said |",
        "|---|---|---|---|---|---|---|",
    ]
    for kind, names in groups(rows).items():
        for which in ("CamVid", "time pairs"):
            found = [one for each in names for one in judged(each, which)]
            lines.append(f"| {kind} ({len(names)}) | {which} | {' | '.join(counts(found))} |")
    lines += [
        "",
        "By network: mIoU in its own form and with red and blue swapped; J of both (nats), and the",
        "surprise of the batch norms in its own form and, of those that are wrong by a factor, the",
        "least.",
        "",
        "| network | mIoU | swapped | images | J | swapped | surprise | by a factor |",
        "|---|---|---|---|---|---|---|---|",
    ]
    lines += [line(each, which) for each in rows for which in ("CamVid", "time pairs")]
    write_text(output / "pixel_form.md", "\n".join(lines) + "\n")


def groups(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """The networks that limits were chosen on, and the others."""
    return {
        "chosen on": [row for row in rows if row["segmenter"] in CHOSEN_ON],
        "others": [row for row in rows if row["segmenter"] not in CHOSEN_ON],
    }


def counts(found: Sequence[dict[str, Any]]) -> list[str]:
    """`said of all`, by kind of form."""
    right = [one for one in found if one["right"]]
    wrong = [one for one in found if not one["right"]]
    swapped = [one for one in wrong if not one["words"]]
    others = [one for one in wrong if one["words"]]
    known = [one for one in others if one["lost"] is not None]
    kinds = (
        right,
        swapped,
        [one for one in known if one["lost"] >= 1],
        [one for one in known if one["lost"] < 1],
        [one for one in others if one["lost"] is None],
    )
    return [f"{sum(bool(one['said']) for one in kind)} of {len(kind)}" for kind in kinds]


def line(row: Row, which: str) -> str:
    """A network's row for a set of images."""
    tried = [TriedForm(**one) for one in row["tried"][which]]
    own, swapped = tried[0], tried[1]
    factor = [one.surprise or 0.0 for one in tried if one.words and one.words not in SCORED]
    name = row["segmenter"].replace("_", " ")
    return (
        f"| {name} | {row['miou']['']:.1f} | {row['miou']['swapped ']:.1f} | {which} | "
        f"{own.information:.2f} | {swapped.information:.2f} | {own.surprise or 0:.3f} | "
        f"{min(factor, default=0.0):.3g} |"
    )


if __name__ == "__main__":
    typer.run(main)
