"""The unlabelled images of a city with their static priors, as adaptation reads them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from adapters.images import decode_mask_png
from adapters.store import ArtifactRef
from tasks.errors import InputError
from tasks.imagery import Imagery
from tasks.priors import static_prior_rows
from tasks.schemas import OK, PAIRS
from tasks.tables import read_rows
from tasks.workspace import Workspace


class StoredTargets:
    """Both images of every training pair; decoded when asked for."""

    def __init__(
        self,
        workspace: Workspace,
        imagery: ArtifactRef,
        pairs: ArtifactRef,
        priors: ArtifactRef | None,
    ) -> None:
        self._imagery = Imagery(workspace.store, imagery)
        rows = read_rows(workspace.store, pairs, "pairs.parquet", PAIRS)
        self._ids = [
            image_id
            for row in rows
            if row["split"] == "train"
            for image_id in (row["image_a"], row["image_b"])
        ]
        if not self._ids:
            raise InputError("there is no training pair to adapt on")
        self._masks: dict[str, bytes] = {}
        if priors is not None:
            self._masks = {
                row["image_id"]: row["mask"]
                for row in static_prior_rows(workspace, priors)
                if row["status"] == OK
            }

    def __len__(self) -> int:
        return len(self._ids)

    def images(self, indices: Sequence[int]) -> npt.NDArray[np.uint8]:
        """(N, H, W, 3) uint8 RGB."""
        return np.stack([self._imagery.read(self._ids[index]) for index in indices])

    def priors(self, indices: Sequence[int]) -> npt.NDArray[np.bool_]:
        """(N, H, W) bool; all False where an image has no prior."""
        return np.stack([self._prior(self._ids[index]) for index in indices])

    def _prior(self, image_id: str) -> npt.NDArray[np.bool_]:
        row = self._imagery.row(image_id)
        data = self._masks.get(image_id)
        if data is None:
            return np.zeros((row["height"], row["width"]), dtype=np.bool_)
        return decode_mask_png(data, image_id)
