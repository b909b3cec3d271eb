"""All numbers of superpixels at once: with a fixed balancing weight the greedy is one hierarchy."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from crosscity.checks import check_image, number, picture_shape, whole_number
from crosscity.compiled_loops import compiled_loop
from crosscity.partitioning.entropy_rate import IMAGE_TYPES, check_parameters
from crosscity.partitioning.lazy_greedy import balance_rate, join_greedily
from crosscity.partitioning.pixel_graph import PixelGraph, edge_offsets, pixel_graph
from crosscity.partitioning.scores import Ints, find

MAX_WEIGHT: Final = 1e12
"""Beyond it scores are too large for their entropy part to matter."""


@dataclass(frozen=True)
class SuperpixelHierarchy:
    """The joins of the greedy from single pixels to the whole picture.

    The pixels stand in a line, in which every cluster that ever was is a run of neighbours.
    Between two neighbours stands the number of the join that brought them together. Both are copies
    that cannot be written to, as `cut` indexes by them.

    Attributes:
        shape: Height and width of the picture.
        balance_weight: λ.
        line: (N,) int32 raster indices of the pixels.
        joins: (N - 1,) int32; which join, counted from 0, joined `line[i]` and `line[i + 1]`.

    Raises:
        ValueError: That is no hierarchy of a picture of that shape.
    """

    shape: tuple[int, int]
    balance_weight: float
    line: npt.NDArray[np.int32] = field(repr=False)
    joins: npt.NDArray[np.int32] = field(repr=False)

    def __post_init__(self) -> None:
        """Checks what `cut` indexes with."""
        height, width = picture_shape(self.shape)
        n_pixels = height * width
        for name, row, length in (
            ("line", self.line, n_pixels),
            ("joins", self.joins, n_pixels - 1),
        ):
            if (
                not isinstance(row, np.ndarray)
                or row.dtype != np.int32
                or row.shape != (length,)
                or not _is_permutation(row)
            ):
                raise ValueError(
                    f"the {name} of a hierarchy must hold each number from 0 to {length - 1} once, "
                    "as int32"
                )
            kept = np.array(row)
            kept.setflags(write=False)
            object.__setattr__(self, name, kept)

    def cut(self, n_superpixels: int) -> npt.NDArray[np.int32]:
        """The superpixels after as many joins as leave that number.

        Args:
            n_superpixels: 1 to H * W.

        Returns:
            (H, W) int32 labels 0 to n - 1, in raster order of each region's first pixel. Each
            region is connected, and lies in one region of every cut with fewer.

        Raises:
            ValueError: If the number is out of its range.
        """
        n_pixels = self.shape[0] * self.shape[1]
        whole_number(n_superpixels, "n_superpixels", 1, n_pixels)
        labels: npt.NDArray[np.int32] = _cut(self.line, self.joins, int(n_superpixels))
        return labels.reshape(self.shape)


def _is_permutation(row: npt.NDArray[np.int32]) -> bool:
    seen = np.zeros(row.size, dtype=np.bool_)
    inside = row[(row >= 0) & (row < row.size)]
    seen[inside] = True
    return bool(seen.all())


def balance_weight_for(
    image: npt.NDArray[Any],
    n_superpixels: int,
    *,
    balance: float = 0.5,
    sigma: float = 5.0,
    connectivity: int = 8,
) -> float:
    """The λ that `entropy_rate_superpixels` uses for that number of superpixels.

    Args:
        image: As in `entropy_rate_superpixels`.
        n_superpixels: K.
        balance: λ'.
        sigma: As there.
        connectivity: As there.

    Raises:
        ValueError: As there.
    """
    check_image(image, types=IMAGE_TYPES)
    check_parameters(image, n_superpixels, balance, sigma, connectivity)
    graph = pixel_graph(image, float(sigma), connectivity)
    rate = balance_rate(graph, int(n_superpixels), float(balance))
    return rate / _rate_of_one(graph)


def superpixel_hierarchy(
    image: npt.NDArray[Any],
    balance_weight: float,
    *,
    sigma: float = 5.0,
    connectivity: int = 8,
) -> SuperpixelHierarchy:
    """Joins pixels until one cluster is left, with one weight of the balancing term throughout.

    `entropy_rate_superpixels` scales λ with the number of superpixels (Liu et al., CVPR 2011,
    Sec. 5), so its results for two numbers are two runs and not nested. Here λ is the caller's
    and the same for all; `cut(n)` is the greedy of eq. 9 for that λ, stopped at n. Where n is the
    number that λ belongs to (`balance_weight_for`), both are the same but for ties that rounding
    decides; with fewer superpixels the hierarchy balances too much, with more too little.

    Of joins with equal scores the order is that in which they were made, so at a cut between
    equals any of them may have been made.

    Args:
        image: As in `entropy_rate_superpixels`.
        balance_weight: λ in bits, 0 to 1e12.
        sigma: As there.
        connectivity: As there.

    Raises:
        ValueError: If the image or a parameter is not as described.
    """
    check_image(image, types=IMAGE_TYPES)
    check_parameters(image, 1, 0.5, sigma, connectivity)
    number(balance_weight, "balance_weight", 0, MAX_WEIGHT)
    graph = pixel_graph(image, float(sigma), connectivity)
    rate = balance_weight * _rate_of_one(graph)
    edges = join_greedily(graph, 1, rate, record=True).edges
    offsets = edge_offsets(graph.width, graph.distances.shape[1])
    line, joins = _line_up(edges, offsets)
    return SuperpixelHierarchy((graph.height, graph.width), float(balance_weight), line, joins)


def _rate_of_one(graph: PixelGraph) -> float:
    """The rate at which the score pays for balance if λ is one."""
    # Where every weight underflows, balance alone decides and any scale will do.
    return (graph.total or 1.0) / graph.loops.size


@compiled_loop()
def _line_up(edges: Ints, offsets: npt.NDArray[np.int64]) -> tuple[Ints, Ints]:
    """Puts the line of one cluster behind that of the other at each join."""
    n_pixels = edges.size + 1
    parents = np.full(n_pixels, -1, np.int32)
    ends = np.arange(n_pixels).astype(np.int32)
    starts = ends.copy()
    following = np.full(n_pixels, -1, np.int32)
    join_after = np.zeros(n_pixels, np.int32)
    for join in range(edges.size):
        pixel = edges[join] // offsets.size
        other = pixel + offsets[edges[join] % offsets.size]
        root, other_root = find(parents, pixel), find(parents, other)
        following[ends[root]] = starts[other_root]
        join_after[ends[root]] = join
        start, end = starts[root], ends[other_root]
        if parents[other_root] < parents[root]:
            root, other_root = other_root, root
        parents[root] += parents[other_root]
        parents[other_root] = root
        starts[root], ends[root] = start, end
    line = np.empty(n_pixels, np.int32)
    joins = np.empty(n_pixels - 1, np.int32)
    pixel = int(starts[find(parents, 0)])
    for place in range(n_pixels):
        line[place] = pixel
        if place < n_pixels - 1:
            joins[place] = join_after[pixel]
            pixel = int(following[pixel])
    return line, joins


@compiled_loop()
def _cut(line: Ints, joins: Ints, n_superpixels: int) -> Ints:
    """Labels the runs between the joins that are undone, in raster order of first pixels."""
    n_made = line.size - n_superpixels
    labels = np.empty(line.size, np.int32)
    run = 0
    for place in range(line.size):
        labels[line[place]] = run
        if place < joins.size and joins[place] >= n_made:
            run += 1
    names = np.full(n_superpixels, -1, np.int32)
    count = 0
    for pixel in range(labels.size):
        run = labels[pixel]
        if names[run] < 0:
            names[run] = count
            count += 1
        labels[pixel] = names[run]
    return labels
