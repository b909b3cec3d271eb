"""The objective that Entropy Rate Superpixels maximise, of any partition: to compare methods."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from crosscity.checks import check_image, check_map
from crosscity.partitioning.entropy_rate import IMAGE_TYPES, check_parameters
from crosscity.partitioning.lazy_greedy import balance_rate, join_greedily
from crosscity.partitioning.pixel_graph import pixel_graph


@dataclass(frozen=True)
class PartitionObjective:
    """What a set of edges is worth.

    Attributes:
        entropy_rate: H(A) in bits, zero for the empty set (eq. 3).
        size_entropy: Entropy of the cluster sizes in bits; the balancing term of eq. 7 is this
            minus the number of clusters.
        balance_weight: λ.
        n_clusters: N_A.
    """

    entropy_rate: float
    size_entropy: float
    balance_weight: float
    n_clusters: int

    @property
    def value(self) -> float:
        """H(A) + λ (size entropy): the objective of eq. 9 but for λ N_A, equal at equal N_A."""
        return self.entropy_rate + self.balance_weight * self.size_entropy


@dataclass(frozen=True)
class GreedyPartition:
    """The result of the greedy with the steps that led to it.

    Attributes:
        labels: (H, W) int32.
        edges: (N - K,) int32 edge numbers (`pixel_graph`) in the order of choice.
        gains: (N - K,) float64, what each added to the objective, in bits.
        objective: What the chosen edges are worth together.
    """

    labels: npt.NDArray[np.int32]
    edges: npt.NDArray[np.int32]
    gains: npt.NDArray[np.float64]
    objective: PartitionObjective


def greedy_partition(
    image: npt.NDArray[Any],
    n_superpixels: int,
    *,
    balance: float = 0.5,
    sigma: float = 5.0,
    connectivity: int = 8,
    within: npt.NDArray[np.int32] | None = None,
) -> GreedyPartition:
    """`entropy_rate_superpixels` with its steps, optionally inside the regions of a label map.

    Args:
        image: As in `entropy_rate_superpixels`.
        n_superpixels: As there; it also sets λ.
        balance: As there.
        sigma: As there.
        connectivity: As there.
        within: (H, W) int32 labels that no edge may cross, or None. The greedy then ends when
            each connected piece of these labels is one cluster, if that comes first.

    Raises:
        ValueError: As `entropy_rate_superpixels`, or if `within` is not an int32 map of the
            image's size.
    """
    check_image(image, types=IMAGE_TYPES)
    check_parameters(image, n_superpixels, balance, sigma, connectivity)
    if within is not None:
        check_map(within, "labels", types=("int32",), like=image.shape[:2])
    graph = pixel_graph(image, float(sigma), connectivity)
    n_pixels = graph.height * graph.width
    rate = balance_rate(graph, int(n_superpixels), float(balance))
    borders = None if within is None else np.ascontiguousarray(within).reshape(-1)
    joins = join_greedily(graph, int(n_superpixels), rate, within=borders, record=True)
    sizes = joins.sizes.astype(np.float64)

    # The score is in units that spare the greedy divisions; this turns it into bits.
    per_bit = 1.0 / (graph.total * math.log(2.0)) if graph.total > 0 else 0.0
    balance_weight = rate * n_pixels * math.log(2.0) * per_bit
    size_entropy = -float(np.sum(sizes / n_pixels * np.log2(sizes / n_pixels)))
    gained = float(np.sum(joins.scores)) * per_bit
    objective = PartitionObjective(
        entropy_rate=gained + balance_weight * (math.log2(n_pixels) - size_entropy),
        size_entropy=size_entropy,
        balance_weight=balance_weight,
        n_clusters=sizes.size,
    )
    labels = joins.labels.reshape(graph.height, graph.width)
    gains = joins.scores * per_bit + balance_weight
    return GreedyPartition(labels, joins.edges, gains, objective)


def partition_objective(
    image: npt.NDArray[Any],
    labels: npt.NDArray[np.int32],
    n_superpixels: int,
    *,
    balance: float = 0.5,
    sigma: float = 5.0,
    connectivity: int = 8,
) -> PartitionObjective:
    """What a partition from anywhere is worth, with the best edges that greed finds inside it.

    The objective is defined on edges; of a partition made by another program only the regions
    are known. So the greedy runs once more with the edges between regions taken out. Regions in
    several connected pieces count as several.

    Args:
        image: As in `entropy_rate_superpixels`.
        labels: (H, W) int32 regions.
        n_superpixels: K, which sets λ.
        balance: As in `entropy_rate_superpixels`.
        sigma: As there.
        connectivity: As there.

    Raises:
        ValueError: As `greedy_partition`.
    """
    check_map(labels, "labels", types=("int32",))
    return greedy_partition(
        image,
        n_superpixels,
        balance=balance,
        sigma=sigma,
        connectivity=connectivity,
        within=labels,
    ).objective
