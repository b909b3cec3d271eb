"""Real cities are told when their segmenter has seen simulated streets alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from tasks.steps.plan import open_plan
from tasks.steps.simulated_only import simulated_only_remark

HUB = "hf:nvidia/segformer-b0-finetuned-cityscapes-512-1024"
ALONG = "package:crosscity/weights/street.safetensors"
CREDIT = {"licence": "CC0-1.0", "attribution": "nobody"}
REAL_SOURCE = {"kind": "cityscapes", "root": "/somewhere"}


def remark(
    tmp_path: Path, segmenter: dict[str, Any], *, provider: str = "folder", source: Any = None
) -> str | None:
    """Of a city of a provider with a segmenter, beside a simulated set or another."""
    content = {
        "version": 1,
        "store": "local",
        "stores": {"local": {"url": "store"}},
        "datasets": {"home": source or simulated()},
        "segmenters": {"one": segmenter},
        "trainings": {"demo": {"preset": "demo"}},
        "cities": {
            "lisbon": {
                "provider": {"kind": "folder", "root": "/somewhere", **CREDIT}
                if provider == "folder"
                else {"kind": provider, **({"style": "tokyo"} if provider == "simulated" else {})},
                **({} if provider == "folder" else {"area": {"bbox": [2.34, 48.85, 2.36, 48.86]}}),
                "segmenter": "one",
            }
        },
    }
    path = tmp_path / "data_catalog.yaml"
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return simulated_only_remark(open_plan(path, city="lisbon"), "lisbon")


def simulated() -> dict[str, Any]:
    return {
        **{"kind": "simulated", "style": "frankfurt", "image_size": [64, 128]},
        **{"train": 4, "val": 2, "test": 2, "seed": 0},
    }


@pytest.mark.parametrize(
    "segmenter",
    [
        {"architecture": "compact", "source": "home"},
        {"architecture": "efficientnet_lite0", "weights": ALONG},
        {"architecture": "efficientnet_lite0", "weights": ALONG, "source": "home"},
        {"architecture": HUB, "options": {"new_classifier": True}, "source": "home"},
        {"architecture": HUB, "source": "home", "pretraining": {"steps": 5}},
    ],
)
def test_a_city_of_real_streets_is_told(tmp_path, segmenter):
    said = remark(tmp_path, segmenter)
    assert said is not None
    assert "one has seen simulated streets alone and lisbon's are real" in said


@pytest.mark.parametrize(
    ("segmenter", "source"),
    [
        ({"architecture": "compact", "source": "home"}, REAL_SOURCE),
        ({"architecture": HUB}, None),
        ({"architecture": HUB, "source": "home"}, None),
        ({"architecture": "compact", "weights": "/mine.pth"}, None),
        ({"architecture": "compact", "weights": "/mine.pth", "source": "home"}, None),
    ],
)
def test_one_that_knows_real_streets_is_not(tmp_path, segmenter, source):
    assert remark(tmp_path, segmenter, source=source) is None


def test_nor_is_a_simulated_city_but_a_service_is(tmp_path):
    along = {"architecture": "efficientnet_lite0", "weights": ALONG}
    assert remark(tmp_path, along, provider="simulated") is None
    assert remark(tmp_path, along, provider="panoramax") is not None
