"""The static priors of a city's images, each read from disk when it is asked for."""

from __future__ import annotations

from bisect import bisect_right

import pyarrow as pa

from adapters.mapped_tables import mapped_table
from adapters.store import ArtifactRef, Store
from tasks.steps.schemas import OK, STATIC_PRIOR


class StoredPriors:
    """Masks and probabilities by image; safe to use from several threads.

    Those of 100 000 pairs take gigabytes. They stay on disk, in files that all processes of a
    machine share (`adapters.mapped_tables`).

    Args:
        store: Holds the priors.
        priors: A `static_prior` artifact; ``None``: there are none.
    """

    def __init__(self, store: Store, priors: ArtifactRef | None) -> None:
        self.is_known = priors is not None
        self._shards: list[pa.Table] = []
        self._firsts: list[int] = []
        self._places: dict[str, int] = {}
        if priors is None:
            return
        files = store.manifest(priors).files
        names = sorted(name for name in files if name.startswith("part-"))
        first = 0
        for name, path in zip(names, store.paths(priors, names), strict=True):
            shard = mapped_table(path, files[name].sha256, STATIC_PRIOR)
            cells = shard["image_id"].to_pylist(), shard["status"].to_pylist()
            for place, (image_id, status) in enumerate(zip(*cells, strict=True), first):
                if status == OK:
                    self._places[image_id] = place
            self._shards.append(shard.select(["mask", "probability"]))
            self._firsts.append(first)
            first += len(shard)

    def __contains__(self, image_id: str) -> bool:
        return image_id in self._places

    def mask(self, image_id: str) -> bytes | None:
        """The encoded mask of an image; ``None``: it has no prior."""
        return self._cell(image_id, "mask") if image_id in self else None

    def probability(self, image_id: str) -> bytes | None:
        """The encoded probability of an image with a prior; ``None``: extracted without."""
        return self._cell(image_id, "probability")

    def _cell(self, image_id: str, column: str) -> bytes | None:
        place = self._places[image_id]
        shard = bisect_right(self._firsts, place) - 1
        cell: bytes | None = self._shards[shard][column][place - self._firsts[shard]].as_py()
        return cell
