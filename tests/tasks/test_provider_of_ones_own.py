"""A provider of one's own that is wrong ends a harvest, which goes on once it is mended."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from PIL import Image

from adapters.store import ArtifactRef
from adapters.street_view.base import Capture, captures_near, captures_within
from tasks.harvesting.harvest import join_imagery, list_captures
from tasks.steps.errors import InputError, TooManyFailures
from tasks.steps.plan import Plan, open_plan
from tests.harvested import fetched, ref_of

MODULE = "a_provider_of_mine"


class Pictures:
    """Four places at two times; what `fetch` does is the test's."""

    name = "mine"
    wrong: Exception | None = None
    wrong_for = "p"

    def captures(self) -> Sequence[Capture]:
        return [
            Capture(
                image_id=f"p{place}-{year}",
                provider=self.name,
                place_id=f"p{place}",
                lat=44.4 + place / 100,
                lon=11.3,
                heading=0.0,
                pitch=0.0,
                fov=90.0,
                captured_at=datetime(year, 5, 1, tzinfo=UTC),
                licence="CC0-1.0",
                attribution="me",
            )
            for place in range(4)
            for year in (2015, 2019)
        ]

    def near(self, lat: float, lon: float, metres: float) -> Sequence[Capture]:
        return captures_near(self.captures(), lat, lon, metres)

    def within(self, bounds: Any) -> Sequence[Capture]:
        return captures_within(self.captures(), bounds)

    def fetch(self, capture: Capture, view: object = None) -> bytes:  # noqa: ARG002
        if Pictures.wrong is not None and capture.image_id.startswith(Pictures.wrong_for):
            raise Pictures.wrong
        random = np.random.default_rng(len(capture.image_id))
        picture, data = random.integers(0, 256, (48, 96, 3), dtype=np.uint8), io.BytesIO()
        Image.fromarray(picture).save(data, "PNG")
        return data.getvalue()

    def revision(self) -> str:
        return "1"


@pytest.fixture
def plan(
    write_catalog: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Plan:
    module = ModuleType(MODULE)
    module.build = lambda _site: Pictures()  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, MODULE, module)
    monkeypatch.setattr(Pictures, "wrong", None)
    mine = {"provider": {"python": f"{MODULE}:build"}, "places": 4, "test_places": 1}
    return open_plan(write_catalog(tmp_path, cities={"bologna": mine}))


def harvest(plan: Plan) -> ArtifactRef:
    captures = ref_of(list_captures.fn("bologna", plan))
    return ref_of(join_imagery.fn(fetched(captures, plan, "bologna"), "bologna", plan))


def kept(plan: Plan) -> int:
    return len(list(plan.open_store().artifacts("imagery_part", "bologna")))


@pytest.mark.parametrize("images", ["p", "p3-2019"])
def test_what_is_mended_is_fetched(
    plan: Plan, images: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The shard was kept with its failures, and found again whatever was mended."""
    monkeypatch.setattr(Pictures, "wrong_for", images)
    Pictures.wrong = KeyError("token")
    with pytest.raises(
        InputError, match=r"bologna: The provider .* raised KeyError: 'token'.*Mend"
    ):
        harvest(plan)
    assert not kept(plan)
    Pictures.wrong = None
    assert plan.open_store().manifest(harvest(plan)).rows == 8


def test_files_that_are_not_there_are_rows(plan: Plan) -> None:
    Pictures.wrong = FileNotFoundError("p0.jpg")
    with pytest.raises(TooManyFailures, match="raised FileNotFoundError"):
        harvest(plan)
    assert kept(plan)
