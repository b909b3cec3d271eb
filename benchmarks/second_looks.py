"""What a safeguard sees on copies of images, where there is no second time of a place.

    python benchmarks/street_arms.py --work DIR && python benchmarks/second_looks.py --work DIR

Judges the networks of one seed that `street_arms.py` left in `--work`, those that are ruined on
purpose too, against the segmenter that all of them began with: on `IMAGES` training images of the
city and copies of them (`crosscity/second_looks.py`), as `crosscity transfer` does, and sets the
verdict beside the true change of the mIoU. The copies were chosen on tokyo, where one more was
tried: darker, with noise. Writes `benchmarks/results/second_looks.json` and `.md`; what was judged
once is found again.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Final

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
import torch
import typer

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.paired import with_interval
from benchmarks.safeguard import GAIN, HARM
from benchmarks.street_arms import ARMS, CHOSEN_ON, HARMS, RESULTS, Work, rows_of
from benchmarks.whole_files import write_json, write_text
from crosscity.evaluation import PROTOCOLS, predicted_groups
from crosscity.pair_signs import Image, Points, compare_pair
from crosscity.safeguard import Looks, compare_pairs, verdict
from crosscity.second_looks import LOOKS, Copy, mirrored

IMAGES: Final = 24
Row = dict[str, Any]


def darker(image: Image) -> tuple[Image, Points]:
    """The image in the evening: by a curve, and with noise."""
    _, (points, _) = mirrored(image)
    dark = 0.85 * (image.astype(np.float32) / 255) ** 1.6
    noise = np.random.default_rng(1).normal(0, 0.02, dark.shape)
    return np.clip(255 * (dark + noise), 0, 255).astype(np.uint8), (points, points)


TRIED: Final[dict[str, tuple[Copy, Looks]]] = {
    "darker": (darker, Looks("an image and its darker copy", "points", "images"))
}


def main(
    work: Annotated[Path, typer.Option(help="Folder that street_arms.py worked in.")] = Path(
        ".crosscity/street_arms"
    ),
    seed: Annotated[int, typer.Option(help="Whose networks are judged.")] = 0,
    output: Annotated[Path, typer.Option(help="Folder of the results.")] = RESULTS,
) -> None:
    """Judges what is there and reports."""
    torch.set_num_threads(1)
    order = ["pretrained", *ARMS]
    scored = sorted(
        (row for row in rows_of(work) if row["seed"] == seed and row["arm"] in order),
        key=lambda row: (row["city"] != CHOSEN_ON, row["city"], order.index(row["arm"])),
    )
    starts = {row["city"]: row["miou"] for row in scored if row["arm"] == "pretrained"}
    rows: list[Row] = []
    for row in scored:
        if row["arm"] != "pretrained":
            here = Work(work, row["city"])
            change = 100 * (row["miou"] - starts[row["city"]])
            rows.append({"change": change, **_judged(here, row["arm"], seed)})
            output.mkdir(parents=True, exist_ok=True)
            write_json(output / "second_looks.json", rows)
            write_text(output / "second_looks.md", page(rows))


def _judged(work: Work, arm: str, seed: int) -> Row:
    path = work.row(arm, seed)
    path = path.with_name(f"looks-{path.name}")
    if not path.exists():
        looks = LOOKS | (TRIED if work.city == CHOSEN_ON else {})
        row = {"city": work.city, "arm": arm, "on_purpose": arm in HARMS}
        found = {name: _look(work, arm, seed, *look) for name, look in looks.items()}
        write_json(path, {**row, "looks": found})
        print(work.city, arm, flush=True)
    judged: Row = json.loads(path.read_text(encoding="utf-8"))
    return judged


def _look(work: Work, arm: str, seed: int, copied: Copy, looks: Looks) -> Row:
    images = work.train["images"]
    networks = work.network("pretrained", 0), work.network(arm, seed)
    groups = predicted_groups(PROTOCOLS["score13"], networks[0].class_names)
    pairs = []
    for index in np.random.default_rng(len(images)).permutation(len(images))[:IMAGES]:
        copy, points = copied(images[index])
        pairs.append(compare_pair(networks, (images[index], copy), points, groups=groups))
    signals = compare_pairs(pairs, groups.names)
    return {
        "kappa_change": signals.kappa_change,
        "interval": signals.interval,
        "keep": verdict(signals, looks=looks).keep,
    }


def page(rows: Sequence[Row]) -> str:
    """What was seen and what was true, in Markdown."""
    lines = [
        f"Adaptations of `street` by `street_arms.py`, judged on {IMAGES} training images and "
        "copies of them: change of mIoU in points (tokyo on validation places, where the copies "
        "were chosen; else on test places), change of kappa by copy (95 % over images), and "
        "whether the copies that the product looks at refuse it. Arms in italics are harm on "
        "purpose.",
        "",
        "| city | arm | mIoU | smaller | mirrored | darker | verdict |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        told = "*" if row["on_purpose"] else ""
        cells = [_cell(row["looks"].get(name)) for name in (*LOOKS, *TRIED)]
        said = "refused" if refused(row, LOOKS) else "taken"
        lines.append(
            f"| {row['city']} | {told}{row['arm']}{told} | {row['change']:+.1f} | "
            + " | ".join(cells)
            + f" | {said} |"
        )
    harms = [row for row in rows if row["change"] < -HARM]
    gains = [row for row in rows if row["change"] > GAIN]
    lines += [
        "",
        f"| copies | harms above {HARM:g} points refused | gains refused |",
        "|---|---|---|",
    ]
    for names in (("smaller",), ("mirrored",), tuple(LOOKS), ("darker",)):
        cells = []
        for some in (harms, gains):
            known = [row for row in some if set(names) <= set(row["looks"])]
            cells.append(f"{sum(refused(row, names) for row in known)} of {len(known)}")
        lines.append(f"| {' and '.join(names)} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def refused(row: Row, names: Sequence[str] | dict[str, Any]) -> bool:
    """Whether one of the copies shows harm."""
    return any(row["looks"][name]["keep"] == "before" for name in names)


def _cell(look: Row | None) -> str:
    if look is None:
        return "–"
    return with_interval((look["kappa_change"], *look["interval"]), 3)


if __name__ == "__main__":
    typer.run(main)
