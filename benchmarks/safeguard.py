"""What the label-free safeguard sees of adaptations whose true effect is known.

    python benchmarks/arms.py --work DIR && python benchmarks/safeguard.py --work DIR

Judges every segmenter that `arms.py` adapted without labels, and some that are ruined on purpose,
against the pre-trained one on 48 training pairs of its city, as `readapt-city` does, and sets the
verdict beside the true change of the mIoU. The limits were chosen on tokyo, whose true changes are
therefore those on validation places; the other cities' are those on the test places. Writes
`benchmarks/results/safeguard.json` and `safeguard.md`.
"""

from __future__ import annotations

import json
import math
import os
import statistics
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Final

os.environ["OMP_NUM_THREADS"] = "1"  # a process works on one core; see --processes
os.environ["OPENBLAS_NUM_THREADS"] = "1"

import numpy as np
import torch
import typer
from safetensors.torch import load_file

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import arms
from benchmarks.whole_files import write_json, written_whole
from crosscity.adaptation import PRESETS, Adaptation, TargetArrays
from crosscity.evaluation import evaluate, score
from crosscity.labels import CROSS_CITY_CLASSES
from crosscity.safeguard import (
    PairSigns,
    SafeguardLimits,
    compare,
    missed_classes,
    pair_signs,
    static_points,
    verdict,
)
from crosscity.segmenters import Segmenter, build_segmenter
from tasks.priors.pair_prior import extract_prior

JUDGED_PAIRS: Final = 48
VALIDATION_PLACES: Final = range(20_000, 20_150)
RUINED: Final[dict[str, dict[str, Any]]] = {
    "ga, learning rate × 40": {"arm": "ga", "learning_rate": 2e-2},
    "ga, λ_G = 3": {"arm": "ga", "lambda_global": 3.0},
    "ga_ca, λ_class = 3": {"arm": "ga_ca", "lambda_class": 3.0},
    "self_training, λ = 3, all static": {"arm": "self_training", "lambda_self": 3.0},
}
"""Ways to do harm that a wrong line in a catalog has, or, the last, priors that are not priors."""
SCRAMBLED: Final = "classes permuted"
HARM: Final = 1.0
"""Points of mIoU below which a change is called harm."""

Row = dict[str, Any]


def main(
    city: Annotated[list[str], typer.Option(help="Target cities.")] = list(arms.CITIES),  # noqa: B006
    seed: Annotated[list[int], typer.Option(help="Seeds of the trainings.")] = [0, 1, 2, 3, 4],  # noqa: B006
    ruined_seed: Annotated[int, typer.Option(help="Of the ruined ones, the first seeds.")] = 1,
    processes: Annotated[int, typer.Option(help="Each works on one core.")] = 2,
    work: Annotated[Path, typer.Option(help="Folder that arms.py worked in.")] = Path(
        ".crosscity/arms"
    ),
    output: Annotated[Path, typer.Option(help="Folder of the results.")] = arms.RESULTS,
) -> None:
    """Judges what is there and reports."""
    calls = [(work, name, one, seed.index(one) < ruined_seed) for name in city for one in seed]
    with ProcessPoolExecutor(processes) as pool:
        list(pool.map(_points, [work] * len(city), city))
        list(pool.map(_validation, [work]))
        rows = [row for found in pool.map(_judge_arms, *zip(*calls, strict=True)) for row in found]
    output.mkdir(parents=True, exist_ok=True)
    (output / "safeguard.json").write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    text = report(rows)
    (output / "safeguard.md").write_text(text, encoding="utf-8")
    print(text)


def _points(work: Path, city: str) -> None:
    """Static points of the judged pairs, as `readapt-city` finds them."""
    path = work / f"{city}-points.npz"
    if path.exists():
        return
    images = arms.loaded(work / f"{city}-train.npz")["images"]
    chosen = np.sort(np.random.default_rng([len(images) // 2, JUDGED_PAIRS]).permutation(
        len(images) // 2)[:JUDGED_PAIRS])  # fmt: skip
    found: dict[str, list[Any]] = {"pair": [], "first": [], "second": []}
    for pair in chosen.tolist():
        prior = extract_prior(images[2 * pair], images[2 * pair + 1], arms.PRIOR)
        first, second = static_points(prior.matches, prior.masks)
        found["pair"].append(np.full(len(first), pair))
        found["first"].append(first)
        found["second"].append(second)
    joined: Any = {name: np.concatenate(parts) for name, parts in found.items()}
    with written_whole(path) as unfinished:
        np.savez(unfinished, chosen=chosen, **joined)


def _validation(work: Path) -> None:
    city = arms.CHOSEN_ON
    arms.once(
        work / f"{city}-val.npz",
        lambda: arms.rendered(city, arms.CITIES[city], VALIDATION_PLACES, (0,)),
    )


def _judge_arms(work: Path, city: str, seed: int, ruined: bool) -> list[Row]:
    torch.set_num_threads(1)
    path = work / f"judged-{city}-{seed}{'-ruined' if ruined else ''}.json"
    if path.exists():
        found: list[Row] = json.loads(path.read_text(encoding="utf-8"))
        return found
    before = _network(work / f"pretrained-{seed}.safetensors", seed)
    signs = _signs_of_pairs(work, city, before)
    scored = _miou(work, city, seed, "pretrained", before)
    rows = []
    for arm in (*arms.ADAPTED, arms.WITHOUT_PRIOR):
        after = _network(work / f"weights-{city}-{seed}-{arm}.safetensors", seed)
        rows.append(_row(work, city, seed, arm, signs, after, scored))
    if ruined:
        for name, changes in RUINED.items():
            after = _ruined(work, city, seed, name, changes)
            rows.append(_row(work, city, seed, name, signs, after, scored))
        rows.append(_row(work, city, seed, SCRAMBLED, signs, _scrambled(before, seed), scored))
    write_json(path, rows)
    return rows


def _row(
    work: Path,
    city: str,
    seed: int,
    arm: str,
    before: Sequence[PairSigns],
    network: Segmenter,
    scored: float,
) -> Row:
    signals = compare(before, _signs_of_pairs(work, city, network), network.class_names)
    return {
        "city": city,
        "seed": seed,
        "arm": arm,
        "miou_change": 100 * (_miou(work, city, seed, arm, network) - scored),
        "kappa_change": signals.kappa_change,
        "interval": signals.interval,
        "drift": signals.drift,
        "entropy_change": signals.entropy.after - signals.entropy.before,
        "information_change": signals.information.after - signals.information.before,
        "vanished": missed_classes(signals, SafeguardLimits()),
        "keep": verdict(signals).keep,
    }


def _signs_of_pairs(work: Path, city: str, network: Segmenter) -> list[PairSigns]:
    images = arms.loaded(work / f"{city}-train.npz")["images"]
    found = arms.loaded(work / f"{city}-points.npz")
    signs = []
    for pair in found["chosen"].tolist():
        here = found["pair"] == pair
        points = (found["first"][here], found["second"][here])
        signs.append(pair_signs(network, (images[2 * pair], images[2 * pair + 1]), points))
    return signs


def _miou(work: Path, city: str, seed: int, arm: str, network: Segmenter) -> float:
    split = "val" if city == arms.CHOSEN_ON else "test"
    if split == "test" and arm in arms.ARMS:  # arms.py has scored it on these images
        row = arms.row_path(work, city, seed, arm).read_text(encoding="utf-8")
        return float(json.loads(row)["miou"])
    images = arms.labelled(work / f"{city}-{split}.npz")
    return score(evaluate(network, images), "score13").miou


def _network(path: Path, seed: int) -> Segmenter:
    network = build_segmenter("compact", seed=seed)
    network.load_state_dict(load_file(path))
    return network


def _ruined(work: Path, city: str, seed: int, name: str, changes: dict[str, Any]) -> Segmenter:
    path = work / f"ruined-{city}-{seed}-{list(RUINED).index(name)}.safetensors"
    if path.exists():
        return _network(path, seed)
    network = _network(work / f"pretrained-{seed}.safetensors", seed)
    found = arms.loaded(work / f"{city}-train.npz")
    priors = np.ones_like(found["priors"]) if "all static" in name else found["priors"]
    training = Adaptation(
        network,
        arms.labelled(work / "source.npz"),
        TargetArrays(found["images"], priors),
        replace(PRESETS["demo"], **changes),
        seed,
    )
    training.advance(training.total_steps)
    arms.save(network, path)
    return network


def _scrambled(before: Segmenter, seed: int) -> Segmenter:
    """The same network with its class names handed around among the scored classes."""
    network = build_segmenter("compact", seed=seed)
    state = {name: value.clone() for name, value in before.state_dict().items()}
    names = list(network.class_names)
    scored = [names.index(road_class.name) for road_class in CROSS_CITY_CLASSES]
    for name in ("classifier.weight", "classifier.bias"):
        state[name][scored] = before.state_dict()[name][scored[1:] + scored[:1]]
    network.load_state_dict(state)
    return network


def report(rows: Sequence[Row]) -> str:
    """What was seen and what was true, in Markdown."""
    cities = list(dict.fromkeys(row["city"] for row in rows))
    groups = {"all": cities}
    if arms.CHOSEN_ON in cities and len(cities) > 1:
        others = [city for city in cities if city != arms.CHOSEN_ON]
        groups = {
            f"{arms.CHOSEN_ON} (validation places; the limits were chosen here)": [arms.CHOSEN_ON],
            f"{', '.join(others)} (test places)": others,
        }
    lines = []
    for title, names in groups.items():
        lines += [f"{title}:", "", *_table([row for row in rows if row["city"] in names]), ""]
    return "\n".join(lines)


def _table(rows: Sequence[Row]) -> list[str]:
    lines = [
        "| arm | adaptations | change of mIoU (range) | of kappa | drift, bits | not taken |",
        "|---|---|---|---|---|---|",
    ]
    for arm in dict.fromkeys(row["arm"] for row in rows):
        some = [row for row in rows if row["arm"] == arm]
        changes = [row["miou_change"] for row in some]
        kept = sum(row["keep"] == "before" for row in some)
        lines.append(
            f"| {arm} | {len(some)} | {statistics.mean(changes):+.1f} "
            f"({min(changes):+.1f} … {max(changes):+.1f}) | {_mean(some, 'kappa_change'):+.3f} | "
            f"{_mean(some, 'drift'):.3f} | {kept} |"
        )
    harmed = [row for row in rows if row["miou_change"] < -HARM]
    gained = [row for row in rows if row["miou_change"] > HARM]
    caught = sum(row["keep"] == "before" for row in harmed)
    alarms = sum(row["keep"] == "before" for row in gained)
    ranks = ", ".join(
        f"{name} {_rank_correlation(rows, key):+.2f}"
        for name, key in (
            ("kappa", "kappa_change"),
            ("drift", "drift"),
            ("entropy", "entropy_change"),
            ("mutual information", "information_change"),
        )
    )
    return [
        *lines,
        "",
        f"Of {len(harmed)} adaptations that lost more than {HARM:g} point, {caught} were not "
        f"taken; of {len(gained)} that gained more than that, {alarms} were not. Rank correlation "
        f"with the change of mIoU: {ranks}.",
    ]


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
