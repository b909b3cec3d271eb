"""What makes up the gap to a simulated city, and what closes it without the source.

    python benchmarks/domain_gap.py --work .crosscity/domain_gap [--camvid /path/to/CamVid]

On real streets batch-norm statistics and `source_free` gain, on simulated cities they do not
(`source_free_findings.md`, `street_arms_findings.md`). Here a city is changed in one thing at a
time, from the segmenter that comes along (`street`, trained in Frankfurt): its streets are seen by
the camera of another city (height, pitch, field of view), in another city's light, or through
another sensor (`SENSOR`: darker, paler, blurred, noisy, compressed: what the styles hardly differ
in, and two real cameras do). Beside the scores stands how far the features are from home: the root
mean square over channels of the shift of their mean, in standard deviations, at the batch norms of
the first, second and last third of the network. With `--camvid` the same of real streets, in the 11
classes of that set.

Nothing is chosen here. The places of tokyo are validation places, the others were scored nowhere
else. Finished rows are found again in `--work`; kill it and start it again at will. Writes
`benchmarks/results/domain_gap.json` and `.md` after every row.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Annotated, Any, Final

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
import torch
import typer

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from adapters.datasets.camvid import CamVidDataset
from adapters.images import decode_image
from adapters.street_view.simulated import SimulatedCity, find_style
from benchmarks.arms import Arrays, loaded, once
from benchmarks.demo_start import start
from benchmarks.paired import resampled_difference, with_interval
from benchmarks.whole_files import write_json, write_text, written_whole
from crosscity.adaptation import LabelledArrays, TargetArrays
from crosscity.adaptation.batch_norm_mixture import (
    Statistics,
    measure_statistics,
    mix_statistics,
    set_statistics,
    statistics_of,
)
from crosscity.adaptation.source_free import SourceFree, SourceFreeSettings
from crosscity.evaluation import ProtocolName, evaluate_each, score
from crosscity.resizing import resized_image, resized_map
from crosscity.segmenters import Segmenter, image_tensor
from simcity import CityStyle

RESULTS: Final = Path(__file__).parent / "results"
SIZE: Final = (256, 512)
SCORED, UNLABELLED = 60, 60
FIRST_SCORED: Final = 20_000
STEPS: Final = 60
SHARES: Final = (0.3, 0.5, 1.0)
SEEDS: Final = {"frankfurt": 12, "tokyo": 3, "rome": 1}
"""Frankfurt's is another city than the one of the training."""
CAMERA: Final = ("camera_height", "camera_pitch", "fov_degrees")
LIGHT: Final = (
    "weather_weights",
    "sun_elevation",
    "cloudiness",
    "visibility",
    "exposure",
    "warmth",
    "saturation",
    "contrast",
    "vignetting",
    "noise",
    "blur",
    "jpeg_quality",
)
SENSOR: Final[dict[str, Any]] = {
    "exposure": (0.5, 0.75),
    "warmth": (-0.45, -0.2),
    "saturation": 0.5,
    "contrast": 0.05,
    "vignetting": 0.3,
    "noise": 9.0,
    "blur": 2.6,
    "jpeg_quality": 45,
}


def like(style: str, other: str, names: tuple[str, ...]) -> CityStyle:
    """A style with these fields of another one."""
    theirs = find_style(other)
    return replace(find_style(style), **{name: getattr(theirs, name) for name in names})


def through_sensor(style: CityStyle) -> CityStyle:
    """A style through the other sensor."""
    return replace(style, **SENSOR)


VARIANTS: Final[dict[str, Callable[[], CityStyle]]] = {
    "frankfurt, another seed": lambda: find_style("frankfurt"),
    "frankfurt, tokyo's camera": lambda: like("frankfurt", "tokyo", CAMERA),
    "frankfurt, tokyo's light": lambda: like("frankfurt", "tokyo", LIGHT),
    "frankfurt, another sensor": lambda: through_sensor(find_style("frankfurt")),
    "tokyo": lambda: find_style("tokyo"),
    "tokyo, frankfurt's camera": lambda: like("tokyo", "frankfurt", CAMERA),
    "tokyo, another sensor": lambda: through_sensor(find_style("tokyo")),
    "tokyo, frankfurt's camera and another sensor": lambda: through_sensor(
        like("tokyo", "frankfurt", CAMERA)
    ),
    "rome": lambda: find_style("rome"),
    "rome, another sensor": lambda: through_sensor(find_style("rome")),
    "rome, frankfurt's camera and another sensor": lambda: through_sensor(
        like("rome", "frankfurt", CAMERA)
    ),
}
REAL: Final = "camvid"
REAL_SIZE: Final = (256, 344)


def main(
    work: Annotated[Path, typer.Option(help="Folder of finished rows.")] = Path(
        ".crosscity/domain_gap"
    ),
    output: Annotated[Path, typer.Option(help="Folder of the results.")] = RESULTS,
    camvid: Annotated[Path | None, typer.Option(help="CamVid in SegNet's layout.")] = None,
    train: Annotated[bool, typer.Option(help="Also train source-free.")] = True,
) -> None:
    """Runs what is missing and reports all that the folder of finished rows has."""
    torch.set_num_threads(1)
    work.mkdir(parents=True, exist_ok=True)
    places: dict[str, Callable[[], Arrays]] = {
        name: partial(_drawn_by, make) for name, make in VARIANTS.items()
    }
    if camvid is not None:
        places[REAL] = partial(real, CamVidDataset(camvid))
    for name, make in places.items():
        data = work / f"{_file_name(name)}.npz"
        once(data, make)
        target = Target(name, loaded(data))
        for way, build in WAYS.items():
            if train or way != "source_free":
                _run(work, target, way, build)
        report(work, output, list(places))


def _drawn_by(make: Callable[[], CityStyle]) -> Arrays:
    return drawn(make())


def drawn(style: CityStyle) -> Arrays:
    """Images to learn from, and images with labels at other places."""
    city = SimulatedCity(style, SEEDS[style.name], SIZE)
    found: dict[str, list[Any]] = {"images": [], "scored": [], "labels": []}
    for place in range(UNLABELLED):
        found["images"].append(decode_image(city.encode(city.render(place, 0)), "a view"))
    for place in range(FIRST_SCORED, FIRST_SCORED + SCORED):
        rendering = city.render(place, 0)
        found["scored"].append(decode_image(city.encode(rendering), "a view"))
        found["labels"].append(rendering.train_ids)
    return {name: np.stack(parts) for name, parts in found.items()}


def real(camvid: CamVidDataset) -> Arrays:
    """Real streets at about the size of the others; validation images, evenly taken."""
    found: dict[str, list[Any]] = {"images": [], "scored": [], "labels": []}
    for one in _evenly(camvid.samples("train"), UNLABELLED):
        found["images"].append(resized_image(camvid.read_image(one), REAL_SIZE))
    for one in _evenly(camvid.samples("val"), SCORED):
        sample = camvid.read(one)
        found["scored"].append(resized_image(sample.image, REAL_SIZE))
        found["labels"].append(resized_map(sample.train_ids, REAL_SIZE))
    return {name: np.stack(parts) for name, parts in found.items()}


def _evenly(samples: Sequence[str], count: int) -> list[str]:
    return [samples[one] for one in np.linspace(0, len(samples) - 1, count).round().astype(int)]


@dataclass(frozen=True)
class Target:
    """What is known of a target, read and measured once.

    Attributes:
        name: Of the table's row.
        found: Its images.
    """

    name: str
    found: Arrays

    @cached_property
    def statistics(self) -> Statistics:
        """Batch-norm statistics of the unlabelled images under the start."""
        images = self.found["images"]
        batches = (image_tensor(images[i : i + 4]) for i in range(0, len(images), 4))
        return measure_statistics(start(), batches)


def _start(_target: Target) -> Segmenter:
    return start()


def _statistics(share: float) -> Callable[[Target], Segmenter]:
    def make(target: Target) -> Segmenter:
        network = start()
        mixed = mix_statistics(statistics_of(network), target.statistics, share)
        set_statistics(network, mixed)
        return network

    return make


def _source_free(target: Target) -> Segmenter:
    settings = SourceFreeSettings(steps=STEPS)
    training = SourceFree(start(), TargetArrays(target.found["images"]), settings, seed=0)
    training.advance(STEPS)
    return training.segmenter


WAYS: Final[dict[str, Callable[[Target], Segmenter]]] = {
    "start": _start,
    **{f"statistics {share}": _statistics(share) for share in SHARES},
    "source_free": _source_free,
}


def distances(target: Target) -> list[float]:
    """How far the features are from home, in the thirds of the network from its first layer on."""
    home = statistics_of(start())
    layers = [
        float((2 * (mean - other) ** 2 / (variance + there + 1e-6)).mean())
        for (mean, variance), (other, there) in zip(home, target.statistics, strict=True)
    ]
    return [float(np.mean(part)) for part in np.array_split(np.array(layers), 3)]


def _file_name(name: str) -> str:
    return name.replace(",", "").replace("'", "").replace(" ", "_")


def _run(work: Path, target: Target, way: str, make: Callable[[Target], Segmenter]) -> None:
    stem = f"{_file_name(target.name)}-{_file_name(way)}"
    if (work / f"row-{stem}.json").exists():
        return
    images = LabelledArrays(target.found["scored"], target.found["labels"])
    counts = np.stack([each.confusion for each in evaluate_each(make(target), images)])
    with written_whole(work / f"counts-{stem}.npz") as unfinished:
        np.savez_compressed(unfinished, counts=counts.astype(np.int32))
    scored = score(counts.sum(0), protocol_of(target.name))
    row = {"target": target.name, "way": way, "miou": scored.miou, "classes": len(scored.per_class)}
    if way == "start":
        row["distances"] = distances(target)
    write_json(work / f"row-{stem}.json", row)
    print(json.dumps(row), flush=True)


def protocol_of(name: str) -> ProtocolName:
    """Which classes are scored there."""
    return "camvid11" if name == REAL else "score13"


def report(work: Path, output: Path, names: list[str]) -> None:
    """Writes what the folder of finished rows has."""
    rows: list[dict[str, Any]] = []
    lines = [
        f"`street` at {SIZE[0]}×{SIZE[1]}, mIoU in percent on {SCORED} images and differences in "
        f"points (95 % over images); statistics of {UNLABELLED} unlabelled images; {STEPS} steps "
        "of `source_free`, one seed. Distance: how far the features' means are from home, in "
        "hundredths of a standard deviation, in the first, second and last third of the network.",
        "",
        "| target | classes | distance | start | "
        + " | ".join(f"{way} − start" for way in WAYS if way != "start")
        + " |",
        "|---|---|---|---|" + "---|" * (len(WAYS) - 1),
    ]
    for name in names:
        found = {
            way: json.loads(path.read_text(encoding="utf-8"))
            for way in WAYS
            if (path := work / f"row-{_file_name(name)}-{_file_name(way)}.json").exists()
        }
        if "start" not in found:
            continue
        first = found["start"]
        cells = [name, str(first["classes"])]
        cells.append(" ".join(f"{100 * one**0.5:.1f}" for one in first["distances"]))
        cells.append(f"{100 * first['miou']:.1f}")
        for way in WAYS:
            if way == "start":
                continue
            if way not in found:
                cells.append("–")
                continue
            gain = [100 * one for one in _difference(work, name, way)]
            found[way]["over_start"] = gain
            cells.append(with_interval(gain))
        rows += found.values()
        lines.append("| " + " | ".join(cells) + " |")
    write_json(output / "domain_gap.json", rows)
    write_text(output / "domain_gap.md", "\n".join(lines) + "\n")


def _difference(work: Path, name: str, way: str) -> list[float]:
    ours, others = (
        loaded(work / f"counts-{_file_name(name)}-{_file_name(one)}.npz")["counts"].astype(np.int64)
        for one in (way, "start")
    )
    return resampled_difference(
        [([ours], [others])], lambda counts: score(counts, protocol_of(name)).miou
    )


if __name__ == "__main__":
    typer.run(main)
