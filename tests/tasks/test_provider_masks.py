"""A provider's `mask` reaches what is learned from its images and what is scored on them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from adapters.store import ArtifactRef
from tasks.steps.plan import Plan, open_plan
from tasks.training.identities import adaptation_parameters
from tasks.training.jobs import PairTargets
from tasks.training.labelled import labelled_part
from tasks.training.stored_images import StoredLabelled

CORNER = [[0, 0], [30, 0], [30, 9], [0, 9]]


@pytest.fixture
def plans(write_catalog, tmp_path, many_flows) -> Any:
    """The plan of a harvested city without a mask, and with one."""
    path = write_catalog(tmp_path)
    done = many_flows("harvest", "tokyo", "--catalog", path)
    assert done["code"] == 0, done["err"]
    plain = open_plan(path, city="tokyo")
    write_catalog(tmp_path, city={"provider": {"mask": CORNER}})
    return plain, open_plan(path, city="tokyo")


def harvested(plan: Plan) -> tuple[ArtifactRef, ArtifactRef]:
    from tasks.harvesting.current import current_harvest

    found = current_harvest("tokyo", plan)
    return found.imagery, found.pairs


def test_a_mask_reaches_targets_labels_and_keys_and_asks_for_no_image_again(plans) -> None:
    plain, masked = plans
    imagery, pairs = harvested(masked)
    assert (imagery, pairs) == harvested(plain)
    found = {}
    for name, plan in (("plain", plain), ("masked", masked)):
        targets: Any = PairTargets(imagery, pairs, None, "tokyo").open(plan, None)
        made = labelled_part.fn("tokyo", "test", pairs, 0, plan)
        labels = StoredLabelled(plan.open_store(), [made])
        found[name] = targets.ignored([0]), labels.labels([0])[0], made.key
    assert found["plain"][0] is None
    corner = np.zeros((64, 128), dtype=np.bool_)
    corner[:9, :30] = True
    np.testing.assert_array_equal(found["masked"][0][0], corner)
    before, after = found["plain"][1], found["masked"][1]
    assert (after[corner] == 255).all()
    assert (before[corner] != 255).any()
    np.testing.assert_array_equal(after[~corner], before[~corner])
    assert found["plain"][2] != found["masked"][2]
    for arm, same in (("full", False), ("source_free", False), ("fine_tuned", True)):
        keys = [adaptation_parameters("tokyo", arm, 0, plan) for plan in plans]
        assert (keys[0] == keys[1]) == same
