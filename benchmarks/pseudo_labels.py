"""What the pairs do to labels, before anything is trained on these.

    python benchmarks/pseudo_labels.py --work .crosscity/street_arms

The predictions of `street` on both images of 75 training places a city, taken as labels: as they
are, with the static prior as evidence, fused with what is seen at the other time, and both; the
same where each place was captured at five times, of which the same two are scored; and evidence in
other forms, which were tried on tokyo alone. All rates are measured on the labelled
pairs of the source city but where it is said. Labels of training places are read to score, and
decide nothing. Uses the data of `street_arms.py`, and makes what is missing. Writes
`benchmarks/results/pseudo_labels.json` and `.md`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, Final

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
import numpy.typing as npt
import torch
import typer

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.demo_start import PAIRS, start
from benchmarks.more_times import TIMES, looks, others_of, places_of, priors_with_labels
from benchmarks.paired import resampled_difference, with_interval
from benchmarks.street_arms import (
    CHOSEN_ON,
    CITIES,
    HOME,
    HOME_PLACES,
    LARGE,
    N_CLASSES,
    PROTOCOL,
    RESAMPLES,
    Work,
    data,
    paired,
)
from benchmarks.whole_files import write_json, write_text
from crosscity.adaptation.correspondence import carry
from crosscity.adaptation.objectives.two_looks import fused
from crosscity.adaptation.prior_evidence import flag_rates
from crosscity.evaluation import confusion_matrix, score
from crosscity.segmenters import Segmenter, image_tensor

RESULTS: Final = Path(__file__).parent / "results"
LEVELS: Final = (13, 38, 77, 128, 179, 218, 243)
"""Borders of the bins of 255 times the probability that a pixel is static."""
PARALLAX_BINS: Final = 5
FEW: Final = 2000.0
"""Pixels that a rate by bins is drawn to that of all classes with."""
Float = npt.NDArray[np.float32]
Refine = Callable[[int], Float]
"""φ (C, H, W) of an image, up to a factor a pixel."""


class City:
    """Predictions, priors and matches of a city's training images.

    Args:
        work: Of `street_arms`.
        network: Predicts.
    """

    def __init__(self, work: Work, network: Segmenter) -> None:
        self._pairs, self._work, found = paired(work), work, work.train
        self.labels, self.priors, self.images = found["labels"], found["priors"], found["images"]
        self._phi = _predicted(network, self.images)

    def __len__(self) -> int:
        return len(self.images)

    def rates(self) -> Float:
        """P(flagged | class), measured on this city's own labels."""
        found = flag_rates(zip(self.priors, self.labels, strict=True), N_CLASSES)
        return found.astype(np.float32)

    def plain(self, image: int) -> Float:
        """φ as it is predicted."""
        return np.asarray(self._phi[image], np.float32)

    def weighed(self, image: int, flagged: Float, other: Float | None = None) -> Float:
        """φ weighed by rates of flagged pixels, and of others where these count too."""
        return _weighed(self.plain(image), self.priors[image], flagged, other)

    def two_looks(self, image: int, refine: Refine) -> Float:
        """φ fused with what is seen at the other time."""
        mine, theirs = (torch.from_numpy(refine(each))[None] for each in (image, image ^ 1))
        field = torch.from_numpy(self._pairs.fields([image], [image ^ 1]))
        return np.asarray(fused(mine, *carry(theirs, field))[0].numpy(), np.float32)

    def levels(self, image: int) -> npt.NDArray[np.int64]:
        """(H, W), in which bin the probability of being static lies."""
        found = np.digitize(self._work.probabilities()["probabilities"][image], LEVELS)
        return np.asarray(found, np.int64)

    def parallax(self, image: int) -> Float:
        """(H, W), how far each pixel has moved between the two times; NaN where nobody knows."""
        field = self._pairs.fields([image], [image ^ 1])[0]
        rows, columns = np.mgrid[: field.shape[0], : field.shape[1]]
        far = np.hypot(field[..., 0] - columns, field[..., 1] - rows)
        return np.asarray(far, np.float32)


class SeveralTimes:
    """Predictions, priors and matches of a city's places at several times.

    Args:
        folder: Of `street_arms`.
        name: The city.
        network: Predicts.
    """

    def __init__(self, folder: Path, name: str, network: Segmenter) -> None:
        is_home = name == HOME[0]
        seed, places = (HOME[1], HOME_PLACES) if is_home else (CITIES[name], range(PAIRS))
        self._places = places_of(folder, name, seed, places)
        self._phi = [_predicted(network, place["images"]) for place in self._places]

    def rates(self) -> Float:
        """P(flagged | class), measured on this city's own labels."""
        found = flag_rates(priors_with_labels(self._places), N_CLASSES)
        return found.astype(np.float32)

    def weighed(self, image: int, flagged: Float | None) -> Float:
        """φ of the first two images of each place, weighed by rates of flagged pixels."""
        return self._seen(image // 2, image % 2, flagged)

    def all_looks(self, image: int, flagged: Float | None) -> Float:
        """φ fused with what is seen at all other times."""
        place, time = divmod(image, 2)
        others = others_of(time)
        mine = torch.from_numpy(self._seen(place, time, flagged))[None]
        theirs = np.stack([self._seen(place, other, flagged) for other in others])
        fields = np.stack(looks(self._places[place], time, others))
        carried, known = carry(torch.from_numpy(theirs), torch.from_numpy(fields))
        of = torch.zeros(len(others), dtype=torch.int64)
        return np.asarray(fused(mine, carried, known, of)[0].numpy(), np.float32)

    def _seen(self, place: int, time: int, flagged: Float | None) -> Float:
        phi = np.asarray(self._phi[place][time], np.float32)
        if flagged is None:
            return phi
        return _weighed(phi, self._places[place]["priors"][time], flagged)


def main(
    city: Annotated[list[str], typer.Option(help="Target cities.")] = list(CITIES),  # noqa: B006
    work: Annotated[Path, typer.Option(help="The folder of `street_arms.py`.")] = Path(
        ".crosscity/street_arms"
    ),
    output: Annotated[Path, typer.Option(help="Folder of the results.")] = RESULTS,
) -> None:
    """Scores the labels of each way and city, and reports."""
    torch.set_num_threads(1)
    network = start()
    home_work = Work(work, HOME[0])
    rows: list[dict[str, Any]] = []
    rates = SeveralTimes(work, HOME[0], network).rates()
    for name in city:
        data(Work(work, name))
        home, there = City(home_work, network), City(Work(work, name), network)
        ways = _ways(home, there)
        ways |= _ways_of_times(SeveralTimes(work, name, network), rates, home.rates())
        if name == CHOSEN_ON:
            ways |= _tried(home, there)
        counts = {way: _counts(there, refine) for way, refine in ways.items()}
        rows += [_row(name, way, counts) for way in ways]
        print(page([row for row in rows if row["city"] == name]), flush=True)
    output.mkdir(parents=True, exist_ok=True)
    write_json(output / "pseudo_labels.json", rows)
    write_text(output / "pseudo_labels.md", page(rows))


def _weighed(
    phi: Float, prior: npt.NDArray[np.bool_], flagged: Float, other: Float | None = None
) -> Float:
    """φ weighed by rates of flagged pixels, and of others where these count too."""
    rest = np.ones_like(flagged) if other is None else other
    found = phi * np.where(prior, flagged[:, None, None], rest[:, None, None])
    return np.asarray(found / found.sum(0), np.float32)


def _ways(home: City, there: City) -> dict[str, Refine]:
    rates = home.rates()

    def evidence(image: int) -> Float:
        return there.weighed(image, rates)

    return {
        "as predicted": there.plain,
        "evidence": evidence,
        "evidence, the city's own rates": lambda image: there.weighed(image, there.rates()),
        "two looks": lambda image: there.two_looks(image, there.plain),
        "two looks, evidence in both": lambda image: there.two_looks(image, evidence),
    }


def _ways_of_times(there: SeveralTimes, rates: Float, rates_of_two: Float) -> dict[str, Refine]:
    named = f"{TIMES} times: "
    return {
        f"{named}evidence": lambda image: there.weighed(image, rates),
        f"{named}all looks": lambda image: there.all_looks(image, None),
        f"{named}all looks, evidence in all": lambda image: there.all_looks(image, rates),
        f"{named}the same, rates of two times": lambda image: there.all_looks(image, rates_of_two),
    }


def _tried(home: City, there: City) -> dict[str, Refine]:
    """Other forms of evidence."""
    rates = home.rates()
    by_level = _rates_by_bin([home.levels(i) for i in range(len(home))], home, len(LEVELS) + 1)
    moved = [home.parallax(i) for i in range(len(home))]
    known = np.concatenate([each[np.isfinite(each)][::50] for each in moved])
    borders = np.quantile(known, np.arange(1, PARALLAX_BINS) / PARALLAX_BINS)

    def bins(city: City, image: int) -> npt.NDArray[np.int64]:
        far = city.parallax(image)
        found = np.where(np.isfinite(far), 1 + np.digitize(far, borders), 0)
        return np.where(city.priors[image], found, PARALLAX_BINS + 1)

    by_parallax = _rates_by_bin([bins(home, i) for i in range(len(home))], home, PARALLAX_BINS + 2)

    def by_parallax_weighed(image: int) -> Float:
        weights = np.moveaxis(by_parallax[bins(there, image)], -1, 0)
        return there.plain(image) * np.where(there.priors[image], weights, np.float32(1))

    return {
        "evidence, squared": lambda image: there.weighed(image, rates**2),
        "evidence of unflagged pixels too": lambda image: there.weighed(image, rates, 1 - rates),
        "evidence by bins of the probability": lambda image: (
            there.plain(image) * np.moveaxis(by_level[there.levels(image)], -1, 0)
        ),
        "evidence by bins of parallax": by_parallax_weighed,
    }


def _rates_by_bin(bins: list[npt.NDArray[np.int64]], home: City, count: int) -> Float:
    """(bins, C): P(bin | class) on labelled images."""
    pixels = np.zeros((count, N_CLASSES))
    for found, labels in zip(bins, home.labels, strict=True):
        here = labels < N_CLASSES
        at = found[here] * N_CLASSES + labels[here]
        pixels += np.bincount(at, minlength=pixels.size).reshape(pixels.shape)
    overall = pixels.sum(1, keepdims=True) / pixels.sum()
    return np.asarray((pixels + FEW * overall) / (pixels.sum(0) + FEW), np.float32)


@torch.no_grad()
def _predicted(network: Segmenter, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float16]:
    network.eval()
    found = []
    for first in range(0, len(images), 4):
        logits = network(image_tensor(images[first : first + 4]))
        found.append(logits.softmax(1).half().numpy())
    return np.concatenate(found)


def _counts(city: City, refine: Refine) -> npt.NDArray[np.int64]:
    """(places, C, C): confusions of both images of each place."""
    found = np.zeros((len(city) // 2, N_CLASSES, N_CLASSES), np.int64)
    for image in range(len(city)):
        seen = refine(image).argmax(0).astype(np.uint8)
        found[image // 2] += confusion_matrix(city.labels[image], seen, N_CLASSES)
    return found


def _row(city: str, way: str, counts: dict[str, npt.NDArray[np.int64]]) -> dict[str, Any]:
    mine, plain = counts[way], counts["as predicted"]

    def gain(of: Callable[[npt.NDArray[np.int64]], float]) -> list[float]:
        found = resampled_difference([([mine], [plain])], of, RESAMPLES)
        return [round(value, 3) for value in found]

    thin = [name for name in score(mine.sum(0), PROTOCOL).per_class if name not in LARGE]
    return {
        "city": city,
        "way": way,
        "miou": round(100 * score(mine.sum(0), PROTOCOL).miou, 3),
        "gain": gain(lambda counted: 100 * score(counted, PROTOCOL).miou),
        "gain_large": gain(lambda counted: _mean_of(counted, LARGE)),
        "gain_thin": gain(lambda counted: _mean_of(counted, thin)),
    }


def _mean_of(counted: npt.NDArray[np.int64], names: Sequence[str]) -> float:
    per_class = score(counted, PROTOCOL).per_class
    return 100 * float(np.mean([per_class[name] for name in names]))


def page(rows: Sequence[dict[str, Any]]) -> str:
    """The results in Markdown."""
    lines = [
        "Predictions of `street` on both images of 75 training places a city, taken as labels: "
        "mIoU (percent, 13 classes), and what the pairs add (95 % over places).",
        "",
        "| city | labels | mIoU | gain | in 6 large classes | in 7 thin or rare ones |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        cells = [with_interval(row[key], 2) for key in ("gain", "gain_large", "gain_thin")]
        if row["way"] == "as predicted":
            cells = ["–"] * 3
        lines.append(f"| {row['city']} | {row['way']} | {row['miou']:.1f} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    typer.run(main)
