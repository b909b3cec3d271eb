"""What pairs give where one look is easier: a city by night, learned from pairs of day and night.

    python benchmarks/night_pairs.py --work .crosscity/night_pairs
        [--name night_pairs_seeds --arm pretrained --arm self --arm two_looks]

The segmenter that comes along (`street`) loses at night what it sees by day (`simcity.in_light`:
the light of dusk, a fifth to a third of the exposure, a sensor's noise). Each of 75 places of a
simulated city is seen once by day and once by night. Arms differ in nothing but what they make of
the pairs: `self` learns from the source's labels and from the teacher's of each image, `two_looks`
fuses these with what is seen at the other time, by how sure each is, `evidence` refines them by the
static prior, `both` does both; `consistency` is `self` with a contrast of features at matched
points. `control` takes the same steps of source labels, `bn` mixes in the target's statistics, and
arms with `statistics` begin with these. `source_free` reads no source image, and begins with half
of the target's statistics; the labels of `source_free_looks` are of both looks. What these deliver
is the mean of start and teacher; arms that end in "teacher" are the teacher alone, of the same
training.

Each is scored on images of other places by night, and on the same places by day: validation places
in tokyo, test places elsewhere. Settings are those of `street_arms.py`; nothing is chosen here but
the night, before any arm was trained. The safeguard judges each arm on 48 of the pairs, as
`readapt-city` does. Finished arms are found again in `--work`; kill it and start
it again at will. Writes `benchmarks/results/night_pairs.json` and `.md`, or those of another
`--name`, after every arm. `camera_pairs.py` does the same where the two times were taken by two
cameras.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Final

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
import torch
import typer

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from adapters.images import decode_image
from adapters.street_view.simulated import SimulatedCity, find_style
from benchmarks.arms import Arrays, labelled, once, save
from benchmarks.demo_start import PAIRS, SIZE, SOURCE, rendered, start
from benchmarks.paired import Counts, with_interval
from benchmarks.safeguard import JUDGED_PAIRS, signals_of_arm, signals_path
from benchmarks.street_arms import (
    ARMS,
    CHOSEN_ON,
    CITIES,
    FIRST_PLACE,
    HOME,
    HOME_PLACES,
    PAIRED,
    PROTOCOL,
    SCORED,
    STEPS,
    Both,
    Make,
    Work,
    adapted,
    differences,
    file_name,
    pairs,
    rows_of,
    source_free,
)
from benchmarks.whole_files import write_json, write_text, written_whole
from crosscity.adaptation.recipes import Recipe, Term
from crosscity.adaptation.source_free import SourceFreeSettings
from crosscity.evaluation import evaluate_each, score
from crosscity.freed_memory import keep_freed_memory
from crosscity.safeguard import SafeguardLimits, verdict
from crosscity.segmenters import Segmenter
from simcity import CityStyle, in_light

RESULTS: Final = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Uneven:
    """How one of the two looks at a place is easier.

    Attributes:
        name: Of the results' files.
        looks: The easier and the harder one, by the number of the time at which a place is drawn.
        drawn: A city's style, and a look, to the style that is drawn.
        between: "pairs of ..." in sentences.
    """

    name: str
    looks: tuple[str, str]
    drawn: Callable[[CityStyle, str], CityStyle]
    between: str


NIGHT: Final = Uneven("night_pairs", ("day", "night"), in_light, "day and night")
LONG: Final = SourceFreeSettings().steps


def teacher_of(arm: str) -> Make:
    """The teacher alone, out of what an arm left that delivers its mean with the start."""

    def make(work: Work, seed: int) -> tuple[Segmenter, float]:
        if not work.weights(arm, seed).exists():
            save(CHOSEN[arm](work, seed)[0], work.weights(arm, seed))
        network, first = work.network(arm, seed), dict(start().named_parameters())
        with torch.no_grad():
            for name, mean in network.named_parameters():
                mean.mul_(2).sub_(first[name])
        return network, 0.0

    return make


SHARE: Final = 0.3
"""Of the target's batch-norm statistics, where an arm begins with them: the default of `bn`."""
CHOSEN: Final[dict[str, Make]] = {
    "pretrained": lambda work, seed: (work.network("pretrained", seed), 0.0),
    **{
        name: ARMS[name]
        for name in ("bn 0.3", "control", "self", "two_looks", "both", "evidence", "source_free")
    },
    "source_free_looks": source_free(looks=True),
    f"source_free, {LONG} steps": source_free(LONG),
    f"source_free_looks, {LONG} steps": source_free(LONG, looks=True),
    f"source_free, {LONG} steps, teacher": teacher_of(f"source_free, {LONG} steps"),
    f"source_free_looks, {LONG} steps, teacher": teacher_of(f"source_free_looks, {LONG} steps"),
    "self, statistics": adapted(PAIRED["self"], statistics=SHARE),
    "two_looks, statistics": adapted(PAIRED["two_looks"], statistics=SHARE),
    "consistency": adapted(
        Recipe((*PAIRED["self"].terms, Term("feature_consistency", 0.1, ramp="constant")))
    ),
}
UNTRAINED: Final = ("pretrained", "bn 0.3")
"""They have one run, of seed 0."""
COMPARED: Final = (
    ("bn 0.3", "pretrained"),
    ("control", "pretrained"),
    ("self", "control"),
    ("self", "pretrained"),
    ("source_free", "pretrained"),
    ("source_free", "self"),
    ("source_free_looks", "source_free"),
    (f"source_free, {LONG} steps", "pretrained"),
    (f"source_free, {LONG} steps", "bn 0.3"),
    (f"source_free, {LONG} steps", "source_free"),
    (f"source_free_looks, {LONG} steps", f"source_free, {LONG} steps"),
    (f"source_free_looks, {LONG} steps", "pretrained"),
    (f"source_free, {LONG} steps, teacher", f"source_free, {LONG} steps"),
    (f"source_free, {LONG} steps, teacher", "pretrained"),
    (f"source_free_looks, {LONG} steps, teacher", f"source_free, {LONG} steps, teacher"),
    (f"source_free_looks, {LONG} steps, teacher", "pretrained"),
    ("two_looks", "self"),
    ("evidence", "self"),
    ("both", "self"),
    ("both", "two_looks"),
    ("consistency", "self"),
    ("self, statistics", "bn 0.3"),
    ("two_looks, statistics", "self, statistics"),
    ("two_looks, statistics", "bn 0.3"),
    ("two_looks, statistics", "pretrained"),
    ("both", "control"),
    ("both", "pretrained"),
)


def main(
    city: Annotated[list[str], typer.Option(help="Target cities.")] = list(CITIES),  # noqa: B006
    seed: Annotated[list[int], typer.Option(help="Of the trainings.")] = [0, 1, 2],  # noqa: B006
    arm: Annotated[list[str], typer.Option(help="Only these arms.")] = list(CHOSEN),  # noqa: B006
    work: Annotated[Path, typer.Option(help="Folder of finished arms.")] = Path(
        ".crosscity/night_pairs"
    ),
    output: Annotated[Path, typer.Option(help="Folder of the results.")] = RESULTS,
    name: Annotated[str, typer.Option(help="Of the results' files.")] = NIGHT.name,
) -> None:
    """Runs what is missing and reports all that the folder of finished arms has."""
    compare(replace(NIGHT, name=name), city, seed, arm, work, output)


def compare(
    uneven: Uneven, city: list[str], seed: list[int], arm: list[str], work: Path, output: Path
) -> None:
    """The same for any pairs of which one look is easier."""
    unknown = [one for one in arm if one not in CHOSEN]
    if unknown:
        raise typer.BadParameter(f"no arm is called {unknown[0]!r}; there are {', '.join(CHOSEN)}")
    torch.set_num_threads(1)
    keep_freed_memory()
    work.mkdir(parents=True, exist_ok=True)
    missing = [
        (Work(work, name), arm_name, of)
        for one in seed
        for name in city
        for arm_name in arm
        for of in [0 if arm_name in UNTRAINED else one]
        if not _is_finished(Work(work, name), arm_name, of)
    ]
    for here, arm_name, of in missing:
        _data(uneven, here)
        _run(uneven, here, arm_name, of)
        if arm_name != "pretrained":
            signals_of_arm(here, arm_name, of)
        _report(uneven, work, output)
    if not missing:
        _report(uneven, work, output)


def _seen(uneven: Uneven, style: str, seed: int, places: range, looks: Sequence[str]) -> Arrays:
    """Images and labels of places in these looks, those of one place after another."""
    whole = find_style(style)
    cities = {name: SimulatedCity(uneven.drawn(whole, name), seed, SIZE) for name in looks}
    images, labels = [], []
    for place in places:
        for name, drawn in cities.items():
            rendering = drawn.render(place, uneven.looks.index(name))
            images.append(decode_image(drawn.encode(rendering), f"{style} {place} {name}"))
            labels.append(rendering.train_ids)
    return {"images": np.stack(images), "labels": np.stack(labels)}


def _data(uneven: Uneven, work: Work) -> None:
    """Draws the images that are not there yet, and matches the pairs."""
    folder, name = work.folder, work.city
    first = FIRST_PLACE[name == CHOSEN_ON]
    for look in uneven.looks:
        once(
            _scored(work, look),
            lambda look=look: _seen(  # type: ignore[misc]
                uneven, name, CITIES[name], range(first, first + SCORED), [look]
            ),
        )
    pairs(folder, name, lambda: _seen(uneven, name, CITIES[name], range(PAIRS), uneven.looks))
    once(folder / "source.npz", lambda: rendered(*HOME, range(1_000_000, 1_000_000 + SOURCE), 1))
    pairs(folder, HOME[0], lambda: _seen(uneven, *HOME, HOME_PLACES, uneven.looks))


def _scored(work: Work, look: str) -> Path:
    return work.folder / f"{work.city}-{file_name(look)}.npz"


def _counts(work: Work, arm: str, seed: int, look: str) -> Path:
    path = work.counts(arm, seed)
    return path.with_name(path.name.replace("counts-", f"counts-{file_name(look)}-", 1))


def _is_finished(work: Work, arm: str, seed: int) -> bool:
    """Whether an arm was scored, and judged where there is something to judge."""
    judged = arm == "pretrained" or signals_path(work, arm, seed).exists()
    return judged and work.row(arm, seed).exists()


def _run(uneven: Uneven, work: Work, arm: str, seed: int) -> None:
    if work.row(arm, seed).exists():
        return
    if work.weights(arm, seed).exists():  # killed before it was scored
        network, step = work.network(arm, seed), None
    else:
        network, step = CHOSEN[arm](work, seed)
        save(network, work.weights(arm, seed))
    row: dict[str, Any] = {"city": work.city, "seed": seed, "arm": arm, "step_seconds": step}
    for look in uneven.looks:
        each = evaluate_each(network, labelled(_scored(work, look)))
        counts = np.stack([one.confusion for one in each])
        with written_whole(_counts(work, arm, seed, look)) as unfinished:
            np.savez_compressed(unfinished, counts=counts.astype(np.int32))
        found = score(counts.sum(0), PROTOCOL)
        row[look] = {"miou": found.miou, "per_class": found.per_class}
    write_json(work.row(arm, seed), row)
    scores = (f"{look} {100 * row[look]['miou']:.1f}" for look in uneven.looks)
    print(work.city, seed, arm, *scores, flush=True)


def _report(uneven: Uneven, work: Path, output: Path) -> None:
    rows = rows_of(work)
    write_json(output / f"{uneven.name}.json", rows)
    write_text(output / f"{uneven.name}.md", report(uneven, rows, work))


def report(uneven: Uneven, rows: Sequence[dict[str, Any]], folder: Path) -> str:
    """Scores and paired differences in Markdown."""
    easy, hard = uneven.looks
    cities = [name for name in CITIES if any(row["city"] == name for row in rows)]
    places = ", ".join(
        f"{name} on {'validation' if name == CHOSEN_ON else 'test'} places" for name in cities
    )
    lines = [
        f"From `street` at {SIZE[0]}×{SIZE[1]}, {PAIRS} pairs of {uneven.between}, {STEPS} "
        f"steps of 4 images, mIoU (percent, 13 classes) on {SCORED} images a city ({places}); "
        "mean over seeds, in brackets how many.",
        "",
        "| arm | " + " | ".join(f"{name}, {look}" for look in (hard, easy) for name in cities)
        + " |",
        "|---|" + "---|" * (2 * len(cities)),
    ]  # fmt: skip
    for arm in CHOSEN:
        cells = []
        for look in (hard, easy):
            for name in cities:
                found = [row[look]["miou"] for row in rows
                         if (row["city"], row["arm"]) == (name, arm)]  # fmt: skip
                cells.append(f"{100 * np.mean(found):.1f} ({len(found)})" if found else "–")
        if set(cells) != {"–"}:
            lines.append(f"| {arm} | " + " | ".join(cells) + " |")
    for look in (hard, easy):
        lines += _differences(rows, folder, cities, look)
    return "\n".join([*lines, *_judged(uneven, rows, folder, cities)]) + "\n"


def _judged(
    uneven: Uneven, rows: Sequence[dict[str, Any]], folder: Path, cities: Sequence[str]
) -> list[str]:
    """What the safeguard says of the arms it has looked at."""
    lines = [
        "",
        f"The safeguard on {JUDGED_PAIRS} of the training pairs: by how much the agreement of "
        f"{uneven.between} (kappa, 95 % over pairs) rises over `pretrained`, and what is kept:",
        "",
        "| arm | " + " | ".join(cities) + " |",
        "|---|" + "---|" * len(cities),
    ]
    known = {(row["city"], row["arm"]): row["seed"] for row in reversed(rows)}
    for arm in CHOSEN:
        cells = []
        for name in cities:
            work, seed = Work(folder, name), known.get((name, arm))
            if seed is None or not signals_path(work, arm, seed).exists():
                cells.append("–")
                continue
            seen = signals_of_arm(work, arm, seed)
            kept = "taken" if verdict(seen, SafeguardLimits()).keep == "after" else "refused"
            cells.append(f"{with_interval((seen.kappa_change, *seen.interval), 3)}, {kept}")
        if set(cells) != {"–"}:
            lines.append(f"| {arm} | " + " | ".join(cells) + " |")
    return lines


def _differences(
    rows: Sequence[dict[str, Any]], folder: Path, cities: Sequence[str], look: str
) -> list[str]:
    """Arms against others on images of one look, in the cities and seeds that have both."""
    known = {(row["city"], row["arm"], row["seed"]) for row in rows}

    def runs(name: str, arm: str, other: str) -> Both | None:
        work = Work(folder, name)
        ours, others = ({seed for city, one, seed in known if (city, one) == (name, each)}
                        for each in (arm, other))  # fmt: skip
        if other in UNTRAINED:
            common = [(seed, 0) for seed in sorted(ours) if others]
        else:
            common = [(seed, seed) for seed in sorted(ours & others)]
        if not common:
            return None
        return (
            [_counted(work, arm, seed, look) for seed, _ in common],
            [_counted(work, other, seed, look) for _, seed in common],
        )

    return differences(f"Differences in points, {look}", cities, COMPARED, runs)


def _counted(work: Work, arm: str, seed: int, look: str) -> Counts:
    with np.load(_counts(work, arm, seed, look), allow_pickle=False) as found:
        return np.asarray(found["counts"], dtype=np.int64)


if __name__ == "__main__":
    typer.run(main)
