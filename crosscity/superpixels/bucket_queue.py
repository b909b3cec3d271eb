"""A row of buckets that hold edge numbers, in blocks of one cache line.

A linked list of single edges would miss the cache at every step. Here a bucket is a chain of
64-byte blocks: a link and fifteen edges. Blocks that have been emptied are used again, so the
whole queue never needs more than 4.3 bytes an edge and a block for each bucket.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

BLOCK = 16
"""32-bit numbers in a block; the first is the place of the previous block's last edge, or -1."""


class BucketQueue(NamedTuple):
    """The state of the queue.

    Attributes:
        blocks: (n * BLOCK,) int32, the blocks one after another.
        tails: (buckets,) int32, the place in `blocks` of each bucket's last edge; -1 if empty.
        spare: (2,) int64: the start of the first block to use again or -1, and the start of the
            first block that was never used.
    """

    blocks: npt.NDArray[np.int32]
    tails: npt.NDArray[np.int32]
    spare: npt.NDArray[np.int64]


@njit(cache=True, nogil=True)
def empty_queue(n_buckets: int, n_edges: int) -> BucketQueue:
    """A queue with room for `n_edges` edges however they are spread over the buckets."""
    n_blocks = n_edges // (BLOCK - 1) + n_buckets + 2
    spare = np.zeros(2, np.int64)
    spare[0] = -1
    return BucketQueue(
        np.empty(n_blocks * BLOCK, np.int32), np.full(n_buckets, -1, np.int32), spare
    )


@njit(cache=True, nogil=True)
def push(queue: BucketQueue, bucket: int, edge: int) -> None:
    """Puts an edge into a bucket."""
    tail = int(queue.tails[bucket])
    # A full block ends at a place that is one short of a multiple of BLOCK, as -1 is.
    if tail % BLOCK == BLOCK - 1:
        start = int(queue.spare[0])
        if start >= 0:
            queue.spare[0] = queue.blocks[start]
        else:
            start = int(queue.spare[1])
            queue.spare[1] = start + BLOCK
        queue.blocks[start] = tail
        tail = start
    tail += 1
    queue.blocks[tail] = edge
    queue.tails[bucket] = tail


@njit(cache=True, nogil=True)
def detach(queue: BucketQueue, bucket: int) -> int:
    """Empties a bucket and returns its chain, to be read by `read_block`."""
    chain = int(queue.tails[bucket])
    queue.tails[bucket] = -1
    return chain


@njit(cache=True, nogil=True)
def read_block(
    queue: BucketQueue, chain: int, batch: npt.NDArray[np.int32], count: int
) -> tuple[int, int]:
    """Appends the last block of a chain to `batch` after `count` edges and frees the block.

    Returns:
        The rest of the chain, -1 at its end, and the new number of edges in the batch.
    """
    start = chain - chain % BLOCK
    for place in range(start + 1, chain + 1):
        batch[count] = queue.blocks[place]
        count += 1
    rest = int(queue.blocks[start])
    queue.blocks[start] = queue.spare[0]
    queue.spare[0] = start
    return rest, count
