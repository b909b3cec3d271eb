"""What every labelled data set offers: named splits of samples, and each sample's pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from adapters.file_digests import UnreadableFileError


class DatasetError(ValueError):
    """A data set cannot give what was asked; the message is one sentence naming file and fault."""


class UnreadableSampleError(UnreadableFileError, DatasetError):
    """A file of a sample cannot be read now, by the system's word and not for what is in it."""


@dataclass(frozen=True)
class LabelledSample:
    """One image with the class of every pixel.

    Attributes:
        image: (H, W, 3) uint8 RGB.
        train_ids: (H, W) uint8 Cityscapes trainIds, 255 where a pixel belongs to no class.
    """

    image: npt.NDArray[np.uint8]
    train_ids: npt.NDArray[np.uint8]


class LabelledDataset(Protocol):
    """A data set, whatever its files look like and its label ids mean.

    Sizes are the source's own and may differ from sample to sample; resizing is for the caller.
    Methods may be called from several threads at once, and an instance survives pickling.
    Every data set passes ``tests/adapters/datasets/test_dataset_contract.py``.
    """

    @property
    def name(self) -> str:
        """The kind of data set, as the catalog calls it."""

    def samples(self, split: str) -> Sequence[str]:
        """Ids of the samples of a split, the same order every time, in no other split.

        Raises:
            DatasetError: There is no such split.
        """

    def read(self, sample: str) -> LabelledSample:
        """Reads one of `samples`.

        Raises:
            DatasetError: There is no such sample, or its label is missing or wrong.
            ImageError: A file of it cannot be decoded.
        """

    def unlabelled(self, split: str) -> Sequence[str]:
        """Ids of the images of a split that may be adapted to, whether they have labels or not.

        Raises:
            DatasetError: There is no such split.
        """

    def read_image(self, sample: str) -> npt.NDArray[np.uint8]:
        """The image of one of `samples` or `unlabelled`: (H, W, 3) uint8 RGB; no label is read.

        Raises:
            DatasetError: There is no such image.
            ImageError: It cannot be decoded.
        """

    def revision(self, samples: Sequence[str] | None = None) -> str:
        """What changes when `read` would give other pixels for these samples; default: for any."""
