"""The size at which a segmenter that does not tell its own is shown the target's images."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from crosscity.adaptation import (
    SourceFreeSettings,
    TargetArrays,
    TargetImages,
)
from crosscity.resizing import resized_image
from crosscity.segmenters.home import home_fields
from tasks.steps import progress
from tasks.steps.plan import Plan, open_plan
from tasks.training.checkpoints import CheckpointPlace
from tasks.training.identities import adaptation_parameters, network_size
from tasks.training.jobs import Job, SetTargets, Trained, carry_out

NEARSIGHTED = '''
import torch
from torch import nn

from crosscity.segmenters import ComposedSegmenter
from crosscity.segmenters.base import ROAD_CLASS_NAMES


class Look(nn.Module):
    """Brightness, and how much it changes from pixel to pixel: half as much in enlarged images."""

    def forward(self, images):
        grey = images.mean(1, keepdim=True)
        change = nn.functional.pad((grey[..., 1:] - grey[..., :-1]).abs(), (0, 1))
        return torch.cat([grey, change], 1)


class Head(nn.Module):
    """Tells dark from bright, and is sure of it where brightness changes little."""

    def __init__(self):
        super().__init__()
        self.sure = nn.Parameter(torch.ones(1))

    def forward(self, seen):
        told = self.sure * seen[:, :1] / (0.1 + seen[:, 1:])
        rest = torch.full_like(told, -20.0).expand(-1, len(ROAD_CLASS_NAMES) - 2, -1, -1)
        return torch.cat([told, -told, rest], 1)


def build():
    return ComposedSegmenter(
        Look(), Head(), n_features=2, stride=1, class_names=ROAD_CLASS_NAMES
    )
'''

OWN = (64, 128)
KEYS = itertools.count()
SETTINGS = SourceFreeSettings(steps=2, batch_size=2, statistics_images=2)


@dataclass(frozen=True)
class Noise(SetTargets):
    """Images in memory; what their size has become is kept."""

    parts: tuple[Any, ...] = ()

    def open(self, plan: Plan, size: tuple[int, int] | None) -> TargetImages:  # noqa: ARG002
        random = np.random.default_rng(1)
        images = random.integers(60, 200, (4, *OWN, 3), dtype=np.uint8)
        return TargetArrays(np.stack([resized_image(image, size) for image in images]))


@pytest.fixture
def plan_with(
    write_catalog: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Plan]:
    """A catalog with a nearsighted network, and what else is said."""
    (tmp_path / "nearsighted.py").write_text(NEARSIGHTED, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)

    def plan(training: dict[str, Any] | None = None, **entry: Any) -> Plan:
        catalog = write_catalog(
            tmp_path,
            segmenters={"given": {"python": "nearsighted:build", **entry}},
            trainings={"demo": training or {}},
            city={"segmenter": "given"},
        )
        return open_plan(catalog)

    return plan


def trained(plan: Plan, **changes: Any) -> Trained:
    place = CheckpointPlace("adaptation", "tokyo", f"{next(KEYS):064x}", "adapt tokyo")
    job = Job("given", (), SETTINGS, seed=0, plan=plan, place=place, every=5, target=Noise())
    return carry_out(replace(job, **changes))


def test_an_unknown_network_is_shown_the_size_at_which_it_is_surest(
    plan_with: Callable[..., Plan],
) -> None:
    done = trained(plan_with())
    assert done.segmenter.trained_size == (128, 256)
    assert done.summary["shown_size"]["chosen"] == [128, 256]
    assert any("images are shown at 128×256" in one for one in done.summary["remarks"])
    assert home_fields(done.segmenter) == {"trained_size": [128, 256]}


def test_the_terminal_says_how_far_the_choice_of_a_size_is(
    plan_with: Callable[..., Plan], monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[tuple[str, int, int]] = []
    monkeypatch.setattr(progress, "advance", lambda *step: steps.append(step))
    done = trained(plan_with())
    tried = len(done.summary["shown_size"]["tried"])
    assert tried > 1
    assert [step for step in steps if "sizes" in step[0]] == [
        ("sizes of adapt tokyo", 1, tried)
    ] * tried


def test_the_student_learns_from_windows_as_large_as_the_images(
    plan_with: Callable[..., Plan], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    from tasks.training import jobs

    made = jobs.SourceFree

    def noted(*arguments: Any, **options: Any) -> Any:
        seen.append(arguments[2].window)
        return made(*arguments, **options)

    monkeypatch.setattr(jobs, "SourceFree", noted)
    trained(plan_with())
    trained(plan_with(), image_size=OWN)
    assert seen == [0.5, 1.0]


def test_a_size_that_is_given_is_taken(plan_with: Callable[..., Plan]) -> None:
    done = trained(plan_with(), image_size=(96, 192))
    assert done.segmenter.trained_size == (96, 192)
    assert "shown_size" not in done.summary


def test_a_network_that_tells_its_size_is_shown_that(plan_with: Callable[..., Plan]) -> None:
    done = trained(plan_with(image_size=[72, 144]))
    assert done.segmenter.trained_size == (72, 144)
    assert "shown_size" not in done.summary


def test_auto_never_goes_beyond_the_trained_size(plan_with: Callable[..., Plan]) -> None:
    plan = plan_with(image_size=[100, 200])
    done = trained(plan, image_size="auto")
    tried = [tuple(one["size"]) for one in done.summary["shown_size"]["tried"]]
    assert tried == [(100, 200), OWN, (96, 192)]
    assert done.segmenter.trained_size in tried


def test_the_choice_is_part_of_what_an_adaptation_is_known_by(
    plan_with: Callable[..., Plan],
) -> None:
    plan = plan_with()
    assert "size_choice" in adaptation_parameters("tokyo", "source_free", 0, plan)
    assert "size_choice" not in adaptation_parameters("tokyo", "fine_tuned", 0, plan)
    sized = plan_with({"image_size": [64, 128]})
    assert "size_choice" not in adaptation_parameters("tokyo", "source_free", 0, sized)
    auto = plan_with({"image_size": "auto"})
    assert network_size(auto, "tokyo") is None
    for arm in ("source_free", "fine_tuned"):
        assert adaptation_parameters("tokyo", arm, 0, auto)["image_size"] == "auto"
