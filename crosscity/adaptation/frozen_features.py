"""Features of a backbone that does not move: computed once an image, then read from disk.

Where the head alone is trained, an image's features are the same in every step. They are computed
of one image at a time, with dropout off, so that they do not depend on which images shared a batch,
and a training that was resumed reads what the whole one read.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from crosscity.segmenters import Segmenter, evaluating

SPARE_BYTES: Final = 1 << 30
"""What is left free on the disk of the files: the temporary folder is everybody's."""


class FrozenFeatures:
    """Features by the image's key, kept in files of one array each.

    Where the disk has no room for more, those of further images are computed each time.

    Args:
        segmenter: Its features stay what they are.
        folder: Of the files; default: a temporary one, which goes with this object.
    """

    def __init__(self, segmenter: Segmenter, folder: Path | None = None) -> None:
        self._segmenter = segmenter
        self._temporary = None
        if folder is None:
            self._temporary = tempfile.TemporaryDirectory(prefix="crosscity-features-")
            folder = Path(self._temporary.name)
        self._folder = folder
        self._known: set[str] = set()

    def of(self, domain: str, keys: Sequence[str], images: Tensor) -> Tensor:
        """Features of a batch.

        Args:
            domain: Tells apart the sets of a training; a part of a file's name.
            keys: One an image: the same for the same pixels.
            images: B×3×H×W; read only where a key is new.

        Returns:
            B×D×h×w, without gradient.
        """
        found = [
            self._features_of(f"{domain}-{key}", images[place : place + 1])
            for place, key in enumerate(keys)
        ]
        return torch.from_numpy(np.stack(found)).to(images.device)

    def _features_of(self, name: str, image: Tensor) -> npt.NDArray[np.float32]:
        path = self._folder / f"{name}.npy"
        if name in self._known:
            # Not mapped: each map would hold a file open, and a process may have 1024 of them.
            kept: npt.NDArray[np.float32] = np.load(path, allow_pickle=False)
            return kept
        features = self._compute_features(image)
        if shutil.disk_usage(self._folder).free - features.nbytes >= SPARE_BYTES:
            np.save(path, features)
            self._known.add(name)
        return features

    @torch.no_grad()
    def _compute_features(self, image: Tensor) -> npt.NDArray[np.float32]:
        with evaluating(self._segmenter):
            features = self._segmenter.features(image)[0]
        computed: npt.NDArray[np.float32] = features.float().cpu().contiguous().numpy()
        return computed
