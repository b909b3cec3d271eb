"""Speed of adaptation: images/s, FLOP/s over the measured matmul peak, memory, loader's share.

    python benchmarks/adapt.py --device cuda            # every case of a GPU; one call
    python benchmarks/adapt.py --device cpu --threads 1 2

Whole steps of GA+CA are timed: decoding the images, source and target forward and backward,
discriminators, optimisers. Beside them stands `plain_adaptation.py`, the same step written
straightforwardly in fp32. On a processor each has a process of its own, and they take their steps
in turn, so that whatever else the machine does hits both alike and their peaks of memory do not
mix. It needs what `crosscity` needs and nothing else, so that a bare GPU
machine can run it. Results go to `benchmarks/results/adapt_<device>.json` and `.md`.
"""

from __future__ import annotations

import argparse
import gc
import importlib.util
import json
import multiprocessing
import os
import platform
import re
import resource
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.device_rates import product_rate
from benchmarks.plain_adaptation import PlainAdaptation
from benchmarks.whole_files import write_json, write_text
from crosscity.adaptation import (
    PRESETS,
    Adaptation,
    AdaptationSettings,
    open_engine,
)
from crosscity.adaptation.engine import Precision
from crosscity.freed_memory import keep_freed_memory
from crosscity.segmenters import Segmenter, build_segmenter

RESULTS = Path(__file__).parent / "results"
STORED_IMAGES = 48
"""Encoded images of each domain; they are decoded anew in every step."""


@dataclass(frozen=True)
class Case:
    """What is timed."""

    network: str
    height: int
    width: int
    batch: int
    precision: Precision
    plain_batch: int

    @property
    def name(self) -> str:
        """For people."""
        return f"{self.network} {self.width}×{self.height}, batch {self.batch}, {self.precision}"


CASES = {
    "cuda": (
        Case("dilated_vgg16", 256, 512, 16, "bf16", 16),
        Case("dilated_vgg16", 647, 1280, 4, "bf16", 2),
        Case("compact", 256, 512, 16, "bf16", 16),
    ),
    "cpu": (
        Case("compact", 128, 256, 4, "fp32", 4),
        Case("compact", 128, 256, 4, "bf16", 4),
        Case("efficientnet_lite0", 256, 512, 4, "fp32", 4),
        Case("efficientnet_lite0", 256, 512, 4, "bf16", 4),
    ),
}


class EncodedSource:
    """Labelled images that are decoded when asked for, as from a store."""

    def __init__(self, pairs: Sequence[tuple[bytes, bytes]]) -> None:
        self.pairs = pairs

    def __len__(self) -> int:
        return len(self.pairs)

    def images(self, indices: Sequence[int]) -> npt.NDArray[np.uint8]:
        """(N, H, W, 3) uint8 RGB."""
        return np.stack([_rgb(self.pairs[index][0]) for index in indices])

    def labels(self, indices: Sequence[int]) -> npt.NDArray[np.uint8]:
        """(N, H, W) uint8."""
        return np.stack([_decoded(self.pairs[index][1], cv2.IMREAD_UNCHANGED) for index in indices])


class EncodedTarget:
    """Target images that are decoded when asked for; no priors."""

    def __init__(self, encoded: Sequence[bytes]) -> None:
        self.encoded = encoded

    def __len__(self) -> int:
        return len(self.encoded)

    def images(self, indices: Sequence[int]) -> npt.NDArray[np.uint8]:
        """(N, H, W, 3) uint8 RGB."""
        return np.stack([_rgb(self.encoded[index]) for index in indices])

    def priors(self, indices: Sequence[int]) -> npt.NDArray[np.bool_]:
        """(N, H, W), all False."""
        size = self.images(indices[:1]).shape[1:3]
        return np.zeros((len(indices), *size), dtype=np.bool_)


def main() -> None:
    """Times the cases of a device and writes what was found."""
    arguments = _arguments()
    if importlib.util.find_spec("lightning_fabric") is None:
        raise SystemExit(
            "trainings run through Lightning Fabric, which is not installed: pip install "
            "lightning-fabric"
        )
    Path(arguments.output).mkdir(parents=True, exist_ok=True)  # before the work, not after it
    cases = [case for case in CASES[arguments.device] if arguments.only in case.name]
    rows = []
    if arguments.batch:
        cases = [replace(case, batch=arguments.batch) for case in cases]
    for threads in arguments.threads:
        torch.set_num_threads(threads)
        for case in cases:
            measure = _measure_on_gpu if arguments.device == "cuda" else _measure_on_processor
            row = {**measure(case, arguments), "threads": threads}
            row["load_average"] = round(os.getloadavg()[0], 1)
            rows.append(row)
            print(json.dumps(row), flush=True)
            found = {"machine": _machine(arguments), "cases": rows}
            _report(found, Path(arguments.output) / f"adapt_{arguments.device}")
    print(_markdown(found))


def _report(found: dict[str, Any], name: Path) -> None:
    """Writes what is known so far: a run that is stopped leaves the cases that it had."""
    write_json(name.with_suffix(".json"), found, indent=1)
    write_text(name.with_suffix(".md"), _markdown(found))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", choices=sorted(CASES), required=True)
    parser.add_argument(
        "--threads", type=int, nargs="+", default=[2], help="of PyTorch on the processor"
    )
    parser.add_argument("--readers", type=int, default=None, help="threads that decode images")
    parser.add_argument("--steps", type=int, default=20, help="steps that are timed")
    parser.add_argument("--only", default="", help="part of the name of the cases to run")
    parser.add_argument("--batch", type=int, default=0, help="another batch size")
    parser.add_argument("--no-plain", action="store_true", help="leave the comparison out")
    parser.add_argument("--note", default="", help="a sentence on the circumstances")
    parser.add_argument("--output", default=str(RESULTS), help="folder of the results")
    return parser.parse_args()


def _settings(case: Case, batch: int) -> AdaptationSettings:
    preset = PRESETS["paper" if case.network == "dilated_vgg16" else "demo"]
    return replace(
        preset,
        arm="ga_ca",
        batch_size=batch,
        ca_start=0.0,
        class_balance=0.0,
        flip=False,
        steps=10_000,
        on_collapse="warn",
        # The paper's step, which the plain script takes; both have no more than that.
        label_shift=False,
        teacher_momentum=0.0,
        schedule="constant",
    )


def _measure_on_gpu(case: Case, arguments: argparse.Namespace) -> dict[str, Any]:
    source, target = _images(case)
    row = _ours_on_gpu(case, source, target, arguments)
    if not arguments.no_plain:
        # All of ours is gone: its optimisers would count among the memory of the plain script.
        gc.collect()
        torch.cuda.empty_cache()
        plain = _plain_training(case, source, target, "cuda")
        row |= _plain_row(case, _timed(plain.step, arguments))
        row["faster_than_plain"] = _times_faster(row, case, "cuda")
    return row


def _ours_on_gpu(
    case: Case,
    source: Sequence[tuple[bytes, bytes]],
    target: Sequence[bytes],
    arguments: argparse.Namespace,
) -> dict[str, Any]:
    row: dict[str, Any] = {"name": case.name, **asdict(case)}
    row["matmul_peak"] = matmul_peak("cuda", case.precision)
    ours = _our_training(case, source, target, arguments)
    row["flop_per_step"] = _flop(ours.segmenter, lambda: ours.advance(1))
    waited = ours.seconds_waited
    mine = _timed(lambda: ours.advance(1), arguments)
    return row | _our_row(row, case, mine, ours.seconds_waited - waited)


def _measure_on_processor(case: Case, arguments: argparse.Namespace) -> dict[str, Any]:
    row: dict[str, Any] = {"name": case.name, **asdict(case)}
    row["matmul_peak"] = matmul_peak("cpu", case.precision)
    ours = OwnProcess("ours", case, arguments)
    row["flop_per_step"] = ours.ask("flop")
    everyone = [ours]
    if not arguments.no_plain:
        everyone.append(OwnProcess("plain", case, arguments))
    taken = [[one.ask("step") for one in everyone] for _ in range(arguments.steps)]
    mine, *theirs = (
        Taken.of(steps, one.ask("end"))
        for one, steps in zip(everyone, zip(*taken, strict=True), strict=True)
    )
    row |= _our_row(row, case, mine, sum(steps[0][2] for steps in taken))
    if row["flop_per_step"]:
        a_processor_second = row["flop_per_step"] / mine.cpu_seconds
        row["share_of_peak"] = a_processor_second * torch.get_num_threads() / row["matmul_peak"]
    for plain in theirs:
        row |= _plain_row(case, plain)
        row["faster_than_plain"] = _times_faster(row, case, "cpu")
    return row


class OwnProcess:
    """A training in a process of its own, which takes a step when it is told to.

    Args:
        which: "ours" or "plain".
        case: What is trained.
        arguments: Of the command line.
    """

    def __init__(self, which: str, case: Case, arguments: argparse.Namespace) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, other = context.Pipe()
        given = (other, which, case, arguments, torch.get_num_threads())
        self._process = context.Process(target=_serve, args=given, daemon=True)
        self._process.start()
        other.close()  # so that a process that dies ends the wait for its answer

    def ask(self, what: str) -> Any:  # noqa: ANN401 - see `_serve`
        """Waits for the answer to "flop", "step" or "end"."""
        self._pipe.send(what)
        return self._pipe.recv()


def _serve(
    pipe: Connection, which: str, case: Case, arguments: argparse.Namespace, threads: int
) -> None:
    """Answers "flop" with those of a step; "step" with wall, processor and waiting seconds of one.

    "end" is answered with the most bytes that the process had resident.
    """
    torch.set_num_threads(threads)
    source, target = _images(case)
    waited: Callable[[], float] = lambda: 0.0  # noqa: E731
    step: Callable[[], object]
    if which == "ours":
        keep_freed_memory()  # as `crosscity` does before it trains on a processor
        ours = _our_training(case, source, target, arguments)
        segmenter = ours.segmenter
        step, waited = (lambda: ours.advance(1)), (lambda: ours.seconds_waited)
    else:
        plain = _plain_training(case, source, target, "cpu")
        segmenter, step = plain.segmenter, plain.step
    while (asked := pipe.recv()) != "end":
        if asked == "flop":
            pipe.send(_flop(segmenter, step))
            continue
        before, began, cpu_began = waited(), time.perf_counter(), time.process_time()
        step()
        seconds, cpu = time.perf_counter() - began, time.process_time() - cpu_began
        pipe.send((seconds, cpu, waited() - before))
    pipe.send(_peak_resident())


def _flop(segmenter: Segmenter, step: Callable[[], object]) -> int | None:
    """Of a step; ``None`` where a convolution has groups.

    PyTorch counts their backward pass as if they had none: 65 times the forward pass of a depthwise
    convolution of 64 channels.
    """
    convolutions = (one for one in segmenter.modules() if isinstance(one, nn.Conv2d))
    if any(one.groups > 1 for one in convolutions):
        step()
        return None
    with FlopCounterMode(display=False) as counter:
        step()
    return int(counter.get_total_flops())


def _peak_resident() -> int:
    """Bytes. Linux's getrusage would also count the process that started this one."""
    status = Path("/proc/self/status")
    found = re.search(r"VmHWM:\s*(\d+) kB", status.read_text()) if status.is_file() else None
    if found:
        return int(found[1]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _images(case: Case) -> tuple[list[tuple[bytes, bytes]], list[bytes]]:
    return _encoded(case, 1), [image for image, _ in _encoded(case, 2)]


def _our_row(
    row: dict[str, Any], case: Case, taken: Taken, seconds_waited: float
) -> dict[str, Any]:
    flop = row["flop_per_step"]
    flop_per_second = None if flop is None else flop / taken.seconds
    return {
        "images_per_second": 2 * case.batch / taken.seconds,
        "step_seconds": taken.seconds,
        "step_cpu_seconds": taken.cpu_seconds,
        "flop_per_second": flop_per_second,
        "share_of_peak": None if flop_per_second is None else flop_per_second / row["matmul_peak"],
        "loader_share": seconds_waited / taken.total,
        "peak_memory_bytes": taken.memory,
    }


def _times_faster(row: dict[str, Any], case: Case, device: str) -> float:
    """By images a second on a GPU; by processor time an image on a processor that others use."""
    if device == "cuda":
        return float(row["images_per_second"] / row["plain_images_per_second"])
    ours, plain = row["step_cpu_seconds"] / case.batch, row["plain_step_cpu_seconds"]
    return float(plain / case.plain_batch / ours)


def _our_training(
    case: Case,
    source: Sequence[tuple[bytes, bytes]],
    target: Sequence[bytes],
    arguments: argparse.Namespace,
) -> Adaptation:
    readers = arguments.readers
    if readers is None:
        readers = 8 if arguments.device == "cuda" else 0
    training = Adaptation(
        _segmenter(case, arguments.device),
        EncodedSource(source),
        EncodedTarget(target),
        _settings(case, case.batch),
        seed=0,
        engine=open_engine(arguments.device, case.precision),
        readers=readers,
    )
    training.advance(3)  # allocates, chooses kernels
    return training


def _plain_training(
    case: Case, source: Sequence[tuple[bytes, bytes]], target: Sequence[bytes], device: str
) -> PlainAdaptation:
    plain = PlainAdaptation(
        _segmenter(case, device), source, target, _settings(case, case.plain_batch)
    )
    for _ in range(2):
        plain.step()
    return plain


def _plain_row(case: Case, taken: Taken) -> dict[str, Any]:
    return {
        "plain_images_per_second": 2 * case.plain_batch / taken.seconds,
        "plain_step_cpu_seconds": taken.cpu_seconds,
        "plain_peak_memory_bytes": taken.memory,
    }


def matmul_peak(device: str, precision: Precision) -> float:
    """FLOP/s of a large matrix product: what the device can do, as measured here and now."""
    return product_rate(device, torch.bfloat16 if precision == "bf16" else torch.float32)


@dataclass(frozen=True)
class Taken:
    """What steps took: medians of a step's seconds, their sum, and the most memory in bytes."""

    seconds: float
    cpu_seconds: float
    total: float
    memory: int

    @classmethod
    def of(cls, steps: Sequence[tuple[float, ...]], memory: int) -> Taken:
        """Of steps whose first two values are wall and processor seconds."""
        wall, cpu = [step[0] for step in steps], [step[1] for step in steps]
        return cls(statistics.median(wall), statistics.median(cpu), sum(wall), memory)


def _timed(step: Callable[[], object], arguments: argparse.Namespace) -> Taken:
    """So many steps on a GPU."""
    torch.cuda.reset_peak_memory_stats()
    taken = []
    for _ in range(arguments.steps):
        began, cpu_began = _now("cuda"), time.process_time()
        step()
        taken.append((_now("cuda") - began, time.process_time() - cpu_began))
    return Taken.of(taken, int(torch.cuda.max_memory_allocated()))


def _now(device: str) -> float:
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def _segmenter(case: Case, device: str) -> Segmenter:
    return build_segmenter(case.network, seed=0).to(device)


def _encoded(case: Case, seed: int) -> list[tuple[bytes, bytes]]:
    """Pictures of as much detail as photographs have, and labels in blobs, as PNG files."""
    random = np.random.default_rng(seed)
    made = []
    for _ in range(STORED_IMAGES):
        image = np.zeros((case.height, case.width, 3), dtype=np.float32)
        for level in range(1, 8):
            rows, columns = case.height >> level, case.width >> level
            if not rows or not columns:
                break
            noise = random.normal(0, 2.0**level, (rows, columns, 3)).astype(np.float32)
            image += cv2.resize(noise, (case.width, case.height))
        pixels = np.clip(128 + image / 3, 0, 255).astype(np.uint8)
        coarse = random.integers(0, 19, (8, 16), dtype=np.uint8)
        labels = cv2.resize(coarse, (case.width, case.height), interpolation=cv2.INTER_NEAREST)
        made.append((_png(pixels), _png(np.asarray(labels))))
    return made


def _png(pixels: npt.NDArray[Any]) -> bytes:
    return bytes(cv2.imencode(".png", pixels)[1].tobytes())


def _rgb(data: bytes) -> npt.NDArray[np.uint8]:
    return _decoded(data, cv2.IMREAD_COLOR)[..., ::-1]


def _decoded(data: bytes, flags: int) -> npt.NDArray[np.uint8]:
    decoded = cv2.imdecode(np.frombuffer(data, dtype=np.uint8), flags)
    return np.asarray(decoded, dtype=np.uint8)


def _machine(arguments: argparse.Namespace) -> dict[str, Any]:
    is_gpu = arguments.device == "cuda"
    return {
        "device": torch.cuda.get_device_name() if is_gpu else platform.processor() or "cpu",
        "steps": arguments.steps,
        "note": arguments.note,
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "plain_in": _plain_precision() if is_gpu else "fp32",
    }


def _plain_precision() -> str:
    """What PyTorch makes of fp32 on this GPU, where nobody asks for anything."""
    tf32 = {
        "convolutions": torch.backends.cudnn.allow_tf32,
        "products": torch.backends.cuda.matmul.allow_tf32,
    }
    return ", ".join(f"{what} in {'TF32' if is_so else 'fp32'}" for what, is_so in tf32.items())


def _markdown(found: dict[str, Any]) -> str:
    machine = found["machine"]
    lines = [
        f"Adaptation (GA+CA, whole steps) on {machine['device']}, PyTorch {machine['torch']}; "
        f"median of {machine['steps']} steps. Images of both domains count. FLOP are those "
        "of the step's convolutions and matrix products (not told where convolutions have groups, "
        "which PyTorch counts wrongly); on a processor their share of the peak is "
        "by processor time, as others may use it too. Memory: the most allocated on a GPU; "
        "the peak of the process's resident set on a processor, each in a process of its own. "
        "Load: the machine's average at the end of the case, itself counted. Times faster: by "
        "images a second on a GPU, by processor time on a processor, where both took steps in "
        f"turn. The plain script computes in {machine['plain_in']}."
        + (f" {machine['note']}" if machine["note"] else ""),
        "",
        "| case | threads | load | images/s | FLOP a step | FLOP/s | of the measured matmul peak "
        "| memory | waiting for images | plain script, images/s | its memory | times faster |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in found["cases"]:
        plain = row.get("plain_images_per_second")
        cells = [
            row["name"],
            str(row["threads"]),
            str(row["load_average"]),
            f"{row['images_per_second']:.1f}",
            *_flop_cells(row),
            f"{row['peak_memory_bytes'] / 2**30:.2f} GiB",
            f"{row['loader_share']:.1%}",
            "" if plain is None else f"{plain:.1f}",
            "" if plain is None else f"{row['plain_peak_memory_bytes'] / 2**30:.2f} GiB",
            "" if plain is None else f"{row['faster_than_plain']:.1f}",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _flop_cells(row: dict[str, Any]) -> list[str]:
    peak = f"{row['matmul_peak'] / 1e12:.3g} T"
    if row["flop_per_step"] is None:
        return ["–", "–", f"– of {peak}"]
    flop, rate = row["flop_per_step"], row["flop_per_second"]
    return [f"{flop / 1e12:.3g} T", f"{rate / 1e12:.3g} T", f"{row['share_of_peak']:.0%} of {peak}"]


if __name__ == "__main__":
    main()
