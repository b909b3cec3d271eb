"""What two segmenters see in images of a set is drawn beside the labels, where there are."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from adapters.store import ArtifactRef
from tasks.judging.differences import Labels, read_differences, write_differences
from tasks.steps.plan import Plan, open_plan
from tasks.training.segmenters import fresh_segmenter, write_segmenter

MODEL = {"architecture": "compact", "options": {"width": 8}}
IMAGE = np.random.default_rng(5).integers(0, 256, (32, 64, 3), dtype=np.uint8)


class OneImage:
    """A set in memory, whose labels are twice as large as its image."""

    def ids(self) -> list[str]:
        return ["street"]

    def read(self, _: str) -> npt.NDArray[np.uint8]:
        return IMAGE

    def labels(self, _: str) -> npt.NDArray[np.uint8]:
        return np.full((64, 128), 10, np.uint8)


@pytest.fixture
def plan(write_catalog: Callable[..., Path], tmp_path: Path) -> Plan:
    transfers = {"home": {"segmenter": "compact", "target": "frankfurt", "test_split": "test"}}
    return open_plan(write_catalog(tmp_path, transfers=transfers))


def drawn(plan: Plan, key: str, labels: Labels | None) -> tuple[ArtifactRef, Image.Image]:
    store, made_of = plan.open_store(), {"inputs": {}, "parameters": {}, "version": "1"}
    refs = []
    for seed in (1, 2):
        with store.draft("segmenter", "x", f"{seed}-{key}", **made_of) as draft:
            write_segmenter(draft, fresh_segmenter(MODEL, seed), MODEL)
        refs.append(draft.ref)
    with store.draft("differences", "home", key, **made_of) as draft:
        write_differences(draft, (refs[0], refs[1]), OneImage(), "home", plan, ("A", "B"), labels)
    file = store.path(draft.ref, read_differences(store, draft.ref).pictures[0].file)
    return draft.ref, Image.open(io.BytesIO(file.read_bytes()))


def test_labels_of_another_size_than_the_image_are_drawn_beside_it(plan: Plan) -> None:
    """Images may be stored at an `image_size`; labels that are scored on never are."""
    bare, picture = drawn(plan, "without", None)
    told, labelled = drawn(plan, "with", OneImage().labels)
    sky = np.array([70, 130, 180])
    high, wide = labelled.height, labelled.width
    assert high > picture.height, "two rows of two"
    middle = np.asarray(labelled, np.int64)[high // 5 : high // 3, 5 * wide // 8 : 7 * wide // 8]
    assert np.abs(middle - sky).mean() < 8
    store = plan.open_store()
    assert read_differences(store, bare).shares == read_differences(store, told).shares
