"""Real data: CamVid by day to dusk, and a simulated city to CamVid, every arm over several seeds.

    CAMVID_ROOT=/path/to/CamVid python benchmarks/camvid.py --seed 0 --seed 1 --seed 2

Runs the flow `adapt-transfer` on the transfers of camvid.yaml (finished parts are found in the
store, so a stopped run goes on) and writes `camvid.json` and `camvid.md` into benchmarks/results
after every seed. `--choose` scores the pre-trained segmenters on validation images of their own
source instead, which is all that settings were chosen on.
"""

from __future__ import annotations

import json
import math
import statistics
import sys
import time
from pathlib import Path
from typing import Annotated, Any, Final

import typer

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.paired import interval
from benchmarks.whole_files import write_json, write_text
from flows.cli.progress import TerminalProgress
from flows.cli.server import quieten, running_server

HERE: Final = Path(__file__).parent
ARMS: Final = ("pretrained", "control", "bn", "ga", "ga_ca", "self_training", "fine_tuned")
COMPARED: Final = (
    *((arm, "pretrained") for arm in ARMS[1:]),
    ("ga", "control"),
    ("ga", "bn"),
    ("ga_ca", "bn"),
    ("ga_ca", "ga"),
    ("self_training", "ga_ca"),
)
"""Pairs of arms whose difference is shown."""
TRANSFERS: Final = (
    "dusk-lite",
    "simulated-lite",
    "dusk-compact",
    "simulated-compact",
    "dusk-lite-now",
    "simulated-lite-now",
    "dusk-lite-balanced",
    "simulated-lite-balanced",
)
EARLIER: Final = TRANSFERS[:4]
"""Of a preset that knew no self-training."""
CHOSEN_ON: Final = (
    "day-val-lite",
    "day-val-lite-now",
    "day-val-compact",
    "frankfurt-val-lite",
    "frankfurt-val-lite-now",
    "frankfurt-val-compact",
)
SHORT: Final = {
    "building": "bldg",
    "sidewalk": "sidew.",
    "vegetation": "tree",
    "traffic sign": "sign",
    "bicyclist": "bicycl.",
}

Row = dict[str, Any]


def main(
    seed: Annotated[list[int], typer.Option(help="Seeds of the trainings.")],
    transfer: Annotated[list[str] | None, typer.Option(help="Transfers; default: all.")] = None,
    catalog: Annotated[Path, typer.Option()] = HERE / "camvid.yaml",
    output: Annotated[Path, typer.Option(help="Folder of the results.")] = HERE / "results",
    choose: Annotated[
        bool, typer.Option("--choose", help="Score on the source's validation images, print.")
    ] = False,
) -> None:
    """Runs and reports the arms."""
    quieten(verbose=False)
    with running_server(catalog.absolute().parent):
        from tasks.steps import progress  # noqa: PLC0415 - Prefect reads its settings at import

        with TerminalProgress() as shown:
            progress.listen(shown)
            if choose:
                names = transfer or list(CHOSEN_ON)
                rows = [_run(name, "pretrained", one, catalog) for name in names for one in seed]
            else:
                rows = _run_all(transfer or list(TRANSFERS), seed, catalog, output)
    text = _markdown(rows, ("pretrained",) if choose else ARMS)
    print(text)


def _run_all(transfers: list[str], seeds: list[int], catalog: Path, output: Path) -> list[Row]:
    """Every arm; the files are written after each seed, and rows of other runs stay in them."""
    output.mkdir(parents=True, exist_ok=True)
    path = output / "camvid.json"
    rows: dict[tuple[str, int, str], Row] = {}
    if path.is_file():
        rows = {_key(row): row for row in json.loads(path.read_text(encoding="utf-8"))}
    for name in transfers:
        for seed in seeds:
            for arm in ARMS:
                if arm == "self_training" and name in EARLIER:
                    continue
                row = _run(name, arm, seed, catalog)
                rows[_key(row)] = row
            found = sorted(rows.values(), key=_order)
            write_json(path, found, indent=1)
            write_text(output / "camvid.md", _markdown(found, ARMS))
    return sorted(rows.values(), key=_order)


def _run(transfer: str, arm: str, seed: int, catalog: Path) -> Row:
    from flows.adapt_transfer import adapt_transfer  # noqa: PLC0415
    from tasks.judging.evaluation import read_evaluation  # noqa: PLC0415
    from tasks.steps.plan import open_plan  # noqa: PLC0415

    started = time.process_time()
    ref = adapt_transfer(transfer=transfer, arm=arm, seed=seed, catalog=str(catalog))
    evaluated = read_evaluation(open_plan(catalog).open_store(), ref)
    print(
        f"{transfer} {arm} seed {seed}: {100 * evaluated.miou:.2f} "
        f"({time.process_time() - started:.0f} s of processor)",
        flush=True,
    )
    return {
        "transfer": transfer,
        "seed": seed,
        "arm": arm,
        "miou": evaluated.miou,
        "per_class": {
            name: None if math.isnan(iou) else iou for name, iou in evaluated.per_class.items()
        },
        "images": evaluated.images,
        "protocol": evaluated.protocol,
    }


def _key(row: Row) -> tuple[str, int, str]:
    return row["transfer"], row["seed"], row["arm"]


def _order(row: Row) -> tuple[int, int, int]:
    return TRANSFERS.index(row["transfer"]), row["seed"], ARMS.index(row["arm"])


def _markdown(rows: list[Row], arms: tuple[str, ...]) -> str:
    """Tables of the mIoU, of paired differences, then of IoU by class; in percent."""
    transfers = list(dict.fromkeys(row["transfer"] for row in rows))
    heads = [f"{name} ({_facts(rows, name)})" for name in transfers]
    lines = [
        "mIoU in percent (11 classes, `camvid11`, labels at their own 360×480), mean ± standard "
        "deviation over seeds.",
        "",
        "| arm | " + " | ".join(heads) + " |",
        "|---|" + "---|" * len(transfers),
    ]
    for arm in arms:
        cells = [_spread(list(_by_seed(rows, name, arm).values())) for name in transfers]
        lines.append(f"| {arm} | " + " | ".join(cells) + " |")
    if len(arms) > 1:
        lines += [
            "",
            "Paired differences, same seed and same images, with 95 % intervals (Student's t over "
            "the seeds):",
            "",
            "| arm | " + " | ".join(transfers) + " |",
            "|---|" + "---|" * len(transfers),
        ]
        for one, other in COMPARED:
            cells = [interval(_gains(rows, name, one, other)) for name in transfers]
            lines.append(f"| {one} − {other} | " + " | ".join(cells) + " |")
    for name in transfers:
        classes = next(row["per_class"] for row in rows if row["transfer"] == name)
        lines += ["", f"IoU by class, {name}, mean over seeds:", ""]
        lines.append("| arm | " + " | ".join(SHORT.get(c, c) for c in classes) + " |")
        lines.append("|---|" + "---|" * len(classes))
        for arm in arms:
            means = [_mean_iou(rows, name, arm, one) for one in classes]
            lines.append(f"| {arm} | " + " | ".join(means) + " |")
    return "\n".join(lines) + "\n"


def _facts(rows: list[Row], transfer: str) -> str:
    mine = [row for row in rows if row["transfer"] == transfer]
    seeds = sorted({row["seed"] for row in mine})
    return f"{mine[0]['images']} images, seeds {', '.join(map(str, seeds))}"


def _gains(rows: list[Row], transfer: str, arm: str, other: str) -> list[float]:
    """By how much an arm is ahead of another, seed by seed."""
    before = _by_seed(rows, transfer, other)
    after = _by_seed(rows, transfer, arm)
    return [value - before[seed] for seed, value in after.items() if seed in before]


def _by_seed(rows: list[Row], transfer: str, arm: str) -> dict[int, float]:
    return {
        row["seed"]: 100 * row["miou"]
        for row in rows
        if (row["transfer"], row["arm"]) == (transfer, arm)
    }


def _spread(values: list[float]) -> str:
    deviation = f" ± {statistics.stdev(values):.1f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.1f}{deviation}" if values else "–"


def _mean_iou(rows: list[Row], transfer: str, arm: str, name: str) -> str:
    chosen = [
        100 * row["per_class"][name]
        for row in rows
        if (row["transfer"], row["arm"]) == (transfer, arm) and row["per_class"][name] is not None
    ]
    return f"{statistics.mean(chosen):.1f}" if chosen else "–"


if __name__ == "__main__":
    typer.run(main)
