"""What labels of 4, 16 or 64 places give: chosen, at random, and by plain fine-tuning.

    python benchmarks/few_labels.py --work .crosscity/few_labels

A simulated city, the segmenter that comes along (`street`), one core. The recipe `few_labels`
learns from the labelled places, the source and the unlabelled pairs together; plain fine-tuning
takes the same labels and as many steps. Places are chosen where the two times of a place disagree,
and where the segmenter before and after self-training without labels does
(`crosscity.labelling`); or, which the product does not do, so that they cover the classes of what
these two differ on.
Finished arms are found again in `--work`; kill it and start it again at will. Settings are the
preset `demo`'s unless options say otherwise; nothing is chosen on the test places, which are scored
once an arm. Writes `benchmarks/results/few_labels.json` and `.md` after every arm.

A tiny run, which shows that all of it works:

    python benchmarks/few_labels.py --size 64x128 --places 8 --test 6 --source 6 --steps 3 \
        --labels 2 --labels 4 --seed 0 --work /tmp/few --output /tmp/few
"""

from __future__ import annotations

import json
import os
import statistics
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Final

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
import numpy.typing as npt
import torch
import typer
from safetensors.torch import load_file

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from adapters.catalog.model import PriorSettings
from adapters.catalog.recipes import BUILT_IN_RECIPES, ObjectiveEntry, RecipeEntry
from adapters.images import decode_image
from adapters.street_view.simulated import SimulatedCity, find_style
from benchmarks.arms import save
from benchmarks.paired import interval
from benchmarks.whole_files import write_json, write_text, written_whole
from crosscity.adaptation import (
    FINE_TUNING_PRESETS,
    PRESETS,
    Adaptation,
    FineTuning,
    LabelledArrays,
    TargetArrays,
)
from crosscity.evaluation import evaluate, predict, score
from crosscity.labelling import combined_ranks, spread_choice
from crosscity.safeguard import static_points
from crosscity.segmenters import Segmenter
from crosscity.segmenters.delivered import load_segmenter
from tasks.priors.pair_prior import extract_prior
from tasks.steps.recipes import science_of

RESULTS: Final = Path(__file__).parent / "results"
CITY, CITY_SEED = "tokyo", 3
AREA: Final = (139.73, 35.65, 139.79, 35.70)
SOURCE, SOURCE_SEED = "frankfurt", 11
FIRST_TEST_PLACE: Final = 10_000
FIRST_SOURCE_PLACE: Final = 1_000_000
PRIOR: Final = PriorSettings(downscale=2, superpixels=150, superpixel_downscale=2)
SMALL_PRIOR: Final = PriorSettings(downscale=1, superpixels=60, superpixel_downscale=1)
UNLABELLED: Final = RecipeEntry(
    objectives=[
        ObjectiveEntry(objective="source_task"),
        ObjectiveEntry(objective="self_training", weight="lambda_self"),
    ]
)
"""What the student has become without a label: the second of the two that are compared."""
WAYS: Final = {
    "chosen": "few_labels, chosen places",
    "covering": "few_labels, places that cover the classes",
    "random": "few_labels, random places",
    "source_free_chosen": "few_labels_source_free, chosen places",
    "source_free_random": "few_labels_source_free, random places",
    "plain_chosen": "fine-tuned on the chosen places alone",
    "plain_random": "fine-tuned on random places alone",
}

Arrays = dict[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class Options:
    """What a run is made of.

    Attributes:
        size: (height, width) of all images.
        places: Training places of the city; labels may be had of any.
        test: Test places.
        source: Source places.
        steps: Of every training.
        rate: Learning rate of every training.
    """

    size: tuple[int, int]
    places: int
    test: int
    source: int
    steps: int
    rate: float

    @property
    def name(self) -> str:
        """Tells apart what is kept of different runs in one folder."""
        height, width = self.size
        return f"{height}x{width}-{self.places}-{self.source}-{self.steps}-{self.rate:g}"


def main(
    size: Annotated[str, typer.Option(help="HEIGHTxWIDTH of the images.")] = "256x512",
    places: Annotated[int, typer.Option(help="Training places.")] = 120,
    test: Annotated[int, typer.Option(help="Test places.")] = 200,
    source: Annotated[int, typer.Option(help="Source places.")] = 200,
    steps: Annotated[int, typer.Option(help="Of every training.")] = 300,
    rate: Annotated[float, typer.Option(help="Learning rate of every training.")] = 2e-4,
    labels: Annotated[list[int], typer.Option(help="How many labelled places.")] = [4, 16, 64],  # noqa: B006
    seed: Annotated[list[int], typer.Option(help="Of the trainings.")] = [0, 1, 2],  # noqa: B006
    way: Annotated[list[str], typer.Option(help="Only these uses of labels.")] = list(WAYS),  # noqa: B006
    work: Annotated[Path, typer.Option(help="Folder of finished arms.")] = Path(
        ".crosscity/few_labels"
    ),
    output: Annotated[Path, typer.Option(help="Folder of the results.")] = RESULTS,
) -> None:
    """Runs what is missing and reports."""
    torch.set_num_threads(1)
    height, _, width = size.partition("x")
    options = Options((int(height), int(width)), places, test, source, steps, rate)
    if max(labels) > places:
        raise typer.BadParameter(f"{max(labels)} labelled places of {places}")
    unknown = sorted(set(way) - set(WAYS))
    if unknown:
        raise typer.BadParameter(f"no way {', '.join(unknown)}; there are {', '.join(WAYS)}")
    work.mkdir(parents=True, exist_ok=True)
    bench = Bench(options, work)
    for arm, count, one, make in _arms(bench, labels, seed, way):
        bench.score(arm, count, one, make)
        _write(bench, output)


def _arms(
    bench: Bench, labels: Sequence[int], seeds: Sequence[int], ways: Sequence[str]
) -> Iterator[tuple[str, int, int, Callable[[], Segmenter]]]:
    """Arm, labelled places, seed, and how it is made."""
    yield "start", 0, 0, bench.start
    everything = list(range(bench.options.places))
    for seed in seeds:
        yield "unlabelled", 0, seed, lambda seed=seed: bench.unlabelled(seed)  # type: ignore[misc]
        for count in labels:
            for way in ways:
                yield (
                    way,
                    count,
                    seed,
                    lambda way=way, count=count, seed=seed: bench.by(  # type: ignore[misc]
                        way, count, seed
                    ),
                )
        yield (
            "fine_tuned",
            len(everything),
            seed,
            lambda seed=seed: bench.fine_tuned(everything, seed),  # type: ignore[misc]
        )


class Bench:
    """The images, the start, and the arms with their scores.

    Args:
        options: Of the run.
        work: Folder of what is finished.
    """

    def __init__(self, options: Options, work: Path) -> None:
        self.options, self._work = options, work
        self._sets: dict[str, Arrays] = {}

    def start(self) -> Segmenter:
        """The segmenter that comes along."""
        return load_segmenter()

    def images(self, which: str) -> Arrays:
        """Images and labels of "source", "train" (both times of a place) or "test"."""
        if which not in self._sets:
            path = self._work / f"{which}-{self.options.name}-{self.options.test}.npz"
            if not path.exists():
                _save_arrays(path, self._rendered(which))
            with np.load(path, allow_pickle=False) as found:
                self._sets[which] = dict(found)
        return self._sets[which]

    def by(self, way: str, count: int, seed: int) -> Segmenter:
        """One way to use labels of so many places."""
        choose = {"chosen": self.chosen, "covering": self.covering, "random": self.random}
        places = choose[way.rpartition("_")[2]](count, seed)
        if way.startswith("plain"):
            return self.fine_tuned(places, seed)
        name = "few_labels_source_free" if way.startswith("source_free") else "few_labels"
        return self._adapt(BUILT_IN_RECIPES[name], seed, places)

    def unlabelled(self, seed: int) -> Segmenter:
        """Self-training without a label; kept, as the choice of places looks at it."""
        path = self._work / f"unlabelled-{self.options.name}-{seed}.safetensors"
        if not path.exists():
            network = self._adapt(UNLABELLED, seed, None)
            save(network, path)
        network = self.start()
        network.load_state_dict(load_file(path))
        return network

    def fine_tuned(self, places: Sequence[int], seed: int) -> Segmenter:
        """Trained on these labels alone."""
        network, settings = self.start(), FINE_TUNING_PRESETS["demo"]
        settings = replace(
            settings,
            steps=self.options.steps,
            learning_rate=self.options.rate,
            batch_size=4,
            freeze_batch_norm=True,
        )
        training = FineTuning(network, self._labelled(places), settings, seed)
        training.advance(training.total_steps)
        return network

    def random(self, count: int, seed: int) -> list[int]:
        """Places by the seed; more of them hold fewer of them."""
        order = np.random.default_rng([seed, self.options.places]).permutation(self.options.places)
        return sorted(order[:count].tolist())

    def chosen(self, count: int, seed: int) -> list[int]:
        """Places where the two times, or the segmenters before and after, disagree; spread."""
        found = self._signals(seed)
        scores = combined_ranks(np.stack([found["times"], found["segmenters"]], axis=1))
        return sorted(spread_choice(scores, found["lat"], found["lon"], count))

    def covering(self, count: int, seed: int) -> list[int]:
        """Places that cover the classes of what the segmenters before and after disagree on."""
        path = self._work / f"disputed-{self.options.name}-{seed}.npz"
        if not path.exists():
            _save_arrays(path, {"disputed": self._disputed(seed)})
        with np.load(path, allow_pickle=False) as found:
            return sorted(covering_choice(found["disputed"], count))

    def score(self, arm: str, count: int, seed: int, make: Callable[[], Segmenter]) -> None:
        """Scores an arm on the test places, where that has not been done."""
        path = self._row(arm, count, seed)
        if path.exists():
            return
        tested = self.images("test")
        scores = score(
            evaluate(make(), LabelledArrays(tested["images"], tested["labels"])), "score13"
        )
        row = {"arm": arm, "labels": count, "seed": seed, "miou": scores.miou}
        write_json(path, {**row, "per_class": scores.per_class})
        print(json.dumps(row), flush=True)

    def rows(self) -> list[dict[str, Any]]:
        """All that has been scored."""
        found = sorted(self._work.glob(f"row-{self.options.name}-*.json"))
        return [json.loads(path.read_text(encoding="utf-8")) for path in found]

    def _row(self, arm: str, count: int, seed: int) -> Path:
        return self._work / f"row-{self.options.name}-{arm}-{count}-{seed}.json"

    def _adapt(self, entry: RecipeEntry, seed: int, places: Sequence[int] | None) -> Segmenter:
        recipe, train, home = science_of(entry), self.images("train"), self.images("source")
        settings = replace(
            PRESETS["demo"], steps=self.options.steps, learning_rate=self.options.rate
        )
        needs_source = any(term.objective == "source_task" for term in recipe.terms)
        network = self.start()
        training = Adaptation(
            network,
            LabelledArrays(home["images"], home["labels"]) if needs_source else None,
            TargetArrays(train["images"]),
            settings,
            seed,
            recipe=recipe,
            labelled=None if places is None else self._labelled(places),
        )
        training.advance(training.total_steps)
        return network

    def _labelled(self, places: Sequence[int]) -> LabelledArrays:
        train, first = self.images("train"), [2 * place for place in places]
        return LabelledArrays(train["images"][first], train["labels"][first])

    def _signals(self, seed: int) -> Arrays:
        """Of each place: both disagreements, and where it lies."""
        path = self._work / f"signals-{self.options.name}-{seed}.npz"
        if not path.exists():
            _save_arrays(path, self._looked_at(seed))
        with np.load(path, allow_pickle=False) as found:
            return dict(found)

    def _looked_at(self, seed: int) -> Arrays:
        images, prior = self.images("train")["images"], self._prior()
        before, after = self.start(), self.unlabelled(seed)
        times, segmenters = [], []
        for place in range(self.options.places):
            both = images[2 * place : 2 * place + 2]
            seen, other = (
                predict(one, both, image_size=both.shape[1:3]) for one in (before, after)
            )
            pair = extract_prior(both[0], both[1], prior)
            here, there = static_points(pair.matches, pair.masks)
            differ = seen[0][here[:, 0], here[:, 1]] != seen[1][there[:, 0], there[:, 1]]
            times.append(differ.mean() if len(differ) else np.nan)
            segmenters.append((seen != other).mean())
        # Places of a simulated city are worlds of their own: where they lie says nothing of them.
        west, south, east, north = AREA
        random = np.random.default_rng(CITY_SEED)
        return {
            "times": np.array(times, dtype=np.float64),
            "segmenters": np.array(segmenters, dtype=np.float64),
            "lat": random.uniform(south, north, self.options.places),
            "lon": random.uniform(west, east, self.options.places),
        }

    def _disputed(self, seed: int) -> npt.NDArray[np.int64]:
        """(N, C) pixels of a place's first image on which both differ, by either's class."""
        images = self.images("train")["images"][::2]
        before, after = self.start(), self.unlabelled(seed)
        found = []
        for image in images:
            seen, other = (
                predict(one, image[np.newaxis], image_size=image.shape[:2])
                for one in (before, after)
            )
            differ = seen != other
            classes = np.concatenate([seen[differ], other[differ]])
            found.append(np.bincount(classes, minlength=before.n_classes))
        return np.stack(found)

    def _prior(self) -> PriorSettings:
        return PRIOR if self.options.size[0] >= 256 else SMALL_PRIOR

    def _rendered(self, which: str) -> Arrays:
        style, seed = (SOURCE, SOURCE_SEED) if which == "source" else (CITY, CITY_SEED)
        first, count = {
            "source": (FIRST_SOURCE_PLACE, self.options.source),
            "train": (0, self.options.places),
            "test": (FIRST_TEST_PLACE, self.options.test),
        }[which]
        city = SimulatedCity(find_style(style), seed, self.options.size)
        images, labels = [], []
        for place in range(first, first + count):
            for time in (0, 1) if which == "train" else (0,):
                rendering = city.render(place, time)
                images.append(decode_image(city.encode(rendering), f"{style} {place} {time}"))
                labels.append(rendering.train_ids)
        return {"images": np.stack(images), "labels": np.stack(labels)}


def covering_choice(masses: npt.NDArray[np.int64], n: int) -> list[int]:
    """Places that together show something of every class, and most of what is rare.

    Greedy: next is the place that raises Σ_c √(Σ_i m_ic / M_c) the most, where i runs over the
    chosen places and M_c is the mean of a class's mass over all. The root makes a second place with
    the same class worth less than a first, and the division a rare class worth as much as a common
    one (a sum of concave functions is submodular: Nemhauser et al., 1978).

    Args:
        masses: (N, C), how much of each class a place shows of what is to be learned.
        n: How many of the N places.
    """
    shown = masses[:, masses.any(axis=0)]
    relative = shown / shown.mean(axis=0)
    left = np.ones(len(masses), dtype=np.bool_)
    total, chosen = np.zeros(shown.shape[1]), []
    for _ in range(n):
        worth = np.sqrt(total + relative).sum(axis=1)
        chosen.append(int(np.argmax(np.where(left, worth, -np.inf))))
        left[chosen[-1]] = False
        total += relative[chosen[-1]]
    return chosen


def _save_arrays(path: Path, arrays: Arrays) -> None:
    """Writes arrays, whole or not at all."""
    content: Any = arrays  # the stubs take a keyword for the option of the same function
    with written_whole(path) as unfinished:
        np.savez(unfinished, **content)


def _write(bench: Bench, output: Path) -> None:
    output.mkdir(parents=True, exist_ok=True)
    rows = bench.rows()
    write_json(output / "few_labels.json", rows, indent=1)
    write_text(output / "few_labels.md", report(rows, bench.options))


def report(rows: Sequence[dict[str, Any]], options: Options) -> str:
    """Tables in Markdown, in percent."""
    counts = sorted({row["labels"] for row in rows if row["arm"] in WAYS})
    height, width = options.size
    lines = [
        f"mIoU in percent (13 classes, {options.test} test places of the simulated city {CITY} at "
        f"{height}×{width}), mean over seeds; {options.steps} steps a training, from the segmenter "
        "that comes along.",
        "",
        "| | " + " | ".join(f"{count} places" for count in counts) + " |",
        "|---|" + "---|" * len(counts),
    ]
    for way, words in WAYS.items():
        cells = [_mean(_scores_by_seed(rows, way, count)) for count in counts]
        lines.append(f"| {words} | " + " | ".join(cells) + " |")
    for arm, words in (
        ("start", "without any training"),
        ("unlabelled", "self-training without a label"),
        ("fine_tuned", f"fine-tuned on all {options.places} places"),
    ):
        found = _scores_by_seed(rows, arm, None)
        if found:
            lines.append(f"| {words}: {_mean(found)} |" + " |" * len(counts))
    lines += ["", "Differences of the same seed, with 95 % intervals (Student's t over seeds):", ""]
    lines += ["| | " + " | ".join(f"{count} places" for count in counts) + " |"]
    lines += ["|---|" + "---|" * len(counts)]
    for one, other in (
        ("chosen", "random"),
        ("covering", "random"),
        ("random", "plain_random"),
        ("chosen", "plain_chosen"),
        ("source_free_chosen", "chosen"),
        ("source_free_random", "random"),
    ):
        cells = []
        for count in counts:
            a, b = _scores_by_seed(rows, one, count), _scores_by_seed(rows, other, count)
            cells.append(interval([a[seed] - b[seed] for seed in sorted(a.keys() & b.keys())]))
        lines.append(f"| {WAYS[one]} − {WAYS[other]} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _scores_by_seed(
    rows: Sequence[dict[str, Any]], arm: str, count: int | None
) -> dict[int, float]:
    """MIoU in percent by seed."""
    return {
        row["seed"]: 100 * row["miou"]
        for row in rows
        if row["arm"] == arm and count in (None, row["labels"])
    }


def _mean(found: dict[int, float]) -> str:
    if not found:
        return "–"
    spread = f" ± {statistics.stdev(found.values()):.1f}" if len(found) > 1 else ""
    return f"{statistics.mean(found.values()):.1f}{spread}"


if __name__ == "__main__":
    typer.run(main)
