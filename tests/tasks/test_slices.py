"""A shard reads its own slice: what it reads does not grow with the number of shards."""

from __future__ import annotations

import importlib
import sys
from collections import Counter
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest

from adapters.store import manifests, places
from adapters.store.local import LocalPlace
from tasks.harvesting.harvest import (
    choose_pairs,
    harvest_part,
    harvest_parts,
    join_imagery,
    list_captures,
)
from tasks.priors import extraction
from tasks.priors.extraction import prior_part, prior_parts
from tasks.steps.plan import open_plan
from tasks.steps.schemas import CAPTURES
from tasks.steps.tables import read_rows
from tests.harvested import fetched, ref_of

CITY = """
import io
from datetime import UTC, datetime
import numpy as np
from PIL import Image
from adapters.street_view.base import Capture, captures_near, captures_within

class Constant:
    name = "constant"
    opened = 0

    def __init__(self, site, count):
        type(self).opened += 1
        buffer = io.BytesIO()
        Image.fromarray(np.full((32, 64, 3), 90, np.uint8)).save(buffer, "JPEG")
        self.data = buffer.getvalue()
        self.listed = [
            Capture(
                image_id=f"i{place:05d}-{year}", provider=self.name, place_id=f"p{place:05d}",
                lat=35.6 + 1e-3 * (place // 100), lon=139.7 + 1e-3 * (place % 100), heading=90.0,
                pitch=0.0, fov=90.0, captured_at=datetime(year, 5, 1, tzinfo=UTC),
                licence="CC0-1.0", attribution="nobody",
            )
            for place in range(count) for year in (2015, 2020)
        ]

    def captures(self):
        return self.listed

    def near(self, lat, lon, metres):
        return captures_near(self.listed, lat, lon, metres)

    def within(self, bounds):
        return captures_within(self.listed, bounds)

    def fetch(self, capture, view=None):
        return self.data

    def revision(self):
        return "1"
"""


@pytest.fixture
def counted(monkeypatch, still_heart):  # noqa: ARG001 - for what it does
    """counted(work) -> what it reads of a store as a process of its own would: (reads, bytes)."""

    def of(work) -> tuple[Counter[str], int]:
        manifests._kept.clear()
        places._hashed.clear()
        reads: Counter[str] = Counter()
        size = [0]
        original = {name: getattr(LocalPlace, name) for name in ("read", "children", "local_path")}

        def read(self, path):
            data = original["read"](self, path)
            reads["read"] += 1
            size[0] += len(data or b"")
            return data

        def children(self, path):
            reads["children"] += 1
            names = original["children"](self, path)
            size[0] += sum(map(len, names))
            return names

        def local_path(self, path, entry, **options):
            reads["file"] += 1
            size[0] += entry.bytes
            return original["local_path"](self, path, entry, **options)

        with monkeypatch.context() as patched:
            for name, call in (("read", read), ("children", children), ("local_path", local_path)):
                patched.setattr(LocalPlace, name, call)
            work()
        return reads, size[0]

    return of


@pytest.fixture
def constant(tmp_path, monkeypatch):
    """The module of a provider of the user's own, whose images are all the same."""
    (tmp_path / "constant_city.py").write_text(CITY)
    monkeypatch.syspath_prepend(tmp_path)
    yield importlib.import_module("constant_city")
    sys.modules.pop("constant_city", None)


@pytest.fixture
def city(write_catalog, tmp_path, constant):  # noqa: ARG001 - it must be importable
    """city(places) -> (plan, captures) of a city with a shard a place."""

    def make(count: int):
        folder = tmp_path / str(count)
        folder.mkdir()
        provider = {
            "kind": "python",
            "python": "constant_city:Constant",
            "options": {"count": count},
        }
        entry = {
            "provider": provider,
            "labels": None,
            "area": {"bbox": [139.6, 35.5, 140.0, 36.0]},
            "places": count,
            "test_places": 0,
            "pairs_per_part": 1,
        }
        plan = open_plan(write_catalog(folder, city=entry), city="tokyo")
        return plan, ref_of(list_captures.fn("tokyo", plan))

    return make


def test_what_a_shard_reads_is_the_same_at_ten_and_at_a_hundred_shards(
    city, counted, constant, monkeypatch
):
    flat = np.zeros((32, 64), np.int32)
    prior = SimpleNamespace(
        matches=[],
        superpixels=(flat, flat),
        masks=(flat.astype(bool), flat.astype(bool)),
        probabilities=(None, None),
    )
    monkeypatch.setattr(extraction, "extract_prior", lambda *_: prior)
    found: dict[str, list[tuple[Counter[str], int]]] = {"harvest": [], "priors": []}
    for count in (10, 100):
        plan, captures = city(count)
        constant.Constant.opened = 0
        slices = harvest_parts(captures, "tokyo", plan)
        assert len(slices) == count
        seen = counted(partial(harvest_part.fn, captures, slices[7], "tokyo", plan))
        found["harvest"].append(seen)
        parts = fetched(captures, plan)
        assert constant.Constant.opened == 1, "the provider's list is read once, not once a shard"
        imagery = ref_of(join_imagery.fn(parts, "tokyo", plan))
        pairs = ref_of(choose_pairs.fn(imagery, "tokyo", plan))
        slices = prior_parts(imagery, pairs, "tokyo", plan)
        assert len(slices) == count
        seen = counted(partial(prior_part.fn, imagery, pairs, slices[7], "tokyo", plan))
        found["priors"].append(seen)
        assert prior_parts(imagery, pairs, "tokyo", plan) == slices, "dealt once"
    for (few, few_bytes), (many, many_bytes) in found.values():
        assert few == many
        assert few_bytes > 0
        assert abs(many_bytes - few_bytes) <= 8, "but for the digits of counts"


def test_slices_have_every_row_once_in_order(city):
    plan, captures = city(7)
    store = plan.open_store()
    slices = harvest_parts(captures, "tokyo", plan)
    rows = [
        row["image_id"]
        for one in slices
        for row in read_rows(store, one.ref, "captures.parquet", CAPTURES)
    ]
    assert rows == [f"i{place:05d}-{year}" for place in range(7) for year in (2015, 2020)]
    assert [store.manifest(one.ref).rows for one in slices] == [2] * 7
