"""What a training took, as its manifest says it."""

from __future__ import annotations

import pytest

from tasks.training.checkpoints import Measured


@pytest.mark.parametrize("count", [1, 50, 51, 99, 100, 101, 1000])
def test_the_course_of_a_long_training_is_thinned(count: int) -> None:
    one = {"seconds": 2.0, "images_per_second": 4.0, "waiting_share": 0.5, "peak_memory_bytes": 9}
    course = Measured([{**one, "step": step} for step in range(count)]).summary()["course"]
    assert min(count, 26) <= len(course) <= 50
    assert course[0]["step"] == 0
