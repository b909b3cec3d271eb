"""What the label-free safeguard sees of adaptations whose true effect is known.

    python benchmarks/street_arms.py --work DIR && python benchmarks/safeguard.py --work DIR

Judges every network that `street_arms.py` left in `--work`, those that are ruined on purpose too,
against the segmenter that all of them began with, on 48 training pairs of its city, as
`readapt-city` does, and sets the verdict beside the true change of the mIoU. The limits were chosen
on tokyo, whose true changes are those on validation places; the other cities' are those on test
places. Writes `benchmarks/results/safeguard.json` and `safeguard.md`; what was judged once is found
again, and only the verdict is taken anew.
"""

from __future__ import annotations

import json
import math
import os
import statistics
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any, Final

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
import torch
import typer

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.street_arms import ARMS, CHOSEN_ON, HARMS, RESULTS, Work, rows_of
from benchmarks.whole_files import write_json, write_text
from crosscity.evaluation import PROTOCOLS, predicted_groups
from crosscity.pair_signs import compare_pair
from crosscity.safeguard import (
    BeforeAfter,
    SafeguardLimits,
    Signals,
    compare_pairs,
    missed_classes,
    verdict,
)

JUDGED_PAIRS: Final = 48
PAIRS_OF_HARMS: Final = 16
"""Of what is ruined on purpose: fewer are enough to see it, and the interval is wider."""
HARM: Final = 1.5
"""Points of mIoU below which a change is called harm."""
GAIN: Final = 0.0
"""Points above which it is called a gain."""
TOLERANCES: Final = (0.02, 0.01, 0.005, 0.002, 0.0)

Row = dict[str, Any]


def main(
    work: Annotated[Path, typer.Option(help="Folder that street_arms.py worked in.")] = Path(
        ".crosscity/street_arms"
    ),
    output: Annotated[Path, typer.Option(help="Folder of the results.")] = RESULTS,
    judged: Annotated[bool, typer.Option(help="Report what was judged before, no more.")] = False,
) -> None:
    """Judges what is there and reports."""
    torch.set_num_threads(1)
    order = ["pretrained", *ARMS]
    scored = sorted(
        rows_of(work), key=lambda row: (row["city"] != CHOSEN_ON, order.index(row["arm"]))
    )
    starts = {row["city"]: row["miou"] for row in scored if row["arm"] == "pretrained"}
    rows: list[Row] = []
    for row in scored:
        known = signals_path(Work(work, row["city"]), row["arm"], row["seed"]).exists()
        if row["arm"] != "pretrained" and (known or not judged):
            change = 100 * (row["miou"] - starts[row["city"]])
            signals = signals_of_arm(Work(work, row["city"]), row["arm"], row["seed"])
            rows.append(_judged(row, change, signals))
            _write(rows, output)


def _write(rows: Sequence[Row], output: Path) -> None:
    output.mkdir(parents=True, exist_ok=True)
    text = json.dumps(rows, indent=1) + "\n"
    write_text(output / "safeguard.json", text)
    write_text(output / "safeguard.md", report(rows))


def signals_path(work: Work, arm: str, seed: int) -> Path:
    """Where what the safeguard sees of an arm is."""
    return work.row(arm, seed).with_name(f"signals-{work.row(arm, seed).name}")


def signals_of_arm(work: Work, arm: str, seed: int) -> Signals:
    """What the safeguard sees of an arm; kept, as it takes most of the time."""
    path = signals_path(work, arm, seed)
    if not path.exists():
        write_json(path, asdict(_looked_at(work, arm, seed)))
        print(path.stem, flush=True)
    return signals_of(json.loads(path.read_text(encoding="utf-8")))


def signals_of(content: dict[str, Any]) -> Signals:
    """Signals out of JSON."""
    both = ("agreement", "kappa", "entropy", "information")
    found = {name: BeforeAfter(**content[name]) for name in both}
    shares = {name: BeforeAfter(**each) for name, each in content["shares"].items()}
    agreed = {name: BeforeAfter(**each) for name, each in content.get("agreed", {}).items()}
    low, high = content["interval"]
    kept = {"shares": shares, "agreed": agreed, "interval": (low, high)}
    return Signals(**{**content, **found, **kept})


def _looked_at(work: Work, arm: str, seed: int) -> Signals:
    images, points = work.train["images"], work.points()
    networks = work.network("pretrained", 0), work.network(arm, seed)
    groups = predicted_groups(PROTOCOLS["score13"], networks[0].class_names)
    order = np.random.default_rng([len(points), JUDGED_PAIRS]).permutation(len(points))
    looked_at = PAIRS_OF_HARMS if arm in HARMS else JUDGED_PAIRS
    pairs = [
        compare_pair(
            networks, (images[2 * pair], images[2 * pair + 1]), points[pair], groups=groups
        )
        for pair in sorted(order[:looked_at].tolist())
    ]
    return compare_pairs(pairs, groups.names)


def _judged(row: Row, change: float, signals: Signals) -> Row:
    limits = SafeguardLimits()
    at = {
        str(tolerance): verdict(signals, replace(limits, tolerance=tolerance)).keep
        for tolerance in TOLERANCES
    }
    found = verdict(signals, limits)
    return {
        "city": row["city"],
        "seed": row["seed"],
        "arm": row["arm"],
        "on_purpose": row["arm"] in HARMS,
        "miou_change": change,
        "kappa_change": signals.kappa_change,
        "interval": signals.interval,
        "drift": signals.drift,
        "entropy_change": signals.entropy.after - signals.entropy.before,
        "information_change": signals.information.after - signals.information.before,
        "vanished": missed_classes(signals, limits),
        "keep": found.keep,
        "reasons": list(found.reasons),
        "at_tolerance": at,
    }


def report(rows: Sequence[Row]) -> str:
    """What was seen and what was true, in Markdown."""
    cities = list(dict.fromkeys(row["city"] for row in rows))
    others = [city for city in cities if city != CHOSEN_ON]
    groups = {f"{CHOSEN_ON} (validation places; the limits were chosen here)": [CHOSEN_ON]}
    if others:
        groups[f"{', '.join(others)} (test places)"] = others
    lines = [
        "Adaptations of `street` by `street_arms.py` (short trainings), judged on "
        f"{JUDGED_PAIRS} training pairs in the label space that is scored (`score13`); changes of "
        f"mIoU in points. Arms in italics are harm on purpose, judged on {PAIRS_OF_HARMS} pairs.",
        "",
    ]
    for title, names in groups.items():
        some = [row for row in rows if row["city"] in names]
        if some:
            lines += [f"{title}:", "", *_table(some), ""]
    lines += ["All of them, by the tolerance of a fall of kappa:", "", *_curve(rows)]
    return "\n".join(lines) + "\n"


def _table(rows: Sequence[Row]) -> list[str]:
    lines = [
        "| arm | adaptations | change of mIoU (range) | of kappa | drift, bits | of information "
        "| not taken |",
        "|---|---|---|---|---|---|---|",
    ]
    for arm in dict.fromkeys(row["arm"] for row in sorted(rows, key=lambda r: r["on_purpose"])):
        some = [row for row in rows if row["arm"] == arm]
        changes = [row["miou_change"] for row in some]
        kept = sum(row["keep"] == "before" for row in some)
        told = "*" if some[0]["on_purpose"] else ""
        lines.append(
            f"| {told}{arm}{told} | {len(some)} | {statistics.mean(changes):+.1f} "
            f"({min(changes):+.1f} … {max(changes):+.1f}) | {_mean(some, 'kappa_change'):+.3f} | "
            f"{_mean(some, 'drift'):.3f} | {_mean(some, 'information_change'):+.2f} | {kept} |"
        )
    ranks = ", ".join(
        f"{name} {_rank_correlation(rows, key):+.2f}"
        for name, key in (
            ("kappa", "kappa_change"),
            ("drift", "drift"),
            ("entropy", "entropy_change"),
            ("mutual information", "information_change"),
        )
    )
    return [*lines, "", f"Rank correlation with the change of mIoU: {ranks}."]


def _curve(rows: Sequence[Row]) -> list[str]:
    """Harm that is refused against gains that are, by tolerance."""
    harmed = [row for row in rows if row["miou_change"] < -HARM]
    gained = [row for row in rows if row["miou_change"] > GAIN]
    lines = [
        f"| tolerance | harms above {HARM:g} points refused | of these not on purpose "
        "| gains refused |",
        "|---|---|---|---|",
    ]
    natural = [row for row in harmed if not row["on_purpose"]]
    for tolerance in TOLERANCES:
        cells = [
            f"{sum(row['at_tolerance'][str(tolerance)] == 'before' for row in some)} of {len(some)}"
            for some in (harmed, natural, gained)
        ]
        lines.append(f"| {tolerance:g} | " + " | ".join(cells) + " |")
    return lines


def _mean(rows: Sequence[Row], key: str) -> float:
    return float(np.mean([row[key] for row in rows]))


def _rank_correlation(rows: Sequence[Row], key: str) -> float:
    """Spearman's; ties do not occur in these figures."""
    values = [[row[name] for row in rows] for name in (key, "miou_change")]
    if len(rows) < 3:
        return math.nan
    ranks = [np.argsort(np.argsort(column)) for column in values]
    return float(np.corrcoef(ranks[0], ranks[1])[0, 1])


if __name__ == "__main__":
    typer.run(main)
