"""Which of several pictures show one place, told by how much of them matches."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from crosscity.checks import check_map, number

ALIKE: Final = 0.3
"""Two pictures show one place if so much of what matches at best in the group matches in them.

After `reliable_matches` DeepMatching has a match for up to a tenth of a picture of another place,
and for a quarter to a half of one of the same spot.
"""


def same_place(matched: npt.NDArray[np.int64], *, alike: float = ALIKE) -> npt.NDArray[np.bool_]:
    """Which pictures of a group show the place that most of them show.

    Two pictures belong together if they match well, or if both match a third one well.

    Args:
        matched: (n, n) how many trusted matches each two have; what is on the diagonal is not read.
        alike: Share of the largest number that is enough, above 0 to 1.

    Returns:
        (n,) bool: the largest group that belongs together; of equally large ones that of the first
        picture among them.

    Raises:
        ValueError: It is not a square table of whole numbers, or no share.
    """
    if isinstance(matched, np.ndarray) and matched.shape == (0, 0):
        return np.zeros(0, dtype=np.bool_)
    check_map(matched, "table of each two pictures", types=("int64",))
    number(alike, "the share that is alike", 0, 1, above=True, what="a share")
    count = len(matched)
    if matched.shape != (count, count):
        raise ValueError(f"a table of each two pictures is square, not {matched.shape}")
    best = np.maximum(matched, matched.T)
    np.fill_diagonal(best, 0)
    joined = (best >= alike * best.max()) & (best > 0)
    group = np.arange(count)
    for _ in range(count):  # a group takes the least number of its neighbours, over and over
        group = np.array(
            [
                min(group[k], *group[joined[k]]) if joined[k].any() else group[k]
                for k in range(count)
            ]
        )
    sizes = np.bincount(group, minlength=count)
    largest: npt.NDArray[np.bool_] = group == int(sizes.argmax())
    return largest
