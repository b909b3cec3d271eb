"""Short adaptations of the segmenter that comes along: arms, what the pairs add, harms, cost.

    python benchmarks/street_arms.py --work .crosscity/street_arms

From `street` (EfficientNet-Lite0, trained on simulated frankfurt) to simulated cities at 256×512:
75 pairs with priors, 150 source images, `STEPS` steps of four images. Trains what is told below and
keeps the weights, which `safeguard.py` judges. tokyo is scored on validation places, as limits are
chosen there; other cities on test places. Arms that ruin a network are made on purpose. Finished
arms are found again in `--work`; kill it and start it again at will. Writes
`benchmarks/results/street_arms.json` and `.md` after every seed, or files of another `--name`:
those of five times are `several_looks`.

The pairs' own share is seen in arms that differ in nothing else: `self` learns from source labels
and from the teacher's, `veto`, `evidence` and `probability` refine these by the static prior,
`two_looks` fuses them with what is seen at the other time, `both` with evidence in either look,
`both, 5 times` with what is seen at four other times, the prior and its rates from all five;
`source_free` reads no source image.
Bounds: `fine_tuned` has the labels of 45 places, `source + labels` learns from these and from the
source's in the loop of `control`. Intervals resample seeds and images together, the cities are
given. Processor seconds of a step are of the process, without what is done before the first step.
"""

from __future__ import annotations

import hashlib
import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Final

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
import torch
import typer
from safetensors.torch import load_file

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.arms import Arrays, labelled, loaded, once, save
from benchmarks.demo_start import (
    ADAPTED,
    FINE_TUNED,
    LABELLED,
    PAIRS,
    PRIOR,
    SOURCE,
    rendered,
    start,
)
from benchmarks.entropy import minimise_entropy
from benchmarks.more_times import TIMES, paired_of_times, places_of, priors_with_labels
from benchmarks.paired import Counts, resampled_difference, with_interval
from benchmarks.whole_files import write_json, write_text, written_whole
from crosscity.adaptation import Adaptation, FineTuning, LabelledArrays, TargetArrays
from crosscity.adaptation.batch_norm_mixture import (
    measure_statistics,
    mix_statistics,
    set_statistics,
    statistics_of,
)
from crosscity.adaptation.correspondence import field_of_matches
from crosscity.adaptation.image_sets import PairedArrays
from crosscity.adaptation.prior_evidence import flag_rates
from crosscity.adaptation.recipes import RECIPES, Recipe, Term
from crosscity.adaptation.source_free import SourceFree, SourceFreeSettings
from crosscity.adaptation.training import Training
from crosscity.evaluation import evaluate_each, score
from crosscity.labels import CROSS_CITY_CLASSES
from crosscity.matching import PATCH
from crosscity.safeguard import static_points
from crosscity.segmenters import Segmenter, image_tensor
from tasks.priors.pair_prior import extract_prior

RESULTS: Final = Path(__file__).parent / "results"
CITIES: Final = {"tokyo": 3, "rome": 1, "rio": 2, "taipei": 4}
"""Target styles and their seeds, as in the catalog."""
CHOSEN_ON: Final = "tokyo"
"""Its validation places were seen when limits and settings were chosen."""
HOME: Final = ("frankfurt", 11)
SCORED: Final = 100
RESAMPLES: Final = 300
FIRST_PLACE: Final = {True: 20_000, False: 10_000}
"""Of the places that are scored: validation places of `CHOSEN_ON`, test places of the others."""
HOME_PAIRS: Final = 30
"""Labelled pairs of the source city, on which P(flagged | class) is measured."""
N_CLASSES: Final = 19
HOME_PLACES: Final = range(2_000_000, 2_000_000 + HOME_PAIRS)
STEPS: Final = 60
MORE_STEPS: Final = 240
_TASK, _SELF = Term("source_task"), Term("self_training", "lambda_self", "lambda_self")
_TWO: Final = Term("two_looks", "lambda_self", "lambda_self")
PARTNERS: Final = ("two_looks", "feature_consistency")
"""Objectives that look at the other image of a place."""
PAIRED: Final = {
    "self": Recipe((_TASK, _SELF)),
    "veto": Recipe((_TASK, _SELF), uses_prior=True),
    "evidence": Recipe((_TASK, _SELF), uses_prior=True, evidence=True),
    "probability": Recipe((_TASK, _SELF), uses_prior=True, probability=True),
    "two_looks": Recipe((_TASK, _TWO)),
    "both": Recipe((_TASK, _TWO), uses_prior=True, evidence=True),
}
LARGE: Final = ("road", "sidewalk", "building", "vegetation", "sky", "car")
"""Classes that fill much of a street view; the other seven are thin or rare."""
PROTOCOL: Final = "score13"
SCRAMBLED: Final = "classes permuted"
STATIC: Final = "self_training, λ = 3, all static"


@dataclass(frozen=True)
class Work:
    """Where the data of a city lie, and which.

    Attributes:
        folder: Of everything.
        city: The target.
    """

    folder: Path
    city: str

    @property
    def train(self) -> Arrays:
        """Images, priors and labels of both times of each place."""
        return loaded(self.folder / f"{self.city}-train.npz")

    def points(self) -> list[tuple[Any, Any]]:
        """Static points of each pair, rows and columns in both images."""
        return points_of(self.folder / f"{self.city}-points.npz")

    def probabilities(self) -> Arrays:
        """255 times the probability that pixels of the training images are static."""
        path = self.folder / f"{self.city}-probabilities.npz"
        once(path, lambda: _probabilities(self.train["images"]))
        return loaded(path)

    def counts(self, arm: str, seed: int) -> Path:
        """Where what an arm gets right and wrong in each image is."""
        return self.folder / f"counts-{self.city}-{seed}-{file_name(arm)}.npz"

    def weights(self, arm: str, seed: int) -> Path:
        """Where an arm's weights are."""
        return self.folder / f"{self.city}-{seed}-{file_name(arm)}.safetensors"

    def row(self, arm: str, seed: int) -> Path:
        """Where an arm's scores are."""
        return self.folder / f"row-{self.city}-{seed}-{file_name(arm)}.json"

    def network(self, arm: str, seed: int) -> Segmenter:
        """An arm's network; the start for "pretrained"."""
        network = start()
        if arm != "pretrained":
            network.load_state_dict(load_file(self.weights(arm, seed)))
        return network


Make = Callable[[Work, int], tuple[Segmenter, float]]
"""What makes an arm's network of a seed, and the processor seconds of a step (0: no steps)."""
Both = tuple[list[Counts], list[Counts]]
"""What two arms get right and wrong in each image, a run each."""


def main(
    city: Annotated[list[str], typer.Option(help="Target cities.")] = ["tokyo", "rome"],  # noqa: B006
    seed: Annotated[list[int], typer.Option(help="Of the trainings.")] = [0, 1],  # noqa: B006
    harm_seed: Annotated[int, typer.Option(help="Seeds, the first, of what does harm.")] = 1,
    arm: Annotated[list[str] | None, typer.Option(help="Only these arms.")] = None,
    work: Annotated[Path, typer.Option(help="Folder of finished arms.")] = Path(
        ".crosscity/street_arms"
    ),
    output: Annotated[Path, typer.Option(help="Folder of the results.")] = RESULTS,
    name: Annotated[str, typer.Option(help="Of the results' files.")] = "street_arms",
) -> None:
    """Runs what is missing and reports all that the folder of finished arms has."""
    torch.set_num_threads(1)
    work.mkdir(parents=True, exist_ok=True)
    for one in seed:
        for target in city:
            here = Work(work, target)
            data(here)
            _run(here, "pretrained", 0, lambda work, seed: (work.network("pretrained", seed), 0.0))
            for arm_name, make in ARMS.items():
                harmful = arm_name in HARMS
                if (arm and arm_name not in arm) or (harmful and one not in seed[:harm_seed]):
                    continue
                _run(here, arm_name, one, make)
        _report(work, output, name)


def _run(work: Work, arm: str, seed: int, make: Make) -> None:
    if work.row(arm, seed).exists() and work.counts(arm, seed).exists():
        return
    if work.row(arm, seed).exists():
        step = json.loads(work.row(arm, seed).read_text(encoding="utf-8"))["step_seconds"]
        network = work.network(arm, seed)
    else:
        network, step = make(work, seed)
        save(network, work.weights(arm, seed))
    images = labelled(work.folder / f"{work.city}-scored.npz")
    counts = np.stack([each.confusion for each in evaluate_each(network, images)])
    with written_whole(work.counts(arm, seed)) as unfinished:
        np.savez_compressed(unfinished, counts=counts.astype(np.int32))
    found = score(counts.sum(0), PROTOCOL)
    row = {
        "city": work.city,
        "seed": seed,
        "arm": arm,
        "miou": found.miou,
        "per_class": found.per_class,
        "step_seconds": step,
    }
    write_json(work.row(arm, seed), row)
    print(work.city, seed, arm, f"{100 * found.miou:.1f}", f"{step:.2f} s a step", flush=True)


def data(work: Work) -> None:
    """Draws the images that are not there yet, and matches the pairs."""
    folder, name = work.folder, work.city
    places = range(FIRST_PLACE[name == CHOSEN_ON], FIRST_PLACE[name == CHOSEN_ON] + SCORED)
    once(folder / f"{name}-scored.npz", lambda: rendered(name, CITIES[name], places, 1))
    pairs(folder, name, lambda: rendered(name, CITIES[name], range(PAIRS), 2))
    once(
        folder / "source.npz",
        lambda: rendered(*HOME, range(1_000_000, 1_000_000 + SOURCE), 1),
    )
    pairs(folder, HOME[0], lambda: rendered(*HOME, HOME_PLACES, 2))


def pairs(folder: Path, name: str, render: Callable[[], Arrays]) -> None:
    """Both images of places, one place after another, with labels, priors and static points."""
    points, train = folder / f"{name}-points.npz", folder / f"{name}-train.npz"
    if train.exists():
        return
    found = render()
    priors: list[Any] = []
    columns: dict[str, list[Any]] = {"pair": [], "first": [], "second": []}
    for pair in range(len(found["images"]) // 2):
        both = found["images"][2 * pair], found["images"][2 * pair + 1]
        prior = extract_prior(*both, PRIOR)
        priors += prior.masks
        first, second = static_points(prior.matches, prior.masks)
        columns["pair"].append(np.full(len(first), pair))
        columns["first"].append(first)
        columns["second"].append(second)
    once(points, lambda: {key: np.concatenate(parts) for key, parts in columns.items()})
    once(train, lambda: {**found, "priors": np.stack(priors)})


def points_of(path: Path) -> list[tuple[Any, Any]]:
    """The static points of a file, by pair."""
    found = loaded(path)
    here = [found["pair"] == pair for pair in range(int(found["pair"].max()) + 1)]
    return [(found["first"][rows], found["second"][rows]) for rows in here]


def timed(training: Training) -> tuple[Segmenter, float]:
    """Trains to the end; the processor seconds of a step."""
    began = time.process_time()
    training.advance(training.total_steps)
    return training.segmenter, (time.process_time() - began) / training.total_steps


def _probabilities(images: Any) -> Arrays:  # noqa: ANN401 - an array
    """Of the images of pairs, one pair after another."""
    found: list[Any] = []
    for first in range(0, len(images), 2):
        for one in extract_prior(images[first], images[first + 1], PRIOR).probabilities:
            if one is None:
                raise ValueError("the default matcher's priors have probabilities, these have not")
            found.append(np.rint(255 * one).astype(np.uint8))
    return {"probabilities": np.stack(found)}


def _target(work: Work, *, all_static: bool = False, probable: bool = False) -> TargetArrays:
    found = work.train
    priors = np.ones_like(found["priors"]) if all_static else found["priors"]
    probabilities = work.probabilities()["probabilities"] if probable else None
    return TargetArrays(found["images"], priors, all_probabilities=probabilities)


def paired(work: Work) -> PairedArrays:
    """The target images with where their pixels lie at the other time."""
    target, fields = _target(work), []
    size = (target.all_images.shape[1], target.all_images.shape[2])
    for first, second in work.points():
        ends = [np.asarray(each, dtype=np.float64)[:, ::-1] for each in (first, second)]
        for here, there in (ends, ends[::-1]):
            spacing = float(PATCH * PRIOR.downscale)
            fields.append(field_of_matches(here, there, size, spacing=spacing))
    return PairedArrays(target, np.stack(fields))


def adapted(
    recipe: Recipe | None = None,
    *,
    all_static: bool = False,
    statistics: float = 0.0,
    **changes: Any,  # noqa: ANN401 - settings
) -> Make:
    """An arm of the paper or ours, or a recipe; from a share of the target's statistics."""

    def make(work: Work, seed: int) -> tuple[Segmenter, float]:
        settings = replace(ADAPTED, **{"steps": STEPS, **changes})
        looks = recipe is not None and any(one.objective in PARTNERS for one in recipe.terms)
        probable = recipe is not None and recipe.probability
        target = paired(work) if looks else _target(work, all_static=all_static, probable=probable)
        rates = _rates(work) if recipe is not None and recipe.evidence else None
        source = labelled(work.folder / "source.npz")
        network = start() if statistics == 0 else _statistics(statistics)(work, seed)[0]
        return timed(
            Adaptation(network, source, target, settings, seed, recipe=recipe, flag_rates=rates)
        )

    return make


def _rates(work: Work) -> list[float]:
    """P(flagged | class) on labelled pairs of the source city."""
    home = loaded(work.folder / f"{HOME[0]}-train.npz")
    known = zip(home["priors"], home["labels"], strict=True)
    rates: list[float] = flag_rates(known, N_CLASSES).tolist()
    return rates


def _labelled_places(work: Work) -> LabelledArrays:
    """The first image of some training places with its labels."""
    found, chosen = work.train, slice(0, 2 * LABELLED, 2)
    return LabelledArrays(found["images"][chosen], found["labels"][chosen])


def _of_times(recipe: Recipe, steps: int) -> Make:
    """A recipe with all looks at places of several times, and the prior of all of them."""

    def make(work: Work, seed: int) -> tuple[Segmenter, float]:
        home = places_of(work.folder, *HOME, HOME_PLACES)
        rates = None
        if recipe.evidence:
            rates = flag_rates(priors_with_labels(home), N_CLASSES).tolist()
        target = paired_of_times(places_of(work.folder, work.city, CITIES[work.city], range(PAIRS)))
        source, settings = labelled(work.folder / "source.npz"), replace(ADAPTED, steps=steps)
        return timed(
            Adaptation(start(), source, target, settings, seed, recipe=recipe, flag_rates=rates)
        )

    return make


def _fine_tuned(steps: int) -> Make:
    def make(work: Work, seed: int) -> tuple[Segmenter, float]:
        settings = replace(FINE_TUNED, steps=steps)
        return timed(FineTuning(start(), _labelled_places(work), settings, seed))

    return make


def _source_and_labels(work: Work, seed: int) -> tuple[Segmenter, float]:
    """True labels of target images among the source's, in the loop of `control`."""
    home, there = loaded(work.folder / "source.npz"), _labelled_places(work)
    # As many of the target's as of the source's: the 45 places are read several times.
    again = np.arange(len(home["images"])) % LABELLED
    both = LabelledArrays(
        np.concatenate([home["images"], there.all_images[again]]),
        np.concatenate([home["labels"], there.all_labels[again]]),
    )
    settings = replace(ADAPTED, steps=STEPS)
    return timed(
        Adaptation(start(), both, _target(work), settings, seed, recipe=RECIPES["control"])
    )


def source_free(steps: int = STEPS, *, looks: bool = False) -> Make:
    """Without a source; with labels of both looks at a place, or of one."""

    def make(work: Work, seed: int) -> tuple[Segmenter, float]:
        settings = SourceFreeSettings(steps=steps, looks=looks)
        target = paired(work) if looks else _target(work)
        return timed(SourceFree(start(), target, settings, seed))

    return make


def _batches(work: Work, seed: int) -> list[torch.Tensor]:
    images = work.train["images"]
    order = np.random.default_rng(seed).permutation(len(images))[:64]
    return [image_tensor(images[order[i : i + 4]]) for i in range(0, len(order), 4)]


def _statistics(share: float) -> Make:
    def make(work: Work, seed: int) -> tuple[Segmenter, float]:
        network = start()
        theirs = measure_statistics(network, _batches(work, seed))
        set_statistics(network, mix_statistics(statistics_of(network), theirs, share))
        return network, 0.0

    return make


def _entropy(rate: float) -> Make:
    """Entropy minimisation from the target's own statistics, which is tempting and dangerous."""

    def make(work: Work, seed: int) -> tuple[Segmenter, float]:
        network, _ = _statistics(1.0)(work, seed)
        images = work.train["images"]
        random, began = np.random.default_rng(seed), time.process_time()
        minimise_entropy(
            network,
            (image_tensor(images[random.integers(0, len(images), 4)]) for _ in range(2 * STEPS)),
            rate,
        )
        return network, (time.process_time() - began) / (2 * STEPS)

    return make


def _scrambled(_work: Work, _seed: int) -> tuple[Segmenter, float]:
    """The start with its class names handed around among the scored classes."""
    network = start()
    names = list(network.class_names)
    scored = [names.index(road_class.name) for road_class in CROSS_CITY_CLASSES]
    state = network.state_dict()
    for name in ("classifier.weight", "classifier.bias"):
        state[name][scored] = state[name].clone()[scored[1:] + scored[:1]]
    network.load_state_dict(state)
    return network, 0.0


HARMS: Final[dict[str, Make]] = {
    "entropy 1e-4": _entropy(1e-4),
    "entropy 1e-3": _entropy(1e-3),
    "ga, λ_G = 3": adapted(RECIPES["ga"], lambda_global=3.0, learning_rate=5e-4),
    "ga, learning rate × 40": adapted(RECIPES["ga"], learning_rate=4e-3),
    "ga_ca, λ_class = 3": adapted(RECIPES["ga_ca"], lambda_class=3.0, learning_rate=5e-4),
    STATIC: adapted(RECIPES["self_training"], all_static=True, lambda_self=3.0, learning_rate=5e-4),
    SCRAMBLED: _scrambled,
}
"""Ways to do harm: what is tempting, what a wrong line in a catalog does, wrong priors."""
_CONSTANT: Final = Term("self_training", 1.0, "lambda_self", ramp="constant")
_MASKED: Final = Term("masked_consistency", 1.0, ramp="constant")
LEADS: Final[dict[str, Make]] = {
    "self, λ = 1 from the start": adapted(Recipe((_TASK, _CONSTANT))),
    "self, λ = 1, and masked": adapted(Recipe((_TASK, _CONSTANT, _MASKED))),
    **{
        f"{name}, {MORE_STEPS} steps": make
        for name, make in {
            "control": adapted(RECIPES["control"], steps=MORE_STEPS),
            "self": adapted(PAIRED["self"], steps=MORE_STEPS),
            "evidence": adapted(PAIRED["evidence"], steps=MORE_STEPS),
            "two_looks": adapted(PAIRED["two_looks"], steps=MORE_STEPS),
            "both": adapted(PAIRED["both"], steps=MORE_STEPS),
            f"two_looks, {TIMES} times": _of_times(PAIRED["two_looks"], MORE_STEPS),
            f"both, {TIMES} times": _of_times(PAIRED["both"], MORE_STEPS),
            "probability": adapted(PAIRED["probability"], steps=MORE_STEPS),
            "fine_tuned": _fine_tuned(MORE_STEPS),
            "self, λ = 1": adapted(Recipe((_TASK, _CONSTANT)), steps=MORE_STEPS),
        }.items()
    },
}
"""What might do more; each is first tried on the city that choices are made on."""
ARMS: Final[dict[str, Make]] = {
    "control": adapted(RECIPES["control"]),
    "self": adapted(PAIRED["self"]),
    "evidence": adapted(PAIRED["evidence"]),
    "self_training": adapted(RECIPES["self_training"]),
    "source + labels": _source_and_labels,
    "fine_tuned": _fine_tuned(STEPS),
    "two_looks": adapted(PAIRED["two_looks"]),
    "both": adapted(PAIRED["both"]),
    "probability": adapted(PAIRED["probability"]),
    "veto": adapted(PAIRED["veto"]),
    "full": adapted(RECIPES["full"]),
    "bn 0.3": _statistics(0.3),
    "bn 0.5": _statistics(0.5),
    "bn 1.0": _statistics(1.0),
    "source_free": source_free(),
    **HARMS,
    **LEADS,
    "ga_ca": adapted(RECIPES["ga_ca"]),
}
"""In the order of their worth: a run that is cut off has the first."""
COMPARED: Final = (
    ("source_free", "bn 0.5"),
    ("self", "control"),
    ("evidence", "self"),
    ("evidence", "control"),
    ("evidence", "self_training"),
    ("two_looks", "self"),
    ("both", "evidence"),
    ("both", "self"),
    ("both", "control"),
    ("probability", "self"),
    ("veto", "self"),
    ("self_training", "self"),
    ("self_training", "control"),
    ("self_training", "bn 0.3"),
    ("self_training", "full"),
    ("full", "control"),
    ("source + labels", "control"),
    ("fine_tuned", "control"),
    *((lead, "self") for lead in tuple(LEADS)[:2]),
    *(
        (f"{one}, {MORE_STEPS} steps", f"{two}, {MORE_STEPS} steps")
        for one, two in (
            ("self", "control"),
            ("evidence", "self"),
            ("evidence", "control"),
            ("two_looks", "self"),
            ("both", "evidence"),
            ("both", "self"),
            ("both", "control"),
            (f"two_looks, {TIMES} times", "self"),
            (f"both, {TIMES} times", "both"),
            (f"both, {TIMES} times", "self"),
            (f"both, {TIMES} times", "control"),
            ("probability", "self"),
            ("self, λ = 1", "self"),
            ("fine_tuned", "control"),
        )
    ),
)


def rows_of(work: Path) -> list[dict[str, Any]]:
    """All that has been scored."""
    return [json.loads(path.read_text(encoding="utf-8")) for path in sorted(work.glob("row-*"))]


def file_name(name: str) -> str:
    """A name in names of files."""
    return "".join(letter if letter.isalnum() or letter in "._-" else "_" for letter in name)


def _report(work: Path, output: Path, name: str) -> None:
    rows = rows_of(work)
    output.mkdir(parents=True, exist_ok=True)
    text = json.dumps(rows, indent=1) + "\n"
    write_text(output / f"{name}.json", text)
    write_text(output / f"{name}.md", report(rows, work))


def report(rows: Sequence[dict[str, Any]], work: Path) -> str:
    """Scores, paired differences and costs in Markdown."""
    cities = [name for name in CITIES if any(row["city"] == name for row in rows)]
    found = {(row["city"], row["seed"], row["arm"]): 100 * row["miou"] for row in rows}
    images = ", ".join(
        f"{name} on {'validation' if name == CHOSEN_ON else 'test'} places" for name in cities
    )
    lines = [
        f"From `street` at 256×512, {STEPS} steps of 4 images, mIoU (percent, 13 classes) on "
        f"{SCORED} images a city ({images}); mean over seeds, in brackets how many.",
        "",
        "| arm | " + " | ".join(cities) + " | processor s a step | of ga_ca's |",
        "|---|" + "---|" * (len(cities) + 2),
    ]
    base = _step_seconds(rows, "ga_ca")
    for arm in ("pretrained", *ARMS):
        cells = [_mean([v for (c, _, a), v in found.items() if (c, a) == (name, arm)])
                 for name in cities]  # fmt: skip
        if all(cell == "–" for cell in cells):
            continue
        cost = _step_seconds(rows, arm)
        seconds = "–" if cost is None else f"{cost:.2f}"
        times = "–" if cost is None or base is None else f"{cost / base:.2f}"
        lines.append(f"| {arm} | " + " | ".join(cells) + f" | {seconds} | {times} |")
    lines += _differences(cities, rows, work)
    return "\n".join(lines) + "\n"


def _differences(cities: Sequence[str], rows: Sequence[dict[str, Any]], work: Path) -> list[str]:
    """Arms against others in the cities and seeds that have both."""
    seeds = {
        (name, arm): sorted(
            row["seed"]
            for row in rows
            if (row["city"], row["arm"]) == (name, arm)
            and Work(work, name).counts(arm, row["seed"]).exists()
        )
        for name in cities
        for arm in ("pretrained", *ARMS)
    }

    def runs(name: str, arm: str, other: str) -> Both | None:
        common = [seed for seed in seeds[name, arm] if seed in seeds[name, other]]
        if not common:
            return None
        ours, others = ([_counted(Work(work, name), each, seed) for seed in common]
                        for each in (arm, other))  # fmt: skip
        return ours, others

    return differences("Differences in points", cities, COMPARED, runs)


_gains: Final[dict[bytes, str]] = {}
"""What `gain` found, by what it found it from."""


def differences(
    title: str,
    cities: Sequence[str],
    compared: Sequence[tuple[str, str]],
    runs: Callable[[str, str, str], Both | None],
) -> list[str]:
    """A table of arms against others, in Markdown.

    Args:
        title: What its sentence begins with.
        cities: One column each.
        compared: An arm, and the other that it is compared with.
        runs: Of a city, an arm and an other the runs of both, or ``None`` where one has none.
    """
    lines = [
        "",
        f"{title} (95 % over seeds and images), by city, over all cities that have both, and over "
        "all in the large classes and in the others:",
        "",
        "| | " + " | ".join([*cities, "all", "6 large", "7 thin or rare", "runs"]) + " |",
        "|---|" + "---|" * (len(cities) + 4),
    ]
    for arm, other in compared:
        found = {name: runs(name, arm, other) for name in cities}
        both = {name: one for name, one in found.items() if one is not None}
        if not both:
            continue
        every = list(both.values())
        cells = [gain([both[name]]) if name in both else "–" for name in cities]
        cells += [gain(every), gain(every, large=True), gain(every, large=False)]
        count = sum(len(ours) for ours, _ in every)
        lines.append(f"| {arm} − {other} | " + " | ".join([*cells, str(count)]) + " |")
    return lines


def _counted(work: Work, arm: str, seed: int) -> Counts:
    with np.load(work.counts(arm, seed), allow_pickle=False) as found:
        return np.asarray(found["counts"], dtype=np.int64)


def gain(cities: Sequence[Both], *, large: bool | None = None) -> str:
    """A difference with its interval; of some classes where `large` says which.

    A process resamples the same counts once: tables are written after every arm, and few of their
    cells change.
    """
    key = _digest(cities, large)
    if key not in _gains:
        _gains[key] = _gain(cities, large)
    return _gains[key]


def _digest(cities: Sequence[Both], large: bool | None) -> bytes:
    """Of all that a difference is computed from."""
    digest = hashlib.sha256(repr(large).encode())
    for both in cities:
        for runs in both:
            digest.update(repr([(one.shape, one.dtype.str) for one in runs]).encode())
            for one in runs:
                digest.update(one.tobytes())
    return digest.digest()


def _gain(cities: Sequence[Both], large: bool | None) -> str:
    def of(counts: Counts) -> float:
        found = score(counts, PROTOCOL).per_class
        chosen = [iou for name, iou in found.items() if large is None or (name in LARGE) == large]
        return 100 * float(np.nanmean(chosen))

    return with_interval(resampled_difference(cities, of, RESAMPLES))


def _step_seconds(rows: Sequence[dict[str, Any]], arm: str) -> float | None:
    """Median processor seconds of a step; ``None`` for what has no steps."""
    known = [row["step_seconds"] for row in rows if row["arm"] == arm and row["step_seconds"]]
    return statistics.median(known) if known else None


def _mean(values: Sequence[float]) -> str:
    return f"{statistics.mean(values):.1f} ({len(values)})" if values else "–"


if __name__ == "__main__":
    typer.run(main)
