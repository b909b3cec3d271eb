"""Triton's kernels against tensor operations; by Triton's interpreter where there is no GPU.

    pip install 'crosscity[kernels]'

Interpreted, a kernel takes a second where a device takes microseconds: so the pictures are tiny.
"""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

pytest.importorskip("triton", reason="Triton is not installed (the extra `kernels`)")

from crosscity.matching import device_stages, kernel_trial, on_device, triton_stages
from crosscity.matching.device_operands import Operands, operands_of
from crosscity.matching.device_stages import Level, Reached
from crosscity.matching.on_device import matched
from crosscity.matching.pyramid import child_shares, children_of, level_count, shifts_of
from crosscity.matching.responses import rectification_table
from crosscity.matching.tensor_stages import TensorStages
from crosscity.matching.triton_blocks import blocks_of
from crosscity.matching.triton_stages import TritonStages, in_halves
from crosscity.matching.windows import windows_of_level

ROOT = Path(__file__).resolve().parents[3]
KERNELS = (
    "correlate_kernel",
    "aggregate_kernel",
    "step_down_kernel",
    "best_below_kernel",
    "entries_of_best_kernel",
)
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
PLAIN = TensorStages(10**7, torch.float32)
TABLE = torch.from_numpy(rectification_table(1.4).astype(np.int32)).to(DEVICE)


def exact_operands(seed: int, height: int, width: int) -> Operands:
    """Of a made-up pair, in numbers that half floats hold."""
    random = np.random.default_rng(seed)
    scene = random.integers(0, 256, (height + 3, width + 3)).astype(np.int32)
    made = operands_of(scene[:height, :width], scene[2 : 2 + height, 3:], 0, DEVICE)
    return replace(made, vectors=halved(made.vectors, 1), windows=halved(made.windows, 0))


def halved(terms: torch.Tensor, axis: int) -> torch.Tensor:
    """All but the last term rounded; that one goes in two halves, and so stays as it is."""
    oriented, last = terms.split([128, 1], dim=axis)
    return torch.cat([oriented.half().float(), last], dim=axis)


def values_and_places(cells: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    stored = cells.cpu().int() + 32768
    return stored >> 4, stored & 15


def assert_alike(ours: torch.Tensor, theirs: torch.Tensor) -> None:
    assert ours.shape == theirs.shape
    (value, place), (value_there, place_there) = map(values_and_places, (ours, theirs))
    assert (value - value_there).abs().max() <= 1  # a step in 4095
    assert (place == place_there).float().mean() > 0.99  # but for what is as good as equal


@pytest.mark.parametrize(
    ("height", "width", "radius"),
    [(16, 20, None), (12, 28, 3), (20, 16, 6)],
    ids=["everywhere", "window of 7", "window of 13"],
)
def test_correlation_and_pooling(height: int, width: int, radius: int | None) -> None:
    operands = exact_operands(height, height, width)
    windows = windows_of_level(0, operands.rows, operands.columns, operands.whole, radius)
    ours = TritonStages().correlate(operands, windows, TABLE)
    assert_alike(ours, PLAIN.correlate(operands, windows, TABLE))


def test_the_constant_channel_loses_nothing_to_half_floats() -> None:
    terms = torch.rand((7, 129), generator=torch.Generator().manual_seed(0))
    terms[:, :128] = terms[:, :128].half().float()
    ours = in_halves(terms, second=False).double() @ in_halves(terms, second=True).double().T
    exact = terms.double() @ terms.double().T
    assert (ours - exact).abs().max() < 1e-6
    rounded = terms.half().double()
    assert (rounded @ rounded.T - exact).abs().max() > 1e-5  # in one part it would


@pytest.mark.parametrize(("across", "size"), [(5, 128), (5, 3), (5, 1), (1, 4)])
@pytest.mark.parametrize("radius", [None, 3])
def test_every_patch_and_window_is_in_one_block(across: int, size: int, radius: int | None) -> None:
    rows = 4
    windows = windows_of_level(0, rows, across, (4 * rows + 1, 4 * across + 1), radius)
    blocks = blocks_of(windows, across, size)
    seen: list[int] = []
    for number in range(len(blocks.first)):
        first, count = int(blocks.first[number]), int(blocks.count[number])
        assert 0 < count <= size
        seen += range(first, first + count)
        for patch in range(first, first + count):
            top, left = int(windows.top[patch]) // 2, int(windows.left[patch]) // 2
            assert blocks.row[number] <= top
            assert blocks.column[number] <= left
            end = blocks.row[number] + blocks.rows[number]
            assert top + (windows.height + 1) // 2 <= end
            end = blocks.column[number] + blocks.columns[number]
            assert left + (windows.width + 1) // 2 <= end
    assert seen == list(range(rows * across))


def made_up_level(
    number: int, rows: int, columns: int, radius: int | None, seed: int, *, most: int = 4096
) -> tuple[Level, torch.Tensor]:
    """A level of random maps, and the shares of its children."""
    random = np.random.default_rng(seed)
    whole = 4 * rows + 1, 4 * columns + 1
    weights = np.ones(rows * columns, dtype=np.float32)
    for below in range(1, number):
        _, weights = child_shares(weights, children_of(below, rows, columns))
    children = children_of(number, rows, columns)
    windows = windows_of_level(number - 1, rows, columns, whole, radius)
    above = windows_of_level(number, rows, columns, whole, radius)
    shape = (len(windows), (windows.height + 1) // 2, (windows.width + 1) // 2)
    values = random.integers(0, most, shape) * (random.random(shape) < 0.8)
    # A maximum lies in its map, also where the windows begin in between pooled cells.
    rank = 4 + 3 * (windows.top % 2) + windows.left % 2
    stored = (values << 4 | (8 - rank)[:, None, None]).astype(np.int64) - 32768
    shares, _ = child_shares(weights, children)
    level = Level(
        torch.from_numpy(stored.astype(np.int16)).to(DEVICE),
        windows,
        torch.from_numpy(children).to(DEVICE),
        torch.from_numpy(shifts_of(children, above, windows).astype(np.int64)).to(DEVICE),
        above,
    )
    return level, torch.from_numpy(shares).to(DEVICE)


@pytest.mark.parametrize(
    ("number", "rows", "columns", "radius"),
    [(1, 2, 3, None), (1, 3, 2, 4), (2, 2, 3, 5)],
    ids=["overhanging patches", "windows that end", "second level"],
)
def test_aggregation_and_pooling(number: int, rows: int, columns: int, radius: int | None) -> None:
    level, shares = made_up_level(number, rows, columns, radius, seed=rows)
    ours = TritonStages().pooled_level(level, shares, TABLE)
    assert_alike(ours, PLAIN.pooled_level(level, shares, TABLE))


def made_up_way(level: Level, count: int, seed: int, *, scores: int) -> Reached:
    random = np.random.default_rng(seed)
    area = level.above.height * level.above.width
    place = random.choice(len(level.children) * area, count, replace=False)
    score = random.integers(1, scores + 1, count).astype(np.float32) / 4
    return Reached(
        torch.from_numpy(place // area).to(DEVICE),
        torch.from_numpy(place % area).to(DEVICE),
        torch.from_numpy(score).to(DEVICE),
        torch.from_numpy(random.permutation(count)).to(DEVICE),
    )


@pytest.mark.parametrize("radius", [None, 3])
@pytest.mark.parametrize(
    ("scores", "most"), [(1000, 4096), (2, 3)], ids=["any score", "many equal ones"]
)
def test_the_way_down_is_the_same_to_the_last_tie(
    radius: int | None, scores: int, most: int
) -> None:
    level, _ = made_up_level(1, 3, 4, radius, seed=scores, most=most)
    reached = made_up_way(level, 300, seed=1, scores=scores)
    for name in ("patch", "cell", "score", "entry"):
        ours, theirs = (
            getattr(stages.descend(level, reached), name) for stages in (TritonStages(), PLAIN)
        )
        assert torch.equal(ours, theirs)
    found, expected = (stages.reciprocal(level, reached) for stages in (TritonStages(), PLAIN))
    assert len(expected.patch) > 3
    for name in ("patch", "y", "x", "score", "entry"):
        ours, theirs = getattr(found, name), getattr(expected, name)
        assert ours.dtype == theirs.dtype
        assert np.array_equal(ours, theirs), name


def test_nothing_that_was_reached_leads_nowhere() -> None:
    level, _ = made_up_level(1, 2, 2, None, seed=0)
    nothing = replace(made_up_way(level, 4, seed=0, scores=2))
    nothing = Reached(*(getattr(nothing, n)[:0] for n in ("patch", "cell", "score", "entry")))
    assert len(TritonStages().descend(level, nothing).patch) == 0
    assert len(TritonStages().reciprocal(level, nothing).patch) == 0


class Operations(TorchDispatchMode):
    """Counts what starts work on a device: every operation that is not a view."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0
        self.paused = False

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        views = any(
            each.alias_info is not None and not each.alias_info.is_write
            for each in func._schema.returns
        )
        self.count += not (views or self.paused)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize(("width", "levels"), [(20, 2), (36, 3)])
def test_a_pair_takes_few_launches_whatever_its_size(
    monkeypatch: pytest.MonkeyPatch, width: int, levels: int
) -> None:
    operations, kernels, sent = Operations(), [], []
    genuine, genuinely_sent = triton_stages.start, device_stages.sent

    def counted(kernel: object, programs: int, *given: object, **constants: object) -> None:
        assert programs > 0
        kernels.append(kernel.fn.__name__)  # type: ignore[attr-defined]
        operations.paused = True  # the interpreter copies
        genuine(kernel, programs, *given, **constants)
        operations.paused = False

    def counted_too(values: np.ndarray, device: torch.device) -> torch.Tensor:
        sent.append(device.type == "cpu")  # a copy on a device, where it is among the operations
        return genuinely_sent(values, device)

    monkeypatch.setattr(triton_stages, "start", counted)
    for module in (device_stages, on_device, triton_stages):
        monkeypatch.setattr(module, "sent", counted_too)
    assert levels == level_count(8, width)
    with operations:
        scene = np.random.default_rng(width).integers(0, 256, (10, width + 2)).astype(np.int32)
        operands = operands_of(scene[:8, :width], scene[1:9, 2:], 0, DEVICE)
        ready = operations.count
        found = matched(operands, TritonStages(), 1.4, 6)
        rest = operations.count + sum(sent)
    expected = matched(operands, PLAIN, 1.4, 6)
    places = [set(zip(m.patch, m.y, m.x, strict=True)) for m in (found, expected)]
    assert len(places[0] & places[1]) >= 0.9 * max(map(len, places))
    assert kernels == [
        "correlate_kernel",
        *["aggregate_kernel"] * (levels - 1),
        *["step_down_kernel"] * (levels - 1),
        "best_below_kernel",
        "entries_of_best_kernel",
    ]
    # Whatever the picture's size: descriptors and windows, then the rest with its uploads.
    assert ready <= 180
    assert rest - ready <= 175 + 29 * levels
    assert len(found.patch) > 3


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Triton's compiler is Linux's")
def test_every_kernel_compiles_for_devices_that_are_not_there(tmp_path: Path) -> None:
    """For an A100 and an H100, down to the machine's code, with tensor cores in the products."""
    environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    script = Path(__file__).with_name("compile_kernels.py")
    done = subprocess.run(
        [sys.executable, str(script), "80", "90"],
        env={**environment, "TRITON_CACHE_DIR": str(tmp_path), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found = [line.split() for line in done.stdout.splitlines()]
    # The variants of one radius differ from the other's where their blocks do.
    of_each = {(line[0], line[1]) for line in found}
    assert of_each == {(device, name) for device in ("80", "90") for name in KERNELS}
    for _, name, size, products, shared in found:
        assert int(size) > 1000
        assert int(shared) < 100 * 1024  # two blocks fit on a multiprocessor of either
        assert (int(products) > 0) == (name == "correlate_kernel")


def test_all_stages_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel_trial, "RADIUS", 5)
    size = (96, 128) if DEVICE.type == "cuda" else (12, 20)
    assert kernel_trial.trial(TritonStages(), PLAIN, matched, DEVICE, size) >= 0.95
