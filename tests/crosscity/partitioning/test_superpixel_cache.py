"""A second process takes the compiled code from the disk."""

from __future__ import annotations

import subprocess
import sys

import numpy as np

from crosscity.partitioning import entropy_rate_superpixels, superpixel_hierarchy

PROGRAM = """
import numpy as np
from numba.core.dispatcher import Dispatcher
from crosscity.partitioning import entropy_rate_superpixels, superpixel_hierarchy
from crosscity.partitioning import cluster_greedy, hierarchy, lazy_greedy, pixel_graph
from crosscity.partitioning import scores, window_greedy

image = np.random.default_rng(0).integers(0, 255, (40, 50, 3), dtype=np.uint8)
entropy_rate_superpixels(image, 20)
superpixel_hierarchy(image, 1.0).cut(20)
modules = (cluster_greedy, hierarchy, lazy_greedy, pixel_graph, scores, window_greedy)
compiled = {
    value for module in modules for value in vars(module).values() if isinstance(value, Dispatcher)
}
hits = sum(sum(function.stats.cache_hits.values()) for function in compiled)
misses = sum(sum(function.stats.cache_misses.values()) for function in compiled)
print(len(compiled), hits, misses)
"""


def test_a_second_process_compiles_nothing() -> None:
    image = np.random.default_rng(0).integers(0, 255, (40, 50, 3), dtype=np.uint8)
    entropy_rate_superpixels(image, 20)
    superpixel_hierarchy(image, 1.0).cut(20)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True
    )
    functions, hits, misses = (int(word) for word in done.stdout.split())
    assert functions > 20
    assert hits >= 10
    assert misses == 0
