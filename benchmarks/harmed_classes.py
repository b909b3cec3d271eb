"""Does anything that is seen without labels tell which classes an adaptation harmed?

    python benchmarks/harmed_classes.py --night DIR --camvid DIR --path … --network …

An adaptation that gains on the whole may take points from one class. For adaptations whose true
effect is known this measures, class by class, what can be seen without a label before and after:
the share of the pixels, how far an image and its smaller and mirrored copies agree (IoU of the
class between the two looks), how sure the network is where it predicts the class, and what left or
entered it. A class is harmed where its IoU on labelled images of the same kind fell by `HARMED`
points or more. Each signal is judged by its AUC over (adaptation, images, class), with intervals
that draw adaptations anew, and by what it would say at a threshold that is chosen on some
adaptations, and checked on others (`CHOSEN_ON`).

Adaptations are those that `night_pairs.py` (`--night`) left, by day and by night, and statistics
replaced in its cities; and on CamVid (`--camvid`) mixed statistics of each `--network`, and what
was adapted by `crosscity transfer` before (`--adapted`): beside the start at the same size, as the
safeguard has it, and at its own size. What a larger size does without any training is beside these.
What was measured once is found again in `--work`; kill it and start it again at will. Writes
`benchmarks/results/harmed_classes.json` and `.md` of all that the folder has.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import combinations
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

from adapters.datasets.camvid import CamVidDataset
from benchmarks.arms import labelled, loaded, save
from benchmarks.street_arms import ARMS, PROTOCOL, RESULTS, Work, rows_of
from benchmarks.whole_files import write_json, write_text
from crosscity.adaptation.batch_norm_mixture import (
    measure_statistics,
    mix_statistics,
    set_statistics,
    statistics_of,
)
from crosscity.adaptation.spread import spread_indices
from crosscity.evaluation import (
    PROTOCOLS,
    ClassGroups,
    confusion_matrix,
    evaluate_each,
    predict,
    predicted_groups,
    score,
)
from crosscity.resizing import resized_image
from crosscity.second_looks import LOOKS
from crosscity.segmenters import Segmenter, build_segmenter, evaluating, image_tensor

HARMED: Final = 5.0
"""Points of IoU."""
IMAGES: Final = 12
"""That signals are taken from, of each set; `crosscity transfer` judges on 32."""
TEST_IMAGES: Final = 39
"""Of CamVid, that say what is true: every sixth."""
MIXED: Final = ("bn 0.5", "bn 1.0")
"""Arms that are made here in the cities of the night pairs."""
FIRST: Final = (
    "source_free, 250 steps",
    "self",
    "bn 0.3",
    "bn 1.0",
    "two_looks",
    "control",
    "self, statistics",
    "source_free",
    "bn 0.5",
)
"""A run that is cut off has these arms."""
SHARES: Final = (0.3, 1.0)
"""Of CamVid's statistics."""
STATISTICS_IMAGES: Final = 24
CAMVID_SIZE: Final = (360, 480)
LARGER: Final = (540, 720)
"""A size at which networks are shown the same images, without any training."""
CHOSEN_ON: Final = ("tokyo", "rome", "espnetv2")
"""What is in the name of the adaptations that a threshold is chosen on."""
FEWEST: Final = 0.001
"""Share of the pixels, before or after, below which nothing is said of a class."""
FALSE: Final = 1 / 3
"""False classes an adaptation that are put up with."""
RESAMPLES: Final = 1000
FIRST_ROWS: Final = 3
"""Of a page's table, that a person looks at."""
FACTS: Final = (
    "adaptation",
    "start",
    "images",
    "class",
    "iou",
    "change",
    *(
        f"{each}_{when}"
        for each in ("share", "agreement", "sureness")
        for when in ("before", "after")
    ),
)
"""What a row has beside signals."""

Array = npt.NDArray[Any]
Row = dict[str, Any]


@dataclass(frozen=True)
class Pictures:
    """Images without labels, and what both looks at each are.

    Attributes:
        images: (H, W, 3) uint8 RGB.
        groups: Which classes count as one.
    """

    images: Sequence[Array]
    groups: ClassGroups


@dataclass
class Seen:
    """What a network shows on pictures.

    Attributes:
        looks: By picture the image and its copies: class and its probability at each pixel.
        soft: (C,) probabilities added up over the images.
    """

    looks: list[dict[str, tuple[Array, Array]]] = field(default_factory=list)
    soft: Array = field(default_factory=lambda: np.zeros(1))


def main(
    night: Annotated[Path | None, typer.Option(help="Folder of night_pairs.py.")] = None,
    camvid: Annotated[Path | None, typer.Option(help="CamVid in SegNet's layout.")] = None,
    path: Annotated[list[Path], typer.Option(help="Folders of plug-ins.")] = [],  # noqa: B006
    network: Annotated[list[str], typer.Option(help="python:module:function.")] = [],  # noqa: B006
    adapted: Annotated[
        list[str], typer.Option(help="python:module:function=folder of an adaptation.")
    ] = [],  # noqa: B006
    work: Annotated[Path, typer.Option(help="Folder of what was measured.")] = Path(
        ".crosscity/harmed_classes"
    ),
    only: Annotated[str, typer.Option(help="What the names of measured ones contain.")] = "",
    output: Annotated[Path, typer.Option(help="Folder of the results.")] = RESULTS,
) -> None:
    """Measures what is missing and reports."""
    torch.set_num_threads(1)
    sys.path[:0] = [str(each) for each in path]
    work.mkdir(parents=True, exist_ok=True)
    wanted = Wanted(work, only)
    if night is not None:
        _of_night(night, wanted)
    if camvid is not None:
        _of_camvid(CamVidDataset(camvid), network, adapted, wanted)
    _report(work, output)


@dataclass(frozen=True)
class Wanted:
    """Which adaptations are measured, and where what was measured lies.

    Attributes:
        work: The folder.
        only: A part of their names.
    """

    work: Path
    only: str

    def missing(self, name: str) -> bool:
        """Whether an adaptation is to be measured."""
        return self.only in name and not self._path(name).exists()

    def keep(self, name: str, start: str, sets: Row) -> None:
        """Writes what was measured of an adaptation."""
        write_json(self._path(name), {"name": name, "start": start, "sets": sets})
        print(name, flush=True)

    def _path(self, name: str) -> Path:
        return self.work / f"{name}.json"


def _of_night(folder: Path, wanted: Wanted) -> None:
    rows = [row for row in rows_of(folder) if row["arm"] != "pretrained"]
    arms = [(row["arm"], row["city"], row["seed"]) for row in rows]
    arms += [(arm, city, 0) for arm in MIXED for city in dict.fromkeys(row["city"] for row in rows)]
    known: dict[str, _Night] = {}
    for arm, city, seed in sorted(arms, key=_worth):
        name = f"street {city} {arm} {seed}"
        if wanted.missing(name):
            if city not in known:
                known[city] = _night(Work(folder, city))
            wanted.keep(name, "street", _judged_night(known[city], arm, seed, wanted.work))


def _worth(arm: tuple[str, str, int]) -> tuple[int, str, str, int]:
    """Order in which arms are measured: first the different ones, each in all cities."""
    name, city, seed = arm
    return (FIRST.index(name) if name in FIRST else len(FIRST)), name, city, seed


@dataclass(frozen=True)
class _Night:
    """A city of the night pairs: pictures of both times, static points, what the start shows."""

    work: Work
    sets: dict[str, Pictures]
    points: list[Any]
    before: dict[str, Seen]


def _night(here: Work) -> _Night:
    start, images = here.network("pretrained", 0), here.train["images"]
    groups = predicted_groups(PROTOCOLS[PROTOCOL], start.class_names)
    places = spread_indices(len(images) // 2, IMAGES)
    sets = {
        time: Pictures([images[2 * place + at] for place in places], groups)
        for at, time in enumerate(("day", "night"))
    }
    points = here.points()
    return _Night(
        here,
        sets,
        [points[place] for place in places],
        {time: _seen(start, each) for time, each in sets.items()},
    )


def _judged_night(city: _Night, arm: str, seed: int, work: Path) -> Row:
    """Day and night of an adaptation, each with what is true of images of that time."""
    network = _night_network(city.work, arm, seed, work)
    after = {time: _seen(network, each) for time, each in city.sets.items()}
    times = [
        _times(seen["day"], seen["night"], city.points, len(city.sets["day"].groups.names))
        for seen in (city.before, after)
    ]
    return {
        time: {
            **_compared(city.before[time], after[time], pictures),
            "times": times,
            "true": [
                _true_of_night(city.work, one, of, time, work)
                for one, of in (("pretrained", 0), (arm, seed))
            ],
        }
        for time, pictures in city.sets.items()
    }


def _night_network(here: Work, arm: str, seed: int, work: Path) -> Segmenter:
    """An arm's network; those of `MIXED` are made and kept in the folder of measurements."""
    if here.weights(arm, seed).exists():
        return here.network(arm, seed)
    mine = Work(work, here.city)
    if not mine.weights(arm, seed).exists():
        save(ARMS[arm](here, seed)[0], mine.weights(arm, seed))
    return mine.network(arm, seed)


def _true_of_night(here: Work, arm: str, seed: int, time: str, work: Path) -> Row:
    path = here.counts(arm, seed)
    path = path.with_name(path.name.replace("counts-", f"counts-{time}-", 1))
    if path.exists():
        return _ious(loaded(path)["counts"].astype(np.int64).sum(0), PROTOCOL)
    network = _night_network(here, arm, seed, work)
    each = evaluate_each(network, labelled(here.folder / f"{here.city}-{time}.npz"))
    return _ious(np.sum([one.confusion for one in each], axis=0), PROTOCOL)


Size = tuple[int, int]


class _Camvid:
    """Networks on CamVid: what each shows on training images, and its IoU on test images."""

    def __init__(self, dataset: CamVidDataset, work: Path) -> None:
        train, test = dataset.samples("train"), dataset.samples("test")
        self._work = work
        self._images = _read(dataset, train, IMAGES)
        self.more = _read(dataset, train, STATISTICS_IMAGES)
        self._scored = [dataset.read(test[at]) for at in spread_indices(len(test), TEST_IMAGES)]
        self._seen: dict[str, Seen] = {}

    def compared(self, name: str, before: _Shown, after: _Shown) -> Row:
        """What both show, and what is true of both."""
        groups = predicted_groups(PROTOCOLS["camvid11"], before.make().class_names)
        pictures = Pictures(self._images, groups)
        seen, later = (self._of(name, each, pictures) for each in (before, after))
        true = [self._true(name, each) for each in (before, after)]
        return {"day": {**_compared(seen, later, pictures), "true": true}}

    def _of(self, name: str, shown: _Shown, pictures: Pictures) -> Seen:
        key = f"{name} {shown.arm} {shown.size}"
        if key not in self._seen:
            self._seen[key] = _seen(shown.make(), pictures, shown.size)
        return self._seen[key]

    def _true(self, name: str, shown: _Shown) -> Row:
        high, wide = shown.size
        path = self._work / f"true-{_short(name)}-{shown.arm}-{high}×{wide}.json".replace(" ", "_")
        if not path.exists():
            write_json(path, _true(shown.make(), self._scored, shown.size))
        found: Row = json.loads(path.read_text(encoding="utf-8"))
        return found


@dataclass(frozen=True)
class _Shown:
    """A network, and the size that images are shown to it at."""

    arm: str
    size: Size
    make: Callable[[], Segmenter]


def _read(dataset: CamVidDataset, samples: Sequence[str], count: int) -> list[Array]:
    return [dataset.read(samples[at]).image for at in spread_indices(len(samples), count)]


def _of_camvid(
    dataset: CamVidDataset, networks: Sequence[str], adapted: Sequence[str], wanted: Wanted
) -> None:
    """Statistics and self-training at the start's size, and what a larger or smaller size does."""
    camvid = _Camvid(dataset, wanted.work)

    def measure(name: str, called: str, before: _Shown, after: _Shown) -> None:
        whole = f"camvid {_short(name)} {called}"
        if wanted.missing(whole):
            wanted.keep(whole, _short(name), camvid.compared(name, before, after))

    for one in adapted:
        name, _, place = one.rpartition("=")
        model = json.loads((Path(place) / "model.json").read_text(encoding="utf-8"))
        high, wide = model["trained_size"]
        arm, fresh = f"source_free {high}×{wide}", partial(build_segmenter, name, {}, seed=0)
        own, sized = (_Shown("start", size, fresh) for size in (CAMVID_SIZE, (high, wide)))
        made = _Shown("source_free", (high, wide), partial(_loaded, name, Path(place)))
        measure(name, arm, sized, made)
        measure(name, f"{arm} with its size", own, made)
        measure(name, f"size alone {high}×{wide}", own, sized)
    for name in networks:
        own, sized = (
            _Shown("start", size, partial(build_segmenter, name, {}, seed=0))
            for size in (CAMVID_SIZE, LARGER)
        )
        for share in SHARES:
            made = _Shown(f"bn {share}", CAMVID_SIZE, partial(_mixed, name, camvid.more, share))
            measure(name, f"bn {share}", own, made)
        measure(name, f"size alone {LARGER[0]}×{LARGER[1]}", own, sized)


def _short(name: str) -> str:
    return name.removeprefix("python:").replace(":", " ")


def _mixed(name: str, images: Sequence[Array], share: float) -> Segmenter:
    """A network with some of the statistics of images."""
    network = build_segmenter(name, {}, seed=0)
    shown = np.stack([resized_image(each, CAMVID_SIZE) for each in images])
    batches = [image_tensor(shown[at : at + 4]) for at in range(0, len(shown), 4)]
    theirs = measure_statistics(network, batches)
    set_statistics(network, mix_statistics(statistics_of(network), theirs, share))
    return network


def _loaded(name: str, folder: Path) -> Segmenter:
    network = build_segmenter(name, {}, seed=0)
    network.load_state_dict(load_file(folder / "weights.safetensors"))
    return network


def _true(network: Segmenter, scored: Sequence[Any], size: tuple[int, int]) -> Row:
    counts = np.zeros((19, 19), dtype=np.int64)
    for each in scored:
        truth = each.train_ids
        seen = predict(network, resized_image(each.image, size), size=truth.shape, image_size=size)
        counts += confusion_matrix(truth, seen, 19)
    return _ious(counts, "camvid11")


def _ious(counts: Array, protocol: Any) -> Row:  # noqa: ANN401 - a name of `PROTOCOLS`
    """Percent by class; ``None`` where the images have none of it."""
    return {
        name: None if iou is None or np.isnan(iou) else 100 * iou
        for name, iou in score(counts, protocol).per_class.items()
    }


def _seen(network: Segmenter, pictures: Pictures, size: tuple[int, int] | None = None) -> Seen:
    """What a network shows on images and their copies, shown at a size."""
    found = Seen(soft=np.zeros(len(pictures.groups.names)))
    for image in pictures.images:
        views = {"image": image, **{name: look[0](image)[0] for name, look in LOOKS.items()}}
        looks = {}
        for name, view in views.items():
            labels, sure, soft = _looked(
                network, resized_image(view, size), image.shape[:2], pictures.groups
            )
            looks[name] = labels, sure
            if name == "image":
                found.soft += soft
        found.looks.append(looks)
    return found


def _looked(
    network: Segmenter, image: Array, size: tuple[int, int], groups: ClassGroups
) -> tuple[Array, Array, Array]:
    """Classes and how sure each is, and probabilities added up over the pixels."""
    with evaluating(network), torch.inference_mode():
        logits = network.predicted_logits(image_tensor(image[None]), size).float()
        places = torch.from_numpy(groups.places)
        merged = logits.new_zeros((1, len(groups.names), *size))
        merged.index_add_(1, places, logits.softmax(1))
        labels = places[logits.argmax(1)]
        sure = merged.gather(1, labels[None])[0, 0]
        soft = merged.sum(dim=(0, 2, 3), dtype=torch.float64)
    return labels[0].numpy().astype(np.uint8), sure.numpy().astype(np.float16), soft.numpy()


def _cells(first: Array, second: Array, n_classes: int, weights: Array | None = None) -> Array:
    """(C, C) points by their class here and there."""
    cells = first.astype(np.int64).ravel() * n_classes + second.ravel()
    return np.bincount(
        cells, None if weights is None else weights.astype(np.float64).ravel(),
        minlength=n_classes**2,
    ).reshape(n_classes, n_classes)  # fmt: skip


def _compared(before: Seen, after: Seen, pictures: Pictures) -> Row:
    """What both networks show, as sums over the images: tables of classes, and softmax shares."""
    names = pictures.groups.names
    n_classes = len(names)
    tables: dict[str, list[Array]] = {
        look: [np.zeros((n_classes, n_classes), dtype=np.int64) for _ in range(2)] for look in LOOKS
    }
    moved = [np.zeros((n_classes, n_classes)) for _ in range(3)]
    for image, *both in zip(pictures.images, before.looks, after.looks, strict=True):
        for name, (copied, _) in LOOKS.items():
            _, (here, there) = copied(image)
            for when, looks in enumerate(both):
                ends = [
                    looks[view][0][at[:, 0], at[:, 1]]
                    for view, at in (("image", here), (name, there))
                ]
                tables[name][when] += _cells(ends[0], ends[1], n_classes)
        (old, sure_before), (new, sure_after) = (looks["image"] for looks in both)
        for at, weights in enumerate((None, sure_before, sure_after)):
            moved[at] += _cells(old, new, n_classes, weights)
    return {
        "names": list(names),
        "looks": {name: [each.tolist() for each in both] for name, both in tables.items()},
        "moved": moved[0].astype(np.int64).tolist(),
        "sure_before": np.round(moved[1], 2).tolist(),
        "sure_after": np.round(moved[2], 2).tolist(),
        "soft": [np.round(each.soft, 2).tolist() for each in (before, after)],
    }


def _times(first: Seen, second: Seen, points: Sequence[Any], n_classes: int) -> list[list[int]]:
    """Static points by their class at both times."""
    table = np.zeros((n_classes, n_classes), dtype=np.int64)
    for one, two, (here, there) in zip(first.looks, second.looks, points, strict=True):
        ends = [looks["image"][0][at[:, 0], at[:, 1]] for looks, at in ((one, here), (two, there))]
        table += _cells(ends[0], ends[1], n_classes)
    found: list[list[int]] = table.tolist()
    return found


def _report(work: Path, output: Path) -> None:
    """Writes what is known so far."""
    cases = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(work.glob("* *.json"))]
    rows = [row for case in cases for row in rows_of_case(case)]
    output.mkdir(parents=True, exist_ok=True)
    columns = [*FACTS, *signals_in(rows)]
    values = [[row.get(name) for name in columns] for row in rows]
    write_json(output / "harmed_classes.json", {"columns": columns, "rows": values})
    write_text(output / "harmed_classes.md", page(rows))


def rows_of_case(case: Row) -> list[Row]:
    """A row a set of images and class that both truth and predictions know."""
    rows = []
    for time, found in case["sets"].items():
        signals = signals_of(found)
        before, after = found["true"]
        for name, seen in signals.items():
            if before.get(name) is None or after.get(name) is None:
                continue
            if max(seen["share_before"], seen["share_after"]) < FEWEST:
                continue
            rows.append(
                {
                    "adaptation": case["name"],
                    "start": case["start"],
                    "images": time,
                    "class": name,
                    "iou": round(before[name], 3),
                    "change": round(after[name] - before[name], 3),
                    **{key: float(f"{value:.4g}") for key, value in seen.items()},
                }
            )
    return rows


def signals_of(found: Row) -> dict[str, dict[str, float]]:
    """By class what is seen without labels; the higher a signal, the more it should mean harm."""
    moved = np.array(found["moved"], dtype=np.float64)
    sure = [np.array(found[name]) for name in ("sure_before", "sure_after")]
    shares = [moved.sum(axis=axis) / moved.sum() for axis in (1, 0)]
    soft = [np.array(each) / np.sum(each) for each in found["soft"]]
    agreed = {
        look: [_agreement(np.array(table)) for table in both]
        for look, both in found["looks"].items()
    }
    if "times" in found:
        agreed["times"] = [_agreement(np.array(table)) for table in found["times"]]
    stayed = np.diag(moved)
    left, entered = moved.sum(axis=1) - stayed, moved.sum(axis=0) - stayed
    by_class: dict[str, dict[str, float]] = {}
    # The mean over classes says how much the network has changed as a whole.
    falls = {look: both[0] - both[1] for look, both in agreed.items()}
    sureness = [
        _ratio(each.sum(axis=axis), moved.sum(axis=axis))
        for each, axis in zip(sure, (1, 0), strict=True)
    ]
    for at, name in enumerate(found["names"]):
        if shares[0][at] + shares[1][at] == 0:
            continue
        leaving = [each[at].sum() - each[at, at] for each in sure]
        entering = [each[:, at].sum() - each[at, at] for each in sure]
        smaller, mirrored = (falls[look][at] for look in ("smaller", "mirrored"))
        small, mirror = (falls[look] for look in ("smaller", "mirrored"))
        agreement = [
            (agreed["smaller"][when][at] + agreed["mirrored"][when][at]) / 2 for when in (0, 1)
        ]
        row = {
            "share_before": shares[0][at],
            "share_after": shares[1][at],
            "agreement_before": agreement[0],
            "agreement_after": agreement[1],
            "sureness_before": sureness[0][at],
            "sureness_after": sureness[1][at],
            "share falls": _log_ratio(shares[0][at], shares[1][at]),
            "share changes": abs(_log_ratio(shares[0][at], shares[1][at])),
            "softmax share falls": _log_ratio(soft[0][at], soft[1][at]),
            "smaller copy agrees less": smaller,
            "mirror image agrees less": mirrored,
            "copies agree less": (smaller + mirrored) / 2,
            "copies agree less than other classes": (
                (smaller - np.nanmean(small)) + (mirrored - np.nanmean(mirror))
            )
            / 2,
            "copies agree little after": 1 - agreement[1],
            "less sure": sureness[0][at] - sureness[1][at],
            "less sure than other classes": (sureness[0][at] - sureness[1][at])
            - np.nanmean(sureness[0] - sureness[1]),
            "little sure after": 1 - sureness[1][at],
            "changed": 1 - _ratio(stayed[at], left[at] + entered[at] + stayed[at]),
            "left though sure": _ratio(leaving[0], moved[at].sum()),
            "left": _ratio(left[at], moved[at].sum()),
            "entered": _ratio(entered[at], moved[:, at].sum()),
            "entered unsure": _ratio(entered[at] - entering[1], moved[:, at].sum()),
            "changed though copies agreed": (
                1 - _ratio(stayed[at], left[at] + entered[at] + stayed[at])
            )
            * agreement[0],
            "share changes though copies agreed": abs(_log_ratio(shares[0][at], shares[1][at]))
            * agreement[0],
            "what left was surer before": _ratio(leaving[0] - leaving[1], left[at]),
            "what entered was surer before": _ratio(entering[0] - entering[1], entered[at]),
        }
        if "times" in falls:
            row["two times agree less"] = falls["times"][at]
        by_class[name] = {key: float(value) for key, value in row.items() if np.isfinite(value)}
    return by_class


def _agreement(table: Array) -> Array:
    """IoU of each class between two looks; NaN where neither has it."""
    both = np.diag(table)
    found: Array = _ratio(both, table.sum(axis=0) + table.sum(axis=1) - both)
    return found


def _ratio(part: Any, whole: Any) -> Any:  # noqa: ANN401 - numbers or arrays of them
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.true_divide(part, whole)


def _log_ratio(first: float, second: float) -> float:
    """Of shares; what is gone counts as a hundred-thousandth."""
    return float(np.log(max(first, 1e-5) / max(second, 1e-5)))


def auc(values: Array, harmed: Array, weights: Array | None = None) -> Array:
    """Probability that a harmed class has the higher value; NaN without both kinds.

    Args:
        values: (N,) of a signal.
        harmed: (N,) bool.
        weights: (M, N) how often each row was drawn in each of M resamples; default: once.

    Returns:
        (M,), or (1,) without weights.
    """
    drawn = np.ones((1, len(values))) if weights is None else weights
    high, low = values[harmed], values[~harmed]
    wins = (high[:, None] > low) + 0.5 * (high[:, None] == low)
    ours, others = drawn[:, harmed], drawn[:, ~harmed]
    found: Array = _ratio(((ours @ wins) * others).sum(1), ours.sum(1) * others.sum(1))
    return found


def page(rows: Sequence[Row]) -> str:
    """What each signal tells, and which classes were harmed, in Markdown."""
    chosen = [row for row in rows if is_chosen_on(row)]
    checked = [row for row in rows if not is_chosen_on(row)]
    harmed = [row for row in rows if is_harmed(row)]
    lines = [
        f"{_adaptations(rows)} adaptations of {len({row['start'] for row in rows})} networks, "
        f"{len(rows)} classes on sets of images in which each fills {100 * FEWEST:.1f} % or more "
        f"of the pixels; {len(harmed)} of them lost {HARMED:g} points of IoU or more "
        f"({len({(_place(row), row['images'], row['class']) for row in harmed})} different ones: "
        "one class, time and city or network). "
        f"Chosen on {_adaptations(chosen)} adaptations ({', '.join(CHOSEN_ON)}; "
        f"{sum(map(is_harmed, chosen))} harmed), checked on {_adaptations(checked)} "
        f"({sum(map(is_harmed, checked))} harmed). AUC with 95 % over adaptations; the threshold "
        "is the lowest with no more than one false class in three adaptations of the first. Those "
        "that gain are the adaptations whose classes gain on the mean: of these the verdict says "
        "nothing.",
        "",
        "| signal | AUC, all | AUC, those that gain | AUC, chosen on | AUC, checked on "
        "| found there | false there, an adaptation |",
        "|---|---|---|---|---|---|---|",
    ]
    for name in signals_in(rows):
        lines.append(_signal_line(name, rows, chosen, checked))
    both = _best_pair(chosen)
    if both is not None:
        known = [_with_pair(part, both) for part in (rows, chosen, checked)]
        lines.append(_signal_line(" and ".join(both), *known))
    lines += [
        "",
        _order_line(rows),
        "",
        "The classes that were harmed, the most first:",
        "",
        "| adaptation | images | class | IoU before | change | share, % | copies agree | sure |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in sorted(harmed, key=lambda row: row["change"]):
        lines.append(
            f"| {row['adaptation']} | {row['images']} | {row['class']} | {row['iou']:.1f} "
            f"| {row['change']:+.1f} | {_both(row, 'share', 100)} | {_both(row, 'agreement', 1)} "
            f"| {_both(row, 'sureness', 1)} |"
        )
    return "\n".join(lines) + "\n"


def _order_line(rows: Sequence[Row]) -> str:
    """How early the class that was harmed the most stands in the order that pages have."""
    sets: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        sets.setdefault((row["adaptation"], row["images"]), []).append(row)
    places, chances = [], []
    for each in sets.values():
        worst = min(each, key=lambda row: row["change"])
        if is_harmed(worst):
            order = sorted(
                each, key=lambda row: row.get("copies agree less", -np.inf), reverse=True
            )
            places.append(order.index(worst))
            chances.append(min(1.0, FIRST_ROWS / len(each)))
    early = sum(place < FIRST_ROWS for place in places)
    return (
        f"In the order of `copies agree less`, which pages have, the class that was harmed the "
        f"most is among the first {FIRST_ROWS} in {early} of {len(places)} sets with a harmed "
        f"class ({sum(chances):.0f} by chance)."
    )


def is_harmed(row: Row) -> bool:
    """Whether the class lost `HARMED` points or more."""
    return bool(row["change"] <= -HARMED)


def is_chosen_on(row: Row) -> bool:
    """Whether thresholds are chosen on the row."""
    return any(part in row["adaptation"] for part in CHOSEN_ON)


def gaining(rows: Sequence[Row]) -> list[Row]:
    """Those of adaptations whose classes gain on the mean."""
    changes: dict[str, list[float]] = {}
    for row in rows:
        changes.setdefault(row["adaptation"], []).append(row["change"])
    return [row for row in rows if np.mean(changes[row["adaptation"]]) > 0]


def signals_in(rows: Sequence[Row]) -> list[str]:
    """Names of the signals: all that rows have beside facts."""
    return [name for name in dict.fromkeys(key for row in rows for key in row) if name not in FACTS]


def _place(row: Row) -> str:
    """The city, or the network on CamVid."""
    return str(row["adaptation"].split()[1] if row["start"] == "street" else row["start"])


def _adaptations(rows: Sequence[Row]) -> int:
    return len({row["adaptation"] for row in rows})


def _both(row: Row, name: str, times: float) -> str:
    values = [row.get(f"{name}_{when}") for when in ("before", "after")]
    return " → ".join("–" if value is None else f"{times * value:.2f}" for value in values)


def _signal_line(
    name: str, rows: Sequence[Row], chosen: Sequence[Row], checked: Sequence[Row]
) -> str:
    cells = [_auc_cell(name, part) for part in (rows, gaining(rows), chosen, checked)]
    limit = threshold(name, chosen)
    said = [row for row in checked if row.get(name, -np.inf) > limit]
    right = sum(map(is_harmed, said))
    total = sum(is_harmed(row) and name in row for row in checked)
    false = (len(said) - right) / max(1, _adaptations(checked))
    return f"| {name} | {' | '.join(cells)} | {right} of {total} | {false:.1f} |"


def threshold(name: str, rows: Sequence[Row]) -> float:
    """The lowest value above which no more than `FALSE` classes an adaptation are false."""
    others = sorted((row[name] for row in rows if name in row and not is_harmed(row)), reverse=True)
    allowed = int(FALSE * _adaptations(rows))
    return float(others[allowed]) if allowed < len(others) else -np.inf


def _auc_cell(name: str, rows: Sequence[Row]) -> str:
    known = [row for row in rows if name in row]
    harmed = np.array([is_harmed(row) for row in known], dtype=np.bool_)
    if not harmed.any() or harmed.all():
        return "–"
    values = np.array([row[name] for row in known])
    adaptations = sorted({row["adaptation"] for row in known})
    number = {each: at for at, each in enumerate(adaptations)}
    drawn = np.random.default_rng(0).multinomial(
        len(adaptations), np.full(len(adaptations), 1 / len(adaptations)), RESAMPLES
    )
    weights = drawn[:, [number[row["adaptation"]] for row in known]].astype(np.float64)
    low, high = np.nanquantile(auc(values, harmed, weights), [0.025, 0.975])
    return f"{auc(values, harmed)[0]:.2f} ({low:.2f} … {high:.2f})"


def _best_pair(rows: Sequence[Row]) -> tuple[str, str] | None:
    """The two signals whose mean rank tells harmed classes best."""
    harmed = np.array([is_harmed(row) for row in rows], dtype=np.bool_)
    if not harmed.any() or harmed.all():
        return None
    pairs = combinations(signals_in(rows), 2)
    scored = [(auc(_pair_values(rows, pair), harmed)[0], pair) for pair in pairs]
    return max(scored)[1]


def _with_pair(rows: Sequence[Row], pair: tuple[str, str]) -> list[Row]:
    values = _pair_values(rows, pair)
    name = " and ".join(pair)
    return [{**row, name: value} for row, value in zip(rows, values.tolist(), strict=True)]


def _pair_values(rows: Sequence[Row], pair: tuple[str, str]) -> Array:
    """Mean rank of two signals among the rows, in [0, 1]; one that is lacking is in the middle."""
    columns = []
    for name in pair:
        values = np.array([row.get(name, np.nan) for row in rows])
        known = np.isfinite(values)
        ranks = np.full(len(rows), 0.5)
        order = np.argsort(np.argsort(values[known], kind="stable"), kind="stable")
        ranks[known] = (order + 0.5) / max(1, known.sum())
        columns.append(ranks)
    found: Array = np.mean(columns, axis=0)
    return found


if __name__ == "__main__":
    typer.run(main)
