"""Images that a network sees distorted, and the sizes that would not be."""

from __future__ import annotations

import math
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crosscity.proportions import distorted, distorted_remark, fitting

SIDE = st.integers(64, 4096)
SIZE = st.tuples(SIDE, SIDE).filter(lambda size: 0.2 < size[0] / size[1] < 5)


@given(size=SIZE, shown=st.tuples(st.integers(256, 2048), st.integers(256, 2048)))
def test_at_the_size_that_is_proposed_images_are_not_distorted(size, shown) -> None:
    proposed = fitting(size, shown)
    assert not distorted({size: 1}, proposed)
    assert all(side % 8 == 0 for side in proposed)
    assert math.prod(proposed) == pytest.approx(math.prod(shown), rel=0.1)


def test_images_of_slightly_other_proportions_and_at_their_own_size_are_not() -> None:
    sizes = Counter({(256, 512): 5, (270, 512): 2, (512, 256): 1})
    assert distorted(sizes, (256, 512)) == {(512, 256): 1}
    assert not distorted(sizes, None)
    assert distorted_remark(sizes, (128, 256), "take {height}x{width} for {size}") == (
        "1 of 8 images have other proportions than the 128×256 at which they go through the "
        "network, which sees them distorted: take 256x128 for 512×256"
    )
    assert not distorted_remark({(256, 512): 3}, (128, 256), "")
