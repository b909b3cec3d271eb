"""`source_free`, as it ships, on networks that nothing was chosen with: does it carry over?

    python benchmarks/source_free_networks.py --camvid /path/to/CamVid --path /path/to/plug_ins \
        --segmenter python:plug_in:build --name "what it is" [--segmenter … --name …]

CamVid as it comes (360×480, 11 classes, 233 test images), each network with weights of Cityscapes
and without a source image or a label, by the steps of `crosscity transfer`: the size that images
are shown at is chosen on the training images without their labels (`choose_size`), the student
learns from windows as large as the images are, and start and teacher averaged are scored. Beside
it the start at either size, and a share of the target's batch-norm statistics: of three shares the
one that is best *on the test images*, an advantage that `source_free` has not.

Finished arms are found again in `--work`; kill it and start it again at will. Networks that are in
the results already stay there. Writes `benchmarks/results/source_free_networks.json` and `.md`
after every arm. Intervals resample test images (percentile bootstrap of paired differences).
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Final

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
import typer

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from adapters.datasets.camvid import CamVidDataset
from benchmarks.paired import Counts, with_interval
from benchmarks.source_free import RECIPE, RESULTS, SHIPPED, Bench, difference, miou_of
from benchmarks.whole_files import write_json, write_text
from crosscity.adaptation.shown_size import choose_size
from crosscity.evaluation import score
from crosscity.freed_memory import keep_freed_memory
from crosscity.named_function import function_of
from crosscity.segmenters import build_segmenter

SIZE: Final = (360, 480)
SHARES: Final = (0.3, 0.5, 0.7)

Row = dict[str, Any]


def main(
    camvid: Annotated[Path, typer.Option(help="CamVid in SegNet's layout.")],
    segmenter: Annotated[list[str], typer.Option(help="python:module:function.")],
    name: Annotated[list[str], typer.Option(help="What each is called on the page.")],
    path: Annotated[Path | None, typer.Option(help="Folder of the plug-ins' modules.")] = None,
    work: Annotated[Path, typer.Option(help="Folder of finished arms.")] = Path(
        ".crosscity/source_free_networks"
    ),
    output: Annotated[Path, typer.Option(help="Folder of the results.")] = RESULTS,
) -> None:
    """Runs what is missing and reports after every arm."""
    torch.set_num_threads(1)
    keep_freed_memory()
    if len(name) != len(segmenter):
        raise typer.BadParameter("give a --name for each --segmenter")
    if path is not None:
        sys.path.insert(0, str(path))
    for function, called in zip(segmenter, name, strict=True):
        folder = work / function_of(function).replace(":", "-")
        for row in _arms(CamVidDataset(camvid), function, folder):
            _report({**row, "segmenter": called}, output)


def _arms(dataset: CamVidDataset, segmenter: str, folder: Path) -> Any:  # noqa: ANN401 - a generator
    """Runs the arms of a network; after each, what is known of it."""
    own = Bench(dataset, segmenter, _made(folder / "own"), size=SIZE)
    shown = _shown(own, folder / "size.json")
    bench = Bench(dataset, segmenter, _made(folder / "shown"), shown["enlarged"], SIZE)
    own.score("test", "zero_shot", 0, lambda _: own.fresh())
    bench.score("test", "zero_shot", 0, lambda _: bench.fresh())
    yield _row(segmenter, shown, own, bench)
    for share in SHARES:
        bench.score("test", f"bn_{share}", 0, bench.mixed(share))
        yield _row(segmenter, shown, own, bench)
    bench.score("test", "source_free", 0, bench.source_free(*SHIPPED))
    yield _row(segmenter, shown, own, bench)


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _shown(own: Bench, path: Path) -> Row:
    """The chosen size, and by how much it enlarges the images."""
    if not path.exists():
        found = choose_size(own.fresh().eval(), own.target())
        if found is None:
            raise ValueError("the images have several sizes")
        write_json(path, {**asdict(found), "enlarged": found.chosen[0] / found.own[0]})
    known: Row = json.loads(path.read_text(encoding="utf-8"))
    return known


def _row(segmenter: str, shown: Row, own: Bench, bench: Bench) -> Row:
    first = own.counts("test", "zero_shot", 0)
    arms = ("zero_shot", *(f"bn_{share}" for share in SHARES), "source_free")
    counts = {arm: found for arm in arms if (found := bench.counts("test", arm, 0)) is not None}
    assert first is not None  # noqa: S101 - says so to mypy
    row: Row = {
        "parameters": sum(one.numel() for one in build_segmenter(segmenter, {}).parameters()),
        "size": list(shown["chosen"]),
        "images": len(first),
        "own": 100 * miou_of(first.sum(0)),
        "arms": {arm: 100 * miou_of(found.sum(0)) for arm, found in counts.items()},
        "per_class": {"own": _per_class(first)}
        | {arm: _per_class(found) for arm, found in counts.items()},
    }
    shares = [arm for arm in counts if arm.startswith("bn_")]
    if "source_free" in counts:
        best = max(shares, key=lambda arm: row["arms"][arm])
        others = {"own": first, "zero_shot": counts["zero_shot"], "best_share": counts[best]}
        row["best_share"] = best
        row["source_free_over"] = {
            name: difference([counts["source_free"]], [other]) for name, other in others.items()
        }
    return row


def _per_class(counts: Counts) -> dict[str, float]:
    return {name: 100 * iou for name, iou in score(counts.sum(0), "camvid11").per_class.items()}


def _report(row: Row, output: Path) -> None:
    table = output / "source_free_networks.json"
    rows: list[Row] = json.loads(table.read_text(encoding="utf-8")) if table.exists() else []
    rows = [one for one in rows if one["segmenter"] != row["segmenter"]] + [row]
    rows.sort(key=lambda one: str(one["segmenter"]))
    write_json(table, rows, indent=1)
    write_text(output / "source_free_networks.md", markdown(rows))


def markdown(rows: list[Row]) -> str:
    """The table of all networks, and the classes of each."""
    lines = [
        f"CamVid as it comes ({SIZE[0]}×{SIZE[1]}, 11 classes, {rows[0]['images']} test images), "
        f"`source_free` as it ships ({RECIPE.steps} steps, one seed), no source image and no "
        "label; mIoU in percent, 95 % over images. The share of statistics is the best of "
        f"{', '.join(map(str, SHARES))} on the test images.",
        "",
        "| network | parameters | as it comes | shown at | there | best share of statistics "
        "| `source_free` | over as it comes | over the start at that size | over the best share |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        arms, over = row["arms"], row.get("source_free_over", {})
        best = row.get("best_share")
        cells = [
            row["segmenter"],
            f"{row['parameters'] / 1e6:.2f} M",
            f"{row['own']:.1f}",
            "×".join(map(str, row["size"])),
            f"{arms['zero_shot']:.1f}",
            f"{arms[best]:.1f} ({best.removeprefix('bn_')})" if best else "–",
            f"{arms['source_free']:.1f}" if over else "–",
            *(
                with_interval(over[name]) if over else "–"
                for name in ("own", "zero_shot", "best_share")
            ),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    for row in rows:
        names = list(row["per_class"]["own"])
        lines += ["", f"| IoU, {row['segmenter']} | " + " | ".join(names) + " |"]
        lines.append("|---|" + "---|" * len(names))
        for arm, ious in row["per_class"].items():
            said = "as it comes" if arm == "own" else arm
            lines.append(f"| {said} | " + " | ".join(f"{ious[name]:.1f}" for name in names) + " |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    typer.run(main)
